"""Cuts batches by where their recipients are, for a campaign that keeps to hours of local time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from dispatcher.hours import Place
from dispatcher.ledger.rows import PlannedBatch
from dispatcher.planning.cutting import Cutter, Group
from dispatcher.zones import Places

T = TypeVar("T")


class ZonedCutter:
    """A cutter for each place that is met; each holds the messages that do not fill a batch yet."""

    def __init__(self, places: Places, make: Callable[[Place], Cutter]) -> None:
        self._places = places
        self._make = make
        self._cutters: dict[Place, Cutter] = {}

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
        by_place: dict[Place, list[int]] = {}
        for position, number in enumerate(numbers):
            place = self._places.of(number)
            assert place is not None, "those of whom nobody knows the place are left out before"
            by_place.setdefault(place, []).append(position)
        for place, positions in by_place.items():
            if place not in self._cutters:
                self._cutters[place] = self._make(place)
            self._cutters[place].add(
                numbers=_pick(numbers, positions),
                rows=_pick(rows, positions),
                segments=_pick(segments, positions),
                values={field: _pick(column, positions) for field, column in values.items()},
                texts=_pick(texts, positions) if len(texts) == len(numbers) else texts,
                groups=None if groups is None else _pick(groups, positions),
            )

    def cut(self, *, last: bool = False) -> Iterator[PlannedBatch]:
        """Yield the batches that are full; with `last` also what is left."""
        for cutter in self._cutters.values():
            yield from cutter.cut(last=last)


def _pick(column: Sequence[T], positions: Sequence[int]) -> list[T]:
    return [column[position] for position in positions]
