"""NetSapiens, one request a message: how much of a bare loop of the same HTTP client is left."""

import json
import subprocess
import sys
from collections.abc import Iterator

from benchmarks import journey, people
from benchmarks.figures import Figure
from benchmarks.options import Options
from benchmarks.stage import Server, Stage, StageError, counting_server

LATENCIES = {0.0: 10_000, 0.02: 10_000, 0.1: 3_000}
"""Seconds that the server takes to answer, and the messages that are sent: none is the worst for the dispatcher."""

THREADS = 16
"""Of each worker process (the default), and of each bare loop."""

_BAR = 0.70


def run(stage: Stage, options: Options) -> Iterator[Figure]:
    """Measure the real stack, and the bare loop with as many processes and threads, on each engine."""
    for engine in options.engines:
        for latency, most in LATENCIES.items():
            if latency and options.quick:
                continue
            yield _share(stage, options, engine, latency=latency, rows=options.size(most, quick=200))


def _share(stage: Stage, options: Options, engine: str, *, latency: float, rows: int) -> Figure:
    path = people.write(stage.folder / "texts.csv", rows, seed=options.seed)
    ours, bare, cpu, bare_cpu = [], [], 0.0, 0.0
    for _ in range(options.times(3)):
        with (
            counting_server(distinct=options.quick, latency=latency) as server,
            stage.home(engine, server=server) as home,
        ):
            planned = journey.enqueue(home, path, provider="netsapiens")
            home.pause(planned.output["campaign"])
            home.environment["DISPATCHER_THREADS"] = str(THREADS)
            # All of them for this provider: by default half are kept for the others.
            home.environment["DISPATCHER_SLICES"] = str(THREADS * options.workers)
            home.up(workers=options.workers)
            sent = journey.let_run(home, server, [planned.output["campaign"]], rows=rows)
            home.down()
            rate, used = _bare(server, processes=options.workers, rows=rows)
        ours.append(rows / sent.active)
        bare.append(rate)
        cpu, bare_cpu = sent.cpu / rows * 1e6, used / rows * 1e6
    return Figure(
        benchmark="netsapiens",
        what="share of the bare loop" + (f", {latency * 1000:.0f} ms a request" if latency else ""),
        unit="×",
        engine=engine,
        rows=rows,
        values=[mine / theirs for mine, theirs in zip(ours, bare, strict=True)],
        bar=options.bar(_BAR),
        details={
            "messages/s": sorted(ours)[len(ours) // 2],
            "bare loop, messages/s": sorted(bare)[len(bare) // 2],
            "CPU µs/message": cpu,
            "bare loop, CPU µs/message": bare_cpu,
            "processes": options.workers,
            "threads each": THREADS,
        },
    )


def _bare(server: Server, *, processes: int, rows: int) -> tuple[float, float]:
    """Return messages a second and processor seconds of the bare loop."""
    argv = [sys.executable, "-m", "benchmarks.bare", server.url, str(THREADS), str(rows // processes)]
    server.reset()
    loops = [subprocess.Popen(argv, stdout=subprocess.PIPE) for _ in range(processes)]
    told = [json.loads(loop.communicate()[0]) for loop in loops]
    if sum(one["sent"] for one in told) != server.told().recipients:
        raise StageError("the bare loop and the server count differently")
    # Each loop by its own clock: they need not have begun together.
    return sum(one["sent"] / one["seconds"] for one in told), sum(one["cpu"] for one in told)
