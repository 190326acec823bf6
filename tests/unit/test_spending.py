"""What budgets do to a campaign: it is paused or held with a reason that says what to do, and goes on."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from dispatcher import cancellation, reporting, submission
from dispatcher.account import Account
from dispatcher.campaign import CampaignState
from dispatcher.errors import UsageError
from dispatcher.ledger import Allowance
from dispatcher.planning.pricing import Forecast, Tariff, country_of
from tests.unit.test_operations import START, World, world

__all__ = ["world"]


def step(world: World, allowance: Allowance | None = None) -> str:
    account: Account = replace(world.account, allowance=allowance or Allowance())
    return submission.submit_next(account).outcome


def status(world: World) -> Mapping[str, Any]:
    return reporting.status(world.ledger, world.campaign())


def enqueue(world: World, *, batches: int, budget: str | None = None, price: str | None = "1") -> None:
    world.enqueue(batches=batches)
    with world.ledger.database.write() as tx:
        tx.run(
            "UPDATE campaign SET budget = :budget, segment_price = :price",
            budget=None if budget is None else int(Decimal(budget) * 1_000_000),
            price=None if price is None else int(Decimal(price) * 1_000_000),
        )


def test_a_campaign_is_paused_by_its_budget_and_goes_on_with_another(world: World) -> None:
    enqueue(world, batches=3, budget="7.5")
    assert [step(world) for _ in range(4)] == ["submitted", "submitted", "withdrawn", "idle"]
    found = status(world)
    assert found["state"] == "paused"
    assert found["reason"] == (
        "budget of 7.5 reached: 6 are spent or reserved; the next batch costs 3;"
        " raise it with `dispatcher budget c1 9`, then resume"
    )
    assert found["money"] == {
        "budget": 7.5, "committed": 6, "left": 1.5, "segment_price": 1, "price_drift": None, "day": {"day": "2026-12-01", "committed": 6}
    }  # fmt: skip
    cancellation.resume(world.ledger, world.campaign(), who="t", now=START)
    assert step(world) == "withdrawn"
    assert status(world)["state"] == "paused"
    world.ledger.spending.set_budget(world.campaign(), Decimal(9), price=None, who="t", now=START)
    cancellation.resume(world.ledger, world.campaign(), who="t", now=START)
    assert step(world) == "submitted"
    assert world.campaign().committed == 9


def test_the_budget_of_a_day_holds_until_midnight_and_pauses_nothing(world: World) -> None:
    enqueue(world, batches=3)
    allowance = Allowance(per_day=Decimal(5))
    assert [step(world, allowance) for _ in range(3)] == ["submitted", "withdrawn", "no_budget"]
    found = status(world)
    assert found["state"] == "running"
    assert found["reason"] == (
        "budget of 5 for 2026-12-01 at obedient reached: 3 are spent or reserved; the next batch costs 3;"
        " it goes on by itself at 00:00 UTC"
    )
    world.time.passed += timedelta(hours=15).total_seconds()
    assert [step(world, allowance) for _ in range(2)] == ["submitted", "withdrawn"]
    assert "for 2026-12-02" in status(world)["reason"]
    # A budget that is raised counts at once.
    assert step(world, Allowance(per_day=Decimal(6))) == "submitted"
    assert status(world)["reason"] is None


def test_a_budget_without_a_price_pauses_with_what_to_set(world: World) -> None:
    enqueue(world, batches=1, price=None)
    assert step(world, Allowance(per_day=Decimal(5))) == "withdrawn"
    assert world.campaign().state is CampaignState.PAUSED
    assert "set DISPATCHER_OBEDIENT__PRICE" in str(world.campaign().reason)


def test_a_campaign_that_has_ended_takes_no_budget(world: World) -> None:
    enqueue(world, batches=1)
    cancellation.cancel(world.ledger, world.campaign(), who="t", clock=world.time.now)
    with pytest.raises(UsageError, match="spends nothing any more"):
        world.ledger.spending.set_budget(world.campaign(), Decimal(9), price=None, who="t", now=START)


def test_prices_by_country_are_summed_as_they_are() -> None:
    tariff = Tariff(flat=Decimal("0.5"), by_country={"ZA": Decimal("0.25"), "US": Decimal("0.04")})
    forecast = Forecast(tariff)
    # South Africa, the United States, Canada (under the same code), the United Kingdom
    numbers = [27_820_000_001, 12_025_550_100, 14_165_550_100, 447_700_900_123]
    assert forecast.add(numbers[:2], [1, 3]) == Decimal("0.0925")
    assert forecast.add(numbers[2:], [2, 1]) == Decimal("0.5")
    assert forecast.cost == Decimal("0.25") + 3 * Decimal("0.04") + 3 * Decimal("0.5")
    assert not forecast.unpriced
    without = Forecast(Tariff(by_country={"US": Decimal("0.04")}))
    without.add(numbers, [1, 1, 1, 1])
    assert without.unpriced == {"ZA", "CA", "GB"}


@pytest.mark.parametrize(
    ("number", "country"),
    [(447_700_900_123, "GB"), (12_025_550_100, "US"), (14_165_550_100, "CA"), (27_820_000_001, "ZA"), (999, "")],
)
def test_the_country_of_a_number(number: int, country: str) -> None:
    assert country_of(number) == country
