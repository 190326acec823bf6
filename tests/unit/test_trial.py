"""A text is tried on one's own number first: the campaign goes if the provider took the test, and else never."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dispatcher.cli import cli
from dispatcher.ledger import Ledger
from dispatcher.provider import Answers, Refusal
from tests.unit.test_preflight import on_a_terminal

HOUR = timedelta(hours=1)
LIST = "phone,first_name\nnone,Nobody\n+12025550100,{Ann}\n+12025550101,Bob\n"
OWN = "+442079460999"
Run = Callable[..., Any]


@pytest.fixture
def run(ledger: Ledger) -> Run:
    def run(*args: str, code: int = 0, options: tuple[str, ...] = ("--test", OWN)) -> Any:
        text = ("--text", "Hi {first_name}", "--name", "sale")
        done = CliRunner().invoke(
            cli, ["enqueue", "-", "--provider", "winsms", *text, *options, *args, "--json"], input=LIST
        )
        assert done.exit_code == code, done.output + repr(done.exception)
        return json.loads(done.stdout) if code == 0 else str(done.exception)

    return run


@contextmanager
def worker(ledger: Ledger, **answered: Any) -> Iterator[list[str]]:
    """Answer for the first batch that may go, as a worker would."""
    sent: list[str] = []
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.02):
            now = datetime.now(UTC)
            claim = ledger.batches.claim("winsms", owner="w", now=now, lease=HOUR)
            if claim is None:
                continue
            content = ledger.batches.content(claim)
            assert ledger.batches.begin_attempt(claim, now=now, lease=HOUR)
            sent.extend(f"{number} {content.template}" for number in content.numbers)
            answers = Answers(provider_message_ids=[None], costs=[None], **answered)
            ledger.outcomes.submitted(claim, content, answers, now=now, receipt_window=HOUR)
            return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield sent
    finally:
        over.set()
        thread.join()


def test_an_accepted_test_goes_before_its_campaign(run: Run, ledger: Ledger) -> None:
    with worker(ledger) as sent:
        found = run()
    assert sent == [f"{OWN[1:]} Hi {{{{Ann}}}}"]  # the braces of the value, as a text writes them
    assert found["test"]["outcome"] == "submitted"
    assert (found["test"]["row"], found["messages"]) == (2, 2)
    campaign, test = (ledger.campaigns.get(name) for name in (found["campaign"], found["test"]["campaign"]))
    assert (campaign.name, test.name, test.rules["test_of"]) == ("sale", "test of sale", campaign.public_id)
    assert test.totals.messages == 1


def test_a_refused_test_is_the_end_of_it(run: Run, ledger: Ledger) -> None:
    with worker(ledger, refused={0: Refusal(reason="BAD_SENDER")}):
        said = run("--yes", "--test-row", "3", code=1)
    assert "refused (BAD_SENDER); nothing else was enqueued" in said
    assert [one.name for one in ledger.campaigns.latest()] == ["test of sale"]
    with ledger.database.read() as tx:
        assert tx.rows("SELECT COUNT(*) AS many FROM message")[0].many == 1


def test_a_lost_answer_is_no_acceptance(run: Run, ledger: Ledger) -> None:
    with worker(ledger, missing=frozenset({0})):
        assert "unknown" in run(code=1)
    assert len(ledger.campaigns.latest()) == 1


@pytest.mark.parametrize(
    ("answers", "code", "campaigns"),
    [("n", 1, ["test of people"]), ("yn", 1, ["test of people"]), ("yy", 0, ["people", "test of people"])],
    ids=["no", "on, and then no", "on"],
)
def test_a_person_is_asked_whether_to_go_on_after_a_lost_answer(
    ledger: Ledger, tmp_path: Path, answers: str, code: int, campaigns: list[str]
) -> None:
    with worker(ledger, missing=frozenset({0})) as sent:
        done, said = on_a_terminal(tmp_path, answers, "--test", OWN)
    assert (done, len(sent)) == (code, 1), said
    assert "row 1: unknown: the answer was lost" in said
    assert " is unknown: the answer was lost" in said
    assert ". Go on all the same? [y/N]: " + answers[0] in said
    assert ("send these 4 messages" in said) == (len(answers) > 1)
    assert ("nothing" in said and "was enqueued" in said) == (code == 1)
    assert sorted(one.name for one in ledger.campaigns.latest()) == campaigns
    assert "waiting until it is delivered, for 1 min at most" in said


def test_without_workers_the_test_is_taken_back(run: Run, ledger: Ledger) -> None:
    assert "are workers running?" in run("--test-wait", "0.3s", code=1)
    [test] = ledger.campaigns.latest()
    assert (test.state.value, test.name) == ("cancelled", "test of sale")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--test", "12"), "write your own number"),
        (("--test", OWN, "--dry-run"), "leave one of them out"),
        (("--test-row", "1"), "say with --test"),
        (("--test", OWN, "--test-row", "1"), "row 1 becomes no message"),
    ],
)
def test_what_cannot_be_tried_is_told_before_anything_goes(
    run: Run, ledger: Ledger, options: tuple[str, ...], why: str
) -> None:
    assert why in run(code=1, options=options)
    assert ledger.campaigns.latest() == []
