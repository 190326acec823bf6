"""A run by deaths instead of minutes: workers that are born with their death, one after the other, while campaigns go out.

A worker is forked from the nursery. It dies at an instant drawn beforehand, counted from when it began to work, or at a
fail-point. Its death counts for a provider if it was within a slice of that provider's work at that instant: the lease
of a slice is given back by whoever leaves it, so the leases that a dead process still holds tell what it was doing.
"""

import math
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from dispatcher import failpoints
from tests.chaos.campaigns import enqueue, resume_what_was_paused
from tests.chaos.faults import NETWORK_FAULTS, let_happen, trouble
from tests.chaos.world import CLOCK_OFF, World

_LONGEST_WORK = 3.0  # seconds, of a worker that waits for its fail-point
_LONGEST_LIFE = 20.0  # seconds, of one that finds no work
_LAST_INSTANT = 0.6  # seconds after the beginning of its work
_FAILPOINT_SHARE = 0.4
_CLOCK_OFF_SHARE = 0.15
_ANY_WORK_SHARE = 0.05
_LEAST_DUE = 12  # batches
_BETWEEN_FAULTS = (10.0, 25.0)  # seconds: while Redis or the ledger is away nobody is at work
_STEP = 0.02
_STALLED_SECONDS = 180.0
_KINDS = tuple(kind for kind in NETWORK_FAULTS if kind != "429")  # a pause of up to a minute would stop the dying
_WITHOUT = ("calls", "worker frozen past its lease")
"""They come in phases of their own."""


@dataclass(slots=True, kw_only=True)
class Born:
    """A worker, and the death that it was born with."""

    number: int
    born_at: float
    failpoint: str
    after: float  # seconds of work
    at_work_since: float | None = None


@dataclass(slots=True, kw_only=True)
class Deaths:
    """Who died, doing what."""

    by_provider: Counter[str] = field(default_factory=Counter)
    while_doing: Counter[str] = field(default_factory=Counter)
    in_all: int = 0
    idle: int = 0
    seconds: float = 0.0


def kill_workers(w: World, deaths: Deaths, *, tell: Callable[[str], None] = lambda _: None) -> None:
    """Kill workers at work until each provider has had its number of deaths, or the time is over; count them."""
    plan = w.plan
    living = dict[int, Born]()
    began = moved_at = told_at = time.monotonic()
    pace = plan.chance("pace")
    next_fault, next_calls, fault_number = began + 1.0, began, 0
    births = 0
    until = began + plan.seconds if plan.seconds else math.inf
    while time.monotonic() < until and any(deaths.by_provider[name] < plan.kills for name in plan.providers):
        while len(living) < plan.nursery:
            births += 1
            living |= dict([_give_birth(w, births)])
        w.tend()
        _watch(w, living)
        for pid in [pid for pid in w.nursery.ended if pid in living]:
            if w.nursery.ended.pop(pid) == -signal.SIGKILL and _note_death(w, pid, deaths):
                moved_at = time.monotonic()
            del living[pid]
        for name in plan.providers:
            if deaths.by_provider[name] < plan.kills and _due(w, name) < _LEAST_DUE:
                enqueue(w, name)
        if time.monotonic() > next_calls:
            fault_number += 1
            _phase_of_calls(w, fault_number)
            next_calls = time.monotonic() + pace.uniform(3, 8)
        if time.monotonic() > next_fault:
            fault_number += 1
            let_happen(w, fault_number, without=_WITHOUT)
            next_fault = time.monotonic() + pace.uniform(*_BETWEEN_FAULTS)
        if time.monotonic() > told_at + 30:
            resume_what_was_paused(w)
            told_at = time.monotonic()
            tell(f"{told_at - began:5.0f} s: {dict(deaths.by_provider)}, {len(w.campaigns)} campaigns")
        if time.monotonic() > moved_at + _STALLED_SECONDS:
            raise AssertionError(f"nobody has died at work for {_STALLED_SECONDS:g} s")
        deaths.seconds = time.monotonic() - began
        w.nursery.listen(_STEP)


def _give_birth(w: World, number: int) -> tuple[int, Born]:
    chance = w.plan.chance("death", number)
    point = chance.choice(failpoints.POINTS) if chance.random() < _FAILPOINT_SHARE else ""
    born = Born(
        number=number,
        born_at=time.monotonic(),
        failpoint=f"{point}:{chance.randint(1, 4)}" if point else "",
        after=_LONGEST_WORK if point else chance.uniform(0, _LAST_INSTANT),
    )
    off = chance.choice((CLOCK_OFF, -CLOCK_OFF)) if chance.random() < _CLOCK_OFF_SHARE else 0.0
    threads = max(len(w.plan.providers), chance.choice((1, 1, 2)))
    w.injected["workers with a clock that is off"] += bool(off)
    # Most leave receipts and look-ups to the stack: a death there is one of nobody at work.
    names = chance.sample(w.plan.providers, len(w.plan.providers))  # a worker begins with the first of its queues
    queues = "" if chance.random() < _ANY_WORK_SHARE else ",".join(f"submit.{name}" for name in names)
    pid = w.nursery.worker(threads=threads, queues=queues, failpoint=born.failpoint, clock_offset=off)
    return pid, born


def _watch(w: World, living: dict[int, Born]) -> None:
    """Kill those whose instant has come."""
    at_work = {
        int(row.owner.rpartition("/")[2]) for row in w.ask("SELECT owner FROM lease WHERE name LIKE 'slice.%'")
    }
    now = time.monotonic()
    for pid, born in living.items():
        if born.at_work_since is None and pid in at_work:
            born.at_work_since = now
        began = born.at_work_since
        # Only within its work: one that has just left a slice waits for the next.
        due = began is not None and pid in at_work and now >= began + born.after
        if due or now > born.born_at + _LONGEST_LIFE:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _note_death(w: World, pid: int, deaths: Deaths) -> bool:
    """Write down what a dead worker was doing; False where it was doing nothing."""
    deaths.in_all += 1
    owner = f"%/{pid}"
    slices = w.ask("SELECT name FROM lease WHERE name LIKE 'slice.%' AND owner LIKE :owner", owner=owner)
    providers = {row.name.removeprefix("slice.").partition(":")[0] for row in slices}
    batches = w.ask(
        "SELECT state FROM batch WHERE owner LIKE :owner AND state IN ('claimed', 'submitting')", owner=owner
    )
    if not providers:
        deaths.idle += 1
        return False
    deaths.by_provider.update(providers)
    states = {row.state for row in batches}
    if "submitting" in states:
        deaths.while_doing["between attempt and outcome"] += 1
    elif "claimed" in states:
        deaths.while_doing["holding a claim"] += 1
    else:
        deaths.while_doing["elsewhere in a slice"] += 1
    return True


def _due(w: World, provider: str) -> int:
    rows = w.ask(
        "SELECT b.id FROM campaign c JOIN batch b ON b.campaign_id = c.id WHERE c.provider = :provider"
        " AND c.state IN ('running', 'scheduled') AND b.state = 'pending' LIMIT :most",
        provider=provider,
        most=_LEAST_DUE,
    )
    return len(rows)


def _phase_of_calls(w: World, number: int) -> None:
    """Let calls go wrong for some seconds, or all go well again."""
    chance = w.plan.chance("fault", number)
    if chance.random() < 0.4:
        w.break_calls([])
        return
    trouble(w, chance, kinds=_KINDS)
