"""Looks on while a campaign is planned, so that a person sees what it will do before it does anything."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from dispatcher.hours import LocalHours, from_rules, parse_place
from dispatcher.ledger.rows import ExcludedRow, Exclusion, PlannedBatch
from dispatcher.planning.plan import Seen
from dispatcher.planning.pricing import Forecast, Tariff
from dispatcher.planning.quoting import BATCHES_ASKED
from dispatcher.release import Held
from dispatcher.segments import Encoding, count_segments, what_needs_ucs2
from dispatcher.transliteration import transliterate

SAMPLES = 3
EXAMPLES = 3
"""How many rows are named for each reason."""

_REASONS_KEPT = 50  # what a list can be made to say is not without end
_SIGNS_KEPT = 1_000
_OTHER = "other reasons"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One row of a reason: `line` is where it begins in the file, as `unit` counts."""

    row: int
    line: int
    unit: str
    number: str


@dataclass(slots=True, kw_only=True)
class Reason:
    """Why rows become no message, how many they are, and the first of them."""

    kind: Exclusion
    reason: str
    rows: int = 0
    examples: list[Example] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One message as it would go out."""

    row: int
    number: int
    text: str


@dataclass(slots=True, kw_only=True)
class Share:
    """How many messages and segments travel in one encoding."""

    messages: int = 0
    segments: int = 0


class Preflight:
    """Sees each chunk and each step of one plan; what it has gathered is complete when the plan has run.

    `rejected` takes the rows that become no message, as they are found. `row` is one whose message is wanted; None: the
    first that becomes one.
    """

    def __init__(
        self,
        *,
        rules: Mapping[str, Any],
        tariff: Tariff,
        start: datetime,
        rejected: Callable[[Sequence[ExcludedRow]], None] = lambda _: None,
        row: int | None = None,
    ) -> None:
        self._hours = from_rules(rules)
        self._start = start
        self._rejected = rejected
        self._row = row
        self._reasons: dict[tuple[Exclusion, str], Reason] = {}
        self._waits: dict[tuple[str, datetime], int] = {}
        self._signs: Counter[str] = Counter()
        self._left: Counter[str] = Counter()
        self.forecast = Forecast(tariff)
        self.shares = {encoding: Share() for encoding in Encoding}
        self.saved = 0
        """How many segments look-alikes would save."""
        self.texts: Counter[str] = Counter()
        """How many messages say each variant; "" is the text for all others."""
        self.samples: list[Sample] = []
        self.wanted: Sample | None = None
        self.batches: list[PlannedBatch] = []
        """The first of them."""

    def see(self, seen: Seen) -> None:
        """Take in what became of one chunk."""
        if seen.excluded:
            self._rejected(seen.excluded)
            self._explain(seen)
        self._sample(seen)
        if seen.names is not None:
            self.texts.update(name or "" for name in seen.names)
        self._add(Encoding.GSM_7, len(seen.texts), sum(seen.segments))
        if not what_needs_ucs2("".join(seen.texts)):
            return
        costly = [pair for pair in zip(seen.texts, seen.segments, strict=True) if what_needs_ucs2(pair[0])]
        # Where everybody gets the same, it is looked at once.
        for (text, segments), many in Counter(costly).items():
            self._add(Encoding.GSM_7, -many, -many * segments)
            self._add(Encoding.UCS_2, many, many * segments)
            alike = transliterate(text)
            self.saved += many * (segments - count_segments([alike])[0])
            _count(self._signs, what_needs_ucs2(text), many)
            _count(self._left, what_needs_ucs2(alike), many)

    def steps(self, steps: Iterable[PlannedBatch | list[ExcludedRow]]) -> Iterator[PlannedBatch | list[ExcludedRow]]:
        """Pass the steps on."""
        for step in steps:
            if isinstance(step, PlannedBatch):
                self.forecast.add(step.numbers, step.segments)
                if len(self.batches) < BATCHES_ASKED:
                    self.batches.append(step)
                until = step.send_at or step.due_at
                if step.zone is not None and until > self._start:
                    place = (step.zone, until)
                    self._waits[place] = self._waits.get(place, 0) + len(step.numbers)
            yield step

    @property
    def reasons(self) -> list[Reason]:
        """Why rows become no message, the most frequent reason first."""
        return sorted(self._reasons.values(), key=lambda one: -one.rows)

    @property
    def signs(self) -> list[tuple[str, int]]:
        """The characters that make a text travel as UCS-2, with the messages that they are in."""
        return self._signs.most_common()

    @property
    def left(self) -> list[tuple[str, int]]:
        """Those of them that have no look-alike, likewise."""
        return self._left.most_common()

    @property
    def price(self) -> Decimal | None:
        """What it costs by the tariff; None where that does not say for all numbers."""
        return None if self.forecast.price is None or self.forecast.unpriced else self.forecast.cost

    @property
    def waits(self) -> list[Held]:
        """What waits for hours to begin, the soonest first."""
        if self._hours is None:
            return []
        hours = self._hours
        return sorted(
            (
                Held(until=until, hours=LocalHours(hours=hours, place=parse_place(zone)), messages=many)
                for (zone, until), many in self._waits.items()
            ),
            key=lambda one: one.until,
        )

    def _add(self, encoding: Encoding, messages: int, segments: int) -> None:
        self.shares[encoding].messages += messages
        self.shares[encoding].segments += segments

    def _explain(self, seen: Seen) -> None:
        lines: dict[int, int] = {}
        for one in seen.excluded:
            same = "duplicate" if one.kind is Exclusion.DUPLICATE else one.reason
            if (one.kind, same) not in self._reasons and len(self._reasons) >= _REASONS_KEPT:
                same = _OTHER
            reason = self._reasons.setdefault((one.kind, same), Reason(kind=one.kind, reason=same))
            reason.rows += 1
            if len(reason.examples) < EXAMPLES:
                lines = lines or dict(zip(seen.chunk.rows, seen.chunk.lines, strict=True))
                reason.examples.append(
                    Example(row=one.row, line=lines[one.row], unit=seen.chunk.unit, number=one.number)
                )

    def _sample(self, seen: Seen) -> None:
        for at in range(min(SAMPLES - len(self.samples), len(seen.rows))):
            self.samples.append(_sample(seen, at))
        if self.wanted is None and seen.rows:
            if self._row is None:
                self.wanted = self.samples[0]
            elif self._row in seen.rows:
                self.wanted = _sample(seen, list(seen.rows).index(self._row))


def _sample(seen: Seen, at: int) -> Sample:
    return Sample(row=seen.rows[at], number=seen.numbers[at], text=seen.texts[at])


def _count(counter: Counter[str], signs: str, messages: int) -> None:
    for sign in signs:
        if sign in counter or len(counter) < _SIGNS_KEPT:
            counter[sign] += messages
