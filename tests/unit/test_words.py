"""What the command says is true, fits the terminal, and names what is wrong."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dispatcher.cli import cli
from dispatcher.ledger import Ledger
from dispatcher.ledger.reports import Reports
from dispatcher.ledger.rows import Fate
from dispatcher.provider import Answers
from dispatcher.reporting import NETWORK, harmless_number
from tests.unit.test_preflight import on_a_terminal

HOUR = timedelta(hours=1)
LIST = "phone,first_name\n+12025550100,Ann\n+12025550101,Bob\nn/a,Nobody\n27831234567,Zinzi\n"
Run = Callable[..., Any]


@pytest.fixture
def run(ledger: Ledger) -> Run:
    def run(*args: str, stdin: str | None = None, code: int = 0) -> str:
        done = CliRunner().invoke(cli, args, input=stdin)
        assert done.exit_code == code, done.output + repr(done.exception)
        return done.output + ("" if code == 0 else str(done.exception))

    return run


def enqueue(run: Run, *args: str, provider: str = "netsapiens") -> str:
    said = run("enqueue", "-", "--provider", provider, "--text", "Hi {first_name}", *args, "--json", stdin=LIST)
    return str(json.loads(said.splitlines()[0])["campaign"])


def submit(ledger: Ledger, provider: str = "netsapiens") -> None:
    """Submit the next batch of a provider that tells no cost."""
    now = datetime.now(UTC)
    claim = ledger.batches.claim(provider, owner="host/1", now=now, lease=HOUR)
    assert claim is not None
    content = ledger.batches.content(claim)
    assert ledger.batches.begin_attempt(claim, now=now, lease=HOUR)
    answers = Answers(provider_message_ids=[None] * len(content.numbers), costs=[None] * len(content.numbers))
    ledger.outcomes.submitted(claim, content, answers, now=now, receipt_window=HOUR)


def test_status_says_why_a_campaign_takes_its_time_and_that_no_cost_was_told(run: Run, ledger: Ledger) -> None:
    campaign = enqueue(run, "--spread", "2h", "--window", "00:00-23:59")
    said = run("status", campaign)
    assert "hours     00:00-23:59, every day, by the recipients' clocks" in said
    assert "pace      evenly over 2 h" in said
    assert "cost      0" in said
    submit(ledger)
    assert "cost      netsapiens has told none so far" in run("status", campaign)
    told = json.loads(run("status", campaign, "--json"))
    assert told["timing"]["spread_seconds"] == 7200
    assert told["cost"] == 0


@pytest.mark.parametrize(
    ("days", "shown"), [("mon-sat", "mon-sat"), ("mon,wed", "mon, wed"), ("sat,sun", "sat, sun")]
)
def test_status_says_on_which_days(run: Run, days: str, shown: str) -> None:
    campaign = enqueue(run, "--days", days, "--skip-holidays")
    said = " ".join(run("status", campaign).split())
    assert f"hours 00:00-24:00, {shown}, no public holidays, by the recipients' clocks" in said


def test_the_summary_says_who_still_waits_why_rows_were_left_out_and_what_a_network_is(
    run: Run, ledger: Ledger
) -> None:
    campaign = enqueue(run)
    submit(ledger)
    said = run("report", campaign, "--summary")
    assert "delivered so far" in said
    assert "3 messages still to be sent, or without a receipt so far" in said
    assert [line.split() for line in said.splitlines() if "not a number" in line] == [
        ["invalid", "not", "a", "number", "1"]
    ]
    assert NETWORK in said
    assert "ZA MTN" in said
    told = json.loads(run("report", campaign, "--summary", "--json"))
    assert (told["waiting"], told["networks_are"]) == (3, NETWORK)
    assert told["reasons"] == [{"state": "invalid", "reason": "not a number", "messages": 1}]


def test_the_audit_trail_fits_the_terminal(run: Run, ledger: Ledger) -> None:
    campaign = enqueue(run)
    submit(ledger)
    said = run("events", campaign)
    assert max(map(len, said.splitlines())) <= 80
    assert "who     of        what" in said
    assert "attempt 1: claimed → submitting" in said
    assert "attempt 1: submitting → submitted: 1 accepted, 0 refused" in " ".join(said.split())


def test_a_masked_number_is_no_formula() -> None:
    assert harmless_number("+1202•••0100") == "+1202•••0100"
    assert harmless_number("+1202•••=1") == "'+1202•••=1"


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("--canary", "5", "--canary-wait", "soon"), "--canary-wait"),
        (("--canary", "5", "--canary-delivered", "most"), "--canary-delivered"),
        (("--breaker", "x"), "--breaker"),
        (("--canary", "200%"), "--canary 200%: write a share"),
        (("--test-wait", "x"), "--test-wait"),
    ],
)
def test_an_option_that_cannot_be_read_is_named(run: Run, args: tuple[str, ...], why: str) -> None:
    told = ("enqueue", "-", "--provider", "winsms", "--text", "Hi", *args)
    done = CliRunner().invoke(cli, told, input=LIST)
    assert why in done.output + str(done.exception)


def test_a_list_is_no_picture(run: Run, tmp_path: Path) -> None:
    wrong = tmp_path / "people.csv"
    wrong.write_text(LIST)
    said = run("enqueue", "-", "--provider", "netsapiens", "--text", "Hi", "--media", str(wrong), stdin=LIST, code=1)
    assert "text/csv by its name: MMS carries a picture" in said


def test_what_is_no_number_is_never_passed_over_when_it_opts_out(run: Run, ledger: Ledger) -> None:
    assert "nothing was changed: •••: not a number" in run("optouts", "add", "phone", "+12025550109", code=1)
    assert list(ledger.suppressions.entries()) == []
    assert json.loads(run("optouts", "add", "+12025550109", "--json")) == {"numbers": 1, "added": 1}
    told = json.loads(run("optouts", "remove", "+12025550109", "--json"))
    assert told == {"numbers": 1, "removed": 1, "still_on": []}


def test_saved_texts_are_for_programs_too(run: Run) -> None:
    assert json.loads(run("texts", "add", "spring", "--text", "Hi", "--json")) == {"saved": "spring"}
    assert json.loads(run("texts", "remove", "spring", "--json")) == {"removed": "spring"}


def test_a_file_whose_name_tells_no_format_is_said_to_be_csv(run: Run, tmp_path: Path) -> None:
    campaign = enqueue(run)
    assert "4 rows written to" in (said := run("report", campaign, "-o", str(tmp_path / "fates")))
    assert said.rstrip().endswith("as CSV")
    assert "as CSV" not in run("report", campaign, "-o", str(tmp_path / "fates.csv"))


def test_one_message_is_one_message(run: Run) -> None:
    said = run("enqueue", "-", "--provider", "netsapiens", "--text", "Hi", "--dry-run", stdin=LIST)
    assert "one request to netsapiens carries 1 message on average" in said


def test_long_lines_go_on_below_on_a_terminal(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.unit.test_preflight.LIST", LIST + "2.78E+10,Mangled\n")
    code, said = on_a_terminal(tmp_path, "n")
    assert code == 1
    assert "left out: 1 invalid: a spreadsheet cut it, as in 2.78E+10, and its digits are\r\n          lost:" in said
    assert max(len(line) for line in said.replace("\r", "").splitlines()) <= 80


def test_a_no_is_told_as_what_it_came_to(run: Run) -> None:
    assert "nobody was forgotten" in run("forget", "+12025550100", stdin="n\n", code=1)


def test_whole_minutes_of_one_provider_are_not_those_of_another(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    nine = datetime(2026, 12, 1, 9, tzinfo=UTC).timestamp()
    delivered = {"state": "delivered", "reason": None, "began_at": nine + 30}
    fates = [
        Fate(provider="winsms", number=12025550100, settled_at=nine, **delivered),  # at 09:00:59 at the latest
        Fate(provider="bsg", number=12025550101, settled_at=nine + 31.5, **delivered),
    ]
    monkeypatch.setattr(Reports, "fates", lambda *_: iter(fates))
    campaign = enqueue(run, provider="winsms,bsg")
    told = json.loads(run("report", campaign, "--summary", "--json"))
    assert told["seconds_to_delivery"] == {"p50": 30.0, "p90": 30.0, "p99": 30.0}
    said = run("report", campaign, "--summary")
    assert "delivered within 30.0 s (50 %)" in said
    assert "at most: winsms tells whole minutes" in said
