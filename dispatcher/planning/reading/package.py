"""Looks into a workbook's package before it is loaded: is it one, how large does it become, what is hidden in it."""

import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dispatcher.errors import InputError

MOST_BYTES = 500_000_000
"""The largest workbook that is read, as the file is."""

MOST_UNPACKED = 1_000_000_000
"""The largest sheet, and the largest table of texts, unpacked, in bytes."""

MOST_CELLS = 10_000_000
"""The most cells in the rectangle that a sheet's values span, empty ones too; each takes about 90 bytes of memory."""

_BLOCK = 1 << 20
_SMALL = 10_000_000
_SHEET = re.compile(rb"<(?:\w+:)?sheet\s[^>]*>")
_RELATION = re.compile(rb"<(?:\w+:)?Relationship\s[^>]*>")
_ATTRIBUTE = re.compile(rb"""([\w:]+)\s*=\s*["']([^"']*)["']""")
_HIDDEN = re.compile(rb"""<(?:\w+:)?row\s[^>]*?\bhidden=["'](?:1|true)["']""")
_ROW = re.compile(rb"<(?:\w+:)?row\b")
_CELL = re.compile(rb"""<(?:\w+:)?c\s[^>]*?\br=["']([A-Z]+)(\d+)["'][^>]*(?<!/)>""")
_ANY_CELL = re.compile(rb"<(?:\w+:)?c\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a sheet spans, from its first cell to the last that has a value; and how many of its rows are hidden."""

    rows: int
    columns: int
    hidden: int


def check_package(path: Path, name: str) -> None:
    """See that a file is a workbook of a size that can be read.

    Raises:
        InputError: it is not.
    """
    with _opened(path, name) as package:
        names = package.namelist()
        if "xl/workbook.xml" not in names:
            raise InputError(
                f"{name} is {_what(package, names)}, not an Excel workbook: save it as .xlsx or CSV UTF-8"
            )
        for member in package.infolist():
            if member.file_size > MOST_UNPACKED:
                raise InputError(_too_large(name, f"{MOST_UNPACKED:,} bytes unpacked"))


def measure(path: Path, name: str, *, sheet: int) -> Size:
    """Return the size of the sheet at a position in the workbook, without loading it.

    Raises:
        InputError: it is damaged, or larger than what is read.
    """
    with _opened(path, name) as package:
        part = _part(package, name, sheet)
        rows = columns = hidden = tags = widest = 0
        for block in _blocks(package, part, name):
            hidden += len(_HIDDEN.findall(block))
            found = _CELL.findall(block)
            if found:
                rows = max(rows, *(int(row) for _, row in found), 0)
                columns = max(columns, *(_column(letters) for letters in {letters for letters, _ in found}), 0)
            elif _ANY_CELL.search(block):  # cells need not say where they are
                pieces = _ROW.split(block)
                tags += len(pieces) - 1
                widest = max(widest, *(len(_ANY_CELL.findall(piece)) for piece in pieces))
    size = Size(rows=max(rows, tags), columns=max(columns, widest), hidden=hidden)
    if size.rows * size.columns > MOST_CELLS:
        raise InputError(_too_large(name, f"{MOST_CELLS:,} cells ({size.rows:,} rows by {size.columns:,} columns)"))
    return size


def _too_large(name: str, than: str) -> str:
    return (
        f"{name} is larger than a workbook may be here, {than}: delete what does not belong to the list,"
        " or save it as CSV UTF-8, which may be of any size"
    )


def _opened(path: Path, name: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        raise InputError(f"{name} is damaged, or not a workbook: open it in Excel and save it again") from None


def _what(package: zipfile.ZipFile, names: list[str]) -> str:
    if "mimetype" in names and package.getinfo("mimetype").file_size < 200:
        return "an OpenDocument sheet"
    return "a binary workbook (.xlsb)" if "xl/workbook.bin" in names else "a zip archive"


def _part(package: zipfile.ZipFile, name: str, sheet: int) -> str:
    """Return the name of the part that holds a sheet."""
    sheets = [_attributes(tag) for tag in _SHEET.findall(_small(package, "xl/workbook.xml", name))]
    relations = [_attributes(tag) for tag in _RELATION.findall(_small(package, "xl/_rels/workbook.xml.rels", name))]
    targets = {one.get("Id"): one.get("Target", "") for one in relations}
    if sheet < len(sheets):
        wanted = next((value for key, value in sheets[sheet].items() if key.endswith(":id")), None)
        target = targets.get(wanted, "")
        part = target.removeprefix("/") if target.startswith("/") else f"xl/{target.removeprefix('./')}"
        if part in package.namelist():
            return part
    raise InputError(f"{name} is damaged, or not a workbook: open it in Excel and save it again")


def _attributes(tag: bytes) -> dict[str, str]:
    return {key.decode(): value.decode("utf-8", "replace") for key, value in _ATTRIBUTE.findall(tag)}


def _small(package: zipfile.ZipFile, part: str, name: str) -> bytes:
    try:
        with package.open(part) as stream:
            return stream.read(_SMALL)
    except (KeyError, *_UNREADABLE):
        raise InputError(f"{name} is damaged, or not a workbook: open it in Excel and save it again") from None


def _blocks(package: zipfile.ZipFile, part: str, name: str) -> Iterator[bytes]:
    """Yield the part in pieces that end where a tag ends."""
    rest, unpacked = b"", 0
    try:
        with package.open(part) as stream:
            while block := stream.read(_BLOCK):
                unpacked += len(block)
                if unpacked > MOST_UNPACKED:
                    raise InputError(_too_large(name, f"{MOST_UNPACKED:,} bytes unpacked"))
                whole, found, tail = block.rpartition(b">")
                if found:
                    yield rest + whole + found
                    rest = tail
                else:
                    rest += tail
                    if len(rest) > 2 * _BLOCK:
                        rest = rest[-_BLOCK:]
    except _UNREADABLE:
        raise InputError(f"{name} is damaged, or not a workbook: open it in Excel and save it again") from None


_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError)


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters[:4]:
        number = number * 26 + letter - 64
    return number
