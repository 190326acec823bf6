"""In which order the threads and processes of a machine write to SQLite, and how threads share a commit."""

import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_MOST_TOGETHER = 16
_LOST_SECONDS = 0.2
_TURN_SECONDS = 2.0
_TURN_STEP = 0.0003


@dataclass(slots=True)
class _Shared:
    """A transaction that threads, one after another, put their changes into; none goes on before its commit."""

    pooled: Any
    members: int = 0
    done: threading.Event = field(default_factory=threading.Event)
    error: BaseException | None = None


class Writers:
    """The writers of one process: whoever finds others waiting leaves the commit to the last of them.

    Each change is a savepoint of its own, so that one that fails undoes itself alone. Where a commit costs a write to
    the disk, eight threads with a message each then need one and not eight.
    """

    def __init__(self, connect: Callable[[], Any], turn: Path) -> None:
        self._connect = connect
        self._turn = Turn(turn)
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._waiting = 0
        self._shared: _Shared | None = None

    @contextmanager
    def write(self) -> Iterator[Any]:
        """Give the driver's connection, in a transaction that is committed when this ends, or undone if it raises."""
        shared = self._enter()
        driver = shared.pooled.driver_connection
        first = not shared.members
        last = False
        try:
            if not first:
                driver.execute("SAVEPOINT one")
            yield driver
            if not first:
                driver.execute("RELEASE one")
        except BaseException:
            self._undo(shared, first=first)
            raise
        finally:
            shared.members += 1
            last = self._leave(shared)
        if not last:
            self._await(shared)
        if shared.error is not None:
            raise shared.error

    def close(self) -> None:
        """Close what is open."""
        self._turn.close()

    def _enter(self) -> _Shared:
        with self._counting:
            self._waiting += 1
        try:
            self._lock.acquire()
        finally:
            with self._counting:
                self._waiting -= 1
        try:
            if self._shared is None:
                self._shared = self._begin()
        except BaseException:
            self._lock.release()
            raise
        return self._shared

    def _begin(self) -> _Shared:
        pooled = None
        try:
            self._turn.take()
            pooled = self._connect()
            # IMMEDIATE takes the write lock first, so that a compare-and-set never fails for an upgrade.
            pooled.driver_connection.execute("BEGIN IMMEDIATE")
        except BaseException:
            if pooled is not None:
                pooled.close()
            self._turn.give()
            raise
        return _Shared(pooled)

    def _undo(self, shared: _Shared, *, first: bool) -> None:
        driver = shared.pooled.driver_connection
        try:
            if not first:
                driver.execute("ROLLBACK TO one")
                driver.execute("RELEASE one")
            else:
                driver.rollback()
                driver.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            # SQLite has undone all of it, what the others changed as well: they must know.
            shared.error = sqlite3.OperationalError(f"a change was undone together with others: {error}")

    def _leave(self, shared: _Shared) -> bool:
        """Commit, and return True, unless somebody waits who will; let the next one in."""
        with self._counting:
            more = self._waiting > 0
        if more and shared.members < _MOST_TOGETHER and shared.error is None:
            self._lock.release()
            return False
        self._commit(shared)
        return True

    def _commit(self, shared: _Shared) -> None:
        try:
            if shared.error is None:
                shared.pooled.driver_connection.commit()
        except BaseException as error:
            shared.error = error
            raise
        finally:
            with contextlib.suppress(sqlite3.Error):
                shared.pooled.driver_connection.rollback()
            shared.pooled.close()
            self._shared = None
            self._turn.give()
            shared.done.set()
            self._lock.release()

    def _await(self, shared: _Shared) -> None:
        while not shared.done.wait(_LOST_SECONDS):
            # Whoever was waited for may have been interrupted before it came in.
            if self._lock.acquire(blocking=False):
                if self._shared is shared:
                    self._commit(shared)
                else:
                    self._lock.release()


class Turn:
    """Whose turn it is among the processes of a machine.

    SQLite lets whoever finds it locked sleep for up to 100 ms at a time. This is only an order in which to come, no
    right: who waits in vain, because a process stands still, goes to SQLite itself, which lets one in.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._held = False

    def take(self) -> None:
        """Wait for the turn, for a while."""
        until = time.monotonic() + _TURN_SECONDS
        if self._file is None:
            with contextlib.suppress(OSError):
                self._file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        while self._file is not None and time.monotonic() < until:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                time.sleep(_TURN_STEP)
            else:
                self._held = True
                return

    def give(self) -> None:
        """Let the next one come."""
        if self._held and self._file is not None:
            self._held = False
            with contextlib.suppress(OSError):
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
