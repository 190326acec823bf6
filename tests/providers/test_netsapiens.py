"""NetSapiens on the wire: the request byte by byte, and what its answers to a submission mean."""

import base64
import dataclasses
import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from dispatcher.errors import (
    AuthenticationFailed,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
    Refused,
    SettingsError,
    Throttled,
)
from dispatcher.provider import OutgoingBatch
from dispatcher.providers.netsapiens import NetSapiens, Settings, connect
from dispatcher.sandbox import Sandbox
from dispatcher.sandbox import Settings as SandboxSettings
from dispatcher.throughput import LocalTokens
from tests.misbehaving import Server, answer
from tests.providers.rows import batch_of
from tests.providers.rows import connect as connect_row

A = 12025550111
SESSION = f"{A:032x}"
ACCEPTED = {"code": 202, "message": "Accepted"}
MEDIA = base64.b64encode(b"\x89PNG....").decode()


def account(server: Server, **settings: Any) -> NetSapiens:
    fields = {"base_url": server.url, "api_key": "the-key", "from_number": "+12025550100", "timeout": 5, **settings}
    return connect(Settings(**fields), LocalTokens())


def vendor(*contents: object) -> Server:
    """Return a NetSapiens that gives these answers in turn: JSON with 200, or (status, JSON)."""
    steps = []
    for content in contents:
        status, found = content if isinstance(content, tuple) else (200, content)
        body = found if isinstance(found, bytes) else json.dumps(found).encode()
        steps.append(answer(status, body, "Content-Type: application/json"))
    return Server(*steps)


def asked(server: Server, at: int = 0) -> tuple[str, Any]:
    head, _, body = server.requests[at].partition(b"\r\n\r\n")
    return head.decode().partition(" HTTP/1.1")[0], json.loads(body) if body else None


def submitted(batch: OutgoingBatch, *contents: object, **settings: Any) -> tuple[Any, tuple[str, Any]]:
    with vendor(*contents) as server:
        found = account(server, **settings).submit(batch)
    assert len(server.requests) == 1
    return found, asked(server)


def failure(*contents: object, **settings: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        submitted(batch_of([A]), *contents, **settings)
    assert caught.value.__context__ is None
    assert "the-key" not in f"{caught.value}"
    return caught.value


# --- Requests ---------------------------------------------------------------------------------------------------------


def test_a_text_goes_into_a_session_that_our_reference_names() -> None:
    with vendor((202, ACCEPTED)) as server:
        answers = account(server).submit(batch_of([A], text='Hé ✓ "now"'))
    assert (answers.provider_message_ids, answers.costs) == ((SESSION,), (None,))
    assert not answers.refused
    assert not answers.missing
    (request,) = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == f"POST /ns-api/v2/domains/~/users/~/messagesessions/{SESSION}/messages HTTP/1.1"
    assert "Authorization: Bearer the-key" in lines
    assert "Content-Type: application/json" in lines
    assert body == (
        b'{"type":"sms","message":"H\xc3\xa9 \xe2\x9c\x93 \\"now\\"","destination":"12025550111",'
        b'"from-number":"12025550100"}'
    )


def test_a_path_of_the_base_url_is_kept_and_names_are_quoted() -> None:
    with vendor((202, ACCEPTED)) as server:
        settings = {"base_url": server.url + "/other/v2/", "domain": "our.example", "user": "10/0 0"}
        account(server, **settings).submit(batch_of([A]))
    assert (
        asked(server)[0] == f"POST /other/v2/domains/our.example/users/10%2F0%200/messagesessions/{SESSION}/messages"
    )


def test_the_campaigns_sender_goes_before_the_settings() -> None:
    _, (_, body) = submitted(batch_of([A], sender="+12025550101"), (202, ACCEPTED))
    assert body["from-number"] == "12025550101"
    _, (_, body) = submitted(batch_of([A], texts=["mine"]), (202, ACCEPTED))
    assert (body["message"], body["from-number"]) == ("mine", "12025550100")


@pytest.mark.parametrize("size", ["8", ""])
def test_a_file_goes_as_an_mms(size: str) -> None:
    options = {"media_data": MEDIA, "media_type": "image/png", **({"media_size": size} if size else {})}
    _, (_, body) = submitted(batch_of([A], text="see", options=options), (202, ACCEPTED))
    assert body == {
        "type": "mms",
        "message": "see",
        "destination": str(A),
        "from-number": "12025550100",
        "data": MEDIA,
        "mime-type": "image/png",
        "size": 8,
    }


@pytest.mark.parametrize(
    "batch",
    [
        batch_of([]),
        batch_of([A, A + 1]),
        batch_of([A], text=""),
        batch_of([A], texts=[""]),
        batch_of([A], text="\ud800"),
        batch_of([A], scheduled_for=datetime(2026, 7, 1, tzinfo=UTC)),
        dataclasses.replace(batch_of([A]), references=["short"]),
        dataclasses.replace(batch_of([A]), references=["../" * 12]),
        batch_of([A], options={"media_url": "https://x.example/y.png"}),
        batch_of([A], options={"media_data": MEDIA}),
        batch_of([A], options={"media_type": "image/png"}),
        batch_of([A], options={"media_data": "not base64!", "media_type": "image/png"}),
        batch_of([A], options={"media_data": MEDIA, "media_type": "image/png", "media_size": "9"}),
        batch_of([A], options={"media_data": MEDIA, "media_type": "image/png", "channels": "sms"}),
    ],
)
def test_what_it_cannot_express_is_not_sent(batch: OutgoingBatch) -> None:
    with vendor(ACCEPTED) as server, pytest.raises(InvalidRequest, match="netsapiens: not sent: "):
        account(server).submit(batch)
    assert server.connections == 0


def test_without_a_number_to_send_from_the_campaign_waits_for_one() -> None:
    with vendor(ACCEPTED) as server, pytest.raises(Refused, match="FROM_NUMBER is not set") as caught:
        account(server, from_number="").submit(batch_of([A]))
    assert type(caught.value) is Refused  # neither malformed nor a matter of credentials: it pauses
    assert server.connections == 0


# --- Answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [(202, ACCEPTED), (200, ACCEPTED), (202, {"code": "202"}), (202, {"code": 200, "message": "OK", "more": [1]})],
)
def test_an_acceptance(content: object) -> None:
    answers, _ = submitted(batch_of([A]), content)
    assert answers.provider_message_ids == (SESSION,)


@pytest.mark.parametrize(
    "content",
    [
        (202, b""),
        (202, {}),
        (202, []),
        (202, {"message": "Accepted"}),
        (202, {"code": None}),
        (202, {"code": 403, "message": "Forbidden"}),
        (202, {"code": "accepted"}),
        (202, b"<html>"),
        (202, b'{"code":202,"mess'),
        (200, b"\xff"),
        (204, b""),
        (500, {"code": 500, "message": "Internal"}),
    ],
)
def test_an_answer_that_does_not_say_accepted_leaves_it_unknown(content: object) -> None:
    assert type(failure(content)) is OutcomeUnknown


def test_a_head_that_is_cut_after_its_status_line_is_no_acceptance() -> None:
    with Server(b"HTTP/1.1 202 Accepted\r\n", lambda connection: connection.close()) as server:
        server.script[0] = lambda connection: (connection.sendall(b"HTTP/1.1 202 Accepted\r\n"), connection.close())
        with pytest.raises(OutcomeUnknown):
            account(server).submit(batch_of([A]))


def test_403_may_be_either_of_two_things() -> None:
    error = failure((403, {"code": 403, "message": "Forbidden"}))
    assert type(error) is AuthenticationFailed
    assert "HTTP 403" in str(error)
    assert "may not do that" in str(error)
    assert "blocked this client" in str(error)


def test_a_refused_api_key_is_final() -> None:
    assert type(failure((401, {"code": 401, "message": "Authentication Required"}))) is AuthenticationFailed
    assert type(failure((429, {"code": 429, "message": "slow"}))) is Throttled
    error = failure((400, {"code": 400, "message": f"no such destination {A}"}))
    assert type(error) is InvalidRequest
    assert str(A) not in str(error)


# --- Settings ---------------------------------------------------------------------------------------------------------


def test_what_is_missing_is_named() -> None:
    def missing(**fields: Any) -> list[str]:
        return [name.removeprefix("DISPATCHER_NETSAPIENS__") for name in Settings(**fields).missing()]

    grant = {"client_id": "c", "client_secret": "s", "username": "u", "password": "p"}
    base = {"base_url": "https://x.example"}
    assert missing() == ["BASE_URL", "API_KEY (or CLIENT_ID, CLIENT_SECRET, USERNAME, PASSWORD)"]
    assert missing(**base, api_key="k") == missing(**base, **grant) == []
    assert missing(api_key=" ", **grant) == ["BASE_URL"]
    assert missing(**base, client_id="c", password="p") == ["CLIENT_SECRET", "USERNAME"]


def test_without_a_base_url_it_can_be_asked_about_but_not_called() -> None:
    provider = connect(Settings(api_key="k", from_number="12025550100"), LocalTokens())
    assert provider.capabilities.messages_per_request == 1
    with pytest.raises(AuthenticationFailed, match="DISPATCHER_NETSAPIENS__BASE_URL"):
        provider.submit(batch_of([A]))
    with pytest.raises(AuthenticationFailed, match="DISPATCHER_NETSAPIENS__BASE_URL"):
        provider.check()


@pytest.mark.parametrize(
    ("base_url", "root"),
    [
        ("https://core.example", "https://core.example/ns-api/v2"),
        ("https://core.example/", "https://core.example/ns-api/v2"),
        ("https://core.example:8443", "https://core.example:8443/ns-api/v2"),
        (" https://core.example/ns-api/v2/ ", "https://core.example/ns-api/v2"),
        ("https://core.example/api", "https://core.example/api"),
    ],
)
def test_the_vendors_path_stands_where_there_is_none(base_url: str, root: str) -> None:
    assert Settings(base_url=base_url).root() == root


def test_settings_that_are_wrong() -> None:
    with pytest.raises(ValueError, match="not a time zone"):
        Settings(time_zone="Mars/Olympus")
    with pytest.raises(SettingsError):
        connect(Settings(base_url="core.example", api_key="k"), LocalTokens())


def test_the_settings_decide_what_the_document_leaves_open() -> None:
    can = connect(Settings(characters=300, segments=2, receipt_hours=5), LocalTokens()).capabilities
    assert (can.characters, can.segments, can.receipt_window.total_seconds()) == (300, 2, 5 * 3600)
    assert (can.requests_per_second, can.sender, can.unicode, can.deduplicates) == (5.0, True, True, False)
    assert can.options == {"media_data", "media_type", "media_size"}
    assert (can.schedule_ahead, can.currency, can.ids_per_receipt_request) == (None, None, 1)


def test_no_secret_is_shown() -> None:
    settings = Settings(base_url="https://x.example", client_id="c", client_secret="s3", username="u5", password="p7")
    shown = f"{settings!r} {settings.credentials()!r}"
    assert not any(secret in shown for secret in ("'s3'", "'p7'"))


# --- At the sandbox ---------------------------------------------------------------------------------------------------


def test_the_same_message_twice_is_seen_as_such_and_a_campaign_never_makes_a_group() -> None:
    with Sandbox(settings=SandboxSettings(delivery_seconds=0, failing_share=0)) as sandbox:
        provider = connect_row("netsapiens", sandbox)
        for number in (A, A + 1, A):
            provider.submit(dataclasses.replace(batch_of([number]), deadline=time.monotonic() + 5))
        assert len(sandbox.record.duplicates("netsapiens")) == 1
        assert not any("," in message.number for message in sandbox.record.messages)
        assert len({(message.details or {})["session"] for message in sandbox.record.messages}) == 2
