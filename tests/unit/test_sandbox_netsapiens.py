"""The NetSapiens stand-in over real HTTP: its endpoints, tokens, words and shapes."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
import requests

from dispatcher.sandbox import Sandbox, Settings, base_urls, client_settings

START = datetime(2026, 3, 1, 10, 0, tzinfo=UTC).timestamp()
SESSION = "s" * 32
SESSIONS = "/domains/~/users/~/messagesessions"
MESSAGES = f"{SESSIONS}/{SESSION}/messages"
GRANT = {"grant_type": "password", "client_id": "c", "client_secret": "s", "username": "u", "password": "p"}
ACCEPTED = {"code": 202, "message": "Accepted"}
Call = Callable[..., requests.Response]


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sandbox(clock: Clock) -> Iterator[Sandbox]:
    with Sandbox(clock=clock, settings=Settings(failing_share=0, delivery_seconds=4)) as running:
        yield running


@pytest.fixture
def call(sandbox: Sandbox) -> Iterator[Call]:
    with requests.Session() as session:
        session.headers["Authorization"] = "Bearer a-key"

        def called(method: str, path: str, body: object = None, **options: Any) -> requests.Response:
            url = base_urls(sandbox.url)["netsapiens"] + path
            return session.request(method, url, json=body, timeout=10, **options)

        yield called


def text(number: object = "12025550111", **fields: Any) -> dict[str, Any]:
    body = {"type": "sms", "message": "hello", "destination": number, "from-number": "12025550100"}
    return {**body, **{name.replace("_", "-"): value for name, value in fields.items()}}


def send(call: Call, *arguments: Any, session: str = SESSION, **fields: Any) -> None:
    answer = call("POST", f"{SESSIONS}/{session}/messages", text(*arguments, **fields))
    assert (answer.status_code, answer.json()) == (202, ACCEPTED)


def rows(call: Call, path: str = MESSAGES) -> list[dict[str, Any]]:
    answer = call("GET", path)
    assert answer.status_code == 200
    found = answer.json()
    assert isinstance(found, list)
    return found


def assert_error(answer: requests.Response, status: int) -> str:
    assert answer.status_code == status
    content = answer.json()
    assert content.keys() == {"code", "message"}
    assert content["code"] == status
    return str(content["message"])


# --- Sending ----------------------------------------------------------------------------------------------------------


def test_a_message_makes_its_session_and_is_found_in_it(call: Call, sandbox: Sandbox) -> None:
    assert rows(call) == []
    send(call)
    (row,) = rows(call)
    assert row["id"].startswith("m-")
    assert row["timestamp"] in ("2026-03-01 10:00:00", "2026-03-01T10:00:00.00Z")
    expected = {
        "type": "sms",
        "domain": "sandbox.example",
        "direction": "term",
        "dialed": "12025550111",
        "text": "hello",
        "status": "sending",
        "from-number": 12025550100,
        "from-user-id": "1000@sandbox.example",
        "terminating-number": "12025550111",
        "messagesession-id": SESSION,
        "media-type": "",
        "media-size": 0,
    }
    assert {name: row[name] for name in expected} == expected
    (message,) = sandbox.record.messages
    assert (message.number, message.text, message.segments, message.cost) == ("12025550111", "hello", 1, 0)
    asked, sent, _ = sandbox.record.requests
    assert (asked.sends, sent.sends, sent.recipients, sent.segments) == (False, True, 1, 1)
    names = f"/domains/sandbox.example/users/1000/messagesessions/{SESSION}/messages"
    assert len(rows(call, names)) == 1
    assert rows(call, names.replace("1000", "1001")) == []


def test_the_same_request_twice_is_two_messages(call: Call, sandbox: Sandbox) -> None:
    send(call)
    send(call)
    assert len(rows(call)) == 2
    assert len(sandbox.record.duplicates("netsapiens")) == 1


def test_several_numbers_are_one_group_conversation(call: Call, sandbox: Sandbox) -> None:
    send(call, ["12025550111", "12025550112"])
    (message,) = sandbox.record.messages
    assert message.number == "12025550111,12025550112"
    (row,) = rows(call)
    assert row["messagesession-participants"] == "12025550111,12025550112"
    (found,) = rows(call, SESSIONS)
    assert (found["messagesession-type"], found["messagesession-remote"]) == ("group-sms", message.number)
    assert sandbox.record.requests[0].recipients == 2
    assert_error(call("PUT", f"{SESSIONS}/{SESSION}", {"participants": "1,2"}), 400)


def test_without_a_session_the_server_names_one(call: Call) -> None:
    answer = call("POST", "/domains/~/users/~/messages", text())
    assert answer.status_code == 200
    row = answer.json()
    assert rows(call, f"{SESSIONS}/{row['messagesession-id']}/messages")[0]["id"] == row["id"]


def test_a_file(call: Call, sandbox: Sandbox) -> None:
    data = base64.b64encode(b"12345").decode()
    send(call, type="mms", message="", data=data, mime_type="image/png", size=5)
    (row,) = rows(call)
    assert (row["type"], row["media-type"], row["media-size"]) == ("mms", "image/png", 5)
    assert sandbox.record.messages[0].text == ""


WRONG: list[Any] = [
    "{",
    "",
    "[]",
    {},
    text(type="chat"),
    text(type=5),
    text(message=""),
    text(message=5),
    text(""),
    text("+12025550111"),
    text("0202555"),
    text(12025550111),
    text([]),
    text(["12025550111", "x"]),
    text(from_number="SHOP"),
    text(from_number=None),
    text(mime_type="image/png"),
    text(type="mms"),
    text(type="mms", data="MTIz"),
    text(type="mms", data="MTIz", mime_type="png"),
    text(type="mms", data="MTI", mime_type="image/png"),
    text(type="mms", data="MTIz", mime_type="image/png", size=4),
    text(schedule="tomorrow"),
]


@pytest.mark.parametrize("body", WRONG)
def test_a_malformed_message_is_refused(call: Call, sandbox: Sandbox, body: Any) -> None:
    raw = body if isinstance(body, str) else json.dumps(body)
    answer = call("POST", MESSAGES, headers={"Content-Type": "application/json"}, data=raw)
    assert assert_error(answer, 400)
    assert sandbox.record.messages == []


@pytest.mark.parametrize("session", ["short", "a" * 31, "a" * 32 + "-", "é" * 32])
def test_a_session_has_a_name_of_32_letters_at_least(call: Call, session: str) -> None:
    assert_error(call("POST", f"{SESSIONS}/{session}/messages", text()), 400)


def test_a_body_is_json(call: Call) -> None:
    answer = call("POST", MESSAGES, data="{}", headers={"Content-Type": "text/plain"})
    assert assert_error(answer, 400) == "Content-Type: application/json"


# --- Statuses ---------------------------------------------------------------------------------------------------------


def test_a_status_evolves_with_the_clock(call: Call, clock: Clock, sandbox: Sandbox) -> None:
    numbers = [
        "12025550111",
        "12025550197",
        "12025550196",
        "12025550195",
        "12025550199",
        "12025550198",
        "12025550194",
    ]
    sandbox.record.opt_out("12025550112", START)
    numbers.append("12025550112")
    for at, number in enumerate(numbers):
        send(call, number, session=f"{at:032d}")

    def statuses() -> list[str]:
        return [rows(call, f"{SESSIONS}/{at:032d}/messages")[0]["status"] for at in range(len(numbers))]

    assert statuses() == ["sending"] * 8
    clock.now += 1
    assert statuses() == ["sent"] * 8
    clock.now += 60
    assert statuses() == ["delivered", "failed", "sent", "undeliverable", *["failed"] * 4]


# --- Sessions and replies ---------------------------------------------------------------------------------------------


def test_replies_stand_in_the_session_that_they_answer(call: Call, sandbox: Sandbox, clock: Clock) -> None:
    send(call, "12025550111")
    send(call, "12025550112", session="t" * 32)
    clock.now += 5
    for reply in ("thanks", "5", "007"):
        body = {"number": "+12025550111", "text": reply, "provider": "netsapiens"}
        assert requests.post(f"{sandbox.url}/sandbox/incoming", json=body, timeout=10).ok
    newest, *_, oldest = rows(call)
    assert [row["text"] for row in rows(call)] == ["007", 5, "thanks", "hello"]
    assert (newest["direction"], newest["from-number"], newest["status"]) == ("orig", 12025550111, "")
    assert (newest["from-user-id"], newest["terminating-user-id"]) == ("", "1000@sandbox.example")
    assert oldest["direction"] == "term"
    first, second = rows(call, SESSIONS)
    assert [row["messagesession-id"] for row in (first, second)] == [SESSION, "t" * 32]
    assert (first["messagesession-last-sender"], first["messagesession-last-message"]) == ("12025550111", "007")
    assert second["messagesession-last-sender"] == "1000@sandbox.example"
    assert [row["messagesession-id"] for row in rows(call, f"{SESSIONS}?limit=1")] == [SESSION]
    assert len(rows(call, "/domains/~/messagesessions")) == 2
    assert rows(call, "/domains/other.example/messagesessions") == []
    assert len(rows(call, f"{MESSAGES}?limit=2")) == 2


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=-1", "limit="])
def test_a_limit_out_of_bounds_is_refused(call: Call, query: str) -> None:
    assert_error(call("GET", f"{MESSAGES}?{query}"), 400)
    assert_error(call("GET", f"{SESSIONS}?{query}"), 400)


def test_a_session_is_shown_changed_left_and_deleted(call: Call) -> None:
    path = f"{SESSIONS}/{SESSION}"
    for method, at in (("GET", path), ("PUT", path), ("DELETE", path), ("PUT", f"{path}/leave")):
        assert_error(call(method, at, {"participants": "1000"}), 404)
    for method, at in (("DELETE", path), ("PUT", f"{path}/leave")):
        send(call)
        assert call("PUT", path, {"participants": "1000,1001"}).json() == ACCEPTED
        assert [row["messagesession-participants"] for row in rows(call, path)] == ["1000,1001"]
        assert call(method, at).json() == ACCEPTED
        assert_error(call("GET", path), 404)
        assert rows(call) == []
    assert_error(call("PUT", path, {}), 404)


# --- Being let in -----------------------------------------------------------------------------------------------------


def token(call: Call, body: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = call("POST", "/tokens", body or GRANT, headers={"Authorization": None})
    assert answer.status_code == 200
    found = answer.json()
    assert isinstance(found, dict)
    return found


def bearer(found: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {found['access_token']}"}


def test_a_token_serves_until_it_expires(call: Call, sandbox: Sandbox, clock: Clock) -> None:
    sandbox.control.configure({"token_seconds": 60, "api_key": "another"})
    found = token(call)
    assert (found["expires_in"], found["token_type"], found["domain"]) == (60, "Bearer", "sandbox.example")
    clock.now += 59
    assert call("GET", SESSIONS, headers=bearer(found)).status_code == 200
    clock.now += 1
    assert assert_error(call("GET", SESSIONS, headers=bearer(found)), 401) == "Authentication Required"
    refresh = {name: GRANT[name] for name in ("client_id", "client_secret")}
    again = token(call, {**refresh, "grant_type": "refresh_token", "refresh_token": found["refresh_token"]})
    assert again["access_token"] != found["access_token"]
    assert call("GET", SESSIONS, headers=bearer(again)).status_code == 200


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"password": "bad"}, 401),
        ({"client_secret": "bad"}, 401),
        ({"username": ""}, 400),
        ({"client_id": ""}, 400),
        ({"grant_type": "mfa"}, 400),
        ({"grant_type": "refresh_token"}, 400),
        ({"grant_type": "refresh_token", "refresh_token": "nsr-1-2"}, 401),
        ({"grant_type": "refresh_token", "refresh_token": "any"}, 401),
        ({"scope": "all"}, 400),
    ],
)
def test_a_wrong_login_is_refused(call: Call, changes: dict[str, str], status: int) -> None:
    assert_error(call("POST", "/tokens", {**GRANT, **changes}), status)


def test_an_access_token_does_not_refresh_nor_a_refresh_token_open(call: Call) -> None:
    found = token(call)
    swapped = {**GRANT, "grant_type": "refresh_token", "refresh_token": found["access_token"]}
    assert_error(call("POST", "/tokens", swapped), 401)
    assert_error(call("GET", SESSIONS, headers={"Authorization": f"Bearer {found['refresh_token']}"}), 401)
    forged = found["access_token"].replace("nsa-", "nsa-9")
    assert_error(call("GET", SESSIONS, headers={"Authorization": f"Bearer {forged}"}), 401)


ENDPOINTS = [
    ("GET", MESSAGES),
    ("POST", MESSAGES),
    ("POST", "/domains/~/users/~/messages"),
    ("GET", SESSIONS),
    ("GET", "/domains/~/messagesessions"),
    ("DELETE", f"{SESSIONS}/x"),
    ("PUT", f"{SESSIONS}/x/leave"),
    ("GET", "/smsnumbers"),
    ("GET", "/subscriptions"),
    ("PUT", "/domains/~/subscriptions/x"),
]


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_every_endpoint_wants_its_method_and_a_token(call: Call, sandbox: Sandbox, method: str, path: str) -> None:
    assert_error(call("PATCH", path), 405)
    for key in (None, "a-key", "Basic a-key", "Bearer ", "Bearer bad-key"):
        assert_error(call(method, path, headers={"Authorization": key}), 401)
    sandbox.control.configure({"account": "locked"})
    assert_error(call(method, path), 403)


def test_what_needs_no_token(call: Call, sandbox: Sandbox) -> None:
    answer = call("GET", "/version", headers={"Authorization": None})
    assert answer.json()["current-time"] == "2026-03-01 10:00:00"
    sandbox.control.configure({"account": "locked"})
    assert_error(call("POST", "/tokens", GRANT), 403)


@pytest.mark.parametrize(
    "path", ["/nothing", "/domains//messagesessions", "/domains/a b/messagesessions", "/domains"]
)
def test_a_path_that_is_not_there(call: Call, path: str) -> None:
    assert_error(call("GET", path), 404)
    assert_error(call("GET", f"/domains/~/users/{'1' * 17}/messagesessions"), 404)


def test_one_key_can_be_the_only_one(call: Call, sandbox: Sandbox) -> None:
    sandbox.control.configure({"api_key": "a-key"})
    assert call("GET", SESSIONS).status_code == 200
    assert_error(call("GET", SESSIONS, headers={"Authorization": "Bearer other"}), 401)


def test_what_a_client_needs(sandbox: Sandbox) -> None:
    assert client_settings(sandbox.url)["netsapiens"] == {
        "base_url": f"{sandbox.url}/ns-api/v2",
        "api_key": "sandbox",
        "from_number": "12025550100",
    }


# --- Numbers ----------------------------------------------------------------------------------------------------------


def test_numbers_are_listed_and_added(call: Call) -> None:
    paths = ["/smsnumbers", "/domains/~/smsnumbers", "/domains/~/users/~/smsnumbers"]
    assert [[row["number"] for row in rows(call, path)] for path in paths] == [["12025550100"]] * 3
    new = {"number": "12025550101", "application": "user", "dest": "1001"}
    assert call("POST", "/domains/~/smsnumbers", new).json() == ACCEPTED
    assert [len(rows(call, path)) for path in paths] == [2, 2, 1]
    assert rows(call, "/domains/other.example/smsnumbers") == []
    assert_error(call("POST", "/domains/~/smsnumbers", {"number": "12025550101"}), 400)


# --- Subscriptions ----------------------------------------------------------------------------------------------------

HOOK = {"model": "message", "post-url": "https://us.example/hook"}


def test_a_subscription_lives_until_its_time(call: Call, clock: Clock) -> None:
    body = {**HOOK, "subscription-expires-datetime": "2026-03-01 11:00:00", "server_preferred": "let pass"}
    made = call("POST", "/subscriptions", body).json()
    assert (made["status"], made["domain"], made["user"]) == ("pending", "*", "*")
    assert made["subscription-expires-datetime"] == "2026-03-01 11:00:00"
    shown = call("GET", f"/subscriptions/{made['id']}").json()
    assert shown["subscription-expires-datetime"] == "2026-03-01T11:00:00.00Z"
    assert assert_error(call("POST", "/subscriptions", body), 409)
    later = {"subscription-expires-datetime": "2026-03-01T13:00:00+01:00", "posts-count": 0}
    assert call("PUT", f"/subscriptions/{made['id']}", later).json() == ACCEPTED
    clock.now += 3600
    assert len(rows(call, "/subscriptions")) == 1
    clock.now += 3600
    assert rows(call, "/subscriptions") == []
    assert_error(call("GET", f"/subscriptions/{made['id']}"), 404)


def test_a_subscription_ends_with_its_token(call: Call) -> None:
    by_token = call("POST", "/subscriptions", HOOK, headers=bearer(token(call))).json()
    assert by_token["subscription-expires-datetime"] == "2026-03-01 11:00:00"
    by_key = call("POST", "/subscriptions", {**HOOK, "model": "messagesession"}).json()
    assert by_key["subscription-expires-datetime"].startswith("2046-02-")


def test_subscriptions_of_a_domain(call: Call) -> None:
    made = call("POST", "/domains/~/subscriptions", HOOK).json()
    assert made["domain"] == "sandbox.example"
    call("POST", "/domains/other.example/subscriptions", HOOK)
    assert len(rows(call, "/subscriptions")) == 2
    assert len(rows(call, "/domains/~/subscriptions")) == 1
    assert_error(call("DELETE", f"/domains/other.example/subscriptions/{made['id']}"), 404)
    assert call("PUT", f"/domains/~/subscriptions/{made['id']}", {"error-count": 0}).json() == ACCEPTED
    assert call("DELETE", f"/domains/~/subscriptions/{made['id']}").json() == ACCEPTED


def test_a_deletion_repeats_the_id(call: Call) -> None:
    made = call("POST", "/subscriptions", HOOK).json()["id"]
    path = f"/subscriptions/{made}"
    assert_error(call("DELETE", path), 400)
    assert_error(call("DELETE", path, {"subscription_id": "another"}), 400)
    assert call("DELETE", path, {"subscription_id": made, "domain": "x"}).json() == ACCEPTED
    assert_error(call("DELETE", path, {"subscription_id": made}), 404)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"model": "message"},
        {**HOOK, "model": "weather"},
        {**HOOK, "post-url": "ftp://us.example"},
        {**HOOK, "subscription-expires-datetime": "soon"},
        {**HOOK, "subscription-expires-datetime": "2026-03-01 09:00:00"},
    ],
)
def test_a_malformed_subscription_is_refused(call: Call, body: dict[str, str]) -> None:
    assert_error(call("POST", "/subscriptions", body), 400)


def test_everything_is_forgotten_on_reset(call: Call, sandbox: Sandbox) -> None:
    send(call)
    call("POST", "/subscriptions", HOOK)
    sandbox.record.reset()
    assert rows(call) == rows(call, SESSIONS) == rows(call, "/subscriptions") == []


def test_sessions_survive_a_restart(tmp_path: Path) -> None:
    for expected in (1, 2):
        with Sandbox(record_file=tmp_path / "record.jsonl") as sandbox:
            url = base_urls(sandbox.url)["netsapiens"] + MESSAGES
            headers = {"Authorization": "Bearer a-key"}
            assert requests.post(url, json=text(), headers=headers, timeout=10).status_code == 202
            assert len(requests.get(url, headers=headers, timeout=10).json()) == expected


# --- Events -----------------------------------------------------------------------------------------------------------


class Listener:
    """Takes the events that are posted to it."""

    def __init__(self, status: int = 200) -> None:
        self.events: Queue[tuple[str, str | None, Any]] = Queue()
        events = self.events

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(status)
                self.end_headers()
                events.put((self.path, self.headers["X-Correlation-ID"], body))

            def log_message(self, *_: object) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> "Listener":
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


def test_events_are_posted_as_arrays_to_who_asked_for_them(call: Call, sandbox: Sandbox) -> None:
    with Listener() as listener:
        made = call("POST", "/subscriptions", {**HOOK, "post-url": f"{listener.url}/hook?a=1"}).json()
        call("POST", "/subscriptions", {**HOOK, "post-url": f"{listener.url}/of-others", "domain": "other.example"})
        call("POST", "/subscriptions", {**HOOK, "post-url": "https://us.example/elsewhere"})
        send(call)
        path, correlation, events = listener.events.get(timeout=10)
        assert (path, correlation) == ("/hook?a=1", made["id"])
        assert [event["text"] for event in events] == ["hello"]
        sandbox.record.receive("12025550111", "thanks", sandbox.around.clock(), "netsapiens")
        assert len(rows(call)) == 2
        _, _, (event,) = listener.events.get(timeout=10)
        assert (event["direction"], event["text"]) == ("orig", "thanks")
        call("POST", "/subscriptions", {"model": "messagesession", "post-url": f"{listener.url}/sessions"})
        send(call, message="again")
        told = dict([listener.events.get(timeout=10)[::2] for _ in range(2)])
        assert told["/hook?a=1"][0]["text"] == "again"
        assert told["/sessions"][0]["messagesession-last-message"] in ("thanks", "again")
        assert listener.events.empty()
