"""Tries a campaign's text on one's own number first, as a campaign of its own that goes the ordinary way."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dispatcher.campaign import FINAL_CAMPAIGN_STATES, CampaignState
from dispatcher.ledger import Campaign, Ledger
from dispatcher.message import MessageState
from dispatcher.msisdn import e164
from dispatcher.planning.order import Order
from dispatcher.planning.preflight import Sample
from dispatcher.planning.recipients import Reading
from dispatcher.template import literal

TEST_OF = "test_of"
"""The rule that names the campaign (its public id) which a test is for."""

GOOD = frozenset({MessageState.SUBMITTED, MessageState.DELIVERED})
"""Where a test's message is when the provider took it, and nothing went wrong since."""

_EVERY_SECONDS = 0.2
_FIRST_OF_ALL = 1000
_MONEY = ("prices", "price_drift")
_NOT_FOR_ONE = frozenset({"as_campaign", "reconcilable"})  # a test is sent at once, and by nobody's hand


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Where the test's message is, why, and whether its campaign was stopped; queued: no worker came to it."""

    state: MessageState
    reason: str | None = None
    stopped: bool = False


def trial(order: Order, sample: Sample, number: int, *, public_id: str) -> tuple[Order, io.BytesIO]:
    """Return the order that sends what one row would get to a number of one's own, and its list."""
    rules: Mapping[str, Any] = {name: order.rules[name] for name in _MONEY if name in order.rules}
    made = replace(
        order,
        public_id=public_id,
        name=f"test of {order.name}",
        text=literal(sample.text),
        phone_column="phone",
        country=None,
        country_column=None,
        reading=Reading(),
        send_at=None,
        key=None,
        options={name: value for name, value in order.options.items() if name not in _NOT_FOR_ONE},
        rules={**rules, TEST_OF: order.public_id},
        fallbacks=(),
        priority=_FIRST_OF_ALL,
        expires_at=None,
        budget=None,
        variants={},
    )
    return made, io.BytesIO(f"phone\n{e164(number)}\n".encode())


def outcome(
    ledger: Ledger,
    campaign: Campaign,
    *,
    seconds: float,
    to_the_end: bool,
    monotonic: Callable[[], float],
    sleep: Callable[[float], None],
    told: Callable[[Outcome], None] = lambda _: None,
) -> Outcome:
    """Wait until the provider has answered for a test, or with `to_the_end` until its receipt is there.

    `told` hears of each change. After so many `seconds` what is known then is returned.
    """
    until = monotonic() + seconds
    last = Outcome(state=MessageState.QUEUED)
    while True:
        found = _now(ledger, campaign)
        if found != last:
            told(found)
            last = found
        waits = found.state is MessageState.QUEUED or (to_the_end and found.state is MessageState.SUBMITTED)
        if found.stopped or not waits or monotonic() >= until:
            return found
        sleep(_EVERY_SECONDS)


def _now(ledger: Ledger, campaign: Campaign) -> Outcome:
    current = ledger.campaigns.get(campaign.public_id)
    line = ledger.reports.line(campaign, 1)
    assert line is not None
    state = MessageState(line.state)
    stopped = state is MessageState.QUEUED and (
        current.state is CampaignState.PAUSED or current.state in FINAL_CAMPAIGN_STATES
    )
    return Outcome(state=state, reason=line.reason or (current.reason if stopped else None), stopped=stopped)
