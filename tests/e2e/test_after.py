"""What an owner does after sending, through the command, at every provider: reports, events, retry, add, forget."""

import csv
import json
from collections import Counter

import polars
import pytest
from python_calamine import CalamineWorkbook

from dispatcher import providers
from tests.e2e.conftest import Home, until

pytestmark = pytest.mark.e2e

AREAS = dict(zip(providers.names(), (202, 212, 215, 217, 224, 228, 231, 240), strict=False))
"""Each provider's people are others': whoever is forgotten is so everywhere."""


@pytest.mark.parametrize("provider", providers.names())
def test_a_campaign_is_reported_sent_again_added_to_and_forgotten(running: Home, provider: str) -> None:
    people = [f"+1{AREAS[provider]}555{line:04}" for line in range(120, 126)]
    folder = running.folder / provider
    folder.mkdir()
    file = folder / "people.csv"
    names = [f"{provider[0].upper()}{at}" for at in range(len(people))]
    rows = [*zip(people, names, strict=True), (people[0], "Again"), ("nobody", "No")]
    file.write_text("phone,name\n" + "".join(f"{number},{name}\n" for number, name in rows))
    text = f"{provider} says hello to {{name}}"
    first = running.json("enqueue", str(file), "--provider", provider, "--text", text)["campaign"]
    running.wait(first)

    # Reports: every row, in every format; sums; a page.
    wanted = {"delivered": 6, "duplicate": 1, "invalid": 1}
    everything = provider == "winsms"  # the formats are no matter of the provider
    for ending in ("csv", "jsonl", "xlsx", "parquet") if everything else ("csv",):
        out = folder / f"report.{ending}"
        assert "8 rows written" in running.run("report", first, "-o", str(out)).stderr
        match ending:
            case "csv":
                states = [row["state"] for row in csv.DictReader(out.read_text().splitlines())]
            case "jsonl":
                states = [json.loads(line)["state"] for line in out.read_text().splitlines()]
            case "xlsx":
                states = [row[2] for row in CalamineWorkbook.from_path(out).get_sheet_by_index(0).to_python()[1:]]
            case _:
                states = polars.read_parquet(out)["state"].to_list()
        assert Counter(states) == wanted, ending
    if everything:
        some = running.run("report", first, "--state", "invalid", "--state", "duplicate").stdout
        assert [line.split(",")[0] for line in some.splitlines()[1:]] == ["7", "8"]
    summary = running.json("report", first, "--summary")
    assert summary["countries"] == [{"name": "US", "messages": 6, "delivered_share": 1.0, "states": {"delivered": 6}}]
    page = folder / "page.html"
    running.run("report", first, "--html", str(page))
    assert "Delivery over time" in page.read_text()

    # The audit trail of one message names its attempt and its end.
    trail = running.json("events", f"{first}/2")
    assert trail["message"]["state"] == "delivered"
    moves = [(one["before"], one["after"]) for one in trail["events"] if one["subject"] == "batch"]
    assert ("claimed", "submitting") in moves
    assert ("submitting", "submitted") in moves
    if everything:
        assert people[1] not in running.run("events", f"{first}/2").stdout
        assert people[1] in running.run("events", f"{first}/2", "--full").stdout

        # Nobody was left out, so there is nobody to send to again; and what has ended takes nobody in.
        assert "nobody to send to again" in running.run("retry", first, "--undelivered", code=2).stderr
        assert "has ended" in running.run("add", first, str(file), code=2).stderr

    # A person is forgotten, and is not texted again from the same list.
    told = running.json("forget", people[2], "--yes")
    assert (told["messages"], told["waiting"]) == (1, 0)
    assert people[2] not in running.run("report", first).stdout
    second = running.json("enqueue", str(file), "--provider", provider, "--text", text + " again", "--key", provider)
    assert (second["messages"], second["suppressed"]) == (5, 1)
    running.wait(second["campaign"])
    assert len(running.texts(f"{provider} says hello to {names[2]}")) == 1
    if everything:
        running.run("optouts", "remove", people[2], code=None)
        with_hash = running.json("enqueue", str(file), "--provider", provider, "--text", "x", "--dry-run")
        assert with_hash["suppressed"] == 1  # only a pseudonym is left of it, and that still holds


def test_those_not_reached_are_sent_to_again_once(running: Home) -> None:
    file = running.folder / "some.csv"  # the sandbox delivers to the first, not to the second, and refuses the third
    file.write_text("phone\n+12125550101\n+12125550197\n+12125550198\n")
    first = running.json("enqueue", str(file), "--provider", "winsms", "--text", "Once more")["campaign"]
    status = running.wait(first)
    assert (status["messages"]["undelivered"], status["messages"]["refused"]) == (1, 1)
    done = running.json("retry", first, "--undelivered", "--text", "And again")
    assert (done["rows"], done["messages"]) == (1, 1)
    running.wait(done["campaign"])
    [line] = csv.DictReader(running.run("report", done["campaign"]).stdout.splitlines())
    assert (line["row"], line["number"], line["state"]) == ("2", "+12125550197", "undelivered")
    assert "1 rows were passed over" in running.run("retry", first, "--undelivered", code=2).stderr
    assert (len(running.texts("Once more")), len(running.texts("And again"))) == (2, 1)


def test_rows_join_a_campaign_that_waits(running: Home) -> None:
    file = running.folder / "joining.csv"
    file.write_text("phone\n+12125550111\n")
    more = running.folder / "more.csv"
    more.write_text("phone\n+12125550111\n+12125550112\n")
    args = ("enqueue", str(file), "--provider", "netsapiens", "--text", "Joined", "--at", "2099-01-01T00:00Z")
    campaign = running.json(*args)["campaign"]
    done = running.json("add", campaign, str(more))
    assert (done["rows"], done["messages"], done["duplicates"]) == (2, 1, 1)
    assert running.states(campaign) == {"queued": 2}
    running.run("cancel", campaign)
    until(lambda: running.states(campaign) == {"cancelled": 2}, "cancelled")
