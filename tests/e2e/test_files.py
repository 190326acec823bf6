"""Lists as people have them, through the command, to delivery at each provider."""

import json
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import xlsxwriter

from tests.e2e.conftest import COMMAND, Home, fates

pytestmark = pytest.mark.e2e

# Fictional numbers that the sandbox delivers to; the last two are a duplicate and one that lost its digits.
NUMBERS: list[Any] = [12025550110, 2025550111, "+1 202 555 0112", "(202) 555-0113", 12025550110.0, "1.2E+10"]
NAMES = ["Ann", "Renée", "Jürgen", 'Robert "Bob"', "Ann again", "Nobody"]
WANTED = {"delivered": 4, "duplicate": 1, "invalid": 1}


def write(folder: Path, kind: str) -> Path:
    """Write the same list in a format."""
    path = folder / f"list.{kind}"
    match kind:
        case "csv":  # as Excel saves it in half of Europe
            rows = [
                f'{number};"{name.replace(chr(34), chr(34) * 2)}"'
                for number, name in zip(NUMBERS, NAMES, strict=True)
            ]
            path.write_bytes("\r\n".join(["Mobile;First name", *rows]).encode("cp1252"))
        case "tsv":
            rows = [f"{number}\t{name}" for number, name in zip(NUMBERS, NAMES, strict=True)]
            path.write_bytes("\r\n".join(["Mobile\tFirst name", *rows]).encode("utf-16"))
        case "jsonl":
            people = [{"Mobile": number, "First name": name} for number, name in zip(NUMBERS, NAMES, strict=True)]
            path.write_text("".join(json.dumps(one) + "\n" for one in people))
        case "xlsx":
            with xlsxwriter.Workbook(path) as book:
                book.add_worksheet("Notes").write("A1", "Do not send before Monday")
                sheet = book.add_worksheet("People")
                sheet.merge_range("A1:B1", "Spring sale")
                for at, row in enumerate([("Mobile", "First name"), *zip(NUMBERS, NAMES, strict=True)], 2):
                    sheet.write_row(at, 0, row)
        case "parquet":
            table = {"Mobile": list(map(str, NUMBERS)), "First name": NAMES, "tags": [["a"]] * len(NAMES)}
            pl.DataFrame(table).write_parquet(path)
    return path


def enqueue(home: Home, path: Path, *args: str, piped: bool) -> dict[str, Any]:
    with path.open("rb") as stream:
        done = subprocess.run(
            [COMMAND, "enqueue", "-" if piped else path, "--country", "US", "--json", *args],
            env=home.environment,
            stdin=stream,
            capture_output=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_format_is_delivered_and_accounted_for_row_by_row(running: Home, tmp_path: Path) -> None:
    campaigns = {}
    for kind, provider, piped, more in (
        ("csv", "winsms", False, ()),
        ("tsv", "winsms", True, ()),
        ("jsonl", "bsg", True, ()),
        ("xlsx", "sakari", True, ("--sheet", "people")),
        ("parquet", "netsapiens", False, ()),
    ):
        text = f"{kind} for {{first_name}}"
        args = ("--provider", provider, "--text", text, *more)
        found = enqueue(running, write(tmp_path, kind), *args, piped=piped)
        assert (found["rows"], found["messages"], found["duplicates"], found["invalid"]) == (6, 4, 1, 1), kind
        assert "numbers from column Mobile" in found["notes"]
        campaigns[kind] = found
    assert "read as Windows-1252 from line 3 on (é ü)" in "".join(campaigns["csv"]["notes"])
    assert "titles" in "".join(campaigns["xlsx"]["notes"])
    assert "left out: tags" in "".join(campaigns["parquet"]["notes"])
    for kind, found in campaigns.items():
        running.wait(found["campaign"])
        report = running.report(found["campaign"])
        assert fates(report) == WANTED, kind
        assert report[5]["reason"].startswith("invalid: a spreadsheet cut it")
        assert sorted(running.texts(f"{kind} for ")) == sorted(f"{kind} for {name}" for name in NAMES[:4])


def test_each_row_by_its_country_and_what_was_mended_is_told(running: Home, tmp_path: Path) -> None:
    path = tmp_path / "world.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        for at, row in enumerate(
            [("cell", "land"), (2025550120, "US"), (491570156, "au"), ("020 7946 0958", "UK"), (12025550121, "AU")]
        ):
            sheet.write_row(at, 0, row)
    done = running.run("enqueue", str(path), "--provider", "winsms", "--text", "Hi", "--country-column", "land")
    assert "note: numbers from column cell\n" in done.stderr
    assert "note: 2 numbers repaired: leading 0 lost (1), plus lost (1)\n" in done.stderr
    campaign = done.stdout.split()[1]
    running.wait(campaign)
    assert [row["number"] for row in running.report(campaign)] == [
        "+12025550120",
        "+61491570156",
        "+442079460958",
        "+12025550121",
    ]


def test_a_list_that_cannot_be_read_plans_nothing(running: Home, tmp_path: Path) -> None:
    before = running.json("list")
    broken = write(tmp_path, "jsonl")
    broken.write_text(broken.read_text() + '{"Mobile": [1]}\n')
    for args, told in (
        ((str(broken),), "line 7: Mobile is a list"),
        ((str(write(tmp_path, "xlsx")), "--sheet", "Peple"), "has no sheet Peple. Its sheets: Notes, People"),
        ((str(write(tmp_path, "csv")), "--encoding", "utf-8"), "line 3: not UTF-8"),
        ((str(write(tmp_path, "parquet")), "--format", "csv"), "list.parquet"),
    ):
        done = running.run("enqueue", *args, "--provider", "winsms", "--text", "Hi", "--country", "US", code=2)
        assert told in done.stderr
    assert running.json("list") == before
