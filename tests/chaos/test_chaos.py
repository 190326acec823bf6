"""A short run of the harness, and a death at each boundary of a submission."""

import os
import time

import pytest

from dispatcher import failpoints
from tests.chaos.harness import Plan, enqueue, late_requests, reckon, wait_for, world, wreck

pytestmark = pytest.mark.e2e

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
    plan = Plan(seed=7, seconds=0, providers=("winsms",), workers=1)
    with world(plan) as w:
        w.down()
        w.environment["DISPATCHER_FAILPOINT"] = point
        w.up(1)
        enqueue(w, plan)
        wait_for(lambda: "signal 9" in w.log.read_text(), f"the worker died at {point}")
        w.down()
        del w.environment["DISPATCHER_FAILPOINT"]
        w.up(1)
        found = reckon(w, plan)
    assert found.wrong == []
    assert set(found.states) == EXPECTED[point]
    assert found.accepted == (0 if point == "after_attempt" else plan.per_campaign)


def test_a_short_seeded_run_keeps_every_promise() -> None:
    seed = int(os.environ.get("CHAOS_SEED", "20261120"))
    plan = Plan(seed=seed, seconds=35, providers=("winsms",))
    with world(plan) as w:
        wreck(w, plan)
        late = late_requests(w)
        found = reckon(w, plan)
    assert found.wrong + late == [], (found.injected, time.ctime())
    assert found.campaigns >= 3
