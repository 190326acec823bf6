"""Estimates a campaign before it is enqueued: what it comes to, what it costs, how long it takes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

from dispatcher.calm import calm
from dispatcher.ledger import PlannedBatch, PlanTotals
from dispatcher.planning.enqueue import check_not_empty, check_options, located, make_plan, told
from dispatcher.planning.leaving_out import LeftOut
from dispatcher.planning.order import Order
from dispatcher.planning.pricing import Forecast, Tariff
from dispatcher.planning.quoting import Ask, quoted
from dispatcher.planning.recipients import open_recipients
from dispatcher.provider import Capabilities
from dispatcher.throughput import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a campaign would come to. `price` is None where nobody tells it; `seconds` where unlimited."""

    totals: PlanTotals
    price: Decimal | None
    currency: str | None
    seconds: float | None
    repaired: int = 0  # as of Enqueued
    exact: bool = True  # the provider told the price of these very texts
    notes: Sequence[str] = ()


def estimate(
    order: Order,
    source: Path | BinaryIO,
    *,
    capabilities: Capabilities,
    limits: Limits,
    suppressed: LeftOut,
    now: datetime,
    ask_price: Ask | None = None,
) -> Estimate:
    """Plan without changing anything, asking the price of each batch where the provider tells it.

    Where it does not, the order's tariff tells.

    Raises:
        InputError: as for enqueueing.
    """
    price: Decimal | None = None if ask_price is None else Decimal(0)
    currency: str | None = None
    why: str | None = None
    exact = True
    check_options(order, capabilities)
    with calm(), open_recipients(source, order.reading) as recipients:
        plan = make_plan(order, recipients, capabilities=capabilities, suppressed=suppressed, now=now)
        number = 0
        forecast = Forecast(order.tariffs.get(order.provider, Tariff()))
        for step in located(plan, recipients):
            if not isinstance(step, PlannedBatch):
                continue
            forecast.add(step.numbers, step.segments)
            if ask_price is None:
                continue
            number += 1
            found = quoted(order, [step], ask_price, first=number)
            currency, why, exact = found.currency or currency, found.why, exact and found.exact
            price = None if price is None or found.amount is None else price + found.amount
            if price is None:
                ask_price = None  # nor would it tell of the others
        check_not_empty(plan.totals, recipients)
    totals = plan.totals
    if price is None and forecast.price is not None and not forecast.unpriced:
        price = forecast.cost
    return Estimate(
        totals=totals,
        price=price,
        currency=currency,
        seconds=seconds_to_send(totals, limits),
        repaired=plan.numbers.many_repaired,
        exact=exact,
        notes=[
            *told(order, plan, recipients),
            *([] if why is None else [f"{order.provider} did not tell its price ({why})"]),
        ],
    )


def seconds_to_send(totals: PlanTotals, limits: Limits) -> float | None:
    """Return how long the requests and segments take at the limits; None where there are none."""
    times = [
        amount / limit
        for amount, limit in (
            (totals.batches, limits.requests_per_second),
            (totals.segments, limits.segments_per_second),
        )
        if limit
    ]
    return math.ceil(max(times)) if times else None
