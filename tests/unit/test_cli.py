"""The command in this process: what it says, and how it ends, when something is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dispatcher import cli
from dispatcher.runtime import start


class Done(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    for name in list(__import__("os").environ):
        if name.startswith("DISPATCHER_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISPATCHER_HOME", str(tmp_path / "home"))

    def run(*args: str) -> Done:
        monkeypatch.setattr("sys.argv", ["dispatcher", *args])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return Done(int(end.value.code or 0), out, err)

    return run


GOOD = "phone,first_name\n+12025550100,Ann\n+12025550101,Bob\n"
HELLO = ("--provider", "winsms", "--text", "Hi {first_name}")


def people(tmp_path: Path, content: str | bytes = GOOD) -> str:
    path = tmp_path / "people.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


@pytest.mark.parametrize(
    ("content", "args", "told"),
    [
        (GOOD, ("--provider", "winsms", "--text", "Hi {last_name}"), "last_name"),
        (GOOD, ("--provider", "winsms", "--text", "Hi {first_name"), "not closed"),
        (GOOD, ("--provider", "winsms", "--text", ""), "empty"),
        (GOOD, ("--provider", "winsms"), "give the text once"),
        (GOOD, (*HELLO, "--text-file", "x.txt"), "give the text once"),
        (GOOD, ("--provider", "winsms", "--text-file", "no.txt"), "no.txt cannot be read"),
        (GOOD, (*HELLO, "--phone-column", "mobile"), "mobile"),
        (GOOD, (*HELLO, "--country", "Narnia"), "--country Narnia"),
        (GOOD, (*HELLO, "--at", "tomorrow"), "2026-12-01T09:00+02:00"),
        (GOOD, (*HELLO, "--at", "2126-12-01T09:00"), "time zone"),
        (GOOD, (*HELLO, "--at", "2016-12-01T09:00Z"), "has passed"),
        (GOOD, (*HELLO, "--sender", "Shop"), "takes no sender"),
        (GOOD, (*HELLO, "--media", "people.csv"), "has nothing for --media"),
        (GOOD, (*HELLO, "--as-campaign"), "has nothing for --as-campaign"),
        (GOOD, (*HELLO, "--channel", "rcs"), "has nothing for --channel"),
        (GOOD, ("--provider", "nobody", "--text", "Hi"), "nobody"),
        ("", HELLO, "is empty"),
        ("phone,first_name\n", HELLO, "no recipient"),
        ("phone,first_name\n+12025550100\n", HELLO, "line 2"),
        ("phone,first_name\n+12025550100,Ann\n+12025550101, \n", HELLO, "line 3"),
        ("phone,first_name\n+12025550100,Ann,Lee\n", HELLO, "line 2: 3 cells"),
        ("phone,first_name\n+12025550100,Pawe\u0142\n".encode("cp1250"), HELLO, "line 2: not UTF-8"),
        (GOOD, (*HELLO, "--encoding", "klingon"), "--encoding klingon: there is no such encoding"),
        (GOOD, (*HELLO, "--sheet", "People"), "people.csv is CSV and has no sheets"),
        (GOOD, (*HELLO, "--format", "xlsx"), "people.csv is damaged, or not a workbook"),
        (GOOD, (*HELLO, "--country-column", "land"), "the list has no column land"),
        ("mobile,cell,first_name\n+12025550100,+12025550101,Ann\n", HELLO, "any of mobile, cell"),
        ("phone,first_name\nnone,Ann\n", HELLO, "none of its 1 rows can be sent to"),
        (b"\x00\x01\x02", HELLO, "NUL"),
    ],
)
def test_what_cannot_be_enqueued_is_told_and_nothing_is_planned(
    run: Run, tmp_path: Path, content: str | bytes, args: tuple[str, ...], told: str
) -> None:
    done = run("enqueue", people(tmp_path, content), *args)
    assert done.code == 2
    assert told in done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    assert json.loads(run("list", "--json").out) == []


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (("nonsense",), 2, "nonsense"),
        (("enqueue",), 2, "--provider"),
        (("enqueue", *HELLO), 2, "say to whom"),
        (("enqueue", "no.csv", *HELLO), 2, "there is no file no.csv"),
        (("enqueue", ".", *HELLO), 2, "is a folder"),
        (("enqueue", "--tag", "vip", *HELLO), 2, "no people under tags"),
        (("enqueue", "no.csv", "--provider", "winsms", "--template", "1"), 2, "keeps no templates"),
        (("status", "nope"), 2, "there is no campaign 'nope'"),
        (("pause", "nope"), 2, "there is no campaign"),
        (("cancel", "nope"), 2, "there is no campaign"),
        (("report", "nope"), 2, "there is no campaign"),
        (("provider", "winsms", "balance"), 2, "DISPATCHER_WINSMS__API_KEY"),
        (("optouts", "add", "12"), 2, "nothing was changed"),
        (("optouts", "import", "no.txt"), 2, "cannot be read"),
        (("inbox",), 2, "no provider is configured"),
    ],
)
def test_wrong_usage_is_told(run: Run, args: tuple[str, ...], code: int, told: str) -> None:
    done = run(*args)
    assert (done.code, told in done.err) == (code, True), done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("DISPATCHER_POLL_EVERY", "soon", "DISPATCHER_POLL_EVERY"),
        ("DISPATCHER_WINSMS__REQUESTS_PER_SECOND", "-1", "DISPATCHER_WINSMS__REQUESTS_PER_SECOND"),
        ("DISPATCHER_WINSMS__BASE_URL", "ftp://secret:word@host", "base URL"),
        ("DISPATCHER_LEDGER_URL", "mysql://me:secret@host/db", "sqlite:///"),
        ("DISPATCHER_REDIS_URL", "amqp://me:secret@host", "DISPATCHER_REDIS_URL"),
        ("DISPATCHER_CONFIG", "secret.toml", "does not exist"),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not_told(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    done = run("list" if "LEDGER" in name else "providers")
    assert done.code == 2
    assert told in done.err
    assert "word" not in done.err
    assert "me:secret" not in done.err


def test_settings_come_from_the_environment_before_the_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dispatcher.toml").write_text(
        'country = "ZA"\n[winsms]\napi_key = "from-the-file"\nrequests_per_second = 7\n'
    )
    monkeypatch.setenv("DISPATCHER_WINSMS__REQUESTS_PER_SECOND", "9")
    found = json.loads(run("providers", "--json").out)
    (winsms,) = [one for one in found if one["provider"] == "winsms"]
    assert winsms["configured"]
    assert winsms["limits"]["requests_per_second"] == 9
    settings = start().settings
    assert settings.country == "ZA"
    assert "from-the-file" not in repr(settings)
    (tmp_path / "dispatcher.toml").write_text("country = ")
    assert "not a readable TOML file" in run("list").err


def test_the_same_key_gives_the_first_campaign(run: Run, tmp_path: Path) -> None:
    args = ("enqueue", people(tmp_path), *HELLO, "--key", "offer-12", "--json")
    first, second = json.loads(run(*args).out), json.loads(run(*args).out)
    assert first == {
        "campaign": first["campaign"],
        "rows": 2,
        "messages": 2,
        "duplicates": 0,
        "invalid": 0,
        "suppressed": 0,
        "batches": 1,
        "segments": 2,
        "again": False,
        "repaired": 0,
        "notes": [],
    }
    assert second == {**first, "again": True}
    assert "enqueued before with this key" in run(*args[:-1]).out


def test_what_was_guessed_and_repaired_is_said(run: Run, tmp_path: Path) -> None:
    content = "Mobile;first_name;land\n12025550100.0;Renée;US\n491570156;Bob;au\n020 7946 0958;Cy;xx\n"
    file = people(tmp_path, content.encode("cp1252"))
    args = (file, *HELLO, "--country-column", "Land", "--country", "GB")
    for command in ("estimate", "enqueue"):
        done = run(command, *args)
        assert done.err.splitlines()[:4] == [
            "note: numbers from column Mobile",
            f"note: {file}: not UTF-8: read as Windows-1252 from line 2 on (é); if that is wrong, say --encoding",
            "note: 2 numbers repaired: written as an amount (1), leading 0 lost (1)",
            "note: 1 row has an unknown country (xx): read as GB",
        ]
        found = json.loads(run(command, *args, "--json").out)
        assert (found["messages"], found["repaired"], len(found["notes"])) == (3, 2, 4)
    named = run("enqueue", *args, "--phone-column", "mobile", "--encoding", "cp1252")
    assert len([line for line in named.err.splitlines() if line.startswith("note: ")]) == 3  # and of the credentials


def test_a_dry_run_changes_nothing(run: Run, tmp_path: Path) -> None:
    found = json.loads(run("enqueue", people(tmp_path), *HELLO, "--dry-run", "--json").out)
    assert (found["campaign"], found["messages"]) == (None, 2)
    assert json.loads(run("list", "--json").out) == []


def test_status_report_and_list_of_a_campaign_that_waits(run: Run, tmp_path: Path) -> None:
    content = GOOD + "+1 (202) 555-0100,Twice\nnobody,X\n"
    campaign = json.loads(run("enqueue", people(tmp_path, content), *HELLO, "--json").out)["campaign"]
    status: dict[str, Any] = json.loads(run("status", campaign, "--json").out)
    assert (status["state"], status["rows"], status["name"]) == ("running", 4, "people")
    assert len(status["messages"]) == 10
    assert len(status["batches"]) == 7
    assert status["excluded"] == {"duplicate": 1, "invalid": 1, "suppressed": 0}
    assert "queued" in run("status", campaign).out
    lines = [json.loads(line) for line in run("report", campaign, "--format", "jsonl").out.splitlines()]
    assert [(line["row"], line["state"]) for line in lines] == [
        (1, "queued"),
        (2, "queued"),
        (3, "duplicate"),
        (4, "invalid"),
    ]
    assert campaign in run("list").out
    assert "paused" in run("pause", campaign).out
    assert "was paused already" in run("pause", campaign).out
    assert "resumed" in run("resume", campaign).out
    cancelled = json.loads(run("cancel", campaign, "--json").out)
    assert cancelled["messages"]["cancelled"] == 2
    assert run("pause", campaign).code == 1


def test_nothing_from_a_file_reaches_the_terminal_or_a_spreadsheet_raw(run: Run, tmp_path: Path) -> None:
    content = 'phone,first_name\n+12025550100,Ann\n"=HYPERLINK(""http://x"")",X\n\x1b[31m12,Y\n'
    args = ("enqueue", people(tmp_path, content), *HELLO, "--name", "\x1b[2Jred", "--json")
    campaign = json.loads(run(*args).out)["campaign"]
    for shown in (run("status", campaign).out, run("list").out):
        assert "\x1b" not in shown
    report = run("report", campaign).out
    assert "\n2,'=HYPERLINK" not in report
    assert "\"'=HYPERLINK" in report


def test_the_suppression_list(run: Run, tmp_path: Path) -> None:
    assert "1 suppressed" in run("optouts", "add", "+12025550100", "--reason", "asked by mail").out
    (tmp_path / "list.csv").write_text("number\n+12025550101,x\n\n(202) 555-0102\n")
    assert json.loads(run("optouts", "import", "list.csv", "--country", "US", "--json").out) == {
        "numbers": 2,
        "added": 2,
    }
    (tmp_path / "bad.csv").write_text("+12025550103\nnonsense\n")
    assert "line 2" in run("optouts", "import", "bad.csv").err
    found = [json.loads(line) for line in run("optouts", "list", "--json").out.splitlines()]
    assert [(entry["number"], entry["reason"]) for entry in found] == [
        ("+12025550100", "asked by mail"),
        ("+12025550101", "imported"),
        ("+12025550102", "imported"),
    ]
    assert "+12025550100" not in run("optouts", "list").out
    assert "+12025550100" in run("optouts", "list", "--full").out
    planned = json.loads(run("enqueue", people(tmp_path, GOOD + "+12025550104,Eve\n"), *HELLO, "--json").out)
    assert (planned["suppressed"], planned["messages"]) == (2, 1)
    exported = run("optouts", "export").out
    (tmp_path / "again.csv").write_text(exported)
    assert "3 no longer" in run("optouts", "remove", "+12025550100", "+12025550101", "+12025550102").out
    assert "3 suppressed" in run("optouts", "import", "again.csv").out


def test_an_estimate_tells_the_time_at_the_limits(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHER_WINSMS__SEGMENTS_PER_SECOND", "0.5")
    found = json.loads(run("estimate", people(tmp_path), *HELLO, "--json").out)
    assert (found["messages"], found["segments"], found["seconds"], found["price"]) == (2, 2, 4, None)
    assert "about 4 s" in run("estimate", people(tmp_path), *HELLO).out


def test_doctor_says_what_is_wrong_and_how_to_mend_it(run: Run, tmp_path: Path) -> None:
    done = run("doctor", "--json")
    assert done.code == 1
    found = {finding["what"]: finding for finding in json.loads(done.out)}
    assert found["ledger"]["ok"]
    assert found["redis"]["ok"] is False
    assert "dispatcher up" in found["redis"]["remedy"]
    assert found["winsms"]["ok"] is None
    (tmp_path / "home").chmod(0o755)
    assert "chmod 700" in run("doctor").out


def test_help_teaches(run: Run) -> None:
    overview = run("--help").out
    for command in ("enqueue", "status", "cancel", "report", "doctor", "providers", "optouts", "winsms"):
        if command != "winsms":
            assert command in overview
            assert "Usage:" in run(command, "--help").out
