"""Every fault that the sandbox can show, as a client over real HTTP meets it."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from dispatcher.sandbox import Fault, Kind, Sandbox, base_urls

NUMBERS = ["27821230001", "27821230002", "27821230003"]
BODY = {"message": "hello", "recipients": [{"mobileNumber": number} for number in NUMBERS]}


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def sandbox(waits: list[float]) -> Iterator[Sandbox]:
    with Sandbox(clock=lambda: 1_800_000_000.0, wait=waits.append) as running:
        yield running


def send(sandbox: Sandbox, path: str = "/sms/outgoing/send", body: object = BODY) -> requests.Response:
    url = base_urls(sandbox.url)["winsms"] + path
    return requests.post(url, json=body, headers={"AUTHORIZATION": "a-key"}, timeout=10)


def accepted(sandbox: Sandbox) -> int:
    return len(sandbox.record.messages)


@pytest.mark.parametrize(
    ("kind", "carried_out"),
    [("drop_before", False), ("drop_after", True), ("hang_before", False), ("hang_after", True)],
)
def test_no_answer_at_all(sandbox: Sandbox, waits: list[float], kind: str, carried_out: bool) -> None:
    sandbox.fault(kind, count=1, seconds=40)
    with pytest.raises(requests.ConnectionError) as caught:
        send(sandbox)
    assert ("reset" in str(caught.value)) is kind.startswith("drop")
    assert waits == ([40] if kind.startswith("hang") else [])
    assert accepted(sandbox) == (3 if carried_out else 0)
    (entry,) = sandbox.record.requests
    assert (entry.status, entry.fault, entry.recipients) == (0, kind, 3 if carried_out else 0)
    assert send(sandbox).status_code == 200


@pytest.mark.parametrize(
    ("kind", "fields", "status", "carried_out"),
    [
        ("429", {}, 429, False),
        ("429_retry_after", {"retry_after": 7}, 429, False),
        ("500", {}, 500, False),
        ("500_after", {}, 500, True),
        ("refused", {"status": 401}, 401, False),
        ("refused", {}, 403, False),
        ("refused", {"status": 400}, 400, False),
        ("refused", {"status": 418}, 418, False),
        ("refused", {"status": 503}, 503, False),
    ],
)
def test_an_error_is_in_the_vendors_shape(
    sandbox: Sandbox, kind: str, fields: dict[str, Any], status: int, carried_out: bool
) -> None:
    sandbox.fault(kind, **fields)
    answer = send(sandbox)
    content = answer.json()
    assert answer.status_code == content["statusCode"] == status
    assert content.keys() == {"errorMessage", "statusCode", "timeStamp", "version"}
    assert answer.headers.get("Retry-After") == (None if kind != "429_retry_after" else "7")
    assert accepted(sandbox) == (3 if carried_out else 0)
    assert sandbox.record.requests[0].status == status


def test_a_page_of_html(sandbox: Sandbox) -> None:
    sandbox.fault("html")
    answer = send(sandbox)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html")
    assert answer.text.startswith("<!DOCTYPE html>")
    assert accepted(sandbox) == 3


def test_an_empty_answer(sandbox: Sandbox) -> None:
    sandbox.fault("empty")
    answer = send(sandbox)
    assert (answer.status_code, answer.content, answer.headers["Content-Length"]) == (200, b"", "0")
    assert accepted(sandbox) == 3


def test_json_that_is_cut_off(sandbox: Sandbox) -> None:
    sandbox.fault("cut_json")
    answer = send(sandbox)
    assert answer.status_code == 200
    assert len(answer.content) == int(answer.headers["Content-Length"])
    with pytest.raises(requests.JSONDecodeError):
        answer.json()
    assert accepted(sandbox) == 3


def test_a_body_that_is_cut_off(sandbox: Sandbox) -> None:
    sandbox.fault("cut_body")
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        send(sandbox)
    assert accepted(sandbox) == 3
    assert sandbox.record.requests[0].status == 0


def test_an_answer_that_drips_in(sandbox: Sandbox, waits: list[float]) -> None:
    sandbox.fault("slow", seconds=20)
    answer = send(sandbox)
    assert len(answer.json()["recipients"]) == 3
    assert waits == [2.0] * 10
    assert accepted(sandbox) == 3


def test_rows_that_are_missing(sandbox: Sandbox) -> None:
    sandbox.fault("missing_rows")
    rows = send(sandbox).json()["recipients"]
    assert len(rows) == 2
    body = {"messages": [{"message": "hello", "recipients": [{"mobileNumber": number}]} for number in NUMBERS]}
    messages = send(sandbox, "/sms/outgoing/sendmulti", body).json()["messages"]
    assert sorted(len(message["recipients"]) for message in messages) == [0, 1, 1]
    assert len(send(sandbox, "/sms/outgoing/status", [1]).json()["messageStatuses"]) == 0
    assert accepted(sandbox) == 6


def test_every_kind_is_tested_here() -> None:
    tested = {"drop_before", "drop_after", "hang_before", "hang_after", "429", "429_retry_after", "500", "500_after"}
    tested |= {"refused", "html", "empty", "cut_json", "cut_body", "slow", "missing_rows"}
    assert {kind.value for kind in Kind} == tested


def test_a_fault_is_for_some_requests_and_for_some_times(sandbox: Sandbox) -> None:
    control = sandbox.url + "/sandbox/faults"
    faults = [
        {"kind": "500", "provider": "bsg"},
        {"kind": "500", "path_contains": "/status"},
        {"kind": "429", "count": 2},
    ]
    assert requests.post(control, json=faults, timeout=10).status_code == 200
    assert [send(sandbox).status_code for _ in range(3)] == [429, 429, 200]
    assert send(sandbox, "/sms/outgoing/status", [1]).status_code == 500
    listed = requests.get(control, timeout=10).json()["faults"]
    assert [fault["shown"] for fault in listed] == [0, 1, 2]
    requests.post(control, json={"kind": "html"}, timeout=10)
    assert len(requests.get(control, timeout=10).json()["faults"]) == 4
    assert requests.delete(control, timeout=10).json() == {"faults": []}
    assert send(sandbox).json()["statusCode"] == 200


def test_a_share_of_requests_is_the_same_with_the_same_seed() -> None:
    found = []
    for _ in range(2):
        with Sandbox() as sandbox:
            sandbox.fault("500", share=0.3)
            found.append([sandbox.faults.pick("winsms", "/x") is not None for _ in range(1000)])
    assert found[0] == found[1]
    assert 250 <= sum(found[0]) <= 350


@pytest.mark.parametrize("fault", [{"kind": "flood"}, {"kind": "500", "share": 2}, {"kind": "500", "often": 1}, {}])
def test_a_fault_that_there_is_not_is_refused(sandbox: Sandbox, fault: dict[str, Any]) -> None:
    assert requests.post(sandbox.url + "/sandbox/faults", json=fault, timeout=10).status_code == 400
    assert sandbox.faults.listing() == []


def test_a_latency_is_waited_for_after_carrying_out(sandbox: Sandbox, waits: list[float]) -> None:
    sandbox.control.configure({"latency_seconds": 0.3})
    assert send(sandbox).status_code == 200
    assert waits == [0.3]


def test_closing_lets_go_of_what_hangs() -> None:
    hanging = threading.Event()
    with Sandbox() as sandbox:
        wait = sandbox.wait

        def told(seconds: float) -> object:
            hanging.set()
            return wait(seconds)

        sandbox.wait = told
        sandbox.faults.put([Fault(kind=Kind.HANG_AFTER, seconds=3600)], replace=True)
        failed: list[BaseException] = []

        def client() -> None:
            try:
                send(sandbox)
            except requests.ConnectionError as error:
                failed.append(error)

        thread = threading.Thread(target=client)
        thread.start()
        assert hanging.wait(10)
    thread.join(10)
    assert len(failed) == 1
    assert accepted(sandbox) == 3


PROGRAM = "from dispatcher.sandbox import run; run(ready=lambda url: print(url, flush=True))"


def test_the_program_serves_until_it_is_told_to_stop() -> None:
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM], stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        url = program.stdout.readline().strip()
        with requests.Session() as session:  # its connection stays open, and must not keep the program up
            assert session.get(url + "/sandbox/summary", timeout=10).json() == {}
            program.terminate()
            assert program.wait(10) == 0
