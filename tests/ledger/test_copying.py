"""A SQLite ledger goes to PostgreSQL whole, once, and is not used again."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from dispatcher.cli import cli
from dispatcher.errors import LedgerError
from dispatcher.ledger import Ledger, NewCampaign, copy_ledger, open_ledger
from dispatcher.provider import Answers
from tests.ledger.conftest import LEASE, NOW, WINDOW, Enqueue, claim


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def target(postgresql_url: str) -> Iterator[Ledger]:
    opened = open_ledger(postgresql_url)
    yield opened
    opened.close()


def new_campaign() -> NewCampaign:
    return NewCampaign(
        public_id="c9", name="next", provider="winsms", template="Hello", personalised=False, created_at=NOW
    )


def test_everything_arrives_and_work_goes_on_there(
    ledger: Ledger, target: Ledger, enqueue: Enqueue, url: str
) -> None:
    campaign = enqueue(batches=3)
    taken = claim(ledger)
    content = ledger.batches.content(taken)
    assert ledger.batches.begin_attempt(taken, now=NOW, lease=LEASE)
    answers = Answers(provider_message_ids=["a", "b", "c"], costs=[None] * 3)
    ledger.outcomes.submitted(taken, content, answers, now=NOW, receipt_window=WINDOW)
    ledger.suppressions.add({1_202_555_0199: "asked"}, source="test", now=NOW)
    before = list(ledger.reports.lines(campaign)), ledger.reports.events(campaign)

    copied = copy_ledger(ledger.database, target.database, now=NOW)

    assert copied["message"] == 9
    there = target.campaigns.get(campaign.public_id)
    assert (list(target.reports.lines(there)), target.reports.events(there)) == before
    assert target.reports.discrepancies(there) == []
    assert target.suppressions.count() == 1
    assert claim(target).number == 2  # numbering goes on, too:
    assert target.plans.begin(new_campaign(), who="t", now=NOW) > campaign.id
    with pytest.raises(LedgerError, match="was copied to postgresql"):
        open_ledger(url)


def test_a_ledger_at_work_or_a_target_in_use_is_refused(ledger: Ledger, target: Ledger, enqueue: Enqueue) -> None:
    enqueue()
    ledger.leases.beat("worker", started_at=NOW, worked_at=None, now=NOW)
    with pytest.raises(LedgerError, match="stop them all"):
        copy_ledger(ledger.database, target.database, now=NOW + timedelta(seconds=5))
    target.suppressions.add({1_202_555_0199: "asked"}, source="test", now=NOW)
    with pytest.raises(LedgerError, match="not empty"):
        copy_ledger(ledger.database, target.database, now=NOW + timedelta(minutes=5))
    with pytest.raises(LedgerError, match="no other direction"):
        copy_ledger(target.database, ledger.database, now=NOW)
    assert claim(ledger)  # and the old one is in use as before


def test_the_command_migrates_checks_and_copies(
    tmp_path: Path, ledger: Ledger, enqueue: Enqueue, url: str, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue()
    monkeypatch.setenv("DISPATCHER_HOME", str(tmp_path))
    monkeypatch.setenv("DISPATCHER_LEDGER_URL", url)
    run = CliRunner().invoke
    assert "nothing to do" in run(cli, ["ledger", "migrate"], catch_exceptions=False).output
    done = run(cli, ["ledger", "check"], catch_exceptions=False)
    assert (done.exit_code, "campaigns: 1; everything matches" in done.output) == (0, True)
    with ledger.database.write() as tx:
        tx.run("UPDATE counter SET amount = amount + 1 WHERE name = 'message.queued'")
    done = run(cli, ["ledger", "check"], catch_exceptions=False)
    assert (done.exit_code, "message.queued: counted" in done.output) == (1, True)
    done = run(cli, ["ledger", "copy", postgresql_url], catch_exceptions=False)
    assert "now set DISPATCHER_LEDGER_URL" in done.output
    with pytest.raises(LedgerError, match="was copied to"):
        run(cli, ["list"], catch_exceptions=False)
