"""A wire to Redis that can go dead without being cut: it accepts, holds, and swallows what comes from either side."""

import contextlib
import selectors
import socket
import struct
import threading

_AT_ONCE = 65536
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Forwards TCP connections to a port of this machine, on one thread."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._others: dict[socket.socket, socket.socket | None] = {}
        self._lock = threading.Lock()
        self._dead = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def go_dead(self) -> None:
        """Swallow every byte from now on; connections stay open, and new ones are accepted."""
        with self._lock:
            self._dead = True

    def cut(self) -> None:
        """Reset every connection, and forward again."""
        with self._lock:
            self._dead = False
            for end in list(self._others):
                self._drop(end)

    def close(self) -> None:
        """Stop, and close everything."""
        self._closing.set()
        self._thread.join(timeout=5)
        self.cut()
        self._listener.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            for key, _ in self._selector.select(timeout=0.1):
                with self._lock:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj in self._others:
                        self._forward(key.fileobj)  # type: ignore[arg-type]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            near, _ = self._listener.accept()
            near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            far: socket.socket | None = None
            if not self._dead:
                try:
                    far = socket.create_connection(("127.0.0.1", self._target), timeout=2)
                except OSError:  # Redis is down: so is the wire
                    near.close()
                    return
                far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._others[far] = near
                self._selector.register(far, selectors.EVENT_READ)
            self._others[near] = far
            self._selector.register(near, selectors.EVENT_READ)

    def _forward(self, end: socket.socket) -> None:
        other = self._others[end]
        try:
            data = end.recv(_AT_ONCE)
            if data and not self._dead and other is not None:
                other.sendall(data)
        except OSError:
            data = b""
        if not data:
            self._drop(end)

    def _drop(self, end: socket.socket) -> None:
        for one in (end, self._others.pop(end, None)):
            if one is not None:
                self._others.pop(one, None)
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(one)
                with contextlib.suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                one.close()
