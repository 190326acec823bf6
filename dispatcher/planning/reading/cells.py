"""Typed values of sheets, tables and JSON as the text that a person sees there."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal

_EXACT = 10**15
"""A float has at least fifteen exact digits; a spreadsheet keeps no more."""


def shown(value: object) -> str | None:
    """Return the value as text, an empty one as ""; None for what is no single value, such as a list.

    12.0 is 12, and a number that has lost digits keeps its exponent, so that nobody takes it for exact.
    """
    match value:
        case str():
            return value
        case None:
            return ""
        case bool():
            return "TRUE" if value else "FALSE"
        case int():
            return str(value)
        case float():
            return _float(value)
        case Decimal():
            return "" if value.is_nan() else f"{value:f}"
        case datetime():
            # Spreadsheets and tables keep a plain date as midnight.
            clock = _time(value.time())
            return value.date().isoformat() if clock == "00:00" else f"{value.date().isoformat()} {clock}"
        case date():
            return value.isoformat()
        case time():
            return _time(value)
        case timedelta():
            return _duration(value)
    return None


def _float(value: float) -> str:
    if value != value:  # noqa: PLR0124 - so is NaN told
        return ""
    if value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    return f"{value:.15g}"


def _time(value: time) -> str:
    return value.isoformat("seconds" if value.second or value.microsecond else "minutes")[:8]


def _duration(value: timedelta) -> str:
    seconds = round(value.total_seconds())
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    return f"{sign}{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
