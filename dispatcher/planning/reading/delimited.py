"""Reads CSV and its kin, checked strictly: comma, semicolon, tab or bar between the cells."""

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import islice

from dispatcher.errors import InputError
from dispatcher.planning.reading.rows import Chunk, check_header
from dispatcher.planning.reading.source import Source
from dispatcher.planning.reading.text import BREAK, Lines

DELIMITERS = ",;\t|"

_SAYS_DELIMITER = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


class Delimited:
    """A delimited text: a header line and a line for each recipient; a cell between quotes may have line breaks."""

    def __init__(self, source: Source, *, encoding: str | None, chunk_rows: int) -> None:
        self.name = source.name
        self._source = source
        self._chunk_rows = chunk_rows
        self._text = Lines(source, encoding=encoding)
        self._lines = iter(self._text)
        self._line = 1  # where the next record begins
        first = self._next_line()
        says = _SAYS_DELIMITER.fullmatch(first)  # Excel's own note to itself
        if says:
            self._line += 1
            first = self._next_line()
        self._first = self._line  # where the header begins
        delimiter = says[1] if says else _delimiter(first)
        self._reader = csv.reader(self._records(first), delimiter=delimiter, strict=True)
        self.header = self._read_header()

    @property
    def notes(self) -> Sequence[str]:
        """See Reader."""
        return [self.guess] if self.guess else []

    @property
    def guess(self) -> str:
        """See Reader."""
        return self._text.guess

    def digest(self) -> str:
        """See Reader."""
        return self._source.digest()

    def chunks(self) -> Iterator[Chunk]:
        """See Reader."""
        width = len(self.header)
        row = 0
        while True:
            lines, records = self._parse(self._chunk_rows)
            if not records:
                return
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
            begin += 1 + sum(len(BREAK.findall(cell)) for cell in cells)
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

    def _next_line(self) -> str:
        """Return the next line with something on it."""
        for line in self._lines:
            if line.strip():
                return line
            self._line += 1
        raise InputError(f"{self.name} is empty: it needs a header line and a line for each recipient")

    def _records(self, first: str) -> Iterator[str]:
        yield first
        yield from self._lines

    def _read_header(self) -> tuple[str, ...]:
        [line], [cells] = self._parse(1)
        return check_header(cells, f"{self.name}, line {line}")


def _is_blank(cells: list[str]) -> bool:
    return not cells or (len(cells) == 1 and not cells[0].strip())


def _delimiter(line: str) -> str:
    """Return the delimiter that is most frequent outside quotes in the header line."""
    bare = re.sub(r'"[^"]*"', "", line)
    return max(DELIMITERS, key=bare.count)


def _remedy(error: csv.Error) -> str:
    problem = str(error)
    if "unexpected end" in problem:
        return "a quote is opened here and never closed: close it"
    if "field limit" in problem:
        return f"a cell longer than {csv.field_size_limit():,} characters: look for a quote that is not closed"
    if "expected after" in problem:
        return 'a quote within quotes: write it twice, as in "Robert ""Bob"" Lee"'
    return f"not CSV: {problem}"
