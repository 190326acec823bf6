"""Tells in which time zones the holder of a number may be, by its country and, where the number tells it, its region."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from importlib import resources
from zoneinfo import ZoneInfo, available_timezones

import phonenumbers

from dispatcher.hours import Place, put_forward_or_back

_LONGEST_PREFIX = 9
_EXCHANGES = 1 << 17
_DECISIVE = 7
"""So many leading digits, and the length, tell the kind of a number and its country; in North America it is four."""

_ALIKE_FOR = timedelta(days=400)
"""Zones of a country whose clocks agree for so long are one: a campaign does not run for longer."""


class Places:
    """Where the numbers of one campaign are. Zones of a country whose clocks agree are one, named for the first met."""

    def __init__(self, *, by_country: bool, now: datetime) -> None:
        self._by_country = by_country
        self._now = now
        self._exchanges: dict[int, Place | None] = {}  # 1 202 555: what follows tells nothing in North America
        self._kinds: dict[tuple[str, int], _Kind] = {}
        self._named: dict[tuple[str | None, Changes], str] = {}
        self._places: dict[tuple[str | None, tuple[str, ...]], Place | None] = {}

    def of(self, number: int) -> Place | None:
        """Return where the holder of a number may be; None where nobody can say."""
        exchange = number // 10_000
        if exchange in self._exchanges:
            return self._exchanges[exchange]
        digits = str(number)
        leading = (digits[: 4 if digits[0] == "1" else _DECISIVE], len(digits))
        kind = self._kinds.get(leading)
        if kind is None:
            kind = self._kinds[leading] = _kind(digits)
        key = (kind.country, kind.zones or _zones_by_prefix(digits))
        if key not in self._places:
            self._places[key] = self._place(*key)
        place = self._places[key]
        if digits[0] == "1" and len(digits) == 11 and len(self._exchanges) < _EXCHANGES:
            self._exchanges[exchange] = place
        return place

    def _place(self, country: str | None, zones: tuple[str, ...]) -> Place | None:
        names = {self._named.setdefault((country, clock_changes(zone, self._now)), zone): None for zone in zones}
        return Place(zones=tuple(names), country=country if self._by_country else None) if names else None


Changes = tuple[tuple[datetime, timedelta | None], ...]


@lru_cache(maxsize=8192)
def clock_changes(zone: str, now: datetime) -> Changes:
    """Return the offsets of a zone from UTC, each with the moment from which it holds, for 400 days from `now`."""
    clock = ZoneInfo(zone)
    begin = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    changes = [(begin, begin.astimezone(clock).utcoffset())]
    for day in range(1, _ALIKE_FOR.days + 1):
        end = begin + timedelta(days=day)
        offset = end.astimezone(clock).utcoffset()
        if offset != changes[-1][1]:
            changes.append((put_forward_or_back(clock, end - timedelta(days=1), end), offset))
    return tuple(changes)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What the leading digits tell. `zones` is empty where those that follow tell more."""

    country: str | None
    zones: tuple[str, ...]


def _kind(digits: str) -> _Kind:
    number = phonenumbers.parse("+" + digits)
    code = number.country_code or 0
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(code, ())
    region = regions[0] if len(regions) == 1 else phonenumbers.region_code_for_number(number)
    country = region if region in phonenumbers.SUPPORTED_REGIONS else None
    known = _zones_by_prefix(str(code))
    # Those that are best known come first: they give their name to the others that go with them.
    own = sorted(_zones_by_country().get(country or "", ()), key=lambda zone: zone not in known)
    if len(own) == 1:
        return _Kind(country, tuple(own))
    if phonenumbers.is_number_geographical(number):
        return _Kind(country, ())
    if own and len(regions) > 1:
        return _Kind(country, tuple(own))  # the other table has the zones of all who share the calling code
    return _Kind(country, known)


def _zones_by_prefix(digits: str) -> tuple[str, ...]:
    """Return the zones of the longest prefix that is known; none where no prefix is."""
    from phonenumbers.tzdata import TIMEZONE_DATA  # noqa: PLC0415 - a table that few campaigns need

    for length in range(min(_LONGEST_PREFIX, len(digits)), 0, -1):
        zones = TIMEZONE_DATA.get(digits[:length])
        if zones is not None:
            return tuple(zone for zone in zones if zone in available_zones())
    return ()


@cache
def available_zones() -> frozenset[str]:
    """Return the names of the zones that this machine, or the package tzdata, knows."""
    return frozenset(available_timezones())


@cache
def _zones_by_country() -> Mapping[str, tuple[str, ...]]:
    """Return the zones of each country, of the time zone database's own table."""
    zones: dict[str, list[str]] = defaultdict(list)
    table = resources.files("tzdata").joinpath("zoneinfo", "zone.tab").read_text(encoding="utf-8")
    for line in table.splitlines():
        if not line.startswith("#"):
            country, _, zone = line.split("\t")[:3]
            zones[country].append(zone)
    return {country: tuple(names) for country, names in zones.items()}
