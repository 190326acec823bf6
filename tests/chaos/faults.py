"""What can happen to a world, how often beside the others, and the run that lets it happen for some minutes."""

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random

import redis

from tests.chaos.campaigns import cancel, enqueue, pause_and_resume, resume_what_was_paused
from tests.chaos.servers import alive, wait_for
from tests.chaos.world import World

NETWORK_FAULTS = (
    "drop_before", "drop_after", "hang_before", "hang_after", "429", "429_retry_after", "500", "500_after",
    "html", "cut_json", "cut_body", "empty", "missing_rows",
)  # fmt: skip

Fault = Callable[[World, Random], bool]
"""Lets one thing happen, chosen by the dice; False where there was nothing that it could happen to."""


def kill(part: str) -> Fault:
    """Return a fault that kills one process of a part."""

    def fault(w: World, chance: Random) -> bool:
        if part == "redis" and w.redis is not None:
            if w.under_way("redis"):
                return False
            w.redis.stop(signal.SIGKILL)
            w.later(chance.uniform(0.1, 2), "redis", w.redis.start)
            return True
        pids = w.pids(part)
        at = chance.random()
        if not pids:
            return False
        with suppress(ProcessLookupError):
            os.kill(pids[int(at * len(pids))], signal.SIGKILL)
        return True

    return fault


def kill_stack(w: World, chance: Random) -> bool:
    """Kill the supervisor: everything ends with it, and is started again."""
    del chance
    assert w.stack is not None
    beside = {process.pid for process in w.extras if process is not None}
    parts = [pid for part in ("redis", "worker", "beat") for pid in w.pids(part) if pid not in beside]
    thaw(w)
    w.stack.kill()
    w.stack.wait()
    wait_for(lambda: not any(alive(pid) for pid in parts), "all parts have ended", 30)
    w.up()
    return True


def flush(w: World, chance: Random) -> bool:
    """Let Redis forget everything."""
    del chance
    url = f"unix://{w.home / 'redis' / 'redis.sock'}" if w.redis is None else f"redis://127.0.0.1:{w.redis.port}/0"
    with suppress(redis.RedisError), redis.Redis.from_url(url) as client:
        return bool(client.flushall())
    return False


def lose_the_wire(w: World, chance: Random) -> bool:
    """Let every connection to Redis go half-open, and be cut later."""
    if w.wire is None or w.under_way("wire"):
        return False
    w.wire.go_dead()
    w.later(chance.uniform(1, 7), "wire", w.wire.cut)
    return True


def lock_ledger(w: World, chance: Random) -> bool:
    """Hold the ledger's write lock for a while, as another program might."""
    if w.disk is None:
        return False
    connection = sqlite3.connect(w.disk.folder / "ledger.db", timeout=5, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(chance.uniform(0.3, 2.0))
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


def fill_the_disk(w: World, chance: Random) -> bool:
    """Leave the ledger no room, for a while."""
    if w.disk is None or w.under_way("disk"):
        return False
    w.disk.fill(w.pids("worker"))
    w.later(chance.uniform(0.5, 3), "disk", w.disk.make_room)
    return True


def restart_postgresql(*, crash: bool) -> Fault:
    """Return a fault that takes the ledger's server away, and gives it back."""

    def fault(w: World, chance: Random) -> bool:
        server = w.postgresql
        if server is None or w.under_way("postgresql"):
            return False
        if crash:
            server.crash()
        else:
            server.stop_at_once()
        w.later(chance.uniform(0.1, 2), "postgresql", server.start)
        return True

    return fault


def freeze(w: World, chance: Random) -> bool:
    """Stop a worker past its lease, and wake it again."""
    pids = [pid for pid in w.pids("worker") if pid not in w.frozen]
    at = chance.random()
    if not pids:
        return False
    pid = pids[int(at * len(pids))]
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
    w.frozen.add(pid)
    w.later(w.plan.timeout + 1 + w.plan.margin + 1.5, "frozen", lambda: thaw(w, pid))
    return True


def thaw(w: World, *pids: int) -> None:
    """Wake workers that were stopped, or all of them."""
    for pid in pids or tuple(w.frozen):
        w.frozen.discard(pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def trouble(w: World, chance: Random, kinds: Sequence[str] = NETWORK_FAULTS) -> bool:
    """Let a share of the provider calls go wrong, in one way or two after another."""
    chosen = chance.sample(kinds, chance.choice((1, 1, 2)))
    share = chance.uniform(0.1, 0.3) / len(chosen)
    w.break_calls([{"kind": kind, "share": share, "seconds": w.plan.timeout + 1} for kind in chosen])
    for kind in chosen:
        w.injected[f"calls: {kind}"] += 1
    return True


FAULTS: dict[str, tuple[int, Fault]] = {
    "worker killed": (10, kill("worker")),
    "beat killed": (2, kill("beat")),
    "redis killed": (3, kill("redis")),
    "stack killed": (2, kill_stack),
    "redis flushed": (3, flush),
    "redis half-open": (3, lose_the_wire),
    "ledger locked": (2, lock_ledger),
    "ledger's disk full": (2, fill_the_disk),
    "postgresql stopped at once": (2, restart_postgresql(crash=False)),
    "postgresql killed": (2, restart_postgresql(crash=True)),
    "worker frozen past its lease": (2, freeze),
    "calls": (6, trouble),
    "campaign paused and resumed": (3, pause_and_resume),
    "campaign cancelled": (2, cancel),
}
"""What can happen, and how often beside the others."""


def let_happen(w: World, number: int, *, without: tuple[str, ...] = ()) -> None:
    """Let the thing of this number happen: the same for the same seed."""
    chance = w.plan.chance("fault", number)
    names = [name for name in FAULTS if name not in without]
    [name] = chance.choices(names, [FAULTS[one][0] for one in names])
    if FAULTS[name][1](w, chance) and name != "calls":
        w.injected[name] += 1


def wreck(w: World) -> None:
    """Enqueue and break, until the time is over."""
    end = time.monotonic() + w.plan.seconds
    chance = w.plan.chance("pace")
    number = 0
    while time.monotonic() < end:
        enqueue(w)
        for _ in range(chance.randint(1, 3)):
            number += 1
            let_happen(w, number)
            pause = time.monotonic() + chance.uniform(0.05, 0.8)
            while time.monotonic() < pause:
                w.tend()
                time.sleep(0.05)


def give_back(w: World) -> None:
    """Undo what lasts, resume what was paused, and let nobody live on who was born to die."""
    w.nursery.kill_all()
    w.break_calls([])
    w.tend(all_of_it=True)
    resume_what_was_paused(w)
