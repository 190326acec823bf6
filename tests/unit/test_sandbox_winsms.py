"""The WinSMS stand-in over real HTTP: its endpoints, limits, words and shapes."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import requests

from dispatcher.sandbox import Sandbox, Settings, base_urls
from dispatcher.sandbox.counting import segments

START = datetime(2026, 3, 1, 10, 0, tzinfo=timezone(timedelta(hours=2))).timestamp()
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
        session.headers["AUTHORIZATION"] = "a-key"

        def called(method: str, path: str, body: object = None, **options: Any) -> requests.Response:
            url = base_urls(sandbox.url)["winsms"] + path
            return session.request(method, url, json=body, timeout=10, **options)

        yield called


def one(*numbers: str, text: str = "hello", **fields: Any) -> dict[str, Any]:
    return {"message": text, "recipients": [{"mobileNumber": number} for number in numbers], **fields}


def send(call: Call, *numbers: str, **fields: Any) -> list[dict[str, Any]]:
    answer = call("POST", "/sms/outgoing/send", one(*numbers, **fields))
    assert answer.status_code == 200
    rows = answer.json()["recipients"]
    assert isinstance(rows, list)
    return rows


def state(call: Call, *ids: int) -> list[Any]:
    rows = call("POST", "/sms/outgoing/status", list(ids)).json()["messageStatuses"]
    return [(row["statusDelivered"], row["statusErrorCode"], row["statusTime"]) for row in rows]


def test_an_accepted_recipient_has_an_id_and_a_cost(call: Call) -> None:
    body = one("27821230001", "27821230002")
    body["recipients"][0]["clientMessageId"] = "row-1"
    answer = call("POST", "/sms/outgoing/send", body)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    content = answer.json()
    assert (content["statusCode"], content["timeStamp"], content["version"]) == (200, "20260301100000000", "1.0")
    assert content["recipients"] == [
        {
            "accepted": True,
            "acceptError": "",
            "apiMessageId": 1001,
            "clientMessageId": "row-1",
            "creditCost": 1,
            "mobileNumber": "27821230001",
            "newCreditBalance": 999_999,
            "scheduledTime": None,
        },
        {
            "accepted": True,
            "acceptError": "",
            "apiMessageId": 1002,
            "clientMessageId": None,
            "creditCost": 1,
            "mobileNumber": "27821230002",
            "newCreditBalance": 999_998,
            "scheduledTime": None,
        },
    ]


def test_many_texts_go_in_one_request(call: Call, sandbox: Sandbox) -> None:
    body = {"messages": [one("27821230001", text="first"), one("27821230002", "1", text="second")]}
    messages = call("POST", "/sms/outgoing/sendmulti", body).json()["messages"]
    assert [message["message"] for message in messages] == ["first", "second"]
    assert [[row["acceptError"] for row in message["recipients"]] for message in messages] == [[""], ["", "BADDEST"]]
    assert [(m.number, m.text) for m in sandbox.record.messages] == [
        ("27821230001", "first"),
        ("27821230002", "second"),
    ]
    (entry,) = sandbox.record.requests
    assert (entry.recipients, entry.refused, entry.segments, entry.sends) == (3, 1, 3, True)


@pytest.mark.parametrize(
    ("number", "word"),
    [
        ("12025550199", "OPTEDOUT"),
        ("12025550198", "BADDEST"),
        ("12025550194", "WASPADNC"),
        ("+27821230001", "BADDEST"),
        ("1234567", "BADDEST"),
        ("1234567890123456", "BADDEST"),
        ("0821230001", "BADDEST"),
        ("", "BADDEST"),
        ("12025550197", ""),
        ("12025550196", ""),
        ("12025550195", ""),
        ("12025550100", ""),
        ("22025550199", ""),
        ("12345678", ""),
        ("123456789012345", ""),
    ],
)
def test_a_number_is_refused_in_the_vendors_word(call: Call, number: str, word: str) -> None:
    (row,) = send(call, number)
    assert row["acceptError"] == word
    assert row["accepted"] is (word == "")
    assert (row["apiMessageId"] is None) is (word != "")
    assert (row["creditCost"] is None) is (word != "")


@pytest.mark.parametrize(
    ("text", "most", "word"),
    [
        ("a" * 160, None, ""),
        ("a" * 161, None, "TOOLONG"),
        ("a" * 161, 2, ""),
        ("a" * 918, 6, ""),
        ("a" * 919, 6, "TOOLONG"),
        ("€" * 80, 1, ""),
        ("€" * 81, 1, "TOOLONG"),
        ("ж" * 70, 1, ""),
        ("ж" * 71, 1, "TOOLONG"),
    ],
)
def test_a_text_may_take_as_many_segments_as_were_allowed(call: Call, text: str, most: int | None, word: str) -> None:
    fields = {} if most is None else {"maxSegments": most}
    assert [row["acceptError"] for row in send(call, "27821230001", text=text, **fields)] == [word]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 1),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 152, 2),  # 76 escaped pairs a part: one septet of each 153 stays empty
        ("€" * 153, 3),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        ("😀" * 67, 3),  # 33 surrogate pairs a part
        ("a'-b^\\]", 1),
    ],
)
def test_segments(text: str, count: int) -> None:
    assert segments(text) == count


def test_credits_are_taken_by_the_segment_until_there_are_none(call: Call, sandbox: Sandbox) -> None:
    sandbox.record.set_credits("winsms", 5)
    rows = send(call, "27821230001", "27821230002", "27821230003", text="a" * 161, maxSegments=2)
    assert [row["acceptError"] for row in rows] == ["", "", "INSUFFICIENT CREDITS"]
    assert [row["newCreditBalance"] for row in rows] == [3, 1, 1]
    assert call("GET", "/credits/balance").json()["creditBalance"] == 1


@pytest.mark.parametrize(("account", "word"), [("locked", "ACCOUNTLOCKED"), ("trial", "TRIALNOT2SELF")])
def test_an_account_can_be_locked_or_on_trial(call: Call, sandbox: Sandbox, account: str, word: str) -> None:
    sandbox.control.configure({"account": account})
    assert [row["acceptError"] for row in send(call, "27821230001")] == [word]


def test_a_status_evolves_with_the_clock(call: Call, clock: Clock) -> None:
    rows = send(call, "27821230001", "27821230002", "12025550197", "12025550196", "12025550195")
    ids = [row["apiMessageId"] for row in rows]
    assert state(call, *ids) == [(False, "INQUEUE", "202603011000")] * 5
    clock.now += 1
    assert state(call, *ids) == [(False, "SENT", "202603011000")] * 5
    clock.now += 59
    assert [found[:2] for found in state(call, *ids)] == [
        (True, 0),
        (True, ""),
        (False, "FAILED"),
        (False, "SENT"),
        (False, "SENDINGFAILED"),
    ]
    clock.now += 91 * 86400
    assert state(call, ids[0]) == [(False, "NOTFOUND", "")]


def test_an_id_that_is_not_known_is_not_found(call: Call) -> None:
    answer = call("POST", "/sms/outgoing/status", [7]).json()
    assert answer["messageStatuses"] == [
        {
            "apiMessageId": 7,
            "creditCost": 0,
            "mobileNumber": "",
            "statusDelivered": False,
            "statusErrorCode": "NOTFOUND",
            "statusTime": "",
        }
    ]


def test_a_small_share_fails_and_always_the_same_ones(call: Call, sandbox: Sandbox, clock: Clock) -> None:
    sandbox.control.configure({"failing_share": 0.1, "delivery_seconds": [0, 0]})
    numbers = [str(27_821_230_000 + n) for n in range(1000)]
    found = []
    for _ in range(2):
        ids = [row["apiMessageId"] for row in send(call, *numbers)]
        found.append([code for _, code, _ in state(call, *ids)])
    failed = [[n for n, code in enumerate(codes) if code == "FAILED"] for codes in found]
    assert failed[0] == failed[1]
    assert 70 <= len(failed[0]) <= 130


def test_a_scheduled_message_waits_for_its_time(call: Call, clock: Clock, sandbox: Sandbox) -> None:
    rows = send(call, "27821230001", "27821230002", scheduledTime="202603011005")
    assert [row["scheduledTime"] for row in rows] == ["202603011005"] * 2
    first = rows[0]["apiMessageId"]
    listed = call("GET", "/sms/scheduled").json()
    assert listed["resultsTotalAvailable"] == 2
    assert listed["scheduledMessages"][0] == {
        "apiMessageId": first,
        "creditCost": 1,
        "mobileNumber": "27821230001",
        "scheduledSendTime": "202603011005",
        "submitTime": "202603011000",
    }
    assert state(call, first) == [(False, "INQUEUE", "202603011000")]
    assert sandbox.record.summary(clock.now)["winsms"]["scheduled"] == 2
    clock.now += 304
    assert call("GET", "/sms/scheduled").json()["scheduledMessages"] == []
    assert state(call, first) == [(True, 0, "202603011005")]


def test_a_time_in_the_past_is_at_once(call: Call) -> None:
    send(call, "27821230001", scheduledTime="202603010959")
    assert call("GET", "/sms/scheduled").json()["resultsTotalAvailable"] == 0


def test_what_is_scheduled_can_be_deleted_once_with_a_refund(call: Call, clock: Clock, sandbox: Sandbox) -> None:
    ids = [row["apiMessageId"] for row in send(call, "27821230001", "27821230002", scheduledTime="202603011005")]
    at_once = send(call, "27821230003")[0]["apiMessageId"]
    answer = call("POST", "/sms/scheduled/delete", [ids[0], ids[0], at_once, 7]).json()
    rows = answer["deletedMessageStatuses"]
    assert [(row["deleted"], row["deleteError"], row["creditCost"], row["mobileNumber"]) for row in rows] == [
        (True, "", 1, "27821230001"),
        (False, "NOTFOUND", 0, "27821230001"),
        (False, "NOTFOUND", 0, "27821230003"),
        (False, "NOTFOUND", 0, ""),
    ]
    assert call("GET", "/credits/balance").json()["creditBalance"] == 999_998
    assert state(call, ids[0])[0][1] == "NOTFOUND"
    clock.now += 301
    assert call("POST", "/sms/scheduled/delete", [ids[1]]).json()["deletedMessageStatuses"][0]["deleted"] is False
    assert sandbox.record.summary(clock.now)["winsms"]["recalled"] == 1


def test_lists_come_in_pages(call: Call) -> None:
    send(call, *[str(27_821_230_000 + n) for n in range(5)], scheduledTime="202603011005")
    page = call("GET", "/sms/scheduled?offset=3&limit=1").json()
    assert [row["mobileNumber"] for row in page["scheduledMessages"]] == ["27821230003"]
    assert (page["resultsOffset"], page["resultsLimit"], page["resultsTotalAvailable"]) == (3, 1, 5)


@pytest.mark.parametrize("path", ["/sms/scheduled", "/sms/incoming"])
@pytest.mark.parametrize("query", ["offset=-1", "offset=x", "limit=0", "limit=1001", "limit="])
def test_a_page_out_of_bounds_is_refused(call: Call, path: str, query: str) -> None:
    answer = call("GET", f"{path}?{query}")
    assert answer.status_code == 422
    assert query.partition("=")[0] in answer.json()["errorMessage"]


def test_replies_and_opt_outs_are_listed(call: Call, sandbox: Sandbox) -> None:
    sent = send(call, "27821230001")[0]["apiMessageId"]
    control = sandbox.url + "/sandbox"
    for body in ({"number": "+27821230001", "text": "thanks"}, {"number": "27821230002", "text": " stop "}):
        assert requests.post(f"{control}/incoming", json=body, timeout=10).status_code == 200
    assert requests.post(f"{control}/optouts", json={"numbers": ["+27821230003"]}, timeout=10).ok
    replies = call("GET", "/sms/incoming").json()
    assert [
        (row["mobileNumber"], row["messageText"], row["outgoingApiMessageId"]) for row in replies["incomingMessages"]
    ] == [
        ("27821230001", "thanks", sent),
        ("27821230002", " stop ", 0),
    ]
    assert replies["incomingMessages"][0]["receiveTime"] == "202603011000"
    optouts = call("GET", "/sms/incoming/optout").json()["incomingOptoutMessages"]
    assert [(row["mobileNumber"], row["messageText"]) for row in optouts] == [
        ("27821230002", " stop "),
        ("27821230003", "* MANUALLY ADDED BY USER *"),
    ]
    assert optouts[0]["incomingApiMessageId"] == replies["incomingMessages"][1]["incomingApiMessageId"]
    assert optouts[1]["incomingApiMessageId"] is None
    words = [row["acceptError"] for row in send(call, "27821230001", "27821230002", "27821230003")]
    assert words == ["", "OPTEDOUT", "OPTEDOUT"]


WRONG_MESSAGES: list[tuple[Any, int]] = [
    ("{", 400),
    ("", 400),
    ('{"message": "\\ud800", "recipients": []}', 400),
    ([], 422),
    ({}, 422),
    ({"message": "hello"}, 422),
    ({"message": "hello", "recipients": []}, 422),
    ({"message": "", "recipients": [{"mobileNumber": "27821230001"}]}, 422),
    ({"message": 5, "recipients": [{"mobileNumber": "27821230001"}]}, 422),
    ({"message": "hello", "recipients": [{"mobileNumber": 27821230001}]}, 422),
    ({"message": "hello", "recipients": [{"clientMessageId": "x"}]}, 422),
    ({"message": "hello", "recipients": [{"mobileNumber": "27821230001", "clientMessageId": None}]}, 422),
    ({"message": "hello", "recipients": [{"mobileNumber": "27821230001", "clientMessageId": 1}]}, 422),
    (one("27821230001", maxSegments=0), 422),
    (one("27821230001", maxSegments=7), 422),
    (one("27821230001", maxSegments="1"), 422),
    (one("27821230001", maxSegments=True), 422),
    (one("27821230001", scheduledTime="2026-03-01"), 422),
    (one("27821230001", scheduledTime="202613010000"), 422),
    (one("27821230001", scheduledTime=202603011005), 422),
    (one("27821230001", scheduledTime=None), 422),
    (one("27821230001", sender="SHOP"), 422),
    (one(*["27821230001"] * 1001), 422),
]


@pytest.mark.parametrize(("body", "status"), WRONG_MESSAGES)
def test_a_malformed_message_is_refused_whole(call: Call, sandbox: Sandbox, body: Any, status: int) -> None:
    raw = body if isinstance(body, str) else json.dumps(body)
    answer = call("POST", "/sms/outgoing/send", headers={"Content-Type": "application/json"}, data=raw)
    assert answer.status_code == status
    assert_error(answer)
    many = raw if status == 400 else json.dumps({"messages": [body]})
    answer = call("POST", "/sms/outgoing/sendmulti", headers={"Content-Type": "application/json"}, data=many)
    assert answer.status_code == status
    assert sandbox.record.messages == []


def assert_error(answer: requests.Response) -> None:
    content = answer.json()
    assert content.keys() == {"errorMessage", "statusCode", "timeStamp", "version"}
    assert content["statusCode"] == answer.status_code
    assert content["timeStamp"] == "20260301100000000"
    assert content["errorMessage"]


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []},
        {},
        {"messages": [one(*["27821230001"] * 500), one(*["27821230001"] * 501)]},
    ],
)
def test_recipients_are_counted_over_all_messages(call: Call, body: dict[str, Any]) -> None:
    answer = call("POST", "/sms/outgoing/sendmulti", body)
    assert answer.status_code == 422
    assert_error(answer)


@pytest.mark.parametrize("path", ["/sms/outgoing/status", "/sms/scheduled/delete"])
@pytest.mark.parametrize("body", [[], {}, ["1"], [1.5], [None], [True], list(range(1001))])
def test_ids_are_1_to_1000_whole_numbers(call: Call, path: str, body: Any) -> None:
    answer = call("POST", path, body)
    assert answer.status_code == 422
    assert_error(answer)


def test_the_vendors_own_words(call: Call) -> None:
    words = "At least one non-numeric api Id was supplied in the apiIds array."
    assert call("POST", "/sms/outgoing/status", ["x"]).json()["errorMessage"] == words
    body = {"message": "hello", "recipients": [{}]}
    words = "There is an error in the 'recipients' array."
    assert call("POST", "/sms/outgoing/send", body).json()["errorMessage"] == words


ENDPOINTS = [
    ("POST", "/sms/outgoing/send"),
    ("POST", "/sms/outgoing/sendmulti"),
    ("POST", "/sms/outgoing/status"),
    ("POST", "/sms/scheduled/delete"),
    ("GET", "/sms/scheduled"),
    ("GET", "/sms/incoming"),
    ("GET", "/sms/incoming/optout"),
    ("GET", "/credits/balance"),
]


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
def test_every_endpoint_wants_its_method_and_a_key(call: Call, method: str, path: str) -> None:
    answer = call("PUT", path)
    assert answer.status_code == 405
    assert answer.json()["errorMessage"] == f"Request method should be set to '{method}', not 'PUT'."
    for key in (None, "bad-key", "Bearer a-key"):
        answer = call(method, path, headers={"AUTHORIZATION": key})
        assert answer.status_code == 401
        assert_error(answer)


@pytest.mark.parametrize(("method", "path"), [found for found in ENDPOINTS if found[0] == "POST"])
def test_a_body_is_json_of_at_most_200_kb(call: Call, method: str, path: str) -> None:
    answer = call(method, path, data="x" * 200_001, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    words = "Request POST data is: 201kb. The maximum POST size allowed is 200kb."
    assert answer.json()["errorMessage"] == words
    answer = call(method, path, data="x" * 200_000, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    answer = call(method, path, data="[1]", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415
    words = "Request content-type should be set to 'application/json', not 'text/plain'."
    assert answer.json()["errorMessage"] == words


def test_a_path_that_is_not_there(call: Call, sandbox: Sandbox) -> None:
    answer = call("GET", "/sms/nothing")
    assert answer.status_code == 404
    assert_error(answer)
    assert requests.get(sandbox.url + "/nothing", timeout=10).status_code == 404


def test_it_is_served_at_the_root_as_well(sandbox: Sandbox) -> None:
    answer = requests.get(sandbox.url + "/credits/balance", headers={"AUTHORIZATION": "a-key"}, timeout=10)
    assert answer.json()["creditBalance"] == 1_000_000


def test_one_key_can_be_the_only_one() -> None:
    with Sandbox(settings=Settings(api_key="right")) as sandbox:
        url = base_urls(sandbox.url)["winsms"] + "/credits/balance"
        found = [
            requests.get(url, headers={"AUTHORIZATION": key}, timeout=10).status_code for key in ("right", "other")
        ]
    assert found == [200, 401]
