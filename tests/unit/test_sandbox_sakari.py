"""The Sakari stand-in over real HTTP: its tokens, templates, contacts, words and shapes."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from dispatcher.sandbox import Sandbox, Settings, base_urls, client_settings
from dispatcher.sandbox.sakari import ACCOUNT

START = datetime(2026, 3, 1, 10, 0, tzinfo=UTC).timestamp()
A, B, C = "+12025550110", "+12025550111", "+27825550112"
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


def token(sandbox: Sandbox, secret: str = "a-secret") -> requests.Response:
    credentials = {"grant_type": "client_credentials", "client_id": "a-client", "client_secret": secret}
    return requests.post(base_urls(sandbox.url)["sakari"] + "/oauth2/token", json=credentials, timeout=10)


@pytest.fixture
def call(sandbox: Sandbox) -> Iterator[Call]:
    with requests.Session() as session:
        session.headers["Authorization"] = "Bearer " + token(sandbox).json()["access_token"]

        def called(method: str, path: str, body: object = None, **options: Any) -> requests.Response:
            path = path if path.startswith("/v1/") else f"/v1/accounts/{ACCOUNT}{path}"
            return session.request(method, base_urls(sandbox.url)["sakari"] + path, json=body, timeout=10, **options)

        yield called


def to(*numbers: str, **fields: Any) -> dict[str, Any]:
    return {"contacts": [{"mobile": {"number": number, "country": "US"}} for number in numbers], **fields}


def send(call: Call, *numbers: str, **fields: Any) -> dict[str, Any]:
    answer = call("POST", "/messages", {"template": "hello", **to(*numbers), **fields})
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert isinstance(data, dict)
    return data


def texts(sandbox: Sandbox) -> list[str]:
    return [message.text for message in sandbox.record.messages]


def assert_error(answer: requests.Response, status: int, code: str | None = None) -> None:
    assert answer.status_code == status
    content = answer.json()
    assert content.keys() == {"success", "error"}
    assert content["success"] is False
    assert content["error"].keys() == {"code", "message"}
    assert code in (None, content["error"]["code"])


# --- Tokens -----------------------------------------------------------------------------------------------------------


def test_what_a_client_needs(sandbox: Sandbox) -> None:
    settings = client_settings(sandbox.url)["sakari"]
    assert settings.keys() == {"base_url", "client_id", "client_secret", "account_id"}
    assert settings["base_url"] == sandbox.url


def test_a_token_lasts_as_long_as_the_settings_say(call: Call, sandbox: Sandbox, clock: Clock) -> None:
    sandbox.control.configure({"token_seconds": 60})
    answer = token(sandbox).json()
    assert answer.keys() == {"access_token", "token_type"}
    headers = {"Authorization": f"bearer {answer['access_token']}"}
    assert call("GET", "/contacts", headers=headers).status_code == 200
    clock.now += 60
    assert_error(call("GET", "/contacts", headers=headers), 401)
    assert call("GET", "/contacts").status_code == 200


@pytest.mark.parametrize(
    "header", ["", "Bearer ", "Bearer x", "Bearer a.b.c", "Basic {token}", "{token}", "Bearer {token}x"]
)
def test_without_a_token_nothing_is_done(call: Call, sandbox: Sandbox, header: str) -> None:
    good = token(sandbox).json()["access_token"]
    headers = {"Authorization": header.replace("{token}", good)}
    assert_error(call("POST", "/messages", {"template": "x", **to(A)}, headers=headers), 401)
    assert not sandbox.record.messages


def test_whom_it_lets_in(call: Call, sandbox: Sandbox) -> None:
    assert_error(token(sandbox, "bad-secret"), 401)
    sandbox.control.configure({"api_key": "the-secret"})
    assert_error(token(sandbox), 401)
    assert token(sandbox, "the-secret").status_code == 200
    url = sandbox.url + "/oauth2/token"
    assert_error(requests.get(url, timeout=10), 405)
    assert_error(requests.post(url, json={"grant_type": "password"}, timeout=10), 400)
    assert_error(requests.post(url, data={"grant_type": "client_credentials"}, timeout=10), 415)
    assert_error(call("GET", "/v1/accounts/another/contacts"), 403)
    sandbox.control.configure({"account": "locked"})
    assert_error(call("GET", "/contacts"), 403)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v1/tools/nothing", 404),
        ("DELETE", "/messages", 405),
        ("PUT", "/messages/1", 405),
        ("PUT", "/contacts", 405),
        ("GET", "/v1/tools/sharefile", 405),
        ("GET", "/messages/77", 404),
        ("GET", "/messages/x", 404),
        ("GET", "/contacts/x", 404),
        ("DELETE", "/templates/x", 404),
        ("PUT", "/campaigns/x", 404),
        ("GET", "/conversations/x", 404),
        ("PUT", "/conversations/x/close", 404),
        ("DELETE", "/webhooks/x", 404),
    ],
)
def test_what_is_not_there(call: Call, method: str, path: str, status: int) -> None:
    assert_error(call(method, path), status)


# --- Messages ---------------------------------------------------------------------------------------------------------


def test_the_answer_to_a_submission(call: Call, sandbox: Sandbox) -> None:
    data = send(call, A, "+12025550199", "202-555-0111")
    assert data.keys() == {"jobId", "messages", "requested", "valid", "invalid", "estimatedPrice"}
    assert (data["requested"], data["valid"], data["estimatedPrice"]) == (3, 2, 2)
    first, second = data["messages"]
    assert first == {
        "id": first["id"],
        "contact": {"id": first["contact"]["id"], "mobile": {"number": A, "country": "US"}},
        "conversation": {"id": first["conversation"]["id"]},
        "message": "hello",
        "template": "hello",
        "outgoing": True,
        "phoneNumber": "+12025550100",
        "price": 1,
        "segments": 1,
        "status": "New",
        "media": [],
        "created": {"at": "2026-03-01T10:00:00.000Z"},
        "updated": {"at": "2026-03-01T10:00:00.000Z"},
    }
    assert second["contact"]["mobile"]["number"] == B
    assert data["invalid"] == [
        {
            "mobile": {"number": "+12025550199", "country": "US"},
            "valid": False,
            "error": {"code": "CONT-010", "description": "Contact has requested no further communication"},
        }
    ]
    assert [message.number for message in sandbox.record.messages] == [A[1:], B[1:]]
    entry = sandbox.record.requests[-1]
    assert (entry.recipients, entry.refused, entry.segments, entry.sends) == (3, 1, 3, True)


@pytest.mark.parametrize(
    ("number", "country", "code"),
    [
        ("+12025550199", "US", "CONT-010"),
        ("+12025550198", "US", "CONT-001"),
        ("+12025550194", "US", "MSG-020"),
        ("+1202", "US", "CONT-001"),
        ("12", "US", "CONT-001"),
        ("nonsense", "US", "CONT-001"),
        ("", "", "CONT-001"),
        (A, "USA", "CONT-001"),
        (A, "", None),
        ("(202) 555-0110", "", None),
        ("0825550112", "ZA", None),
        ("+999999999999999", "", None),
    ],
)
def test_a_number_is_refused_in_the_vendors_code(call: Call, number: str, country: str, code: str | None) -> None:
    data = send(call, contacts=[{"mobile": {"number": number, "country": country}}])
    assert [row["error"]["code"] for row in data["invalid"]] == ([] if code is None else [code])
    assert data["valid"] == (code is None)


def test_opt_outs_credit_and_length(call: Call, sandbox: Sandbox) -> None:
    sandbox.record.opt_out(A[1:], START)
    sandbox.record.set_credits("sakari", 3)
    data = send(call, A, B, C, template="x" * 161)
    assert [row["error"]["code"] for row in data["invalid"]] == ["CONT-010", "ACCT-006"]
    assert sandbox.record.credits["sakari"] == 1
    data = send(call, B, template="x" * 1601)
    assert [row["error"]["code"] for row in data["invalid"]] == ["MSG-007"]
    assert send(call, B, template="{{{nobody}}}")["invalid"][0]["error"]["code"] == "MSG-007"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Hi {{firstName}}", "Hi A&amp;B"),
        ("Hi {{{firstName}}} {{& firstName }}", "Hi A&B A&B"),
        ("{{{contact.firstName}}}-{{{ contact.attributes.city }}}", "A&B-X {{{firstName}}}"),
        ("{{{attributes.city}}}", "X {{{firstName}}}"),  # a value is not rendered again
        ("{{{city}}}{{attributes}}{{attributes.none}}.", "."),
        ("{{attributes.number}} {x} }}", "7 {x} }}"),
        ("{{{mobile.number}}}", A),
    ],
)
def test_templates_are_mustache(call: Call, sandbox: Sandbox, template: str, text: str) -> None:
    attributes = {"city": "X {{{firstName}}}", "number": 7}
    contact = {"mobile": {"number": A, "country": "US"}, "firstName": "A&B", "attributes": attributes}
    assert send(call, contacts=[contact], template=template)["messages"][0]["message"] == text
    assert texts(sandbox) == [text]


@pytest.mark.parametrize("template", ["{{#a}}x{{/a}}", "{{}}", "{{a b}}", "{{a", "{{{a}}", "{{> a}}", "{{! a}}"])
def test_a_template_with_more_than_fields_is_refused(call: Call, sandbox: Sandbox, template: str) -> None:
    assert_error(call("POST", "/messages", to(A, template=template)), 400)
    assert_error(call("POST", "/templates", {"name": "x", "template": template}), 400)
    assert texts(sandbox) == []


def test_a_contact_that_is_known_fills_in_what_is_not_given(call: Call, sandbox: Sandbox) -> None:
    call("POST", "/contacts", {"firstName": "Ann", "mobile": {"number": A, "country": "US"}})
    send(call, A, B, template="Hi {{firstName}}.")
    assert texts(sandbox) == ["Hi Ann.", "Hi ."]


def test_whom_a_message_may_be_for(call: Call, sandbox: Sandbox) -> None:
    conversation = send(call, A)["messages"][0]["conversation"]["id"]
    call("POST", "/contacts", {"mobile": {"number": B, "country": "US"}, "tags": [{"tag": "vip"}]})
    data = send(call, C, conversations=[conversation], filters={"tags": ["vip"]})
    assert [row["contact"]["mobile"]["number"] for row in data["messages"]] == [C, A, B]
    assert_error(call("POST", "/messages", {"template": "x", "conversations": ["none"]}), 400, "CONV-001")
    assert_error(call("POST", "/messages", {"template": "x", "filters": {"tags": ["nobody"]}}), 400)


def test_media(call: Call, sandbox: Sandbox) -> None:
    data = send(call, A, type="MMS", template="", media=[{"url": "https://files.example/1"}])
    assert data["messages"][0]["media"] == [{"url": "https://files.example/1"}]
    assert (sandbox.record.messages[0].details or {})["type"] == "MMS"
    assert_error(call("POST", "/messages", to(A, template="x", type="MMS")), 400)


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        {},
        {"template": "x"},
        {"template": "x", "contacts": []},
        to(A),
        to(A, template=""),
        to(A, template=5),
        to(A, template="x", type="FAX"),
        to(A, template="x", media=[{"url": "file:///x"}]),
        to(A, template="x", phoneNumberFilter={"group": {}}),
        {"template": "x", "contacts": [{"mobile": A}]},
        {"template": "x", "contacts": [{"mobile": {"number": 12025550110}}]},
        {"template": "x", "contacts": [{"mobile": {"number": A}, "tags": ["vip"]}]},
    ],
)
def test_a_malformed_submission_is_refused_whole(call: Call, sandbox: Sandbox, body: Any) -> None:
    raw = body if isinstance(body, str) else json.dumps(body)
    answer = call("POST", "/messages", headers={"Content-Type": "application/json"}, data=raw)
    assert_error(answer, 400)
    assert A not in answer.text
    assert texts(sandbox) == []
    assert_error(call("POST", "/messages", headers={"Content-Type": "text/plain"}, data=raw), 415)


def test_what_the_vendor_does_not_know_is_ignored(call: Call, sandbox: Sandbox) -> None:
    data = send(call, A, extra={"a": 1}, phoneNumberFilter={"group": {"id": "g"}}, conversationStrategy="reuse")
    assert data["valid"] == 1


def test_a_large_job_lists_some_of_its_messages(call: Call, sandbox: Sandbox) -> None:
    data = send(call, *[f"+2782{number:07}" for number in range(1001)])
    assert (len(data["messages"]), data["requested"], data["valid"]) == (1000, 1001, 1001)
    assert len(sandbox.record.messages) == 1001


def test_a_status_evolves_with_the_clock(call: Call, clock: Clock) -> None:
    rows = send(call, A, "+12025550197", "+12025550196", "+12025550195")["messages"]

    def states() -> list[tuple[str, str | None]]:
        found = [call("GET", f"/messages/{row['id']}").json()["data"] for row in rows]
        return [(message["status"], message.get("error", {}).get("code")) for message in found]

    assert states() == [("Queued", None)] * 4
    clock.now += 1
    assert states() == [("Sent", None)] * 4
    clock.now += 3
    assert states() == [("Delivered", None), ("Undelivered", "MSG-019"), ("Sent", None), ("Error", "MSG-008")]


def test_messages_are_listed_the_newest_first(call: Call, sandbox: Sandbox, clock: Clock) -> None:
    first = send(call, A, B)["messages"]
    clock.now += 1
    sandbox.record.receive(A[1:], "yes", clock.now, "sakari")
    clock.now += 1
    send(call, C)
    content = call("GET", "/messages?limit=3").json()
    assert content["pagination"] == {"offset": 0, "limit": 3, "totalCount": 4}
    rows = content["data"]
    assert [(row["contact"]["mobile"]["number"], row["outgoing"]) for row in rows] == [
        (C, True),
        (A, False),
        (B, True),
    ]
    assert (rows[1]["message"], rows[1]["status"]) == ("yes", "Received")
    assert call("GET", f"/messages/{rows[1]['id']}").json()["data"] == rows[1]
    assert [row["id"] for row in call("GET", "/messages?limit=3&offset=3").json()["data"]] == [first[0]["id"]]
    for name, value in (
        ("contactId", first[0]["contact"]["id"]),
        ("conversationId", first[0]["conversation"]["id"]),
    ):
        found = call("GET", f"/messages?{name}={value}").json()["data"]
        assert [(row["message"], row["outgoing"]) for row in found] == [("yes", False), ("hello", True)]


@pytest.mark.parametrize("path", ["/messages", "/contacts", "/templates", "/campaigns", "/conversations"])
def test_a_page_out_of_bounds_is_refused(call: Call, path: str) -> None:
    for query in ("offset=-1", "offset=x", "limit=0", "limit=101", "limit="):
        assert_error(call("GET", f"{path}?{query}"), 400)
    assert call("GET", path).json()["pagination"] == {"offset": 0, "limit": 10, "totalCount": 0}


# --- What is kept -----------------------------------------------------------------------------------------------------


def test_how_contacts_are_merged(call: Call) -> None:
    mobile = {"number": A, "country": "US"}
    first = {
        "firstName": "Ann",
        "email": "a@x.example",
        "mobile": mobile,
        "tags": [{"tag": "a"}],
        "attributes": {"x": "1"},
    }
    second = {"firstName": "Anna", "mobile": mobile, "tags": [{"tag": "b"}], "attributes": {"y": "2"}}
    for strategy, names, tags, attributes in (
        ("append", ("Anna", "a@x.example"), ["a", "b"], {"x": "1", "y": "2"}),
        ("core", ("Ann", "a@x.example"), ["a"], {"x": "1"}),
        ("remove", ("Anna", None), ["b"], {"y": "2"}),
    ):
        (kept,) = call("POST", "/contacts?mergeStrategy=remove", first).json()["data"]
        answer = call("POST", f"/contacts?mergeStrategy={strategy}", first if strategy == "core" else second)
        assert answer.status_code == 201
        (merged,) = answer.json()["data"]
        assert merged["id"] == kept["id"]
        assert (merged["firstName"], merged.get("email")) == names
        assert [tag["tag"] for tag in merged["tags"]] == tags
        assert merged["attributes"] == attributes
    assert_error(call("POST", "/contacts?mergeStrategy=other", first), 400)
    assert_error(call("POST", "/contacts", {"mobile": {"number": "12"}}), 400, "CONT-001")
    assert_error(call("POST", "/contacts", {"firstName": "Ann"}), 400, "CONT-001")


def test_a_contact_can_be_changed(call: Call) -> None:
    (kept,) = call("POST", "/contacts", {"mobile": {"number": A, "country": "US"}}).json()["data"]
    path = f"/contacts/{kept['id']}"
    changed = call("PUT", path, {"lastName": "Other", "mobile": {"number": B, "country": "US"}}).json()["data"]
    assert (changed["lastName"], changed["mobile"]["number"]) == ("Other", B)
    assert call("GET", "/contacts?mobile=0111").json()["data"] == [changed]
    assert call("POST", "/contacts", {"mobile": {"number": A}}).json()["data"][0]["id"] != kept["id"]
    assert_error(call("PUT", path, {"mobile": {"number": "12"}}), 400, "CONT-001")
    assert call("DELETE", path).json() == {"success": True}
    assert_error(call("GET", path), 404)


def test_contacts_are_uploaded_as_csv(call: Call) -> None:
    def uploaded(content: str, strategy: str = "append") -> requests.Response:
        headers = {"Content-Type": "text/csv"}
        return call("POST", f"/contacts?mergeStrategy={strategy}", data=content.encode(), headers=headers)

    content = (
        f'country,firstName,mobile,tags,note\r\nUS,Ann,{A},"a | b","one,\n""two"""\r\nUS,,{B},,\r\nUS,Bad,12,a,\r\n'
    )
    answer = uploaded(content)
    assert answer.status_code == 201
    data = answer.json()["data"]
    assert {name: data[name] for name in ("submitted", "success", "inserted", "updated")} == {
        "submitted": 3,
        "success": 2,
        "inserted": 2,
        "updated": 0,
    }
    assert [row["error"]["code"] for row in data["errors"]] == ["CONT-001"]
    ann = data["contacts"][0]
    assert (ann["firstName"], [tag["tag"] for tag in ann["tags"]]) == ("Ann", ["a", "b"])
    assert ann["attributes"] == {"note": 'one,\n"two"'}
    assert uploaded(content).json()["data"]["updated"] == 2
    for wrong in ("", "name\r\nAnn\r\n", f"country,mobile\r\nUS,{A},more\r\n", f'country,mobile\r\nUS,"{A}'):
        assert_error(uploaded(wrong), 400)


def test_templates_and_campaigns(call: Call, sandbox: Sandbox) -> None:
    created = call("POST", "/templates", {"name": "Hello", "template": "Hi {{firstName}}"})
    assert created.status_code == 201
    (template,) = created.json()["data"]  # K: in a list
    assert template == {"id": template["id"], "name": "Hello", "type": "SMS", "template": "Hi {{firstName}}"}
    assert call("GET", "/templates?name=hell").json()["data"] == [template]
    assert call("GET", "/templates?name=other").json()["data"] == []
    body = {"name": "One", "trigger": {"code": "M"}, "filters": {"tags": ["vip"]}, "template": "x"}
    campaign = call("POST", "/campaigns", body).json()["data"]
    assert call("GET", f"/campaigns/{campaign['id']}").json()["data"] == campaign
    assert texts(sandbox) == []  # it waits
    for wrong in (
        {},
        {**body, "trigger": {"code": "X"}},
        {**body, "template": ""},
        {**body, "filters": {"tags": "vip"}},
    ):
        assert_error(call("POST", "/campaigns", wrong), 400)


def test_a_closed_conversation_is_followed_by_another(call: Call) -> None:
    first = send(call, A)["messages"][0]["conversation"]["id"]
    assert send(call, A)["messages"][0]["conversation"]["id"] == first
    closed = call("PUT", f"/conversations/{first}/close").json()["data"]
    assert (closed["closed"], closed["phoneNumber"]["active"]) == (True, True)
    assert send(call, A)["messages"][0]["conversation"]["id"] != first
    assert call("GET", "/conversations").json()["pagination"]["totalCount"] == 2


def test_webhooks(call: Call) -> None:
    url = "https://hooks.example/x?y=z"
    created = call("POST", "/webhooks", {"url": url, "eventTypes": ["message-status"]})
    assert (created.status_code, created.json()["data"]) == (200, {"url": url, "eventTypes": ["message-status"]})
    for wrong in ({}, {"url": "no"}, {"url": url, "eventTypes": ["other"]}):
        assert_error(call("POST", "/webhooks", wrong), 400)
    assert call("GET", "/webhooks").json()["data"] == [created.json()["data"]]
    removed = call("DELETE", "/webhooks/https%3A%2F%2Fhooks.example%2Fx%3Fy%3Dz")
    assert (removed.status_code, removed.content) == (204, b"")
    assert call("GET", "/webhooks").json()["data"] == []


def test_files(call: Call) -> None:
    plain = call("POST", "/v1/tools/sharefile", data=b"x", headers={"Content-Type": "application/octet-stream"})
    form = call("POST", "/v1/tools/sharefile", files={"media": ("x.png", b"x", "image/png")})
    assert [answer.json()["data"]["link"] for answer in (plain, form)] == [
        "https://files.example/1",
        "https://files.example/2",
    ]
    assert_error(call("POST", "/v1/tools/sharefile", files={"other": ("x.png", b"x", "image/png")}), 400)
    assert_error(call("POST", "/v1/tools/sharefile", {"media": "x"}), 415)


# --- The sandbox itself -----------------------------------------------------------------------------------------------


def test_a_reset_forgets_what_is_kept(call: Call, sandbox: Sandbox) -> None:
    send(call, A)
    sandbox.record.reset()
    for path in ("/contacts", "/conversations", "/messages"):
        assert call("GET", path).json()["pagination"]["totalCount"] == 0


def test_messages_survive_a_restart(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "record"
    with Sandbox(clock=clock, record_file=file, settings=Settings(delivery_seconds=0, failing_share=0)) as sandbox:
        headers = {"Authorization": "Bearer " + token(sandbox).json()["access_token"]}
        url = f"/v1/accounts/{ACCOUNT}/messages"
        body = to(A, template="{{{firstName}}}x")
        requests.post(sandbox.url + url, json=body, headers=headers, timeout=10)
        before = requests.get(sandbox.url + url, headers=headers, timeout=10).json()["data"]
    with Sandbox(clock=clock, record_file=file, settings=Settings(delivery_seconds=0, failing_share=0)) as sandbox:
        assert requests.get(sandbox.url + url, headers=headers, timeout=10).json()["data"] == before
    assert before[0]["status"] == "Delivered"


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 429, 500, 503])
def test_a_refusal_is_in_the_vendors_shape(call: Call, sandbox: Sandbox, status: int) -> None:
    sandbox.fault("refused", provider="sakari", status=status)
    assert_error(call("POST", "/messages", to(A, template="x")), status)
