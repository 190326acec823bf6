"""Asks providers that tell their prices beforehand what a campaign costs with them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from dispatcher.errors import ProviderError
from dispatcher.ledger.rows import PlannedBatch
from dispatcher.planning.order import Order
from dispatcher.provider import OutgoingBatch, Price
from dispatcher.rendering import render_batch
from dispatcher.segments import count_segments

Ask = Callable[[OutgoingBatch], Price]
Asks = Mapping[str, Ask]
"""What asks for a price, by the provider; only those are in it that have such a call."""

BATCHES_ASKED = 10
"""Of so many requests the provider is asked the price; that of the others is reckoned from it."""

_MILLIONTH = Decimal("0.000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What a provider says that some batches cost; `amount` is None where it does not tell, `why` where it could not."""

    amount: Decimal | None
    segments: int = 0
    currency: str | None = None
    asked: int = 0  # requests whose price it told
    exact: bool = True  # it was asked for these very texts
    why: str | None = None

    @property
    def segment(self) -> Decimal | None:
        """What a segment of them costs."""
        return (
            None if self.amount is None or not self.segments else (self.amount / self.segments).quantize(_MILLIONTH)
        )


def quoted(order: Order, batches: Sequence[PlannedBatch], ask: Ask, *, first: int = 1) -> Quote:
    """Ask what some batches of an order cost, one request each; the first of them is the order's batch `first`.

    A provider may tell the price of one text to all alone. Where everybody gets a text of their own it is asked
    for the first of these to all, and the segments tell the rest.
    """
    amount, segments, currency, exact = Decimal(0), 0, None, True
    try:
        for number, batch in enumerate(batches, first):
            going = outgoing(order, batch, number)
            asked = _one_text(going)
            told = ask(asked)
            currency = told.currency or currency
            if told.amount is None:
                return Quote(amount=None, currency=currency)
            cost = told.amount
            if asked is not going:
                exact = False
                cost = cost * sum(going.segments) / sum(asked.segments)
            amount, segments = amount + cost, segments + sum(going.segments)
    except ProviderError as error:
        return Quote(amount=None, why=str(error))
    return Quote(
        amount=amount if exact else amount.quantize(_MILLIONTH),
        segments=segments,
        currency=currency,
        asked=len(batches),
        exact=exact,
    )


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


def _one_text(batch: OutgoingBatch) -> OutgoingBatch:
    if batch.texts is None:
        return batch
    text = batch.texts[0]
    return replace(batch, text=text, texts=None, segments=count_segments([text]) * len(batch))
