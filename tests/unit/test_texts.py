"""Which text a row gets, what a missing value means, and texts under a name: up to what would go out."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dispatcher import providers
from dispatcher.cli import cli
from dispatcher.ledger import Ledger
from dispatcher.provider import Answers, Refusal
from dispatcher.rendering import render_content

HOUR = timedelta(hours=1)
ANN, BEA, CLAIRE, DAN = (f"+1202555010{at}" for at in range(4))
LIST = f"phone,name,lang\n{ANN},Ann,en\n{BEA},Bea,DE \n{CLAIRE},Claire,fr\n{DAN},Dan,\n"
BY = ("--text-by", "lang", "--text", "Hi {name}", "--text-for", "de=Hallo {name}", "--text-for", "fr=Bonjour")
Run = Callable[..., Any]


@pytest.fixture
def run(ledger: Ledger) -> Run:
    def run(*args: str, stdin: str = LIST, code: int = 0) -> Any:
        as_json = [] if args[:2] in (("texts", "add"), ("texts", "remove"), ("texts", "list")) else ["--json"]
        done = CliRunner().invoke(cli, [*args, *as_json], input=stdin)
        assert done.exit_code == code, done.output + repr(done.exception)
        if code:
            return str(done.exception)
        return json.loads(done.stdout) if as_json else done.stdout

    return run


def enqueue(run: Run, *args: str, provider: str = "winsms", **more: Any) -> Any:
    return run("enqueue", "-", "--provider", provider, *args, **more)


def sent(ledger: Ledger, provider: str = "winsms", **answered: Any) -> dict[str, str]:
    """Submit all that is due, and return what goes to whom."""
    found: dict[str, str] = {}
    while (claim := ledger.batches.claim(provider, owner="w", now=datetime.now(UTC), lease=HOUR)) is not None:
        content = ledger.batches.content(claim)
        assert ledger.batches.begin_attempt(claim, now=datetime.now(UTC), lease=HOUR)
        batch = render_content(claim.campaign, claim.number, content, scheduled_for=None)
        texts = batch.texts or [str(batch.text)] * len(batch)
        found |= {f"+{number}": text for number, text in zip(batch.numbers, texts, strict=True)}
        many = len(batch)
        answers = Answers(provider_message_ids=[None] * many, costs=[None] * many, **answered)
        ledger.outcomes.submitted(claim, content, answers, now=datetime.now(UTC), receipt_window=HOUR)
    return found


@pytest.mark.parametrize("provider", providers.names())
def test_each_row_gets_the_text_that_its_column_names(run: Run, ledger: Ledger, provider: str) -> None:
    told = enqueue(run, *BY, "--dry-run", provider=provider)["preflight"]
    assert told["texts"] == {"": 2, "de": 1, "fr": 1}
    assert [one["text"] for one in told["samples"]] == ["Hi Ann", "Hallo Bea", "Bonjour"]
    found = enqueue(run, *BY, provider=provider)
    assert (found["messages"], found["segments"]) == (4, 4)
    assert sent(ledger, provider) == {ANN: "Hi Ann", BEA: "Hallo Bea", CLAIRE: "Bonjour", DAN: "Hi Dan"}
    campaign = ledger.campaigns.get(found["campaign"])
    assert ledger.reports.discrepancies(campaign) == []
    assert [line.row for line in ledger.reports.lines(campaign)] == [1, 2, 3, 4]


def test_texts_without_fields_are_kept_apart_and_counted_each_by_itself(run: Run, ledger: Ledger) -> None:
    texts = ("--text-by", "lang", "--text", "x" * 161, "--text-for", "de=ж" + "x" * 70, "--text-for", "fr=y")
    found = enqueue(run, *texts)
    assert (found["batches"], found["segments"]) == (3, 2 * 2 + 2 + 1)
    assert sorted(map(len, sent(ledger).values())) == [1, 71, 161, 161]


def test_hours_and_texts_cut_together(run: Run, ledger: Ledger) -> None:
    found = enqueue(run, *BY, "--window", "00:00-24:00", "--days", "mon-sun", "--canary", "1")
    assert found["messages"] == 4
    with ledger.database.read() as tx:
        rows = tx.rows("SELECT zone, variant FROM batch ORDER BY number")
    assert {row.zone for row in rows} == {"America/New_York"}
    assert sorted(str(row.variant) for row in rows) == ["None", "None", "de", "fr"]


def test_retry_and_add_say_what_each_was_told(run: Run, ledger: Ledger) -> None:
    first = enqueue(run, *BY)["campaign"]
    assert run("add", first, "-", stdin="phone,name,lang\n+12025550110,Ute,de\n")["messages"] == 1
    refused = {0: Refusal(reason="BAD"), 1: Refusal(reason="BAD")}
    assert sent(ledger, refused={0: refused[0]})["+12025550110"] == "Hallo Ute"
    again = run("retry", first, "--refused")
    texts = sent(ledger)
    assert texts[BEA] == "Hallo Bea"
    assert texts[CLAIRE] == "Bonjour"
    assert again["messages"] == len(texts)
    second = ledger.campaigns.get(again["campaign"])
    assert ledger.texts.of_campaign(second) == {"de": "Hallo {name}", "fr": "Bonjour"}
    assert run("add", second.public_id, "-", stdin="phone,name,lang\n+12025550111,Uwe,de\n")["messages"] == 1
    assert sent(ledger) == {"+12025550111": "Hallo Uwe"}


def test_retry_with_another_text_says_that_to_all(run: Run, ledger: Ledger) -> None:
    first = enqueue(run, *BY)["campaign"]
    sent(ledger, refused={0: Refusal(reason="BAD")})
    run("retry", first, "--refused", "--text", "Again, {name}")
    assert set(sent(ledger).values()) <= {"Again, Ann", "Again, Bea", "Again, Claire", "Again, Dan"}


MISSING = f"phone,name\n{ANN},Ann\n{BEA},\n{BEA},Bea\n"


def test_a_missing_value_refuses_the_list_unless_told_otherwise(run: Run, ledger: Ledger) -> None:
    text = ("--text", "Hi {name}!")
    assert "line 3 has no name" in enqueue(run, *text, stdin=MISSING, code=1)
    skipped = enqueue(run, *text, "--missing", "skip", stdin=MISSING)
    assert (skipped["messages"], skipped["invalid"], skipped["duplicates"]) == (2, 1, 0)
    [line] = [one for one in ledger.reports.lines(ledger.campaigns.get(skipped["campaign"])) if one.row == 2]
    assert line.reason == "invalid: no name"
    assert sent(ledger) == {ANN: "Hi Ann!", BEA: "Hi Bea!"}
    # What is added later is read by the same policy.
    added = run("add", skipped["campaign"], "-", stdin=f"phone,name\n{DAN},\n{CLAIRE},Claire\n")
    assert (added["messages"], added["invalid"]) == (1, 1)
    assert sent(ledger) == {CLAIRE: "Hi Claire!"}
    enqueue(run, *text, "--missing", "empty", stdin=MISSING)
    assert sent(ledger) == {ANN: "Hi Ann!", BEA: "Hi !"}


def test_a_value_is_missing_only_where_the_rows_own_text_needs_it(run: Run, ledger: Ledger) -> None:
    rows = f"phone,name,lang\n{ANN},Ann,en\n{CLAIRE},,fr\n{DAN},,de\n"
    assert "line 4 has no name" in enqueue(run, *BY, stdin=rows, code=1)
    found = enqueue(run, *BY, "--missing", "skip", stdin=rows)
    assert (found["messages"], found["invalid"]) == (2, 1)
    assert sent(ledger) == {ANN: "Hi Ann", CLAIRE: "Bonjour"}


def test_saved_texts_are_used_by_name(run: Run, ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "fr.txt").write_text("Bonjour {name}\n")
    run("texts", "add", "greeting", "--text", "Hi {name|there} – ж")
    assert "already" in run("texts", "add", "greeting", "--text", "x", code=1)
    assert "the text, character 4" in run("texts", "add", "bad", "--text", "Hi {name", code=1)
    shown = run("texts", "show", "greeting")
    assert (shown["fields"], shown["required"], shown["encoding"]) == (["name"], [], "ucs-2")
    args = ("--use", "greeting", "--text-by", "lang", "--text-for", f"fr=@{tmp_path / 'fr.txt'}")
    enqueue(run, *args, "--text-for", "de=saved:greeting")
    run("texts", "add", "greeting", "--text", "Changed", "--replace")
    assert sent(ledger)[CLAIRE] == "Bonjour Claire"
    enqueue(run, "--use", "greeting")
    assert set(sent(ledger).values()) == {"Changed"}
    assert "greeting" in run("texts", "list")
    run("texts", "remove", "greeting")
    assert "no saved text greeting" in enqueue(run, "--use", "greeting", code=1)
    assert "no saved text" in run("texts", "remove", "greeting", code=1)


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("--text-by", "lang"), "go together"),
        (("--text-for", "de=x"), "go together"),
        (("--text-by", "lang", "--text-for", "x"), "VALUE=TEXT"),
        (("--text-by", "lang", "--text-for", "de=x", "--text-for", "DE=y"), "two texts"),
        (("--text-by", "tongue", "--text-for", "de=x"), "no column tongue"),
        (("--text-by", "lang", "--text-for", "de={town}"), "no such column"),
        (("--text-by", "lang", "--text-for", "de={town"), "the text for de, character 1"),
        (("--use", "x"), "give the text once"),
    ],
)
def test_what_cannot_be_understood_is_refused(run: Run, ledger: Ledger, args: tuple[str, ...], why: str) -> None:
    assert why in enqueue(run, "--text", "Hi", *args, code=1)
    assert ledger.campaigns.latest() == []


def test_a_text_that_nobody_gets_is_told(run: Run) -> None:
    found = enqueue(run, *BY, "--text-for", "es=Hola")
    assert "nobody gets the text for es: no row that becomes a message says so" in found["notes"]
