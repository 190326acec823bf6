"""`python -m benchmarks [NAME…]`: measures, prints, and keeps the figures in benchmarks/results."""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks import growth, idle, journey, limiter, machine, netsapiens, notations, orders, usual
from benchmarks.figures import RESULTS, Figure, keep, line
from benchmarks.options import Options
from benchmarks.plot import draw
from benchmarks.stage import ENGINES, Stage, StageError
from dispatcher.errors import DispatcherError

Benchmark = Callable[[Stage, Options], Iterable[Figure]]

BENCHMARKS: dict[str, Benchmark] = {
    "notations": notations.run,
    "usual": usual.run,
    "netsapiens": netsapiens.run,
    "orders": orders.run,
    "idle": idle.run,
    "growth": growth.run,
    "limiter": limiter.run,
}


def _chosen(names: list[str]) -> Iterator[tuple[str, Benchmark]]:
    """Return what is asked for. The steps of one journey are measured in one: each needs those before it."""
    steps = [name for name in journey.STEPS if name in names or not names]
    if steps:
        yield "+".join(journey.STEPS[: journey.STEPS.index(steps[-1]) + 1]), partial(journey.run, last=steps[-1])
    for name, benchmark in BENCHMARKS.items():
        if name in names or not names:
            yield name, benchmark


def main() -> int:
    """Measure what is asked for, all by default; return 1 where a measurement failed."""
    known = [*journey.STEPS, *BENCHMARKS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all by default: {', '.join(known)}")
    parser.add_argument("--rows", type=int, help="how many people, instead of each benchmark's own number")
    parser.add_argument("--engine", choices=ENGINES, help="one of the engines only")
    parser.add_argument("--quick", action="store_true", help="everything small: that it works, not how fast")
    parser.add_argument("--repeats", type=int, help="how often, instead of each benchmark's own number")
    parser.add_argument("--workers", type=int, help="worker processes of the stack that sends; 2 by default")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--results", type=Path, help="where to keep the figures; a quick run keeps none by default")
    given = parser.parse_args()
    if wrong := set(given.names) - set(known):
        parser.error(f"no such benchmark: {', '.join(sorted(wrong))}; there are {', '.join(known)}")
    options = Options(
        rows=given.rows,
        engines=(given.engine,) if given.engine else ENGINES,
        quick=given.quick,
        repeats=given.repeats,
        workers=given.workers or (1 if given.quick else 2),
        seed=given.seed,
    )
    # Stopped so, it still stops all that it started; also where the shell had it ignore Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(1))
    folder = given.results or (None if given.quick else RESULTS)
    facts, stage, failed = machine.facts(), Stage(), False
    try:
        for name, benchmark in _chosen(given.names):
            taken = {
                "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                "commit": machine.commit(),
                "load": machine.load(),
                "seed": options.seed,
                "command": "python -m benchmarks " + " ".join(sys.argv[1:]),
            }
            began, figures = time.monotonic(), []
            try:
                for figure in benchmark(stage, options):
                    print(line(figure), flush=True)
                    figures.append(figure)
            except (StageError, DispatcherError, subprocess.SubprocessError) as error:
                print(f"{name}: FAILED: {error}", file=sys.stderr, flush=True)
                failed = True
            print(f"{name}: {time.monotonic() - began:.0f} s, load {taken['load']} → {machine.load()}\n", flush=True)
            if folder is not None and figures:
                facts |= stage.facts()
                keep(figures, taken, facts, folder=folder)
                draw(folder)
    finally:
        stage.close()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
