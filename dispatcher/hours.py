"""When people may be texted: a window of local time, days of the week and holidays, across changes of the clock."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MIDNIGHT = 24 * 60
"""Minutes of a day: where a window that lasts to the end of the day closes."""

LOOK_AHEAD = timedelta(days=62)
"""A place that does not open within so long is taken never to open."""

_LONGEST = timedelta(days=8)
"""A stretch is cut off here; what follows it may begin at once."""

_WINDOW = re.compile(r"(\d{1,2}):(\d\d)\s*(?:-|–|to)\s*(\d{1,2}):(\d\d)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """When recipients may be texted, by their own clocks. The defaults are: at any time."""

    opens: int = 0  # minutes after local midnight
    closes: int = MIDNIGHT  # likewise; before `opens` where the window crosses midnight
    days: frozenset[int] = frozenset(range(7))  # Monday is 0; the part after midnight belongs to the day before
    skip_holidays: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where recipients are: the time zones that it may be (IANA names), and the country, where holidays count."""

    zones: tuple[str, ...]
    country: str | None = None

    def __str__(self) -> str:
        """As the ledger keeps it: `Africa/Johannesburg`, or `ZA: Africa/Johannesburg`."""
        return " ".join((*([f"{self.country}:"] if self.country else []), *self.zones))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A time during which a place may be texted without a break: from `begin` to before `end`."""

    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalHours:
    """The hours of one place."""

    hours: Hours
    place: Place

    def is_open(self, at: datetime) -> bool:
        """Whether every clock that the place may have allows it at this moment."""
        return all(_is_open(self.hours, zone, self.place.country, at) for zone in map(_zone, self.place.zones))

    def stretch(self, at: datetime) -> Stretch | None:
        """Return the stretch that `at` is in, from `at` on, else the next one; None where there will be none."""
        minute = at.astimezone(UTC).replace(second=0, microsecond=0)
        found = _stretch(self.hours, self.place, minute)
        return None if found is None else Stretch(begin=max(found.begin, at.astimezone(UTC)), end=found.end)

    def stretches(self, at: datetime) -> Iterator[Stretch]:
        """Yield the stretches from `at` on, the first of them from `at` itself where it is in one."""
        found = self.stretch(at)
        while found is not None:
            yield found
            found = self.stretch(found.end)

    def local(self, at: datetime) -> datetime:
        """Return a moment by the first of the clocks."""
        return at.astimezone(_zone(self.place.zones[0]))


def parse_window(text: str) -> tuple[int, int]:
    """Return when a window such as 09:00-19:00 opens and closes, in minutes after midnight.

    Raises:
        ValueError: it is none, or has no length.
    """
    found = _WINDOW.fullmatch(text.strip())
    if found is None:
        raise ValueError("write a window of local time as 09:00-19:00")
    parts = [int(part) for part in found.groups()]
    opens, closes = parts[0] * 60 + parts[1], parts[2] * 60 + parts[3]
    if max(parts[1], parts[3]) > 59 or opens >= MIDNIGHT or closes > MIDNIGHT:
        raise ValueError("write a window of local time as 09:00-19:00, between 00:00 and 24:00")
    if opens == closes:
        raise ValueError("a window opens and closes at different times, as in 09:00-19:00")
    return opens, closes or MIDNIGHT


def parse_days(text: str) -> frozenset[int]:
    """Return the days that `mon-sat`, `fri-mon` or `mon,wed,fri` names; Monday is 0.

    Raises:
        ValueError: it names none, or one that is not a day.
    """
    days: set[int] = set()
    for part in text.lower().replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        try:
            begin = DAYS.index(first[:3])
            end = DAYS.index((last if dash else first)[:3])
        except ValueError:
            raise ValueError("write days as mon-sat or mon,wed,fri") from None
        days.update((begin + step) % 7 for step in range((end - begin) % 7 + 1))
    return frozenset(days)


def as_rules(hours: Hours) -> dict[str, Any]:
    """Return hours as they are kept with a campaign."""
    opens, closes = (f"{minute // 60:02}:{minute % 60:02}" for minute in (hours.opens, hours.closes))
    days = ",".join(DAYS[day] for day in sorted(hours.days))
    return {"window": f"{opens}-{closes}", "days": days, "skip_holidays": hours.skip_holidays}


def from_rules(rules: Mapping[str, Any]) -> Hours | None:
    """Return the hours that are kept with a campaign, None where it has none."""
    if "window" not in rules:
        return None
    opens, closes = parse_window(rules["window"])
    return Hours(opens=opens, closes=closes, days=parse_days(rules["days"]), skip_holidays=rules["skip_holidays"])


def parse_place(text: str) -> Place:
    """Return a place as `str` writes it."""
    first, *rest = text.split(" ")
    if first.endswith(":"):
        return Place(zones=tuple(rest), country=first[:-1])
    return Place(zones=(first, *rest))


# --- One clock ------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _is_open(hours: Hours, zone: ZoneInfo, country: str | None, at: datetime) -> bool:
    local = at.astimezone(zone)
    minute = local.hour * 60 + local.minute
    today = local.date()
    begun = today  # the day on which the window opened
    if hours.opens < hours.closes:
        if not hours.opens <= minute < hours.closes:
            return False
    elif minute < hours.closes:
        begun = today - timedelta(days=1)
    elif minute < hours.opens:
        return False
    if begun.weekday() not in hours.days:
        return False
    return not (hours.skip_holidays and country and (_is_holiday(country, today) or _is_holiday(country, begun)))


def _is_holiday(country: str, day: date) -> bool:
    return day in _holidays(country, day.year)


@lru_cache(maxsize=1024)
def _holidays(country: str, year: int) -> frozenset[date]:
    """Return the public holidays of a whole country; none where nobody has listed them."""
    import holidays  # noqa: PLC0415 - a sixth of a second, which only those pay who ask for holidays

    try:
        return frozenset(holidays.country_holidays(country, years=year))
    except NotImplementedError:
        return frozenset()


# --- Stretches ------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def _stretch(hours: Hours, place: Place, at: datetime) -> Stretch | None:
    local = LocalHours(hours=hours, place=place)
    begin: datetime | None = at if local.is_open(at) else None
    for change in _changes(hours, place, at):
        if begin is None:
            if local.is_open(change):
                begin = change
        elif change - begin > _LONGEST or not local.is_open(change):
            return Stretch(begin=begin, end=change)
    return None


def _changes(hours: Hours, place: Place, at: datetime) -> Iterator[datetime]:
    """Yield, in order, every moment after `at` at which the place may open or close, and some at which it does not.

    A clock opens or closes when it passes the window's ends or midnight, or when it is put forward or back.
    """
    walls = [time(minute // 60, minute % 60) for minute in {0, hours.opens, hours.closes % MIDNIGHT}]
    zones = [_zone(name) for name in place.zones]
    day_length = timedelta(days=1)
    begin = at
    while begin < at + LOOK_AHEAD:
        end = begin + 2 * day_length
        found: set[datetime] = set()
        for zone in zones:
            day = begin.astimezone(zone).date()
            for _ in range(4):  # one more than two days have: Samoa once left one out
                for wall in walls:
                    for fold in (0, 1):
                        found.add(datetime.combine(day, wall, zone).replace(fold=fold).astimezone(UTC))
                day += day_length
            if zone.utcoffset(begin.astimezone(zone)) != zone.utcoffset(end.astimezone(zone)):
                found.add(put_forward_or_back(zone, begin, end))
        yield from sorted(moment for moment in found if begin < moment <= end)
        begin = end


def put_forward_or_back(zone: ZoneInfo, begin: datetime, end: datetime) -> datetime:
    """Return when, between two moments of which it has different offsets, a clock is changed; to the second."""
    before = begin.astimezone(zone).utcoffset()
    seconds = int((end - begin).total_seconds())
    low, high = 0, seconds
    while high - low > 1:
        middle = (low + high) // 2
        if (begin + timedelta(seconds=middle)).astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return begin + timedelta(seconds=high)
