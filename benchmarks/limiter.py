"""The limiter, as the provider sees it: how much of the limit is used, the most in any second, claims handed back."""

import bisect
import time
from collections.abc import Iterator, Sequence

from benchmarks import journey, people
from benchmarks.figures import Figure
from benchmarks.options import Options
from benchmarks.stage import Home, Stage, counting_server, wait_until
from dispatcher import cancellation
from dispatcher.runtime import now
from dispatcher.throughput import Limits, Throughput

LIMIT = 50
WORKERS = (1, 4, 16)
MESSAGES = 2_000
WINDOW = 30.0
"""Seconds out of a backlog in which every permit should be used."""

_LEAD = 5.0
_BACKLOG, _SHORT = 0.99, 0.97
_HANDED_BACK = 0.1


def run(stage: Stage, options: Options) -> Iterator[Figure]:
    """Send through NetSapiens, one request a message, with 1, 4 and 16 worker processes."""
    messages, window, lead = (100, 1.5, 0.5) if options.quick else (MESSAGES, WINDOW, _LEAD)
    for engine in options.engines:
        for workers in (2,) if options.quick else WORKERS:
            limit = {"DISPATCHER_NETSAPIENS__REQUESTS_PER_SECOND": str(LIMIT)}
            with counting_server() as server, stage.home(engine, server=server, settings=limit) as home:
                size = messages + int(LIMIT * (window + lead) * 1.3)
                path = people.write(stage.folder / "limited.csv", messages, seed=options.seed)
                rest = people.write(stage.folder / "rest.csv", size - messages, seed=options.seed, first=messages)
                short, backlog = (
                    str(journey.enqueue(home, one, provider="netsapiens").output["campaign"]) for one in (path, rest)
                )
                for name in (short, backlog):
                    home.pause(name)
                home.up(workers=workers)
                _settled(home)
                began = time.monotonic()
                journey.let_run(home, server, [short], rows=messages)
                arrivals = server.arrivals()
                given = _handed_back(home)
                server.reset()
                cancellation.resume(home.ledger, home.ledger.campaigns.get(backlog), who="bench", now=now())
                wait_until(lambda server=server: server.told().requests, "the backlog's first request")  # type: ignore[misc]
                time.sleep(lead + window + 0.2)
                late = server.arrivals()
            first = late[0] + lead
            used = (bisect.bisect_left(late, first + window) - bisect.bisect_left(late, first)) / (LIMIT * window)
            peak = max(most_in_a_second(arrivals), most_in_a_second(late))
            yield from _figures(
                options,
                engine,
                workers,
                used=used,
                short=messages / LIMIT / (arrivals[-1] - began),
                peak=peak,
                handed_back=given / messages,
                messages=messages,
            )


def _settled(home: Home) -> None:
    """Wait until the hold of a first use is over, as it is on a stack that has been up for some seconds."""
    throughput = Throughput.connect(home.redis_url)
    limits = Limits(requests_per_second=LIMIT, segments_per_second=None)
    wait_until(lambda: throughput.wait("netsapiens", limits) == 0.0, "the hold of a first use", every=0.1)
    throughput.close()


def most_in_a_second(arrivals: Sequence[float]) -> int:
    """Return the most instants in any rolling second; they are in order."""
    return max((bisect.bisect_left(arrivals, at + 1.0) - index for index, at in enumerate(arrivals)), default=0)


def _handed_back(home: Home) -> int:
    """Return how often a claim was given back, or an attempt ended before its request."""
    with home.ledger.database.read() as tx:
        row = tx.rows(
            "SELECT COUNT(*) AS many FROM event WHERE subject = 'batch' AND after = 'pending'"
            " AND before IN ('claimed', 'submitting')"
        )[0]
    return int(row.many)


def _figures(
    options: Options,
    engine: str,
    workers: int,
    *,
    used: float,
    short: float,
    peak: int,
    handed_back: float,
    messages: int,
) -> Iterator[Figure]:
    for what, value, unit, bar, more in (
        ("used share of the limit, backlog", used, "×", _BACKLOG, True),
        (f"used share of the limit, {messages:,} messages", short, "×", _SHORT, True),
        (f"most in a rolling second at {LIMIT}/s", float(peak), "requests", LIMIT + 1.0, False),
        ("claims handed back", handed_back, "a batch", _HANDED_BACK, False),
    ):
        yield Figure(
            benchmark="limiter",
            what=f"{what}, {workers} processes",
            unit=unit,
            engine=engine,
            values=[value],
            bar=options.bar(bar),
            more_is_better=more,
        )
