"""What the ledger promises, on either engine."""

import stat
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from dispatcher.batch import BATCH_MOVES, BatchState
from dispatcher.campaign import CAMPAIGN_MOVES, CampaignState
from dispatcher.errors import CampaignNotFound, LedgerError, MoveNotAllowed
from dispatcher.ledger import Claim, Doubt, Ledger, NewCampaign, PlanTotals, open_ledger
from dispatcher.ledger.migrations.versions import v0001_ledger, v0002_owner
from dispatcher.message import MESSAGE_MOVES, MessageState
from dispatcher.provider import Answers, Receipt, Refusal
from tests.ledger.conftest import LEASE, NOW, WINDOW, Enqueue, claim, numbers

LATER = NOW + timedelta(seconds=61)


def accepted(
    many: int, *, refused: dict[int, Refusal] | None = None, missing: frozenset[int] = frozenset()
) -> Answers:
    return Answers(
        provider_message_ids=[f"p{index}" for index in range(many)],
        costs=[Decimal("1.3")] * many,
        refused=refused or {},
        missing=missing,
    )


def attempt(ledger: Ledger, *, scheduled_for: datetime | None = None, **kwargs: str) -> Claim:
    taken = claim(ledger, **kwargs)
    assert ledger.batches.begin_attempt(taken, now=NOW, lease=LEASE, scheduled_for=scheduled_for)
    return taken


def messages(ledger: Ledger, name: str) -> dict[str, int]:
    counts = ledger.campaigns.counts(ledger.campaigns.get(name))
    return {state.value: many for state, many in counts.messages.items() if many}


def batches(ledger: Ledger, name: str) -> dict[str, int]:
    counts = ledger.campaigns.counts(ledger.campaigns.get(name))
    return {state.value: many for state, many in counts.batches.items() if many}


def test_the_schema_holds_the_same_states_and_moves_as_the_code() -> None:
    def words(moves: dict) -> set[str]:
        return {f"{a.value}>{b.value}" for a, targets in moves.items() for b in targets}

    assert set(v0001_ledger.MESSAGE_STATES) == {state.value for state in MessageState}
    assert set(v0001_ledger.BATCH_STATES) == {state.value for state in BatchState}
    assert set(v0001_ledger.CAMPAIGN_STATES) == {state.value for state in CampaignState}
    assert set(v0001_ledger.MESSAGE_MOVES) == words(MESSAGE_MOVES)
    assert set(v0002_owner.MESSAGE_STATES) == {state.value for state in MessageState}
    moves = v0002_owner.MESSAGE_MOVES
    assert {f"{before}>{after}" for before in moves for after in moves[before]} == words(MESSAGE_MOVES)
    assert set(v0001_ledger.BATCH_MOVES) == words(BATCH_MOVES)
    assert set(v0001_ledger.CAMPAIGN_MOVES) == words(CAMPAIGN_MOVES)


def test_a_campaign_is_sent_recorded_and_confirmed(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=1, size=3)
    taken = claim(ledger)
    content = ledger.batches.content(taken)
    assert content.numbers == numbers(3)
    assert content.rows == [1, 2, 3]
    assert ledger.batches.begin_attempt(taken, now=NOW, lease=LEASE)
    answers = accepted(3, refused={1: Refusal(reason="BADDEST")})
    assert ledger.outcomes.submitted(taken, content, answers, now=NOW, receipt_window=WINDOW)
    assert messages(ledger, campaign.public_id) == {"submitted": 2, "refused": 1}
    (awaited,) = ledger.receipts.due("winsms", now=NOW, most=1000)
    assert awaited.provider_message_ids == ["p0", "p2"]
    settlements = [Receipt(message_id=i, state=MessageState.DELIVERED, at=NOW) for i in awaited.message_ids]
    assert ledger.receipts.apply(settlements, asked={awaited.batch_id: NOW}, who="t", now=NOW) == 2
    assert ledger.receipts.apply(settlements, asked={awaited.batch_id: NOW}, who="t", now=NOW) == 0
    assert ledger.receipts.due("winsms", now=NOW, most=1000) == []
    assert ledger.campaigns.advance(who="t", now=NOW) == [(campaign.public_id, CampaignState.COMPLETED)]
    counts = ledger.campaigns.counts(campaign)
    assert counts.cost == Decimal("2.6")
    assert counts.segments_submitted == 2
    lines = list(ledger.reports.lines(campaign))
    assert [(line.row, line.state) for line in lines] == [
        (1, "delivered"),
        (2, "refused"),
        (3, "delivered"),
        (4, "duplicate"),
    ]
    assert ledger.reports.discrepancies(ledger.campaigns.get(campaign.public_id)) == []


def test_two_workers_never_hold_one_batch(ledger: Ledger, enqueue: Enqueue) -> None:
    enqueue(batches=40, size=1)
    taken: list[int] = []
    failures: list[BaseException] = []

    def work(owner: str) -> None:
        try:
            while (found := ledger.batches.claim("winsms", owner=owner, now=NOW, lease=LEASE)) is not None:
                taken.append(found.batch_id)
        except BaseException as error:  # noqa: BLE001 - told by the test
            failures.append(error)

    threads = [threading.Thread(target=work, args=(f"w{index}",)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(taken) == len(set(taken)) == 40


def test_a_paused_or_cancelled_campaign_gives_no_claim_and_no_attempt(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue()
    taken = claim(ledger)
    ledger.campaigns.move(campaign, CampaignState.PAUSED, who="t", now=NOW, reason="by hand")
    assert not ledger.batches.begin_attempt(taken, now=NOW, lease=LEASE)
    assert ledger.batches.claim("winsms", owner="w2", now=NOW, lease=LEASE) is None
    assert ledger.outcomes.hand_back(taken, now=NOW, why="paused")
    ledger.campaigns.move(campaign, CampaignState.RUNNING, who="t", now=NOW)
    taken = claim(ledger)
    ledger.campaigns.move(campaign, CampaignState.CANCELLED, who="t", now=NOW)
    assert not ledger.batches.begin_attempt(taken, now=NOW, lease=LEASE)
    assert ledger.outcomes.hand_back(taken, now=NOW, why="cancelled")
    while ledger.campaigns.settle_cancelled(who="t", now=NOW):
        pass
    assert messages(ledger, campaign.public_id) == {"cancelled": 6}
    assert batches(ledger, campaign.public_id) == {"cancelled": 2}
    with pytest.raises(MoveNotAllowed):
        ledger.campaigns.move(campaign, CampaignState.RUNNING, who="t", now=NOW)


def test_an_expired_claim_is_pending_again_and_an_expired_attempt_is_unknown(
    ledger: Ledger, enqueue: Enqueue
) -> None:
    campaign = enqueue(batches=2)
    claimed, attempted = claim(ledger, owner="w1"), claim(ledger, owner="w2")
    assert ledger.batches.begin_attempt(attempted, now=NOW, lease=LEASE)
    assert ledger.outcomes.settle_expired(now=NOW, receipt_windows={}) == 0
    assert ledger.outcomes.settle_expired(now=LATER, receipt_windows={}) == 2
    assert batches(ledger, campaign.public_id) == {"pending": 1, "unknown": 1}
    assert messages(ledger, campaign.public_id) == {"queued": 3, "unknown": 3}
    # The worker that was taken for dead may not attempt what it had claimed.
    assert not ledger.batches.begin_attempt(claimed, now=LATER, lease=LEASE)
    again = claim(ledger, owner="w3", now=LATER)
    assert again.batch_id == claimed.batch_id
    assert again.attempt == claimed.attempt + 1
    # An unknown batch is never claimed.
    assert ledger.batches.claim("winsms", owner="w3", now=LATER, lease=LEASE) is None
    assert ledger.campaigns.advance(who="t", now=LATER) == []


def test_a_worker_that_lost_its_lease_cannot_record_over_its_successor(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=1)
    first = attempt(ledger)
    content = ledger.batches.content(first)
    assert ledger.outcomes.not_submitted(first, now=NOW, why="connection refused")
    second = attempt(ledger, owner="w2")
    assert second.batch_id == first.batch_id
    assert not ledger.outcomes.submitted(first, content, accepted(3), now=NOW, receipt_window=WINDOW)
    assert batches(ledger, campaign.public_id) == {"submitting": 1}
    late = [event for event in ledger.reports.events(campaign) if event.what == "late outcome"]
    assert [event.why for event in late] == ["attempt 1: 3 accepted, 0 refused, 0 not answered for"]
    assert ledger.outcomes.submitted(second, content, accepted(3), now=NOW, receipt_window=WINDOW)


def test_the_worker_itself_settles_what_its_expired_lease_left_unknown(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=1)
    taken = attempt(ledger)
    content = ledger.batches.content(taken)
    ledger.outcomes.settle_expired(now=LATER, receipt_windows={})
    assert messages(ledger, campaign.public_id) == {"unknown": 3}
    answers = accepted(3, refused={0: Refusal(reason="BADDEST")})
    assert ledger.outcomes.submitted(taken, content, answers, now=LATER, receipt_window=WINDOW)
    assert messages(ledger, campaign.public_id) == {"submitted": 2, "refused": 1}
    assert ledger.reports.discrepancies(campaign) == []


def test_a_late_certainty_that_nothing_was_sent_frees_an_unknown_batch(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=1)
    taken = attempt(ledger)
    ledger.outcomes.settle_expired(now=LATER, receipt_windows={})
    assert ledger.outcomes.not_submitted(taken, now=LATER, why="not sent: its time had passed")
    assert messages(ledger, campaign.public_id) == {"queued": 3}
    assert claim(ledger, now=LATER).attempt == 2


def test_outcomes_for_the_whole_batch(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=3)
    ledger.outcomes.unknown(attempt(ledger), now=NOW, why="reset", receipt_window=WINDOW)
    ledger.outcomes.refused(attempt(ledger), now=NOW, why="400 bad")
    later = NOW + timedelta(seconds=5)
    ledger.outcomes.not_submitted(attempt(ledger), now=NOW, why="throttled", due_at=later)
    assert batches(ledger, campaign.public_id) == {"unknown": 1, "refused": 1, "pending": 1}
    assert messages(ledger, campaign.public_id) == {"unknown": 3, "refused": 3, "queued": 3}
    assert ledger.batches.due("winsms", now=NOW, most=10) == 0
    assert ledger.batches.due("winsms", now=later, most=10) == 1


def test_messages_that_the_answer_left_out_are_unknown(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=1)
    taken = attempt(ledger)
    answers = accepted(3, missing=frozenset({1}))
    ledger.outcomes.submitted(taken, ledger.batches.content(taken), answers, now=NOW, receipt_window=WINDOW)
    assert messages(ledger, campaign.public_id) == {"submitted": 2, "unknown": 1}
    assert ledger.receipts.close_windows(who="t", now=NOW + WINDOW) == 3
    assert messages(ledger, campaign.public_id) == {"unconfirmed": 3}
    assert ledger.campaigns.advance(who="t", now=NOW + WINDOW) == [(campaign.public_id, CampaignState.COMPLETED)]


def test_who_waits_for_a_receipt_is_found_behind_any_number_of_batches_that_are_all_told_of(
    ledger: Ledger, enqueue: Enqueue
) -> None:
    enqueue(batches=30, size=1)
    for _ in range(30):
        taken = attempt(ledger)
        ledger.outcomes.submitted(taken, ledger.batches.content(taken), accepted(1), now=NOW, receipt_window=WINDOW)
    *told_of, waiting = ledger.receipts.due("winsms", now=NOW, most=30)
    told = [Receipt(message_id=one.message_ids[0], state=MessageState.DELIVERED) for one in told_of]
    asked = {one.batch_id: NOW for one in [*told_of, waiting]}
    assert ledger.receipts.apply(told, asked=asked, who="t", now=NOW) == 29
    assert ledger.receipts.due("winsms", now=NOW, most=10) == [replace(waiting, asked_at=NOW)]


def test_a_late_receipt_settles_an_unconfirmed_message_once(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=1, size=1)
    taken = attempt(ledger)
    ledger.outcomes.submitted(taken, ledger.batches.content(taken), accepted(1), now=NOW, receipt_window=WINDOW)
    (awaited,) = ledger.receipts.due("winsms", now=NOW, most=10)
    ledger.receipts.close_windows(who="t", now=NOW + WINDOW)
    late = Receipt(message_id=awaited.message_ids[0], state=MessageState.DELIVERED)
    assert ledger.receipts.apply([late], asked={}, who="t", now=NOW + WINDOW) == 1
    other = Receipt(message_id=awaited.message_ids[0], state=MessageState.UNDELIVERED)
    assert ledger.receipts.apply([other], asked={}, who="t", now=NOW + WINDOW) == 0
    assert messages(ledger, campaign.public_id) == {"delivered": 1}


@pytest.mark.parametrize("table", ["message", "batch", "campaign"])
def test_the_database_itself_refuses_a_wrong_move(ledger: Ledger, enqueue: Enqueue, url: str, table: str) -> None:
    enqueue()
    wrong = {"message": "delivered", "batch": "submitted", "campaign": "draft"}[table]
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with pytest.raises(Exception, match="no such move"), engine.begin() as connection:
        connection.execute(text(f"UPDATE {table} SET state = '{wrong}'"))
    engine.dispose()


def test_a_number_suppressed_after_planning_is_not_sent_to(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=2, size=2)
    ledger.suppressions.add({numbers(1)[0]: "opted out"}, source="test", now=NOW)
    taken = claim(ledger)
    assert ledger.batches.content(taken).numbers == numbers(2)[1:]
    # Between the claim and the attempt, too.
    ledger.suppressions.add({numbers(2)[1]: "opted out"}, source="test", now=NOW)
    assert not ledger.batches.begin_attempt(taken, now=NOW, lease=LEASE)
    ledger.outcomes.hand_back(taken, now=NOW, why="suppressed")
    empty = claim(ledger)
    assert ledger.batches.content(empty).numbers == []
    ledger.outcomes.hand_back(empty, now=NOW, why="empty")
    assert messages(ledger, campaign.public_id) == {"suppressed": 2, "queued": 2}
    assert batches(ledger, campaign.public_id) == {"cancelled": 1, "pending": 1}
    assert ledger.suppressions.among(numbers(4)) == set(numbers(2))
    assert ledger.suppressions.remove(numbers(2)) == 2


def test_campaigns_share_a_provider_fairly(ledger: Ledger, enqueue: Enqueue) -> None:
    enqueue(batches=3)
    claim(ledger)
    enqueue(batches=3)
    order = [claim(ledger).campaign for _ in range(4)]
    assert sorted(order) == ["c0000001", "c0000001", "c0000002", "c0000002"]


def test_a_draft_never_sends_and_is_swept_when_its_planner_died(ledger: Ledger) -> None:
    new = NewCampaign(
        public_id="cdraft", name="x", provider="winsms", template="Hi", personalised=False, created_at=NOW, key="k"
    )
    campaign_id = ledger.plans.begin(new, who="t", now=NOW)
    assert ledger.batches.claim("winsms", owner="w", now=NOW, lease=LEASE) is None
    with pytest.raises(LedgerError, match="another enqueue is planning it"):
        ledger.plans.begin(new, who="t", now=NOW)
    later = NOW + timedelta(minutes=6)
    assert ledger.plans.discard_abandoned(now=later) == 1
    with pytest.raises(CampaignNotFound):
        ledger.campaigns.get("cdraft")
    with pytest.raises(LedgerError, match="discarded"):
        ledger.plans.append(campaign_id, first_number=1, batches=[], excluded=[], now=later)
    with pytest.raises(LedgerError, match="discarded"):
        ledger.plans.finish(campaign_id, PlanTotals(), who="t", now=later)


def test_what_is_recalled_is_cancelled_and_its_refund_recorded(ledger: Ledger, enqueue: Enqueue) -> None:
    send_at = NOW + timedelta(hours=1)
    campaign = enqueue(batches=1, size=2, send_at=send_at)
    assert campaign.state is CampaignState.SCHEDULED
    taken = attempt(ledger, scheduled_for=send_at)
    ledger.outcomes.submitted(taken, ledger.batches.content(taken), accepted(2), now=NOW, receipt_window=WINDOW)
    assert sorted(ledger.receipts.scheduled("winsms", now=NOW)) == ["p0", "p1"]
    assert ledger.receipts.due("winsms", now=NOW, most=10) == []
    assert ledger.receipts.to_recall("winsms", now=NOW) == {}
    ledger.campaigns.move(campaign, CampaignState.CANCELLED, who="t", now=NOW)
    recall = ledger.receipts.to_recall("winsms", now=NOW)
    assert ledger.receipts.record_recalled({recall["p0"]: Decimal("1.3")}, who="t", now=NOW) == 1
    counts = ledger.campaigns.counts(campaign)
    assert (counts.cost, counts.refunded) == (Decimal("1.3"), Decimal("1.3"))
    assert messages(ledger, campaign.public_id) == {"cancelled": 1, "submitted": 1}
    assert ledger.reports.discrepancies(campaign) == []


def test_a_scheduled_campaign_starts_at_its_time(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(send_at=NOW + timedelta(hours=1))
    assert ledger.campaigns.advance(who="t", now=NOW) == []
    later = NOW + timedelta(hours=1)
    assert ledger.campaigns.advance(who="t", now=later) == [(campaign.public_id, CampaignState.RUNNING)]


def test_leases_are_held_by_one_and_pass_on_when_they_end(ledger: Ledger) -> None:
    short = timedelta(seconds=5)
    assert ledger.leases.acquire("pump", owner="a", now=NOW, length=short)
    assert not ledger.leases.acquire("pump", owner="b", now=NOW, length=short)
    assert ledger.leases.acquire("pump", owner="a", now=NOW, length=short)
    assert ledger.leases.acquire("pump", owner="b", now=NOW + short, length=short)
    taken = [ledger.leases.acquire_one("s", 2, owner=o, now=NOW, length=short) for o in "abc"]
    assert taken == ["s:0", "s:1", None]
    assert ledger.leases.held("s", now=NOW) == 2
    ledger.leases.release("s:0", owner="a")
    assert ledger.leases.held("s", now=NOW) == 1
    assert ledger.leases.acquire_one("s", 2, owner="c", now=NOW, length=short) == "s:0"


def test_heartbeats(ledger: Ledger) -> None:
    ledger.leases.beat("w1", started_at=NOW, worked_at=None, now=NOW)
    ledger.leases.beat("w1", started_at=NOW, worked_at=NOW, now=LATER)
    (seen,) = ledger.leases.workers()
    assert (seen.name, seen.seen_at, seen.worked_at) == ("w1", LATER, NOW)
    ledger.leases.gone("w1")
    assert ledger.leases.workers() == []


def test_a_name_finds_its_campaign_unless_two_have_it(ledger: Ledger) -> None:
    for public_id in ("c1", "c2"):
        new = NewCampaign(
            public_id=public_id, name="spring", provider="winsms", template="x", personalised=False, created_at=NOW
        )
        ledger.plans.finish(ledger.plans.begin(new, who="t", now=NOW), PlanTotals(), who="t", now=NOW)
    assert ledger.campaigns.get("c1").name == "spring"
    with pytest.raises(CampaignNotFound, match="c1"):
        ledger.campaigns.get("spring")
    with pytest.raises(CampaignNotFound, match="dispatcher list"):
        ledger.campaigns.get("nope")


def test_opening_again_keeps_everything(url: str, enqueue: Enqueue, ledger: Ledger) -> None:
    campaign = enqueue()
    again = open_ledger(url)
    assert again.campaigns.get(campaign.public_id).totals == campaign.totals
    assert [found.public_id for found in again.campaigns.latest()] == [campaign.public_id]
    again.close()


def test_a_ledger_of_a_newer_version_is_refused(url: str, ledger: Ledger) -> None:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(LedgerError, match="newer"):
        open_ledger(url)


def test_the_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "home" / "ledger.db"
    open_ledger(f"sqlite:///{path}").close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# --- Doubts -----------------------------------------------------------------------------------------------------------


def doubtful(ledger: Ledger) -> Doubt:
    ledger.outcomes.unknown(attempt(ledger), now=NOW, why="reset", receipt_window=WINDOW)
    (doubt,) = ledger.doubts.due("winsms", now=NOW)
    return doubt


def test_a_doubt_is_adopted_once_the_provider_is_seen_to_have_it(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=1)
    doubt = doubtful(ledger)
    assert (doubt.whole, doubt.messages, doubt.reason) == (True, 3, "reset")
    content = ledger.doubts.content(doubt)
    told = {"evidence": "in the scheduled list", "who": "t", "now": LATER, "receipt_window": WINDOW}
    partly = accepted(3, missing=frozenset({2}))
    assert ledger.doubts.adopt(doubt, content, partly, **told)
    assert not ledger.doubts.adopt(doubt, content, partly, **told)
    assert messages(ledger, campaign.public_id) == {"submitted": 2, "unknown": 1}
    assert batches(ledger, campaign.public_id) == {"submitted": 1}
    (rest,) = ledger.doubts.listed()
    assert (rest.whole, rest.messages) == (False, 1)
    assert not ledger.doubts.free(rest, evidence="x", who="t", now=LATER)
    assert ledger.reports.discrepancies(campaign) == []
    (event,) = [event for event in ledger.reports.events(campaign) if event.what == "adopted"]
    assert event.why == "in the scheduled list: 2 accepted, 0 refused, 1 not answered for"


def test_a_doubt_that_is_freed_is_sent_again_and_not_twice(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=1)
    doubt = doubtful(ledger)
    assert ledger.doubts.free(doubt, evidence="never arrived", who="t", now=LATER)
    assert not ledger.doubts.free(doubt, evidence="never arrived", who="t", now=LATER)
    assert messages(ledger, campaign.public_id) == {"queued": 3}
    again = claim(ledger, now=LATER)
    assert again.attempt == doubt.attempt + 1
    assert ledger.doubts.listed(campaign_id=campaign.id) == []
    assert ledger.reports.discrepancies(campaign) == []


def test_a_doubt_may_be_postponed_or_given_up(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=1)
    doubt = doubtful(ledger)
    ledger.doubts.postpone(doubt, until=LATER, evidence="not yet", who="t", now=NOW)
    assert ledger.doubts.due("winsms", now=NOW) == []
    assert len(ledger.doubts.due("winsms", now=LATER)) == 1
    ledger.doubts.postpone(doubt, until=None, evidence="no means", who="t", now=NOW)
    assert ledger.doubts.due("winsms", now=LATER) == []
    assert ledger.doubts.give_up(doubt, who="t", now=NOW) == 3
    assert messages(ledger, campaign.public_id) == {"unconfirmed": 3}
    assert ledger.doubts.listed() == []
    assert ledger.campaigns.advance(who="t", now=NOW) == [(campaign.public_id, CampaignState.COMPLETED)]


# --- Found by reading with a hostile eye ------------------------------------------------------------------------------


def test_a_refusal_that_comes_after_the_lease_settles_every_message(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=1)
    taken = attempt(ledger)
    ledger.outcomes.settle_expired(now=LATER, receipt_windows={})
    assert ledger.outcomes.refused(taken, now=LATER, why="400 bad")
    assert messages(ledger, campaign.public_id) == {"refused": 3}
    assert ledger.reports.discrepancies(campaign) == []
    assert ledger.campaigns.advance(who="t", now=LATER) == [(campaign.public_id, CampaignState.COMPLETED)]


@pytest.mark.parametrize("second", [MessageState.DELIVERED, MessageState.UNDELIVERED])
def test_two_receipts_for_one_message_in_one_answer_count_once(
    ledger: Ledger, enqueue: Enqueue, second: MessageState
) -> None:
    campaign = enqueue(batches=1, size=2)
    taken = attempt(ledger)
    ledger.outcomes.submitted(taken, ledger.batches.content(taken), accepted(2), now=NOW, receipt_window=WINDOW)
    (awaited,) = ledger.receipts.due("winsms", now=NOW, most=10)
    told = [Receipt(message_id=one, state=MessageState.DELIVERED) for one in awaited.message_ids]
    told.append(Receipt(message_id=awaited.message_ids[0], state=second))
    assert ledger.receipts.apply(told, asked={}, who="t", now=NOW) == 2
    assert messages(ledger, campaign.public_id) == {"delivered": 2}
    assert ledger.reports.discrepancies(campaign) == []


def test_a_planner_that_wakes_up_while_its_draft_is_swept_makes_nothing_live(ledger: Ledger) -> None:
    new = NewCampaign(public_id="cx", name="x", provider="winsms", template="x", personalised=False, created_at=NOW)
    campaign_id = ledger.plans.begin(new, who="t", now=NOW)
    later = NOW + timedelta(minutes=6)
    refused: list[str] = []

    def wake_up() -> None:
        try:
            ledger.plans.finish(campaign_id, PlanTotals(), who="t", now=later)
        except LedgerError as error:
            refused.append(str(error))

    with ledger.database.write() as tx:
        lock = " FOR UPDATE" if tx.postgresql else ""
        tx.rows("SELECT id FROM campaign WHERE id = :id" + lock, id=campaign_id)
        planner = threading.Thread(target=wake_up)
        planner.start()
        tx.run("DELETE FROM event WHERE campaign_id = :id", id=campaign_id)
        tx.run("DELETE FROM campaign WHERE id = :id AND state = 'draft'", id=campaign_id)
    planner.join(timeout=30)
    assert len(refused) == 1
    assert ledger.campaigns.latest() == []


def test_a_campaign_is_found_by_its_key(ledger: Ledger) -> None:
    new = NewCampaign(
        public_id="cy", name="y", provider="winsms", template="x", personalised=False, created_at=NOW, key="opening-1"
    )
    ledger.plans.finish(ledger.plans.begin(new, who="t", now=NOW), PlanTotals(), who="t", now=NOW)
    assert ledger.campaigns.get("opening-1").public_id == "cy"


def test_an_answer_that_accepts_everybody_is_recorded_with_each_ones_cost(ledger: Ledger, enqueue: Enqueue) -> None:
    for costs in ([Decimal(1)] * 3, [Decimal(1), None, Decimal("0.25")], [None] * 3):
        campaign = enqueue(batches=1)
        held = claim(ledger)
        content = ledger.batches.content(held)
        assert ledger.batches.begin_attempt(held, now=NOW, lease=LEASE)
        answers = Answers(provider_message_ids=["a,1", None, 'b"2'], costs=costs)
        assert ledger.outcomes.submitted(held, content, answers, now=NOW, receipt_window=WINDOW)
        lines = [line for line in ledger.reports.lines(campaign) if line.state == "submitted"]
        assert [line.provider_message_id for line in lines] == ["a,1", None, 'b"2']
        assert [line.cost for line in lines] == costs
        assert ledger.reports.discrepancies(campaign) == []


def test_an_attempt_may_be_recorded_with_its_claim(ledger: Ledger, enqueue: Enqueue) -> None:
    enqueue(batches=2)
    taken = ledger.batches.claim_and_begin("winsms", owner="w1", now=NOW, lease=LEASE, ready=lambda *_: True)
    assert taken is not None
    held, content, begun = taken
    assert begun
    assert len(content.numbers) == 3
    assert ledger.outcomes.unknown(held, now=NOW, why="lost", receipt_window=WINDOW)
    taken = ledger.batches.claim_and_begin("winsms", owner="w1", now=NOW, lease=LEASE, ready=lambda *_: False)
    assert taken is not None
    assert not taken[2]
    assert ledger.outcomes.hand_back(taken[0], now=NOW, why="not yet")


def test_many_receipts_that_differ_are_applied_each_as_it_is(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=1, size=60)
    held = claim(ledger)
    content = ledger.batches.content(held)
    assert ledger.batches.begin_attempt(held, now=NOW, lease=LEASE)
    costs = [Decimal(1)] * 20 + [None] * 20 + [Decimal(2)] * 20
    answers = Answers(provider_message_ids=[f"p{at}" for at in range(60)], costs=costs)
    assert ledger.outcomes.submitted(held, content, answers, now=NOW, receipt_window=WINDOW)
    [waiting] = ledger.receipts.due("winsms", now=NOW, most=100)
    ids = list(waiting.message_ids)
    told = [Receipt(message_id=one, state=MessageState.DELIVERED, cost=Decimal(1), at=NOW) for one in ids[1:]]
    told += [Receipt(message_id=ids[0], state=MessageState.UNDELIVERED, reason="BADDEST")]
    told += [Receipt(message_id=ids[5], state=MessageState.EXPIRED)]  # a second word about it
    assert ledger.receipts.apply(told, asked={}, who="w1", now=NOW) == 60
    assert ledger.receipts.apply(told, asked={}, who="w1", now=NOW) == 0
    counts = ledger.campaigns.counts(campaign)
    assert (counts.messages[MessageState.DELIVERED], counts.messages[MessageState.UNDELIVERED]) == (59, 1)
    assert counts.cost == 60
    assert ledger.reports.discrepancies(campaign) == []


def test_the_reasons_of_what_failed_are_counted(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=1, size=12)
    taken = claim(ledger)
    content = ledger.batches.content(taken)
    assert ledger.batches.begin_attempt(taken, now=NOW, lease=LEASE)
    refused = {
        0: Refusal(reason="BADDEST"),
        1: Refusal(reason="no credit, order 12345"),
        2: Refusal(reason="MSG-020"),
    }
    answers = accepted(12, refused=refused)
    ledger.outcomes.submitted(taken, content, answers, now=NOW, receipt_window=WINDOW)
    [batch] = ledger.receipts.due("winsms", now=NOW, most=20)
    told = [
        Receipt(message_id=one, state=MessageState.UNDELIVERED, reason="FAILED", at=NOW) for one in batch.message_ids
    ]
    ledger.receipts.apply(told, asked={}, who="t", now=NOW)
    assert ledger.campaigns.counts(campaign).reasons == {
        ("refused", "BADDEST"): 1,
        ("refused", "MSG-020"): 1,
        ("refused", "no credit, order …"): 1,
        ("undelivered", "FAILED"): 9,
    }
