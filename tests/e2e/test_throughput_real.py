"""The limit as a provider would see it: real workers on a real Redis, and what happens when it dies."""

import multiprocessing
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
import redis

from dispatcher.errors import ThroughputUnavailable
from dispatcher.throughput import MARGIN, Limits, Throughput

pytestmark = pytest.mark.alone

LIMITS = Limits(requests_per_second=50, segments_per_second=None)
WORKERS = 4
SETTLED = 3.1
"""Seconds after which the hold of a first use is over, and nothing of the limit is kept back any more."""


@dataclass
class Sent:
    """The instants at which one worker or several sent, and the permits they came too late for."""

    at: list[float] = field(default_factory=list)
    dropped: int = 0

    def peak(self) -> int:
        """Return the most in any rolling second."""
        at = sorted(self.at)
        most = first = 0
        for last, instant in enumerate(at):
            while at[first] <= instant - 1:
                first += 1
            most = max(most, last - first + 1)
        return most


def hammer(url: str, until: float, *, together: int = 0, seconds: float = 0.0) -> Sent:
    """Send as fast as permitted until the monotonic instant `until`, or for so long once so many are ready."""
    throughput, sent = Throughput.connect(url), Sent()
    if together:
        with redis.Redis.from_url(url) as client:
            client.incr("ready")
            while int(client.get("ready") or 0) < together:
                time.sleep(0.01)
        until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            permit = throughput.reserve("main", LIMITS)
        except ThroughputUnavailable:
            time.sleep(0.02)
            continue
        time.sleep(max(0.0, permit.send_at() - time.monotonic()))
        if permit.granted:
            now = time.monotonic()
            if permit.late(now):
                sent.dropped += 1
            else:
                sent.at.append(now)
    throughput.close()
    return sent


def together(parts: list[Sent]) -> Sent:
    return Sent([at for part in parts for at in part.at], sum(part.dropped for part in parts))


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_workers_together_hold_the_limit_and_use_it(redis_server, pool):
    Throughput.connect(redis_server.url).wait("main", LIMITS)
    spawn = {"mp_context": multiprocessing.get_context("spawn")} if pool is ProcessPoolExecutor else {}
    with pool(WORKERS, **spawn) as workers:
        time.sleep(SETTLED)
        parts = [workers.submit(hammer, redis_server.url, 0, together=WORKERS, seconds=4.5) for _ in range(WORKERS)]
        sent = together([part.result() for part in parts])
    windows = 3 * (1 + MARGIN)
    used = sum(at < min(sent.at) + windows for at in sent.at) / (LIMITS.requests_per_second * windows)
    measured = f"{used=:.3f} peak={sent.peak()} dropped={sent.dropped}"
    assert sent.peak() <= LIMITS.requests_per_second, measured
    # A machine that is too busy to wake in time drops permits, which is no fault of the log.
    assert used + sent.dropped / (LIMITS.requests_per_second * windows) >= 0.9, measured
    assert used >= 0.5, measured


def test_a_crash_that_loses_everything_does_not_break_the_limit(own_redis_server):
    Throughput.connect(own_redis_server.url).wait("main", LIMITS)
    until = time.monotonic() + 7.5
    with ThreadPoolExecutor(WORKERS) as workers:
        parts = [workers.submit(hammer, own_redis_server.url, until) for _ in range(WORKERS)]
        time.sleep(3)
        own_redis_server.stop(signal.SIGKILL)
        crashed = time.monotonic()
        own_redis_server.start()
        sent = together([part.result() for part in parts])
    assert [at for at in sent.at if at < crashed]
    assert [at for at in sent.at if at > crashed + 2]
    assert sent.peak() <= LIMITS.requests_per_second


def test_another_run_of_the_server_holds_even_with_all_its_data(redis_server):
    throughput = Throughput.connect(redis_server.url)
    throughput.wait("main", LIMITS)
    with redis_server.client() as client:
        run = client.hget("dispatcher:{main}:state", "run")
        assert run.decode() == client.info("server")["run_id"]
        client.hset("dispatcher:{main}:state", "run", "0" * 40)
    assert throughput.wait("main", LIMITS) > 1.9


def test_while_redis_is_down_nothing_is_granted(own_redis_server):
    throughput = Throughput.connect(own_redis_server.url)
    assert throughput.ping().endswith(f"at unix://{own_redis_server.socket}")
    own_redis_server.stop()
    with pytest.raises(ThroughputUnavailable, match=str(own_redis_server.socket)):
        throughput.reserve("main", LIMITS)
    own_redis_server.start()
    assert throughput.reserve("main", LIMITS).wait > 1


def test_a_frozen_redis_is_given_up(own_redis_server, monkeypatch):
    throughput = Throughput.connect(own_redis_server.url)
    own_redis_server.freeze()
    monkeypatch.setitem(throughput._client.connection_pool.connection_kwargs, "socket_timeout", 0.1)
    began = time.monotonic()
    with pytest.raises(ThroughputUnavailable, match="Timeout"):
        throughput.reserve("main", LIMITS)
    assert time.monotonic() - began < 3
    own_redis_server.thaw()


def test_threads_may_share_one_throughput(redis_server):
    throughput = Throughput.connect(redis_server.url)
    throughput._spread = 0  # all at once, to count them
    throughput.wait("main", LIMITS)
    time.sleep(SETTLED)
    barrier, granted = threading.Barrier(WORKERS), []

    def ask() -> None:
        barrier.wait()
        granted.extend(throughput.reserve("main", LIMITS, max_wait=0.2).granted for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(granted) == LIMITS.requests_per_second
    throughput.close()
