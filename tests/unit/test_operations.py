"""Submitting, polling, taking back and sweeping, with a provider that does as it is told and a clock that stands."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from dispatcher import cancellation, receipts, recovery, submission, suppression
from dispatcher.account import Account
from dispatcher.campaign import CampaignState
from dispatcher.errors import (
    AuthenticationFailed,
    InsufficientCredit,
    InvalidRequest,
    LedgerError,
    OutcomeUnknown,
    Throttled,
    ThroughputUnavailable,
    Unreachable,
)
from dispatcher.ledger import Ledger, NewCampaign, PlannedBatch, PlanTotals, open_ledger
from dispatcher.message import MessageState
from dispatcher.provider import (
    Answers,
    Awaited,
    Capabilities,
    OptOut,
    OptOutPage,
    OutgoingBatch,
    Recall,
    Receipt,
    ReceiptPage,
    Refusal,
    ScheduledMessage,
    ScheduledPage,
    Stopped,
)
from dispatcher.release import bells, handover, slices, worth_waking
from dispatcher.throughput import Limits, Permit

START = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
WINDOW = timedelta(hours=72)


@dataclass
class Time:
    """A clock that moves only when somebody sleeps."""

    passed: float = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds


@dataclass
class Roomy:
    """Throughput that grants everything after `wait`, unless told otherwise."""

    time: Time
    waits: list[float] = field(default_factory=list)
    away: int | None = None  # the call at which Redis goes away
    late: int = 0  # how many permits come out late
    calls: int = 0
    pauses: list[float | None] = field(default_factory=list)

    def reserve(self, account: str, limits: Limits, *, max_wait: float = 1.0, lead: float = 0.0, **_: Any) -> Permit:
        self.calls += 1
        if self.away is not None and self.calls >= self.away:
            raise ThroughputUnavailable("Redis is away")
        wait = self.waits.pop(0) if self.waits else 0.0
        if wait > max_wait:
            return Permit(granted=False, wait=wait, asked_at=self.time.passed)
        if self.late:
            self.late -= 1
            return Permit(granted=True, wait=-5.0, asked_at=self.time.passed)
        return Permit(granted=True, wait=max(wait, lead), asked_at=self.time.passed)

    def wait(self, account: str, limits: Limits, **_: Any) -> float:
        return self.waits[0] if self.waits else 0.0

    def throttled(self, account: str, *, retry_after: float | None) -> None:
        self.pauses.append(retry_after)


@dataclass
class Obedient:
    """A provider that answers each submission as the next of `answers` says."""

    name: str = "obedient"
    capabilities: Capabilities = field(
        default_factory=lambda: Capabilities(messages_per_request=3, ids_per_receipt_request=4)
    )
    answers: list[Any] = field(default_factory=list)
    submitted: list[OutgoingBatch] = field(default_factory=list)
    during: Callable[[], None] = lambda: None

    def submit(self, batch: OutgoingBatch, /) -> Answers:
        self.submitted.append(batch)
        self.during()
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            return answer
        ids = [f"{batch.reference[:6]}-{index}" for index in range(len(batch))]
        return Answers(provider_message_ids=ids, costs=[Decimal(1)] * len(batch))


@dataclass
class World:
    """A ledger on a disk, the obedient provider, and everything that a test wants to see or break."""

    ledger: Ledger
    time: Time
    provider: Any
    throughput: Roomy

    @property
    def account(self) -> Account:
        return Account(
            provider=self.provider,
            limits=Limits(requests_per_second=10, segments_per_second=None),
            timeout=10,
            lease_margin=30,
            ledger=self.ledger,
            throughput=self.throughput,  # type: ignore[arg-type]
            who="w1",
            clock=self.time.now,
            monotonic=self.time.monotonic,
            sleep=self.time.sleep,
        )

    def enqueue(self, *, batches: int = 1, send_at: datetime | None = None, name: str = "c1") -> str:
        new = NewCampaign(
            public_id=name,
            name=name,
            provider=self.provider.name,
            template="Hello",
            personalised=False,
            created_at=START,
            send_at=send_at,
        )
        campaign_id = self.ledger.plans.begin(new, who="t", now=START)
        planned = [
            PlannedBatch(
                numbers=[12025550100 + 3 * index + at for at in range(3)],
                rows=[3 * index + at + 1 for at in range(3)],
                segments=[1, 1, 1],
                fields=None,
                due_at=handover(send_at, self.provider.capabilities, now=START).due_at,
                send_at=send_at,
            )
            for index in range(batches)
        ]
        self.ledger.plans.append(campaign_id, first_number=1, batches=planned, excluded=[], now=START)
        many = 3 * batches
        totals = PlanTotals(rows=many, messages=many, batches=batches, segments=many)
        self.ledger.plans.finish(campaign_id, totals, who="t", now=START)
        return name

    def step(self) -> str:
        return submission.submit_next(self.account).outcome

    def messages(self, name: str = "c1") -> dict[str, int]:
        counts = self.ledger.campaigns.counts(self.ledger.campaigns.get(name))
        return {state.value: many for state, many in counts.messages.items() if many}

    def batches(self, name: str = "c1") -> dict[str, int]:
        counts = self.ledger.campaigns.counts(self.ledger.campaigns.get(name))
        return {state.value: many for state, many in counts.batches.items() if many}

    def campaign(self, name: str = "c1") -> Any:
        return self.ledger.campaigns.get(name)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    time = Time()
    ledger = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield World(ledger=ledger, time=time, provider=Obedient(), throughput=Roomy(time))
    ledger.close()


# --- Submission -----------------------------------------------------------------------------------------------------


def test_a_batch_is_submitted_once_and_then_there_is_nothing_to_do(world: World) -> None:
    world.enqueue()
    assert [world.step(), world.step()] == ["submitted", "idle"]
    (batch,) = world.provider.submitted
    assert (batch.text, list(batch.numbers)) == ("Hello", [12025550100, 12025550101, 12025550102])
    assert len(set(batch.references) | {batch.reference}) == 4
    assert batch.deadline is not None
    assert world.messages() == {"submitted": 3}


def test_the_attempt_is_on_the_disk_while_the_request_is_under_way(world: World) -> None:
    world.enqueue()
    seen: list[dict[str, int]] = []
    world.provider.during = lambda: seen.append(world.batches())
    world.step()
    assert seen == [{"submitting": 1}]


@pytest.mark.parametrize(
    ("error", "outcome", "batch", "messages", "state"),
    [
        (Throttled("429", 7.0), "throttled", "pending", "queued", "running"),
        (Unreachable("refused"), "not_submitted", "pending", "queued", "running"),
        (OutcomeUnknown("reset"), "unknown", "unknown", "unknown", "running"),
        (AuthenticationFailed("401"), "not_submitted", "pending", "queued", "paused"),
        (InsufficientCredit("402"), "not_submitted", "pending", "queued", "paused"),
        (InvalidRequest("400"), "refused", "refused", "refused", "paused"),
    ],
)
def test_what_each_error_leads_to(
    world: World, error: Exception, outcome: str, batch: str, messages: str, state: str
) -> None:
    world.enqueue(batches=2)
    world.provider.answers = [error]
    assert world.step() == outcome
    rest = {"pending": 1} if batch != "pending" else {}
    assert world.batches() == {batch: 2 if batch == "pending" else 1, **rest}
    assert world.messages()[messages] >= 3
    assert world.campaign().state == state
    if state == "paused":
        assert str(error) in world.campaign().reason
        assert world.step() == "idle"
    assert world.throughput.pauses == ([7.0] if isinstance(error, Throttled) else [])


def test_what_could_not_be_reached_is_tried_later_and_later(world: World) -> None:
    world.enqueue()
    world.provider.answers = [Unreachable("refused")] * 3
    for least in (2, 4, 8):
        assert world.step() == "not_submitted"
        assert world.step() == "idle"
        world.time.passed += least + 0.1
    assert world.step() == "submitted"
    assert len(world.provider.submitted) == 4


def test_an_unknown_batch_is_never_sent_again(world: World) -> None:
    world.enqueue()
    world.provider.answers = [OutcomeUnknown("reset")]
    world.step()
    for _ in range(5):
        world.time.passed += 3600
        recovery.sweep(world.ledger, receipt_windows={}, who="t", now=world.time.now())
        assert world.step() == "idle"
    assert len(world.provider.submitted) == 1


def test_opted_out_refusals_are_suppressed_for_good_and_trouble_pauses(world: World) -> None:
    world.enqueue()
    world.provider.answers = [
        Answers(
            provider_message_ids=["a", None, "c"],
            costs=[None] * 3,
            refused={1: Refusal(reason="OPTEDOUT", opted_out=True)},
            pause="no credit",
        )
    ]
    world.step()
    assert world.ledger.suppressions.among([12025550101, 12025550100]) == {12025550101}
    assert world.campaign().state is CampaignState.PAUSED
    assert world.messages() == {"submitted": 2, "refused": 1}


def test_a_permit_that_is_far_off_takes_nothing(world: World) -> None:
    world.enqueue()
    world.throughput.waits = [3.0]
    assert world.step() == "waiting"
    assert world.batches() == {"pending": 1}
    assert world.provider.submitted == []


def test_a_permit_that_slips_away_hands_the_claim_back(world: World) -> None:
    world.enqueue()
    world.throughput.wait = lambda *_, **__: 0.0  # type: ignore[method-assign]
    world.throughput.waits = [3.0]
    assert world.step() == "waiting"
    assert world.batches() == {"pending": 1}
    assert world.step() == "submitted"


def test_a_worker_that_woke_too_late_asks_again_and_sends_in_time(world: World) -> None:
    world.enqueue()
    world.throughput.late = 2
    assert world.step() == "submitted"
    assert world.throughput.calls == 3
    assert len(world.provider.submitted) == 1


def test_a_worker_that_gets_no_second_permit_sends_nothing(world: World) -> None:
    world.enqueue()
    world.throughput.late = 1
    world.throughput.wait = lambda *_, **__: 0.0  # type: ignore[method-assign]
    world.throughput.waits = [0.0, 9.0]
    assert world.step() == "waiting"
    assert world.provider.submitted == []
    assert world.batches() == {"pending": 1}


@pytest.mark.parametrize("call", [1, 2])
def test_redis_going_away_at_any_moment_sends_nothing_and_leaves_no_doubt(world: World, call: int) -> None:
    world.enqueue()
    world.throughput.away = call
    world.throughput.late = call - 1
    with pytest.raises(ThroughputUnavailable):
        world.step()
    assert world.provider.submitted == []
    assert world.batches() == {"pending": 1}
    assert world.messages() == {"queued": 3}


@pytest.mark.parametrize("trouble", ["stop", "Redis", "no permit", "the ledger", "pause", "crash"])
def test_whatever_comes_between_an_answer_and_the_next_claim_the_answer_is_recorded(
    world: World, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    world.enqueue(batches=3)
    account = replace(world.account, limits=Limits(requests_per_second=None, segments_per_second=None))
    claim, sent = world.ledger.batches.claim_and_begin, world.provider.submitted

    def failing(*args: Any, **more: Any) -> Any:
        if sent:
            assert world.messages() == {"queued": 9}  # the answer waits for this claim
            raise LedgerError("busy") if trouble == "the ledger" else RuntimeError("a bug")
        return claim(*args, **more)

    if trouble == "Redis":
        world.throughput.away = 2
    elif trouble == "no permit":
        world.throughput.waits = [0.0, 3.0]
    elif trouble == "pause":
        pausing = lambda: cancellation.pause(  # noqa: E731
            world.ledger, world.campaign(), who="t", now=world.time.now(), reason="by hand"
        )
        world.provider.during = pausing
    elif trouble in ("the ledger", "crash"):
        monkeypatch.setattr(world.ledger.batches, "claim_and_begin", failing)
    error: Any = {"Redis": ThroughputUnavailable, "the ledger": LedgerError, "crash": RuntimeError}.get(trouble)
    with pytest.raises(error) if error else nullcontext():
        submission.work(account, slices=1, seconds=60, stopping=lambda: trouble == "stop" and len(sent) == 1)
    assert len(sent) == 1
    assert world.messages() == {"submitted": 3, "queued": 6}
    assert world.ledger.reports.discrepancies(world.campaign()) == []


def test_an_answer_does_not_wait_for_a_permit_that_is_to_come(world: World) -> None:
    world.enqueue(batches=2)
    account = replace(world.account, limits=Limits(requests_per_second=None, segments_per_second=None))
    world.throughput.waits = [0.0, 0.5]
    seen = []
    sleep = world.time.sleep
    world.time.sleep = lambda seconds: (seen.append(world.messages()), sleep(seconds))  # type: ignore[method-assign,assignment,func-returns-value]
    account = replace(account, sleep=world.time.sleep)
    submission.work(account, slices=1, seconds=60, stopping=lambda: False)
    assert seen == [{"submitted": 3, "queued": 3}]
    assert world.messages() == {"submitted": 6}


def test_cancel_while_a_permit_is_waited_for_wins(world: World) -> None:
    world.enqueue()
    campaign = world.campaign()
    sleep = world.time.sleep

    def cancelled_meanwhile(seconds: float) -> None:
        sleep(seconds)
        if world.ledger.campaigns.get("c1").state is not CampaignState.CANCELLED:
            cancellation.cancel(world.ledger, campaign, who="t", clock=world.time.now)

    world.throughput.waits = [0.5]
    account = world.account
    object.__setattr__(account, "sleep", cancelled_meanwhile)
    assert submission.submit_next(account).outcome == "idle"  # nothing was claimed before its permit
    recovery.sweep(world.ledger, receipt_windows={}, who="t", now=world.time.now())
    assert world.provider.submitted == []
    assert world.messages() == {"cancelled": 3}


def test_an_outcome_waits_for_a_ledger_that_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.enqueue()
    record = world.ledger.outcomes.answered
    failures = [LedgerError("disk full")] * 3

    def away(*args: Any, **kwargs: Any) -> bool:
        if failures:
            raise failures.pop()
        return record(*args, **kwargs)

    monkeypatch.setattr(world.ledger.outcomes, "answered", away)
    assert world.step() == "submitted"
    assert failures == []
    assert world.messages() == {"submitted": 3}


def test_a_slice_ends_with_the_work_or_when_it_is_told_to(world: World) -> None:
    world.enqueue(batches=5)
    steps = submission.work(world.account, slices=1, seconds=60, stopping=lambda: len(world.provider.submitted) >= 2)
    assert [step.outcome for step in steps] == ["submitted", "submitted"]
    assert submission.work(world.account, slices=0, seconds=60, stopping=lambda: False) == []
    steps = submission.work(world.account, slices=1, seconds=60, stopping=lambda: False)
    assert [step.outcome for step in steps] == ["submitted"] * 3 + ["idle"]
    assert world.ledger.leases.held(f"slice.{world.provider.name}", now=world.time.now()) == 0


def test_bells_are_rung_for_what_is_due_and_for_free_slices_only(world: World) -> None:
    world.enqueue(batches=3)
    assert bells(world.ledger, "obedient", slices=8, now=START) == 3
    assert bells(world.ledger, "obedient", slices=2, now=START) == 2
    world.ledger.leases.acquire_one("slice.obedient", 2, owner="w", now=START, length=timedelta(minutes=1))
    assert bells(world.ledger, "obedient", slices=2, now=START) == 1
    assert bells(world.ledger, "another", slices=2, now=START) == 0


def test_half_the_threads_of_all_workers_may_be_at_work_for_one_provider(world: World) -> None:
    assert slices(world.ledger, wanted=None, threads=16, now=START) == 8
    for name in ("host/1", "host/2", "beat"):
        world.ledger.leases.beat(name, started_at=START, worked_at=None, now=START)
    assert slices(world.ledger, wanted=None, threads=16, now=START) == 16
    assert slices(world.ledger, wanted=None, threads=1, now=START) == 2
    assert slices(world.ledger, wanted=None, threads=16, now=START + timedelta(minutes=1)) == 8
    assert slices(world.ledger, wanted=3, threads=16, now=START) == 3


# --- Schedules ------------------------------------------------------------------------------------------------------

SCHEDULING = Capabilities(
    messages_per_request=3,
    ids_per_receipt_request=4,
    schedule_ahead=timedelta(days=30),
    schedule_least=timedelta(minutes=2),
)


@pytest.mark.parametrize(
    ("send_at", "due_at", "scheduled"),
    [
        (None, START, False),
        (START - timedelta(hours=1), START, False),
        (START + timedelta(hours=1), START, True),
        (START + timedelta(minutes=1), START + timedelta(minutes=1), False),  # too near for the provider
        (START + timedelta(hours=1, seconds=30), START + timedelta(hours=1, seconds=30), False),  # not in minutes
        (START + timedelta(days=40), START + timedelta(days=10), True),  # out of its reach for now
    ],
)
def test_who_keeps_the_time(send_at: datetime | None, due_at: datetime, scheduled: bool) -> None:
    way = handover(send_at, SCHEDULING, now=START)
    assert way.due_at == due_at
    assert way.scheduled_for == (send_at if scheduled else None)
    plain = handover(send_at, Capabilities(messages_per_request=1), now=START)
    assert plain.scheduled_for is None
    assert plain.due_at == max(send_at or START, START)


def test_a_batch_that_missed_its_handover_is_held_for_its_time(world: World) -> None:
    world.provider.capabilities = SCHEDULING
    send_at = START + timedelta(minutes=5)
    world.enqueue(send_at=send_at)
    world.time.passed = 4 * 60  # one minute left: no longer for the provider's schedule
    assert world.step() == "held"
    assert world.step() == "idle"
    world.time.passed = 5 * 60
    assert world.step() == "submitted"
    assert world.provider.submitted[0].scheduled_for is None


@dataclass
class Scheduling(Obedient):
    """An obedient provider that keeps messages to send later."""

    held: list[ScheduledMessage] = field(default_factory=list)
    kept: set[str] = field(default_factory=set)

    def list_scheduled(self, page: str | None = None, /) -> ScheduledPage:
        return ScheduledPage(messages=self.held, total=len(self.held))

    def recall(self, provider_message_ids: Sequence[str], /) -> Sequence[Recall]:
        return [
            Recall(provider_message_id=one, recalled=one not in self.kept, refunded=Decimal("0.5"))
            for one in provider_message_ids
        ]


def test_what_the_provider_holds_is_compared_and_differences_are_told_once(world: World) -> None:
    world.provider = Scheduling(capabilities=SCHEDULING)
    send_at = START + timedelta(hours=1)
    world.enqueue(send_at=send_at)
    world.step()
    first = world.provider.submitted[0].reference[:6] + "-0"
    world.provider.held = [
        ScheduledMessage(provider_message_id=one, number=1, send_at=send_at) for one in (first, "foreign")
    ]
    for _ in range(2):
        found = receipts.compare_scheduled(world.account)
        assert found is not None
        assert (found.scheduled, found.missing, found.foreign, found.left) == (3, 2, 1, None)
    told = [event for event in world.ledger.reports.events(world.campaign()) if event.what == "scheduled state"]
    assert len(told) == 1


def test_recall_records_what_was_confirmed_and_leaves_what_was_not(world: World) -> None:
    world.provider = Scheduling(capabilities=SCHEDULING)
    world.enqueue(send_at=START + timedelta(hours=1))
    world.step()
    world.provider.kept = {world.provider.submitted[0].reference[:6] + "-1"}
    assert cancellation.recall(world.account).messages == 0  # nothing is cancelled yet
    cancellation.cancel(world.ledger, world.campaign(), who="t", clock=world.time.now)
    assert cancellation.to_take_back(world.ledger, world.campaign(), now=world.time.now())
    done = cancellation.recall(world.account, campaign=world.campaign())
    assert (done.messages, done.refused, done.refunded) == (2, 1, Decimal("1.0"))
    assert world.messages() == {"cancelled": 2, "submitted": 1}


@dataclass
class Stopping(Obedient):
    """An obedient provider that stops whole batches."""

    stops: list[Any] = field(default_factory=list)

    def stop(self, provider_reference: str, /) -> Stopped:
        answer = self.stops.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_batches_are_stopped_once_and_only_certainty_cancels_their_messages(world: World) -> None:
    world.provider = Stopping()
    world.enqueue(batches=2)
    world.provider.answers = [
        Answers(provider_message_ids=[None] * 3, costs=[None] * 3, provider_reference=f"b{index}") for index in (1, 2)
    ]
    world.step()
    world.step()
    cancellation.cancel(world.ledger, world.campaign(), who="t", clock=world.time.now)
    world.provider.stops = [Stopped(stopped=True, unsent=True), Unreachable("away")]
    done = cancellation.recall(world.account)
    assert (done.messages, done.left, done.why) == (3, 1, "away")
    world.provider.stops = [Stopped(stopped=False, reason="Invalid campaign status: done")]
    assert cancellation.recall(world.account).refused == 1
    assert world.messages() == {"cancelled": 3, "submitted": 3}
    assert cancellation.recall(world.account) == cancellation.Recalled()
    told = [event.why for event in world.ledger.reports.events(world.campaign()) if event.what == "stop"]
    assert told == ["stopped", "Invalid campaign status: done"]


# --- Receipts -------------------------------------------------------------------------------------------------------


@dataclass
class Telling(Obedient):
    """An obedient provider that tells the fate of messages, page by page."""

    pages: list[Any] = field(default_factory=list)
    asked: list[tuple[list[int], str | None]] = field(default_factory=list)

    def fetch_receipts(self, awaited: Sequence[Awaited], page: str | None = None, /) -> ReceiptPage:
        self.asked.append(([one.message_id for one in awaited], page))
        answer = self.pages.pop(0) if self.pages else ReceiptPage(receipts=[])
        if isinstance(answer, Exception):
            raise answer
        return answer(awaited) if callable(answer) else answer


def delivered(awaited: Sequence[Awaited], *, next_page: str | None = None) -> ReceiptPage:
    found = [Receipt(message_id=one.message_id, state=MessageState.DELIVERED, cost=Decimal(2)) for one in awaited]
    return ReceiptPage(receipts=found, next_page=next_page)


EVERY = timedelta(seconds=30)


def test_receipts_are_asked_for_in_portions_and_applied(world: World) -> None:
    world.provider = Telling()
    world.enqueue(batches=2)
    world.step()
    world.step()
    world.provider.pages = [delivered, delivered]
    polled = receipts.poll(world.account, every=EVERY)
    assert (polled.requests, polled.messages, polled.settled, polled.left) == (2, 6, 6, None)
    assert [len(ids) for ids, _ in world.provider.asked] == [4, 2]
    assert world.messages() == {"delivered": 6}
    assert world.ledger.campaigns.counts(world.campaign()).cost == 12
    assert receipts.poll(world.account, every=EVERY).requests == 0


def test_each_of_many_is_asked_for_once_while_the_next_are_read(world: World) -> None:
    world.provider = Telling(capabilities=Capabilities(messages_per_request=3, ids_per_receipt_request=120))
    world.enqueue(batches=130)
    while world.step() == "submitted":
        pass
    world.provider.pages = [lambda awaited: delivered(awaited[::2])] * 4
    polled = receipts.poll(world.account, every=EVERY)
    assert (polled.requests, polled.messages, polled.settled, polled.left) == (4, 390, 195, None)
    asked = [one for ids, _ in world.provider.asked for one in ids]
    assert len(set(asked)) == len(asked) == 390
    assert world.messages() == {"delivered": 195, "submitted": 195}
    assert receipts.poll(world.account, every=EVERY).requests == 0


def test_a_poll_without_time_says_that_more_is_due_only_where_it_is(world: World) -> None:
    world.provider = Telling()
    world.enqueue()
    assert receipts.poll(world.account, every=EVERY, seconds=0).left is None
    world.step()
    assert receipts.poll(world.account, every=EVERY, seconds=0).left == "more is due"
    assert world.provider.asked == []


def test_what_is_under_way_is_asked_for_again_later_and_later(world: World) -> None:
    world.provider = Telling()
    world.enqueue()
    world.step()
    assert receipts.poll(world.account, every=EVERY).requests == 1
    assert receipts.poll(world.account, every=EVERY).requests == 0
    world.time.passed += 31
    assert receipts.poll(world.account, every=EVERY).requests == 1
    young = receipts.next_question(START, START + timedelta(minutes=1), EVERY)
    old = receipts.next_question(START, START + timedelta(hours=5), EVERY)
    oldest = receipts.next_question(START, START + timedelta(days=2), EVERY)
    assert young - START == timedelta(seconds=90)
    assert old - START == timedelta(hours=5, minutes=30)
    assert oldest - START == timedelta(days=2, hours=1)


def test_pages_are_followed_for_those_not_seen_yet(world: World) -> None:
    world.provider = Telling(
        capabilities=Capabilities(messages_per_request=3, ids_per_receipt_request=10, receipts_by_batch=True)
    )
    world.enqueue(batches=2)
    world.step()
    world.step()
    world.provider.pages = [
        lambda awaited: delivered(awaited[:1], next_page="2"),
        delivered,
        lambda awaited: delivered(awaited, next_page="never asked for"),
    ]
    assert receipts.poll(world.account, every=EVERY).settled == 6
    assert [(len(ids), page) for ids, page in world.provider.asked] == [(3, None), (2, "2"), (3, None)]


def test_a_provider_that_fails_is_asked_again_later(world: World) -> None:
    world.provider = Telling()
    world.enqueue()
    world.step()
    world.provider.pages = [Throttled("429", 3.0)]
    polled = receipts.poll(world.account, every=EVERY)
    assert (polled.left, polled.settled, world.throughput.pauses) == ("429", 0, [3.0])
    assert receipts.poll(world.account, every=EVERY).requests == 0
    world.time.passed += 31
    world.provider.pages = [delivered]
    assert receipts.poll(world.account, every=EVERY).settled == 3


def test_sending_goes_before_asking(world: World) -> None:
    world.provider = Telling()
    world.enqueue()
    world.step()
    world.throughput.waits = [9.0]
    assert receipts.poll(world.account, every=EVERY).left == "throughput: sending goes first"
    world.provider.pages = [delivered]
    assert receipts.poll(world.account, every=EVERY).settled == 3


def test_the_window_closes_and_the_campaign_completes(world: World) -> None:
    world.enqueue()
    world.step()
    assert receipts.poll(world.account, every=EVERY).left == "it cannot be asked for receipts"
    world.time.passed += WINDOW.total_seconds() + 1
    swept = recovery.sweep(world.ledger, receipt_windows={}, who="t", now=world.time.now())
    assert (swept.closed, swept.moved) == (3, (("c1", CampaignState.COMPLETED),))
    assert world.messages() == {"unconfirmed": 3}


# --- Opt-outs -------------------------------------------------------------------------------------------------------


@dataclass
class Listing(Obedient):
    """An obedient provider that lists opt-outs."""

    pages: list[Any] = field(default_factory=list)

    def opt_outs(self, page: str | None = None, /) -> OptOutPage:
        answer = self.pages.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_opt_outs_are_brought_home_page_by_page(world: World) -> None:
    one, two = OptOut(number=12025550100, reason="STOP"), OptOut(number=12025550101, reason="by hand")
    world.provider = Listing(pages=[OptOutPage(opt_outs=[one], next_page="2"), OptOutPage(opt_outs=[one, two])])
    synced = suppression.sync(world.account)
    assert (synced.seen, synced.added, synced.left) == (3, 2, None)
    assert world.ledger.suppressions.among([12025550100, 12025550101]) == {12025550100, 12025550101}
    world.provider.pages = [Unreachable("away")]
    assert suppression.sync(world.account).left == "away"
    world.provider = Obedient()
    assert suppression.sync(world.account).left is not None


@pytest.mark.parametrize(
    ("rate", "wait", "woken"),
    [(None, 0.0, 8), (None, 1.2, 0), (50.0, 0.0, 8), (50.0, 0.95, 3), (50.0, 1.0, 0), (0.5, 0.2, 1), (5.0, 0.0, 5)],
)
def test_no_more_workers_are_woken_than_could_book_throughput(rate: float | None, wait: float, woken: int) -> None:
    limits = Limits(requests_per_second=rate, segments_per_second=None)
    assert worth_waking(8, limits, wait=wait) == woken
