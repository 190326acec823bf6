"""Against the usual design: one Celery task and one commit a recipient, `phonenumbers`, the same server."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import journey, people
from benchmarks.figures import Figure
from benchmarks.options import Options
from benchmarks.processes import cpu_seconds, family
from benchmarks.stage import Home, Server, Stage, StageError, counting_server, wait_until
from benchmarks.usual_rows import submitted

PEOPLE = 3_000
OURS = 200_000
"""How many people ours sends to in the same run: enough that its start does not count, few enough to be quick."""

_BAR = 150.0
# What people choose from; the faster one counts.
_POOLS = {"4 processes": ("prefork", 4), "16 threads": ("threads", 16)}


def run(stage: Stage, options: Options) -> Iterator[Figure]:
    """Measure both designs from the list to the last recorded outcome."""
    few = PEOPLE if not options.quick else 100
    many = options.size(OURS, quick=2_000)
    short = people.write(stage.folder / "few.csv", few, seed=options.seed)
    for engine in options.engines:
        rates, cpu = {}, {}
        for name, (pool, size) in _POOLS.items() if not options.quick else [("2 threads", ("threads", 2))]:
            with counting_server() as server, stage.home(engine, server=server) as home:
                seconds, used = _usual(home, server, short, pool=pool, size=size, many=few)
                rates[name], cpu[name] = few / seconds, used / few
        best = max(rates, key=lambda name: rates[name])
        trips = list(journey.run(stage, options, last="send", rows=many, engines=(engine,), times=1))
        ours = next(figure for figure in trips if "plan and send, people/s" in figure.details)
        rate = float(ours.details["plan and send, people/s"])
        yield Figure(
            benchmark="usual",
            what="how many times as fast, list → outcomes",
            unit="×",
            engine=engine,
            rows=many,
            values=[rate / rates[best]],
            bar=options.bar(_BAR),
            details={
                "ours, people/s": rate,
                **{f"usual, {name}, people/s": value for name, value in rates.items()},
                "usual, CPU µs/person": cpu[best] * 1e6,
                "people": few,
            },
        )


def _usual(home: Home, server: Server, path: Path, *, pool: str, size: int, many: int) -> tuple[float, float]:
    """Return the seconds and the processor seconds that the usual design takes for a list."""
    url = home.ledger_url if home.postgresql else f"sqlite:///{home.folder / 'usual.db'}"
    broker = home.redis_url.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")
    settings = {"broker": broker, "ledger": url, "url": server.url}
    environment = home.environment | {"BENCH_USUAL": json.dumps(settings)}
    producer = [sys.executable, "-m", "benchmarks.usual_producer", str(path)]
    worker = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "benchmarks.usual_app",
        "--quiet",
        "worker",
        "--loglevel",
        "ERROR",
    ]
    log = (home.folder / "usual.log").open("wb")
    process = subprocess.Popen(
        [*worker, "--pool", pool, "--concurrency", str(size)], env=environment, stdout=log, stderr=log
    )
    try:
        time.sleep(4 if many > 1000 else 2.5)  # its own start is no part of it
        before = cpu_seconds(family(process.pid)) + home.database_cpu()
        began = time.monotonic()
        sent = subprocess.run(producer, env=environment, capture_output=True, check=True)
        told = json.loads(sent.stdout)
        wait_until(lambda: server.told().recipients >= many, "the usual design", seconds=600, every=0.02)
        with contextlib.suppress(StageError):
            wait_until(lambda: submitted(url) == many, "its last commit", seconds=60, every=0.02)
        ended = time.monotonic()
        used = cpu_seconds(family(process.pid)) + home.database_cpu() - before + told["cpu"]
        if submitted(url) != many:
            raise StageError(f"the usual design sent to {submitted(url)} of {many}")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        log.close()
    return ended - began - told["import_seconds"], used
