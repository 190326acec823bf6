"""Says whom a campaign leaves out though their numbers are good: opted out, texted enough, or never within its hours."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from dispatcher.hours import Hours, LocalHours, Place, from_rules
from dispatcher.ledger import Ledger
from dispatcher.zones import Places

LeftOut = Callable[[Sequence[int]], Mapping[int, str]]
"""Returns those of some numbers that get no message, each with the reason."""

_OPTED_OUT = "suppressed: opted out"
_NOWHERE = "quiet hours: nobody knows the time zone of its number"
_NEVER = "quiet hours: no hour is open in all time zones that its number may be in"


def left_out(
    ledger: Ledger, *, rules: Mapping[str, Any], brand: str, send_at: datetime | None, now: datetime
) -> LeftOut:
    """Return what says whom a campaign of these rules leaves out, as things stand at `now`."""
    start = now if send_at is None else max(now, send_at)
    hours = from_rules(rules)
    reasons: list[LeftOut] = [
        lambda numbers: dict.fromkeys(ledger.suppressions.among(numbers, brand=brand), _OPTED_OUT)
    ]
    if "at_most" in rules:
        reasons.append(_pressed(ledger, *rules["at_most"], start=start))
    if hours is not None:
        reasons.append(_never_open(hours, Places(by_country=hours.skip_holidays, now=now), start=start))

    def look_up(numbers: Sequence[int]) -> dict[int, str]:
        found: dict[int, str] = {}
        for reason in reversed(reasons):  # what is said first counts
            found |= reason(numbers)
        return found

    return look_up


def _pressed(ledger: Ledger, most: int, seconds: int, *, start: datetime) -> LeftOut:
    period = timedelta(seconds=seconds)
    pressed = ledger.pressure.pressed(at_most=most, since=start - period, until=start + period)
    reason = f"contact pressure: {most} in {in_words(period)}"
    return lambda numbers: dict.fromkeys(pressed.among(numbers), reason)


def in_words(period: timedelta) -> str:
    """Return a period in the largest unit that it is a whole number of."""
    seconds = int(period.total_seconds())
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds % length == 0:
            return f"{seconds // length} {unit}{'' if seconds == length else 's'}"
    return f"{seconds} seconds"


def _never_open(hours: Hours, places: Places, *, start: datetime) -> LeftOut:
    opens: dict[Place, bool] = {}

    def look_up(numbers: Sequence[int]) -> dict[int, str]:
        found: dict[int, str] = {}
        for number in numbers:
            place = places.of(number)
            if place is None:
                found[number] = _NOWHERE
                continue
            if place not in opens:
                opens[place] = LocalHours(hours=hours, place=place).stretch(start) is not None
            if not opens[place]:
                found[number] = _NEVER
        return found

    return look_up
