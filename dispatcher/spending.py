"""Holds budgets: stops what may not be paid for, and says what was spent, what is left and what to do."""

import logging
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from typing import Any

from dispatcher.campaign import RELEASING_STATES, CampaignState
from dispatcher.errors import MoveNotAllowed
from dispatcher.ledger import Allowance, Campaign, Claim, Ledger, Shortage

log = logging.getLogger(__name__)

_MORE = Decimal("1.2")
"""By how much a budget that is used up is raised in the example of the command that raises it."""


def rests(ledger: Ledger, provider: str, allowance: Allowance, *, now: datetime) -> bool:
    """Whether the day's budget leaves nothing more to be attempted at a provider before midnight, UTC."""
    return ledger.spending.held(provider, allowance, now=now) is not None


def stop_if_short(ledger: Ledger, claim: Claim, *, who: str, now: datetime) -> str | None:
    """Pause the campaign of a claim that its budget does not allow, and return why; None where there is room.

    A day's budget pauses nothing: the provider rests until midnight, UTC, and nobody has to do anything.
    """
    short = ledger.spending.shortage(claim, now=now)
    if short is None:
        return None
    why = _why(short, campaign=claim.campaign, provider=claim.provider)
    if short.day is None:
        campaign = ledger.campaigns.get(claim.campaign)
        try:
            if ledger.campaigns.move(campaign, CampaignState.PAUSED, who=who, now=now, reason=why):
                log.warning("campaign.paused campaign=%s reason=%s", claim.campaign, why)
        except MoveNotAllowed:
            return why  # cancelled or completed meanwhile
    else:
        log.warning("provider.rests provider=%s day=%s", claim.provider, short.day)
    return why


def why_held(ledger: Ledger, campaign: Campaign) -> str | None:
    """Return why a campaign that runs waits for the next day, None where it does not."""
    if campaign.state not in RELEASING_STATES:
        return None
    latest = ledger.spending.latest_day(campaign.provider)
    if latest is None or latest[2] is None:
        return None
    return _why(latest[2], campaign=campaign.public_id, provider=campaign.provider)


def described(ledger: Ledger, campaign: Campaign) -> dict[str, Any]:
    """Return the money of a campaign for programs: amounts as JSON numbers, None where there is no such thing.

    `day` is the last one on which the money of its provider was watched, for all campaigns together.
    """
    latest = ledger.spending.latest_day(campaign.provider)
    return {
        "budget": _number(campaign.budget),
        "committed": _number(campaign.committed),
        "left": None if campaign.budget is None else _number(campaign.budget - campaign.committed),
        "segment_price": _number(campaign.segment_price),
        "price_drift": campaign.rules.get("price_drift"),
        "day": None if latest is None else {"day": latest[0], "committed": _number(latest[1])},
    }


def _why(short: Shortage, *, campaign: str, provider: str) -> str:
    if short.cost is None:
        return (
            f"a budget is to be held, and no price of {provider} is known: set DISPATCHER_{provider.upper()}__PRICE"
            " for the workers, restart them, then resume"
        )
    used = f"{short.committed:,f} are spent or reserved; the next batch costs {short.cost:,f}"
    if short.day is not None:
        return (
            f"budget of {short.budget:,f} for {short.day} at {provider} reached: {used};"
            " it goes on by itself at 00:00 UTC"
        )
    raised = _rounded_up(max(short.budget * _MORE, short.committed + short.cost))
    return (
        f"budget of {short.budget:,f} reached: {used};"
        f" raise it with `dispatcher budget {campaign} {raised:f}`, then resume"
    )


def _rounded_up(value: Decimal) -> Decimal:
    """Return the next number with two digits that count."""
    step = Decimal(1).scaleb(value.adjusted() - 1)
    found = (value / step).to_integral_value(rounding=ROUND_CEILING) * step
    return found.normalize() + Decimal(0)


def _number(value: Decimal | None) -> int | float | None:
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)
