"""Opens a recipient list, whatever its format: by its first bytes, not by its name."""

import codecs
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from dispatcher.errors import InputError, UsageError
from dispatcher.planning.reading.delimited import Delimited
from dispatcher.planning.reading.json_lines import JsonLines
from dispatcher.planning.reading.rows import Chunk, Reader
from dispatcher.planning.reading.source import Source

__all__ = ["Chunk", "Format", "Reading", "Recipients", "open_recipients"]

CHUNK_ROWS = 5_000


class Format(StrEnum):
    """How a list is written. CSV is whatever is delimited: by comma, semicolon, tab or bar."""

    CSV = "csv"
    JSON_LINES = "jsonl"
    PARQUET = "parquet"
    XLSX = "xlsx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a list is to be read, where its first bytes are not to decide; `sheet` is by name, for workbooks."""

    format: Format | None = None
    encoding: str | None = None
    sheet: str | None = None


class Recipients:
    """One recipient list, opened: `header` is read at once, the rows by iterating, once.

    Everything that is wrong with the input is an InputError that names the line or row, and the remedy.
    """

    def __init__(self, reader: Reader, *, after: int = 0) -> None:
        """Read what `reader` gives; its first row follows row `after` of the campaign that it is for."""
        self._reader = reader
        self._chunks = reader.chunks() if not after else _following(reader.chunks(), after)
        self._waiting: list[Chunk] = []
        self._at_end = False
        self.name = reader.name
        self.header = reader.header

    @property
    def notes(self) -> Sequence[str]:
        """What was guessed or passed over, a sentence each; all of it is known once the last chunk has been read."""
        return tuple(f"{self.name}: {note}" for note in self._reader.notes)

    @property
    def fingerprint(self) -> str:
        """The sha256 of the whole input, in hexadecimal; known once the last chunk has been read."""
        if not self._at_end:
            raise RuntimeError("the fingerprint is known when the input has been read to its end")
        return self._reader.digest()

    def first(self) -> Chunk:
        """Return the first chunk, and leave it to be read; not once reading has begun."""
        if not self._waiting:
            self._waiting.append(self._next())
        return self._waiting[0]

    def __iter__(self) -> Iterator[Chunk]:
        yield self._waiting.pop() if self._waiting else self._next()
        yield from self._chunks
        self._at_end = True

    def _next(self) -> Chunk:
        found = next(self._chunks, None)
        if found is None:
            raise InputError(f"{self.name}: there is a header but no recipient below it")
        return found


@contextmanager
def open_recipients(
    source: Path | BinaryIO | Reader, reading: Reading | None = None, *, after: int = 0
) -> Iterator[Recipients]:
    """Open a recipient list with column names: CSV, JSON Lines, XLSX or Parquet, in a file, a stream or read already.

    Raises:
        InputError: there is no such file, it may not be read, or what is in it is no such list.
        UsageError: it has no encoding or no sheets, and is to be read by one.
    """
    how = reading or Reading()
    if isinstance(source, Reader):
        yield Recipients(source, after=after)
        return
    with ExitStack() as stack:
        if isinstance(source, Path):
            given = Source(stack.enter_context(_open(source)), name=str(source), path=source)
        else:
            given = Source(source, name="standard input")
        form = how.format or _sniff(given.beginning(), given.name)
        _check(how, form, given.name)
        match form:
            case Format.CSV:
                reader: Reader = Delimited(given, encoding=how.encoding, chunk_rows=CHUNK_ROWS)
            case Format.JSON_LINES:
                reader = JsonLines(given, encoding=how.encoding, chunk_rows=CHUNK_ROWS)
            case Format.XLSX:
                # Loading these two takes time and memory that lists of text should not pay for.
                from dispatcher.planning.reading.package import MOST_BYTES  # noqa: PLC0415
                from dispatcher.planning.reading.workbook import Workbook  # noqa: PLC0415

                path = stack.enter_context(given.on_disk(most=MOST_BYTES))
                reader = Workbook(given, path, sheet=how.sheet, chunk_rows=CHUNK_ROWS)
            case Format.PARQUET:
                from dispatcher.planning.reading.parquet import Parquet  # noqa: PLC0415

                path = stack.enter_context(given.on_disk())
                reader = Parquet(given, path, chunk_rows=CHUNK_ROWS)
        try:
            yield Recipients(reader, after=after)
        except InputError as error:
            if not reader.guess:
                raise
            raise InputError(f"{error} ({reader.guess})") from None


def _following(chunks: Iterator[Chunk], after: int) -> Iterator[Chunk]:
    for chunk in chunks:
        yield replace(chunk, rows=[row + after for row in chunk.rows])


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder: name the file in it") from None
    except PermissionError:
        raise InputError(f"{path} may not be read: check its permissions") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be opened: {error}") from None


def _check(how: Reading, form: Format, name: str) -> None:
    if how.sheet is not None and form is not Format.XLSX:
        raise UsageError(f"{name} is {_CALLED[form]} and has no sheets: leave --sheet out")
    if how.encoding is not None and form in {Format.XLSX, Format.PARQUET}:
        raise UsageError(f"{name} is {_CALLED[form]}, which knows its own encoding: leave --encoding out")


_CALLED = {
    Format.CSV: "CSV",
    Format.JSON_LINES: "JSON Lines",
    Format.PARQUET: "Parquet",
    Format.XLSX: "a workbook",
}

# What no list is, and what to do about it.
_OTHERS = (
    (
        b"\xd0\xcf\x11\xe0",
        "an old Excel workbook (.xls), or one with a password: save it as .xlsx without a password",
    ),
    (b"\x1f\x8b", "compressed: unpack it with gunzip, or pipe it in: gunzip -c FILE | dispatcher enqueue - …"),
    (b"%PDF", "a PDF: export the list as CSV or .xlsx from where it was made"),
    (b"PK\x05\x06", "an empty zip archive"),
)
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_WEB_PAGE = (b"<html", b"<!doctype", b"<?xml", b"<table", b"<head")


def _sniff(beginning: bytes, name: str) -> Format:
    """Return the format that the first bytes tell."""
    if beginning.startswith(b"PK\x03\x04"):
        return Format.XLSX
    if beginning.startswith((b"PAR1", b"PARE")):
        return Format.PARQUET
    for mark, what in _OTHERS:
        if beginning.startswith(mark):
            raise InputError(f"{name} is {what}")
    for mark in _MARKS:
        beginning = beginning.removeprefix(mark)
    text = beginning.replace(b"\0", b"").lstrip()  # of UTF-16, the part that is ASCII
    if text.startswith(b"{"):
        return Format.JSON_LINES
    if text.startswith((b"[{", b"[ ", b"[\n", b"[\r")):
        raise InputError(f"{name} is a JSON list: write one object a line, without the list (jq -c '.[]' does it)")
    if text[:9].lower().startswith(_WEB_PAGE):
        raise InputError(
            f"{name} is a web page or XML, whatever its name: open it in Excel and save it as .xlsx or CSV"
        )
    return Format.CSV
