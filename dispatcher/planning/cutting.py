"""Cuts messages, in their order, into batches that one request of the provider can carry."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from dispatcher.ledger.rows import PlannedBatch
from dispatcher.message import MESSAGES_PER_BATCH
from dispatcher.planning.limits import encoded_sizes
from dispatcher.provider import Capabilities
from dispatcher.template import Template, pack_fields

Group = tuple[str | None, str | None]
"""What all messages of a batch have in common: (zone, variant), as in PlannedBatch."""


@dataclass(slots=True, kw_only=True)
class _Open:
    """The messages of one group that do not fill a batch yet, in columns of equal length."""

    numbers: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    values: dict[str, list[str]]
    texts: list[str] = field(default_factory=list)  # only where the cut depends on them
    sizes: list[int] = field(default_factory=list)


class Cutter:
    """Holds, for each group, the messages that do not fill a batch yet. Every text fits into a request of its own."""

    def __init__(
        self, template: Template, capabilities: Capabilities, *, due_at: datetime, send_at: datetime | None
    ) -> None:
        self._due_at, self._send_at = due_at, send_at
        self._personalised = template.personalised
        self._fields = template.fields
        # A provider of one text a request still carries a personalised campaign, one run of equal texts at a time.
        self._one_text = template.personalised and not capabilities.personalised
        self._most = min(capabilities.messages_per_request, MESSAGES_PER_BATCH)
        self._bytes_per_message = capabilities.bytes_per_message
        self._bytes = capabilities.bytes_per_request
        self._text_counts_once = self._one_text or not template.personalised
        self._open: dict[Group, _Open] = {}

    def add(
        self,
        *,
        numbers: Sequence[int],
        rows: Sequence[int],
        segments: Sequence[int],
        values: Mapping[str, Sequence[str]],
        texts: Sequence[str],
        groups: Sequence[Group] | None = None,
    ) -> None:
        """Take in messages, in columns of equal length. No batch has messages of two groups; None: all are of one."""
        if groups is None:
            self._add((None, None), numbers=numbers, rows=rows, segments=segments, values=values, texts=texts)
            return
        positions: dict[Group, list[int]] = {}
        for position, group in enumerate(groups):
            positions.setdefault(group, []).append(position)
        for group, own in positions.items():
            self._add(
                group,
                numbers=[numbers[position] for position in own],
                rows=[rows[position] for position in own],
                segments=[segments[position] for position in own],
                values={name: [column[position] for position in own] for name, column in values.items()},
                texts=[texts[position] for position in own],
            )

    def _add(
        self,
        group: Group,
        *,
        numbers: Sequence[int],
        rows: Sequence[int],
        segments: Sequence[int],
        values: Mapping[str, Sequence[str]],
        texts: Sequence[str],
    ) -> None:
        to = self._open.get(group)
        if to is None:
            to = self._open[group] = _Open(values={name: [] for name in self._fields})
        to.numbers += numbers
        to.rows += rows
        to.segments += segments
        for name, column in to.values.items():
            column.extend(values[name])
        if self._one_text:
            to.texts += texts
        if self._bytes is not None:
            to.sizes += encoded_sizes(texts)

    def cut(self, *, last: bool = False) -> Iterator[PlannedBatch]:
        """Yield the batches that are full; with `last` also what is left."""
        for group, waiting in self._open.items():
            yield from self._cut(group, waiting, last=last)

    def _cut(self, group: Group, waiting: _Open, *, last: bool) -> Iterator[PlannedBatch]:
        zone, variant = group
        start = 0
        for end in self._ends(waiting, last=last):
            piece = slice(start, end)
            fields = {name: column[piece] for name, column in waiting.values.items()}
            yield PlannedBatch(
                numbers=waiting.numbers[piece],
                rows=waiting.rows[piece],
                segments=waiting.segments[piece],
                fields=pack_fields(fields) if self._personalised else None,
                due_at=self._due_at,
                send_at=self._send_at,
                zone=zone,
                variant=variant,
            )
            start = end
        held: list[list[int] | list[str]] = [waiting.numbers, waiting.rows, waiting.segments, waiting.sizes]
        for column in [*held, *waiting.values.values(), waiting.texts]:
            del column[:start]

    def _ends(self, waiting: _Open, *, last: bool) -> Iterator[int]:
        """Yield the position after each batch."""
        count = len(waiting.numbers)
        start = 0
        while start < count:
            end = min(start + self._most, count)
            if not self._surely_fit(waiting, start, end):
                end = self._first_end(waiting, start, end)
            if end == count and end - start < self._most:
                break  # there is room for more
            yield end
            start = end
        if last and start < count:
            yield count

    def _surely_fit(self, waiting: _Open, start: int, end: int) -> bool:
        """Return whether these messages can be one request; where the texts must be compared, it is not known."""
        if self._one_text:
            return False
        if self._bytes is None:
            return True
        texts = waiting.sizes[start] if self._text_counts_once else sum(waiting.sizes[start:end])
        return texts + self._bytes_per_message * (end - start) <= self._bytes

    def _first_end(self, waiting: _Open, start: int, end: int) -> int:
        """Return the position, `end` at most, after the messages from `start` that can be one request."""
        room = self._bytes if self._bytes is not None else sys.maxsize
        used = 0
        for position in range(start, end):
            added = self._bytes_per_message
            if waiting.sizes and (position == start or not self._text_counts_once):
                added += waiting.sizes[position]
            other_text = self._one_text and waiting.texts[position] != waiting.texts[start]
            if position > start and (used + added > room or other_text):
                return position
            used += added
        return end
