"""Cuts batches by where their recipients are, for a campaign that keeps to hours of local time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from dispatcher.hours import Place
from dispatcher.ledger.rows import PlannedBatch
from dispatcher.planning.cutting import Cutter, Group
from dispatcher.zones import Places

Times = tuple[datetime, datetime | None]
"""When a batch falls due, and its send time: `due_at` and `send_at` of a PlannedBatch."""


class ZonedCutter:
    """A cutter that groups messages by place, and gives each place its times."""

    def __init__(self, cutter: Cutter, places: Places, times: Callable[[Place], Times]) -> None:
        self._cutter = cutter
        self._places = places
        self._times = times
        self._known: dict[str, Times] = {}

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
        """Take in messages, in columns of equal length; the place of each number must be known."""
        zones: dict[Place, str] = {}
        both: list[Group] = []
        for position, number in enumerate(numbers):
            place = self._places.of(number)
            assert place is not None, "those of whom nobody knows the place are left out before"
            zone = zones.get(place)
            if zone is None:
                zone = zones[place] = str(place)
                if zone not in self._known:
                    self._known[zone] = self._times(place)
            both.append((zone, None if groups is None else groups[position][1]))
        self._cutter.add(numbers=numbers, rows=rows, segments=segments, values=values, texts=texts, groups=both)

    def cut(self, *, last: bool = False) -> Iterator[PlannedBatch]:
        """Yield the batches that are full; with `last` also what is left."""
        for batch in self._cutter.cut(last=last):
            due_at, send_at = self._known[batch.zone or ""]
            yield replace(batch, due_at=due_at, send_at=send_at)
