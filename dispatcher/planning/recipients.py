"""Reads a recipient list: CSV from a file or a stream, checked strictly, in chunks of columns."""

import codecs
import csv
import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from dispatcher.errors import InputError

CHUNK_ROWS = 5_000
DELIMITERS = ",;\t|"
LONGEST_LINE = 1 << 20
"""Characters in one line beyond which an input is not a list (and would fill the memory)."""

_BLOCK = 1 << 18
_BREAK = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Some rows of the input, in columns of equal length."""

    rows: list[int]  # the first data row is 1; blank lines are none
    lines: list[int]  # where each begins in the file; the first line is 1
    columns: dict[str, list[str]]  # by header name; as they stand in the file


class Recipients:
    """One recipient list, opened: `header` is read at once, the rows by iterating, once.

    Everything that is wrong with the input is an InputError that names the line and the remedy.
    """

    def __init__(self, stream: BinaryIO, *, name: str) -> None:
        self.name = name
        self._stream = stream
        self._digest = hashlib.sha256()
        self._at_end = False
        self._lines = self._read_lines()
        self._line = 1  # where the next record begins
        self._first = 1  # where the header begins
        first = self._first_line()
        self._reader = csv.reader(self._records(first), delimiter=_delimiter(first), strict=True)
        self.header: tuple[str, ...] = self._read_header()

    @property
    def fingerprint(self) -> str:
        """The sha256 of the whole input, in hexadecimal; known once the last chunk has been read."""
        if not self._at_end:
            raise RuntimeError("the fingerprint is known when the input has been read to its end")
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[Chunk]:
        width = len(self.header)
        row = 0
        while True:
            lines, records = self._parse(CHUNK_ROWS)
            if not records:
                break
            if width == 1 or set(map(len, records)) != {width}:
                fitted = [
                    (line, self._fitted(cells, line))
                    for line, cells in zip(lines, records, strict=True)
                    if not _is_blank(cells)
                ]
                if not fitted:
                    continue
                lines, records = [line for line, _ in fitted], [cells for _, cells in fitted]
            yield Chunk(
                rows=list(range(row + 1, row + len(records) + 1)),
                lines=lines,
                columns=dict(zip(self.header, map(list, zip(*records, strict=True)), strict=True)),
            )
            row += len(records)
        if row == 0:
            raise InputError(f"{self.name}: there is a header but no recipient below it")

    def _parse(self, most: int) -> tuple[list[int], list[list[str]]]:
        """Return up to `most` records, blank ones too, and the line on which each begins."""
        records: list[list[str]] = []
        problem = None
        try:
            records.extend(islice(self._reader, most))
        except csv.Error as error:
            problem = error  # what was parsed before it tells on which line the faulty record begins
        begin, self._line = self._line, self._first + self._reader.line_num
        if self._line - begin == len(records) and problem is None:
            return list(range(begin, self._line)), records
        lines: list[int] = []
        for cells in records:
            lines.append(begin)
            begin += 1 + sum(len(_BREAK.findall(cell)) for cell in cells)
        if problem is not None:
            raise InputError(f"{self.name}, line {begin}: {_remedy(problem)}")
        return lines, records

    def _fitted(self, cells: list[str], line: int) -> list[str]:
        width = len(self.header)
        if any(cell.strip() for cell in cells[width:]):
            raise InputError(
                f"{self.name}, line {line}: {len(cells)} cells, but the header has {width} columns: "
                'put a value with a comma between quotes, as in "Washington, DC"'
            )
        return (cells + [""] * (width - len(cells)))[:width]

    # --- The header ---

    def _first_line(self) -> str:
        """Return the first line with something on it."""
        for line in self._lines:
            if line.strip():
                self._first = self._line
                return line
            self._line += 1
        raise InputError(f"{self.name} is empty: it needs a header line and a line for each recipient")

    def _records(self, first: str) -> Iterator[str]:
        yield first
        yield from self._lines

    def _read_header(self) -> tuple[str, ...]:
        [line], [cells] = self._parse(1)
        names = [cell.strip() for cell in cells]
        while names and not names[-1]:
            names.pop()  # spreadsheets leave empty columns at the right
        where = f"{self.name}, line {line}"
        if not names:
            raise InputError(f"{where}: the header names no columns: write, say, phone,first_name")
        if any(_looks_like_number(name) for name in names):
            raise InputError(f"{where}: there is a number where the header should be: add a line of column names")
        if "" in names:
            raise InputError(f"{where}: column {names.index('') + 1} has no name: give it one")
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{where}: two columns are named {name}: rename one")
        return tuple(names)

    # --- Bytes to lines ---

    def _read_lines(self) -> Iterator[str]:
        """Yield the lines of the input with their ends, decoding strictly and taking the fingerprint."""
        decoder = codecs.getincrementaldecoder("utf-8-sig")("strict")
        seen = 0  # lines yielded
        rest = ""
        block = self._read_block()
        _refuse_other_formats(block, self.name)
        while True:
            try:
                text = rest + decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                good = error.object[: error.start].decode("utf-8", "ignore")
                line = seen + len(_BREAK.findall(rest + good)) + 1
                raise InputError(
                    f"{self.name}, line {line}: not UTF-8: save the list as CSV UTF-8 and try again"
                ) from None
            if b"\0" in block:
                line = seen + len(_BREAK.findall(text[: text.index("\0")])) + 1
                raise InputError(f"{self.name}, line {line}: a NUL byte: this is not a CSV file in UTF-8")
            lines = io.StringIO(text, newline="").readlines()
            # The last line may go on in the next block; one that ends with \r may have its \n there.
            rest = lines.pop() if block and lines and not lines[-1].endswith("\n") else ""
            yield from lines
            seen += len(lines)
            if len(rest) > LONGEST_LINE:
                raise InputError(f"{self.name}, line {seen + 1}: longer than {LONGEST_LINE:,} characters")
            if not block:
                self._at_end = True
                return
            block = self._read_block()

    def _read_block(self) -> bytes:
        try:
            block = self._stream.read(_BLOCK)
        except OSError as error:
            raise InputError(f"{self.name} cannot be read: {error.strerror or error}") from None
        self._digest.update(block)
        return block


@contextmanager
def open_recipients(source: Path | BinaryIO) -> Iterator[Recipients]:
    """Open a recipient list: CSV in UTF-8 with a header line, delimited by comma, semicolon, tab or bar.

    Raises:
        InputError: there is no such file, it may not be read, or what is in it is no such list.
    """
    if not isinstance(source, Path):
        yield Recipients(source, name="standard input")
        return
    try:
        stream = source.open("rb")
    except FileNotFoundError:
        raise InputError(f"there is no file {source}") from None
    except IsADirectoryError:
        raise InputError(f"{source} is a folder: name the CSV file in it") from None
    except PermissionError:
        raise InputError(f"{source} may not be read: check its permissions") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{source} cannot be opened: {error}") from None
    with stream:
        yield Recipients(stream, name=str(source))


def _is_blank(cells: list[str]) -> bool:
    return not cells or (len(cells) == 1 and not cells[0].strip())


def _delimiter(line: str) -> str:
    """Return the delimiter that is most frequent outside quotes in the header line."""
    bare = re.sub(r'"[^"]*"', "", line)
    return max(DELIMITERS, key=bare.count)


def _looks_like_number(name: str) -> bool:
    return sum(map(str.isdigit, name)) >= 7 and not any(map(str.isalpha, name))


def _remedy(error: csv.Error) -> str:
    problem = str(error)
    if "unexpected end" in problem:
        return "a quote is opened here and never closed: close it"
    if "field limit" in problem:
        return f"a cell longer than {csv.field_size_limit():,} characters: look for a quote that is not closed"
    if "expected after" in problem:
        return 'a quote within quotes: write it twice, as in "Robert ""Bob"" Lee"'
    return f"not CSV: {problem}"


def _refuse_other_formats(block: bytes, name: str) -> None:
    if block.startswith(b"PK\x03\x04"):
        raise InputError(f"{name} is a workbook, not CSV: save it as CSV UTF-8")
    if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{name} is in UTF-16: save it as CSV UTF-8")
