"""A server that does to a client what a test asks for, byte by byte; the transport's tests are made of it."""

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from dispatcher.errors import ProviderError
from dispatcher.transport import Transport

Step = bytes | Callable[[socket.socket], object]
SECRET = "s3cret-key-of-ours"


def answer(status: int = 200, body: bytes = b"{}", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def drip(first: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    def step(connection: socket.socket) -> None:
        connection.sendall(first)
        while True:
            time.sleep(0.02)
            connection.sendall(piece)

    return step


class Server:
    """Answers the requests that it gets with the steps of a script, one each; the last one again and again."""

    def __init__(self, *script: Step, tls: ssl.SSLContext | None = None) -> None:
        self.script = list(script) or [answer()]
        self.requests: list[bytes] = []
        self.raw = bytearray()
        self.connections = 0
        self._tls = tls
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> "Server":
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for connection in self._open:
            with suppress(OSError, ValueError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError, ValueError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, ValueError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                while request := self._read(connection):
                    self.requests.append(request)
                    step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                    if callable(step):
                        step(connection)
                        return
                    connection.sendall(step)

    def _read(self, connection: socket.socket) -> bytes:
        request = b""
        while b"\r\n\r\n" not in request or len(request.partition(b"\r\n\r\n")[2]) < length_of(request):
            more = connection.recv(65536)
            if not more:
                return b""
            self.raw += more
            request += more
        return request


def length_of(request: bytes) -> int:
    lines = request.partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
    return next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)


def to(server: Server | str, **options: object) -> Transport:
    base_url = server if isinstance(server, str) else server.url
    arguments: dict = {"timeout": 5.0, "headers": {"Authorization": SECRET}, **options}
    return Transport(base_url=base_url, **arguments)


def failure(call: Callable[..., object], *arguments: object, **options: object) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        call("POST", "/send", *arguments, **options)
    assert caught.value.__context__ is None  # what it hangs on to might hold a URL or a header
    assert SECRET not in str(caught.value)
    return caught.value
