"""The bytes of an input: looked at before they are read, counted into a fingerprint, put on disk where need be."""

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dispatcher.errors import InputError

BLOCK = 1 << 18
"""How much is read at once, in bytes."""

_LOOKED_AT = 4096


class Source:
    """The bytes of one input, read once from its beginning to its end."""

    def __init__(self, stream: BinaryIO, *, name: str, path: Path | None = None) -> None:
        self.name = name
        self._stream = stream
        self._path = path
        self._digest = hashlib.sha256()
        self._kept: list[bytes] = []  # looked at, and not read yet

    def beginning(self) -> bytes:
        """Return the first bytes, or all where there are few, and leave them to be read."""
        while sum(map(len, self._kept)) < _LOOKED_AT:
            block = self._take()
            if not block:
                break
            self._kept.append(block)
        return b"".join(self._kept)[:_LOOKED_AT]

    def read(self) -> bytes:
        """Return the next block; an empty one is the end."""
        block = self._kept.pop(0) if self._kept else self._take()
        self._digest.update(block)
        return block

    def digest(self) -> str:
        """Return the sha256 of what has been read, in hexadecimal."""
        return self._digest.hexdigest()

    @contextmanager
    def on_disk(self, *, most: int = sys.maxsize) -> Iterator[Path]:
        """Give the whole input as a file, for formats that are not read from front to back; all of it is then read.

        Raises:
            InputError: it has more than `most` bytes.
        """
        if self._path is not None:
            size = 0
            while block := self.read():
                size += len(block)
                self._check_size(size, most)
            yield self._path
            return
        # Its owner alone may read it, and it goes with the command.
        handle, name = tempfile.mkstemp(prefix="dispatcher-list-")
        try:
            with os.fdopen(handle, "wb") as out:
                size = 0
                while block := self.read():
                    size += len(block)
                    self._check_size(size, most)
                    out.write(block)
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def _check_size(self, size: int, most: int) -> None:
        if size > most:
            raise InputError(
                f"{self.name} has more than {most:,} bytes, the most for its format: save it as CSV UTF-8"
            )

    def _take(self) -> bytes:
        try:
            return self._stream.read(BLOCK)
        except OSError as error:
            raise InputError(f"{self.name} cannot be read: {error.strerror or error}") from None
