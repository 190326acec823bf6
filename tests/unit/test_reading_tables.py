"""Workbooks and Parquet as a person sees them, and the same table in every format."""

import datetime as dt
import io
import json
import random
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.errors import InputError
from dispatcher.ledger.rows import PlannedBatch
from dispatcher.planning import Chunk, Plan, Reading, open_recipients
from dispatcher.planning.reading import package
from dispatcher.provider import Capabilities
from dispatcher.template import compile_template

NUMBER = 447700900123
MIDNIGHT = dt.datetime.fromisoformat("2026-12-01")  # a sheet's times have no zone
HALF_PAST_NINE = dt.datetime.fromisoformat("2026-12-01T09:30")


def read(content: bytes | Path, **how: Any) -> tuple[Chunk, Sequence[str]]:
    given = content if isinstance(content, Path) else io.BytesIO(content)
    with open_recipients(given, Reading(**how)) as opened:
        [chunk] = list(opened)
        return chunk, opened.notes


def workbook(*rows: Sequence[Any], first: int = 0, left: int = 0, **sheets: Sequence[Sequence[Any]]) -> bytes:
    out = io.BytesIO()
    with xlsxwriter.Workbook(out, {"default_date_format": "yyyy-mm-dd"}) as book:
        for name, content in {"People": rows, **sheets}.items():
            sheet = book.add_worksheet(name)
            for at, row in enumerate(content):
                for column, value in enumerate(row):
                    if isinstance(value, str):
                        sheet.write_string(at + first, column + left, value)
                    elif value is not None:
                        sheet.write(at + first, column + left, value)
    return out.getvalue()


def parquet(**columns: Any) -> bytes:
    out = io.BytesIO()
    pl.DataFrame(columns).write_parquet(out)
    return out.getvalue()


# --- Workbooks ----------------------------------------------------------------------------------------------


def test_a_workbook_shows_what_a_person_sees(tmp_path: Path) -> None:
    path = tmp_path / "people.xlsx"
    path.write_bytes(
        workbook(
            ["Phone", "n", "", "day", "at", "yes"],
            [447700900123, 12.0, None, dt.date(2026, 12, 1), HALF_PAST_NINE, True],
            [],
            [" ", "", ""],
            ["+44 7700 900124", 0.1 + 0.2, None, "x\ny"],
            first=2,
            left=1,
        )
    )
    chunk, notes = read(path)
    assert chunk.columns == {
        "Phone": ["447700900123", "+44 7700 900124"],
        "n": ["12", "0.3"],
        "day": ["2026-12-01", "x\ny"],
        "at": ["2026-12-01 09:30", ""],
        "yes": ["TRUE", ""],
    }
    assert (chunk.rows, chunk.lines, chunk.unit) == ([1, 2], [4, 7], "row")
    assert notes == ()


def test_the_sheet_is_the_first_that_is_seen_or_the_one_named() -> None:
    out = io.BytesIO()
    with xlsxwriter.Workbook(out) as book:
        for name, number in (("Old", 1), ("Now", 2), ("Other & more", 3)):
            sheet = book.add_worksheet(name)
            sheet.write_column(0, 0, ["phone", number])
        book.worksheets()[0].hide()
        book.worksheets()[1].activate()
        book.worksheets()[1].set_first_sheet()
        book.add_chartsheet("Chart")
    content = out.getvalue()
    chunk, notes = read(content)
    assert chunk.columns == {"phone": ["2"]}
    assert notes == (
        "standard input, sheet Now: read sheet Now, the first; there is also Other & more: --sheet chooses",
        "standard input, sheet Now: passed over what is hidden in the workbook: sheet Old",
    )
    chunk, notes = read(content, sheet=" other & MORE")
    assert (chunk.columns, notes) == ({"phone": ["3"]}, ())
    chunk, notes = read(content, sheet="Old")
    assert chunk.columns == {"phone": ["1"]}
    assert "sheet Old is hidden" in notes[0]
    with pytest.raises(InputError, match=r"has no sheet Chart\. Its sheets: Old, Now, Other & more"):
        read(content, sheet="Chart")


def test_titles_over_merged_cells_are_passed_over_and_hidden_rows_are_said() -> None:
    out = io.BytesIO()
    with xlsxwriter.Workbook(out) as book:
        sheet = book.add_worksheet("People")
        sheet.merge_range("A1:B1", "Customers of 2026")
        sheet.write_row(2, 0, ["phone", "town"])
        sheet.write_row(3, 0, ["1", "Rome"])
        sheet.merge_range("A5:B5", "North")
        sheet.write(5, 0, "2")
        sheet.write(6, 0, "3")
        sheet.merge_range("B6:B7", "Oslo")
        sheet.set_row(6, None, None, {"hidden": True})
    chunk, notes = read(out.getvalue())
    assert (chunk.columns, chunk.lines) == ({"phone": [*"123"], "town": ["Rome", "Oslo", ""]}, [4, 6, 7])
    assert [note.partition(": ")[2] for note in notes] == [
        "1 row is hidden in the sheet, by a filter perhaps, and read all the same",
        "of cells that are merged over several rows, only the first row has the value",
        "rows of one merged cell are titles and were passed over: 1, 5",
    ]


@pytest.mark.parametrize("notes", [[], [["Do not send before Monday"]], [["phone"], [1, 2]]])
def test_what_is_wrong_with_the_first_sheet_may_be_that_it_is_the_wrong_one(notes: list[list[Any]]) -> None:
    with pytest.raises(InputError, match=r"\(read sheet People, the first; there is also Spring: --sheet chooses\)"):
        read(workbook(*notes, Spring=[["phone"], [1]]))
    assert read(workbook(*notes, Spring=[["phone"], [1]]), sheet="spring")[0].columns == {"phone": ["1"]}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "sheet People is empty"),
        ([["phone"]], "sheet People: there is a header but no recipient"),
        (
            [["phone"], [1], [2, None, "call back"]],
            "sheet People, row 3: there is something in C3, but its column has",
        ),
        ([["phone", "", "n"], [1, "x"]], "row 2: there is something in B2.*name it in row 1, or empty the cell"),
        ([["phone", "phone"], [1]], "row 1: two columns are named phone"),
        ([[447700900123, "Ann"], [1]], "row 1: there is a number where the header should be"),
    ],
)
def test_sheets_that_are_refused(rows: list[list[Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(workbook(*rows))


def test_a_huge_workbook_is_refused_before_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    with xlsxwriter.Workbook(out) as book:
        sheet = book.add_worksheet()
        sheet.write(0, 0, "phone")
        sheet.write(1_048_575, 16_383, "far")
    with pytest.raises(InputError, match=r"10,000,000 cells \(1,048,576 rows by 16,384 columns\).*save it as CSV"):
        read(out.getvalue())
    content = workbook(["phone"], [1])
    monkeypatch.setattr(package, "MOST_BYTES", len(content) - 1)
    with pytest.raises(InputError, match=r"standard input has more than .* bytes, the most for its format"):
        read(content)
    monkeypatch.undo()
    monkeypatch.setattr(package, "MOST_UNPACKED", 2000)
    with pytest.raises(InputError, match="2,000 bytes unpacked"):
        read(workbook(["phone"], *([at] for at in range(200))))


def test_cells_that_do_not_say_where_they_are_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = "".join("<row>" + "<c><v>1</v></c>" * 4 + "</row>" for _ in range(9))
    plain = workbook(["phone"], ["1"])
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(plain)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("sheet1.xml"):
                start, end = content.index(b"<sheetData>") + 11, content.index(b"</sheetData>")
                content = content[:start] + cells.encode() + content[end:]
            new.writestr(name, content)
    monkeypatch.setattr(package, "MOST_CELLS", 35)
    with pytest.raises(InputError, match="9 rows by 4 columns"):
        read(out.getvalue())


# --- Parquet ------------------------------------------------------------------------------------------------


def test_parquet() -> None:
    content = parquet(
        phone=pl.Series([NUMBER, None], dtype=pl.Int64),
        f=pl.Series([447700900123.0, 0.5]),
        single=pl.Series([447700900123.0, 2.5], dtype=pl.Float32),
        name=["Ann", None],
        kind=pl.Series(["a", "b"], dtype=pl.Categorical),
        raw=[b"x", b"y"],
        day=[dt.date(2026, 12, 1), None],
        at=[HALF_PAST_NINE, MIDNIGHT],
        ok=[True, None],
        price=pl.Series(["12.50", "1.00"]).cast(pl.Decimal(10, 2)),
        tags=[["a"], []],
    )
    chunk, [note] = read(content)
    assert chunk.columns == {
        "phone": ["447700900123", ""],
        "f": ["447700900123", "0.5"],
        "single": ["4.4770089e+11", "2.5"],  # it holds no more
        "name": ["Ann", ""],
        "kind": ["a", "b"],
        "raw": ["x", "y"],
        "day": ["2026-12-01", ""],
        "at": ["2026-12-01 09:30", "2026-12-01"],
        "ok": ["TRUE", ""],
        "price": ["12.50", "1.00"],
    }
    assert (chunk.rows, chunk.lines, chunk.unit) == ([1, 2], [1, 2], "row")
    assert "columns that hold no single values were left out: tags" in note


def test_parquet_comes_in_chunks_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "people [1].parquet"  # not a pattern
    pl.DataFrame({"phone": range(20_000)}).write_parquet(path, row_group_size=3_000)
    with open_recipients(path) as opened:
        chunks = list(opened)
    assert [row for chunk in chunks for row in chunk.rows] == list(range(1, 20_001))
    assert [int(value) for chunk in chunks for value in chunk.columns["phone"]] == list(range(20_000))
    assert max(len(chunk.rows) for chunk in chunks) <= 5_000
    with open_recipients(path) as opened:
        assert next(iter(opened)).rows[0] == 1  # and may be left half-way


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(InputError, match="a header but no recipient"):
        read(parquet(phone=pl.Series([], dtype=pl.String)))
    with pytest.raises(InputError, match="the header names no columns"):
        read(parquet())


# --- The same table in every format -------------------------------------------------------------------------

NAMES = ["Ann", "Renée", "Jürgen", 'Robert "Bob"', "Smith, Jr.", "a;b|c", "x\ny", "Begoña", ""]
numbers = st.one_of(
    st.integers(100, 199).map(lambda line: 12025550000 + line),
    st.integers(100, 199).map(lambda line: 2025550000 + line),
    st.integers(100, 199).map(lambda line: f"+1 202 555 {line:04}"),
    st.integers(0, 99).map(lambda line: f"0{7700900000 + line}"),
    st.integers(0, 99).map(lambda line: 447700900000 + line),
    st.sampled_from(["n/a", "", "2.0255E+09", 12025]),
)
tables = st.lists(
    st.tuples(
        numbers,
        st.sampled_from(NAMES),
        st.one_of(st.integers(0, 999), st.sampled_from([0.5, 12.0, 1234.25])),
        st.dates(dt.date(1990, 1, 1), dt.date(2030, 1, 1)),
    ),
    min_size=1,
    max_size=12,
)
HEADER = ["Mobile", "name", "amount", "day"]


def delimited(table: list[tuple[Any, ...]], delimiter: str) -> str:
    def cell(value: Any) -> str:
        text = value.isoformat() if isinstance(value, dt.date) else str(value)
        text = text.removesuffix(".0")
        return '"' + text.replace('"', '""') + '"' if set(text) & set(',;|\t"\n') else text

    return "".join(delimiter.join(map(cell, row)) + "\r\n" for row in [HEADER, *table])


def in_every_format(table: list[tuple[Any, ...]]) -> dict[str, bytes]:
    objects = [dict(zip(HEADER, row, strict=True)) for row in table]
    columns = dict(zip(HEADER, map(list, zip(*table, strict=True)), strict=True))
    phones = columns["Mobile"]
    # A column of Parquet has one type.
    columns["Mobile"] = phones if all(isinstance(one, int) for one in phones) else list(map(str, phones))
    columns["amount"] = list(map(float, columns["amount"]))
    commas = delimited(table, ",")
    return {
        "csv": commas.encode(),
        "semicolons": delimited(table, ";").encode("utf-8-sig"),
        "tabs": delimited(table, "\t").encode("utf-16"),
        "bars": delimited(table, "|").encode("utf-16-le"),
        "windows": commas.encode("cp1252"),
        "jsonl": "".join(json.dumps(one, default=str) + "\n" for one in objects).encode(),
        "xlsx": workbook(HEADER, *table),
        "parquet": parquet(**columns),
    }


def plan_of(content: bytes, country: str | None) -> Any:
    with open_recipients(io.BytesIO(content)) as recipients:
        plan = Plan(
            header=recipients.header,
            template=compile_template("Hi {name|there}, {amount} on {day}"),
            phone_column="mobile",
            country=country,
            provider="winsms",
            capabilities=Capabilities(messages_per_request=3),
            suppressed=lambda _: {12025550150: "suppressed: opted out"},
            due_at=dt.datetime(2030, 1, 1, tzinfo=dt.UTC),
        )
        steps = list(plan.steps(recipients))
        batches = [step for step in steps if isinstance(step, PlannedBatch)]
        excluded = [row for step in steps if isinstance(step, list) for row in step]
        return batches, excluded, plan.totals, plan.numbers.repaired


@settings(max_examples=60, deadline=None)
@given(tables, st.sampled_from([None, "US", "GB"]))
def test_the_same_table_gives_the_same_plan_in_every_format(
    table: list[tuple[Any, ...]], country: str | None
) -> None:
    every = in_every_format(table)
    expected = plan_of(every.pop("csv"), country)
    assert expected[2].rows == len(table)
    for name, content in every.items():
        assert plan_of(content, country) == expected, name


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Cut a file off, turn some of its bits, or blot out a stretch of it; what it begins with stays."""
    done = bytearray(content)
    match chance.randrange(4):
        case 0:
            del done[chance.randrange(8, len(done)) :]
        case 1:
            for _ in range(chance.choice((1, 3, 20))):
                done[chance.randrange(4, len(done))] ^= 1 << chance.randrange(8)
        case 2:  # where the table of contents is
            done[-chance.randrange(9, min(len(done), 600))] ^= 1 << chance.randrange(8)
        case _:
            at = chance.randrange(4, len(done) - 100)
            done[at : at + 100] = chance.randbytes(100)
    return bytes(done)


@pytest.mark.parametrize(("form", "many"), [("parquet", 10), ("xlsx", 60)])
def test_a_damaged_table_is_one_clean_error_or_loses_nobody(form: str, many: int, capfd: Any) -> None:
    rows = 900
    numbers, names = [f"+1202555{100 + at % 100:04}" for at in range(rows)], [f"Näme{at}" for at in range(rows)]
    if form == "xlsx":
        whole = workbook(("phone", "name"), *zip(numbers, names, strict=True))
    else:
        out = io.BytesIO()
        pl.DataFrame({"phone": numbers, "name": names}).write_parquet(out, compression="lz4", row_group_size=300)
        whole = out.getvalue()
    refused = []
    for seed in range(many):
        try:
            with open_recipients(io.BytesIO(damaged(whole, random.Random(seed))), Reading()) as opened:
                assert sum(len(chunk.rows) for chunk in opened) == rows
        except InputError as error:
            refused.append(str(error))
    assert many / 4 < len(refused) < many
    assert "\n" not in "".join(refused)
    assert capfd.readouterr() == ("", "")  # nor does the library write past the command


@pytest.mark.parametrize(
    "far",
    [
        pl.Series([2**31 - 1], dtype=pl.Int32).cast(pl.Date),
        pl.Series([2**62]).cast(pl.Datetime("us")),
        pl.Series([-(2**62)]).cast(pl.Datetime("ms", "UTC")),
    ],
    ids=["date", "microseconds", "milliseconds"],
)
def test_a_day_that_no_calendar_has_is_refused(far: pl.Series, capfd: Any) -> None:
    out = io.BytesIO()
    pl.DataFrame({"phone": ["+12025550100"], "day": far}).write_parquet(out)
    with pytest.raises(InputError, match="column day: there is a date or a time outside the years 1 to 9999"):
        read(out.getvalue())
    assert capfd.readouterr() == ("", "")
