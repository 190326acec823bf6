"""Reads the files that commands are given, and says what is wrong with them in words."""

import mimetypes
from pathlib import Path

from dispatcher.errors import InputError

_LONGEST_TEXT = 100_000


def read_file(file: Path) -> bytes:
    """Return the content of a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return file.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def read_text(file: Path) -> str:
    """Return the text in a file, without the line break at its end.

    Raises:
        InputError: it cannot be read, is not UTF-8, or is no text message by its length.
    """
    found = read_file(file)
    if len(found) > _LONGEST_TEXT:
        raise InputError(f"{file} is {len(found):,} bytes long: a text message is shorter")
    try:
        return found.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        line = found[: error.start].count(b"\n") + 1
        raise InputError(f"{file}, line {line}: not UTF-8: save the text as UTF-8") from None


def media_type(file: Path) -> str:
    """Return the MIME type that a file's name tells.

    Raises:
        InputError: its name tells none.
    """
    found, _ = mimetypes.guess_type(file.name)
    if found is None:
        raise InputError(f"{file}: its name does not tell what it is: name it .jpg, .png, .gif, .mp4, …")
    return found
