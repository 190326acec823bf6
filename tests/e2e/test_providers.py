"""The same commands on every provider: a campaign end to end, its own abilities, and nobody in another's way."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from dispatcher import providers
from tests.e2e.conftest import Home, fates, until

pytestmark = pytest.mark.e2e

MANY = {"netsapiens": 40}


@pytest.mark.parametrize("name", providers.names())
def test_a_campaign_on_each_provider_is_accounted_for(home: Home, name: str) -> None:
    many = MANY.get(name, 250)
    home.up()
    people = home.people(many)
    with people.open("a") as out:
        out.write("+12015550100,Again\nnonsense,Nobody\n")
    text = "Hi {first_name}, {{{{field}}}} is no field; {{first_name}} neither"
    found = home.json("enqueue", str(people), "--provider", name, "--text", text)
    campaign = found["campaign"]
    assert (found["messages"], found["duplicates"], found["invalid"]) == (many, 1, 1)
    home.wait(campaign)
    assert fates(home.report(campaign)) == {"delivered": many, "duplicate": 1, "invalid": 1}
    texts = {message.text for message in home.sandbox.record.messages}
    assert texts == {f"Hi Ann{at}, {{{{field}}}} is no field; {{first_name}} neither" for at in range(many)}
    assert len(home.accepted()) == len(set(home.accepted())) == many
    one = home.json(
        "enqueue", str(home.people(12)), "--provider", name, "--text", "The same {{to}} all", "--name", "b"
    )
    home.wait(one["campaign"])
    assert {message.text for message in home.sandbox.record.messages} - texts == {"The same {to} all"}
    home.down()


def test_one_that_hangs_does_not_slow_the_others(home: Home) -> None:
    home.sandbox.fault("hang_before", provider="winsms", seconds=60)
    home.up()
    slow = home.enqueue(3000)
    others = {
        name: home.json("enqueue", str(home.people(30)), "--provider", name, "--text", "Hi")["campaign"]
        for name in providers.names()
        if name != "winsms"
    }
    began = time.monotonic()
    for campaign in others.values():
        home.wait(campaign, seconds=40)
    assert time.monotonic() - began < 40
    assert home.states(slow).keys() <= {"queued", "unknown"}
    home.down()


def test_a_number_suppressed_at_one_provider_is_not_sent_to_by_another(home: Home) -> None:
    home.up()
    people = home.folder / "one.csv"
    people.write_text("phone\n+12025550199\n+12025550123\n")  # the first has opted out at the sandbox
    first = home.json("enqueue", str(people), "--provider", "winsms", "--text", "Hi")
    home.wait(first["campaign"])
    second = home.json("enqueue", str(people), "--provider", "netsapiens", "--text", "Hi")
    assert (second["suppressed"], second["messages"]) == (1, 1)
    home.down()


@pytest.mark.parametrize("name", [name for name in providers.names() if name != "winsms"])
def test_an_expired_token_in_mid_campaign_is_renewed_by_itself(home: Home, name: str) -> None:
    home.sandbox.control.configure({"token_seconds": 1.5})
    home.environment[f"DISPATCHER_{name.upper()}__REQUESTS_PER_SECOND"] = "4"
    many = 24 if name == "netsapiens" else 600
    home.environment["DISPATCHER_SAKARI__MESSAGES_PER_REQUEST"] = "50"
    home.up()
    found = home.json("enqueue", str(home.people(many)), "--provider", name, "--text", "Hi {first_name}")
    home.wait(found["campaign"])
    assert len(home.accepted()) == len(set(home.accepted())) == many
    home.down()


def test_the_ledger_keeps_the_time_where_the_provider_has_no_schedule(home: Home) -> None:
    home.up()
    at = datetime.now(UTC) + timedelta(seconds=5)
    args = ("--provider", "netsapiens", "--text", "Hi", "--at", at.isoformat())
    found = home.json("enqueue", str(home.people(5)), *args)
    home.wait(found["campaign"])
    assert all(0 <= request.arrived_at - at.timestamp() < 4 for request in home.sends())
    home.down()


def test_bsg_stops_what_it_has_scheduled(home: Home) -> None:
    home.up()
    at = (datetime.now(UTC) + timedelta(hours=2)).replace(second=0, microsecond=0)
    found = home.json("enqueue", str(home.people(20)), "--provider", "bsg", "--text", "Hi", "--at", at.isoformat())
    campaign = found["campaign"]
    until(lambda: home.states(campaign) == {"submitted": 20}, "BSG holds it")
    done = home.json("cancel", campaign)
    assert done["recalled"]["messages"] == 20
    assert home.states(campaign) == {"cancelled": 20}
    home.down()


def test_sakari_campaign_objects_wait_for_a_person_and_are_removed_by_cancel(home: Home) -> None:
    home.up()
    args = ("--provider", "sakari", "--text", "Hi {first_name}", "--as-campaign")
    found = home.json("enqueue", str(home.people(30)), *args)
    campaign = found["campaign"]
    until(lambda: home.states(campaign) == {"submitted": 30}, "handed over")
    status = home.status(campaign)
    assert any("started at Sakari" in note for note in status["notes"])
    assert home.accepted() == []
    kept = home.run("sakari", "campaigns", "list", "--json").stdout.splitlines()
    assert len(kept) == 1
    done = home.json("cancel", campaign)
    assert done["messages"]["cancelled"] + done["messages"]["submitted"] == 30
    assert home.run("sakari", "campaigns", "list", "--json").stdout == ""
    home.down()


def test_media_goes_out_as_mms(home: Home) -> None:
    home.up()
    picture = home.folder / "picture.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    for name in ("sakari", "netsapiens"):
        args = ("--provider", name, "--text", "Look", "--media", str(picture))
        found = home.json("enqueue", str(home.people(4)), *args)
        home.wait(found["campaign"])
    assert (
        "has nothing for --media"
        in home.run(
            "enqueue", str(home.people(4)), "--provider", "bsg", "--text", "x", "--media", str(picture), code=2
        ).stderr
    )
    home.down()


def test_the_abilities_are_told_and_asked_for(home: Home) -> None:
    found = {one["provider"]: one for one in home.json("providers")}
    assert set(found) == set(providers.names())
    assert all(one["configured"] for one in found.values())
    assert {name for name, one in found.items() if one["abilities"]["price"]} == {"bsg"}
    assert {name for name, one in found.items() if one["abilities"]["schedule"]} == {"winsms", "bsg"}
    for name in providers.names():
        assert home.json("provider", name, "check")["ok"]
    assert home.json("provider", "winsms", "balance")["balance"] > 0
    assert home.json("provider", "bsg", "balance")["balance"] > 0
    assert home.run("provider", "netsapiens", "balance", code=2)
    estimate = home.json("estimate", str(home.people(50)), "--provider", "bsg", "--text", "Hi")
    assert estimate["price"] > 0
    assert home.json("estimate", str(home.people(50)), "--provider", "sakari", "--text", "Hi")["price"] is None


def test_what_the_providers_keep_is_listed_and_opt_outs_are_brought_home(home: Home) -> None:
    for command in (
        ("bsg", "campaigns", "list"),
        ("sakari", "contacts", "list"),
        ("sakari", "templates", "list"),
        ("netsapiens", "subscriptions", "list"),
    ):
        home.run(*command, "--json")
    home.up()
    synced = {one["provider"]: one for one in home.json("optouts", "sync")}
    assert set(synced) == {"winsms", "bsg"}
    assert all(one["left"] is None for one in synced.values())
    home.down()
