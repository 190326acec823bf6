"""Budgets are exact, on either engine: what is spent or reserved never passes them, and is never forgotten."""

import random
import threading
from datetime import timedelta
from decimal import Decimal

import pytest

from dispatcher.campaign import CampaignState
from dispatcher.errors import LedgerError, UsageError
from dispatcher.ledger import Allowance, Campaign, Claim, Ledger
from dispatcher.message import MessageState
from dispatcher.provider import Answers, Receipt, Refusal
from tests.ledger.conftest import LEASE, NOW, WINDOW, Enqueue

LATER = NOW + timedelta(seconds=61)
TWO = Decimal(2)


def take(ledger: Ledger, *, owner: str = "w1", allowance: Allowance | None = None) -> Claim | None:
    return ledger.batches.claim("winsms", owner=owner, now=NOW, lease=LEASE, allowance=allowance)


def attempt(ledger: Ledger, *, allowance: Allowance | None = None) -> Claim:
    taken = take(ledger, allowance=allowance)
    assert taken is not None
    assert ledger.batches.begin_attempt(taken, now=NOW, lease=LEASE)
    return taken


def answered(ledger: Ledger, taken: Claim, cost: Decimal | None, *, refused: int = 0, missing: int = 0) -> None:
    content = ledger.batches.content(taken)
    many = len(content.positions)
    answers = Answers(
        provider_message_ids=[f"p{taken.batch_id}-{index}" for index in range(many)],
        costs=[cost] * many,
        refused={index: Refusal(reason="BADDEST") for index in range(refused)},
        missing=frozenset(range(refused, refused + missing)),
    )
    assert ledger.outcomes.submitted(taken, content, answers, now=NOW, receipt_window=WINDOW)


def committed(ledger: Ledger, campaign: Campaign) -> Decimal:
    """Return what is committed, once all three ways of saying it agree."""
    with ledger.database.read() as tx:
        batches = tx.rows(
            "SELECT COALESCE(SUM(reserved), 0) AS amount FROM batch WHERE campaign_id = :id", id=campaign.id
        )
        messages = tx.rows(
            "SELECT COALESCE(SUM(CASE WHEN m.cost IS NOT NULL THEN m.cost WHEN m.state IN ('submitted', 'unknown',"
            " 'delivered', 'undelivered', 'expired', 'unconfirmed') THEN m.segments * COALESCE(b.rate, 0)"
            " WHEN m.state = 'queued' AND b.state = 'submitting' THEN m.segments * COALESCE(b.rate, 0) ELSE 0 END), 0)"
            " AS amount FROM batch b JOIN message m ON m.id / 16384 = b.id WHERE b.campaign_id = :id",
            id=campaign.id,
        )
    found = ledger.campaigns.get(campaign.public_id).committed
    assert found * 1_000_000 == batches[0].amount == messages[0].amount
    return found


def spent_on_day(ledger: Ledger) -> Decimal:
    day = ledger.spending.latest_day("winsms")
    return Decimal(0) if day is None else day[1]


def test_an_attempt_reserves_and_what_is_learned_replaces_it(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=5, budget=Decimal(100), segment_price=TWO)
    first, second, third, fourth, fifth = (attempt(ledger) for _ in range(5))
    assert committed(ledger, campaign) == 30
    ledger.outcomes.not_submitted(first, now=NOW, why="no connection", due_at=LATER)
    assert committed(ledger, campaign) == 24
    answered(ledger, second, Decimal("1.5"), refused=1)
    assert committed(ledger, campaign) == 21
    answered(ledger, third, None, refused=1, missing=1)
    assert committed(ledger, campaign) == 19
    ledger.outcomes.refused(fourth, now=NOW, why="malformed")
    assert committed(ledger, campaign) == 13
    ledger.outcomes.unknown(fifth, now=NOW, why="no answer", receipt_window=WINDOW)
    assert committed(ledger, campaign) == 13
    assert spent_on_day(ledger) == 13


def test_receipts_bring_costs_and_recalls_give_back(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=2, budget=Decimal(100), segment_price=TWO)
    answered(ledger, attempt(ledger), None)
    (awaited,) = ledger.receipts.due("winsms", now=NOW, most=100)
    told = [Receipt(message_id=one, state=MessageState.DELIVERED, cost=Decimal("2.5")) for one in awaited.message_ids]
    ledger.receipts.apply(told[:2], asked={}, who="t", now=NOW)
    assert committed(ledger, campaign) == 7
    answered(ledger, attempt(ledger), Decimal(2))
    (waiting,) = [one for one in ledger.receipts.due("winsms", now=NOW, most=100) if one.batch_id != awaited.batch_id]
    first, second, third = waiting.message_ids
    ledger.receipts.record_recalled({first: Decimal(2), second: Decimal("0.5"), third: None}, who="t", now=NOW)
    assert committed(ledger, campaign) == 7 + Decimal("1.5") + 2
    assert spent_on_day(ledger) == Decimal("10.5")


def test_doubts_keep_what_is_reserved_until_they_are_settled(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=3, budget=Decimal(100), segment_price=TWO)
    for _ in range(3):
        ledger.outcomes.unknown(attempt(ledger), now=NOW, why="no answer", receipt_window=WINDOW)
    assert committed(ledger, campaign) == 18
    freed, found, left = ledger.doubts.listed()
    ledger.doubts.free(freed, evidence="absent", who="t", now=NOW)
    assert committed(ledger, campaign) == 12
    content = ledger.doubts.content(found)
    answers = Answers(provider_message_ids=[None] * 3, costs=[Decimal(1)] * 3, refused={0: Refusal(reason="no")})
    ledger.doubts.adopt(found, content, answers, evidence="seen", who="t", now=NOW, receipt_window=WINDOW)
    assert committed(ledger, campaign) == 8
    # Given up: it may have been sent, so it goes on counting.
    ledger.doubts.give_up(left, who="t", now=NOW)
    assert committed(ledger, campaign) == 8


def test_leases_that_end_keep_or_give_back(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=2, budget=Decimal(100), segment_price=TWO)
    late = attempt(ledger)
    assert take(ledger) is not None
    ledger.outcomes.settle_expired(now=LATER, receipt_windows={})
    assert committed(ledger, campaign) == 6
    assert ledger.outcomes.not_submitted(late, now=LATER, why="its time had passed")
    assert committed(ledger, campaign) == 0


def test_what_would_pass_the_budget_is_not_attempted(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=3, budget=Decimal("12.5"), segment_price=TWO)
    attempt(ledger)
    attempt(ledger)
    third = take(ledger)
    assert third is not None
    assert not ledger.batches.begin_attempt(third, now=NOW, lease=LEASE)
    short = ledger.spending.shortage(third, now=NOW)
    assert short is not None
    assert (short.budget, short.committed, short.cost, short.day) == (Decimal("12.5"), 12, 6, None)
    ledger.spending.set_budget(ledger.campaigns.get(campaign.public_id), Decimal(18), price=None, who="t", now=NOW)
    assert ledger.spending.shortage(third, now=NOW) is None
    assert ledger.batches.begin_attempt(third, now=NOW, lease=LEASE)
    assert committed(ledger, campaign) == 18


def test_the_budget_of_a_day_is_held_over_campaigns_and_ends_at_midnight(ledger: Ledger, enqueue: Enqueue) -> None:
    enqueue(batches=2, segment_price=TWO)
    enqueue(batches=2, segment_price=TWO)
    allowance = Allowance(per_day=Decimal(14))
    first = attempt(ledger, allowance=allowance)
    attempt(ledger, allowance=allowance)
    third = take(ledger, allowance=allowance)
    assert third is not None
    assert ledger.spending.held("winsms", allowance, now=NOW) is None
    assert not ledger.batches.begin_attempt(third, now=NOW, lease=LEASE)
    short = ledger.spending.held("winsms", allowance, now=NOW)
    assert short is not None
    assert (short.committed, short.cost, short.day) == (12, 6, "2026-12-01")
    assert ledger.spending.shortage(third, now=NOW) == short
    # More room: another setting, something given back, or the next day.
    assert ledger.spending.held("winsms", Allowance(per_day=Decimal(18)), now=NOW) is None
    assert ledger.spending.held("winsms", allowance, now=NOW + timedelta(hours=15)) is None
    ledger.outcomes.not_submitted(first, now=NOW, why="no connection")
    assert ledger.spending.held("winsms", allowance, now=NOW) is None
    assert ledger.batches.begin_attempt(third, now=NOW, lease=LEASE)


def test_many_workers_never_pass_a_budget(ledger: Ledger, enqueue: Enqueue) -> None:
    budget, per_day = Decimal(60), Allowance(per_day=Decimal(95))
    campaigns = [enqueue(batches=20, budget=budget, segment_price=TWO), enqueue(batches=20, segment_price=TWO)]
    failures: list[BaseException] = []
    highest: list[Decimal] = []

    def work(owner: str) -> None:
        chance = random.Random(owner)
        try:
            for _ in range(15):
                taken = take(ledger, owner=owner, allowance=per_day)
                if taken is None:
                    continue
                if not ledger.batches.begin_attempt(taken, now=NOW, lease=LEASE):
                    assert ledger.spending.shortage(taken, now=NOW) is not None or highest
                    ledger.outcomes.hand_back(taken, now=NOW, why="no room")
                    continue
                found = ledger.campaigns.get(campaigns[0].public_id)
                highest.append(found.committed)
                match chance.randrange(5):
                    case 0:
                        ledger.outcomes.not_submitted(taken, now=NOW, why="no connection")
                    case 1:
                        ledger.outcomes.unknown(taken, now=NOW, why="no answer", receipt_window=WINDOW)
                    case 2:
                        ledger.outcomes.refused(taken, now=NOW, why="malformed")
                    case 3:
                        answered(ledger, taken, Decimal("1.5"), refused=1)
                    case _:
                        answered(ledger, taken, None, missing=1)
                for awaited in ledger.receipts.due("winsms", now=NOW, most=3):
                    # Never more than was told before: what a provider adds afterwards, no budget can hold.
                    cost = chance.choice([None, Decimal(1), Decimal("1.5")])
                    told = [
                        Receipt(message_id=one, state=MessageState.DELIVERED, cost=cost)
                        for one in awaited.message_ids
                    ]
                    ledger.receipts.apply(told, asked={}, who=owner, now=NOW)
        except BaseException as error:  # noqa: BLE001 - told by the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(f"w{index}",)) for index in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    assert 0 < max(highest) <= budget
    total = sum((committed(ledger, campaign) for campaign in campaigns), Decimal(0))
    assert total == spent_on_day(ledger) <= 95


def test_money_that_nobody_watches_costs_nothing(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=1, segment_price=TWO)
    answered(ledger, attempt(ledger), Decimal(1))
    assert committed_only(ledger, campaign) == 0
    assert ledger.spending.latest_day("winsms") is None


def committed_only(ledger: Ledger, campaign: Campaign) -> Decimal:
    return ledger.campaigns.get(campaign.public_id).committed


def test_a_budget_that_is_set_later_counts_what_was_sent(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=4)
    answered(ledger, attempt(ledger), Decimal("1.5"))
    answered(ledger, attempt(ledger), None)
    claimed = take(ledger)
    assert claimed is not None
    in_flight = attempt(ledger)
    with pytest.raises(UsageError, match="without a price"):
        ledger.spending.set_budget(campaign, Decimal(50), price=None, who="t", now=NOW)
    with pytest.raises(LedgerError, match="in flight"):
        ledger.spending.set_budget(campaign, Decimal(50), price=TWO, who="t", now=NOW)
    ledger.outcomes.unknown(in_flight, now=NOW, why="no answer", receipt_window=WINDOW)
    ledger.spending.set_budget(campaign, Decimal(50), price=TWO, who="t", now=NOW)
    assert committed(ledger, campaign) == Decimal("4.5") + 6 + 6
    # The claim of before the budget does not pass by it.
    assert not ledger.batches.begin_attempt(claimed, now=NOW, lease=LEASE)
    ledger.outcomes.hand_back(claimed, now=NOW, why="a budget was set")
    attempt(ledger)
    assert committed(ledger, campaign) == Decimal("22.5")


@pytest.mark.parametrize(("asked", "paused"), [("2.3", False), ("2.5", True), ("1.5", True)])
def test_a_price_that_is_not_the_forecast_pauses_once(
    ledger: Ledger, enqueue: Enqueue, asked: str, paused: bool
) -> None:
    campaign = enqueue(batches=3, size=20, budget=Decimal(500), segment_price=TWO, rules={"price_drift": 0.2})
    with ledger.database.write() as tx:
        tx.run("UPDATE batch SET price = 3000000 WHERE number = 3")
    old = attempt(ledger)
    answered(ledger, attempt(ledger), Decimal(asked))
    found = ledger.campaigns.get(campaign.public_id)
    assert (found.state is CampaignState.PAUSED) == paused
    if not paused:
        return
    assert f"winsms charges {asked} a segment" in str(found.reason)
    assert found.segment_price == Decimal(asked)
    ledger.campaigns.move(found, CampaignState.RUNNING, who="t", now=NOW)
    answered(ledger, old, Decimal(asked))  # attempted at the old forecast: known already
    before = committed(ledger, campaign)
    answered(ledger, attempt(ledger), Decimal(asked) * Decimal("1.5"))  # as forecast for that batch, now
    assert ledger.campaigns.get(campaign.public_id).state is CampaignState.RUNNING
    assert committed(ledger, campaign) == before + 20 * Decimal(asked) * Decimal("1.5")


def test_prices_by_batch_are_reserved_exactly(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=2, budget=Decimal(100), segment_price=TWO)
    with ledger.database.write() as tx:
        tx.run("UPDATE campaign SET state = state WHERE id = :id", id=campaign.id)
    ledger.spending.set_prices(
        campaign.id,
        batches={1: Decimal("0.5"), 2: Decimal("3.25")},
        prices={"winsms": Decimal("1.875")},
        first="winsms",
    )
    attempt(ledger)
    assert committed(ledger, campaign) == Decimal("1.5")
    attempt(ledger)
    assert committed(ledger, campaign) == Decimal("11.25")
    found = ledger.campaigns.get(campaign.public_id)
    assert (found.segment_price, found.rules["prices"]) == (Decimal("1.875"), {"winsms": "1.875"})


def test_without_a_price_nothing_is_attempted_under_a_budget(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=1)
    taken = take(ledger, allowance=Allowance(per_day=Decimal(100)))
    assert taken is not None
    assert not ledger.batches.begin_attempt(taken, now=NOW, lease=LEASE)
    short = ledger.spending.shortage(taken, now=NOW)
    assert short is not None
    assert short.cost is None
    ledger.outcomes.hand_back(taken, now=NOW, why="no price")
    attempt(ledger, allowance=Allowance(per_day=Decimal(100), price=TWO))
    assert committed(ledger, campaign) == 6
