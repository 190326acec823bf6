"""Moves a campaign on to its next provider while the present one is down; what may have been sent is not sent again.

Down is a provider that refuses the account (credentials, credit, settings), or that could not be reached for a while.
"""

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from dispatcher.ledger import Campaign, Claim, Ledger
from dispatcher.provider import Capabilities

log = logging.getLogger(__name__)

LEAST_TRIED = 3
"""Attempts in a row that must have reached nobody before a provider counts as down."""


def leave(ledger: Ledger, campaign: str, provider: str, why: str, *, who: str, now: datetime) -> bool:
    """Let the next provider of a campaign take over from one that is down, from the next claim on.

    False where there is none: then the campaign is to be paused.
    """
    found = ledger.campaigns.get(campaign)
    if found.provider != provider:
        return True  # another worker has done so
    if not found.fallbacks:
        return False
    moved = ledger.failover.move_on(found, why=why, who=who, now=now)
    if moved:
        log.warning("campaign.moved campaign=%s from=%s to=%s why=%s", campaign, provider, found.fallbacks[0], why)
    return True


def not_reached(ledger: Ledger, claim: Claim, why: str, *, after: timedelta, who: str, now: datetime) -> None:
    """Count an attempt that reached nobody; the provider is down once that has gone on for so long."""
    if not claim.fallbacks:
        return
    since, times = ledger.failover.count_unreached(claim, now=now)
    if times >= LEAST_TRIED and now - since >= after:
        told = f"not reached for {(now - since).total_seconds():,.0f} s, {times:,} times in a row: {why}"
        leave(ledger, claim.campaign, claim.provider, told, who=who, now=now)


def reached(ledger: Ledger, claim: Claim) -> None:
    """Forget what was counted: the provider has answered."""
    if claim.unreached:
        ledger.failover.forget_unreached(claim)


def narrowest(capabilities: list[Capabilities]) -> Capabilities:
    """Return what every one of some providers can do, the first of them for choice: batches planned so fit them all."""
    first, *others = capabilities
    if not others:
        return first
    every = [first, *others]
    ahead = [can.schedule_ahead for can in every]
    return replace(
        first,
        messages_per_request=min(can.messages_per_request for can in every),
        bytes_per_request=_least([can.bytes_per_request for can in every]),
        bytes_per_message=max(can.bytes_per_message for can in every),
        characters=_least([can.characters for can in every]),
        segments=_least([can.segments for can in every]),
        personalised=all(can.personalised for can in every),
        unicode=all(can.unicode for can in every),
        sender=all(can.sender for can in every),
        # Where one of them has no schedule, the ledger keeps the time for all.
        schedule_ahead=None if None in ahead else min(span for span in ahead if span is not None),
        schedule_least=max(can.schedule_least for can in every),
        schedule_step=max(can.schedule_step for can in every),
        options=frozenset(
            option for option in first.options if option in FOR_ONE or all(option in can.options for can in others)
        ),
    )


FOR_ONE = frozenset({"reconcilable"})
"""Campaign options that say how to hand over, not what: a provider that does not know them leaves them out."""


def described(campaign: Campaign) -> dict[str, Any]:
    """Return where a campaign can still go, and where it came from, for programs."""
    return {"fallbacks": list(campaign.fallbacks), "moved": list(campaign.rules.get("moved", []))}


def in_words(described: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what a person should see of it, as (name, words)."""
    facts = [("moved", f"from {one['from']} to {one['to']} {one['at']}: {one['why']}") for one in described["moved"]]
    if described["fallbacks"]:
        facts.append(("fallbacks", ", ".join(described["fallbacks"])))
    return facts


def providers_of(campaign: Campaign) -> list[str]:
    """Return the providers that may have something of a campaign, the present one first."""
    return list(dict.fromkeys([campaign.provider, *(one["from"] for one in campaign.rules.get("moved", []))]))


def _least(limits: list[int | None]) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)
