"""The options that say when, how often and in whose name: what they make of a campaign, and what is said when wrong."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dispatcher import cli
from dispatcher.cli.timing import span
from dispatcher.errors import UsageError
from dispatcher.ledger import Campaign
from dispatcher.runtime import start

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    for name in list(__import__("os").environ):
        if name.startswith("DISPATCHER_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISPATCHER_HOME", str(tmp_path / "home"))
    (tmp_path / "people.csv").write_text("phone\n+12025550100\n+12125550101\n+16715550100\n+18085550100\n")

    def run(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["dispatcher", *args])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


def enqueue(run: Run, *args: str) -> dict[str, Any]:
    code, out, err = run("enqueue", "people.csv", "--provider", "winsms", "--text", "Hi", *args, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def campaign(found: dict[str, Any]) -> Campaign:
    runtime = start()
    try:
        return runtime.ledger.campaigns.get(found["campaign"])
    finally:
        runtime.close()


def timed(made: Campaign) -> dict[str, Any]:
    """Return the rules of a campaign that are about time; others have rules by default."""
    ours = ("window", "days", "skip_holidays", "spread", "at_most")
    return {name: made.rules[name] for name in ours if name in made.rules}


def test_the_options_are_kept_as_the_campaigns_rules(run: Run) -> None:
    options = ("--window", "08:30-20:00", "--days", "mon-fri", "--skip-holidays", "--spread", "1h30m")
    made = campaign(enqueue(run, *options, "--at-most", "2 per 7d", "--brand", " Acme  Ltd "))
    assert timed(made) == {
        "window": "08:30-20:00",
        "days": "mon,tue,wed,thu,fri",
        "skip_holidays": True,
        "spread": 5400.0,
        "at_most": [2, 604800.0],
    }
    assert made.brand == "acme ltd"


def test_without_options_and_settings_there_are_no_rules(run: Run) -> None:
    found = enqueue(run)
    assert found["batches"] == 1
    made = campaign(found)
    assert (timed(made), made.brand, made.expires_at) == ({}, "", None)


def test_it_expires_so_long_after_its_start(run: Run) -> None:
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=3)
    assert campaign(enqueue(run, "--expire-after", "4h", "--at", at.isoformat())).expires_at == at + timedelta(
        hours=4
    )
    begun = datetime.now(UTC)
    expires_at = campaign(enqueue(run, "--expire-after", "30m")).expires_at
    assert expires_at is not None
    assert timedelta(minutes=30) <= expires_at - begun < timedelta(minutes=31)


def test_settings_are_the_defaults_and_each_can_be_lifted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("WINDOW", "09:00-19:00"), ("SKIP_HOLIDAYS", "true"), ("AT_MOST", "1 per 1d")):
        monkeypatch.setenv(f"DISPATCHER_{name}", value)
    monkeypatch.setenv("DISPATCHER_BRAND", "Acme")
    found = enqueue(run)
    assert found["batches"] == 3, "New York, Guam and Hawaii"
    made = campaign(found)
    assert made.rules["window"] == "09:00-19:00"
    assert made.rules["skip_holidays"]
    assert made.rules["at_most"] == [1, 86400.0]
    assert made.brand == "acme"
    other = campaign(enqueue(run, "--window", "10:00-11:00", "--on-holidays", "--at-most", "none", "--brand", ""))
    assert (other.rules["window"], other.rules["skip_holidays"], other.brand) == ("10:00-11:00", False, "")
    assert "at_most" not in other.rules
    assert timed(campaign(enqueue(run, "--no-window", "--at-most", "none"))) == {}
    code, _, err = run("enqueue", "people.csv", "--provider", "winsms", "--text", "Hi")
    assert code == 1 or "none of its 4 rows" in err, "everybody has been texted once today"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--window", "9 to 5"), "--window 9 to 5: write a window of local time as 09:00-19:00"),
        (("--window", "09:00-09:00"), "opens and closes at different times"),
        (("--days", "weekdays"), "--days weekdays: write days as mon-sat"),
        (("--expire-after", "soon"), "--expire-after soon: write a time such as 30m, 4h or 2d"),
        (("--expire-after", "0h"), "--expire-after 0h"),
        (("--spread", "400d"), "at most a year"),
        (("--at-most", "2"), '--at-most 2: write it as "2 per 7d"'),
        (("--at-most", "0 per 7d"), "--at-most 0 per 7d"),
        (("--at-most", "2 per week"), "--at-most week: write a time"),
        (("--no-window", "--days", "mon"), "--no-window lifts all hours"),
        (("--brand", "x" * 41), "at most 40 printable characters"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_remedy(run: Run, options: tuple[str, ...], told: str) -> None:
    code, out, err = run("enqueue", "people.csv", "--provider", "winsms", "--text", "Hi", *options)
    assert (code, out) == (2, "")
    assert told in err


def test_a_wrong_setting_is_named_by_its_variable(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHER_DAYS", "never")
    code, _, err = run("enqueue", "people.csv", "--provider", "winsms", "--text", "Hi")
    assert code == 2
    assert "DISPATCHER_DAYS never: write days as mon-sat" in err


def test_the_doctor_says_how_the_settings_are_understood(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHER_WINDOW", "09:00-19:00")
    monkeypatch.setenv("DISPATCHER_AT_MOST", "2 per 7d")
    _, out, _ = run("doctor")
    assert "hours and courtesy: 09:00-19:00; mon,tue,wed,thu,fri,sat,sun; at most 2 per 7d" in out
    monkeypatch.setenv("DISPATCHER_WINDOW", "9-5")
    code, out, _ = run("doctor")
    assert code == 1
    assert "DISPATCHER_WINDOW 9-5: write a window" in out


def test_an_estimate_leaves_out_whom_the_campaign_would(run: Run) -> None:
    run("optouts", "add", "+12025550100", "--brand", "Acme")
    _, out, _ = run("estimate", "people.csv", "--provider", "winsms", "--text", "Hi", "--brand", "acme", "--json")
    assert json.loads(out)["suppressed"] == 1
    _, out, _ = run("estimate", "people.csv", "--provider", "winsms", "--text", "Hi", "--json")
    assert json.loads(out)["suppressed"] == 0


def test_brands_have_lists_of_their_own(run: Run, tmp_path: Path) -> None:
    assert "1 suppressed" in run("optouts", "add", "+12025550100", "--brand", "Acme")[1]
    assert "1 suppressed" in run("optouts", "add", "+12025550100")[1]
    assert "1 suppressed" in run("optouts", "add", "+12125550101", "--brand", "other")[1]
    listed = [json.loads(line) for line in run("optouts", "list", "--json")[1].splitlines()]
    assert [(one["number"], one["brand"]) for one in listed] == [
        ("+12025550100", ""),
        ("+12025550100", "acme"),
        ("+12125550101", "other"),
    ]
    assert "acme" in run("optouts", "list")[1]
    assert "1 suppressed" in run("optouts", "list", "--brand", "ACME")[1]
    _, exported, _ = run("optouts", "export")
    assert exported.splitlines()[0] == "number,reason,source,since,brand"
    (tmp_path / "list.csv").write_text(exported)
    _, out, err = run("optouts", "remove", "+12025550100", "--brand", "acme")
    assert "1 no longer" in out
    assert "another list: that of all" in err
    assert json.loads(run("optouts", "import", "list.csv", "--json")[1]) == {"numbers": 3, "added": 1}
    assert [json.loads(line)["brand"] for line in run("optouts", "list", "--json")[1].splitlines()] == [
        "", "acme", "other",
    ]  # fmt: skip


def test_an_import_for_a_brand_goes_to_its_list(run: Run, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("+12025550100\n+12125550101\n")
    assert "2 suppressed" in run("optouts", "import", "list.txt", "--brand", "Acme")[1]
    assert {json.loads(line)["brand"] for line in run("optouts", "list", "--json")[1].splitlines()} == {"acme"}


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("30m", timedelta(minutes=30)),
        ("90 min", timedelta(minutes=90)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("2d", timedelta(days=2)),
        ("1.5h", timedelta(minutes=90)),
        ("45s", timedelta(seconds=45)),
        ("1w", timedelta(days=7)),
    ],
)
def test_times_are_read(text: str, length: timedelta) -> None:
    assert span(text, "--spread") == length


@pytest.mark.parametrize("text", ["", "4", "h", "4 hours and", "-1h", "4h!", "2y"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--spread"):
        span(text, "--spread")
