"""A warm process that forks real workers and commands on demand: what was killed is replaced in a tenth of a second.

A worker or a command started afresh spends more than a second of CPU on imports. The nursery has imported all there is,
has no thread and no connection, and each child runs the ordinary main function of the worker or of the command.
"""

import contextlib
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dispatcher.stack import die_with_parent

_ROOT = Path(__file__).parents[2]
_MESSAGES_OF_WINSMS = 5
_MODULES = (
    *("celery.apps.worker", "celery.bin.worker", "celery.concurrency.thread", "celery.worker.consumer"),
    *("celery.worker.strategy", "kombu.transport.redis", "workers.tasks"),
    *(f"dispatcher.cli.{name}" for name in ("planning", "campaigns", "running", "reports", "doubts", "optouts")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a command came to."""

    code: int
    stdout: str
    stderr: str


class Nursery:
    """The harness's end of it."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._number = 0
        self._buffer = b""
        self._born: list[int] = []
        self._children: set[int] = set()
        self.ended: dict[int, int] = {}
        """Children that have ended, by their pid: the exit code, or minus the signal."""
        ours, theirs = socket.socketpair()
        self._socket = ours
        with (folder / "nursery.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.nursery", str(theirs.fileno())],
                cwd=_ROOT,
                env=dict(environment),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - no import lock is needed in it
            )
        theirs.close()

    def worker(self, *, threads: int, queues: str = "", failpoint: str = "", clock_offset: float = 0.0) -> int:
        """Start a worker of some queues, or of all, and return its pid."""
        return self._start(
            kind="worker",
            args=["--concurrency", str(threads), *(["--queues", queues] if queues else [])],
            failpoint=failpoint,
            clock_offset=clock_offset,
            out=str(self._folder / "workers.log"),
        )

    def command(self, *args: str) -> Ended:
        """Run a command to its end."""
        pid, out = self.start_command(*args)
        until = time.monotonic() + 120
        while pid not in self.ended:
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
            self.listen(0.1)
        return Ended(code=self.ended.pop(pid), stdout=Path(out).read_text(), stderr=Path(out + ".errors").read_text())

    def start_command(self, *args: str) -> tuple[int, str]:
        """Start a command; return its pid, and where it prints."""
        self._number += 1
        out = str(self._folder / f"command{self._number}")
        return self._start(kind="command", args=list(args), out=out), out

    def listen(self, seconds: float) -> None:
        """Take in who has ended, for at most so long; return at once when somebody has."""
        self._socket.settimeout(max(seconds, 0.001))
        with contextlib.suppress(TimeoutError):
            data = self._socket.recv(65536)
            if not data:
                raise AssertionError(f"the nursery died: {(self._folder / 'nursery.log').read_text()[-2000:]}")
            self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            told = json.loads(line)
            if "born" in told:
                self._born.append(told["born"])
            else:
                self.ended[told["ended"]] = told["code"]
                self._children.discard(told["ended"])

    def kill_all(self) -> None:
        """Kill every child that still lives."""
        self.listen(0)
        for pid in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def close(self) -> None:
        """End the nursery, and with it every child."""
        self._socket.close()
        self._process.wait(timeout=30)

    def _start(self, **order: Any) -> int:
        self._socket.settimeout(None)
        self._socket.sendall(json.dumps(order).encode() + b"\n")
        until = time.monotonic() + 60
        while not self._born:
            if time.monotonic() > until:
                raise AssertionError("the nursery does not answer")
            self.listen(1.0)
        pid = self._born.pop()
        if pid not in self.ended:
            self._children.add(pid)
        return pid


# --- In the warm process --------------------------------------------------------------------------------------------


def _serve(wire: socket.socket) -> None:
    """Take orders until the harness closes its end."""
    children: set[int] = set()
    woken, waker = os.pipe()
    for end in (woken, waker):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    selector.register(wire, selectors.EVENT_READ)
    selector.register(woken, selectors.EVENT_READ)
    buffer = b""
    while True:
        for key, _ in selector.select():
            if key.fd == woken:
                os.read(woken, 4096)
                continue
            data = wire.recv(65536)
            if not data:
                for pid in children:
                    os.kill(pid, signal.SIGKILL)
                return
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                pid = os.fork()
                if pid == 0:
                    wire.close()
                    _live(json.loads(line))
                children.add(pid)
                wire.sendall(json.dumps({"born": pid}).encode() + b"\n")
        while children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            children.discard(pid)
            told = {"ended": pid, "code": os.waitstatus_to_exitcode(status)}
            wire.sendall(json.dumps(told).encode() + b"\n")


def _live(order: dict[str, Any]) -> None:
    """Be what was asked for, in a forked child; does not return."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        die_with_parent(signal.SIGKILL)
        os.setsid()
        errors = order["out"] + (".errors" if order["kind"] == "command" else "")
        for path, number in ((order["out"], 1), (errors, 2)):
            opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(opened, number)
            os.close(opened)
        if order["kind"] == "command":
            from dispatcher.cli import main  # noqa: PLC0415 - warm already

            sys.argv = ["dispatcher", *order["args"]]
            main()
        else:
            _work(order["args"], failpoint=order["failpoint"], clock_offset=order["clock_offset"])
    except SystemExit as asked:
        code = asked.code if isinstance(asked.code, int) else 0
    except BaseException:  # noqa: BLE001 - a child must never go on as its parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _work(args: list[str], *, failpoint: str, clock_offset: float) -> None:
    from dispatcher import failpoints, runtime  # noqa: PLC0415 - warm already
    from workers import app, process  # noqa: PLC0415

    # What a fresh process takes from its pid and its settings.
    process.runtime.who = runtime.process_name()
    process.runtime.clock = runtime.clock_off_by(clock_offset)
    failpoints.arm(failpoint)
    name = f"nursery{os.getpid()}@%h"
    argv = ["--quiet", "worker", "--hostname", name, "--without-gossip", "--without-mingle"]
    app.app.worker_main([*argv, *args])


def _warm() -> None:
    for module in _MODULES:
        importlib.import_module(module)
    from dispatcher.providers.winsms import wire  # noqa: PLC0415 - only the warm process needs it

    # WinSMS takes a thousand in a request, and no setting says fewer: so that a campaign is many requests, and a death
    # meets one of them.
    wire.MOST_PER_REQUEST = _MESSAGES_OF_WINSMS


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as wire_to_harness:
        _warm()
        _serve(wire_to_harness)
