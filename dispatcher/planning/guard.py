"""Watches a plan on its way into the ledger: cuts its canary off, and forecasts what its batches cost."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal

from dispatcher.errors import InputError
from dispatcher.ledger import ExcludedRow, Ledger, PlannedBatch, PlanTotals
from dispatcher.planning.pricing import Forecast, Tariff
from dispatcher.template import pack_fields, unpack_fields


class Guard:
    """Sees each step of one plan, in its order.

    `provider` is the first of those in `tariffs`; `canary` is how many messages go first, None for no canary.
    """

    def __init__(
        self, *, provider: str, tariffs: Mapping[str, Tariff], price_needed: bool, canary: int | None = None
    ) -> None:
        self._canary = canary
        self._canary_left = canary or 0
        self._canary_batches = 0
        self._provider = provider
        self._price_needed = price_needed
        self._forecasts = {name: Forecast(tariff) for name, tariff in tariffs.items() if tariff.known}
        # One price for all needs no look at the numbers, and no price with each batch.
        self._by_country = any(tariff.by_country for tariff in tariffs.values())
        self._prices: dict[int, Decimal] = {}
        self._batches = 0

    def steps(self, steps: Iterable[PlannedBatch | list[ExcludedRow]]) -> Iterator[PlannedBatch | list[ExcludedRow]]:
        """Pass the steps on; the batch in which the canary ends is cut in two there."""
        for step in steps:
            if not isinstance(step, PlannedBatch):
                yield step
                continue
            for batch in self._cut(step):
                self._batches += 1
                if self._by_country:
                    self._forecast(batch)
                yield batch

    def totals(self, totals: PlanTotals) -> PlanTotals:
        """Return the plan's totals as it was passed on."""
        return replace(totals, batches=self._batches)

    def write(self, ledger: Ledger, campaign_id: int) -> None:
        """Write into the draft what was learned of the whole plan.

        Raises:
            InputError: a budget is to be held, and for some numbers no price is known.
        """
        if self._canary is not None:
            held_back = self._batches > self._canary_batches
            ledger.care.begin_canary(campaign_id, batches=self._canary_batches if held_back else 0)
        if not self._by_country:
            return
        for name, forecast in self._forecasts.items():
            if self._price_needed and forecast.unpriced:
                countries = ", ".join(sorted(country or "numbers without one" for country in forecast.unpriced))
                variable = f"DISPATCHER_{name.upper()}__PRICE"
                raise InputError(f"no price is known for {countries}: add it to {variable}S, or set {variable}")
        prices = {name: price for name, forecast in self._forecasts.items() if (price := forecast.price) is not None}
        if self._provider in prices:
            ledger.spending.set_prices(campaign_id, batches=self._prices, prices=prices, first=self._provider)

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
            if name == self._provider and price is not None:
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
