"""Tells what has become of a campaign as a whole: its status as plain data, for people and programs."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from dispatcher import care, failover, spending
from dispatcher.batch import BatchState
from dispatcher.campaign import CampaignState
from dispatcher.ledger import Campaign, Ledger
from dispatcher.message import OPEN_MESSAGE_STATES, MessageState
from dispatcher.release import Held, held


def moment(value: datetime | None) -> str | None:
    """Return a moment as it is shown to programs: RFC 3339, UTC, whole seconds."""
    return None if value is None else value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def summary(campaign: Campaign) -> dict[str, Any]:
    """Return what `list` shows of a campaign."""
    return {
        "campaign": campaign.public_id,
        "name": campaign.name,
        "provider": campaign.provider,
        "state": campaign.state.value,
        "reason": campaign.reason,
        "rows": campaign.totals.rows,
        "created_at": moment(campaign.created_at),
        "send_at": moment(campaign.send_at),
        "started_at": moment(campaign.started_at),
        "finished_at": moment(campaign.finished_at),
    }


def status(ledger: Ledger, campaign: Campaign, *, now: datetime | None = None) -> dict[str, Any]:
    """Return all that is known of a campaign as a whole; every state is present.

    `now` is the moment for which it is told what waits for hours to begin; without it nothing is.
    """
    counts = ledger.campaigns.counts(campaign)
    found = summary(campaign)
    found["reason"] = _reason(campaign, counts.batches) or spending.why_held(ledger, campaign)
    return {
        **found,
        "messages": {state.value: counts.messages[state] for state in MessageState},
        "batches": {state.value: counts.batches[state] for state in BatchState},
        "excluded": {
            "duplicate": campaign.totals.duplicates,
            "invalid": campaign.totals.invalid,
            "suppressed": campaign.totals.suppressed,
        },
        "segments": campaign.totals.segments,
        "segments_submitted": counts.segments_submitted,
        "cost": amount(counts.cost),
        "refunded": amount(counts.refunded),
        "care": care.described(campaign),
        "failover": failover.described(campaign),
        "money": spending.described(ledger, campaign),
        "reasons": [
            {"state": state, "reason": reason, "messages": many}
            for (state, reason), many in sorted(counts.reasons.items(), key=lambda one: (-one[1], one[0]))
        ],
        "notes": ledger.campaigns.notes(campaign),
        "brand": campaign.brand,
        "timing": {
            "window": campaign.rules.get("window"),
            "days": campaign.rules.get("days"),
            "skip_holidays": bool(campaign.rules.get("skip_holidays")),
            "spread_seconds": campaign.rules.get("spread"),
        },
        "expires_at": moment(campaign.expires_at),
        "held": [] if now is None else _held(ledger, campaign, now=now),
        "open": sum(counts.messages[state] for state in OPEN_MESSAGE_STATES),
    }


def _held(ledger: Ledger, campaign: Campaign, *, now: datetime) -> list[dict[str, Any]]:
    if campaign.state not in (CampaignState.RUNNING, CampaignState.SCHEDULED):
        return []
    return [waiting(one) for one in held(ledger, campaign, now=now)]


def waiting(one: Held) -> dict[str, Any]:
    """Return what waits for hours to begin."""
    return {
        "until": moment(one.until),
        "local": one.hours.local(one.until).isoformat(timespec="minutes"),
        "zones": list(one.hours.place.zones),
        "messages": one.messages,
    }


def amount(value: Decimal) -> int | float:
    """Return money as a JSON number: whole where it is whole; the ledger's six decimals survive either way."""
    return int(value) if value == value.to_integral_value() else float(value)


def _reason(campaign: Campaign, batches: dict[BatchState, int] | Any) -> str | None:
    if campaign.reason is not None or campaign.state is not CampaignState.RUNNING:
        return campaign.reason
    unknown = batches[BatchState.UNKNOWN]
    if unknown:
        noun = "batch is" if unknown == 1 else "batches are"
        return f"{unknown} {noun} unknown: the answer was lost, so nothing of it is sent again"
    return None
