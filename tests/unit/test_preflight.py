"""What is shown before a campaign goes, and the question that stands between the plan and its first message."""

import csv
import json
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dispatcher.cli import cli
from dispatcher.ledger import Ledger, NewCampaign
from dispatcher.planning.keeping import kept

NOW = datetime.now(UTC)
COMMAND = Path(sys.executable).parent / "dispatcher"
LIST = (
    "phone,first_name\n+12025550100,Ann\n+12025550100,Ann again\nn/a,Nobody\n+12025550101,Zo\u00eb\u00e9\n"
    "=cmd(),Eve\n+12025550102,Jos\u00e9 \U0001f33b\n+442079460000,Gil\n"
)
Run = Callable[..., Any]


@pytest.fixture
def run(ledger: Ledger) -> Run:
    def run(*args: str, stdin: str = LIST, code: int = 0, as_json: bool = True) -> Any:
        asked = ["enqueue", "-", "--provider", "winsms", *args, *(["--json"] if as_json else [])]
        done = CliRunner().invoke(cli, asked, input=stdin)
        assert done.exit_code == code, done.output + repr(done.exception)
        return json.loads(done.stdout) if code == 0 and as_json else done.output + str(done.exception or "")

    return run


def test_a_dry_run_says_all_that_a_campaign_would_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHER_WINSMS__PRICE", "0.5")
    found = run("--text", "Hi {first_name}", "--dry-run")
    assert (found["campaign"], found["rows"], found["messages"]) == (None, 7, 4)
    told = found["preflight"]
    first = {one["reason"]: one for one in told["excluded"]}
    assert first["duplicate"]["examples"] == [{"row": 2, "line": 3, "number": "+1202•••0100"}]
    assert first["invalid: not a number"]["rows"] == 2
    assert [each["row"] for each in first["invalid: not a number"]["examples"]] == [3, 5]
    assert told["encodings"] == {"gsm-7": {"messages": 2, "segments": 2}, "ucs-2": {"messages": 2, "segments": 2}}
    assert {one["character"]: one["look_alike"] for one in told["ucs2_characters"]} == {"ë": True, "🌻": False}
    assert (told["price"], told["requests_priced"]) == (2, 0)
    assert told["samples"][0] == {"row": 1, "number": "+1202•••0100", "text": "Hi Ann"}
    assert [one["row"] for one in told["samples"]] == [1, 4, 6]
    full = run("--text", "Hi {first_name}", "--dry-run", "--full")["preflight"]
    assert full["samples"][0]["number"] == "+12025550100"


def test_look_alikes_save_segments_and_are_what_goes_out(run: Run, ledger: Ledger) -> None:
    text = "“Hi” {first_name|Zoë} – " + "x" * 80
    without = run("--text", text, "--dry-run")["preflight"]
    assert without["gsm7_would_save"] == 3  # all but the one with the flower
    told = run("--text", text, "--dry-run", "--gsm7")
    assert told["preflight"]["encodings"]["ucs-2"] == {"messages": 1, "segments": 2}
    assert told["preflight"]["ucs2_characters"] == [{"character": "🌻", "messages": 1, "look_alike": False}]
    assert told["segments"] == without["encodings"]["ucs-2"]["segments"] - 3
    campaign = run("--text", text, "--gsm7")["campaign"]
    assert ledger.campaigns.get(campaign).template == '"Hi" {first_name|Zoe} - ' + "x" * 80
    claim = ledger.batches.claim("winsms", owner="w", now=datetime.now(UTC), lease=timedelta(hours=1))
    assert claim is not None
    fields = ledger.batches.content(claim).fields
    assert fields is not None
    assert json.loads(fields)["first_name"] == ["Ann", "Zoeé", "José 🌻", "Gil"]


def test_what_becomes_no_message_is_written_down_and_no_formula(run: Run, tmp_path: Path) -> None:
    run("--text", "Hi", "--rejects", str(tmp_path / "rejects.csv"))
    with (tmp_path / "rejects.csv").open() as lines:
        assert [list(row.values()) for row in csv.DictReader(lines)] == [
            ["2", "+12025550100", "duplicate", "duplicate of row 1"],
            ["3", "n/a", "invalid", "invalid: not a number"],
            ["5", "'=cmd()", "invalid", "invalid: not a number"],
        ]
    said = run("--text", "Hi", "--dry-run", "--rejects", str(tmp_path / "none" / "x.csv"), code=1)
    assert "cannot be written" in said


def test_quiet_hours_tell_who_waits_and_until_when(run: Run) -> None:
    hour = (datetime.now(UTC) + timedelta(hours=12)).hour  # five hours and more from now in both places
    told = run("--text", "Hi", "--dry-run", "--window", f"{hour:02}:00-{hour:02}:59")["preflight"]
    assert sum(one["messages"] for one in told["waits"]) == 4
    assert {zone for one in told["waits"] for zone in one["zones"]} == {"America/New_York", "Europe/London"}
    assert "waits: until" in run("--text", "Hi", "--dry-run", "--window", f"{hour:02}:00-{hour:02}:59", as_json=False)


def test_a_dry_run_for_people_fits_the_screen(run: Run) -> None:
    said = run("--text", "“Hi” {first_name}" + 80 * "x", "--dry-run", as_json=False)
    assert "left out: 2 invalid: not a number: row 3 (line 4), row 5" in said
    assert "encoding: 100 % of the messages are UCS-2 (4, with 8 segments)" in said
    assert "--gsm7 puts look-alikes there, and saves 3 segments" in said
    assert "there is no look-alike for 🌻" in said
    assert "row 1, +1202•••0100: “Hi” Annx" in said


def test_without_a_terminal_nothing_is_shown_and_nothing_asked(run: Run) -> None:
    found = run("--text", "Hi")
    assert "preflight" not in found
    assert found["campaign"] is not None


def on_a_terminal(tmp_path: Path, answers: str, *more: str) -> tuple[int, str]:
    """Run the installed command as a person would, and answer what it asks."""
    path = tmp_path / "people.csv"
    path.write_text(LIST)
    ours, theirs = pty.openpty()
    command = [COMMAND, "enqueue", str(path), "--provider", "winsms", "--text", "Hi {first_name}", *more]
    environment = {**os.environ, "DISPATCHER_HOME": str(tmp_path), "TERM": "dumb", "COLUMNS": "80"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, close_fds=True)
    os.close(theirs)
    said = b""
    while True:
        try:
            some = os.read(ours, 4096)
        except OSError:  # it has ended
            break
        if not some:
            break
        said += some
        if answers and said.rstrip().endswith(b"[y/N]:"):
            os.write(ours, answers[0].encode() + b"\n")
            answers = answers[1:]
    os.close(ours)
    return process.wait(timeout=30), said.decode()


def test_a_person_is_asked_and_no_leaves_nothing(ledger: Ledger, tmp_path: Path) -> None:
    code, said = on_a_terminal(tmp_path, "n")
    assert (code, "nothing was enqueued" in said, "row 1, +1202•••0100: Hi Ann" in said) == (1, True, True), said
    with ledger.database.read() as tx:
        assert tx.rows("SELECT COUNT(*) AS many FROM campaign")[0].many == 0
        assert tx.rows("SELECT COUNT(*) AS many FROM message")[0].many == 0
    code, said = on_a_terminal(tmp_path, "y")
    assert (code, "watch it: dispatcher status" in said) == (0, True), said
    [made] = ledger.campaigns.latest()
    assert made.totals.messages == 4
    code, said = on_a_terminal(tmp_path, "", "--yes")
    assert (code, "send these" in said) == (0, False), said


def test_a_draft_outlives_a_long_thought(ledger: Ledger) -> None:
    new = NewCampaign(public_id="cx", name="x", provider="winsms", template="x", personalised=False, created_at=NOW)
    draft = ledger.plans.begin(new, who="t", now=NOW)
    later = NOW + timedelta(minutes=30)
    with kept(ledger, draft, clock=lambda: later, every=0.001):
        end = time.monotonic() + 20
        while ledger.plans.discard_abandoned(now=NOW - timedelta(days=1)) == 0 and not _kept_until(ledger, later):
            assert time.monotonic() < end
        assert ledger.plans.discard_abandoned(now=later) == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "kept"]
    assert ledger.plans.discard_abandoned(now=later + timedelta(minutes=6)) == 1


def _kept_until(ledger: Ledger, moment: datetime) -> bool:
    with ledger.database.read() as tx:
        return bool(tx.rows("SELECT planner_until FROM campaign")[0].planner_until > moment.timestamp() * 1e6)
