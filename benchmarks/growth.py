"""How the cost grows with the work: rows, campaigns at once, threads against a slow provider."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import journey, people
from benchmarks.figures import Figure
from benchmarks.options import Options
from benchmarks.stage import Home, Stage, counting_server
from dispatcher.planning import Order
from dispatcher.planning import enqueue as plan
from dispatcher.providers.winsms import Settings, WinSMS
from dispatcher.runtime import now

SIZES = {10_000: 5, 100_000: 3, 1_000_000: 1, 5_000_000: 1}
"""Rows, and how often each is measured: the small ones tell little once."""

CAMPAIGNS = (1, 500)
THREADS = (1, 2, 4, 8, 16)
LATENCY = 0.1
_SPREAD = 15.0  # percent, either way
_LINEAR = 0.85
_NOT_SLOWER = 1.0


@dataclass(slots=True)
class _Costs:
    """Microseconds a row, by size: of the clock, and of processors (which a busy machine does not change)."""

    clock: dict[int, float] = field(default_factory=dict)
    cpu: dict[int, float] = field(default_factory=dict)
    memory: dict[int, float] = field(default_factory=dict)


def rows(stage: Stage, options: Options) -> Iterator[Figure]:
    """Plan and send lists of each size."""
    sizes = {200: 1, 2_000: 1} if options.quick else SIZES
    if options.rows:
        sizes = {size: times for size, times in SIZES.items() if size <= options.rows}
    for engine in options.engines:
        planning, sending, beside = _Costs(), _Costs(), dict[int, float]()
        for size, times in sizes.items():
            path = people.write(stage.folder / "growth.csv", size, seed=options.seed)
            commands, planned, sent = [], [], []
            for _ in range(times):
                with counting_server() as server, stage.home(engine, server=server) as home:
                    commands.append(journey.enqueue(home, path))
                    # A ledger and workers that have been used: what is spent once a process is no part of what grows.
                    name = commands[-1].output["campaign"]
                    home.pause(name)
                    [warming] = _enqueue(stage, home, options, campaigns=1, each=min(sizes))
                    home.up(workers=options.workers)
                    journey.let_run(home, server, [warming], rows=min(sizes))
                    sent.append(journey.let_run(home, server, [name], rows=size))
                    home.down()
                    planned.append(_planned(home, path))
            planning.clock[size] = statistics.median(clock for clock, _ in planned) / size * 1e6
            planning.cpu[size] = statistics.median(cpu for _, cpu in planned) / size * 1e6
            planning.memory[size] = max(one.peak_memory for one in commands) / 1e6
            beside[size] = statistics.median(one.seconds for one in commands) - planning.clock[size] * size / 1e6
            # From the first request: the wait for the first bell is not of the size.
            sending.clock[size] = statistics.median(one.active for one in sent) / size * 1e6
            sending.cpu[size] = statistics.median(one.cpu for one in sent) / size * 1e6
        yield from _spreads(options, engine, "plan", planning)
        yield from _spreads(options, engine, "send", sending)
        smallest = min(sizes)
        yield Figure(
            benchmark="growth",
            what="a command of planning, beside the planning",
            unit="s",
            engine=engine,
            rows=smallest,
            values=[beside[smallest]],
            more_is_better=False,
        )
        small, large = sorted(sizes)[-2:]
        grown = (planning.memory[large] - planning.memory[small]) / (large - small) * 1e6
        yield Figure(
            benchmark="growth",
            what="memory of planning, a further row",
            unit="bytes",
            engine=engine,
            rows=large,
            values=[grown],
            more_is_better=False,
            details={f"peak at {size:,} rows, MB": most for size, most in planning.memory.items()},
        )


def _planned(home: Home, path: Path) -> tuple[float, float]:
    """Plan a list in this process; return the seconds, and those of processors.

    A command spends some on its start, whatever the size: that is told by itself.
    """
    began, before = time.perf_counter(), time.process_time() + home.database_cpu()
    _plan(home, path, "growth")
    return time.perf_counter() - began, time.process_time() + home.database_cpu() - before


def _spreads(options: Options, engine: str, what: str, costs: _Costs) -> Iterator[Figure]:
    for kind, cost in (("seconds", costs.clock), ("processor seconds", costs.cpu)):
        middle = statistics.median(cost.values())
        yield Figure(
            benchmark="growth",
            what=f"{what}, {kind} a row: furthest from the median",
            unit="%",
            engine=engine,
            values=[100 * max(abs(one / middle - 1) for one in cost.values())],
            bar=options.bar(_SPREAD),
            more_is_better=False,
            details={f"µs/row at {size:,}": one for size, one in cost.items()},
        )


def campaigns(stage: Stage, options: Options) -> Iterator[Figure]:
    """Send as many people in one campaign and in many at once: requests of a thousand in both."""
    many = 4 if options.quick else CAMPAIGNS[-1]
    each = 50 if options.quick else 1_000
    for engine in options.engines:
        taken = {}
        with counting_server() as server, stage.home(engine, server=server) as home:
            names = {
                campaigns: _enqueue(stage, home, options, campaigns=campaigns, each=each * many // campaigns)
                for campaigns in (1, many)
            }
            home.up(workers=options.workers)
            for campaigns, theirs in names.items():
                taken[campaigns] = journey.let_run(home, server, theirs, rows=each * many)
        one, all_ = taken[1], taken[many]
        yield Figure(
            benchmark="growth",
            what=f"{many} campaigns at once, beside one as large",
            unit="× as fast",
            engine=engine,
            rows=each * many,
            values=[one.active / all_.active],
            bar=options.bar(_NOT_SLOWER * 0.95),  # five in a hundred is within what two runs differ
            details={
                "one, recipients/s": each * many / one.active,
                "many, recipients/s": each * many / all_.active,
                "one, CPU µs/recipient": one.cpu / (each * many) * 1e6,
                "many, CPU µs/recipient": all_.cpu / (each * many) * 1e6,
            },
        )


def _enqueue(stage: Stage, home: Home, options: Options, *, campaigns: int, each: int) -> list[str]:
    """Plan so many campaigns, all paused; in this process, since commands would take minutes to start."""
    names = []
    for index in range(campaigns):
        path = people.write(stage.folder / "part.csv", each, seed=options.seed, first=index * each)
        name = f"b{campaigns:04}{index:05}"
        _plan(home, path, name)
        home.pause(name)
        names.append(name)
    return names


def _plan(home: Home, path: Path, name: str) -> None:
    order = Order(public_id=name, name=name, provider="winsms", text=people.TEXT, phone_column="phone")
    done = plan(home.ledger, order, path, capabilities=WinSMS(Settings()).capabilities, who="bench", clock=now)
    assert done.campaign is not None


def threads(stage: Stage, options: Options) -> Iterator[Figure]:
    """Send through a provider that takes a tenth of a second for each answer, with more and more threads."""
    latency = 0.02 if options.quick else LATENCY
    for engine in options.engines:
        rates = {}
        for many in (1, 4) if options.quick else THREADS:
            size = many * (10 if options.quick else 60)
            # All of them for this provider: by default half are kept for the others.
            settings = {"DISPATCHER_THREADS": str(many), "DISPATCHER_SLICES": str(many)}
            path = people.write(stage.folder / "slow.csv", size, seed=options.seed)
            with (
                counting_server(latency=latency) as server,
                stage.home(engine, server=server, settings=settings) as home,
            ):
                name = journey.enqueue(home, path, provider="netsapiens").output["campaign"]
                home.pause(name)
                home.up(workers=1)
                journey.let_run(home, server, [name], rows=size)
                told = server.told()
            rates[many] = (size - many) / (told.last - told.first)
        fewest, most = min(rates), max(rates)
        yield Figure(
            benchmark="growth",
            what=f"{fewest} → {most} threads at {latency * 1000:.0f} ms a request: share of linear",
            unit="×",
            engine=engine,
            values=[rates[most] / rates[fewest] * fewest / most],
            bar=options.bar(_LINEAR),
            details={f"messages/s with {many}": rate for many, rate in rates.items()},
        )


def run(stage: Stage, options: Options) -> Iterator[Figure]:
    """Measure all three."""
    yield from rows(stage, options)
    yield from campaigns(stage, options)
    yield from threads(stage, options)
