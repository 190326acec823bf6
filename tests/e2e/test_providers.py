"""The same commands on every provider: a campaign end to end, its own abilities, and nobody in another's way."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from dispatcher import providers
from tests.e2e.conftest import Home, fates, until

pytestmark = pytest.mark.e2e

MANY = {"netsapiens": 20, "sakari": 60}


def test_a_campaign_on_each_provider_at_once_is_accounted_for(running: Home) -> None:
    enqueued = {}
    for name in providers.names():
        many = MANY.get(name, 250)
        people = running.people(many, name=f"{name}.csv")
        with people.open("a") as out:
            out.write("+12015550100,Again\nnonsense,Nobody\n")
        text = name + " for {first_name}, {{{{field}}}} is no field; {{first_name}} neither"
        found = running.json("enqueue", str(people), "--provider", name, "--text", text)
        assert (found["messages"], found["duplicates"], found["invalid"]) == (many, 1, 1)
        plain = running.json("enqueue", str(people), "--provider", name, "--text", name + ": the same {{to}} all")
        enqueued[name] = (many, found["campaign"], plain["campaign"])
    for name, (many, personal, plain) in enqueued.items():
        for campaign in (personal, plain):
            running.wait(campaign, seconds=90)
            assert fates(running.report(campaign)) == {"delivered": many, "duplicate": 1, "invalid": 1}
        wanted = [f"{name} for Ann{at}, {{{{field}}}} is no field; {{first_name}} neither" for at in range(many)]
        assert sorted(running.texts(f"{name} for ")) == sorted(wanted)
        assert running.texts(f"{name}: ") == [f"{name}: the same {{to}} all"] * many
    assert running.sandbox.record.duplicates() == []


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


def test_a_number_suppressed_at_one_provider_is_not_sent_to_by_another(running: Home) -> None:
    people = running.folder / "one.csv"
    people.write_text("phone\n+12025550199\n+12025550123\n")  # the first has opted out at the sandbox
    first = running.json("enqueue", str(people), "--provider", "winsms", "--text", "Hi")
    running.wait(first["campaign"])
    second = running.json("enqueue", str(people), "--provider", "netsapiens", "--text", "Hi")
    assert (second["suppressed"], second["messages"]) == (1, 1)


def test_tokens_that_expire_in_mid_campaign_are_renewed_by_themselves(home: Home) -> None:
    home.sandbox.control.configure({"token_seconds": 1.5})
    # The sandbox lets NetSapiens in by an API key; a password grant has tokens that expire.
    home.environment.pop("DISPATCHER_NETSAPIENS__API_KEY", None)
    login = {"CLIENT_ID": "c", "CLIENT_SECRET": "s", "USERNAME": "u", "PASSWORD": "p"}
    home.environment |= {f"DISPATCHER_NETSAPIENS__{key}": value for key, value in login.items()}
    home.environment |= {f"DISPATCHER_{name.upper()}__REQUESTS_PER_SECOND": "6" for name in providers.names()}
    home.environment |= {
        "DISPATCHER_SAKARI__MESSAGES_PER_REQUEST": "10",
        "DISPATCHER_BSG__MESSAGES_PER_REQUEST": "10",
    }
    home.up()
    campaigns = {}
    for name, many in (("bsg", 120), ("sakari", 120), ("netsapiens", 18)):
        args = ("--provider", name, "--text", name + " {first_name}")
        campaigns[name] = (many, home.json("enqueue", str(home.people(many)), *args)["campaign"])
    for name, (many, campaign) in campaigns.items():
        until(lambda campaign=campaign: not home.status(campaign)["messages"]["queued"], f"{name} has sent all")
        states = home.states(campaign)
        assert states.keys() <= {"submitted", "delivered"}, (name, states)
        assert sum(states.values()) == many
        until(lambda name=name, many=many: len(home.texts(name + " ")) == many, "all of it was accepted")
    assert home.sandbox.record.duplicates() == []
    home.down()


def test_the_ledger_keeps_the_time_where_the_provider_has_no_schedule(running: Home) -> None:
    at = datetime.now(UTC) + timedelta(seconds=5)
    args = ("--provider", "netsapiens", "--text", "On time", "--at", at.isoformat())
    found = running.json("enqueue", str(running.people(5)), *args)
    running.wait(found["campaign"])
    sent = [message.accepted_at for message in running.sandbox.record.messages if message.text == "On time"]
    assert len(sent) == 5
    assert all(0 <= moment - at.timestamp() < 4 for moment in sent)


def test_bsg_stops_what_it_has_scheduled(running: Home) -> None:
    at = (datetime.now(UTC) + timedelta(hours=2)).replace(second=0, microsecond=0)
    found = running.json(
        "enqueue", str(running.people(20)), "--provider", "bsg", "--text", "Hi", "--at", at.isoformat()
    )
    campaign = found["campaign"]
    until(lambda: running.states(campaign) == {"submitted": 20}, "BSG holds it")
    done = running.json("cancel", campaign)
    assert done["recalled"]["messages"] == 20
    assert running.states(campaign) == {"cancelled": 20}


def test_sakari_campaign_objects_wait_for_a_person_and_are_removed_by_cancel(running: Home) -> None:
    args = ("--provider", "sakari", "--text", "Object for {first_name}", "--as-campaign")
    found = running.json("enqueue", str(running.people(30)), *args)
    campaign = found["campaign"]
    until(lambda: running.states(campaign) == {"submitted": 30}, "handed over")
    status = running.status(campaign)
    assert any("started at Sakari" in note for note in status["notes"])
    assert running.texts("Object for") == []
    kept = running.run("sakari", "campaigns", "list", "--json").stdout.splitlines()
    assert len(kept) == 1
    done = running.json("cancel", campaign)
    assert done["messages"]["cancelled"] + done["messages"]["submitted"] == 30
    assert running.run("sakari", "campaigns", "list", "--json").stdout == ""


def test_media_goes_out_as_mms(running: Home) -> None:
    picture = running.folder / "picture.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    for name in ("sakari", "netsapiens"):
        args = ("--provider", name, "--text", "Look", "--media", str(picture))
        found = running.json("enqueue", str(running.people(4)), *args)
        running.wait(found["campaign"])
    assert (
        "has nothing for --media"
        in running.run(
            "enqueue", str(running.people(4)), "--provider", "bsg", "--text", "x", "--media", str(picture), code=2
        ).stderr
    )


def test_the_abilities_are_told_and_asked_for(running: Home) -> None:
    found = {one["provider"]: one for one in running.json("providers")}
    assert set(found) == set(providers.names())
    assert all(one["configured"] for one in found.values())
    assert {name for name, one in found.items() if one["abilities"]["price"]} == {"bsg"}
    assert {name for name, one in found.items() if one["abilities"]["schedule"]} == {"winsms", "bsg"}
    for name in providers.names():
        if hasattr(providers.provider_class(name), "check") or found[name]["abilities"]["balance"]:
            assert running.json("provider", name, "check")["ok"]
    assert running.json("provider", "winsms", "balance")["balance"] > 0
    assert running.json("provider", "bsg", "balance")["balance"] > 0
    assert running.run("provider", "netsapiens", "balance", code=2)
    estimate = running.json("estimate", str(running.people(50)), "--provider", "bsg", "--text", "Hi")
    assert estimate["price"] > 0
    assert running.json("estimate", str(running.people(50)), "--provider", "sakari", "--text", "Hi")["price"] is None


def test_what_the_providers_keep_is_listed_and_opt_outs_are_brought_home(running: Home) -> None:
    for command in (
        ("bsg", "campaigns", "list"),
        ("sakari", "contacts", "list"),
        ("sakari", "templates", "list"),
        ("netsapiens", "subscriptions", "list"),
    ):
        running.run(*command, "--json")
    synced = {one["provider"]: one for one in running.json("optouts", "sync")}
    assert set(synced) == {"winsms", "bsg"}
    assert all(one["left"] is None for one in synced.values())
