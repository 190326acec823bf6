"""Tells what has become of a campaign: its status as plain data, and a report with one line an input row."""

import csv
import json
from collections.abc import Iterable
from dataclasses import fields
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TextIO

from dispatcher.batch import BatchState
from dispatcher.campaign import CampaignState
from dispatcher.ledger import Campaign, Ledger, ReportLine
from dispatcher.message import OPEN_MESSAGE_STATES, MessageState
from dispatcher.release import held

COLUMNS = tuple(field.name for field in fields(ReportLine))
"""The columns of a report, in order."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


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
    found["reason"] = _reason(campaign, counts.batches)
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
        "notes": ledger.campaigns.notes(campaign),
        "brand": campaign.brand,
        "expires_at": moment(campaign.expires_at),
        "held": [] if now is None else _held(ledger, campaign, now=now),
        "open": sum(counts.messages[state] for state in OPEN_MESSAGE_STATES),
    }


def _held(ledger: Ledger, campaign: Campaign, *, now: datetime) -> list[dict[str, Any]]:
    if campaign.state not in (CampaignState.RUNNING, CampaignState.SCHEDULED):
        return []
    return [
        {
            "until": moment(one.until),
            "local": one.hours.local(one.until).isoformat(timespec="minutes"),
            "zones": list(one.hours.place.zones),
            "messages": one.messages,
        }
        for one in held(ledger, campaign, now=now)
    ]


def amount(value: Decimal) -> int | float:
    """Return money as a JSON number: whole where it is whole; the ledger's six decimals survive either way."""
    return int(value) if value == value.to_integral_value() else float(value)


def write_report(lines: Iterable[ReportLine], *, form: str, out: TextIO) -> int:
    """Write one line an input row as `csv` or `jsonl`, and return how many there were."""
    many = 0
    if form == "csv":
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for many, line in enumerate(lines, 1):  # noqa: B007 - the count outlives the loop
            writer.writerow([_cell(name, getattr(line, name)) for name in COLUMNS])
        return many
    for many, line in enumerate(lines, 1):  # noqa: B007 - the count outlives the loop
        out.write(json.dumps({name: _plain(getattr(line, name)) for name in COLUMNS}, ensure_ascii=False) + "\n")
    return many


def _reason(campaign: Campaign, batches: dict[BatchState, int] | Any) -> str | None:
    if campaign.reason is not None or campaign.state is not CampaignState.RUNNING:
        return campaign.reason
    unknown = batches[BatchState.UNKNOWN]
    if unknown:
        noun = "batch is" if unknown == 1 else "batches are"
        return f"{unknown} {noun} unknown: the answer was lost, so nothing of it is sent again"
    return None


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return moment(value)
    return amount(value) if isinstance(value, Decimal) else value


def harmless(text: str) -> str:
    """Return text that no spreadsheet takes for a formula."""
    return "'" + text if text.startswith(_FORMULA) else text


def _cell(name: str, value: object) -> object:
    """Return a value for a spreadsheet: what came from outside may not become a formula."""
    plain = _plain(value)
    if plain is None:
        return ""
    if isinstance(plain, str) and not (name == "number" and plain[1:].isdigit()):
        return harmless(plain)
    return plain
