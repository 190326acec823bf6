"""What every format is read into: a header, chunks of columns, and notes on what was taken for granted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from dispatcher.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Some rows of the input, in columns of equal length."""

    rows: list[int]  # the first data row is 1; blank lines are none
    lines: list[int]  # where each begins in the file, as `unit` counts; the first is 1
    columns: dict[str, list[str]]  # by header name; as they stand in the file
    unit: str = "line"  # what a person counts there: line, or row of a sheet or table


@runtime_checkable
class Reader(Protocol):
    """One format's way to read one input. Its `header` is read when it is made, the chunks by iterating, once."""

    @property
    def name(self) -> str:
        """What to call the input in a message."""

    @property
    def header(self) -> tuple[str, ...]:
        """The names of the columns, each once."""

    @property
    def notes(self) -> Sequence[str]:
        """What was guessed or passed over, a sentence each; complete once all chunks have been read."""

    @property
    def guess(self) -> str:
        """What was guessed so far and may be at the root of whatever is found wrong; empty where nothing was."""

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows; none of the chunks is empty."""

    def digest(self) -> str:
        """Return the sha256 of the whole input, in hexadecimal; asked for once all chunks have been read."""


def check_header(names: Sequence[str], where: str, *, unnamed: bool = False) -> tuple[str, ...]:
    """Return the names of the columns, stripped, without the empty ones at the end; `unnamed` allows others too.

    Raises:
        InputError: there is none, one is a number or has no name, or two are the same; it begins with `where`.
    """
    names = [name.strip() for name in names]
    while names and not names[-1]:
        names.pop()  # spreadsheets leave empty columns at the right
    if not any(names):
        raise InputError(f"{where}: the header names no columns: write, say, phone,first_name")
    if any(_looks_like_number(name) for name in names):
        raise InputError(f"{where}: there is a number where the header should be: add a line of column names")
    if "" in names and not unnamed:
        raise InputError(f"{where}: column {names.index('') + 1} has no name: give it one")
    for name in names:
        if name and names.count(name) > 1:
            raise InputError(f"{where}: two columns are named {name}: rename one")
    return tuple(names)


def _looks_like_number(name: str) -> bool:
    return sum(map(str.isdigit, name)) >= 7 and not any(map(str.isalpha, name))
