"""Counts the rows of a recipient list in a first pass, before it is planned."""

import io
from pathlib import Path
from typing import BinaryIO

from dispatcher.errors import InputError
from dispatcher.planning.recipients import open_recipients

_BLOCK = 1 << 20
_TEXT = frozenset({".csv", ".tsv", ".txt"})


def count_rows(source: Path | BinaryIO) -> int | None:
    """Return how many rows a list has, None where it can be read only once.

    In a text file that is its lines below the header, so that it is fast; a value that goes over several lines, and
    a blank line, count a little too much.

    Raises:
        InputError: the list cannot be read.
    """
    if isinstance(source, Path):
        return _lines(source) if source.suffix.lower() in _TEXT else _rows(source)
    if not isinstance(source, io.BytesIO):
        return None
    found = _rows(source)
    source.seek(0)
    return found


def _lines(path: Path) -> int:
    try:
        with path.open("rb") as stream:
            lines, last = 0, b"\n"
            while block := stream.read(_BLOCK):
                lines += block.count(b"\n")
                last = block[-1:]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    return max(0, lines + (last != b"\n") - 1)


def _rows(source: Path | BinaryIO) -> int:
    with open_recipients(source) as recipients:
        return sum(len(chunk.rows) for chunk in recipients)
