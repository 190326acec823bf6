"""The HTTP server of the stand-ins: one port, every provider, the faults, and the control endpoints."""

import gc
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from dispatcher.sandbox.app import App, Clock, Reply, Request, Settings, Surroundings, json_reply
from dispatcher.sandbox.bsg import Bsg
from dispatcher.sandbox.control import PREFIX, Control
from dispatcher.sandbox.faults import NOT_CARRIED_OUT, Fault, Faults, Kind
from dispatcher.sandbox.netsapiens import NetSapiens
from dispatcher.sandbox.record import Record, RequestEntry
from dispatcher.sandbox.sakari import Sakari
from dispatcher.sandbox.winsms import WinSms

APPS: Sequence[type[App]] = (Bsg, NetSapiens, Sakari, WinSms)
"""The stand-ins there are, each asked in turn whether a path is its own."""

_MOST_BYTES = 32_000_000  # of a body that is read at all
_CLOSING_SECONDS = 5.0
_PAGE = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>"
_LINGER_NONE = struct.pack("ii", 1, 0)


class Sandbox:
    """The stand-ins in this process, on a thread: `with Sandbox() as sandbox: requests.get(sandbox.url + …)`.

    `clock` gives epoch seconds. `wait` is called with the seconds of a hang, a drip or a latency and returns
    when they are over or the sandbox closes. With a `record_file` what was accepted survives a restart.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        settings: Settings | None = None,
        record_file: Path | None = None,
        clock: Clock = time.time,
        wait: Callable[[float], object] | None = None,
    ) -> None:
        settings = settings or Settings()
        self.stopping = threading.Event()
        self.record = Record(starting_credits=settings.starting_credits, file=record_file)
        self.faults = Faults(settings.seed)
        self.around = Surroundings(record=self.record, settings=settings, clock=clock)
        self.control = Control(around=self.around, faults=self.faults, starting_settings=settings)
        self.apps = [app(self.around) for app in APPS]
        self.wait = wait or self.stopping.wait
        try:
            self._server = _Server((host, port), self)
        except OSError:
            self.record.close()
            raise
        self._thread: threading.Thread | None = None
        self.url = f"http://{host}:{self._server.server_port}"

    def start(self) -> Self:
        """Serve on a thread of its own, and return at once."""
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="sandbox", daemon=True)
        self._thread.start()
        return self

    def close(self) -> None:
        """Stop serving: let go of what hangs, close every connection, the port and the record file."""
        self.stopping.set()
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._thread = None
        self._server.close_connections()
        self._server.server_close()
        self.record.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def fault(self, kind: str, **fields: Any) -> None:
        """Add a fault; the fields are those of `Fault`."""
        self.faults.put([Fault(kind=Kind(kind), **fields)], replace=False)

    def find(self, path: str) -> tuple[App, str] | None:
        """Return the stand-in that serves a path, and the path below its base path."""
        for app in self.apps:
            located = app.locate(path)
            if located is not None:
                return app, located
        return None


def serve(port: int = 0, host: str = "127.0.0.1", **options: Any) -> Sandbox:
    """Start the stand-ins on a thread and return them; `close()` ends them. The options are `Sandbox`'s."""
    return Sandbox(host=host, port=port, **options).start()


def base_urls(url: str) -> dict[str, str]:
    """Return the base URL of every provider at a sandbox whose own address is `url`."""
    return {app.name: url.rstrip("/") + app.base_path for app in APPS}


def client_settings(url: str) -> dict[str, dict[str, str]]:
    """Return, by provider, the settings with which a client talks to the sandbox at `url`: base_url and credentials."""
    bases = base_urls(url)
    return {app.name: {"base_url": bases[app.name], **app.client_settings} for app in APPS}


def run(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    ready: Callable[[str], object] = lambda _: None,
    settings: Settings | None = None,
    record_file: Path | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, on the main thread; `ready` is given the address once there is one.

    Raises:
        OSError: the port is taken, or the record file cannot be opened.
    """
    # Requests are short and many: the default of 5 ms would smear the arrival times that the peaks come from.
    sys.setswitchinterval(0.0005)
    # What is accepted is kept, so that a full collection only grows longer and finds nothing.
    gc.set_threshold(100_000, 50, 1000)
    asked = threading.Event()
    with (
        _stopped_by(asked),
        Sandbox(host=host, port=port, settings=settings, record_file=record_file) as sandbox,
    ):
        ready(sandbox.url)
        asked.wait()


@contextmanager
def _stopped_by(asked: threading.Event) -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: asked.set()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, address: tuple[str, int], sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._connections: set[socket.socket] = set()
        self._changed = threading.Condition()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without asking the resolver for a host name, which can take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection on a thread, known to `close_connections` as long as it lasts."""
        with self._changed:
            self._connections.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._changed:
                self._connections.discard(request)
                self._changed.notify_all()

    def close_connections(self) -> None:
        """Close every connection, and wait until their threads have seen it."""
        with self._changed:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:  # closed already
                    continue
            self._changed.wait_for(lambda: not self._connections, timeout=_CLOSING_SECONDS)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away; anything else is a bug of the sandbox and is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name it has in the base class
        """Log nothing: paths and bodies are other people's."""

    def _serve(self) -> None:
        sandbox = self.server.sandbox
        arrived_at = sandbox.around.clock()
        body = self._body()
        if body is None:
            return
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if path.startswith(PREFIX):
            self._send(sandbox.control.answer(self.command, path, query, body))
            return
        found = sandbox.find(path)
        if found is None:
            self._send(json_reply(404, {"error": f"no provider serves {path}"}))
            return
        app, located = found
        entry = sandbox.record.arrive(
            provider=app.name,
            method=self.command,
            path=path,
            arrived_at=arrived_at,
            sends=self.command == "POST" and app.sends(located),
        )
        request = Request(
            number=entry.number,
            method=self.command,
            path=located,
            query=query,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
            arrived_at=arrived_at,
        )
        fault = sandbox.faults.pick(app.name, path)
        if fault is None:
            self._answer(entry, app.answer(request))
        else:
            self._go_wrong(fault, app, request, entry)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):  # any method: the stand-ins themselves say which they take
            return self._serve
        raise AttributeError(name)

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "0")
        chunked = "Transfer-Encoding" in self.headers
        if chunked or not length.isdecimal() or int(length) > _MOST_BYTES:
            self.close_connection = True
            status = 411 if chunked else 413 if length.isdecimal() else 400
            self._send(json_reply(status, {"error": f"a body of known length up to {_MOST_BYTES} bytes is taken"}))
            return None
        body = self.rfile.read(int(length))
        if len(body) < int(length):  # the client went away in the middle of it
            self.close_connection = True
            return None
        return body

    def _answer(self, entry: RequestEntry, reply: Reply) -> None:
        sandbox = self.server.sandbox
        latency = sandbox.around.settings.latency_seconds
        if latency:
            sandbox.wait(latency)
        self._note(entry, reply, reply.status)
        self._send(reply)

    def _note(self, entry: RequestEntry, reply: Reply | None, status: int) -> None:
        entry.status = status
        if reply is not None:
            entry.recipients, entry.refused, entry.segments = reply.recipients, reply.refused, reply.segments
        self.server.sandbox.record.answered(entry)

    def _go_wrong(self, fault: Fault, app: App, request: Request, entry: RequestEntry) -> None:
        sandbox = self.server.sandbox
        entry.fault = kind = fault.kind
        done = None if kind in NOT_CARRIED_OUT else app.answer(request)
        reply = _wrong_answer(fault, app, done, sandbox.faults)
        if reply is not None:
            self._note(entry, done, reply.status)
            self._send(reply)
        elif done is not None and kind is Kind.SLOW:
            self._note(entry, done, done.status)
            self._drip(done, fault.seconds)
        else:
            self._note(entry, done, 0)
            self.close_connection = True
            if kind in (Kind.HANG_BEFORE, Kind.HANG_AFTER):
                sandbox.wait(fault.seconds)
            elif done is not None and kind is Kind.CUT_BODY:
                self.connection.sendall(self._head(done) + done.body[: len(done.body) // 2])
            else:
                self._reset()

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
        # Closed here and by its number: the server would first shut it down in good order.
        socket.close(self.connection.detach())

    def _drip(self, reply: Reply, seconds: float) -> None:
        pieces = 10
        self.connection.sendall(self._head(reply))
        step = -(-len(reply.body) // pieces) or 1
        for at in range(0, len(reply.body), step):
            self.server.sandbox.wait(seconds / pieces)
            self.connection.sendall(reply.body[at : at + step])

    def _head(self, reply: Reply) -> bytes:
        lines = [
            f"HTTP/1.1 {reply.status} {responses.get(reply.status, 'Unknown')}",
            f"Content-Type: {reply.content_type}",
            f"Content-Length: {len(reply.body)}",
            *(f"{name}: {value}" for name, value in reply.headers.items()),
            *(["Connection: close"] if self.close_connection else []),
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _send(self, reply: Reply) -> None:
        body = b"" if self.command == "HEAD" else reply.body
        self.connection.sendall(self._head(reply) + body)


def _wrong_answer(fault: Fault, app: App, done: Reply | None, faults: Faults) -> Reply | None:
    """Return the answer that a fault gives instead, None where it gives none or the right one."""
    match fault.kind:
        case Kind.THROTTLED:
            return app.refuse(429)
        case Kind.THROTTLED_RETRY_AFTER:
            refusal = app.refuse(429)
            headers = {**refusal.headers, "Retry-After": str(fault.retry_after)}
            return Reply(status=refusal.status, body=refusal.body, headers=headers)
        case Kind.ERROR | Kind.ERROR_AFTER:
            return app.refuse(500)
        case Kind.REFUSED:
            return app.refuse(fault.status)
    if done is None:
        return None
    match fault.kind:
        case Kind.HTML:
            return Reply(status=200, body=_PAGE, content_type="text/html")
        case Kind.CUT_JSON:
            return Reply(status=done.status, body=done.body[: len(done.body) // 2])
        case Kind.EMPTY:
            return Reply(status=200, body=b"")
        case Kind.MISSING_ROWS:
            return Reply(status=done.status, body=faults.without_rows(done.body))
    return None
