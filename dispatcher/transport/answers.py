"""What an answer that is not a 2xx means, and the words about it that are fit for a message or a log."""

import contextlib
import email.utils
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from dispatcher.errors import (
    AuthenticationFailed,
    InsufficientCredit,
    InvalidRequest,
    Misconfigured,
    OutcomeUnknown,
    ProviderError,
    Throttled,
    Unreachable,
)

UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""What decoding JSON from outside may raise; it is a RecursionError where it is nested by the thousand."""

LONGEST_PAUSE = 3600.0
"""Seconds of a Retry-After that are believed at most."""

_ERROR_KEYS = ("code", "errorMessage", "message", "error", "error_description", "detail")
_WINDOW = 12  # so many characters in a row of our request are taken for an echo of it


def refusal(message: str, status: int, headers: Mapping[str, str]) -> ProviderError | None:
    """Return the error of a status after which it is certain that nothing was carried out, else None."""
    if status in {401, 403}:
        return AuthenticationFailed(message)
    if status == 402:
        return InsufficientCredit(message)
    if status == 429:
        return Throttled(message, retry_after(headers))
    if status in {301, 307, 308}:
        return Misconfigured(f"{message}: redirected: check the base URL")
    if 400 <= status < 500 and status != 408:
        # I: that is the wrong address, and not the fault of what was submitted.
        return Misconfigured(message) if status in (404, 405) else InvalidRequest(message)
    return None


def unclear(message: str, *, effects: bool) -> ProviderError:
    """Return the error of a request of which nobody knows whether it was carried out."""
    return OutcomeUnknown(f"{message}; it may have been carried out") if effects else Unreachable(message)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a Retry-After, which may also be a date; None where it says nothing of use."""
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]+)?", value):
        return min(float(value), LONGEST_PAUSE)
    try:
        until = email.utils.parsedate_to_datetime(value)
        # By their clock where they tell it: ours may be off by more than the pause.
        date = headers.get("Date")
        seconds = (until - (email.utils.parsedate_to_datetime(date) if date else datetime.now(UTC))).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(seconds, LONGEST_PAUSE) if seconds >= 0 else None


def words(body: bytes, content: bytes | None, headers: Mapping[str, str]) -> str:
    """Return the provider's own error words, "" where there are none.

    What they repeat of our request (`content` and `headers`) is blotted out: texts, credentials, numbers.
    """
    own = _own_words(body)[:2000]
    if not own:
        return ""
    ours = [part for value in headers.values() for part in value.split()]
    with contextlib.suppress(msgspec.MsgspecError, UnicodeError):
        ours += _strings(msgspec.json.decode(content or b"null"))
    return tidy(_blot(own, ours))


def tidy(text: str) -> str:
    """Return a text fit for a log: no control characters, no number of seven digits or more, 200 characters."""
    masked = re.sub(r"\d(?:[\s().-]?\d){6,}", "…", text)
    return "".join(sign if sign.isprintable() else " " for sign in masked).strip()[:200]


def _own_words(body: bytes) -> str:
    try:
        found: Any = msgspec.json.decode(body)
    except UNREADABLE:
        text = body[:2000].decode("utf-8", "replace").strip()
        return "" if text.startswith(("<", "{", "[")) else text  # a page of HTML, JSON that was cut off
    if isinstance(found, dict) and isinstance(found.get("error"), dict):
        found = found["error"]
    if not isinstance(found, dict):
        return ""
    parts = [found.get(key) for key in _ERROR_KEYS]
    return ": ".join(str(part) for part in parts if isinstance(part, str | int) and part)


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def _blot(own: str, ours: list[str]) -> str:
    for short in {value for value in ours if 5 <= len(value) < _WINDOW}:
        own = own.replace(short, "…")
    every = "\n".join({value for value in ours if len(value) >= _WINDOW})
    shown, position = [], 0
    while position < len(own):
        end = position + _WINDOW
        if end > len(own) or own[position:end] not in every:
            shown.append(own[position])
            position += 1
            continue
        while end < len(own) and own[position : end + 1] in every:
            end += 1
        shown.append("…")
        position = end
    return "".join(shown)
