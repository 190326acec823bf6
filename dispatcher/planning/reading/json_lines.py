"""Reads JSON Lines: one object a line, its keys the columns."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec

from dispatcher.errors import InputError
from dispatcher.planning.reading.cells import shown
from dispatcher.planning.reading.rows import Chunk, check_header
from dispatcher.planning.reading.source import Source
from dispatcher.planning.reading.text import Lines

_KEYS_NAMED = 5


class JsonLines:
    """A text with an object on each line. The keys of the first are the header; one that lacks a key has it empty."""

    def __init__(self, source: Source, *, encoding: str | None, chunk_rows: int) -> None:
        self.name = source.name
        self._source = source
        self._chunk_rows = chunk_rows
        self._text = Lines(source, encoding=encoding)
        self._decode = msgspec.json.Decoder(dict[str, Any]).decode
        self._objects = self._read_objects()
        self._first = next(self._objects, None)
        if self._first is None:
            raise InputError(f"{self.name} is empty: it needs a JSON object on a line for each recipient")
        line, first = self._first
        self._keys = tuple(first)
        self.header = check_header(self._keys, f"{self.name}, line {line}")
        if len(self.header) != len(self._keys):
            raise InputError(f"{self.name}, line {line}: a key without a name: give it one")
        self._left_out: dict[str, int] = {}  # by key: where it was first seen

    @property
    def notes(self) -> Sequence[str]:
        """See Reader."""
        notes = [self.guess] if self.guess else []
        if self._left_out:
            named = [f"{key} (line {line})" for key, line in list(self._left_out.items())[:_KEYS_NAMED]]
            more = ", …" if len(self._left_out) > _KEYS_NAMED else ""
            notes.append(f"keys that the first line does not have were left out: {', '.join(named)}{more}")
        return notes

    @property
    def guess(self) -> str:
        """See Reader."""
        return self._text.guess

    def digest(self) -> str:
        """See Reader."""
        return self._source.digest()

    def chunks(self) -> Iterator[Chunk]:
        """See Reader."""
        assert self._first is not None
        row = 0
        waiting = [self._first]
        while True:
            waiting += islice(self._objects, self._chunk_rows - len(waiting))
            if not waiting:
                return
            lines = [line for line, _ in waiting]
            found = [one for _, one in waiting]
            yield Chunk(
                rows=list(range(row + 1, row + len(found) + 1)),
                lines=lines,
                columns={
                    name: self._column(key, found, lines) for name, key in zip(self.header, self._keys, strict=True)
                },
            )
            self._note_others(found, lines)
            row += len(found)
            waiting = []

    def _column(self, key: str, found: Sequence[dict[str, Any]], lines: Sequence[int]) -> list[str]:
        values = [one.get(key, "") for one in found]
        if set(map(type, values)) == {str}:
            return values
        texts = list(map(shown, values))
        if None in texts:
            line = lines[texts.index(None)]
            raise InputError(
                f"{self.name}, line {line}: {key} is a list or an object: give it one value, a text or a number"
            )
        return [text for text in texts if text is not None]

    def _note_others(self, found: Sequence[dict[str, Any]], lines: Sequence[int]) -> None:
        known = set(self._keys)
        for line, one in zip(lines, found, strict=True):
            if len(self._left_out) <= _KEYS_NAMED and not known.issuperset(one):
                for key in one:
                    if key not in known:
                        self._left_out.setdefault(key, line)

    def _read_objects(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, line in enumerate(self._text, 1):
            if line.isspace():
                continue
            try:
                yield number, self._decode(line)
            except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
                raise InputError(f"{self.name}, line {number}: {_remedy(line, str(error))}") from None


def _remedy(line: str, problem: str) -> str:
    if line.lstrip()[:1] == "[":
        return "a JSON list: write one object a line, without the brackets around them (jq -c '.[]' does it)"
    if line.strip() == "{":
        return "an object over several lines: write each on one line (jq -c . does it)"
    return f"not a JSON object on one line: {problem}"
