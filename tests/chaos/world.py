"""The world of one run: a stack in a home of its own, a sandbox that records, and all that the stack stands on."""

import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import phonenumbers
import requests

from dispatcher.errors import LedgerError
from dispatcher.ledger import Ledger, open_ledger
from dispatcher.ledger.database import micros
from dispatcher.runtime import now
from dispatcher.sandbox import client_settings
from tests.chaos.nursery import Ended, Nursery
from tests.chaos.proxy import Proxy
from tests.chaos.servers import Disk, PostgreSQL, Redis, alive, free_port, listening, wait_for

COMMAND = Path(sys.executable).parent / "dispatcher"
GRACE = 6
"""Seconds after which BSG and Sakari are believed that they do not have a lost batch; more than clocks are off here."""

CLOCK_OFF = 2.0
"""Seconds by which the clocks of some workers are off."""

_BSG, _SAKARI = "DISPATCHER_BSG__MESSAGES_PER_REQUEST", "DISPATCHER_SAKARI__MESSAGES_PER_REQUEST"
_CUT_SMALL = {_BSG: "5", _SAKARI: "3"}
"""For commands, so that a campaign is many requests and a death meets one of them."""
_CUT_LARGE = {_BSG: "1000", _SAKARI: "1000"}
"""For the stack, whose questions for receipts may be about as many."""
_SIZES = {"sakari": 60, "netsapiens": 40}

_MEGABYTES = 1024
_EXTRA = (("worker", CLOCK_OFF), ("worker", -CLOCK_OFF), ("beat", 0.0), ("beat", 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to break, for how long or how often, and with which dice."""

    seed: int
    providers: tuple[str, ...]
    seconds: float = 0.0
    kills: int = 0  # so many deaths at work for each provider; then 0 seconds are as many as it takes
    nursery: int = 4  # workers of the nursery that live at a time, in a run by kills
    per_campaign: int = 0  # recipients; 0 for as many as suit the provider
    limit: float = 20  # requests a second, each provider but Sakari in a run by kills
    workers: int = 2
    engine: str = "sqlite"
    tcp: bool = False  # a redis-server behind a wire, instead of the embedded one
    extras: bool = False  # two workers and two beats beside the stack
    timeout: float = 3.0
    margin: float = 2.0
    latency: float = 0.0  # seconds in which a request is carried out

    def size(self, provider: str) -> int:
        """Return how many recipients a campaign has."""
        if self.per_campaign:
            return self.per_campaign
        return _SIZES.get(provider, 100) if self.kills else 60

    def limit_of(self, provider: str) -> float:
        """Return the requests a second that a provider may be sent.

        Sakari's list is all that tells what became of a lost batch, and look-ups have a fifth of the limit.
        """
        return 3 * self.limit if self.kills and provider == "sakari" else self.limit

    def chance(self, *what: object) -> Random:
        """Return the dice of one thing, the same for the same seed whatever else has happened."""
        return Random("/".join(map(str, (self.seed, *what))))


@dataclass(slots=True, kw_only=True)
class Sent:
    """One campaign of the run, as it was enqueued."""

    campaign: str
    provider: str
    numbers: list[int]
    cancelled_at: float | None = None


@dataclass(slots=True, kw_only=True)
class World:
    """The stack under test, and what was done to it."""

    plan: Plan
    folder: Path
    environment: dict[str, str]
    sandbox_port: int
    disk: Disk | None = None
    postgresql: PostgreSQL | None = None
    redis: Redis | None = None
    wire: Proxy | None = None
    nursery: Nursery
    numbers: Iterator[int]  # nobody's; each comes again only when all have been
    sandbox: subprocess.Popen[bytes] | None = None
    stack: subprocess.Popen[str] | None = None
    extras: list[subprocess.Popen[bytes] | None] = field(default_factory=list)
    injected: Counter[str] = field(default_factory=Counter)
    campaigns: list[Sent] = field(default_factory=list)
    calm_from: float | None = None  # epoch seconds since when nothing is broken any more, and the limit is raised
    frozen: set[int] = field(default_factory=set)
    _later: list[tuple[float, str, Callable[[], object]]] = field(default_factory=list)
    _ledger: Ledger | None = None

    @property
    def log(self) -> Path:
        return self.folder / "up.log"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def record(self) -> Path:
        return self.folder / "sandbox.jsonl"

    @property
    def ledger(self) -> Ledger:
        """The ledger, opened by the harness for itself."""
        if self._ledger is None:
            self._ledger = open_ledger(self.environment["DISPATCHER_LEDGER_URL"])
        return self._ledger

    def ask(self, sql: str, **parameters: Any) -> Sequence[Any]:
        """Ask the ledger; nothing while it is away."""
        try:
            with self.ledger.database.read() as tx:
                return tx.rows(sql, **parameters)
        except LedgerError:
            return []

    def run(self, *args: str) -> Ended:
        """Run a command of ours."""
        return self.nursery.command(*args)

    def insist(self, *args: str, seconds: float = 60.0) -> Ended:
        """Run a command until it succeeds: what it needs may be away for a while. Its last word, where it never does."""
        until = time.monotonic() + seconds
        while True:
            done = self.run(*args)
            if done.code != 1 or time.monotonic() > until:
                return done
            self.tend()
            time.sleep(0.2)

    def break_calls(self, faults: list[dict[str, Any]]) -> None:
        """Let provider calls go wrong so, and no other way."""
        self._control("faults", faults)

    def _control(self, what: str, content: Any) -> None:
        url = f"http://127.0.0.1:{self.sandbox_port}/sandbox/{what}"
        with requests.post(url, json=content, timeout=30) as answer:
            answer.raise_for_status()

    # --- What lasts for a while -------------------------------------------------------------------------------------

    def later(self, seconds: float, what: str, undo: Callable[[], object]) -> None:
        """Undo something after so long."""
        self._later.append((time.monotonic() + seconds, what, undo))

    def under_way(self, what: str) -> bool:
        """Whether this lasts at the moment."""
        return any(one == what for _, one, _ in self._later)

    def tend(self, *, all_of_it: bool = False) -> None:
        """Undo what has lasted long enough, and start again by hand what nobody else starts."""
        while due := [entry for entry in self._later if all_of_it or entry[0] <= time.monotonic()]:
            first = min(due, key=lambda entry: entry[0])
            self._later.remove(first)
            first[2]()  # which may put off something itself
        for index, process in enumerate(self.extras):
            if process is not None and process.poll() is not None:
                self.extras[index] = self._extra(*_EXTRA[index])

    # --- Processes --------------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Start the stack, and wait until it is up."""
        with self.log.open("a") as out:
            out.write("--- up ---\n")
            out.flush()
            argv = [COMMAND, "up", "--workers", str(self.plan.workers)]
            self.stack = subprocess.Popen(argv, env=self.environment, stderr=out, text=True)
        wait_for(lambda: "up: data in" in self.log.read_text().rpartition("--- up ---")[2], "the stack is up")

    def pids(self, part: str) -> list[int]:
        """Return the processes of a part that run now."""
        text = self.log.read_text().rpartition("--- up ---")[2]
        found = [int(pid) for pid in re.findall(rf"{part}\S* started \(pid (\d+)\)", text)]
        extra = [p.pid for (kind, _), p in zip(_EXTRA, self.extras, strict=False) if kind == part and p is not None]
        return [pid for pid in found + extra if alive(pid)]

    def down(self) -> None:
        """Stop the stack and what runs beside it in good order."""
        running = [process for process in self.extras if process is not None]
        self.extras = []
        for process in running:
            process.terminate()
        if self.stack is not None and self.stack.poll() is None:
            self.stack.send_signal(signal.SIGTERM)
            self.stack.wait(timeout=90)
        for process in running:
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start_extras(self) -> None:
        """Start workers and beats by hand, as the Procfile says."""
        self.extras = [self._extra(kind, off) for kind, off in _EXTRA]

    def _extra(self, kind: str, clock_offset: float) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "celery", "-A", "workers.app", "--quiet", kind]
        if kind == "worker":
            argv += ["--hostname", f"extra{clock_offset:+g}.{time.monotonic_ns()}@%h", "--without-mingle"]
        environment = self.environment | {"DISPATCHER_CLOCK_OFFSET": str(clock_offset)}
        with (self.folder / "extras.log").open("ab") as log:
            return subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def start_sandbox(self) -> None:
        """Start the sandbox, as a process of its own."""
        argv = [COMMAND, "sandbox", "--port", str(self.sandbox_port), "--record", str(self.record)]
        with (self.folder / "sandbox.log").open("ab") as log:
            self.sandbox = subprocess.Popen(argv, env=self.environment, stdout=log, stderr=log)
        with suppress(PermissionError):  # before all others, so that a busy machine does not smear the times it sees
            os.setpriority(os.PRIO_PROCESS, self.sandbox.pid, -10)
        wait_for(lambda: listening(self.sandbox_port), "the sandbox listens", 30)
        self._control("settings", {"delivery_seconds": 0.2, "failing_share": 0, "latency_seconds": self.plan.latency})

    def stop_sandbox(self) -> None:
        """Stop the sandbox; its record stays."""
        if self.sandbox is not None:
            self.sandbox.terminate()
            self.sandbox.wait(timeout=30)
            self.sandbox = None

    def close(self) -> None:
        """Leave no process and no folder behind."""
        for pid in self.frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        with suppress(subprocess.TimeoutExpired):
            self.down()
        if self.stack is not None and self.stack.poll() is None:
            self.stack.kill()
            self.stack.wait()
        self.nursery.close()
        self.stop_sandbox()
        if self._ledger is not None:
            self._ledger.close()
        if self.wire is not None:
            self.wire.close()
        if self.redis is not None:
            self.redis.stop()
        if self.postgresql is not None:
            self.postgresql.remove()
        if self.disk is not None:
            self.disk.remove()


@contextmanager
def world(plan: Plan, *, start: bool = True) -> Iterator[World]:
    """Give a world with its stack running (unless it is not to start yet), and leave no process behind."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        folder = Path(name)
        (folder / "home").mkdir(mode=0o700)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("DISPATCHER_")}
        port = free_port()
        for provider, settings in client_settings(f"http://127.0.0.1:{port}").items():
            prefix = f"DISPATCHER_{provider.upper()}__"
            environment |= {prefix + key.upper(): value for key, value in settings.items()}
            environment |= {
                prefix + "TIMEOUT": str(plan.timeout),
                prefix + "REQUESTS_PER_SECOND": str(plan.limit_of(provider)),
            }
        for provider in ("BSG", "SAKARI"):
            prefix = f"DISPATCHER_{provider}__"
            environment |= {
                prefix + "LOOKUP_GRACE_SECONDS": str(GRACE),
            }
        environment |= _CUT_LARGE | {
            "DISPATCHER_HOME": str(folder / "home"),
            "DISPATCHER_POLL_EVERY": "1",
            "DISPATCHER_LEASE_MARGIN": str(plan.margin),
            # Here a share of everything goes wrong on purpose.
            "DISPATCHER_BREAKER": "0",
            "DISPATCHER_DRAIN_SECONDS": "5",
            # So that what was lost a while ago is still found, however much was sent since.
            "DISPATCHER_SAKARI__RECEIPT_PAGES": "1000",
        }
        disk = postgresql = redis = wire = None
        if plan.engine == "postgresql":
            postgresql = PostgreSQL()
            environment["DISPATCHER_LEDGER_URL"] = postgresql.url
        else:
            disk = Disk(folder / "disk", megabytes=_MEGABYTES)
            environment["DISPATCHER_LEDGER_URL"] = f"sqlite:///{disk.folder / 'ledger.db'}"
        if plan.tcp:
            redis = Redis(folder / "redis")
            redis.start()
            wire = Proxy(redis.port)
            environment["DISPATCHER_REDIS_URL"] = f"redis://127.0.0.1:{wire.port}/0"
        made = World(
            plan=plan,
            folder=folder,
            environment=environment,
            sandbox_port=port,
            disk=disk,
            postgresql=postgresql,
            redis=redis,
            wire=wire,
            nursery=Nursery(environment | _CUT_SMALL, folder / "nursery"),
            numbers=_numbers(plan),
        )
        try:
            made.start_sandbox()
            if start:
                made.up()
                if plan.extras:
                    made.start_extras()
            yield made
        finally:
            made.close()


def _numbers(plan: Plan) -> Iterator[int]:
    """Give numbers that the numbering plan keeps for fiction, +1 NPA 555 01XX, in an order drawn by seed."""
    areas = [
        area
        for area in range(201, 990)
        if phonenumbers.is_valid_number(_number := phonenumbers.PhoneNumber(1, area * 10_000_000 + 5_550_123))
        and phonenumbers.region_code_for_number(_number) in ("US", "CA")
    ]
    # Above 90 are those with which the sandbox does something of its own.
    pool = [10_000_000_000 + area * 10_000_000 + 5_550_100 + at for area in areas for at in range(90)]
    plan.chance("numbers").shuffle(pool)
    return itertools.cycle(pool)


def present() -> int:
    """Return the present moment as the ledger stores it."""
    return micros(now())
