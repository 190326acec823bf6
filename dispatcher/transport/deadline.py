"""The total time of a request, and whether a byte of it was handed over: connections that a watchdog can cut."""

import contextlib
import heapq
import itertools
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, NewConnectionError

IDLE_SECONDS = 3.0
"""A connection idle for longer is opened anew: a POST on one that the server is closing has an unknown outcome."""


class TooLate(HTTPError):
    """The time of the request had passed before it, or a part of it, was handed over."""


class Guard:
    """Watches over one request: its time, its socket, and whether a byte of it was handed to the socket."""

    def __init__(self, until: float, monotonic: Callable[[], float]) -> None:
        self._until = until
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None
        self._connection: _Connection | None = None
        self.handed_over = False
        self.late = False  # something was kept back because the time had passed
        self.fired = False  # the watchdog has cut the connection
        self.ended = False

    def remaining(self) -> float:
        """Return the seconds that are left; negative when the time has passed."""
        return self._until - self._monotonic()

    def check(self) -> float:
        """Return the seconds that are left.

        Raises:
            TooLate: there are none.
        """
        remaining = self.remaining()
        if remaining <= 0 or self.fired:
            self.late = True
            raise TooLate
        return remaining

    def watch(self, connection: "_Connection", sock: socket.socket) -> None:
        """Let the watchdog cut this connection, from now until the end of the request.

        Raises:
            TooLate: the time has passed.
        """
        if self._connection is connection:
            self.check()
            return
        # A handle of our own: TLS takes the socket object over, and http.client closes its own while the answer is
        # still being read. Shutting down any handle cuts the connection for all of them.
        handle = socket.socket(fileno=os.dup(sock.fileno()))
        with self._lock:
            self._handle, self._connection = handle, connection
        self.check()  # after it: the watchdog may have come by before there was something to cut

    def fire(self) -> None:
        """Cut the connection, so that whatever waits for it fails at once."""
        with self._lock:
            if self.ended:
                return
            self.fired = True
            if self._handle is not None:
                with contextlib.suppress(OSError):
                    # Without a linger, what still lies in our buffer is dropped when the connection is closed: a
                    # request that was cut may not arrive whole, minutes later.
                    self._handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self._handle.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Note that the request is over."""
        with self._lock:
            self.ended = True
            if self._handle is not None:
                self._handle.close()
            if self._connection is not None:
                self._connection.idle_since = time.monotonic()
            self._handle = self._connection = None


class Watchdog:
    """One daemon thread a process, started with the first request, that cuts requests whose time has passed."""

    def __init__(self) -> None:
        self.forget()
        os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Start afresh: threads do not survive a fork, and a lock may have been held during it."""
        self._wake = threading.Condition()
        self._heap: list[tuple[float, int, Guard]] = []
        self._order = itertools.count()
        self._thread: threading.Thread | None = None

    def add(self, guard: Guard, seconds: float) -> None:
        """Cut the request of `guard` in so many seconds unless it has ended by then."""
        entry = (time.monotonic() + seconds, next(self._order), guard)
        with self._wake:
            heapq.heappush(self._heap, entry)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="transport-watchdog", daemon=True)
                self._thread.start()
            elif self._heap[0] is entry:
                self._wake.notify()

    def _run(self) -> None:
        while True:
            self._next().fire()

    def _next(self) -> Guard:
        with self._wake:
            while True:
                while self._heap and self._heap[0][2].ended:
                    heapq.heappop(self._heap)
                wait = self._heap[0][0] - time.monotonic() if self._heap else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._heap)[2]
                self._wake.wait(wait)


watchdog = Watchdog()


class _Current(threading.local):
    guard: Guard | None = None


_current = _Current()


def begin(guard: Guard) -> None:
    """Make `guard` the one that watches over what this thread sends from now on."""
    _current.guard = guard
    watchdog.add(guard, guard.remaining())


def _guard() -> Guard:
    if _current.guard is None or _current.guard.ended:
        raise TooLate  # nothing is sent that nobody watches over
    return _current.guard


class _Connection(HTTPConnection):
    """A connection that keeps to its request's total time and tells whether a byte was handed over."""

    idle_since = 0.0

    @property
    def is_connected(self) -> bool:
        """Whether it is fit for another request; urllib3 asks before it takes one from its pool."""
        return super().is_connected and time.monotonic() - self.idle_since <= IDLE_SECONDS

    def _new_conn(self) -> socket.socket:
        # urllib3's own loop gives every address the whole time; here they share it.
        guard = _guard()
        trouble: OSError = OSError("no address")
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise NewConnectionError(self, "name not resolved") from error
        for left, (family, kind, protocol, _, address) in zip(range(len(found), 0, -1), found, strict=True):
            try:
                return self._open(guard, guard.check() / left, (family, kind, protocol), address)
            except OSError as error:
                trouble = error
        raise NewConnectionError(self, "not connected") from trouble

    def _open(self, guard: Guard, seconds: float, kind: tuple[int, int, int], address: Any) -> socket.socket:
        sock = socket.socket(*kind)
        try:
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(seconds)
            sock.connect(address)
            guard.watch(self, sock)
            sock.settimeout(guard.check())
        except (OSError, TooLate):
            sock.close()
            raise
        return sock

    def send(self, data: Any) -> None:
        """Hand bytes to the socket, unless the time has passed: the clock is looked at last."""
        guard = _guard()
        if self.sock is None:
            self.connect()
        guard.watch(self, self.sock)
        guard.handed_over = True
        super().send(data)


class _SecureConnection(_Connection, HTTPSConnection):
    """The same over TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class Adapter(HTTPAdapter):
    """Makes requests use such connections."""

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        """Make the pools, ours in place of urllib3's."""
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
