"""The wire to Redis forwards, goes dead without being cut, and is cut."""

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.chaos.proxy import Proxy


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that says everything back, to one client at a time."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                try:
                    while data := client.recv(100):
                        client.sendall(data)
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield int(listener.getsockname()[1])
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(timeout=5)


def test_a_dead_wire_accepts_and_swallows_until_it_is_cut(echo: int) -> None:
    wire = Proxy(echo)
    try:
        with socket.create_connection(("127.0.0.1", wire.port), timeout=5) as client:
            client.sendall(b"hello")
            assert client.recv(100) == b"hello"
            wire.go_dead()
            client.sendall(b"anyone?")
            client.settimeout(0.3)
            with pytest.raises(TimeoutError):
                client.recv(100)
            with socket.create_connection(("127.0.0.1", wire.port), timeout=5) as another:
                another.sendall(b"hello")
                another.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    another.recv(100)
                client.settimeout(5)
                wire.cut()
                with pytest.raises(ConnectionResetError):
                    client.recv(100)
        with socket.create_connection(("127.0.0.1", wire.port), timeout=5) as client:
            client.sendall(b"again")
            assert client.recv(100) == b"again"
    finally:
        wire.close()
