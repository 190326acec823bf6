"""Providers that tell their prices are asked, a few requests long; a budget is held by what they say."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from dispatcher.errors import InputError, Unreachable
from dispatcher.ledger import PlannedBatch
from dispatcher.planning import Ask, Order, Tariff, quoted
from dispatcher.planning.guard import Guard
from dispatcher.provider import OutgoingBatch, Price
from dispatcher.template import pack_fields

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
TEXT = "Hi {name}"


def batch(first: int, names: Sequence[str] | None, *, segments: int = 1, many: int = 2) -> PlannedBatch:
    return PlannedBatch(
        numbers=[12025550100 + row for row in range(first, first + many)],
        rows=list(range(first, first + many)),
        segments=[segments] * many,
        fields=None if names is None else pack_fields({"name": list(names)}),
        due_at=NOW,
    )


def order(text: str = TEXT, *, provider: str = "bsg", tariffs: Mapping[str, Tariff] | None = None) -> Order:
    found = {provider: Tariff()} if tariffs is None else tariffs
    return Order(public_id="c1", name="x", provider=provider, text=text, tariffs=found, price_needed=True)


def asks(*amounts: str | None, seen: list[OutgoingBatch] | None = None) -> Ask:
    told = iter(amounts)

    def ask(going: OutgoingBatch) -> Price:
        if seen is not None:
            seen.append(going)
        amount = next(told)
        if amount == "away":
            raise Unreachable("no connection")
        return Price(amount=None if amount is None else Decimal(amount), currency="USD")

    return ask


def test_a_text_for_all_is_asked_for_as_it_is() -> None:
    found = quoted(order("Hi"), [batch(1, None), batch(3, None, segments=2)], asks("0.5", "1"))
    assert (found.amount, found.segments, found.segment, found.currency) == (
        Decimal("1.5"),
        6,
        Decimal("0.25"),
        "USD",
    )
    assert (found.asked, found.exact) == (2, True)


def test_texts_that_differ_are_asked_for_by_the_first_of_them_to_all() -> None:
    seen: list[OutgoingBatch] = []
    long = "x" * 200
    found = quoted(order(), [batch(1, ["Ann", long], segments=1)], asks("0.5", seen=seen))
    assert (seen[0].text, seen[0].texts, list(seen[0].segments)) == ("Hi Ann", None, [1, 1])
    assert (found.amount, found.exact) == (Decimal("0.5"), False)
    uneven = quoted(order(), [batch(1, ["Ann", "Bob"], segments=3)], asks("0.5"))
    assert (uneven.amount, uneven.segment) == (Decimal("1.5"), Decimal("0.25"))


def test_what_is_not_told_is_no_price() -> None:
    assert quoted(order("Hi"), [batch(1, None)], asks(None)).amount is None
    away = quoted(order("Hi"), [batch(1, None)], asks("away"))
    assert (away.amount, away.why) == (None, "no connection")


def guarded(made: Order, asked: Mapping[str, Ask], *, batches: int = 1) -> tuple[Guard, Callable[[], list[Any]]]:
    guard = Guard(made, asks=asked)
    assert len(list(guard.steps(batch(1 + 2 * at, None) for at in range(batches)))) == batches
    guard.find_prices()
    written: list[Any] = []

    def set_prices(campaign_id: int, **prices: Any) -> None:
        written.append((campaign_id, prices))

    def write() -> list[Any]:
        guard.write(SimpleNamespace(spending=SimpleNamespace(set_prices=set_prices)), 7)  # type: ignore[arg-type]
        return written

    return guard, write


def test_the_price_that_a_provider_tells_goes_before_that_of_the_settings() -> None:
    tariffs = {"bsg": Tariff(flat=Decimal(9), by_country={"US": Decimal(8)}), "winsms": Tariff(flat=Decimal(2))}
    guard, write = guarded(order("Hi", tariffs=tariffs), {"bsg": asks(*["0.5"] * 10)}, batches=12)
    wanted = {"bsg": Decimal("0.25"), "winsms": Decimal(2)}
    assert write() == [(7, {"batches": {}, "prices": wanted, "first": "bsg"})]
    told = "bsg tells a price of 0.25 USD a segment: by the first 10 of 12 requests, the budget is held by it"
    assert guard.notes == [told]


def test_where_it_does_not_tell_the_settings_do_and_that_is_said() -> None:
    guard, write = guarded(order("Hi", tariffs={"bsg": Tariff(flat=Decimal(9))}), {"bsg": asks("away")})
    assert guard.notes == ["bsg did not tell its price (no connection): the budget is held by that of the settings"]
    assert write() == []  # the campaign has it from the order


def test_without_any_price_a_budget_is_refused() -> None:
    with pytest.raises(InputError, match=r"bsg did not tell its price \(no connection\): set DISPATCHER_BSG__PRICE"):
        guarded(order("Hi"), {"bsg": asks("away")})
    with pytest.raises(InputError, match="bsg did not tell its price: set"):
        guarded(order("Hi"), {"bsg": asks(None)})


def test_nobody_is_asked_where_no_budget_is_held() -> None:
    seen: list[OutgoingBatch] = []
    free = Order(public_id="c1", name="x", provider="bsg", text="Hi", tariffs={"bsg": Tariff()})
    guard, write = guarded(free, {"bsg": asks("1", seen=seen)})
    assert (seen, guard.notes, write()) == ([], [], [])
