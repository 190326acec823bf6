"""What the sandbox says that it accepted: messages, duplicates, peaks, and all of it again after a restart."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from dispatcher.sandbox import Sandbox, Settings, base_urls, serve

START = 1_800_000_000.0


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
    with Sandbox(clock=clock) as running:
        yield running


def send(sandbox: Sandbox, *numbers: str, text: str = "hello", **fields: Any) -> list[int]:
    body = {"message": text, "recipients": [{"mobileNumber": number} for number in numbers], **fields}
    url = base_urls(sandbox.url)["winsms"] + "/sms/outgoing/send"
    answer = requests.post(url, json=body, headers={"AUTHORIZATION": "a-key"}, timeout=10)
    return [row["apiMessageId"] for row in answer.json()["recipients"]]


def recall(sandbox: Sandbox, *ids: int) -> None:
    url = base_urls(sandbox.url)["winsms"] + "/sms/scheduled/delete"
    assert requests.post(url, json=ids, headers={"AUTHORIZATION": "a-key"}, timeout=10).ok


def ask(sandbox: Sandbox, path: str) -> Any:
    answer = requests.get(f"{sandbox.url}/sandbox/{path}", timeout=10)
    assert answer.status_code == 200
    return answer.json()


def tell(sandbox: Sandbox, path: str, body: object = None) -> requests.Response:
    return requests.post(f"{sandbox.url}/sandbox/{path}", json=body, timeout=10)


def test_accepted_messages_can_be_searched(sandbox: Sandbox) -> None:
    send(sandbox, "27821230001", "27821230002", "12025550198", text="one")
    send(sandbox, "27821230001", text="two", scheduledTime="203001010000")
    found = ask(sandbox, "accepted")
    assert found["total"] == 3
    first = found["messages"][0]
    assert (first["provider"], first["id"], first["number"], first["text"]) == ("winsms", 1001, "27821230001", "one")
    assert (first["accepted_at"], first["request"], first["scheduled_for"]) == (START, 1, None)
    assert first["recalled_at"] is None
    assert ask(sandbox, "accepted?number=%2B27821230001")["total"] == 2
    assert ask(sandbox, "accepted?number=27821230001&text_contains=tw")["total"] == 1
    assert ask(sandbox, "accepted?provider=bsg")["total"] == 0
    page = ask(sandbox, "accepted?offset=1&limit=1")
    assert (page["total"], [row["number"] for row in page["messages"]]) == (3, ["27821230002"])
    last = ask(sandbox, "accepted?offset=2")["messages"][0]
    recall(sandbox, last["id"])
    assert ask(sandbox, "accepted?offset=2")["messages"][0]["recalled_at"] == START


def test_the_same_text_twice_to_a_number_is_a_duplicate(sandbox: Sandbox) -> None:
    send(sandbox, "27821230001", "27821230002")
    send(sandbox, "27821230001", text="another")
    assert ask(sandbox, "duplicates") == {"total": 0, "duplicates": []}
    send(sandbox, "27821230002")
    found = ask(sandbox, "duplicates?provider=winsms")
    assert found["total"] == 1
    assert found["duplicates"][0]["number"] == "27821230002"
    assert found["duplicates"][0]["requests"] == [1, 3]
    assert ask(sandbox, "summary")["winsms"]["duplicates"] == 1


def test_a_recalled_message_is_no_duplicate(sandbox: Sandbox) -> None:
    ids = send(sandbox, "27821230001", scheduledTime="203001010000")
    send(sandbox, "27821230001", scheduledTime="203001010000")
    assert ask(sandbox, "duplicates")["total"] == 1
    recall(sandbox, *ids)
    assert ask(sandbox, "duplicates")["total"] == 0


def test_every_request_is_noted(sandbox: Sandbox, clock: Clock) -> None:
    send(sandbox, "27821230001", "1", text="a" * 161, maxSegments=2)
    clock.now += 2
    recall(sandbox, 5)
    requests.get(sandbox.url + "/nothing", timeout=10)
    found = ask(sandbox, "requests")
    assert found["total"] == 2
    assert found["requests"][0] == {
        "number": 1,
        "provider": "winsms",
        "method": "POST",
        "path": "/api/rest/v1/sms/outgoing/send",
        "arrived_at": START,
        "sends": True,
        "status": 200,
        "fault": None,
        "recipients": 2,
        "refused": 1,
        "segments": 4,
    }
    assert ask(sandbox, "requests?path_contains=delete")["requests"][0]["arrived_at"] == START + 2


def test_the_summary_counts(sandbox: Sandbox, clock: Clock) -> None:
    sandbox.control.configure({"delivery_seconds": 10, "failing_share": 0})
    send(sandbox, "27821230001", "27821230002", "12025550197", "12025550198")
    recall(sandbox, *send(sandbox, "27821230003", scheduledTime="203001010000"))
    send(sandbox, "27821230004", scheduledTime="203001010000")
    counts = ask(sandbox, "summary")["winsms"]
    assert counts["delivered"] == 0
    clock.now += 10
    assert ask(sandbox, "summary")["winsms"] == {
        "requests": 4,
        "send_requests": 3,
        "accepted": 5,
        "refused": 1,
        "delivered": 2,
        "recalled": 1,
        "scheduled": 1,
        "duplicates": 0,
        "peak_requests": 3,
        "peak_segments": 6,
        "credits": 999_996,
    }


def test_the_peak_is_of_any_second(sandbox: Sandbox, clock: Clock) -> None:
    for at, recipients in [(0.0, 1), (0.5, 2), (0.9, 1), (1.0, 1), (1.4, 4), (3.0, 5)]:
        clock.now = START + at
        send(sandbox, *["27821230001"] * recipients)
    counts = ask(sandbox, "summary")["winsms"]
    assert counts["peak_requests"] == 4  # from 0.5 to 1.4; the one at 0.0 is a whole second before 1.0
    assert counts["peak_segments"] == 8


def test_settings_hold_for_what_comes(sandbox: Sandbox) -> None:
    changed = tell(sandbox, "settings", {"delivery_seconds": 0, "failing_share": 1}).json()
    assert changed["delivery_seconds"] == [0, 0]
    assert ask(sandbox, "settings") == changed
    send(sandbox, "27821230001")
    (message,) = ask(sandbox, "accepted")["messages"]
    assert (message["delay"], message["outcome"]) == (0, "failed")
    assert tell(sandbox, "settings", {"delivery_seconds": -1}).status_code == 400
    assert tell(sandbox, "settings", {"speed": 1}).status_code == 400
    assert tell(sandbox, "settings", []).status_code == 400


def test_credits_can_be_set(sandbox: Sandbox) -> None:
    assert tell(sandbox, "credits", {"credits": 1.5}).json() == {"provider": "winsms", "credits": 1.5}
    assert send(sandbox, "27821230001", "27821230002") == [1001, None]
    assert ask(sandbox, "summary")["winsms"]["credits"] == 0.5


def test_a_reset_forgets_everything(sandbox: Sandbox) -> None:
    send(sandbox, "27821230001")
    sandbox.fault("500")
    tell(sandbox, "optouts", {"numbers": ["27821230001"]})
    tell(sandbox, "settings", {"failing_share": 1})
    assert tell(sandbox, "reset").json() == {"reset": True}
    assert ask(sandbox, "summary") == {}
    assert ask(sandbox, "faults") == {"faults": []}
    assert ask(sandbox, "settings")["failing_share"] == 0.02
    assert send(sandbox, "27821230001") == [1001]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "nothing", 404),
        ("POST", "accepted", 405),
        ("GET", "reset", 405),
        ("GET", "accepted?limit=x", 400),
        ("GET", "accepted?unknown=1", 400),
        ("POST", "optouts", 400),
        ("POST", "incoming", 400),
        ("POST", "credits", 400),
    ],
)
def test_a_wrong_question_to_the_sandbox(sandbox: Sandbox, method: str, path: str, status: int) -> None:
    answer = requests.request(method, f"{sandbox.url}/sandbox/{path}", timeout=10)
    assert answer.status_code == status
    assert answer.json().keys() == {"error"}


def test_a_restarted_sandbox_knows_what_it_accepted(tmp_path: Path, clock: Clock) -> None:
    file = tmp_path / "accepted.jsonl"
    settings = Settings(starting_credits=100)
    with Sandbox(clock=clock, settings=settings, record_file=file) as before:
        send(before, "27821230009")
        tell(before, "reset")
        ids = send(before, "27821230001", "27821230002", text="one €")
        tell(before, "credits", {"credits": 50})
        waiting = send(before, "27821230003", "27821230004", scheduledTime="203001010000")
        recall(before, waiting[0])
        tell(before, "optouts", {"numbers": ["27821230005"]})
        tell(before, "incoming", {"number": "27821230001", "text": "STOP"})
        asked = ["accepted", "requests", "summary", "duplicates"]
        known = [ask(before, path) for path in asked]
        optouts, incoming = before.record.optouts, before.record.incoming
    with file.open("a") as lines:
        lines.write('{"kind":"accepted","texts":["cut')  # killed in the middle of a line
    for _ in range(2):
        with Sandbox(clock=clock, settings=settings, record_file=file) as after:
            assert [ask(after, path) for path in asked] == known
            assert (after.record.optouts, after.record.incoming) == (optouts, incoming)
            assert list(after.record.pending("winsms", clock.now)) == [waiting[1]]
    with Sandbox(clock=clock, settings=settings, record_file=file) as after:
        (new,) = send(after, "27821230002", text="one €")
        assert new not in {*ids, *waiting, *(reply.incoming_id for reply in incoming)}
        assert ask(after, "duplicates")["total"] == 1
        assert ask(after, "requests")["requests"][-1]["number"] == known[1]["requests"][-1]["number"] + 1
    assert all(json.loads(line) for line in file.read_text().splitlines())


def test_many_clients_at_once_lose_and_double_nothing(sandbox: Sandbox) -> None:
    def client(first: int) -> None:
        for at in range(5):
            send(sandbox, *[str(first + at * 10 + n) for n in range(10)])

    threads = [threading.Thread(target=client, args=(27_821_230_000 + 100 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = ask(sandbox, "summary")["winsms"]
    assert (counts["accepted"], counts["duplicates"], counts["credits"]) == (400, 0, 999_600)
    assert len({message.message_id for message in sandbox.record.messages}) == 400


def raw(sandbox: Sandbox, request: bytes) -> bytes:
    host, port = sandbox.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return connection.makefile("rb").read()


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (b"Content-Length: x", b"400"),
        (b"Content-Length: 99999999999", b"413"),
        (b"Transfer-Encoding: chunked", b"411"),
    ],
)
def test_a_body_of_unknown_length_is_refused(sandbox: Sandbox, header: bytes, status: bytes) -> None:
    answer = raw(sandbox, b"POST /sms/outgoing/send HTTP/1.1\r\n" + header + b"\r\n\r\n")
    assert answer.split(b" ")[1] == status
    assert b"Connection: close" in answer


def test_a_client_that_goes_away_in_the_middle_is_nothing(
    sandbox: Sandbox, capfd: pytest.CaptureFixture[str]
) -> None:
    assert raw(sandbox, b"POST /sms/outgoing/send HTTP/1.1\r\nContent-Length: 10\r\n\r\n{") == b""
    assert ask(sandbox, "requests")["total"] == 0
    assert capfd.readouterr().err == ""


def test_an_address_is_free_again_after_closing() -> None:
    first = serve()
    port = int(first.url.rpartition(":")[2])
    requests.get(first.url + "/sandbox/summary", timeout=10)
    first.close()
    with Sandbox(port=port) as second:
        assert second.url == first.url
        with pytest.raises(OSError, match="in use"):
            Sandbox(port=port)
