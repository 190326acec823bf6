"""The reckoning sees each promise that is broken: it would be worth nothing if it could not fail."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dispatcher.ledger import Ledger, NewCampaign, PlannedBatch, PlanTotals, open_ledger
from dispatcher.message import MessageState, message_id
from dispatcher.provider import Answers, Receipt
from dispatcher.sandbox import Accepted, Outcome, Record
from tests.chaos.reckoning import _reckon, peak
from tests.chaos.world import Plan, Sent, World

NOW = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
LEASE = timedelta(seconds=60)
NUMBERS = [12025550100, 12025550101]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield opened
    opened.close()


@pytest.fixture
def record() -> Record:
    return Record(starting_credits=100)


def world(ledger: Ledger, provider: str, *, outcome: str) -> World:
    """A world of one campaign of two, whose only batch went so."""
    new = NewCampaign(
        public_id="c1", name="c1", provider=provider, template="hello", personalised=False, created_at=NOW
    )
    campaign_id = ledger.plans.begin(new, who="test", now=NOW)
    batch = PlannedBatch(numbers=NUMBERS, rows=[1, 2], segments=[1, 1], fields=None, due_at=NOW)
    ledger.plans.append(campaign_id, first_number=1, batches=[batch], excluded=[], now=NOW)
    ledger.plans.finish(campaign_id, PlanTotals(rows=2, messages=2, batches=1, segments=2), who="test", now=NOW)
    if outcome != "queued":
        claim = ledger.batches.claim(provider, owner="w", now=NOW, lease=LEASE)
        assert claim is not None
        content = ledger.batches.content(claim)
        assert ledger.batches.begin_attempt(claim, now=NOW, lease=LEASE)
        if outcome == "unknown":
            ledger.outcomes.unknown(claim, now=NOW, why="lost", receipt_window=LEASE)
        elif outcome == "refused":
            ledger.outcomes.refused(claim, now=NOW, why="no")
        else:
            answers = Answers(provider_message_ids=["1", "2"], costs=[None, None])
            ledger.outcomes.submitted(claim, content, answers, now=NOW, receipt_window=LEASE)
            settled = [
                Receipt(message_id=message_id(claim.batch_id, at), state=MessageState.DELIVERED, at=NOW)
                for at in range(2)
            ]
            ledger.receipts.apply(settled, asked={}, who="test", now=NOW)

    def ask(sql: str, **parameters: Any) -> Any:
        with ledger.database.read() as tx:
            return tx.rows(sql, **parameters)

    return cast(
        "World",
        SimpleNamespace(
            plan=Plan(seed=1, providers=(provider,), limit=2),
            campaigns=[Sent(campaign="c1", provider=provider, numbers=list(NUMBERS))],
            injected=Counter(),
            calm_from=None,
            ask=ask,
        ),
    )


def accept(record: Record, provider: str, *numbers: int, at: float = 1000.0) -> None:
    """Let the sandbox accept a text to these numbers, in one request."""
    entry = record.arrive(provider=provider, method="POST", path="/", arrived_at=at, sends=True)
    record.accept(
        [
            Accepted(
                provider, record.new_id(), str(number), "campaign 0: hello", 1, 0.0, at, entry.number, None, 0.0,
                Outcome.DELIVERED,
            )
            for number in numbers
        ]
    )  # fmt: skip


def broken(w: World, record: Record, ledger: Ledger) -> list[str]:
    return _reckon(w, record, ledger).wrong


def test_nothing_is_wrong_where_all_went_well(ledger: Ledger, record: Record) -> None:
    w = world(ledger, "bsg", outcome="delivered")
    accept(record, "bsg", *NUMBERS)
    assert broken(w, record, ledger) == []


def test_a_second_text_is_seen(ledger: Ledger, record: Record) -> None:
    w = world(ledger, "bsg", outcome="delivered")
    accept(record, "bsg", *NUMBERS)
    accept(record, "bsg", NUMBERS[0])
    assert broken(w, record, ledger) == ["bsg c1/1: texted 2 times (delivered)"]
    assert _reckon(w, record, ledger).duplicates == 1


def test_what_was_never_accepted_is_seen(ledger: Ledger, record: Record) -> None:
    w = world(ledger, "bsg", outcome="delivered")
    accept(record, "bsg", NUMBERS[0])
    assert broken(w, record, ledger) == ["bsg c1/1: delivered, but never accepted"]


def test_what_was_accepted_and_is_refused_is_seen(ledger: Ledger, record: Record) -> None:
    w = world(ledger, "bsg", outcome="refused")
    accept(record, "bsg", NUMBERS[0])
    assert broken(w, record, ledger) == ["bsg c1/1: accepted, but refused"]


@pytest.mark.parametrize(("provider", "kept"), [("bsg", False), ("sakari", False), ("winsms", True)])
def test_unknown_is_only_for_those_who_cannot_tell(
    provider: str, *, kept: bool, ledger: Ledger, record: Record
) -> None:
    w = world(ledger, provider, outcome="unknown")
    assert (broken(w, record, ledger) == []) is kept


def test_what_is_forgotten_is_seen(ledger: Ledger, record: Record) -> None:
    w = world(ledger, "bsg", outcome="queued")
    assert broken(w, record, ledger) == ["bsg c1/1: still queued after all came to rest"] * 2
    w.campaigns[0].numbers.append(12025550102)
    assert "c1: row lost" in broken(w, record, ledger)
    assert _reckon(w, record, ledger).lost == 3


def test_a_request_after_the_cancel_is_seen(ledger: Ledger, record: Record) -> None:
    w = world(ledger, "bsg", outcome="delivered")
    accept(record, "bsg", *NUMBERS, at=1000.0)
    w.campaigns[0].cancelled_at = 999.5
    assert broken(w, record, ledger) == []
    w.campaigns[0].cancelled_at = 998.5
    assert broken(w, record, ledger) == ["bsg c1: a request 1.50 s after its cancel"]


def test_a_second_that_is_too_full_is_seen(ledger: Ledger, record: Record) -> None:
    w = world(ledger, "bsg", outcome="delivered")
    accept(record, "bsg", *NUMBERS)
    for at in (1000.2, 1000.4, 1000.6, 1000.8):
        record.arrive(provider="bsg", method="POST", path="/", arrived_at=at, sends=True)
    assert broken(w, record, ledger) == ["bsg: 5 requests in a second at a limit of 2"]
    assert peak([0.0, 0.5, 1.0, 1.4]) == 3
