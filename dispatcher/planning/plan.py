"""Plans a campaign: the rows of a list become messages, in batches that one request each can carry."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar, cast

from dispatcher.errors import InputError
from dispatcher.ledger.rows import ExcludedRow, Exclusion, PlannedBatch, PlanTotals
from dispatcher.msisdn import is_country
from dispatcher.planning.columns import find_column, find_fields, find_phone_column
from dispatcher.planning.cutting import Cutter
from dispatcher.planning.limits import check_text_for_all, find_refusals
from dispatcher.planning.numbers import Numbers
from dispatcher.planning.recipients import Chunk
from dispatcher.planning.variants import Missing, Name, Variants
from dispatcher.planning.zoning import ZonedCutter
from dispatcher.provider import Capabilities
from dispatcher.segments import count_segments
from dispatcher.template import Template, clean
from dispatcher.transliteration import transliterate

T = TypeVar("T")

LINES_NAMED = 5
"""How many faulty lines a message names."""

LONGEST_NUMBER = 64
"""How much is kept of what stands in the file for a number, in characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What became of one chunk: its messages, in columns of equal length, and the rows that are none."""

    chunk: Chunk
    rows: Sequence[int]
    numbers: Sequence[int]
    texts: Sequence[str]
    segments: Sequence[int]
    excluded: Sequence[ExcludedRow]
    names: Sequence[Name] | None = None  # of their variants; None: all get the same text


class Plan:
    """One pass over a recipient list: normalise, deduplicate, suppress, render, count segments, cut.

    What cannot be planned at all is an InputError: from the constructor where the header and the text show it,
    else from `steps`, and then nothing of the plan may be used. It holds a few chunks, and about 100 bytes for each
    distinct number.
    """

    def __init__(
        self,
        *,
        header: Sequence[str],
        template: Template | Variants,
        phone_column: str,
        country: str | None,
        provider: str,
        capabilities: Capabilities,
        suppressed: Callable[[Sequence[int]], Mapping[int, str]],
        due_at: datetime,
        send_at: datetime | None = None,
        sender: str | None = None,
        country_column: str | None = None,
        cutter: ZonedCutter | None = None,
        gsm7: bool = False,
        missing: Missing = Missing.REFUSE,
        watch: Callable[[Seen], None] | None = None,
    ) -> None:
        """Prepare; `gsm7` puts look-alikes into the values, `watch` sees each chunk once it is planned."""
        self.variants = template if isinstance(template, Variants) else Variants(template, {}, None)
        template = self.variants.together
        if country is not None and not is_country(country):
            raise InputError(f"there is no country {country}: give two capital letters, such as ZA or US")
        if sender and not capabilities.sender:
            raise InputError(f"{provider} takes no sender id: leave it out")
        self._phone = find_phone_column(phone_column, header)
        self._columns = find_fields(template, header)
        for one in self.variants.templates.values():
            if not one.personalised:
                [text] = one.render({}, 1)
                self._segments_for_all = check_text_for_all(text, provider=provider, capabilities=capabilities)
        self._template = template
        self._skip = missing is Missing.SKIP
        self.numbers = Numbers(
            phone_column=self._phone,
            country=country,
            country_column=None if country_column is None else find_column(country_column, header),
        )
        self._provider = provider
        self._capabilities = capabilities
        self._suppressed = suppressed
        self._cutter = cutter or Cutter(template, capabilities, due_at=due_at, send_at=send_at)
        self._gsm7 = gsm7
        self._watch = watch
        self._first_rows: dict[int, int] = {}  # by number
        self._rows = self._messages = self._batches = self._segments = 0
        self._excluded = dict.fromkeys(Exclusion, 0)

    def know(self, rows: Mapping[int, int]) -> None:
        """Take numbers (number → row) that the campaign has already for the first of their kind."""
        self._first_rows.update(rows)

    @property
    def totals(self) -> PlanTotals:
        """What the plan has come to so far; `rows` is always the sum of messages and exclusions."""
        return PlanTotals(
            rows=self._rows,
            messages=self._messages,
            duplicates=self._excluded[Exclusion.DUPLICATE],
            invalid=self._excluded[Exclusion.INVALID],
            suppressed=self._excluded[Exclusion.SUPPRESSED],
            batches=self._batches,
            segments=self._segments,
        )

    def steps(self, chunks: Iterable[Chunk]) -> Iterator[PlannedBatch | list[ExcludedRow]]:
        """Yield the batches as they fill, and the rows that become no message, chunk by chunk.

        Raises:
            InputError: a row that would be a message lacks a value that the text needs.
        """
        for chunk in chunks:
            excluded = self._take(chunk)
            if excluded:
                yield excluded
            yield from self._cut(last=False)
        yield from self._cut(last=True)

    def _cut(self, *, last: bool) -> Iterator[PlannedBatch]:
        for batch in self._cutter.cut(last=last):
            self._batches += 1
            yield batch

    def _take(self, chunk: Chunk) -> list[ExcludedRow]:
        """Put the messages of a chunk before the cutter, and return the rows that are none."""
        numbers = self.numbers.read(chunk)
        if self._skip:
            self._leave_out(chunk, numbers)
        excluded: list[ExcludedRow] = []

        def exclude(position: int, kind: Exclusion, reason: str) -> None:
            number = chunk.columns[self._phone][position][:LONGEST_NUMBER]
            excluded.append(ExcludedRow(row=chunk.rows[position], kind=kind, number=number, reason=reason))

        kept, kept_numbers = self._distinct(chunk, numbers, exclude)
        if gone := self._suppressed(kept_numbers):
            for position, number in zip(kept, kept_numbers, strict=True):
                if number in gone:
                    exclude(position, Exclusion.SUPPRESSED, gone[number])
            kept = [position for position in kept if numbers[position] not in gone]
            kept_numbers = [number for number in kept_numbers if number not in gone]

        names: Sequence[Name] | None = self.variants.names(chunk, kept)
        values = self._values(chunk, kept, names)
        texts: Sequence[str] = self.variants.render(values, names, len(kept))
        segments: Sequence[int]
        if self._template.personalised or names is not None:
            segments = count_segments(texts)
            refusals = find_refusals(texts, segments, provider=self._provider, capabilities=self._capabilities)
        else:
            segments, refusals = [self._segments_for_all] * len(kept), {}
        if refusals:
            for index, reason in refusals.items():
                exclude(kept[index], Exclusion.INVALID, f"invalid: {reason}")
            left = [index for index in range(len(kept)) if index not in refusals]
            kept, kept_numbers = _pick(kept, left), _pick(kept_numbers, left)
            texts, segments = _pick(texts, left), _pick(segments, left)
            values = {field: _pick(column, left) for field, column in values.items()}
            names = None if names is None else _pick(names, left)

        rows = _pick(chunk.rows, kept)
        self._cutter.add(
            numbers=kept_numbers,
            rows=rows,
            segments=segments,
            values=values,
            texts=texts,
            groups=self.variants.groups(names),
        )
        self._rows += len(chunk.rows)
        self._messages += len(kept)
        self._segments += sum(segments)
        for left_out in excluded:
            self._excluded[left_out.kind] += 1
        excluded.sort(key=lambda left_out: left_out.row)
        if self._watch is not None:
            self._watch(
                Seen(
                    chunk=chunk,
                    rows=rows,
                    numbers=kept_numbers,
                    texts=texts,
                    segments=segments,
                    excluded=excluded,
                    names=names,
                )
            )
        return excluded

    def _distinct(
        self, chunk: Chunk, numbers: Sequence[int | str], exclude: Callable[[int, Exclusion, str], None]
    ) -> tuple[Sequence[int], Sequence[int]]:
        """Return the positions and the numbers of the rows whose number is valid, and stands there first."""
        known = self._first_rows
        fresh = dict(zip(numbers, chunk.rows, strict=True))
        # Nearly every chunk is of distinct new numbers; those are taken in one step.
        if len(fresh) == len(numbers) and set(map(type, numbers)) == {int} and known.keys().isdisjoint(fresh):
            valid = cast("dict[int, int]", fresh)
            known.update(valid)
            return range(len(numbers)), list(valid)
        kept: list[int] = []
        kept_numbers: list[int] = []
        for position, number in enumerate(numbers):
            if isinstance(number, str):
                exclude(position, Exclusion.INVALID, f"invalid: {number}")
                continue
            row = chunk.rows[position]
            first = known.setdefault(number, row)
            if first != row:
                exclude(position, Exclusion.DUPLICATE, f"duplicate of row {first}")
                continue
            kept.append(position)
            kept_numbers.append(number)
        return kept, kept_numbers

    def _values(self, chunk: Chunk, kept: Sequence[int], names: Sequence[Name] | None) -> dict[str, Sequence[str]]:
        """Return the values of each field for the rows kept."""
        values: dict[str, Sequence[str]] = {
            field: self._clean(_pick(chunk.columns[column], kept)) for field, column in self._columns.items()
        }
        for field in self._template.required:
            missing = [chunk.lines[kept[at]] for at in self._lacking(field, values[field], names)]
            if missing:
                raise InputError(
                    f"{_lines(missing, chunk.unit)} no {self._columns[field]}: fill it in, "
                    f"or give the text a default, as in {{{field}|there}}"
                )
        return values

    def _leave_out(self, chunk: Chunk, numbers: list[int | str]) -> None:
        """Put the reason in the place of the number where a row lacks a value that its text needs."""
        names = self.variants.names(chunk, range(len(numbers)))
        for field in self._template.required:
            column = self._columns[field]
            for at in self._lacking(field, self._clean(chunk.columns[column]), names):
                if isinstance(numbers[at], int):
                    numbers[at] = f"no {column}"

    def _lacking(self, field: str, values: Sequence[str], names: Sequence[Name] | None) -> list[int]:
        """Return where a value is missing that the text there needs."""
        if all(values):
            return []
        needs = self.variants.needs
        return [at for at, value in enumerate(values) if not value and (names is None or field in needs[names[at]])]

    def _clean(self, values: Sequence[str]) -> list[str]:
        cleaned = clean(values)
        return clean(list(map(transliterate, cleaned))) if self._gsm7 else cleaned


def _pick(column: Sequence[T], positions: Sequence[int]) -> Sequence[T]:
    return column if len(positions) == len(column) else [column[position] for position in positions]


def _lines(lines: Sequence[int], unit: str) -> str:
    named = [str(line) for line in lines[:LINES_NAMED]]
    if len(lines) > LINES_NAMED:
        named.append("more")
    if len(named) == 1:
        return f"{unit} {named[0]} has"
    return f"{unit}s {', '.join(named[:-1])} and {named[-1]} have"
