"""Estimates a campaign before it is enqueued: what it comes to, what it costs, how long it takes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

from dispatcher.calm import calm
from dispatcher.ledger import PlannedBatch, PlanTotals
from dispatcher.planning.enqueue import Order, check_not_empty, check_options, located, make_plan, told
from dispatcher.planning.leaving_out import LeftOut
from dispatcher.planning.pricing import Forecast, Tariff
from dispatcher.planning.recipients import open_recipients
from dispatcher.provider import Capabilities, OutgoingBatch, Price
from dispatcher.rendering import render_batch
from dispatcher.throughput import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a campaign would come to. `price` is None where nobody tells it; `seconds` where unlimited."""

    totals: PlanTotals
    price: Decimal | None
    currency: str | None
    seconds: float | None
    repaired: int = 0  # as of Enqueued
    notes: Sequence[str] = ()


def estimate(
    order: Order,
    source: Path | BinaryIO,
    *,
    capabilities: Capabilities,
    limits: Limits,
    suppressed: LeftOut,
    now: datetime,
    ask_price: Callable[[OutgoingBatch], Price] | None = None,
) -> Estimate:
    """Plan without changing anything, asking the price of each batch where the provider tells it.

    Where it does not, the order's tariff tells.

    Raises:
        InputError: as for enqueueing.
        ProviderError: the price could not be had.
    """
    price: Decimal | None = None if ask_price is None else Decimal(0)
    currency: str | None = None
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
            quoted = ask_price(outgoing(order, step, number))
            currency = quoted.currency or currency
            price = None if price is None or quoted.amount is None else price + quoted.amount
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
        notes=told(order, plan, recipients),
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


def outgoing(order: Order, batch: PlannedBatch, number: int) -> OutgoingBatch:
    """Return batch `number` of an order as it would go out."""
    return render_batch(
        campaign=order.public_id,
        number=number,
        template=order.text if batch.variant is None else order.variants[batch.variant],
        fields=batch.fields,
        positions=range(len(batch.numbers)),
        numbers=batch.numbers,
        rows=batch.rows,
        segments=batch.segments,
        sender=order.sender,
        options=order.options,
    )
