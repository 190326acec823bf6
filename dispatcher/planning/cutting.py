"""Cuts messages, in their order, into batches that one request of the provider can carry."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from dispatcher.ledger.rows import PlannedBatch
from dispatcher.message import MESSAGES_PER_BATCH
from dispatcher.planning.limits import encoded_size
from dispatcher.provider import Capabilities
from dispatcher.template import Template, pack_fields


class Cutter:
    """Holds the messages that do not fill a batch yet. Every text given to it fits into a request of its own."""

    def __init__(
        self,
        template: Template,
        capabilities: Capabilities,
        *,
        due_at: datetime,
        send_at: datetime | None,
        zone: str | None = None,
    ) -> None:
        self._due_at, self._send_at, self._zone = due_at, send_at, zone
        self._personalised = template.personalised
        # A provider of one text a request still carries a personalised campaign, one run of equal texts at a time.
        self._one_text = template.personalised and not capabilities.personalised
        self._most = min(capabilities.messages_per_request, MESSAGES_PER_BATCH)
        self._bytes_per_message = capabilities.bytes_per_message
        self._bytes = capabilities.bytes_per_request
        self._text_counts_once = self._one_text or not template.personalised
        self._numbers: list[int] = []
        self._rows: list[int] = []
        self._segments: list[int] = []
        self._values: dict[str, list[str]] = {field: [] for field in template.fields}
        self._texts: list[str] = []  # only where the cut depends on them
        self._sizes: list[int] = []

    def add(
        self,
        *,
        numbers: Sequence[int],
        rows: Sequence[int],
        segments: Sequence[int],
        values: Mapping[str, Sequence[str]],
        texts: Sequence[str],
    ) -> None:
        """Take in messages, in columns of equal length."""
        self._numbers += numbers
        self._rows += rows
        self._segments += segments
        for field, column in self._values.items():
            column.extend(values[field])
        if self._one_text:
            self._texts += texts
        if self._bytes is not None:
            self._sizes += map(encoded_size, texts)

    def cut(self, *, last: bool = False) -> Iterator[PlannedBatch]:
        """Yield the batches that are full; with `last` also what is left."""
        start = 0
        for end in self._ends(last=last):
            piece = slice(start, end)
            yield PlannedBatch(
                numbers=self._numbers[piece],
                rows=self._rows[piece],
                segments=self._segments[piece],
                fields=self._fields(piece),
                due_at=self._due_at,
                send_at=self._send_at,
                zone=self._zone,
            )
            start = end
        columns: list[list[int] | list[str]] = [self._numbers, self._rows, self._segments]
        for column in [*columns, *self._values.values(), self._texts, self._sizes]:
            del column[:start]

    def _fields(self, piece: slice) -> bytes | None:
        if not self._personalised:
            return None
        return pack_fields({field: column[piece] for field, column in self._values.items()})

    def _ends(self, *, last: bool) -> Iterator[int]:
        """Yield the position after each batch."""
        count = len(self._numbers)
        start = 0
        if self._bytes is None and not self._one_text:
            for end in range(self._most, count + 1, self._most):
                yield end
                start = end
        else:
            room = self._bytes if self._bytes is not None else sys.maxsize
            sizes = self._sizes or [0] * count
            used = 0
            for position, size in enumerate(sizes):
                added = self._bytes_per_message
                if position == start or not self._text_counts_once:
                    added += size
                other_text = self._one_text and self._texts[position] != self._texts[start]
                if position - start == self._most or used + added > room or other_text:
                    yield position
                    start = position
                    used, added = 0, self._bytes_per_message + size
                used += added
            if count - start == self._most:
                yield count
                start = count
        if last and start < count:
            yield count
