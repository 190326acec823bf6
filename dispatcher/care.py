"""Judges campaigns by how they fare: the breaker stops one of which too much goes wrong, the canary goes before."""

import logging
import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from dispatcher.campaign import CampaignState
from dispatcher.errors import MoveNotAllowed
from dispatcher.ledger import Campaign, Ledger, Tally

log = logging.getLogger(__name__)

_REQUEST = re.compile(r"^[A-Z]+ /\S*: ")
_REASONS = 3

LEAST_TRIED = 50
"""Messages that must have been tried before a share of them means something."""

LEAST_BATCHES = 5
"""Batches that must have been tried before those that are unknown count: one lost answer is a thousand messages."""


def judge(ledger: Ledger, *, who: str, now: datetime, campaign: str | None = None) -> list[str]:
    """Judge every campaign that may send, or one of them, and return those that were stopped."""
    stopped = []
    for tally in ledger.care.tallies(campaign=campaign):
        why = _broken(ledger, tally)
        if why is not None:
            if _pause(ledger, tally, why, who=who, now=now):
                stopped.append(tally.campaign)
        elif tally.released_through is not None and _canary_failed(ledger, tally, who=who, now=now):
            stopped.append(tally.campaign)
    return stopped


def described(campaign: Campaign) -> dict[str, Any]:
    """Return the rules by which a campaign is judged, for programs; None where it is not.

    The state of a canary is sending, waiting, passed, failed, or whole: the list is no longer than it.
    """
    canary = campaign.rules.get("canary")
    return {
        "priority": campaign.priority,
        "breaker": campaign.rules.get("breaker"),
        "canary": None
        if canary is None
        else {
            "messages": canary["messages"],
            "wait_seconds": canary["wait"],
            "delivered": canary["delivered"],
            "state": canary.get("state") or ("sending" if campaign.released_through else "waiting"),
            "share": canary.get("share"),
        },
    }


def in_words(described: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a person should see of the rules, as (name, words)."""
    facts = []
    if described["priority"]:
        facts.append(("priority", str(described["priority"])))
    canary = described["canary"]
    if canary is not None:
        needs = f"{_percent(canary['delivered'])} must be delivered within {_span(canary['wait_seconds'])}"
        share = "" if canary["share"] is None else f", {_percent(canary['share'])} delivered"
        many = "1 message" if canary["messages"] == 1 else f"{canary['messages']:,} messages"
        facts.append(("canary", f"{many}, {canary['state']}{share}; {needs}"))
    return facts


def _broken(ledger: Ledger, tally: Tally) -> str | None:
    limit = tally.rules.get("breaker")
    if not limit:
        return None
    tried = tally.tried - tally.tried_before
    if tried < LEAST_TRIED:
        return None
    refused, unknown = tally.messages.get("refused", 0), tally.messages.get("unknown", 0)
    batches = sum(tally.batches.get(state, 0) for state in ("submitted", "refused", "unknown"))
    counted = refused + unknown if batches >= LEAST_BATCHES else refused
    bad = counted - tally.bad_before
    if bad <= limit * tried:
        return None
    first = told(ledger.care.reasons(tally.campaign_id, states=("refused", "unknown")))
    since = " since it last went on" if tally.tried_before else ""
    return (
        f"breaker: {_percent(bad / tried)} of {tried:,} messages tried{since} were refused or are unknown, above"
        f" {_percent(limit)} ({refused:,} refused, {unknown:,} unknown in all; {first}): mend the cause, then resume"
    )


def _canary_failed(ledger: Ledger, tally: Tally, *, who: str, now: datetime) -> bool:
    """Judge a canary, as far as it has come; return whether it stopped the campaign."""
    rule, care = tally.rules["canary"], ledger.care
    messages = tally.messages
    out = sum(messages.values()) - messages.get("queued", 0)
    if out < rule["messages"]:
        if tally.released_through == 0:  # one of its batches came back
            care.hold_canary(tally.campaign_id, rule["batches"])
        return False
    if tally.released_through:
        care.hold_canary(tally.campaign_id, 0)
    out_at = care.canary_out_at(tally.campaign_id, batches=rule["batches"])
    wait = timedelta(seconds=rule["wait"])
    still = messages.get("submitted", 0) + messages.get("unknown", 0)
    if still and out_at is not None and now < out_at + wait:
        return False
    asked = rule["messages"] - messages.get("suppressed", 0)
    delivered = messages.get("delivered", 0)
    share = delivered / asked if asked else 1.0
    found = f"{_percent(share)} of {asked:,} messages were delivered"
    if share >= rule["delivered"]:
        if care.end_canary(tally.campaign_id, state="passed", share=share, why=found, who=who, now=now):
            log.info("campaign.canary_passed campaign=%s share=%.3f", tally.campaign, share)
        return False
    states = ", ".join(f"{many:,} {state}" for state, many in messages.items() if many and state != "queued")
    first = told(care.reasons(tally.campaign_id, states=("refused", "undelivered", "expired", "unknown")))
    why = (
        f"canary: {found} within {_span(rule['wait'])}, below {_percent(rule['delivered'])} ({states}; {first}):"
        f" `dispatcher resume {tally.campaign}` sends the rest all the same"
    )
    # Paused first: between the two nothing may go.
    paused = _pause(ledger, tally, why, who=who, now=now)
    care.end_canary(tally.campaign_id, state="failed", share=share, why=found, who=who, now=now)
    return paused


def told(reasons: list[tuple[str, int]]) -> str:
    """Return the most frequent reasons in words; those of requests that differ in their path alone are one."""
    found: Counter[str] = Counter()
    for reason, many in reasons:
        found[_REQUEST.sub("", reason)] += many
    return "; ".join(f"{reason}: {many:,}" for reason, many in found.most_common(_REASONS)) or "no reason given"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _span(seconds: float) -> str:
    return f"{seconds / 60:g} min" if seconds >= 60 else f"{seconds:g} s"


def _pause(ledger: Ledger, tally: Tally, why: str, *, who: str, now: datetime) -> bool:
    campaign = ledger.campaigns.get(tally.campaign)
    try:
        moved = ledger.campaigns.move(campaign, CampaignState.PAUSED, who=who, now=now, reason=why)
    except MoveNotAllowed:
        return False  # cancelled or completed meanwhile
    if moved:
        log.warning("campaign.paused campaign=%s reason=%s", tally.campaign, why)
    return moved


def rules(*, breaker: float, canary: int | None, wait: timedelta, delivered: float) -> Mapping[str, Any]:
    """Return the rules of a new campaign; `canary` is how many messages go first."""
    found: dict[str, Any] = {"breaker": breaker} if breaker else {}
    if canary is not None:
        found["canary"] = {"messages": canary, "wait": wait.total_seconds(), "delivered": delivered}
    return found
