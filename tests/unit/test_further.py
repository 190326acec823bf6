"""More recipients join a campaign, and some of a campaign's are sent to again: all of it once, and accounted for."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner

from dispatcher.cli import cli
from dispatcher.ledger import Ledger
from dispatcher.provider import Answers, Refusal

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
ANN, BOB, CARL, DORA = (f"+1202555010{at}" for at in range(4))
Run = Callable[..., Any]


@pytest.fixture
def run(ledger: Ledger) -> Run:
    def run(*args: str, stdin: str | None = None, code: int = 0) -> Any:
        done = CliRunner().invoke(cli, [*args, "--json"], input=stdin)
        assert done.exit_code == code, done.output + repr(done.exception)
        return json.loads(done.stdout) if code == 0 else str(done.exception)

    return run


def people(*numbers: str) -> str:
    return "phone,name\n" + "".join(f"{number},N{number[-1]}\n" for number in numbers)


def enqueue(run: Run, *numbers: str) -> str:
    args = ("enqueue", "-", "--provider", "winsms", "--text", "Hi {name}")
    return str(run(*args, stdin=people(*numbers))["campaign"])


def submit(ledger: Ledger, **answered: Any) -> list[int]:
    """Submit the next batch, and return the numbers in it."""
    claim = ledger.batches.claim("winsms", owner="w", now=datetime.now(UTC), lease=HOUR)
    assert claim is not None
    content = ledger.batches.content(claim)
    assert ledger.batches.begin_attempt(claim, now=datetime.now(UTC), lease=HOUR)
    many = len(content.numbers)
    answers = Answers(provider_message_ids=[None] * many, costs=[None] * many, **answered)
    ledger.outcomes.submitted(claim, content, answers, now=datetime.now(UTC), receipt_window=HOUR)
    return list(content.numbers)


def rows(ledger: Ledger, campaign: str) -> list[tuple[int, str, str]]:
    lines = ledger.reports.lines(ledger.campaigns.get(campaign))
    return [(line.row, line.number, line.state) for line in lines]


def test_added_rows_follow_and_nobody_is_in_it_twice(run: Run, ledger: Ledger) -> None:
    campaign = enqueue(run, ANN, BOB)
    done = run("add", campaign, "-", stdin=people(BOB, CARL, CARL, "none"))
    assert (done["campaign"], done["rows"], done["messages"], done["duplicates"]) == (campaign, 4, 1, 2)
    assert rows(ledger, campaign) == [
        (1, ANN, "queued"),
        (2, BOB, "queued"),
        (3, BOB, "duplicate"),
        (4, CARL, "queued"),
        (5, CARL, "duplicate"),
        (6, "none", "invalid"),
    ]
    [*_, duplicate, _] = (line.reason for line in ledger.reports.lines(ledger.campaigns.get(campaign)))
    assert duplicate == "duplicate of row 4"
    assert submit(ledger) == [int(ANN), int(BOB)]
    assert submit(ledger) == [int(CARL)]
    found = ledger.campaigns.get(campaign)
    assert (found.totals.rows, found.totals.batches) == (6, 2)
    assert ledger.reports.discrepancies(found) == []
    assert [one.public_id for one in ledger.campaigns.latest()] == [campaign]
    assert "6 rows" not in str(ledger.reports.events(found))
    assert "4 rows, 1 messages" in str(ledger.reports.events(found))


def test_nothing_is_added_to_what_has_ended_nor_by_half(run: Run, ledger: Ledger) -> None:
    campaign = enqueue(run, ANN)
    assert "none of its" in run("add", campaign, "-", stdin=people(ANN), code=1)
    found = ledger.campaigns.get(campaign)
    run("add", campaign, "-", stdin=people(BOB))
    stale = ledger.plans.begin(_draft(), who="t", now=NOW)
    with pytest.raises(Exception, match="others were added"):
        ledger.plans.add(stale, found, found.totals, who="t", now=NOW)
    run("cancel", campaign)
    assert "has ended" in run("add", campaign, "-", stdin=people(CARL), code=1)
    assert [row[1] for row in rows(ledger, campaign)] == [ANN, BOB]


def _draft() -> Any:
    from dispatcher.ledger import NewCampaign  # noqa: PLC0415

    return NewCampaign(
        public_id="cx", name="x", provider="winsms", template="x", personalised=False, created_at=NOW, adds_to=1
    )


def test_some_are_sent_to_again_once(run: Run, ledger: Ledger) -> None:
    first = enqueue(run, ANN, BOB, CARL, DORA)
    submit(ledger, refused={0: Refusal(reason="BAD"), 2: Refusal(reason="BAD")})
    assert "say whom" in run("retry", first, code=1)
    ledger.suppressions.add({int(CARL): "asked"}, source="t", now=NOW)
    done = run("retry", first, "--refused", "--text", "Again {name}")
    second = done["campaign"]
    assert (done["rows"], done["messages"], done["suppressed"]) == (2, 1, 1)
    assert rows(ledger, second) == [(1, ANN, "queued"), (3, CARL, "suppressed")]
    assert ledger.campaigns.get(second).retry_of == first
    assert submit(ledger) == [int(ANN)]
    assert run("retry", first, "--refused", code=1)  # Ann was sent to again; Carl is suppressed
    assert [one.public_id for one in ledger.campaigns.latest()] == [second, first]


def test_unknown_ones_come_along_only_if_asked_for(run: Run, ledger: Ledger) -> None:
    first = enqueue(run, ANN, BOB)
    submit(ledger, refused={0: Refusal(reason="BAD")}, missing=frozenset({1}))
    assert run("retry", first, "--refused", "--dry-run")["messages"] == 1
    done = CliRunner().invoke(cli, ["retry", first, "--unknown"], input="n\n")
    assert (done.exit_code, "would get it twice" in done.output) == (1, True)
    second = run("retry", first, "--unknown", "--yes")["campaign"]
    assert rows(ledger, second) == [(2, BOB, "queued")]


def test_two_who_retry_at_once_get_one_campaign(run: Run, ledger: Ledger) -> None:
    first = enqueue(run, ANN)
    submit(ledger, refused={0: Refusal(reason="BAD")})
    second = run("retry", first, "--refused")["campaign"]
    with ledger.database.write() as tx:  # as the other saw it before: no retry yet, none of its rows
        tx.run("UPDATE campaign SET retry_of = 'other' WHERE public_id = :id", id=second)
    again = run("retry", first, "--refused")
    assert again["campaign"] == second
    assert len(ledger.campaigns.latest()) == 2


def test_what_joins_a_campaign_fits_every_provider_that_may_take_over(run: Run, ledger: Ledger) -> None:
    args = ("enqueue", "-", "--provider", "winsms,netsapiens", "--text", "Hi", "--priority", "3")
    campaign = run(*args, stdin=people(ANN, BOB))["campaign"]
    done = run("add", campaign, "-", stdin=people(CARL, DORA))
    assert (done["messages"], done["batches"]) == (2, 2)  # NetSapiens takes one message in a request
