"""Bytes to lines: decodes a text strictly, block by block, and says which encoding it took it for."""

import codecs
import io
import re
from collections.abc import Iterator

from dispatcher.errors import InputError
from dispatcher.planning.reading.encodings import Windows1252, find_codec, looks_like_utf16, marked
from dispatcher.planning.reading.source import Source

LONGEST_LINE = 1 << 20
"""Characters in one line beyond which an input is not a list (and would fill the memory)."""

BREAK = re.compile(r"\r\n|\r|\n")
_NAMES = {"utf-8": "UTF-8", "utf-16-le": "UTF-16 LE", "utf-16-be": "UTF-16 BE", "cp1252": "Windows-1252"}


class Lines:
    """The lines of one input, each with its end, iterated once.

    Without `encoding` it is what the byte order mark says, UTF-16 where the bytes look like it, else UTF-8; and
    Windows-1252 from the first byte that is not UTF-8, if there was nothing but ASCII before it and it is plausible.
    """

    def __init__(self, source: Source, *, encoding: str | None = None) -> None:
        self.name = source.name
        self._guess = ""
        self._source = source
        beginning = source.beginning()
        self._may_be_windows = False
        if encoding is not None:
            self._codec = _endian(find_codec(encoding), marked(beginning))
        elif (mark := marked(beginning)) is not None:
            self._codec = mark
        elif (guess := looks_like_utf16(beginning)) is not None:
            self._codec = guess
            self._guess = f"read as {_NAMES[guess]}, which it does not say; if that is wrong, say --encoding"
        else:
            self._codec = "utf-8"
            self._may_be_windows = True
        self._windows: Windows1252 | None = None

    @property
    def guess(self) -> str:
        """What the encoding was guessed to be so far; empty where it was not."""
        return self._guess if self._windows is None else self._windows.note()

    def __iter__(self) -> Iterator[str]:
        decode = codecs.getincrementaldecoder(self._codec)("strict").decode
        seen = 0  # lines yielded
        rest = ""
        block = self._source.read()
        is_first = True
        only_ascii = True
        while True:
            if self._windows is None:
                try:
                    new = decode(block, final=not block)
                except UnicodeDecodeError as error:
                    before = rest + error.object[: error.start].decode(self._codec, "ignore")
                    line = seen + len(BREAK.findall(before)) + 1
                    if not (self._may_be_windows and only_ascii and before.isascii()):
                        raise InputError(self._undecodable(line)) from None
                    self._windows = Windows1252(line)
                    new = self._decode_windows(self._windows, error.object)
                only_ascii = only_ascii and new.isascii()
            else:
                new = self._decode_windows(self._windows, block)
            if is_first and new:
                is_first = False
                new = new.removeprefix("\ufeff")
            text = rest + new
            if "\0" in new:
                line = seen + len(BREAK.findall(text[: text.index("\0")])) + 1
                raise InputError(
                    f"{self.name}, line {line}: a NUL byte: this is not a text file: say what with --format"
                )
            lines = io.StringIO(text, newline="").readlines()
            # The last line may go on in the next block; one that ends with \r may have its \n there.
            rest = lines.pop() if block and lines and not lines[-1].endswith("\n") else ""
            yield from lines
            seen += len(lines)
            if len(rest) > LONGEST_LINE:
                raise InputError(f"{self.name}, line {seen + 1}: longer than {LONGEST_LINE:,} characters")
            if not block:
                return
            block = self._source.read()

    def _decode_windows(self, windows: Windows1252, block: bytes) -> str:
        try:
            text = block.decode("cp1252")
        except UnicodeDecodeError:
            raise InputError(self._undecodable(windows.line)) from None
        if not windows.plausible(text):
            raise InputError(self._undecodable(windows.line))
        return text

    def _undecodable(self, line: int) -> str:
        where = f"{self.name}, line {line}"
        if self._codec != "utf-8":
            return f"{where}: not {_NAMES.get(self._codec, self._codec)}: say with --encoding what it is"
        if self._windows is not None:
            return (
                f"{where}: not UTF-8, and not plausibly Windows-1252: say with --encoding what it is"
                " (cp850, mac-roman, cp1250, …), or save the list as CSV UTF-8"
            )
        return f"{where}: not UTF-8: save the list as CSV UTF-8, or say with --encoding what it is"


def _endian(codec: str, mark: str | None) -> str:
    """Return the codec without a mark of its own: Lines drops that."""
    if codec == "utf-8-sig":
        return "utf-8"
    if codec in {"utf-16", "utf-32"}:
        return mark if mark is not None and mark.startswith(codec) else f"{codec}-le"
    return codec
