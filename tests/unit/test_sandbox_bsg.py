"""The BSG stand-in over real HTTP: logging in, campaigns and their messages over time, limits, words and shapes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from dispatcher.sandbox import Sandbox, Settings, base_urls, client_settings

START = 1_772_352_000.0  # 2026-03-01 08:00:00 UTC
A, B, C = "12025550101", "12025550102", "12025550103"
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
    with Sandbox(clock=clock, settings=Settings(failing_share=0, delivery_seconds=8)) as running:
        yield running


@pytest.fixture
def call(sandbox: Sandbox) -> Iterator[Call]:
    with requests.Session() as session:
        url = base_urls(sandbox.url)["bsg"]
        bearer = session.post(url + "/api/auth/login", json={"api_key": "k"}, timeout=10).json()["bearer"]
        session.headers["Authorization"] = f"Bearer {bearer}"

        def called(method: str, path: str, body: object = None, **options: Any) -> requests.Response:
            return session.request(method, f"{url}/api/{path}", json=body, timeout=10, **options)

        yield called


def campaign(*numbers: object, text: str = "hello", **fields: Any) -> dict[str, Any]:
    return {
        "channels": ["sms"],
        "recipients": {"phones": [{"number": number} for number in numbers]},
        "sms": {"sender": "Shop", "text": text},
        **fields,
    }


def send(call: Call, *numbers: object, **fields: Any) -> dict[str, Any]:
    answer = call("POST", "campaigns/send", campaign(*numbers, **fields))
    assert answer.status_code == 200, answer.text
    found = answer.json()["data"]
    assert isinstance(found, dict)
    return found


def messages(call: Call, campaign_id: int, **params: Any) -> list[dict[str, Any]]:
    rows = call("GET", "messages", params={"filter[campaign_id]": campaign_id, **params}).json()["data"]
    assert isinstance(rows, list)
    return rows


def statuses(call: Call, campaign_id: int) -> list[str]:
    return [row["status"] for row in messages(call, campaign_id)]


# --- Being let in -----------------------------------------------------------------------------------------------------


def test_a_token_serves_until_it_expires(sandbox: Sandbox, call: Call, clock: Clock) -> None:
    assert call("GET", "accounts/balance").status_code == 200
    clock.now += 3599
    fresh = call("POST", "auth/refresh").json()["bearer"]
    clock.now += 1
    expired = call("GET", "accounts/balance")
    assert (expired.status_code, expired.json()) == (401, {"code": 401, "message": "Expired JWT Token"})
    assert call("GET", "accounts/balance", headers={"Authorization": f"Bearer: {fresh}"}).status_code == 200


def test_tokens_are_short_lived_when_asked(sandbox: Sandbox, clock: Clock) -> None:
    sandbox.control.configure({"token_seconds": 5})
    url = sandbox.url + "/api/auth/login"
    bearer = requests.post(url, json={"api_key": "k"}, timeout=10).json()["bearer"]
    headers = {"Authorization": f"Bearer {bearer}"}
    for seconds, status in ((4, 200), (1, 401)):
        clock.now += seconds
        found = requests.get(sandbox.url + "/api/accounts/balance", headers=headers, timeout=10)
        assert found.status_code == status


@pytest.mark.parametrize("header", [None, "", "k", "Bearer", "Bearer x.y.z", "Basic eA==", "Bearer a.b"])
def test_without_a_token_nothing_is_done(sandbox: Sandbox, call: Call, header: str | None) -> None:
    answer = call("POST", "campaigns/send", campaign(A), headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.json()["code"] == 401
    assert not sandbox.record.messages


def test_a_key_that_is_not_taken(sandbox: Sandbox) -> None:
    sandbox.control.configure({"api_key": "the-one"})
    url = sandbox.url + "/api/auth/login"
    for body, status in (
        ({"api_key": "the-one"}, 200),
        ({"api_key": "another"}, 401),
        ({"api_key": "bad-one"}, 401),
        ({"api_key": 5}, 422),
        ({}, 422),
    ):
        assert requests.post(url, json=body, timeout=10).status_code == status
    assert requests.get(url, timeout=10).status_code == 405
    assert client_settings(sandbox.url)["bsg"] == {
        "base_url": sandbox.url,
        "api_key": "sandbox",
        "sender": "Dispatcher",
        "time_zone": "UTC",
        "currency": "USD",
    }


# --- Sending ----------------------------------------------------------------------------------------------------------


def test_a_campaign_is_answered_as_documented(call: Call, sandbox: Sandbox) -> None:
    assert send(call, A, int(B)) == {
        "id": 1003,  # the contact book took two ids
        "name": "SMS api campaign / 2026-03-01 08:00:00",
        "sender": "Shop",
        "status": "creation",
        "message_type": "sms",
        "start_at": "2026-03-01 08:00:00",
        "real_start_at": "2026-03-01 08:00:00",
        "finished_at": None,
        "created_at": "2026-03-01 08:00:00",
        "statistics": {"delivered": 0, "sent": 2},
        "calculated_price": 2.0,
        "currency": "USD",
        "alternative_channels": None,
    }
    assert [(message.number, message.text) for message in sandbox.record.messages] == [(A, "hello"), (B, "hello")]
    entry = sandbox.record.requests[-1]
    assert (entry.recipients, entry.refused, entry.segments, entry.sends) == (2, 0, 2, True)
    assert call("GET", "accounts/balance").json() == {"data": {"balance": 999_998.0, "currency": "USD", "credit": 0}}


def test_a_text_each(call: Call, sandbox: Sandbox) -> None:
    rows = [
        {"phone": int(A), "text": "one", "sender": "Shop", "reference_id": "r1"},
        {"phone": int(B), "text": "two" * 100, "sender": "Shop", "transliterate": False},
    ]
    answer = call("POST", "campaigns/sms/send-individual", {"messages": rows, "validity": 24})
    assert answer.json()["data"]["calculated_price"] == 3.0
    assert [(message.number, message.segments) for message in sandbox.record.messages] == [(A, 1), (B, 2)]
    assert [row["validity"] for row in messages(call, answer.json()["data"]["id"])] == [24, 24]
    assert call("POST", "campaigns/sms/send-individual", {"messages": [rows[1]] * 2}).status_code == 422


def test_one_text_by_the_older_call(call: Call) -> None:
    body = {"phones": [{"number": A}], "sender": "Shop", "text": "hi"}
    assert call("POST", "campaigns/sms/send", body).json()["data"]["message_type"] == "sms"


@pytest.mark.parametrize(
    "change",
    [
        {"channels": []},
        {"channels": ["sms", "rcs", "viber"]},
        {"channels": ["fax"]},
        {"channels": ["rcs"]},
        {"channels": "sms"},
        {"recipients": {}},
        {"recipients": {"phones": []}},
        {"recipients": {"phones": [{"number": A}], "groups": [1]}},
        {"recipients": {"phones": [{"number": "12345678"}]}},
        {"recipients": {"phones": [{"number": "+12025550101"}]}},
        {"recipients": {"phones": [{"number": 12345678}]}},
        {"recipients": {"phones": [{"number": A, "reference_id": "not-alphanumeric"}]}},
        {"recipients": {"phones": [{"number": A, "reference_id": "a" * 33}]}},
        {"recipients": {"phones": [{"number": A, "colour": "red"}]}},
        {"sms": {"sender": "Shop", "text": "x" * 766}},
        {"sms": {"sender": "Shop", "text": "ы" * 356}},
        {"sms": {"sender": "Shop", "text": ""}},
        {"sms": {"text": "x"}},
        {"sms": {"sender": "ab", "text": "x"}},
        {"sms": {"sender": "abcdefghijkl", "text": "x"}},
        {"sms": {"sender": "1234567890123456", "text": "x"}},
        {"start_at": "tomorrow"},
        {"start_at": "2026-03-02T08:00:00"},
        {"start_at": "2026-04-01 08:00:01"},
        {"start_at": 1_772_352_000},
        {"validity": 0},
        {"validity": 73},
        {"validity": "24"},
        {"tariff_code": 8},
        {"check_stop_list": "yes"},
        {"colour": "red"},
        {"channels": ["telegram"], "telegram": {"text": "x"}},
        {"channels": ["rcs"], "rcs": {"sender": "agent", "text": "x" * 161}},
        {"channels": ["rcs"], "rcs": {"sender": "agent"}},
    ],
)
def test_what_is_not_as_documented_is_refused_as_a_whole(
    call: Call, sandbox: Sandbox, change: dict[str, Any]
) -> None:
    answer = call("POST", "campaigns/send", {**campaign(A), **change})
    assert answer.status_code == 422
    content = answer.json()
    assert content["message"] == "The given data was invalid."
    assert content["errors"]
    assert not sandbox.record.messages


@pytest.mark.parametrize("text", ["x" * 765, "ы" * 355])
def test_the_longest_texts_are_taken(call: Call, text: str) -> None:
    assert send(call, A, text=text)["id"]


def test_lists_that_are_too_long(call: Call) -> None:
    many = [str(10**14 + at) for at in range(10_001)]
    assert call("POST", "campaigns/send", campaign(*many)).status_code == 422
    rcs = {"channels": ["rcs"], "rcs": {"sender": "agent", "text": "x"}}
    assert call("POST", "campaigns/send", {**campaign(*many[:5001]), **rcs}).status_code == 422
    assert send(call, *many[:5000], **rcs)["message_type"] == "rcs"
    messages = [{"phone": 10**14 + at, "text": "x", "sender": "Shop"} for at in range(10_001)]
    assert call("POST", "campaigns/sms/send-individual", {"messages": messages}).status_code == 422


def test_what_is_no_json_or_no_path(call: Call) -> None:
    assert call("POST", "campaigns/send", data=b"{").status_code == 400
    assert call("GET", "campaigns/send").status_code == 405
    assert call("GET", "campaigns/everything").json() == {"message": "Not found"}
    assert call("GET", "campaigns/7").status_code == 404


def test_the_vendors_client_writes_hours_for_a_time(call: Call) -> None:
    body = {"messages": [{"phone": int(A), "text": "x", "sender": "Shop"}], "start_at": 72}
    assert call("POST", "campaigns/sms/send-individual", body).json()["data"]["status"] == "creation"
    assert call("POST", "campaigns/sms/send-individual", {**body, "start_at": 73}).status_code == 422


def test_a_reference_serves_once(call: Call, sandbox: Sandbox) -> None:
    body = campaign(A, B)
    body["recipients"]["phones"][0]["reference_id"] = "r1"
    assert call("POST", "campaigns/send", body).status_code == 200
    again = call("POST", "campaigns/send", body)
    assert (again.status_code, again.json()) == (
        422,
        {"message": "Duplicate reference_id", "errors": {"reference_id": ["r1"]}},
    )
    individual = {"messages": [{"phone": int(C), "text": "x", "sender": "Shop", "reference_id": "r1"}]}
    assert call("POST", "campaigns/sms/send-individual", individual).status_code == 422
    for phone in body["recipients"]["phones"]:
        phone["reference_id"] = "r2"
    assert call("POST", "campaigns/send", body).status_code == 422  # twice in one request
    assert len(sandbox.record.messages) == 2


def test_an_identical_body_is_throttled_only_when_asked(call: Call, sandbox: Sandbox, clock: Clock) -> None:
    send(call, A)
    send(call, A)
    sandbox.control.configure({"duplicate_body_seconds": 10})
    for seconds, text, status in ((0, "a", 200), (0, "b", 200), (9, "a", 429), (9, "a", 429), (10, "a", 200)):
        clock.now += seconds
        answer = call("POST", "campaigns/send", campaign(A, text=text))
        assert answer.status_code == status
        if status == 429:
            assert answer.json() == {"message": "Too many duplicate request detected"}


def test_a_dry_run_sends_nothing(call: Call, sandbox: Sandbox) -> None:
    assert send(call, A, B, dry_run=True)["calculated_price"] == 2.0
    assert not sandbox.record.messages
    assert call("GET", "contacts").json()["total"] == 0


@pytest.mark.parametrize(("account", "status"), [("locked", 403), ("trial", 422)])
def test_an_account_that_may_not_send(call: Call, sandbox: Sandbox, account: str, status: int) -> None:
    sandbox.control.configure({"account": account})
    assert call("POST", "campaigns/send", campaign(A)).status_code == status
    assert not sandbox.record.messages


def test_want_of_funds_refuses_the_whole(call: Call, sandbox: Sandbox) -> None:
    sandbox.record.set_credits("bsg", 1)
    answer = call("POST", "campaigns/send", campaign(A, B))
    assert (answer.status_code, answer.json()) == (422, {"message": "Not enough funds", "errors": []})
    assert send(call, A)["calculated_price"] == 1.0


def test_a_price(call: Call) -> None:
    body = {"sender": "Shop", "text": "x" * 161, "messages": [{"phone": int(A)}, {"phone": int(B)}]}
    assert call("POST", "campaigns/price", body).json() == {"price": 4.0, "currency": "USD"}
    unknown = call("POST", "campaigns/price", {**body, "tariff_code": 8})
    assert (unknown.status_code, unknown.json()) == (422, {"message": "Tariff was not found", "errors": []})
    assert call("POST", "campaigns/price", {**body, "messages": [{"phone": A}]}).status_code == 422


# --- Over time --------------------------------------------------------------------------------------------------------


def test_a_campaign_and_its_messages_over_time(call: Call, clock: Clock) -> None:
    found = send(call, A, start_at="2026-03-01T09:00:10+01:00")
    steps = [
        (0, "scheduled", "scheduled"),
        (10, "sending", "accepted"),
        (2, "sending", "sending"),
        (2, "done", "sent"),
        (4, "done", "delivered"),
    ]
    for seconds, of_campaign, of_message in steps:
        clock.now += seconds
        assert call("GET", f"campaigns/{found['id']}").json()["data"]["status"] == of_campaign
        assert statuses(call, found["id"]) == [of_message]
    (row,) = messages(call, found["id"])
    assert row == {
        "id": found["id"] + 1,
        "campaign_id": found["id"],
        "reference_id": None,
        "type": "sms",
        "source": "rest",
        "text": "hello",
        "phone": int(A),
        "validity": 72,
        "status": "delivered",
        "amount": {"value": "1.0000000", "currency": "USD"},
        "sender": "Shop",
        "created_at": "2026-03-01 08:00:00",
        "sent_at": "2026-03-01 08:00:12",
        "delivered_at": "2026-03-01 08:00:18",
        "country": None,
        "parts": 1,
    }
    detail = call("GET", f"campaigns/{found['id']}/detail").json()["data"]
    assert detail["statistics"]["delivered"] == 1
    assert (detail["total_messages"], detail["total_phones"], detail["total_price"]) == (1, 1, "1.0000000")
    assert detail["type"] == "sms"


def test_numbers_with_a_fate(call: Call, clock: Clock, sandbox: Sandbox) -> None:
    sandbox.record.opt_out(B, START)
    numbers = [A, B, *(f"120255501{ending}" for ending in (94, 95, 96, 97, 98, 99))]
    found = send(call, *numbers)
    clock.now += 9
    assert statuses(call, found["id"]) == (
        ["delivered", "failed", "failed", "failed", "sent", "undelivered", "undelivered", "failed"]
    )
    ignoring = send(call, B, "12025550199", check_stop_list=False)
    clock.now += 9
    assert statuses(call, ignoring["id"]) == ["delivered", "delivered"]


def test_some_expire_and_some_are_not_delivered(call: Call, clock: Clock, sandbox: Sandbox) -> None:
    sandbox.control.configure({"failing_share": 1})
    found = send(call, *(str(27820000000 + at) for at in range(20)))
    clock.now += 9
    assert set(statuses(call, found["id"])) == {"expired", "undelivered"}


def test_stopping_before_and_after_it_has_gone_out(call: Call, clock: Clock, sandbox: Sandbox) -> None:
    later = send(call, A, B, start_at="2026-03-02 08:00:00")
    assert later["status"] == "scheduled"
    stopped = call("PATCH", f"campaigns/{later['id']}/stop").json()["data"]
    assert (stopped["status"], stopped["real_start_at"], stopped["start_at"]) == (
        "stopped",
        None,
        "2026-03-02 08:00:00",
    )
    assert len(sandbox.record.recalled) == 2
    assert sandbox.record.credits["bsg"] == 1_000_000
    assert statuses(call, later["id"]) == ["failed", "failed"]
    clock.now += 100_000  # a new token is needed by then
    sandbox.control.configure({"token_seconds": 1e9})
    bearer = requests.post(sandbox.url + "/api/auth/login", json={"api_key": "k"}, timeout=10).json()["bearer"]
    headers = {"Authorization": f"Bearer {bearer}"}
    again = call("PATCH", f"campaigns/{later['id']}/stop", headers=headers)
    assert (again.status_code, again.json()) == (422, {"message": "Invalid campaign status", "errors": []})
    answer = call("POST", "campaigns/send", campaign(C), headers=headers).json()["data"]
    clock.now += 3
    half = call("PATCH", f"campaigns/{answer['id']}/stop", headers=headers).json()["data"]
    assert half["status"] == "stopped"
    assert half["real_start_at"] is not None
    assert len(sandbox.record.recalled) == 2  # it was under way


# --- Lists ------------------------------------------------------------------------------------------------------------


def test_messages_are_listed_page_by_page(call: Call) -> None:
    body = campaign(*(str(27820000000 + at) for at in range(40)))
    for at, phone in enumerate(body["recipients"]["phones"]):
        phone["reference_id"] = f"r{at}"
    found = call("POST", "campaigns/send", body).json()["data"]
    other = send(call, A)
    page = call("GET", "messages", params={"page[offset]": 30, "page[limit]": 15, "way": "asc"}).json()
    assert [row["reference_id"] for row in page["data"]] == [*(f"r{at}" for at in range(30, 40)), None]
    assert page["meta"] == {"page": {"total": 41, "limit": 15, "offset": 30}}
    assert len(messages(call, found["id"])) == 40
    backwards = messages(call, found["id"], way="desc", sort="phone")
    assert [row["reference_id"] for row in backwards] == [f"r{at}" for at in range(39, -1, -1)]
    (one,) = call("GET", "messages", params={"filter[reference_id]": "r7"}).json()["data"]
    assert one["phone"] == 27820000007
    assert messages(call, other["id"], **{"filter[reference_id]": "r7"}) == []
    assert messages(call, 5) == []
    assert [row["id"] for row in messages(call, found["id"], **{"filter[id]": one["id"]})] == [one["id"]]
    assert messages(call, found["id"], **{"filter[from]": "2026-03-02 00:00:00"}) == []
    for wrong in ({"page[limit]": 14}, {"page[limit]": 501}, {"page[offset]": -1}, {"filter[campaign_id]": "x"}):
        assert call("GET", "messages", params=wrong).status_code == 422
    assert call("GET", "messages", params={"sort": "colour"}).status_code == 422


def test_campaigns_are_listed(call: Call, clock: Clock) -> None:
    first = send(call, A)
    clock.now += 60
    rcs = send(call, B, channels=["rcs", "sms"], rcs={"sender": "agent", "text": "x"})

    def ids(**params: Any) -> list[int]:
        return [row["id"] for row in call("GET", "campaigns", params=params).json()["data"]]

    assert ids() == [first["id"], rcs["id"]]
    assert ids(way="desc", sort="date") == [rcs["id"], first["id"]]
    assert ids(**{"filter[type]": "rcs"}) == [rcs["id"]]
    assert ids(**{"search[field]": "sender", "search[value]": "Shop"}) == [first["id"]]
    assert ids(**{"search[field]": "taskname", "search[value]": "RCS api"}) == [rcs["id"]]
    assert ids(**{"filter[from]": "2026-03-01 08:01:00"}) == [rcs["id"]]
    assert call("GET", "campaigns", params={"page[limit]": 29}).status_code == 422
    assert call("GET", "campaigns", params={"filter[type]": "fax"}).status_code == 422


def test_campaigns_survive_a_restart_and_not_a_reset(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "record.jsonl"
    options: dict[str, Any] = {"clock": clock, "record_file": file, "settings": Settings(delivery_seconds=8)}

    def campaigns(sandbox: Sandbox) -> list[tuple[int, str]]:
        bearer = requests.post(sandbox.url + "/api/auth/login", json={"api_key": "k"}, timeout=10).json()["bearer"]
        headers = {"Authorization": f"Bearer {bearer}"}
        found = requests.get(sandbox.url + "/api/campaigns", headers=headers, timeout=10).json()["data"]
        if not found:
            for at in (None, "2026-03-02 08:00:00"):
                body = campaign(A, **({} if at is None else {"start_at": at}))
                made = requests.post(sandbox.url + "/api/campaigns/send", headers=headers, json=body, timeout=10)
                stop = f"{sandbox.url}/api/campaigns/{made.json()['data']['id']}/stop"
            requests.patch(stop, headers=headers, timeout=10)
            return campaigns(sandbox)
        return [(row["id"], row["status"]) for row in found]

    with Sandbox(**options) as sandbox:
        before = campaigns(sandbox)
    with Sandbox(**options) as sandbox:
        assert campaigns(sandbox) == before
        assert [status for _, status in before] == ["creation", "stopped"]
        sandbox.record.reset()
        assert len(sandbox.record.messages) == 0
        assert len(campaigns(sandbox)) == 2  # new ones


# --- The rest of the account ------------------------------------------------------------------------------------------


def test_the_contact_book(call: Call) -> None:
    send(call, A, add_to_contact_book=True)
    send(call, B, add_to_contact_book=False)
    (known,) = call("GET", "contacts").json()["data"]
    assert known["phone"] == int(A)
    group = call("POST", "groups", {"name": "List 1"}).json()["data"]
    assert call("POST", "groups", {"name": "List 1"}).json()["message"] == "Contact group is already exists"
    made = call("POST", "contacts", {"phone": int(C), "groups": [group["id"]]})
    assert made.status_code == 201
    again = call("POST", "contacts", {"phone": int(C)})
    assert (again.status_code, again.json()["message"]) == (422, "Phone number is already exist in contact book")
    contact = made.json()["data"]
    assert call("POST", "groups/attach", {"contacts": [known["id"]], "groups": [group["id"]]}).status_code == 200
    assert call("GET", f"groups/{group['id']}").json()["data"]["items"] == 2
    by_group = call("GET", "contacts", params={"groups[]": group["id"]}).json()
    assert by_group["total"] == 2
    to_group = call("POST", "campaigns/send", {**campaign(A), "recipients": {"groups": [group["id"]]}}).json()["data"]
    assert {row["phone"] for row in messages(call, to_group["id"])} == {int(A), int(C)}
    assert call("POST", "groups/detach", {"contacts": [known["id"]], "groups": [group["id"]]}).status_code == 200
    field = call("POST", "contacts/fields", {"name": "town", "type": "text"}).json()["data"]
    assert call("PATCH", f"contacts/fields/{field['id']}", {"name": "city"}).json()["data"]["name"] == "city"
    changed = call(
        "PUT", f"contacts/{contact['id']}", {"phone": int(B), "fields": [{"id": field["id"], "value": "x"}]}
    )
    assert changed.json()["data"]["fields"] == {str(field["id"]): "x"}
    assert call("GET", f"contacts/{contact['id']}").json()["data"]["phone"] == int(B)
    search = {"search[field]": "phone", "search[operator]": "like", "search[value]": "0102"}
    assert [row["id"] for row in call("GET", "contacts/search", params=search).json()["data"]] == [contact["id"]]
    named = {"search[field]": "name", "search[operator]": "=", "search[value]": "List 1"}
    assert len(call("GET", "groups/search", params=named).json()["data"]) == 1
    assert call("POST", "contacts/fields/delete", {"ids": [field["id"]]}).status_code == 204
    assert call("GET", "contacts/fields").json() == {"data": []}
    assert call("DELETE", f"contacts/{contact['id']}").status_code == 204
    assert call("GET", f"contacts/{contact['id']}").json() == {"message": "Invalid contact id", "errors": []}
    assert call("PUT", f"groups/{group['id']}", {"name": "List 2"}).json()["data"]["name"] == "List 2"
    assert call("DELETE", f"groups/{group['id']}").status_code == 204
    assert call("GET", "groups").json() == {"data": [], "total": 0}
    assert call("POST", "contacts", {"phone": C}).status_code == 422


def test_the_stop_list(call: Call, sandbox: Sandbox) -> None:
    sandbox.record.opt_out(A, START)
    body = {"phones": [int(B), int(C)], "types": ["sms", "rcs"]}
    assert len(call("POST", "stoplist/attach", body).json()["data"]) == 2
    assert set(sandbox.record.optouts) == {A, B, C}
    call("POST", "stoplist/attach", {"phones": [27820000000], "types": ["viber"]})
    assert call("GET", "stoplist").json()["total"] == 4
    listed = call("GET", "stoplist", params={"type": "sms"}).json()
    assert [row["phone"] for row in listed["data"]] == [int(A), int(B), int(C)]
    assert listed["data"][0] == {
        "id": listed["data"][0]["id"],
        "phone": int(A),
        "created_at": "2026-03-01 08:00:00",
        "sms_stoplist": True,
        "viber_stoplist": False,
        "rcs_stoplist": False,
    }
    search = {"search[field]": "phone", "search[operator]": "=", "search[value]": B}
    (found,) = call("GET", "stoplist/search", params=search).json()["data"]
    assert call("POST", "stoplist/detach", {"ids": [found["id"]], "types": ["sms"]}).status_code == 200
    assert set(sandbox.record.optouts) == {A, C}
    assert call("POST", "stoplist/attach", {"phones": [int(B)] * 1001, "types": ["sms"]}).status_code == 422
    assert call("GET", "stoplist", params={"type": "fax"}).status_code == 422


def test_senders_and_tariffs(call: Call) -> None:
    assert call("GET", "senders").status_code == 422
    assert call("GET", "senders", params={"type": "sms"}).json()["data"][0]["sender"] == "Dispatcher"
    assert call("GET", "senders/requests/sms").json()["data"] == []
    assert call("GET", "accounts/tariff").json()["data"][0]["code"] == 9


@pytest.mark.parametrize(("status", "words"), [(429, "Too many duplicate request detected"), (500, "Internal")])
def test_faults_are_told_in_the_vendors_shape(call: Call, sandbox: Sandbox, status: int, words: str) -> None:
    sandbox.fault("429" if status == 429 else "500", provider="bsg")
    answer = call("POST", "campaigns/send", campaign(A))
    assert answer.status_code == status
    assert answer.json()["message"].startswith(words)
