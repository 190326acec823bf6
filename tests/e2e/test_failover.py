"""Failover end to end: another provider takes over while one is down; nobody is texted twice, nobody forgotten."""

import socket
from collections import Counter

import pytest

from tests.e2e.conftest import Home, fates, until

pytestmark = pytest.mark.e2e


def who_sent(home: Home, text: str) -> Counter[str]:
    return Counter(one.provider for one in home.sandbox.record.messages if one.text.startswith(text))


def test_without_credit_the_rest_goes_through_the_next_provider(running: Home) -> None:
    running.sandbox.record.set_credits("winsms", 1000)
    people = str(running.people(2000))
    found = running.json("enqueue", people, "--provider", "winsms,bsg", "--text", "Credit {first_name}")
    status = running.wait(found["campaign"])
    running.sandbox.record.set_credits("winsms", 1_000_000)
    assert who_sent(running, "Credit") == {"winsms": 1000, "bsg": 1000}
    assert fates(running.report(found["campaign"])) == {"delivered": 2000}
    assert (status["provider"], status["failover"]["fallbacks"]) == ("bsg", [])
    [moved] = status["failover"]["moved"]
    assert (moved["from"], moved["to"]) == ("winsms", "bsg")
    shown = running.run("status", found["campaign"]).stdout
    assert "from winsms to bsg" in shown
    assert running.sandbox.record.duplicates() == []


def test_refused_credentials_move_it_on_and_lost_answers_stay(running: Home) -> None:
    """What NetSapiens may have is looked up there, while the rest goes through Sakari."""
    running.sandbox.fault("drop_after", provider="netsapiens", path_contains="/messages", count=2)
    args = ("--provider", "netsapiens,sakari", "--text", "Moved {first_name}")
    campaign = running.json("enqueue", str(running.people(300)), *args)["campaign"]
    until(lambda: who_sent(running, "Moved")["netsapiens"] >= 20, "NetSapiens sends")
    running.sandbox.fault("refused", provider="netsapiens", path_contains="/messages", status=401, count=30)
    until(lambda: running.status(campaign)["provider"] == "sakari", "Sakari takes over")
    running.sandbox.faults.put([], replace=True)
    status = running.wait(campaign)
    assert "moved from netsapiens to sakari" in str(status["reason"])
    assert fates(running.report(campaign)) == {"delivered": 300}
    sent = who_sent(running, "Moved")
    assert sent["netsapiens"] >= 20
    assert sent["sakari"] > 0
    assert sum(sent.values()) == 300
    assert running.sandbox.record.duplicates() == []


def test_one_that_cannot_be_reached_is_left_after_a_while(home: Home) -> None:
    with socket.socket() as closed:  # bound, and never listening: nobody answers there
        closed.bind(("127.0.0.1", 0))
        home.environment["DISPATCHER_SAKARI__BASE_URL"] = f"http://127.0.0.1:{closed.getsockname()[1]}"
        home.environment["DISPATCHER_FAILOVER_AFTER"] = "3"
        home.up()
        people = str(home.people(600))
        campaign = home.json("enqueue", people, "--provider", "sakari,winsms", "--text", "Hi")["campaign"]
        status = home.wait(campaign)
        assert "in a row: " in status["failover"]["moved"][0]["why"]
        assert who_sent(home, "Hi") == {"winsms": 600}
        home.down()
