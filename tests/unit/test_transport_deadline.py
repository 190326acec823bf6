"""The transport when things go wrong: what was certainly not submitted, what nobody knows, and never too late."""

import gzip
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from dispatcher import transport as transport_module
from dispatcher.errors import AuthenticationFailed, InvalidRequest, OutcomeUnknown, Unreachable
from dispatcher.transport import deadline
from tests.misbehaving import Server, Step, answer, drip, failure, reset, to

# --- Before a byte was handed over: certainly not submitted -----------------------------------------------------------


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    raised = failure(to(f"http://127.0.0.1:{port}").submit)
    assert type(raised) is Unreachable
    assert str(raised) == "POST /send: no connection: Connection refused"


@pytest.mark.parametrize("error", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")])
def test_the_name_is_not_resolved(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    raised = failure(to("http://sms.example").submit)
    assert isinstance(raised, Unreachable | InvalidRequest)


def test_all_addresses_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # 192.0.2.0/24 is nobody's (RFC 5737); the connection attempts are stood in for, and only time out.
    given: list[float | None] = []

    class Silent(socket.socket):
        def connect(self, _: object) -> None:
            given.append(self.gettimeout())
            raise TimeoutError("timed out")

    row = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    found = [(*row, ("192.0.2.1", 80)), (*row, ("192.0.2.2", 80))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(socket, "socket", Silent)
    raised = failure(to("http://sms.example", timeout=8.0).submit)
    assert type(raised) is Unreachable
    assert str(raised) == "POST /send: no connection: timed out"
    assert given == [pytest.approx(4.0, abs=0.5), pytest.approx(8.0, abs=0.5)]


def test_a_deadline_that_has_passed() -> None:
    with Server() as server:
        transport = to(server)
        assert "its time had passed" in str(failure(transport.submit, deadline=time.monotonic() - 1))
        assert transport.submit("POST", "/send").status == 200
        assert len(server.requests) == 1
        transport.close()


@pytest.mark.parametrize("used_before", [False, True])
def test_the_clock_is_looked_at_last(monkeypatch: pytest.MonkeyPatch, used_before: bool) -> None:
    now = 1000.0
    with Server() as server:
        transport = to(server, monotonic=lambda: now)
        if used_before:
            transport.submit("POST", "/send", body=b"first")
        sent = len(server.raw)
        plain = deadline._Connection.endheaders

        def frozen(self: deadline._Connection, *arguments: object, **options: object) -> None:
            nonlocal now
            now += 60  # SIGSTOP, swap: the connection stands, everything is ready to be sent
            plain(self, *arguments, **options)

        monkeypatch.setattr(deadline._Connection, "endheaders", frozen)
        raised = failure(transport.submit, body=b"second")
        assert type(raised) is Unreachable
        assert str(raised) == "POST /send: not sent: its time had passed"
        transport.close()
    assert len(server.raw) == sent


def test_frozen_between_head_and_body_sends_no_body(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    plain = deadline._Connection.endheaders

    def frozen(self: deadline._Connection, *arguments: object, **options: object) -> None:
        nonlocal now
        plain(self, *arguments, **options)
        now += 60

    monkeypatch.setattr(deadline._Connection, "endheaders", frozen)
    with Server() as server:
        raised = failure(to(server, monotonic=lambda: now).submit, body=b"the body")
    assert type(raised) is OutcomeUnknown
    assert b"the body" not in server.raw


# --- After that: unknown ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "step",
    [
        reset,
        lambda connection: None,  # closed in good order, without an answer
        lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le"),
        lambda connection: connection.sendall(answer(200, b"x" * 99)[:-9]),
        lambda connection: connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
        lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n"),
        answer(200, b"not gzip", "Content-Encoding: gzip"),
    ],
    ids=["reset", "closed", "cut head", "cut body", "cut chunk", "not HTTP", "not gzip"],
)
def test_the_answer_is_lost(step: Step) -> None:
    with Server(step) as server:
        transport = to(server)
        for call, error in ((transport.submit, OutcomeUnknown), (transport.look_up, Unreachable)):
            with pytest.raises(error):
                # A head that was cut off is taken for one without a body: that is found out by reading it.
                call("POST", "/send", json={}).json(dict)
        transport.close()
        assert len(server.requests) == 2


def test_a_refusal_stays_one_though_its_body_is_cut() -> None:
    with Server(lambda connection: connection.sendall(answer(401, b"x" * 99)[:-9])) as server:
        assert type(failure(to(server).submit)) is AuthenticationFailed


SILENCES: dict[str, Step] = {
    "silence": lambda connection: connection.recv(1),
    "dripping head": drip(b"HTTP/1.1 200 OK\r\n", b"X-More: 1\r\n"),
    "dripping body": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x"),
    "dripping chunks": drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "no end": drip(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"x"),
    "many informational answers": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("step", SILENCES.values(), ids=SILENCES)
def test_the_time_is_for_the_whole_request(step: Step) -> None:
    started = time.monotonic()
    with Server(answer(), step) as server:
        transport = to(server)
        transport.submit("POST", "/send")  # the second request goes over the same connection
        transport._timeout = 0.08
        raised = failure(transport.submit)
    assert type(raised) is OutcomeUnknown
    assert str(raised).endswith("timed out; it may have been carried out")
    assert time.monotonic() - started < 3
    assert len(server.requests) == 2
    assert server.connections == 1


def test_an_answer_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "LARGEST_ANSWER", 100_000)
    bomb = gzip.compress(bytes(50_000_000))
    for step in (answer(200, b"x" * 100_001), answer(200, bomb, "Content-Encoding: gzip")):
        with Server(step) as server:
            raised = failure(to(server).submit)
            assert type(raised) is OutcomeUnknown
            assert "too large" in str(raised)


def test_a_forked_process_has_its_own_session_and_watchdog() -> None:
    program = """if True:
        import os, sys, warnings
        from dispatcher.errors import OutcomeUnknown
        from dispatcher.transport import Transport
        warnings.simplefilter("ignore", DeprecationWarning)
        transport = Transport(base_url=sys.argv[1], timeout=0.3, headers={})
        transport.submit("POST", "/parent")
        child = os.fork()
        if not child:
            try:
                transport.submit("POST", "/child")
            except OutcomeUnknown:
                os._exit(7)
            os._exit(1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    with Server(answer(), SILENCES["dripping body"]) as server:
        done = subprocess.run(
            [sys.executable, "-c", program, server.url], capture_output=True, text=True, timeout=20, check=True
        )
        assert done.stdout.strip() == "7"
        assert server.connections == 2


# --- The same over TLS ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    made = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-keyout", f"{made}.key", "-out", f"{made}.crt", "-days", "2", "-subj", "/CN=sandbox"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    made.write_text(Path(f"{made}.key").read_text() + Path(f"{made}.crt").read_text())
    return made


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_certificate_that_nobody_vouches_for(tls: ssl.SSLContext) -> None:
    with Server(tls=tls) as server:
        raised = failure(to(server).submit)
        assert type(raised) is Unreachable
        assert "self" in str(raised)
        assert server.requests == []


@pytest.mark.parametrize("kind", ["silence", "dripping head", "no end"])
def test_the_time_is_for_the_whole_request_over_tls(kind: str, tls: ssl.SSLContext, certificate: Path) -> None:
    with Server(answer(), SILENCES[kind], tls=tls) as server:
        transport = to(server)
        transport._session().verify = f"{certificate}.crt"
        assert transport.submit("POST", "/send").status == 200
        transport._timeout = 0.08
        started = time.monotonic()
        assert type(failure(transport.submit)) is OutcomeUnknown
        assert time.monotonic() - started < 3
        assert server.connections == 1


def test_a_handshake_that_never_ends_is_not_a_submission() -> None:
    class Deaf(Server):
        def _serve(self, connection: socket.socket) -> None:
            with connection, suppress(OSError, ValueError):
                drip(b"\x16\x03\x03\x40\x00", b"\x02")(connection)  # a handshake record that comes byte by byte

    with Deaf() as server:
        started = time.monotonic()
        raised = failure(to(server.url.replace("http:", "https:"), timeout=0.15).submit)
        assert type(raised) is Unreachable
        assert time.monotonic() - started < 3


def test_the_watchdog_forgets_what_has_ended() -> None:
    with Server() as server:
        transport = to(server, timeout=300)
        for _ in range(5):
            transport.submit("POST", "/send")
        transport.close()
        open_files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        for _ in range(5):
            transport.submit("POST", "/send")
            transport.close()
        assert not open_files or len(os.listdir("/proc/self/fd")) <= open_files + 1
