"""What a person waits for: `status` and `cancel` of a large campaign."""

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks import journey, people
from benchmarks.figures import Figure
from benchmarks.options import Options
from benchmarks.stage import COMMAND, Home, Stage, StageError, counting_server
from dispatcher import reporting

ROWS = 1_000_000
_STATUS, _CANCEL = 100.0, 2.0


def run(stage: Stage, options: Options) -> Iterator[Figure]:
    """Measure both on each engine: the operation, and the command as a whole beside an empty interpreter."""
    rows = options.size(ROWS)
    path = people.write(stage.folder / "orders.csv", rows, seed=options.seed)
    for engine in options.engines:
        with counting_server() as server, stage.home(engine, server=server) as home:
            name = journey.enqueue(home, path).output["campaign"]
            yield _status(home, options, name, rows)
            cancelled = []
            home.rest()
            for _ in range(options.times(3)):
                with stage.home(engine, server=server, like=home) as copy:
                    cancelled.append(copy.measure("cancel", name, "--json"))
                    told = cancelled[-1].output
                    # What it means for each message is written down for a while, the rest by the workers; none is sent.
                    open_ones = told["messages"]["cancelled"] + told["messages"]["queued"]
                    if told["state"] != "cancelled" or open_ones != rows or not told["messages"]["cancelled"]:
                        raise StageError(f"of {rows} messages {told['messages']['cancelled']} were cancelled")
            yield Figure(
                benchmark="cancel",
                what="the command beyond the interpreter's start",
                unit="s",
                engine=engine,
                rows=rows,
                values=[one.seconds for one in cancelled],
                bar=options.bar(_CANCEL),
                more_is_better=False,
                details={
                    "whole command, s": statistics.median(one.whole_seconds for one in cancelled),
                    "CPU µs/message": cancelled[-1].cpu / rows * 1e6,
                },
            )


def _status(home: Home, options: Options, name: str, rows: int) -> Figure:
    ledger = home.ledger
    taken = []
    for _ in range(options.times(50)):
        began = time.perf_counter()
        told = reporting.status(ledger, ledger.campaigns.get(name))
        taken.append((time.perf_counter() - began) * 1000)
    if told["messages"]["queued"] != rows:
        raise StageError(f"status counts {told['messages']['queued']} of {rows}")
    times = range(options.times(5))
    beyond = [home.measure("status", name, "--json").seconds * 1000 for _ in times]
    whole = [home.run("status", name) * 1000 for _ in times]
    return Figure(
        benchmark="status",
        what="the operation",
        unit="ms",
        engine=home.engine,
        rows=rows,
        values=taken,
        bar=options.bar(_STATUS),
        more_is_better=False,
        details={
            "command beyond start and imports, ms": statistics.median(beyond),
            "whole command, ms": statistics.median(whole),
            "dispatcher --version, ms": _took([str(COMMAND), "--version"]),
            "empty interpreter, ms": _took([sys.executable, "-c", "pass"]),
        },
    )


def _took(argv: list[str]) -> float:
    """Return the milliseconds that a command takes as a whole, the middle one of three."""
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)
