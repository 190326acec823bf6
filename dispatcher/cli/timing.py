"""The options that say when, for how long, how often and in whose name: hours, expiry, pace, pressure, brand."""

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import click

from dispatcher.cli.plain import printable
from dispatcher.config import PREFIX, Settings
from dispatcher.errors import UsageError
from dispatcher.hours import Hours, as_rules, parse_days, parse_window
from dispatcher.suppression import brand_name

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)\s*", re.IGNORECASE)
_LONGEST = timedelta(days=366)
_AT_MOST = re.compile(r"(\d{1,4})\s*(?:per|in|/)\s*(.+)", re.IGNORECASE)
_NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The options as they were given; None where they were not."""

    window: str | None
    days: str | None
    skip_holidays: bool | None
    no_window: bool
    expire_after: str | None
    spread: str | None
    at_most: str | None
    brand: str | None


def timing_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that `Timing` holds; the command gets them as one, `timing`."""

    @functools.wraps(command)
    def with_timing(**options: Any) -> None:
        timing = Timing(**{name: options.pop(name) for name in Timing.__slots__})
        command(timing=timing, **options)

    wrapped: Callable[..., None] = with_timing
    for add in reversed(
        (
            click.option(
                "--window", metavar="09:00-19:00", help="Only between these hours of the recipient's clock."
            ),
            click.option("--days", metavar="mon-sat", help="Only on these days where the recipient is."),
            click.option(
                "--skip-holidays/--on-holidays",
                "skip_holidays",
                default=None,
                help="Not on public holidays of the recipient's country.",
            ),
            click.option("--no-window", is_flag=True, help="At any hour and on any day, whatever the settings say."),
            click.option(
                "--expire-after",
                metavar="4h",
                help="What has not gone so long after the start never goes: 30m, 4h, 2d.",
            ),
            click.option("--spread", metavar="2h", help="Spread evenly over so long, instead of as fast as allowed."),
            click.option(
                "--at-most",
                metavar='"2 per 7d"',
                help="Leave out who has so many messages in so long, of all campaigns; none: whatever the settings say.",
            ),
            click.option("--brand", metavar="NAME", help="In whose name: its own suppression list counts, too."),
        )
    ):
        wrapped = add(wrapped)
    return wrapped


def rules(timing: Timing, settings: Settings) -> dict[str, Any]:
    """Return the rules that the options, and the settings where an option is not given, make for a campaign.

    Raises:
        UsageError: an option or a setting cannot be read; the message names it.
    """
    made = _hours(timing, settings)
    if timing.spread is not None:
        made["spread"] = span(timing.spread, "--spread").total_seconds()
    most, where = (timing.at_most, "--at-most") if timing.at_most is not None else (settings.at_most, "AT_MOST")
    if most and most.strip().lower() != _NONE:
        made["at_most"] = _at_most(most, _named(where))
    return made


def expires_at(timing: Timing, start: datetime) -> datetime | None:
    """Return when a campaign that starts then expires, None where it does not."""
    return None if timing.expire_after is None else start + span(timing.expire_after, "--expire-after")


def brand(timing: Timing, settings: Settings) -> str:
    """Return the brand in whose name a campaign goes, "" for none."""
    return brand_name(settings.brand if timing.brand is None else timing.brand)


def in_words(settings: Settings) -> str:
    """Return what the settings ask of each campaign.

    Raises:
        UsageError: one of them cannot be read.
    """
    made = rules(Timing(**dict.fromkeys(Timing.__slots__)), settings)  # type: ignore[arg-type]
    told = [made["window"], made["days"]] if "window" in made else []
    if made.get("skip_holidays"):
        told.append("no public holidays")
    if "at_most" in made:
        told.append(f"at most {settings.at_most.strip()}")
    if settings.brand:
        told.append(f"brand {brand_name(settings.brand)}")
    return "; ".join(told) or "none"


def span(text: str, option: str) -> timedelta:
    """Return how long `4h`, `90m`, `1h30m` or `2d` is.

    Raises:
        UsageError: it is no such time, or beyond a year.
    """
    parts = _PART.findall(text.strip())
    length = timedelta(seconds=sum(float(many) * _UNITS[unit.lower()] for many, unit in parts))
    if _PART.sub("", text.strip()) or not timedelta(0) < length <= _LONGEST:
        raise UsageError(f"{option} {printable(text)}: write a time such as 30m, 4h or 2d, of at most a year")
    return length


def _hours(timing: Timing, settings: Settings) -> dict[str, Any]:
    asked = timing.window is not None or timing.days is not None or timing.skip_holidays
    if timing.no_window:
        if asked:
            raise UsageError(
                "--no-window lifts all hours: leave it out, or leave out --window, --days, --skip-holidays"
            )
        return {}
    window, where = (timing.window, "--window") if timing.window is not None else (settings.window, "WINDOW")
    days, where_days = (timing.days, "--days") if timing.days is not None else (settings.days, "DAYS")
    skip = settings.skip_holidays if timing.skip_holidays is None else timing.skip_holidays
    if not (window or days or skip):
        return {}
    made = Hours()
    opens, closes, on = made.opens, made.closes, made.days
    if window:
        opens, closes = _read(parse_window, window, where)
    if days:
        on = _read(parse_days, days, where_days)
    return as_rules(Hours(opens=opens, closes=closes, days=on, skip_holidays=skip))


def _read(parse: Callable[[str], Any], text: str, where: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"{_named(where)} {printable(text)}: {error}") from None


def _at_most(text: str, where: str) -> list[float]:
    found = _AT_MOST.fullmatch(text.strip())
    if found is None or int(found[1]) == 0:
        raise UsageError(f'{where} {printable(text)}: write it as "2 per 7d", or none')
    return [int(found[1]), span(found[2], where).total_seconds()]


def _named(where: str) -> str:
    return where if where.startswith("--") else PREFIX + where
