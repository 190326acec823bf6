"""What several threads want of small batches is done in one go, and comes to the same as if each had done it alone."""

import threading
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from dispatcher.errors import LedgerError
from dispatcher.ledger import Answered, Ledger
from dispatcher.ledger.answers import record_answers
from dispatcher.ledger.claims import Taken, Wish
from dispatcher.ledger.lots import claim_and_begin_several
from dispatcher.ledger.outcomes import _record_lot
from dispatcher.ledger.together import Together
from dispatcher.ledger.trail import ByCampaign, count_several
from dispatcher.ledger.transaction import Transaction
from dispatcher.provider import Answers
from tests.ledger.conftest import LEASE, NOW, WINDOW, Enqueue, numbers

LATER = NOW + timedelta(seconds=1)


def wish(*, ready: bool = True, before: Answered | None = None) -> Wish:
    return Wish(
        provider="winsms", owner="w1", now=NOW, lease=LEASE, ready=lambda *_: ready, allowance=None, before=before
    )  # fmt: skip


def take(ledger: Ledger, wishes: Sequence[Wish]) -> list[Taken | None]:
    """Fulfil wishes, as many at once as can be."""
    taken: list[Taken | None] = []
    while len(taken) < len(wishes):
        with ledger.database.write() as tx:
            taken += claim_and_begin_several(tx, wishes[len(taken) :])
    return taken


def answered(taken: Taken | None, **more: Any) -> Answered:
    assert taken is not None
    claim, content, begun = taken
    assert begun
    many = len(content.positions)
    answers = Answers(
        provider_message_ids=[f"p{claim.number}.{index}" for index in range(many)],
        costs=[Decimal("0.5")] * many,
        **more,
    )
    return Answered(claim=claim, content=content, answers=answers, now=LATER, receipt_window=WINDOW)


def record(ledger: Ledger, several: Sequence[Answered]) -> list[bool]:
    if not several:
        return []
    with ledger.database.write() as tx:
        return _record_lot(tx, several)


TABLES = {
    "batch": "state, reason, attempt, owner, lease_until, provider_reference, submitted_at, receipts_due_at, receipts_until,"
    " attempted_at, look_up_at, reserved, messages, segments",
    "message": "msisdn, state, reason, provider_message_id, cost, settled_at",
    "attempt": "number, worker, started_at, ended_at, outcome, evidence",
    "event": "at, who, subject, what, before, after, why",
    "campaign": "state, served, committed",
}


def contents(ledger: Ledger) -> dict[str, Any]:
    """Everything that a submission leaves behind, in an order that does not tell how it came there."""
    with ledger.database.read() as tx:
        found: dict[str, Any] = {
            table: sorted(map(repr, tx.rows(f"SELECT {columns} FROM {table}"))) for table, columns in TABLES.items()
        }
        found["counter"] = tx.rows(
            "SELECT name, SUM(amount) AS amount FROM counter GROUP BY name HAVING SUM(amount) <> 0 ORDER BY name"
        )
    return found


def take_plainly(ledger: Ledger) -> Taken | None:
    """Claim and begin as for a large batch."""
    return ledger.batches.claim_and_begin("winsms", owner="w1", now=NOW, lease=LEASE, ready=lambda *_: True)


def record_plainly(ledger: Ledger, one: Answered) -> bool:
    """Record an answer as for a large batch."""
    changes: ByCampaign = {}
    with ledger.database.write() as tx:
        recorded = record_answers(tx, one, changes)
        count_several(tx, changes, batch_id=one.claim.batch_id)
    return recorded


def submit_four(ledger: Ledger, enqueue: Enqueue, *, at_once: int) -> dict[str, Any]:
    enqueue(batches=5, size=1)
    ledger.suppressions.add({numbers(3)[1]: "asked"}, source="test", now=NOW)
    wishes = [wish() for _ in range(4)]
    taken = [found for start in range(0, 4, at_once or 4) for found in take(ledger, wishes[start : start + at_once])]
    taken = taken or [take_plainly(ledger) for _ in wishes]
    sent = [answered(one) for one in taken if one is not None and one[1].positions]
    assert len(sent) == 3
    for start in range(0, 3, at_once or 3):
        record(ledger, sent[start : start + at_once])
    if not at_once:
        assert all(record_plainly(ledger, one) for one in sent)
    return contents(ledger)


def test_a_lot_leaves_behind_what_single_ones_do(ledger: Ledger, enqueue: Enqueue) -> None:
    left = []
    for at_once in (0, 1, 4):  # in the way of large batches; in a lot of one; in a lot of all
        left.append(submit_four(ledger, enqueue, at_once=at_once))
        for table in ("message", "attempt", "event", "batch", "campaign", "counter", "suppression"):
            with ledger.database.write() as tx:
                tx.run(f"DELETE FROM {table}")
    assert left[1] == left[0]
    assert left[2] == left[0]


def test_each_wish_gets_a_batch_of_its_own_and_what_is_too_many_gets_none(ledger: Ledger, enqueue: Enqueue) -> None:
    first, second = enqueue(batches=2, size=1), enqueue(batches=1, size=1)
    taken = take(ledger, [wish(), wish(ready=False), wish(), wish()])
    assert taken[3] is None
    found = [one for one in taken if one is not None]
    assert len({claim.batch_id for claim, _, _ in found}) == 3
    assert {claim.campaign for claim, _, _ in found} == {first.public_id, second.public_id}
    assert [begun for _, _, begun in found] == [True, False, True]
    for campaign in (first, second):
        assert ledger.reports.discrepancies(campaign) == []
    claimed = found[1][0]
    assert ledger.outcomes.hand_back(claimed, now=NOW, why="not ready")


def test_the_lease_of_a_lot_outlasts_that_of_each_of_its_wishes(ledger: Ledger, enqueue: Enqueue) -> None:
    enqueue(batches=2, size=1)
    late = Wish(
        provider="winsms", owner="w1", now=LATER, lease=2 * LEASE, ready=lambda *_: True, allowance=None
    )  # fmt: skip
    take(ledger, [wish(), late])
    with ledger.database.read() as tx:
        [least] = tx.rows("SELECT MIN(lease_until) AS until FROM batch WHERE state = 'submitting'")
    assert least.until == (LATER + 2 * LEASE).timestamp() * 1_000_000


def test_whose_money_is_watched_is_claimed_one_at_a_time_within_its_budget(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=3, size=1)
    ledger.spending.set_budget(campaign, Decimal(2), price=Decimal(1), who="test", now=NOW)
    with ledger.database.write() as tx:
        assert len(claim_and_begin_several(tx, [wish(), wish()])) == 1
    taken = take(ledger, [wish(), wish()])
    assert [one is not None and one[2] for one in taken] == [True, False]
    assert ledger.campaigns.get(campaign.public_id).committed == 2
    assert ledger.reports.discrepancies(campaign) == []


def test_of_a_lot_each_answer_is_recorded_as_its_claim_is_by_then(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=3, size=1)
    one, two, three = take(ledger, [wish() for _ in range(3)])
    assert two is not None
    assert three is not None
    # The second's lease ended before its answer came; the third never arrived, it was said, and another has it now.
    assert ledger.outcomes.unknown(two[0], now=NOW, why="its lease ended", receipt_window=WINDOW)
    assert ledger.outcomes.not_submitted(three[0], now=NOW, why="never arrived")
    again = ledger.batches.claim("winsms", owner="w2", now=NOW, lease=LEASE)
    assert again is not None
    assert again.batch_id == three[0].batch_id
    assert record(ledger, [answered(one), answered(two), answered(three)]) == [True, True, False]
    counts = ledger.campaigns.counts(ledger.campaigns.get(campaign.public_id))
    assert {state.value: many for state, many in counts.messages.items() if many} == {"submitted": 2, "queued": 1}
    assert counts.cost == Decimal(1)
    assert ledger.reports.discrepancies(campaign) == []
    assert record(ledger, [answered(one), answered(two)]) == [False, False]


def test_the_answer_to_a_threads_last_request_is_recorded_with_its_next_claim(
    ledger: Ledger, enqueue: Enqueue
) -> None:
    campaign = enqueue(batches=3, size=1)
    first, second = take(ledger, [wish(), wish()])
    third, none = take(ledger, [wish(before=answered(first)), wish(before=answered(second))])
    assert third is not None
    assert none is None
    take(ledger, [wish(before=answered(third))])
    assert ledger.campaigns.counts(ledger.campaigns.get(campaign.public_id)).batches["submitted"] == 3
    assert ledger.reports.discrepancies(campaign) == []


@pytest.mark.parametrize("many", [1, 2])
def test_counters_are_taken_last_and_in_one_order(
    ledger: Ledger, enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    enqueue(batches=many, size=1), enqueue(batches=many, size=1, priority=1)
    of_second = take(ledger, [wish() for _ in range(many)])
    said: list[int] = []
    execute = Transaction._execute

    def listen(tx: Transaction, sql: str, parameters: Any) -> Any:
        said.append(parameters["campaign_id"] if sql.startswith("INSERT INTO counter") else 0)
        return execute(tx, sql, parameters)

    monkeypatch.setattr(Transaction, "_execute", listen)
    # Others count in the same order while they hold what they record: so neither waits for what the other has.
    of_first = take(ledger, [wish(before=answered(one)) for one in of_second])
    assert said[said.index(1) :] == [1, 2]
    said.clear()
    record(ledger, [answered(one) for one in of_first])
    assert said[said.index(1) :] == [1]


@pytest.mark.parametrize("late_first", [True, False])
def test_a_late_answer_is_kept_also_where_it_comes_together_with_that_of_the_next_attempt(
    ledger: Ledger, enqueue: Enqueue, late_first: bool
) -> None:
    campaign = enqueue(batches=1, size=1)
    [late] = take(ledger, [wish()])
    assert late is not None
    assert ledger.outcomes.not_submitted(late[0], now=NOW, why="never arrived, it was said")
    [again] = take(ledger, [wish()])
    lot = [answered(late), answered(again)]
    assert record(ledger, lot if late_first else lot[::-1]) == ([False, True] if late_first else [True, False])
    [told] = [one for one in ledger.reports.events(campaign) if one.what == "late outcome"]
    assert told.why == "attempt 1: 1 accepted, 0 refused, 0 not answered for"
    assert ledger.reports.discrepancies(campaign) == []


class Barred(Exception):
    """What a lot raises that has no business in a queue."""


def run(together: "Together[int, int]", asked: Sequence[int], served: threading.Event) -> dict[int, Any]:
    """Let a thread for each ask at once, all but the first while that one is being served; return what each got."""
    got: dict[int, Any] = {}

    def ask(one: int) -> None:
        try:
            got[one] = together.ask(one)
        except (LedgerError, Barred) as error:
            got[one] = type(error)

    threads = [threading.Thread(target=ask, args=(one,)) for one in asked]
    threads[0].start()
    served.wait(timeout=10)
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in threads)
    return got


@pytest.mark.parametrize("error", [LedgerError, Barred])
def test_a_lot_that_fails_is_tried_by_each_alone_and_nobody_waits_for_ever(
    error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    lots: list[list[int]] = []
    first = threading.Event()
    many = 40

    def serve(_: Any, asked: Sequence[int]) -> list[int]:
        lots.append(list(asked))
        if asked == [0]:
            first.set()
            while len(together._waiting) < many:
                pass
        if 7 in asked:
            raise error("seven")
        return [2 * one for one in asked]

    together: Together[int, int] = Together(lambda: nullcontext(None), serve)  # type: ignore[arg-type]
    got = run(together, range(many + 1), first)
    assert got.pop(7) is error
    assert [one for one, answer in got.items() if answer != 2 * one] == []
    # A bug must not be hidden.
    assert ("together.failed" in caplog.text) == (error is Barred)
    assert max(map(len, lots)) > 10
    assert not together._led


def test_answers_are_given_out_once_they_are_committed() -> None:
    committed: list[int] = []
    seen: list[int] = []
    first = threading.Event()

    @contextmanager
    def write() -> Any:
        lot: list[int] = []
        yield lot
        committed.extend(lot)

    def serve(lot: Any, asked: Sequence[int]) -> Sequence[int]:
        lot += asked
        first.set()
        return asked

    together: Together[int, int] = Together(write, serve)  # type: ignore[arg-type]

    def ask(one: int) -> None:
        together.ask(one)
        if one in committed:
            seen.append(one)

    threads = [threading.Thread(target=ask, args=(one,)) for one in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert sorted(seen) == list(range(50))
