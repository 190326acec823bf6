"""Reads a sheet of an Excel workbook (.xlsx): the first row with names is the header, each row below a recipient."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import python_calamine
from python_calamine import SheetTypeEnum, SheetVisibleEnum

from dispatcher.errors import InputError
from dispatcher.planning.reading.cells import shown
from dispatcher.planning.reading.package import check_package, measure
from dispatcher.planning.reading.rows import Chunk, check_header
from dispatcher.planning.reading.source import Source

_ROWS_NAMED = 5


class Workbook:
    """One sheet of a workbook; it is loaded as a whole, so its size has a limit (see package)."""

    def __init__(self, source: Source, path: Path, *, sheet: str | None, chunk_rows: int) -> None:
        self._source = source
        self._chunk_rows = chunk_rows
        self.guess = ""
        self.notes: list[str] = []
        check_package(path, source.name)
        with _reading(source.name):
            book = python_calamine.CalamineWorkbook.from_path(str(path))
        at, chosen = self._choose(book, sheet)
        self.name = f"{source.name}, sheet {chosen}"
        size = measure(path, self.name, sheet=at)
        if size.hidden:
            many = "1 row is" if size.hidden == 1 else f"{size.hidden:,} rows are"
            self.notes.append(f"{many} hidden in the sheet, by a filter perhaps, and read all the same")
        with _reading(source.name):
            self._sheet = book.get_sheet_by_index(at)
            merged = self._sheet.merged_cell_ranges or []
        self._titles = {first[0] + 1 for first, last in merged if last[1] > first[1]}  # rows with a wide cell
        if any(last[0] > first[0] for first, last in merged):
            self.notes.append("of cells that are merged over several rows, only the first row has the value")
        self._skipped: list[int] = []
        self._rows = self._read_rows()
        self._header_row, cells = next(self._rows, (0, []))
        if not cells:
            also = f" ({self.guess})" if self.guess else ""
            raise InputError(
                f"{self.name} is empty: it needs a row of column names and a row for each recipient{also}"
            )
        self._names = check_header(cells, f"{self.name}, row {self._header_row}", unnamed=True)
        self._named = [at for at, name in enumerate(self._names) if name]
        self.header = tuple(self._names[at] for at in self._named)

    def digest(self) -> str:
        """See Reader."""
        return self._source.digest()

    def chunks(self) -> Iterator[Chunk]:
        """See Reader."""
        row = 0
        lines: list[int] = []
        found: list[list[str]] = []
        for number, cells in self._rows:
            self._check_unnamed(number, cells)
            lines.append(number)
            found.append(cells)
            if len(lines) == self._chunk_rows:
                yield self._chunk(row, lines, found)
                row += len(lines)
                lines, found = [], []
        if lines:
            yield self._chunk(row, lines, found)
        if self._skipped:
            named = ", ".join(map(str, self._skipped[:_ROWS_NAMED])) + (
                ", …" if len(self._skipped) > _ROWS_NAMED else ""
            )
            self.notes.append(f"rows of one merged cell are titles and were passed over: {named}")

    def _chunk(self, row: int, lines: list[int], found: list[list[str]]) -> Chunk:
        columns = list(zip(*found, strict=True))
        return Chunk(
            rows=list(range(row + 1, row + len(lines) + 1)),
            lines=lines,
            columns={self._names[at]: list(columns[at]) for at in self._named},
            unit="row",
        )

    def _read_rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the rows that have anything in them, with their numbers in the sheet, without titles."""
        if self._sheet.start is None:
            return
        with _reading(self._source.name):
            rows = enumerate(self._sheet.iter_rows(), 1)
        for number, cells in rows:
            texts = [cell if type(cell) is str else shown(cell) or "" for cell in cells]
            filled = sum(not text.isspace() for text in texts if text)
            if not filled:
                continue
            if filled == 1 and number in self._titles:
                self._skipped.append(number)
                continue
            yield number, texts

    def _check_unnamed(self, number: int, cells: Sequence[str]) -> None:
        if len(self._named) == len(cells):
            return
        for at, text in enumerate(cells):
            if text and not text.isspace() and (at >= len(self._names) or not self._names[at]):
                assert self._sheet.start is not None
                cell = f"{_letters(self._sheet.start[1] + at)}{number}"
                raise InputError(
                    f"{self.name}, row {number}: there is something in {cell}, but its column has no name:"
                    f" name it in row {self._header_row}, or empty the cell"
                )

    def _choose(self, book: python_calamine.CalamineWorkbook, wanted: str | None) -> tuple[int, str]:
        """Return the position and the name of the sheet to read."""
        sheets = [
            (at, sheet.name, sheet.visible == SheetVisibleEnum.Visible)
            for at, sheet in enumerate(book.sheets_metadata)
            if sheet.typ == SheetTypeEnum.WorkSheet
        ]
        names = ", ".join(name for _, name, _ in sheets)
        if wanted is not None:
            found = [one for one in sheets if one[1] == wanted] or [
                one for one in sheets if one[1].strip().casefold() == wanted.strip().casefold()
            ]
            if len(found) != 1:
                raise InputError(f"{self._source.name} has no sheet {wanted}. Its sheets: {names}")
            at, name, visible = found[0]
            if not visible:
                self.notes.append(f"sheet {name} is hidden in the workbook")
            return at, name
        seen = [one for one in sheets if one[2]]
        if not seen:
            raise InputError(f"{self._source.name} has no sheet that is not hidden: say which with --sheet ({names})")
        at, name, _ = seen[0]
        if others := [other for _, other, _ in seen[1:]]:
            self.guess = f"read sheet {name}, the first; there is also {', '.join(others)}: --sheet chooses"
            self.notes.append(self.guess)
        if hidden := [other for _, other, visible in sheets if not visible]:
            self.notes.append(f"passed over what is hidden in the workbook: sheet {', '.join(hidden)}")
        return at, name


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turn what the library says of a broken workbook into an InputError."""
    try:
        yield
    except python_calamine.PasswordError:
        raise InputError(f"{name} has a password: save it without one") from None
    except BaseException as error:
        # A fault that its author did not foresee ends the library's own way: no Exception, and by this name only.
        foreseen = isinstance(error, python_calamine.CalamineError | OSError | ValueError)
        if not foreseen and type(error).__name__ != "PanicException":
            raise
        words = re.sub(r"\s+", " ", str(error))[:200]
        raise InputError(
            f"{name} cannot be read as a workbook ({words}): open it in Excel and save it again"
        ) from None


def _letters(column: int) -> str:
    name = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        name = chr(65 + rest) + name
    return name
