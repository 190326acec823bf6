"""Plans a campaign, sends it and polls its receipts, each measured, through the commands and the real stack."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import people
from benchmarks.figures import Figure
from benchmarks.options import Options
from benchmarks.stage import Home, Server, Stage, StageError, Taken, counting_server, wait_until
from dispatcher import cancellation
from dispatcher.ledger import Campaign
from dispatcher.message import MessageState
from dispatcher.runtime import now

ROWS = 1_000_000
STEPS = ("plan", "send", "receipts")
_PLAN = {"sqlite": 150_000, "postgresql": 90_000}
_SEND = {"sqlite": 100_000, "postgresql": 70_000}
_RECEIPTS = {"sqlite": 200_000, "postgresql": 120_000}
_PLAN_MEMORY = 400.0  # MB
_FLOOR_SHARE = 1 / 3


@dataclass(slots=True, kw_only=True)
class Sent:
    """What sending took."""

    seconds: float  # from the commit that lets the campaign run to its last outcome
    active: float  # from the first request
    cpu: float  # of workers, Redis and the database server
    server_cpu: float
    requests: int


def enqueue(home: Home, path: Path, *, provider: str = "winsms", text: str = people.TEXT, country: str = "") -> Taken:
    """Plan a list into a campaign, and check that everybody in it becomes a message."""
    args = ["enqueue", str(path), "--provider", provider, "--text", text, "--json"]
    taken = home.measure(*args, *(["--country", country] if country else []))
    if taken.output["messages"] != taken.output["rows"]:
        raise StageError(f"{taken.output['rows']} rows became {taken.output['messages']} messages")
    return taken


def states(home: Home, campaign: Campaign) -> dict[MessageState, int]:
    """Return how many messages are in each state, as the ledger counts them."""
    return dict(home.ledger.campaigns.counts(campaign).messages)


def let_run(home: Home, server: Server, names: list[str], *, rows: int, seconds: float = 1800.0) -> Sent:
    """Resume paused campaigns of a running stack, wait for the last outcome, and check the sums."""
    server.reset()
    campaigns = [home.ledger.campaigns.get(name) for name in names]
    server_cpu, cpu = server.told().cpu, home.stack_cpu()
    began = time.monotonic()
    if len(campaigns) == 1:
        cancellation.resume(home.ledger, campaigns[0], who="bench", now=now())
    else:  # all at once: hundreds of commits would be measured with them
        with home.ledger.database.write() as tx:
            tx.run_many(
                "UPDATE campaign SET state = 'running' WHERE id = :id",
                [{"id": campaign.id} for campaign in campaigns],
            )
    waiting = list(campaigns)

    def settled() -> bool:
        while waiting and not states(home, waiting[-1])[MessageState.QUEUED]:
            waiting.pop()
        return not waiting

    wait_until(settled, "the last outcome", seconds=seconds, every=0.05 if rows > 50_000 else 0.004)
    ended = time.monotonic()
    used = home.stack_cpu() - cpu
    told = server.told()
    submitted = sum(states(home, campaign)[MessageState.SUBMITTED] for campaign in campaigns)
    if not told.recipients == submitted == rows:
        found = {state.value: many for state, many in states(home, campaigns[0]).items() if many}
        raise StageError(f"of {rows} people the server saw {told.recipients} and the ledger {submitted}: {found}")
    return Sent(
        seconds=ended - began,
        active=ended - told.first,
        cpu=used,
        server_cpu=told.cpu - server_cpu,
        requests=told.requests,
    )


def poll(home: Home, *, rows: int) -> Taken:
    """Ask for the receipts of everybody, and check that all were delivered."""
    settled, taken = 0, None
    while True:
        one = home.measure("poll", "--provider", "winsms", "--json", codes=(0, 1))
        settled += one.output[0]["settled"]
        if taken is None:
            taken = one
        else:
            taken.seconds += one.seconds
            taken.cpu += one.cpu
            taken.peak_memory = max(taken.peak_memory, one.peak_memory)
        if one.output[0]["left"] is None:
            break
        if one.output[0]["left"] != "more is due":
            raise StageError(f"polling ended: {one.output[0]['left']}")
    if settled != rows:
        raise StageError(f"of {rows} receipts {settled} were applied")
    return taken


def floor(path: Path, server: Server) -> dict[str, float]:
    """Send the list by the straight script."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.floor", str(path), server.url], capture_output=True, check=True
    )
    told: dict[str, float] = json.loads(done.stdout)
    return told


def run(
    stage: Stage,
    options: Options,
    *,
    last: str,
    rows: int | None = None,
    engines: tuple[str, ...] = (),
    times: int | None = None,
) -> Iterator[Figure]:
    """Measure the steps of the journey up to `last`, on each engine."""
    many = rows or options.size(ROWS, quick=5_000)
    path = people.write(stage.folder / f"people-{many}.csv", many, seed=options.seed)
    times = times or options.times(1 if many >= ROWS else 3)
    for engine in engines or options.engines:
        trips = [_trip(stage, options, engine, path, rows=many, last=last) for _ in range(times)]
        for figures in zip(*trips, strict=True):
            yield _together(figures)
    path.unlink()


def _together(figures: tuple[Figure, ...]) -> Figure:
    """Return the repeats of one measurement as one figure; the details are those of the last."""
    one = figures[-1]
    return Figure(
        benchmark=one.benchmark,
        what=one.what,
        unit=one.unit,
        values=[value for figure in figures for value in figure.values],
        engine=one.engine,
        rows=one.rows,
        bar=one.bar,
        more_is_better=one.more_is_better,
        details=one.details,
    )


def _trip(stage: Stage, options: Options, engine: str, path: Path, *, rows: int, last: str) -> list[Figure]:
    figures: list[Figure] = []
    with counting_server(distinct=options.quick) as server, stage.home(engine, server=server) as home:
        planned = enqueue(home, path)
        figures += _plan_figures(options, engine, rows, planned)
        if last == "plan":
            return figures
        campaign = planned.output["campaign"]
        home.pause(campaign)
        home.up(workers=options.workers)
        sent = let_run(home, server, [campaign], rows=rows)
        if options.quick and server.told().distinct != rows:
            raise StageError(f"{rows} people were sent to at {server.told().distinct} numbers")
        home.down()
        script = floor(path, server)
        figures += _send_figures(options, engine, rows, planned=planned, sent=sent, script=script)
        if last == "send":
            return figures
        before = server.told().cpu
        polled = poll(home, rows=rows)
        figures += _receipt_figures(options, engine, rows, polled, server.told().cpu - before)
    return figures


def _plan_figures(options: Options, engine: str, rows: int, planned: Taken) -> list[Figure]:
    common = {"benchmark": "plan", "engine": engine, "rows": rows}
    return [
        Figure(
            **common,  # type: ignore[arg-type]
            what="read → ledger committed",
            unit="rows/s",
            values=[rows / planned.seconds],
            bar=options.bar(_PLAN[engine]),
            details={"CPU µs/row": planned.cpu / rows * 1e6, "seconds": planned.seconds},
        ),
        Figure(
            **common,  # type: ignore[arg-type]
            what="peak memory",
            unit="MB",
            values=[planned.peak_memory / 1e6],
            bar=options.bar(_PLAN_MEMORY) if rows <= ROWS else None,
            more_is_better=False,
        ),
    ]


def _send_figures(
    options: Options, engine: str, rows: int, *, planned: Taken, sent: Sent, script: dict[str, float]
) -> list[Figure]:
    common = {"benchmark": "send", "engine": engine, "rows": rows}
    whole = planned.seconds + sent.seconds
    return [
        Figure(
            **common,  # type: ignore[arg-type]
            what="resumed → every outcome recorded",
            unit="recipients/s",
            values=[rows / sent.seconds],
            bar=options.bar(_SEND[engine]),
            details={
                "CPU µs/recipient": sent.cpu / rows * 1e6,
                "of the counting server": sent.server_cpu / rows * 1e6,
                "requests": sent.requests,
                "from the first request, recipients/s": rows / sent.active,
                "workers": options.workers,
            },
        ),
        Figure(
            **common,  # type: ignore[arg-type]
            what="share of the floor, list → outcomes",
            unit="×",
            values=[script["seconds"] / whole],
            bar=options.bar(_FLOOR_SHARE),
            details={
                "floor, people/s": rows / script["seconds"],
                "floor CPU µs/recipient": script["cpu"] / rows * 1e6,
                "plan and send, people/s": rows / whole,
            },
        ),
        Figure(
            **common,  # type: ignore[arg-type]
            what="share of the floor's requests alone",
            unit="×",
            values=[script["sending"] / sent.seconds],
            bar=options.bar(_FLOOR_SHARE),
            details={"floor's requests alone, recipients/s": rows / script["sending"]},
        ),
    ]


def _receipt_figures(options: Options, engine: str, rows: int, polled: Taken, server_cpu: float) -> list[Figure]:
    return [
        Figure(
            benchmark="receipts",
            engine=engine,
            rows=rows,
            what="polled and applied",
            unit="messages/s",
            values=[rows / polled.seconds],
            bar=options.bar(_RECEIPTS[engine]),
            details={
                "CPU µs/message": polled.cpu / rows * 1e6,
                "of the counting server": server_cpu / rows * 1e6,
                "peak memory, MB": polled.peak_memory / 1e6,
            },
        )
    ]
