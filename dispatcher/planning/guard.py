"""Watches a plan on its way into the ledger: cuts its canary off, and forecasts what its batches cost."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from decimal import Decimal

from dispatcher.errors import InputError
from dispatcher.ledger import ExcludedRow, Ledger, PlannedBatch, PlanTotals
from dispatcher.planning.order import Order
from dispatcher.planning.pricing import Forecast
from dispatcher.planning.quoting import BATCHES_ASKED, Asks, Quote, quoted
from dispatcher.template import pack_fields, unpack_fields


class Guard:
    """Sees each step of the plan of one order; where a budget is to be held, `asks` asks for prices."""

    def __init__(self, order: Order, *, asks: Asks) -> None:
        self._order = order
        self._asks = asks if order.price_needed else {}
        self._canary: int | None = order.rules.get("canary", {}).get("messages")
        self._canary_left = self._canary or 0
        self._canary_batches = 0
        tariffs = order.tariffs
        self._forecasts = {name: Forecast(tariff) for name, tariff in tariffs.items() if tariff.known}
        # One price for all needs no look at the numbers, and no price with each batch.
        self._by_country = any(tariff.by_country for tariff in tariffs.values())
        self._prices: dict[int, Decimal] = {}
        self._told: dict[str, Decimal] = {}
        self._first: list[PlannedBatch] = []
        self._batches = 0
        self.notes: list[str] = []
        """What was found out about prices, a sentence each."""

    def steps(self, steps: Iterable[PlannedBatch | list[ExcludedRow]]) -> Iterator[PlannedBatch | list[ExcludedRow]]:
        """Pass the steps on; the batch in which the canary ends is cut in two there."""
        for step in steps:
            if not isinstance(step, PlannedBatch):
                yield step
                continue
            for batch in self._cut(step):
                self._batches += 1
                if self._asks and len(self._first) < BATCHES_ASKED:
                    self._first.append(batch)
                if self._by_country:
                    self._forecast(batch)
                yield batch

    def totals(self, totals: PlanTotals) -> PlanTotals:
        """Return the plan's totals as it was passed on."""
        return replace(totals, batches=self._batches)

    def find_prices(self) -> None:
        """Ask for prices, once the whole plan has been seen; where a provider does not tell, the settings do.

        Raises:
            InputError: a budget is to be held, and for some numbers no price is known.
        """
        if not self._order.price_needed:
            return
        for name in self._order.tariffs:
            found = Quote(amount=None)
            if name in self._asks:
                found = quoted(self._order, self._first, self._asks[name])
            if found.segment is not None:
                self._told[name] = found.segment
                some = (
                    ""
                    if found.asked == self._batches
                    else f" by the first {found.asked} of {self._batches:,} requests,"
                )
                price = f"{found.segment.normalize():f} {found.currency or ''}".rstrip()
                self.notes.append(f"{name} tells a price of {price} a segment:{some} the budget is held by it")
                continue
            variable = f"DISPATCHER_{name.upper()}__PRICE"
            did_not = f"{name} did not tell its price" + (f" ({found.why})" if found.why else "")
            if name not in self._forecasts:
                raise InputError(f"a budget cannot be held: {did_not}: set {variable} to what a segment costs")
            if unpriced := self._forecasts[name].unpriced:
                countries = ", ".join(sorted(country or "numbers without one" for country in unpriced))
                raise InputError(f"no price is known for {countries}: add it to {variable}S, or set {variable}")
            if name in self._asks:
                self.notes.append(f"{did_not}: the budget is held by that of the settings")

    def write(self, ledger: Ledger, campaign_id: int) -> None:
        """Write into the draft what was learned of the whole plan."""
        if self._canary is not None:
            held_back = self._batches > self._canary_batches
            ledger.care.begin_canary(campaign_id, batches=self._canary_batches if held_back else 0)
        if not (self._by_country or self._told):
            return
        flat = {name: one.flat for name, one in self._order.tariffs.items() if one.flat is not None}
        forecast = {name: one.price for name, one in self._forecasts.items() if one.price is not None}
        prices = {**flat, **(forecast if self._by_country else {}), **self._told}
        first = self._order.provider
        if first in prices:
            batches = {} if first in self._told else self._prices
            ledger.spending.set_prices(campaign_id, batches=batches, prices=prices, first=first)

    def _cut(self, batch: PlannedBatch) -> list[PlannedBatch]:
        if not self._canary_left:
            return [batch]
        self._canary_batches += 1
        many = len(batch.numbers)
        if many <= self._canary_left:
            self._canary_left -= many
            return [batch]
        pieces = [slice(0, self._canary_left), slice(self._canary_left, many)]
        self._canary_left = 0
        return [_piece(batch, piece) for piece in pieces]

    def _forecast(self, batch: PlannedBatch) -> None:
        for name, forecast in self._forecasts.items():
            price = forecast.add(batch.numbers, batch.segments)
            if name == self._order.provider and price is not None:
                self._prices[self._batches] = price


def _piece(batch: PlannedBatch, piece: slice) -> PlannedBatch:
    fields = batch.fields
    if fields is not None:
        fields = pack_fields({name: column[piece] for name, column in unpack_fields(fields).items()})
    return replace(
        batch,
        numbers=batch.numbers[piece],
        rows=batch.rows[piece],
        segments=batch.segments[piece],
        fields=fields,
    )
