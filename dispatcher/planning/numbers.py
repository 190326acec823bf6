"""Reads the numbers of a list: each by the country of its row, and what a spreadsheet did to it mended or named."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from dispatcher.msisdn import NO_COUNTRY, is_country, normalise_column
from dispatcher.planning.reading.rows import Chunk
from dispatcher.planning.repair import Repair, Repaired, recheck, repair

_ALSO = {"UK": "GB", "EL": "GR"}
"""What is written for a country so often that it is no slip."""

_CODES_NAMED = 5
_CODES_KEPT = 100  # a column that is no country's may have as many as there are rows


@dataclass(slots=True, kw_only=True)
class Numbers:
    """The numbers of one list, chunk by chunk, and what was done to them so far."""

    phone_column: str  # by the header's name, as country_column
    country: str | None = None
    country_column: str | None = None
    repaired: Counter[Repair] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)  # rows by what stands there for a country

    def read(self, chunk: Chunk) -> list[int | str]:
        """Return for every row its number's E.164 digits, or the reason why it has none."""
        texts = chunk.columns[self.phone_column]
        if self.country_column is None:
            return self._read(texts, self.country)
        found: list[int | str] = [""] * len(texts)
        for written, positions in _groups(chunk.columns[self.country_column]).items():
            country = self._country(written, len(positions))
            read = self._read([texts[at] for at in positions], country)
            reason = self._reason(written)
            for at, number in zip(positions, read, strict=True):
                found[at] = reason if number == NO_COUNTRY else number
        return found

    @property
    def many_repaired(self) -> int:
        """How many numbers were repaired."""
        return self.repaired.total()

    @property
    def notes(self) -> list[str]:
        """What was done to the numbers, a sentence each."""
        notes = []
        if many := self.many_repaired:
            kinds = ", ".join(f"{kind} ({count:,})" for kind, count in self.repaired.most_common())
            notes.append(f"{many:,} {'number' if many == 1 else 'numbers'} repaired: {kinds}")
        if many := self.unknown.total():
            named = ", ".join(code for code, _ in self.unknown.most_common(_CODES_NAMED))
            more = ", …" if len(self.unknown) > _CODES_NAMED else ""
            where = f"{many:,} {'row has' if many == 1 else 'rows have'} an unknown country ({named}{more})"
            taken = "only numbers with a plus are read there" if self.country is None else f"read as {self.country}"
            notes.append(f"{where}: {taken}")
        return notes

    def _read(self, texts: Sequence[str], country: str | None) -> list[int | str]:
        found = normalise_column(texts, country)
        self.repaired += recheck(texts, found, country)
        if str not in set(map(type, found)):
            return found
        for at, number in enumerate(found):
            if isinstance(number, str):
                better = repair(texts[at], number, country)
                if isinstance(better, Repaired):
                    found[at] = better.number
                    self.repaired[better.repair] += 1
                else:
                    found[at] = better
        return found

    def _country(self, written: str, rows: int) -> str | None:
        code = written.strip().upper()
        code = _ALSO.get(code, code)
        if is_country(code):
            return code
        if code:
            named = written.strip()[:20]
            self.unknown[named if named in self.unknown or len(self.unknown) < _CODES_KEPT else "…"] += rows
        return self.country

    def _reason(self, written: str) -> str:
        column = self.country_column
        if written.strip():
            return f"no country code, and {column} has none that is known: write two letters, such as ZA"
        return f"no country code, and {column} is empty: fill it in, or give --country"


def _groups(written: Sequence[str]) -> dict[str, list[int]]:
    """Return the positions of each value."""
    groups: dict[str, list[int]] = {}
    for at, value in enumerate(written):
        groups.setdefault(value, []).append(at)
    return groups
