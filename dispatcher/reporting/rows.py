"""Writes a report: one line an input row, as CSV, JSON Lines, a workbook or Parquet."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from io import TextIOWrapper
from itertools import islice
from typing import Any, BinaryIO

from dispatcher.errors import UsageError
from dispatcher.ledger import ReportLine
from dispatcher.reporting.status import amount, moment

COLUMNS = tuple(field.name for field in fields(ReportLine))
"""The columns of a report, in order."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet may begin a formula with; the wide ones too, which some take for the narrow ones."""

_NUMBER = re.compile(r"\+[0-9]{4,15}|\+[0-9]+•••[0-9]+")  # or masked
_UNPRINTABLE = re.compile(r"[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What JSON leaves as it is and a terminal acts on: C1 controls, line separators, and changes of direction."""

_SHEET_ROWS = 1_048_576  # what a sheet holds, its header included
_PORTION = 50_000


def write_report(lines: Iterable[ReportLine], *, form: str, out: BinaryIO) -> int:
    """Write one line an input row in one of `FORMS`, and return how many there were.

    JSON holds everything as it is. CSV is for spreadsheets and eyes: a cell that begins like a formula (`harmless`)
    gets an apostrophe in front, and signs that a terminal would act on become �. A number in E.164, a plus with
    nothing but digits after it, stays as it is: as a formula it is that number. Workbooks and Parquet have types:
    there text is text.

    CSV and JSON Lines need no memory to speak of, a workbook little; Parquet is put together in memory, at about
    100 bytes a row.

    Raises:
        UsageError: a workbook cannot hold so many rows.
    """
    return _WRITERS[form](lines, out)


def as_json(data: object) -> str:
    """Return data as JSON on one line. What a terminal would act on is escaped: for a program it is the same."""
    text = json.dumps(data, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def harmless(text: str) -> str:
    """Return text that no spreadsheet takes for a formula, and no terminal for an order."""
    shown = "".join(sign if sign.isprintable() or sign in "\n\t" else "�" for sign in text)
    return "'" + shown if text.lstrip(" ").startswith(_FORMULA) else shown


def harmless_number(text: str) -> str:
    """Return what stands for a number: a number as it is, else `harmless`."""
    return text if _NUMBER.fullmatch(text) else harmless(text)


def _write_csv(lines: Iterable[ReportLine], out: BinaryIO) -> int:
    text = TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    many = 0
    for line in lines:
        writer.writerow([_cell(name, getattr(line, name)) for name in COLUMNS])
        many += 1
    text.detach()
    return many


def _write_jsonl(lines: Iterable[ReportLine], out: BinaryIO) -> int:
    many = 0
    for line in lines:
        row = {name: _plain(getattr(line, name)) for name in COLUMNS}
        out.write(as_json(row).encode() + b"\n")
        many += 1
    return many


def _write_xlsx(lines: Iterable[ReportLine], out: BinaryIO) -> int:
    import xlsxwriter  # noqa: PLC0415 - a tenth of a second that other commands need not pay

    # Row by row through a file, in memory that does not grow; nothing is ever read as a formula or a link.
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    book = xlsxwriter.Workbook(out, options)
    sheet = book.add_worksheet("report")
    sheet.freeze_panes(1, 0)
    bold, date = book.add_format({"bold": True}), book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
    for column, name in enumerate(COLUMNS):
        sheet.write_string(0, column, name, bold)
    many = 0
    try:
        for many, line in enumerate(lines, 1):
            if many == _SHEET_ROWS:
                raise UsageError(
                    f"a workbook holds {_SHEET_ROWS - 1:,} rows, and this campaign has more: write csv or parquet"
                )
            for column, name in enumerate(COLUMNS):
                value = getattr(line, name)
                if isinstance(value, datetime):  # a workbook knows no time zones: UTC, like everywhere
                    sheet.write_datetime(many, column, value.replace(tzinfo=None), date)
                elif isinstance(value, int | Decimal):
                    sheet.write_number(many, column, value)
                elif value is not None:
                    sheet.write_string(many, column, value)
    finally:
        book.close()  # it keeps its rows in a temporary file
    return many


def _write_parquet(lines: Iterable[ReportLine], out: BinaryIO) -> int:
    import polars  # noqa: PLC0415 - a fifth of a second that other commands need not pay

    text, whole, time = polars.String, polars.Int64, polars.Datetime("us", "UTC")
    kinds: dict[type, Any] = {str: text, int: whole, datetime: time, Decimal: polars.Decimal(18, 6)}
    schema = {name: kinds[kind] for name, kind in zip(COLUMNS, _KINDS, strict=True)}
    portions = [
        polars.DataFrame({name: [getattr(line, name) for line in some] for name in COLUMNS}, schema=schema)
        for some in _portions(lines)
    ]
    whole_report = polars.concat(portions) if portions else polars.DataFrame(schema=schema)
    whole_report.write_parquet(out)
    return whole_report.height


_KINDS: tuple[type, ...] = (int, str, str, str, str, int, datetime, datetime, int, Decimal)
"""What is in each of COLUMNS, where there is anything."""

_WRITERS: dict[str, Callable[[Iterable[ReportLine], BinaryIO], int]] = {
    "csv": _write_csv,
    "jsonl": _write_jsonl,
    "xlsx": _write_xlsx,
    "parquet": _write_parquet,
}

FORMS = tuple(_WRITERS)
"""The formats of a report."""


def _portions(lines: Iterable[ReportLine]) -> Iterator[list[ReportLine]]:
    rest = iter(lines)
    while some := list(islice(rest, _PORTION)):
        yield some


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return moment(value)
    return amount(value) if isinstance(value, Decimal) else value


def _cell(name: str, value: object) -> object:
    """Return a value for a spreadsheet: what came from outside may not become a formula."""
    plain = _plain(value)
    if plain is None:
        return ""
    if isinstance(plain, str):
        return harmless_number(plain) if name == "number" else harmless(plain)
    return plain
