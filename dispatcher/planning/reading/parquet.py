"""Reads Parquet, batch by batch, in bounded memory."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from dispatcher.errors import InputError
from dispatcher.planning.reading.cells import shown
from dispatcher.planning.reading.rows import Chunk, check_header
from dispatcher.planning.reading.source import Source

_SINGLE_EXACT = 1 << 24
"""A float of 32 bits has every whole number up to here, and not beyond."""

_DAY = 86_400
_FIRST_DAY, _LAST_DAY = -719_162, 2_932_896
"""The years 1 to 9999, in days since 1970: Python knows no others."""

_TICKS = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_SOUND = Path(__file__).with_name("sound_parquet.py")


class Parquet:
    """A table whose columns are texts, numbers, dates or truth values; others are left out."""

    def __init__(self, source: Source, path: Path, *, chunk_rows: int) -> None:
        self.name = source.name
        self._source = source
        self._chunk_rows = chunk_rows
        self.guess = ""
        self.notes: list[str] = []
        self._rows = self._sound_rows(path)
        try:
            # The name is this file's, whatever it looks like: no pattern, and no folders that tell values.
            self._table = pl.scan_parquet(path, glob=False, hive_partitioning=False)
            schema = self._table.collect_schema()
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise InputError(self._unreadable(error)) from None
        flat = [
            column for column, kind in schema.items() if not kind.is_nested() and kind not in (pl.Object, pl.Null)
        ]
        if others := [column for column in schema if column not in flat]:
            self.notes.append(f"columns that hold no single values were left out: {', '.join(others)}")
        self._columns = flat
        self.header = check_header(flat, self.name)
        if len(self.header) != len(flat):
            raise InputError(f"{self.name}: a column has no name: give it one")

    def digest(self) -> str:
        """See Reader."""
        return self._source.digest()

    def chunks(self) -> Iterator[Chunk]:
        """See Reader."""
        row = 0
        try:
            batches = self._table.select(self._columns).collect_batches(
                chunk_size=self._chunk_rows, maintain_order=True
            )
            for batch in batches:
                for piece in batch.iter_slices(self._chunk_rows):
                    numbers = list(range(row + 1, row + piece.height + 1))
                    columns = {
                        name: _texts(piece[column], f"{self.name}, from row {row + 1} on, column {name}")
                        for name, column in zip(self.header, self._columns, strict=True)
                    }
                    if numbers:
                        yield Chunk(rows=numbers, lines=numbers, columns=columns, unit="row")
                    row += piece.height
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise InputError(self._unreadable(error)) from None
        if row != self._rows:
            raise InputError(self._unreadable(f"{row:,} of {self._rows:,} rows can be read"))

    def _sound_rows(self, path: Path) -> int:
        """Return how many rows a file has that can be read from its first to its last.

        The library ends a process that reads some damaged files, writes what its authors never meant to be seen, or
        stops half-way and says nothing: so another process reads it first, and nobody is left out unsaid.
        """
        quiet = {**os.environ, "RUST_BACKTRACE": "0"}
        done = subprocess.run(  # noqa: S603 - our own file
            [sys.executable, str(_SOUND), str(path.resolve()), str(self._chunk_rows)],
            env=quiet,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            raise InputError(self._unreadable(_last_words(done.stderr)))
        told, found = map(int, done.stdout.split())
        if told != found:
            raise InputError(self._unreadable(f"{found:,} of {told:,} rows can be read"))
        return told

    def _unreadable(self, error: BaseException | str) -> str:
        words = next(iter(str(error).splitlines()), "")[:200]
        return f"{self.name} cannot be read as Parquet ({words}): it is damaged; export it again"


def _last_words(stderr: str) -> str:
    """Return what a process says went wrong, without where in it."""
    lines = [
        line.strip() for line in stderr.splitlines() if line.strip() and not line.startswith(("note:", "thread"))
    ]
    return re.sub(r"^[\w.]+(?:Error|Exception): ", "", lines[-1]) if lines else "reading it ends the program"


def _texts(column: pl.Series, where: str) -> list[str]:
    """Return a column as texts, an empty value as "".

    Raises:
        InputError: a time in it is none of the calendar; it begins with `where`.
    """
    kind = column.dtype
    if kind == pl.String:
        return column.fill_null("").to_list()
    if kind.is_integer() or isinstance(kind, pl.Categorical | pl.Enum | pl.Binary):
        return column.cast(pl.String).fill_null("").to_list()
    if kind.is_temporal():
        _check_times(column, where)
    values = column.to_list()
    if kind == pl.Float32:
        return [_single(value) for value in values]
    return [shown(value) or "" for value in values]


def _single(value: float | None) -> str:
    # The digits beyond what it holds are made up: its exponent says so to whoever looks for a number.
    return f"{value:.7e}" if value is not None and abs(value) > _SINGLE_EXACT else shown(value) or ""


def _check_times(column: pl.Series, where: str) -> None:
    kind = column.dtype
    if kind == pl.Date:
        least, most = _FIRST_DAY, _LAST_DAY
    elif isinstance(kind, pl.Datetime):
        # A zone may be a day away; and what counts nanoseconds reaches no further than the year 2262.
        ticks = _TICKS[kind.time_unit]
        least, most = max(-(1 << 63), (_FIRST_DAY + 1) * _DAY * ticks), min((1 << 63) - 1, _LAST_DAY * _DAY * ticks)
    elif kind == pl.Time:
        least, most = 0, _DAY * _TICKS["ns"] - 1
    else:
        return
    if not column.to_physical().drop_nulls().is_between(least, most).all():
        raise InputError(
            f"{where}: there is a date or a time outside the years 1 to 9999: mend it and export it again"
        )
