"""Sakari's messages and contacts as it tells of them, read leniently: identities, states, times and prices.

Marks in this file: K the vendor's document says so, I inferred, U unknown.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import phonenumbers
from msgspec import Raw, Struct

from dispatcher.message import MessageState

Loose = str | int | float | bool | None


class Error(Struct):
    """Why a contact or a message was refused."""

    code: Loose = None
    description: Loose = None
    message: Loose = None


class Mobile(Struct):
    """A number, international or national to its country (K: "123-456-7890" is the vendor's example)."""

    number: Loose = None
    country: Loose = None


class Tag(Struct):
    """A tag of a contact."""

    tag: Loose = None


class Contact(Struct, rename="camel"):
    """A person."""

    id: Loose = None
    mobile: Mobile | str | None = None
    first_name: Loose = None
    last_name: Loose = None
    email: Loose = None
    attributes: Mapping[str, Any] | None = None
    tags: list[Tag | str | None] | None = None
    error: Error | str | None = None


class When(Struct):
    """When something was done."""

    at: Loose = None


class Conversation(Struct):
    """The thread that a message is in."""

    id: Loose = None


class Message(Struct, rename="camel"):
    """A message, outgoing or incoming."""

    id: Loose = None
    contact: Contact | None = None
    conversation: Conversation | None = None
    message: str | None = None  # I: the text as it is sent
    template: str | None = None  # I: what it was rendered from
    outgoing: Loose = None
    price: Raw = Raw(b"null")
    status: Loose = None
    error: Error | str | None = None
    created: When | str | None = None
    updated: When | str | None = None

    @property
    def code(self) -> str:
        """The code of its error, "" for none."""
        return word(self.error.code if isinstance(self.error, Error) else self.error)

    @property
    def refused(self) -> bool:
        """Whether it was refused at once; without a code of the vendor's it may yet go out."""
        return key(self.status) in ("ERROR", "INVALID") and self.code not in ("", RETRIED)


class Pagination(Struct, rename="camel"):
    """Which page an answer is."""

    offset: int | None = None
    limit: int | None = None
    total_count: int | None = None  # K
    has_next: bool | None = None  # in newer documents of the vendor's


class MessagesAnswer(Struct):
    """A page of messages."""

    data: list[Message | None] | None = None
    pagination: Pagination | None = None


class MessageAnswer(Struct):
    """One message."""

    data: Message | None = None


TIMED_OUT = "MSG-026"  # K
RETRIED = "MSG-028"  # K: throttled, and Sakari tries again
_UNDELIVERED = frozenset({"ERROR", "INVALID", "UNDELIVERED"})  # K; under way: NEW VALIDATED QUEUED SENT


def fate(message: Message) -> tuple[MessageState, str | None]:
    """Return the state that a message is in, and the vendor's own word where there is one."""
    status, code = key(message.status), message.code
    reason = code or word(message.status) or None
    if status == "DELIVERED":
        # One that contradicts itself decides nothing: a final state never moves.
        return (MessageState.SUBMITTED, reason) if code else (MessageState.DELIVERED, None)
    if status in _UNDELIVERED and code != RETRIED:
        return MessageState.EXPIRED if code == TIMED_OUT else MessageState.UNDELIVERED, reason
    return MessageState.SUBMITTED, reason


def next_offset(pagination: Pagination | None, offset: int, rows: int, limit: int) -> int | None:
    """Return where the next page of a listing begins, None after the last."""
    end = offset + rows
    if not rows:
        return None
    if pagination is not None and pagination.total_count is not None:
        return end if end < pagination.total_count else None
    if pagination is not None and pagination.has_next is not None:
        return end if pagination.has_next else None
    return end if rows >= limit else None


def number_of(contact: Contact | None) -> int | None:
    """Return the number of a contact in E.164 without the plus, None for what is none."""
    mobile = None if contact is None else contact.mobile
    if mobile is None:
        return None
    text, country = (mobile, None) if isinstance(mobile, str) else (word(mobile.number), word(mobile.country))
    text = text.strip()
    digits = re.sub("[^0-9]", "", text)
    if text.startswith("+") or not country:
        return int(digits) if digits else None
    try:
        parsed = phonenumbers.parse(text, country.upper())
    except phonenumbers.NumberParseException:
        return int(digits) if digits else None
    return int(f"{parsed.country_code}{phonenumbers.national_significant_number(parsed)}")


def digest(text: str) -> str:
    """Return 16 hexadecimal characters that a text is told by, and not told from."""
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


def word(value: Loose) -> str:
    """Return a word or an id as text, "" for none."""
    if isinstance(value, str):
        return value.strip()[:200]
    if value is None or isinstance(value, bool):
        return ""
    return str(int(value)) if isinstance(value, int) or value.is_integer() else str(value)


def key(value: Loose) -> str:
    """Return a word without its case, blanks and signs."""
    return re.sub("[^A-Z0-9]", "", word(value).upper())


def flag(value: Loose) -> bool | None:
    """Return a truth value, None for what is none."""
    if isinstance(value, bool):
        return value
    return {"true": True, "1": True, "false": False, "0": False}.get(word(value).lower())


def decimal(value: Raw) -> Decimal | None:
    """Return an amount exactly as it was written, None for what is none (as is a million millions)."""
    try:
        amount = Decimal(bytes(value).decode().strip().strip('"'))
    except (InvalidOperation, UnicodeError):
        return None
    return amount if amount.is_finite() and amount.adjusted() < 12 else None


def moment(value: When | str | None) -> datetime | None:
    """Return a time (K: date-time of RFC 3339; I: UTC where it names no zone), None for what is none."""
    text = word(value.at if isinstance(value, When) else value)
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
