"""Hours, expiry, pace, contact pressure, brands and late opt-outs through the installed command, on every provider."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from dispatcher import providers
from tests.e2e.conftest import Home, until

pytestmark = pytest.mark.e2e

NEW_YORK = ["+12125550110", "+12125550111", "+12125550112"]
GUAM = ["+16715550110", "+16715550111"]


def people(home: Home, name: str, numbers: list[str]) -> str:
    path = home.folder / f"{name}.csv"
    path.write_text("phone\n" + "".join(f"{number}\n" for number in numbers))
    return str(path)


def window(*, begins: timedelta, ends: timedelta) -> str:
    """Return a window by New York's clock, from now."""
    now = datetime.now(ZoneInfo("America/New_York"))
    return f"{now + begins:%H:%M}-{now + ends:%H:%M}"


OPEN_IN_NEW_YORK = {"begins": timedelta(hours=-1), "ends": timedelta(hours=2)}
CLOSED = {"begins": timedelta(hours=5), "ends": timedelta(hours=6)}


def enqueue(home: Home, provider: str, numbers: list[str], *options: str, text: str) -> str:
    path = people(home, text.replace(" ", "-"), numbers)
    found = home.json("enqueue", path, "--provider", provider, "--text", text, *options)
    return str(found["campaign"])


def sent_to(home: Home, text: str) -> list[str]:
    return sorted(one.number for one in home.sandbox.record.messages if one.text == text)


def test_a_late_opt_out_is_taken_back_from_the_provider(running: Home) -> None:
    at = (datetime.now(UTC) + timedelta(hours=2)).replace(second=0, microsecond=0)
    campaign = enqueue(running, "winsms", NEW_YORK, "--at", at.isoformat(), "--brand", "Acme", text="later")
    until(lambda: running.states(campaign) == {"submitted": 3}, "WinSMS holds it")
    cost = running.status(campaign)["cost"]
    running.run("optouts", "add", NEW_YORK[1], "--brand", "acme")
    running.run("optouts", "add", NEW_YORK[2], "--brand", "another")
    until(lambda: running.states(campaign) == {"submitted": 2, "cancelled": 1}, "it is taken back", seconds=30)
    [line] = [row for row in running.report(campaign) if row["state"] == "cancelled"]
    assert (line["number"], line["reason"]) == (NEW_YORK[1], "opted out; recalled from the provider")
    status = running.status(campaign)
    assert status["refunded"] > 0
    assert status["cost"] == cost - status["refunded"]
    record = running.sandbox.record
    assert [record.is_recalled(one) for one in record.messages if one.text == "later"] == [False, True, False]
    running.run("cancel", campaign)
    running.run("optouts", "remove", NEW_YORK[1], "--brand", "acme")


def test_on_each_provider_only_those_are_texted_whose_hours_it_is(running: Home) -> None:
    campaigns = {
        name: enqueue(
            running, name, [*NEW_YORK, *GUAM], "--window", window(**OPEN_IN_NEW_YORK), text=f"hours at {name}"
        )
        for name in providers.names()
    }
    for name, campaign in campaigns.items():
        until(lambda campaign=campaign: running.states(campaign) == {"delivered": 3, "queued": 2}, name)
        assert len(sent_to(running, f"hours at {name}")) == len(NEW_YORK)
    campaign = campaigns["winsms"]
    [held] = running.json("status", campaign)["held"]
    assert (held["zones"], held["messages"]) == (["Pacific/Guam"], 2)
    opens = datetime.fromisoformat(held["local"])
    assert opens.astimezone(UTC) == datetime.fromisoformat(held["until"])
    assert f"until {opens:%H:%M} in Pacific/Guam (2 messages)" in running.run("status", campaign).stdout
    # Even if they fell due by some mistake, no attempt would begin: the workers ask the recipients' clocks once more.
    assert running.ledger is not None
    with running.ledger.database.write() as tx:
        tx.run("UPDATE batch SET due_at = 0 WHERE state = 'pending'")
    due = "SELECT 1 FROM batch WHERE state <> 'pending' AND zone = 'Pacific/Guam' OR due_at = 0"

    def held_again() -> bool:
        assert running.ledger is not None
        with running.ledger.database.read() as tx:
            return tx.first(due) is None

    until(held_again, "all is held again")
    for name in campaigns:
        assert len(sent_to(running, f"hours at {name}")) == len(NEW_YORK)


def test_what_expires_is_never_sent_and_its_campaign_completes(running: Home) -> None:
    campaigns = [
        enqueue(
            running, name, NEW_YORK, "--window", window(**CLOSED), "--expire-after", "3s", text=f"too late at {name}"
        )
        for name in providers.names()
    ]
    for campaign in campaigns:
        running.wait(campaign)
        assert {(row["state"], row["reason"]) for row in running.report(campaign)} == {
            ("cancelled", "expired before it was sent")
        }
    assert not running.texts("too late at")


def test_a_pace_is_kept(running: Home) -> None:
    campaign = enqueue(running, "netsapiens", [*NEW_YORK, *GUAM], "--spread", "5s", text="paced")
    running.wait(campaign)
    assert running.ledger is not None
    with running.ledger.database.read() as tx:
        batches = "SELECT due_at FROM batch WHERE campaign_id = (SELECT id FROM campaign WHERE public_id = :campaign)"
        due = sorted(row.due_at / 1e6 for row in tx.rows(batches, campaign=campaign))
    assert [after - before for before, after in pairwise(due)] == pytest.approx([1.0] * 4)
    # A busy machine is late for some, and never early for any.
    sent = sorted(one.accepted_at for one in running.sandbox.record.messages if one.text == "paced")
    assert len(sent) == len(due)
    assert all(at >= earliest for at, earliest in zip(sent, due, strict=True))


def test_who_has_had_enough_is_left_out_by_every_provider(running: Home) -> None:
    numbers = ["+12125550120", "+12125550121"]
    first = enqueue(running, "winsms", numbers[:1], text="the first")
    running.wait(first)
    for name in providers.names():
        args = (people(running, "enough", numbers), "--provider", name, "--text", "Hi", "--at-most", "1 per 7d")
        assert running.json("enqueue", *args, "--dry-run")["suppressed"] == 1
    second = enqueue(running, "bsg", numbers, "--at-most", "1 per 7d", text="the second")
    left_out = running.report(second)[0]
    assert (left_out["state"], left_out["reason"]) == ("suppressed", "contact pressure: 1 in 7 days")


def test_a_brands_opt_outs_count_in_its_name_alone(running: Home) -> None:
    running.run("optouts", "add", NEW_YORK[0], "--brand", "Acme")
    args = (people(running, "brands", NEW_YORK), "--provider", "bsg", "--text", "brand", "--dry-run")
    assert running.json("enqueue", *args, "--brand", "ACME")["suppressed"] == 1
    assert running.json("enqueue", *args, "--brand", "Other")["suppressed"] == 0
    assert running.json("enqueue", *args)["suppressed"] == 0
