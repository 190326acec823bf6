"""Lost answers, settled by the workers without anybody's help: found and adopted, or absent and sent again once."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.e2e.conftest import Home, made_home, until

pytestmark = pytest.mark.e2e

PROVIDERS = ("bsg", "sakari", "winsms")
GRACE = 1.0
TIMEOUT = 4.0
MANY, BATCH = 60, 25
AREAS = iter(range(301, 400))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with its stack running, in which absence soon says something."""
    with made_home(tmp_path_factory.mktemp("reconciliation")) as made:
        for name in PROVIDERS:
            made.environment[f"DISPATCHER_{name.upper()}__LOOKUP_GRACE_SECONDS"] = str(GRACE)
        for name in ("bsg", "sakari"):
            made.environment[f"DISPATCHER_{name.upper()}__MESSAGES_PER_REQUEST"] = str(BATCH)
        made.environment["DISPATCHER_WINSMS__RECONCILABLE"] = "true"
        made.up()
        yield made


@pytest.fixture
def home(running: Home) -> Iterator[Home]:
    yield running
    running.sandbox.faults.put([], replace=True)


def enqueue(home: Home, name: str, text: str, *args: str) -> str:
    """Enqueue a campaign to people that no other one is to, and return its id."""
    area = next(AREAS)
    people = home.folder / f"{area}.csv"
    people.write_text("phone,n\n" + "".join(f"+1{area}55501{at:02},{at}\n" for at in range(MANY)))
    found = home.json("enqueue", str(people), "--provider", name, "--text", f"{text} {{n}}", *args)
    assert found["messages"] == MANY
    return str(found["campaign"])


def whys(home: Home, campaign: str, what: str) -> list[str]:
    """Return the evidence of the events of one kind, from the audit trail."""
    home.status(campaign)
    assert home.ledger is not None
    events = home.ledger.reports.events(home.ledger.campaigns.get(campaign))
    return [event.why or "" for event in events if event.what == what]


def settled(home: Home, name: str, campaign: str) -> None:
    """Wait until nothing is unknown any more: WinSMS holds it for minutes, the others deliver it."""
    if name != "winsms":
        home.wait(campaign)
        assert home.states(campaign) == {"delivered": MANY}
        return
    until(lambda: home.states(campaign) == {"submitted": MANY}, "WinSMS holds all of it")
    held = [one for one in home.sandbox.record.messages if one.provider == "winsms"]
    assert all(one.scheduled_for is not None and one.scheduled_for > one.accepted_at + 60 for one in held)


def sent_once(home: Home, text: str) -> None:
    """Check that everyone was sent the text, once."""
    counts = Counter((one.number, one.text) for one in home.sandbox.record.messages if one.text.startswith(text))
    assert len(counts) == MANY
    assert set(counts.values()) == {1}
    assert home.sandbox.record.duplicates() == []


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_batch_that_was_carried_out_is_found_and_adopted(home: Home, name: str) -> None:
    home.sandbox.fault("drop_after", provider=name, path_contains="send" if name != "sakari" else "messages", count=1)
    campaign = enqueue(home, name, f"found at {name}")
    settled(home, name, campaign)
    assert len(whys(home, campaign, "adopted")) == 1
    assert whys(home, campaign, "freed") == []
    sent_once(home, f"found at {name}")
    ids = [row["provider_message_id"] for row in home.report(campaign)]
    assert len(set(ids)) == (1 if name == "bsg" else MANY)  # BSG's own ids are of campaigns
    if name == "winsms":  # what was adopted can be taken back
        assert home.json("cancel", campaign)["recalled"]["messages"] == MANY
        assert home.states(campaign) == {"cancelled": MANY}


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_batch_that_never_arrived_is_sent_again_once(home: Home, name: str) -> None:
    path = "send" if name != "sakari" else "messages"
    home.sandbox.fault("drop_before", provider=name, path_contains=path, count=1)
    began = datetime.now(UTC)
    campaign = enqueue(home, name, f"absent at {name}")
    settled(home, name, campaign)
    (freed,) = whys(home, campaign, "freed")
    assert freed
    assert whys(home, campaign, "adopted") == []
    assert (datetime.now(UTC) - began).total_seconds() > TIMEOUT + GRACE
    sent_once(home, f"absent at {name}")


def test_a_list_that_cannot_be_read_keeps_it_unknown_until_it_can(home: Home) -> None:
    home.sandbox.fault("drop_before", provider="bsg", path_contains="send", count=1)
    home.sandbox.fault("html", provider="bsg", path_contains="/api/messages", count=15)
    campaign = enqueue(home, "bsg", "unreadable")
    until(lambda: home.states(campaign).get("unknown"), "unknown")
    settled(home, "bsg", campaign)
    assert len(whys(home, campaign, "freed")) == 1
    sent_once(home, "unreadable")


def test_a_campaign_object_whose_answer_was_lost_is_there_once(home: Home) -> None:
    home.sandbox.fault("drop_after", provider="sakari", path_contains="/campaigns", count=1)
    campaign = enqueue(home, "sakari", "object", "--as-campaign")
    until(lambda: home.states(campaign) == {"submitted": MANY}, "handed over")
    assert len(whys(home, campaign, "adopted")) == 1
    notes = home.status(campaign)["notes"]
    kept = home.run("sakari", "campaigns", "list", "--json").stdout.splitlines()
    assert len(kept) == len(notes) == -(-MANY // BATCH)
    assert all("started at Sakari" in note for note in notes)
    home.run("cancel", campaign)
    assert home.run("sakari", "campaigns", "list", "--json").stdout == ""
