"""The transport: what each answer means, what an error says, and what is sent."""

import logging
import socket
import threading
import time
from pathlib import Path

import msgspec
import pytest

from dispatcher.errors import (
    AuthenticationFailed,
    InsufficientCredit,
    InvalidRequest,
    Misconfigured,
    OutcomeUnknown,
    ProviderError,
    SettingsError,
    Throttled,
    Unreachable,
)
from dispatcher.transport import Transport, answers, deadline
from tests.misbehaving import SECRET, Server, answer, failure, to

# --- What a status means --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "submitted", "looked_up"),
    [
        (301, Misconfigured, Misconfigured),
        (302, OutcomeUnknown, Unreachable),
        (303, OutcomeUnknown, Unreachable),
        (307, Misconfigured, Misconfigured),
        (308, Misconfigured, Misconfigured),
        (400, InvalidRequest, InvalidRequest),
        (401, AuthenticationFailed, AuthenticationFailed),
        (402, InsufficientCredit, InsufficientCredit),
        (403, AuthenticationFailed, AuthenticationFailed),
        (404, Misconfigured, Misconfigured),
        (408, OutcomeUnknown, Unreachable),
        (413, InvalidRequest, InvalidRequest),
        (418, InvalidRequest, InvalidRequest),
        (422, InvalidRequest, InvalidRequest),
        (429, Throttled, Throttled),
        (500, OutcomeUnknown, Unreachable),
        (502, OutcomeUnknown, Unreachable),
        (503, OutcomeUnknown, Unreachable),
        (599, OutcomeUnknown, Unreachable),
    ],
)
def test_each_status_has_one_meaning(
    status: int, submitted: type[ProviderError], looked_up: type[ProviderError]
) -> None:
    with Server(answer(status, b"", "Location: /elsewhere")) as server:
        transport = to(server)
        for call, error in ((transport.submit, submitted), (transport.look_up, looked_up)):
            raised = failure(call, json={})
            assert type(raised) is error
            assert f"POST /send: HTTP {status}" in str(raised)
        transport.close()
        assert len(server.requests) == 2  # neither a retry nor a redirect followed


def test_a_redirect_says_what_to_look_at() -> None:
    with Server(answer(308, b"", "Location: https://elsewhere.example/")) as server:
        assert "check the base URL" in str(failure(to(server).submit))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("1.5", 1.5),
        ("999999", answers.LONGEST_PAUSE),
        ("-3", None),
        ("soon", None),
        ("nan", None),
        ("", None),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2015 07:27:00 GMT", None),
        ("Wed, 21 Oct 2099 07:28:00 GMT", answers.LONGEST_PAUSE),
        ("Wed, 32 Oct 2015 07:28:00 GMT", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert answers.retry_after({"Retry-After": value, "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}) == seconds


def test_retry_after_a_date_by_our_clock_and_none_at_all() -> None:
    assert answers.retry_after({"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}) == answers.LONGEST_PAUSE
    assert answers.retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT", "Date": "no date"}) is None
    assert answers.retry_after({}) is None


# --- What an error says ---------------------------------------------------------------------------------------------


def test_an_error_says_where_and_in_whose_words_but_no_query() -> None:
    with Server(answer(422, b'{"errorMessage": "At least one id is not a number", "statusCode": 422}')) as server:
        with pytest.raises(InvalidRequest) as caught:
            to(server).submit("POST", "/messages/27821234567?to=1", params={"number": "27820000001"}, json=[1])
        assert str(caught.value) == "POST /messages/…: HTTP 422: At least one id is not a number"
        assert b"/messages/27821234567?to=1&number=27820000001 " in server.requests[0]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"code": "ACCT-006", "message": "No credit"}}', "ACCT-006: No credit"),
        (b'{"code": 403, "message": "Blocked"}', "403: Blocked"),
        (b'{"message": "Invalid 27821234567 and +27 82 123 4567, row 12"}', "Invalid … and +…, row 12"),
        (b'{"message": "two\\nlines\\u001b[31m"}', "two lines [31m"),
        (b'{"message": "' + b"word " * 100 + b'"}', ("word " * 100)[:200]),
        (b"slow down, please", "slow down, please"),
        (b"<html><body>Bad gateway</body></html>", ""),
        (b'{"message": "cut o', ""),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"[1]", ""),
        (b"", ""),
        (b'{"message": "the text \'Hello dear customer\' is forbidden"}', "the text '…' is forbidden"),
        (b'{"message": "starts with: Hello dear cust"}', "starts with: …"),
        (b'{"message": "Hi Bob?"}', "…?"),
        (b'{"message": "no such key: ' + SECRET.encode() + b'"}', "no such key: …"),
        (b'{"message": "no such key: ' + SECRET[:14].encode() + b'"}', "no such key: …"),
    ],
)
def test_the_words_of_a_provider_are_made_fit_for_a_log(body: bytes, words: str) -> None:
    content = msgspec.json.encode({"messages": [{"text": "Hello dear customer"}, {"text": "Hi Bob"}]})
    assert answers.words(body, content, {"Authorization": f"Bearer {SECRET}"}) == words


def test_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Server(answer()) as server:
        to(server).look_up("GET", "/messages", params={"number": "27820000001"})
    assert caplog.text == ""


def test_a_reply_shows_nothing_of_its_body_and_is_read_leniently() -> None:
    with Server(answer(202, b'{"id": "17", "more": true, "cost": 1.10}')) as server:
        reply = to(server).submit("POST", "/send", body=b"{}")
    assert "17" not in repr(reply)
    assert reply.json(dict)["more"] is True
    assert reply.json(msgspec.defstruct("Row", [("id", int)])).id == 17


@pytest.mark.parametrize("body", [b"", b"<html></html>", b'{"id": 1', b'{"id": "x"}', b'{"id": "\xff"}', b"[]"])
def test_an_answer_that_cannot_be_read(body: bytes) -> None:
    row = msgspec.defstruct("Row", [("id", int)])
    with Server(answer(200, body)) as server:
        for call, error in ((to(server).submit, OutcomeUnknown), (to(server).look_up, Unreachable)):
            with pytest.raises(error, match="POST /send: HTTP 200: unreadable answer of") as caught:
                call("POST", "/send").json(row)
            assert caught.value.__context__ is None


# --- What is sent ---------------------------------------------------------------------------------------------------


def test_the_request_is_what_was_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with Server(answer(200, b"{}", "Set-Cookie: a=b")) as server:
        transport = to(server.url + "/api/rest/v1/", headers=lambda: {"AUTHORIZATION": SECRET}, user_agent="us/1")
        transport.submit("POST", "/send", json={"text": "é"}, headers={"X-Other": "1"})
        transport.look_up("GET", "/scheduled", params={"offset": 3})
        transport.close()
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /api/rest/v1/send HTTP/1.1\r\n")
    assert f"AUTHORIZATION: {SECRET}".encode() in head
    assert b"User-Agent: us/1" in head
    assert b"X-Other: 1" in head
    assert b"Content-Type: application/json" in head
    assert body == '{"text":"é"}'.encode()
    assert server.requests[1].startswith(b"GET /api/rest/v1/scheduled?offset=3 HTTP/1.1\r\n")
    assert b"Cookie" not in server.requests[1]
    assert b"Content-Type" not in server.requests[1]


@pytest.mark.parametrize(
    "base_url", ["", "host.example/api", "ftp://host", "https://", "https://h:x/", "https://h/?a", "https://u:p@h"]
)
def test_a_base_url_that_is_none(base_url: str) -> None:
    with pytest.raises(SettingsError):
        Transport(base_url=base_url, timeout=1, headers={})


@pytest.mark.parametrize("value", [SECRET + "\n", SECRET + "\u0444"])
def test_a_credential_that_no_header_can_hold(value: str) -> None:
    with Server() as server:
        raised = failure(to(server, headers={"Authorization": value}).submit)
    assert type(raised) is Misconfigured
    assert server.requests == []


def test_connections_are_kept_but_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server() as server:
        transport = to(server)
        transport.submit("POST", "/send")
        transport.submit("POST", "/send")
        assert server.connections == 1
        monkeypatch.setattr(deadline, "IDLE_SECONDS", 0.0)
        transport.submit("POST", "/send")
        assert server.connections == 2
        transport.close()


def test_a_connection_closed_by_the_server_meanwhile_is_not_used() -> None:
    def answer_and_close(connection: socket.socket) -> None:
        connection.sendall(answer())

    with Server(answer_and_close, answer()) as server:
        transport = to(server)
        transport.submit("POST", "/send")
        deadline_ = time.monotonic() + 2
        while server._open[0].fileno() != -1 and time.monotonic() < deadline_:
            time.sleep(0.005)
        assert transport.submit("POST", "/send").status == 200
        assert server.connections == 2
        transport.close()


def test_each_thread_has_its_own_connection() -> None:
    with Server() as server:
        transport = to(server)

        def work() -> None:
            transport.submit("POST", "/send")
            transport.close()

        transport.submit("POST", "/send")
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        transport.close()
        assert server.connections == 2
