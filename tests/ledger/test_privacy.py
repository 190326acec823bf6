"""What is erased is gone, what stays adds up, and nobody who asked to be forgotten is texted again."""

from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from dispatcher import privacy
from dispatcher.cli import cli
from dispatcher.ledger import (
    Campaign,
    ExcludedRow,
    Exclusion,
    Ledger,
    NewCampaign,
    PlannedBatch,
    PlanTotals,
)
from dispatcher.message import MessageState
from dispatcher.provider import Answers, Receipt
from dispatcher.template import pack_fields
from tests.ledger.conftest import LEASE, NOW, WINDOW, claim, numbers

ANN, BOB, CARL = numbers(3)


def plan(ledger: Ledger, name: str = "c1") -> Campaign:
    new = NewCampaign(
        public_id=name,
        name=name,
        provider="winsms",
        template="Hi {name}",
        personalised=True,
        created_at=NOW,
        country="US",
    )
    campaign_id = ledger.plans.begin(new, who="t", now=NOW)
    batch = PlannedBatch(
        numbers=[ANN, BOB, CARL], rows=[1, 2, 3], segments=[1, 1, 1],
        fields=pack_fields({"name": ["Ann", "Bob", "Carl"]}), due_at=NOW,
    )  # fmt: skip
    again = ExcludedRow(
        row=4, kind=Exclusion.DUPLICATE, number=f"({str(ANN)[1:4]}) 555-0100", reason="duplicate of row 1"
    )
    ledger.plans.append(campaign_id, first_number=1, batches=[batch], excluded=[again], now=NOW)
    totals = PlanTotals(rows=4, messages=3, duplicates=1, batches=1, segments=3)
    ledger.plans.finish(campaign_id, totals, who="t", now=NOW)
    return ledger.campaigns.get(name)


def send(ledger: Ledger) -> None:
    taken = claim(ledger)
    content = ledger.batches.content(taken)
    assert ledger.batches.begin_attempt(taken, now=NOW, lease=LEASE)
    answers = Answers(provider_message_ids=["a", "b", "c"], costs=[None] * 3)
    ledger.outcomes.submitted(taken, content, answers, now=NOW, receipt_window=WINDOW)


def deliver(ledger: Ledger, campaign: Campaign) -> None:
    [batch] = ledger.receipts.due("winsms", now=NOW, most=10)
    settled = [Receipt(message_id=one, state=MessageState.DELIVERED, at=NOW) for one in batch.message_ids]
    ledger.receipts.apply(settled, asked={batch.batch_id: NOW}, who="t", now=NOW)
    assert ledger.campaigns.advance(who="t", now=NOW)


def stored(ledger: Ledger) -> str:
    """Everything that the ledger holds, as text."""
    with ledger.database.read() as tx:
        found = [
            tx.rows(f"SELECT * FROM {table}")
            for table in ("campaign", "message", "excluded_row", "suppression", "event")
        ]
        payloads = [bytes(row.fields) for row in tx.rows("SELECT fields FROM payload")]
    return str(found) + str(payloads)


def test_a_finished_campaign_is_erased_after_its_time(ledger: Ledger) -> None:
    campaign = plan(ledger)
    send(ledger)
    keep = timedelta(days=30)
    assert privacy.erase_finished(ledger, keep=keep, who="t", now=NOW + timedelta(days=31)) == []  # still running
    deliver(ledger, campaign)
    assert privacy.erase_finished(ledger, keep=keep, who="t", now=NOW + timedelta(days=29)) == []
    assert privacy.erase_finished(ledger, keep=keep, who="t", now=NOW + timedelta(days=31)) == ["c1"]
    assert privacy.erase_finished(ledger, keep=keep, who="t", now=NOW + timedelta(days=31)) == []
    for word in (str(ANN), str(BOB), "555-0100", "Ann", "Hi {name}"):
        assert word not in stored(ledger)
    lines = list(ledger.reports.lines(campaign))
    assert [line.state for line in lines] == ["delivered"] * 3 + ["duplicate"]
    assert len({line.number for line in lines}) == 4
    assert all(line.number.startswith("erased") for line in lines)
    assert ledger.reports.discrepancies(campaign) == []


def test_a_person_is_forgotten_everywhere_and_never_texted_again(ledger: Ledger) -> None:
    first = plan(ledger)
    send(ledger)
    done = privacy.forget(ledger, ANN, country=None, who="t", now=NOW)
    assert (done.messages, done.excluded, done.waiting) == (0, 1, 1)  # on its way: its receipt needs the number
    assert ledger.suppressions.among([ANN, BOB]) == {ANN}
    deliver(ledger, first)
    second = plan(ledger, "c2")
    done = privacy.forget(ledger, ANN, country=None, who="t", now=NOW)
    assert (done.messages, done.suppressed, done.excluded, done.waiting) == (2, 1, 1, 0)
    assert str(ANN) not in stored(ledger)
    assert "555-0100" not in stored(ledger)
    assert ledger.batches.content(claim(ledger)).numbers == [BOB, CARL]
    assert ledger.suppressions.among([ANN, BOB]) == {ANN}  # by its pseudonym
    assert [ledger.reports.discrepancies(one) for one in (first, second)] == [[], []]
    assert privacy.forget(ledger, ANN, country=None, who="t", now=NOW).messages == 0
    assert ledger.suppressions.among([ANN, BOB]) == {ANN}


def test_the_fields_of_a_forgotten_person_leave_the_batch(ledger: Ledger) -> None:
    plan(ledger)
    privacy.forget(ledger, BOB, country=None, who="t", now=NOW)
    content = ledger.batches.content(claim(ledger))
    assert content.positions == [0, 2]
    assert content.fields is not None
    assert b"Bob" not in content.fields
    assert b"Carl" in content.fields


def test_the_commands(ledger: Ledger, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = plan(ledger)
    monkeypatch.setenv("DISPATCHER_HOME", str(tmp_path))
    monkeypatch.setenv("DISPATCHER_LEDGER_URL", url)

    def run(*args: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, args)
        return done.exit_code, done.output + str(done.exception or "")

    code, told = run("erase", "c1", "--yes")
    assert (code, "something of it may still happen" in told) == (1, True)
    send(ledger)
    code, told = run("forget", f"+{ANN}", "--yes")
    assert (code, "1 messages are on their way" in told) == (1, True)
    code, told = run("events", "c1/2")
    assert (code, str(BOB) in told) == (0, False)
    assert "3 accepted" in run("events", "c1/2", "--json")[1]
    assert f"+{BOB}" in run("events", "c1/2", "--full")[1]
    assert "duplicate of row 1" in run("events", "c1/4")[1]
    assert run("events", "c1/5")[0] == run("events", "c1/x")[0] == 1
    deliver(ledger, campaign)
    with ledger.database.write() as tx:  # the command's clock is the real one
        tx.run("UPDATE campaign SET finished_at = 0")
    assert run("forget", f"+{ANN}", "--yes", "--json")[0] == 0
    assert run("erase", "c1", "--yes")[0] == 0
    assert run("erase", "c1", "--yes")[0] == 1
