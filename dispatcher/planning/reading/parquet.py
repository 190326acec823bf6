"""Reads Parquet, batch by batch, in bounded memory."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from dispatcher.errors import InputError
from dispatcher.planning.reading.cells import shown
from dispatcher.planning.reading.rows import Chunk, check_header
from dispatcher.planning.reading.source import Source

_SINGLE_EXACT = 1 << 24
"""A float of 32 bits has every whole number up to here, and not beyond."""


class Parquet:
    """A table whose columns are texts, numbers, dates or truth values; others are left out."""

    def __init__(self, source: Source, path: Path, *, chunk_rows: int) -> None:
        self.name = source.name
        self._source = source
        self._chunk_rows = chunk_rows
        self.guess = ""
        self.notes: list[str] = []
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
                        name: _texts(piece[column]) for name, column in zip(self.header, self._columns, strict=True)
                    }
                    if numbers:
                        yield Chunk(rows=numbers, lines=numbers, columns=columns, unit="row")
                    row += piece.height
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise InputError(self._unreadable(error)) from None

    def _unreadable(self, error: BaseException) -> str:
        words = next(iter(str(error).splitlines()), "")[:200]
        return f"{self.name} cannot be read as Parquet: {words}"


def _texts(column: pl.Series) -> list[str]:
    """Return a column as texts, an empty value as ""."""
    kind = column.dtype
    if kind == pl.String:
        return column.fill_null("").to_list()
    if kind.is_integer() or isinstance(kind, pl.Categorical | pl.Enum | pl.Binary):
        return column.cast(pl.String).fill_null("").to_list()
    values = column.to_list()
    if kind == pl.Float32:
        return [_single(value) for value in values]
    return [shown(value) or "" for value in values]


def _single(value: float | None) -> str:
    # The digits beyond what it holds are made up: its exponent says so to whoever looks for a number.
    return f"{value:.7e}" if value is not None and abs(value) > _SINGLE_EXACT else shown(value) or ""
