"""A report has every row in every format, the sums are right, and the page is whole and harmless."""

import csv
import html.parser
import io
import json
import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars
import pytest
from python_calamine import CalamineWorkbook

from dispatcher.errors import UsageError
from dispatcher.ledger import Attempt, ReportLine
from dispatcher.reporting import COLUMNS, FORMS, Summary, write_page, write_report
from dispatcher.reporting import rows as report_rows
from dispatcher.reporting.drawing import Layer, columns, curves, shares
from dispatcher.reporting.summary import delivered_share

NOW = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
LINES = [
    ReportLine(
        row=1,
        number="+12025550100",
        state="delivered",
        provider_message_id="17",
        batch=1,
        submitted_at=NOW,
        settled_at=NOW + timedelta(seconds=3, microseconds=250_000),
        segments=2,
        cost=Decimal("0.125"),
    ),
    ReportLine(row=2, number='=HYPERLINK("x")', state="invalid", reason="invalid: no number; +1+cmd|' /C calc'!A0"),
    ReportLine(row=3, number="+12025550101", state="undelivered", reason="-2+3", batch=1, segments=1),
]


def written(form: str) -> bytes:
    out = io.BytesIO()
    assert write_report(iter(LINES), form=form, out=out) == len(LINES)
    return out.getvalue()


def test_every_format_has_every_row_and_column() -> None:
    as_csv = list(csv.DictReader(written("csv").decode().splitlines()))
    as_json = [json.loads(line) for line in written("jsonl").splitlines()]
    sheet = CalamineWorkbook.from_filelike(io.BytesIO(written("xlsx"))).get_sheet_by_index(0).to_python()
    frame = polars.read_parquet(io.BytesIO(written("parquet")))
    assert tuple(as_csv[0]) == tuple(as_json[0]) == tuple(sheet[0]) == tuple(frame.columns) == COLUMNS
    assert set(FORMS) == {"csv", "jsonl", "xlsx", "parquet"}
    states = [line.state for line in LINES]
    assert [row["state"] for row in as_csv] == [row["state"] for row in as_json] == states
    assert [row[2] for row in sheet[1:]] == frame["state"].to_list() == states
    assert frame["cost"].to_list() == [Decimal("0.125"), None, None]
    assert as_json[0]["cost"] == float(as_csv[0]["cost"]) == sheet[1][-1] == 0.125
    assert frame["settled_at"][0] == NOW + timedelta(seconds=3, microseconds=250_000)
    assert sheet[1][7] == LINES[0].settled_at.replace(tzinfo=None)
    assert as_csv[0]["settled_at"] == "2026-12-01T09:00:03Z"


def test_nothing_from_outside_becomes_a_formula() -> None:
    rows = list(csv.DictReader(written("csv").decode().splitlines()))
    assert [row["number"] for row in rows] == ["+12025550100", '\'=HYPERLINK("x")', "+12025550101"]
    assert rows[2]["reason"] == "'-2+3"
    assert json.loads(written("jsonl").splitlines()[1])["number"] == '=HYPERLINK("x")'  # raw, for programs
    sheet = CalamineWorkbook.from_filelike(io.BytesIO(written("xlsx"))).get_sheet_by_index(0).to_python()
    assert sheet[2][1] == '=HYPERLINK("x")'  # as text: a formula would have been read as its value


def test_a_workbook_that_would_be_cut_off_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_rows, "_SHEET_ROWS", 3)
    with pytest.raises(UsageError, match="a workbook holds 2 rows"):
        write_report(iter(LINES), form="xlsx", out=io.BytesIO())


def test_an_empty_report_has_its_columns() -> None:
    for form in FORMS:
        out = io.BytesIO()
        assert write_report(iter(()), form=form, out=out) == 0
    assert polars.read_parquet(io.BytesIO(out.getvalue())).columns == list(COLUMNS)


def test_the_delivered_share_is_of_what_the_provider_took() -> None:
    assert delivered_share(Counter(delivered=3, undelivered=1, refused=5, queued=9)) == 0.75
    assert delivered_share(Counter(refused=5)) is None


def a_summary(**changed: object) -> Summary:
    campaign = {
        "campaign": "c1",
        "name": "<script>alert(1)</script> & co",
        "provider": "winsms",
        "state": "completed",
        "reason": None,
        "rows": 4,
        "messages": {"delivered": 3, "undelivered": 0},
        "excluded": {"invalid": 1},
        "segments_submitted": 3,
        "cost": 3,
        "refunded": 0,
        "started_at": None,
        "finished_at": None,
    }
    found = Summary(campaign=campaign)
    found.to_delivery, found.delivered_at = [1.0, 2.0, 30.0], [NOW.timestamp() + second for second in (1, 2, 30)]
    found.attempts = [
        Attempt(began_at=NOW, provider="winsms", seconds=0.2, messages=3, segments=3, outcome="submitted")
    ]
    found.by_country = {"ZA": Counter(delivered=3)}
    found.reasons = Counter({("undelivered", "<u>FAILED</u>"): 2})
    for name, value in changed.items():
        setattr(found, name, value)
    return found


def test_percentiles() -> None:
    found = a_summary()
    assert (found.percentile(50), found.percentile(90), found.percentile(99)) == (2.0, 30.0, 30.0)
    assert a_summary(to_delivery=[]).percentile(50) is None


class Checker(html.parser.HTMLParser):
    """Keeps account of what is opened and what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.tags: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.loads += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href", "xlink:href")]
        if tag not in ("meta", "line", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        while self.open and tag == "rect" and self.open[-1] != "rect":
            return
        assert self.open.pop() == tag


def test_the_page_is_complete_loads_nothing_and_runs_nothing(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    write_page(a_summary(), file, limits={"winsms": (50, None)}, now=NOW)
    text = file.read_text()
    checker = Checker()
    checker.feed(text)
    assert checker.loads == []
    assert checker.open == []
    assert "script" not in checker.tags
    assert "u" not in checker.tags
    assert "&lt;script&gt;" in text
    assert checker.tags["svg"] == 5  # states, delivered over time, pace, latency, time to delivery
    assert "limit 50" in text
    assert "by time (UTC)" in text
    assert not re.search(r"https?://", text)
    with pytest.raises(UsageError, match="cannot be written"):
        write_page(a_summary(), tmp_path / "no" / "page.html", limits={}, now=NOW)


def test_a_page_of_a_campaign_that_has_not_begun(tmp_path: Path) -> None:
    nothing = a_summary(to_delivery=[], delivered_at=[], attempts=[], by_country={}, reasons=Counter())
    write_page(nothing, tmp_path / "page.html", limits={}, now=NOW)
    assert "What became of the rows" in (tmp_path / "page.html").read_text()


def test_each_provider_has_its_own_pace_and_limit(tmp_path: Path) -> None:
    [first] = a_summary().attempts
    moved = a_summary(attempts=[first, replace(first, provider="bsg", began_at=NOW + timedelta(minutes=1))])
    write_page(moved, tmp_path / "page.html", limits={"winsms": (5, None), "bsg": (2, 30)}, now=NOW)
    text = (tmp_path / "page.html").read_text()
    assert re.findall(r"(\w+) a second to (\w+), by time", text) == [
        ("requests", "winsms"), ("requests", "bsg"), ("segments", "bsg")
    ]  # fmt: skip
    assert [limit for limit in ("limit 5<", "limit 2<", "limit 30<") if limit in text] == [
        "limit 5<",
        "limit 2<",
        "limit 30<",
    ]


def test_a_page_says_that_no_receipt_has_come(tmp_path: Path) -> None:
    silent = a_summary(to_delivery=[], delivered_at=[])
    silent.campaign["messages"] = {"submitted": 3}
    write_page(silent, tmp_path / "page.html", limits={"winsms": (5, None)}, now=NOW)
    text = (tmp_path / "page.html").read_text()
    assert "No message is known to be delivered yet." in text
    assert "delivered so far" in text
    assert "From submission to delivery" not in text


def test_a_page_of_a_large_campaign_is_small(tmp_path: Path) -> None:
    many = 100_000
    begun = [NOW + timedelta(seconds=at / 50) for at in range(many)]
    outcomes = ["submitted"] * 8 + ["not submitted", "unknown"]
    attempts = [
        Attempt(
            began_at=at,
            provider="winsms",
            seconds=(number % 97) / 50,
            messages=1,
            segments=2,
            outcome=outcomes[number % 10],
        )
        for number, at in enumerate(begun)
    ]
    large = a_summary(
        attempts=attempts,
        delivered_at=[at.timestamp() + 9 for at in begun],
        to_delivery=sorted(number % 301 / 3 for number in range(many)),
        by_network={f"ZA {at}": Counter(delivered=at) for at in range(300)},
        reasons=Counter({("undelivered", f"reason {at}"): at for at in range(300)}),
    )
    file = tmp_path / "page.html"
    write_page(large, file, limits={"winsms": (50, 120)}, now=NOW)
    assert file.stat().st_size < 100_000
    assert "limit 120" in file.read_text()


def test_bars_are_as_high_as_their_values_and_as_wide_as_their_shares() -> None:
    drawn = columns([Layer(name="a", values=[1, 2])], label=str, ticks=[], title="t", unit="u")
    heights = [float(found) for found in re.findall(r'height="([\d.]+)"><title>', drawn)]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.11)
    widths = [float(found) for found in re.findall(r'width="([\d.]+)"', shares([("a", 1), ("b", 3)], title="t"))]
    assert widths == [250.0, 750.0]


def test_what_is_counted_has_whole_numbers_at_its_axis() -> None:
    for drawn in (
        columns([Layer(name="a", values=[1, 0])], label=str, ticks=[], title="t", unit="u"),
        curves([("a", [(0.0, 0.0), (1.0, 2.0)])], ticks=[], title="t", unit="u"),
    ):
        assert not re.search(r">\d*\.\d+<", drawn)
    paced = columns([Layer(name="a", values=[0.5])], label=str, ticks=[], title="t", unit="u", whole=False)
    assert ">0.6<" in paced


def test_layers_stand_on_one_another_and_are_named() -> None:
    layers = [
        Layer(name="answered", values=[3.0]),
        Layer(name="not sent", values=[1.0]),
        Layer(name="x", values=[0.0]),
    ]
    drawn = columns(layers, label=str, ticks=[(0.5, "noon")], title="t", unit="u", limit=5)
    low, high = (float(found) for found in re.findall(r'y="([\d.]+)" width', drawn))
    assert high < low
    assert [name for name in ("answered", "not sent", "x") if f"</i>{name}<" in drawn] == ["answered", "not sent"]
    assert ">limit 5<" in drawn
    assert ">noon<" in drawn
