"""A whole campaign, and what may happen to it on the way."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import redis

from tests.e2e.conftest import COMMAND, Home, alive, fates, until

pytestmark = pytest.mark.e2e


def test_a_whole_campaign_is_accounted_for_row_by_row(home: Home) -> None:
    home.up("--workers", "2")
    people = home.people(2500)
    with people.open("a") as out:
        out.write("+12015550100,Again\nnonsense,Nobody\n+12025550198,Refused\n")
    found = home.json(
        "enqueue", str(people), "--provider", "winsms", "--text", "Hi {first_name} €", "--name", "whole"
    )
    assert {key: found[key] for key in ("rows", "messages", "duplicates", "invalid", "suppressed")} == {
        "rows": 2503,
        "messages": 2501,
        "duplicates": 1,
        "invalid": 1,
        "suppressed": 0,
    }
    status = home.wait(found["campaign"])
    assert home.json("status", found["campaign"]) == status
    report = home.report(found["campaign"])
    assert fates(report) == {"delivered": 2500, "refused": 1, "duplicate": 1, "invalid": 1}
    assert [int(row["row"]) for row in report] == list(range(1, 2504))
    assert {row["reason"] for row in report if row["state"] == "refused"} == {"BADDEST"}
    assert report[2500]["reason"] == "duplicate of row 1"
    assert status["cost"] == 2500
    assert status["segments"] == 2501
    assert len(home.accepted()) == len(set(home.accepted())) == 2500
    assert max(request.recipients for request in home.sends()) <= 1000
    assert home.json("list")[0]["name"] == "whole"
    home.down()


def test_a_worker_killed_in_mid_request_leaves_that_batch_unknown_and_texts_nobody_twice(home: Home) -> None:
    home.environment["DISPATCHER_WINSMS__REQUESTS_PER_SECOND"] = "2"
    home.sandbox.fault("hang_after", path_contains="outgoing/send", count=1, seconds=30)
    home.up()
    campaign = home.enqueue(3000)
    until(lambda: home.sandbox.record.messages, "the first request has been carried out, and not been answered")
    (worker,) = home.pids("worker")
    os.kill(worker, signal.SIGKILL)
    until(lambda: len(home.pids("worker")) == 2, "the worker is started again")
    until(lambda: home.states(campaign).keys() == {"delivered", "unknown"}, "all else is delivered")
    status = home.status(campaign)
    assert status["state"] == "running"
    assert "unknown" in status["reason"]
    unknown = status["messages"]["unknown"]
    assert 0 < unknown <= 1000 * status["batches"]["unknown"]
    assert len(home.accepted()) == len(set(home.accepted()))
    # Every number was accepted at most once, and whoever was not accepted is among the unknown.
    assert len(home.accepted()) >= 3000 - unknown
    home.down()


@pytest.mark.alone
def test_redis_flushed_in_mid_campaign_only_makes_it_slower(home: Home) -> None:
    home.environment["DISPATCHER_WINSMS__REQUESTS_PER_SECOND"] = "2"
    home.up()
    with redis.Redis(unix_socket_path=str(home.redis_socket)) as client:
        until(
            lambda: client.exists("dispatcher:{winsms}:requests"), "the hold of a first use begins before a campaign"
        )
        campaign = home.enqueue(3600, "--name", "flushed")
        until(lambda: len(home.sends()) >= 1, "sending has begun")
        client.flushall()
        until(lambda: len(home.sends()) >= 2, "sending goes on")
        client.flushall()
    home.wait(campaign)
    assert home.states(campaign) == {"delivered": 3600}
    assert len(home.accepted()) == len(set(home.accepted())) == 3600
    # One more than the limit, since the first is the latest on its way; without the holds it would be four.
    assert home.sandbox.record.summary(time.time())["winsms"]["peak_requests"] <= 3
    home.down()


@pytest.mark.alone
def test_no_request_starts_later_than_a_second_after_cancel(home: Home) -> None:
    home.environment["DISPATCHER_WINSMS__REQUESTS_PER_SECOND"] = "0.5"
    home.up("--workers", "2")
    campaign = home.enqueue(3600)
    until(lambda: len(home.sends()) >= 1, "sending has begun")
    found = home.json("cancel", campaign)
    cancelled_at = time.time()
    assert found["state"] == "cancelled"
    time.sleep(2.5)
    assert all(request.arrived_at < cancelled_at + 1 for request in home.sends())
    until(lambda: "submitted" not in home.states(campaign), "receipts of what went out before come in all the same")
    states = home.states(campaign)
    assert states.keys() == {"delivered", "cancelled"}
    assert states["delivered"] == len(home.accepted())
    assert sum(states.values()) == 3600
    assert fates(home.report(campaign)) == states
    assert home.run("resume", campaign, code=1).stderr.startswith("dispatcher: campaign")
    home.down()


@pytest.mark.alone
def test_pause_stops_and_resume_goes_on(home: Home) -> None:
    home.environment["DISPATCHER_WINSMS__REQUESTS_PER_SECOND"] = "0.5"
    home.up()
    campaign = home.enqueue(2600)
    until(lambda: len(home.sends()) >= 1, "sending has begun")
    assert home.json("pause", campaign, "--reason", "lunch")["reason"] == "lunch"
    paused_at = time.time()
    time.sleep(2)
    assert all(request.arrived_at < paused_at + 1 for request in home.sends())
    assert home.status(campaign)["messages"]["queued"] > 0
    home.json("resume", campaign)
    home.wait(campaign)
    assert len(home.accepted()) == len(set(home.accepted())) == 2600
    home.down()


def test_a_scheduled_campaign_is_handed_over_and_recalled_with_its_refund(home: Home) -> None:
    home.up()
    at = (datetime.now(UTC) + timedelta(hours=2)).replace(second=0, microsecond=0)
    campaign = home.enqueue(1500, "--at", at.isoformat())
    until(lambda: home.states(campaign) == {"submitted": 1500}, "WinSMS holds it")
    assert home.status(campaign)["state"] == "scheduled"
    assert {one.scheduled_for for one in home.sandbox.record.messages} == {at.timestamp()}
    recalled = home.json("cancel", campaign)["recalled"]
    # What gets no permit soon is left to the workers.
    assert (recalled["messages"] + recalled["left"], recalled["refused"]) == (1500, 0)
    assert recalled["refunded"] == recalled["messages"]
    until(lambda: home.states(campaign) == {"cancelled": 1500}, "all is taken back")
    status = home.status(campaign)
    assert (status["cost"], status["refunded"]) == (0, 1500)
    assert home.accepted() == []
    home.down()


@pytest.mark.alone
def test_a_time_that_the_provider_cannot_express_is_kept_by_the_ledger(home: Home) -> None:
    home.up()
    at = datetime.now(UTC) + timedelta(seconds=6)
    campaign = home.enqueue(10, "--at", at.isoformat())
    assert home.status(campaign)["state"] == "scheduled"
    home.wait(campaign)
    (request,) = home.sends()
    assert 0 <= request.arrived_at - at.timestamp() < 3
    home.down()


def test_wrong_credentials_pause_the_campaign_with_the_reason_and_nothing_is_lost(home: Home) -> None:
    home.environment["DISPATCHER_WINSMS__API_KEY"] = "bad-key"
    home.up()
    campaign = home.enqueue(100)
    status = home.wait(campaign, "paused")
    assert "401" in status["reason"]
    assert status["messages"]["queued"] == 100
    home.down()
    home.environment["DISPATCHER_WINSMS__API_KEY"] = "sandbox"
    home.up()
    home.json("resume", campaign)
    home.wait(campaign)
    assert "bad-key" not in "".join(path.read_text() for path in (home.folder / "home" / "logs").iterdir())
    home.down()


def test_an_enqueue_killed_half_way_sends_nothing_and_may_be_run_again(home: Home) -> None:
    people = home.people(3600)
    with people.open("a") as out:  # long enough to be killed in the middle
        out.writelines(f"+1{200 + i % 800}555{i % 10000:04},Again\n" for i in range(400_000))
    args = ("enqueue", str(people), "--provider", "winsms", "--text", "Hi {first_name}", "--key", "k1")
    process = home.popen(*args)
    ledger = home.folder / "home" / "ledger.db"

    def half_way() -> bool:
        try:
            connection = sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)
            try:
                return bool(connection.execute("SELECT 1 FROM batch LIMIT 1").fetchone())
            finally:
                connection.close()
        except sqlite3.Error:
            return False

    until(half_way, "some of it is planned")
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    assert [one["state"] for one in home.json("list")] == ["draft"]
    home.up()
    time.sleep(1.5)
    assert home.sends() == []
    home.down()
    # While its planner might still live, the key is held; a draft is given up after five minutes.
    assert "another enqueue is planning it" in home.run(*args, code=1).stderr
    with sqlite3.connect(ledger) as connection:
        connection.execute("UPDATE campaign SET planner_until = 0")
    connection.close()
    small = home.people(10, name="small.csv")
    again = home.json("enqueue", str(small), "--provider", "winsms", "--text", "Hi", "--key", "k1")
    assert again["messages"] == 10
    third = home.json("enqueue", str(small), "--provider", "winsms", "--text", "Hi", "--key", "k1")
    assert third["campaign"] == again["campaign"]
    assert third["again"] is True
    assert len(home.json("list")) == 1


def test_up_refuses_a_second_one_and_leaves_nothing_behind_when_it_is_killed(home: Home) -> None:
    home.up("--sandbox")
    pids = home.pids()
    assert len(pids) == 4
    assert "already" in home.run("up", code=1).stderr
    # A worker gives its first sign of life a moment after it was started.
    until(lambda: home.run("doctor", code=None).returncode == 0, "doctor finds nothing wrong")
    found = {finding["what"]: finding["ok"] for finding in home.json("doctor")}
    assert {"data folder", "ledger", "redis", "redis-server", "workers", "winsms"} <= found.keys()
    assert False not in found.values(), found
    assert home.stack is not None
    home.stack.kill()
    home.stack.wait()
    until(lambda: not any(alive(pid) for pid in pids), "the parts end with their supervisor")
    # Its note about the sandbox is void now: commands talk to the provider of the settings again.
    assert home.environment["DISPATCHER_WINSMS__BASE_URL"] in str(home.run("doctor", "--json", code=1).stdout)


def test_a_part_that_dies_is_started_again(home: Home) -> None:
    home.up()
    for part in ("redis", "beat", "worker"):
        os.kill(home.pids(part)[0], signal.SIGKILL)
    for part in ("redis", "beat", "worker"):
        until(lambda part=part: len(home.pids(part)) == 2, f"{part} is started again")
    campaign = home.enqueue(100)
    home.wait(campaign)
    home.down()


@contextmanager
def celery(home: Home, *kinds: str) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Let Celery's own command run what is asked for, on a Redis that is there already; no process is left."""
    command = [COMMAND.parent / "celery", "-A", "workers.app"]
    with (home.folder / "celery.log").open("w") as logs, ExitStack() as started:
        parts = [
            started.enter_context(
                subprocess.Popen([*command, kind], env=home.environment, stdout=logs, stderr=logs, cwd=home.folder)
            )
            for kind in kinds
        ]
        for part in parts:
            started.callback(part.kill)  # what has ended already does not mind
        yield parts


def test_the_workers_run_as_celery_starts_them(home: Home, redis_server: "object") -> None:
    home.environment["DISPATCHER_REDIS_URL"] = redis_server.url
    with celery(home, "worker", "beat") as parts:
        home.wait(home.enqueue(1200))
        for part in parts:
            part.send_signal(signal.SIGTERM)
        codes = [part.wait(timeout=60) for part in parts]
    assert codes == [0, 0]
    assert len(home.accepted()) == 1200


def test_poll_asks_now_and_says_what_it_learned(home: Home, redis_server: "object") -> None:
    home.environment["DISPATCHER_REDIS_URL"] = redis_server.url
    with celery(home, "worker"):  # without beat nobody else asks
        campaign = home.enqueue(30)
        until(lambda: home.states(campaign).get("submitted") == 30, "submitted")
        told: list[int] = []

        def all_told() -> bool:
            told.append(sum(one["settled"] for one in home.json("poll")))
            return sum(told) == 30

        until(all_told, "receipts")
    assert home.status(campaign)["state"] == "completed"


def test_without_a_stack_the_campaign_waits_in_the_ledger(home: Home) -> None:
    campaign = home.enqueue(20)
    assert home.states(campaign) == {"queued": 20}
    found = home.run("doctor", code=1).stdout
    assert "none alive" in found
    assert "the embedded server does not run" in found
    home.up()
    home.wait(campaign)
    home.down()


def test_python_m_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dispatcher", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("dispatcher, version")
