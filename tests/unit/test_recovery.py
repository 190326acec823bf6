"""Lost answers: looked up, adopted or sent again by what that proves, and never sent again by hope."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from dispatcher import recovery
from dispatcher.errors import InvalidRequest, OutcomeUnknown, Throttled, Unreachable
from dispatcher.provider import Answers, Capabilities, LookUp, OutgoingBatch, Verdict
from tests.unit.test_operations import Obedient, World, world

__all__ = ["world"]

GRACE = timedelta(seconds=60)
ABSENT = LookUp(verdict=Verdict.ABSENT, evidence="not there")
UNCLEAR = LookUp(verdict=Verdict.UNCLEAR, evidence="who knows")
NEVER = LookUp(verdict=Verdict.NEVER, evidence="not to be known")
LOST = OutcomeUnknown("reset")


@dataclass
class Finding(Obedient):
    """A provider that also finds lost batches: each look-up says the next of `found`, the last again and again."""

    capabilities: Capabilities = field(
        default_factory=lambda: Capabilities(messages_per_request=3, lookup_grace=GRACE)
    )
    found: list[Any] = field(default_factory=lambda: [ABSENT])
    looked: list[OutgoingBatch] = field(default_factory=list)
    requests: int = 1

    def find(self, lost: OutgoingBatch, attempted_at: datetime, wait: Callable[[], None], /) -> LookUp:
        for _ in range(self.requests):
            wait()
        self.looked.append(lost)
        found = self.found.pop(0) if len(self.found) > 1 else self.found[0]
        if isinstance(found, Exception):
            raise found
        told: LookUp = found() if callable(found) else found
        return told


@pytest.fixture
def lossy(world: World) -> World:
    """A world whose provider finds what was lost, with one batch that was."""
    world.provider = Finding(answers=[LOST])
    world.enqueue()
    assert world.step() == "unknown"
    return world


def found(*ids: str | None) -> LookUp:
    missing = frozenset(at for at, one in enumerate(ids) if one is None)
    answers = Answers(provider_message_ids=ids, costs=[None] * len(ids), missing=missing)
    return LookUp(verdict=Verdict.FOUND, evidence="there", answers=answers)


def run(world: World, *, seconds: float = 3600) -> list[tuple[float, str]]:
    """Reconcile and submit as workers do, every five seconds; return when anything came of it, and what."""
    seen: list[tuple[float, str]] = []
    for _ in range(int(seconds / 5)):
        done = recovery.reconcile(world.account)
        seen += [(world.time.passed, what) for what in ("adopted", "freed", "open") if getattr(done, what)]
        step = world.step()
        if step != "idle":
            seen.append((world.time.passed, step))
        world.time.passed += 5
    return seen


def whys(world: World, what: str) -> list[str | None]:
    return [event.why for event in world.ledger.reports.events(world.campaign()) if event.what == what]


def test_what_is_found_is_adopted(lossy: World) -> None:
    lossy.provider.found = [found("a", "b", "c")]
    assert recovery.reconcile(lossy.account) == recovery.Reconciled(adopted=1)
    assert lossy.messages() == {"submitted": 3}
    assert len(lossy.provider.submitted) == 1
    assert lossy.provider.looked[0].references == lossy.provider.submitted[0].references


def test_what_is_absent_is_sent_again_after_the_grace_and_not_before(lossy: World) -> None:
    *looks, (at, freed), (_, sent) = run(lossy, seconds=100)
    assert {what for _, what in looks} == {"open"}
    assert (freed, sent) == ("freed", "submitted")
    assert 60 <= at < 70
    assert lossy.messages() == {"submitted": 3}
    assert len(lossy.provider.submitted) == 2


def test_absence_counts_as_of_the_question_not_of_the_answer(lossy: World) -> None:
    def slow() -> LookUp:
        lossy.time.passed += 2
        return ABSENT

    lossy.provider.found = [slow]
    lossy.time.passed = 59
    assert recovery.reconcile(lossy.account).open == 1
    assert lossy.messages() == {"unknown": 3}


def test_absence_counts_as_of_when_the_provider_saw_it(lossy: World) -> None:
    lossy.provider.found = [replace(ABSENT, seen_at=lossy.time.now() + timedelta(seconds=59))]
    lossy.time.passed = 80
    assert recovery.reconcile(lossy.account).open == 1
    assert lossy.messages() == {"unknown": 3}


def test_looking_up_ends_before_its_lease_does_however_much_was_lost(world: World) -> None:
    def slow() -> LookUp:
        world.time.passed += 8
        return UNCLEAR

    world.provider = Finding(answers=[LOST] * 5, found=[slow])
    world.enqueue(batches=5)
    for _ in range(5):
        assert world.step() == "unknown"
    done = recovery.reconcile(world.account)
    assert (done.open, done.left) == (3, "more is due")
    recovery.reconcile(world.account)
    assert len({tuple(lost.references) for lost in world.provider.looked[:5]}) == 5  # those left over come first


@pytest.mark.parametrize("seen", [UNCLEAR, NEVER])
def test_what_is_not_absent_is_never_sent_again(lossy: World, seen: LookUp) -> None:
    lossy.provider.found = [seen]
    run(lossy)
    assert lossy.messages() == {"unknown": 3}
    assert len(lossy.provider.submitted) == 1
    assert 1 <= len(lossy.provider.looked) <= (1 if seen is NEVER else 30)


def test_without_a_grace_absence_proves_nothing(lossy: World) -> None:
    lossy.provider.capabilities = Capabilities(messages_per_request=3)
    run(lossy)
    assert lossy.messages() == {"unknown": 3}


def test_a_batch_that_is_lost_again_and_again_is_left_to_a_person(lossy: World) -> None:
    lossy.provider.answers = [LOST] * 100
    seen = [what for _, what in run(lossy) if what != "open"]
    assert seen == ["freed", "unknown", "freed", "unknown"]
    assert len(lossy.provider.submitted) == 3
    assert lossy.messages() == {"unknown": 3}
    assert "lost 3 times, so a person decides" in (whys(lossy, "looked up")[-1] or "")
    (doubt,) = lossy.ledger.doubts.listed()
    assert recovery.decide(
        lossy.ledger, doubt, "resend", who="me", now=lossy.time.now(), receipt_window=timedelta(hours=72)
    )
    assert lossy.step() == "unknown"
    assert len(lossy.provider.submitted) == 4


def test_a_resend_that_is_refused_as_known_ends_when_it_is_found(lossy: World) -> None:
    """BSG: the first attempt was carried out, yet listed only after the grace; the second is rejected as a duplicate."""
    lossy.provider.answers = [OutcomeUnknown("Duplicate reference_id")] * 100
    lossy.provider.found = [ABSENT] * 12 + [found("a", "b", "c")]
    seen = [what for _, what in run(lossy) if what != "open"]
    assert seen == ["freed", "unknown", "adopted"]
    assert lossy.messages() == {"submitted": 3}


def test_the_rest_of_a_batch_is_looked_up_until_it_is_there(lossy: World) -> None:
    def rest() -> LookUp:
        return found(*["c"] * len(lossy.provider.looked[-1]))

    lossy.provider.found = [found("a", None, None), ABSENT, found("b", None), UNCLEAR, rest]
    seen = run(lossy)
    assert [what for _, what in seen] == ["adopted", "open", "adopted", "open", "adopted"]
    assert [len(one) for one in lossy.provider.looked] == [3, 2, 2, 1, 1]
    assert lossy.messages() == {"submitted": 3}
    assert lossy.ledger.reports.discrepancies(lossy.campaign()) == []


def test_the_rest_of_a_batch_that_never_comes_is_asked_for_ever_less_and_never_sent_again(lossy: World) -> None:
    lossy.provider.found = [found("a", "b", None), ABSENT]
    run(lossy, seconds=7200)
    assert lossy.messages() == {"submitted": 2, "unknown": 1}
    assert len(lossy.provider.submitted) == 1
    assert 15 < len(lossy.provider.looked) < 35


def test_messages_of_other_batches_are_not_adopted(world: World) -> None:
    """Two campaigns text the same people in the same minute; the provider does not tell them apart."""
    world.provider = Finding()
    world.enqueue(name="c1")
    assert world.step() == "submitted"
    (theirs,) = world.provider.submitted
    known = [f"{theirs.reference[:6]}-{at}" for at in range(3)]
    world.provider.answers = [LOST]
    world.enqueue(name="c2")
    assert world.step() == "unknown"
    world.provider.found = [found(*known), found("x", known[1], None), found("y", "z")]
    assert recovery.reconcile(world.account) == recovery.Reconciled(open=1)
    assert world.messages("c2") == {"unknown": 3}
    world.time.passed += 10
    assert recovery.reconcile(world.account) == recovery.Reconciled(adopted=1)
    assert world.messages("c2") == {"submitted": 1, "unknown": 2}
    world.time.passed += 10
    assert recovery.reconcile(world.account) == recovery.Reconciled(adopted=1)
    assert world.messages("c2") == {"submitted": 3}
    lines = world.ledger.reports.lines(world.campaign("c2"))
    assert [line.provider_message_id for line in lines] == ["x", "y", "z"]


def test_one_question_that_is_refused_does_not_keep_the_others(world: World) -> None:
    world.provider = Finding(answers=[LOST, LOST], found=[InvalidRequest("422"), found("a", "b", "c")])
    world.enqueue(batches=2)
    assert [world.step(), world.step()] == ["unknown", "unknown"]
    assert recovery.reconcile(world.account) == recovery.Reconciled(adopted=1, open=1)
    assert whys(world, "looked up") == ["422"]


@pytest.mark.parametrize("error", [Unreachable("away"), Throttled("busy", 7.0)])
def test_a_provider_that_cannot_be_asked_is_asked_later(lossy: World, error: Exception) -> None:
    lossy.provider.found = [error, found("a", "b", "c")]
    assert recovery.reconcile(lossy.account).left == str(error)
    assert lossy.throughput.pauses == ([7.0] if isinstance(error, Throttled) else [])
    assert whys(lossy, "looked up") == []
    assert recovery.reconcile(lossy.account).adopted == 1


def test_the_pages_of_a_look_up_that_has_begun_are_waited_for(lossy: World) -> None:
    lossy.provider.found, lossy.provider.requests = [found("a", "b", "c")], 3
    lossy.throughput.waits = [0.0, 30.0, 30.0]
    assert recovery.reconcile(lossy.account).adopted == 1
    assert 60 <= lossy.time.passed < 61


def test_a_look_up_for_which_there_is_no_throughput_does_not_begin(lossy: World) -> None:
    lossy.throughput.waits = [30.0]
    assert "no throughput" in (recovery.reconcile(lossy.account).left or "")
    assert lossy.provider.looked == []
