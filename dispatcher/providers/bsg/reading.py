"""What BSG's answers hold, read leniently: words, amounts, times, and the fate of a message.

Marks in this file: K the vendor's document says so, I inferred, U unknown.
"""

from datetime import UTC, datetime, tzinfo
from decimal import Decimal, InvalidOperation

from msgspec import Raw, Struct, field

from dispatcher.message import MessageState

Loose = str | int | float | bool | None


class Amount(Struct):
    """What one message costs; the value is exactly as it was written."""

    value: Raw = Raw(b"null")
    currency: Loose = None


class MessageRow(Struct):
    """One message as BSG lists it."""

    campaign_id: Loose = None
    reference_id: Loose = None
    phone: Loose = None
    status: Loose = None
    amount: Amount | None = None
    sent_at: Loose = None
    delivered_at: Loose = None
    alternative_channels: Raw = Raw(b"null")


class _Page(Struct):
    total: int | None = None


class _Meta(Struct):
    page: _Page | None = None


class MessageList(Struct):
    """One page of messages."""

    data: list[MessageRow | None] | None = None
    meta: _Meta | None = None

    @property
    def total(self) -> int | None:
        """How many there are on all pages, None where it does not say."""
        return None if self.meta is None or self.meta.page is None else self.meta.page.total


class StopRow(Struct):
    """One number on the stop list."""

    phone: Loose = None
    created_at: Loose = None
    sms: Loose = field(name="sms_stoplist", default=None)


class StopList(Struct):
    """One page of the stop list."""

    data: list[StopRow | None] | None = None
    total: int | None = None


class Balance(Struct):
    """What is on the account."""

    balance: Raw = Raw(b"null")
    currency: Loose = None


class BalanceAnswer(Struct):
    """The answer about the balance."""

    data: Balance | None = None


class PriceAnswer(Struct):
    """The answer about a price."""

    price: Raw = Raw(b"null")
    currency: Loose = None


_DELIVERED = frozenset({"delivered", "read"})
_UNDELIVERED = frozenset(
    {"failed", "undelivered"}
)  # and every not_…: no user of the channel (K: the words, I: final)


def fate(row: MessageRow) -> tuple[MessageState, str | None] | None:
    """Return the state that a row tells of, with the vendor's own word; None where another row decides it.

    That is so for a message that failed by its first channel and names one that it goes by instead (I). A word that
    is not known to be final is under way: the end of the receipt window settles it.
    """
    status = word(row.status)
    key = status.lower()
    if key in _DELIVERED:
        return MessageState.DELIVERED, None if key == "delivered" else status
    if key == "expired" or key in _UNDELIVERED or key.startswith("not_"):
        if bytes(row.alternative_channels).strip() not in (b"null", b"[]", b"{}", b'""', b"false"):
            return None
        return MessageState.EXPIRED if key == "expired" else MessageState.UNDELIVERED, status
    return MessageState.SUBMITTED, status or None


def word(value: Loose) -> str:
    """Return a word or an id as text, "" for none."""
    if isinstance(value, str):
        return value.strip()[:200]
    if value is None or isinstance(value, bool):
        return ""
    return str(int(value)) if isinstance(value, int) or value.is_integer() else str(value)


def digits(value: Loose) -> int | None:
    """Return a number as in E.164 without the plus, None for what is none."""
    text = word(value).removeprefix("+")
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def decimal(value: Raw) -> Decimal | None:
    """Return an amount exactly as it was written, None for what is none (as is a million millions)."""
    try:
        amount = Decimal(bytes(value).decode().strip().strip('"'))
    except (InvalidOperation, UnicodeError):
        return None
    return amount if amount.is_finite() and amount.adjusted() < 12 else None


def moment(value: Loose, zone: tzinfo | None) -> datetime | None:
    """Return a time of the vendor's in UTC; None for what is none, or has no zone where none is known (U)."""
    try:
        found = datetime.fromisoformat(word(value))
        if found.tzinfo is None:
            if zone is None:
                return None
            found = found.replace(tzinfo=zone)
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def far_ahead(value: Loose, zone: tzinfo | None, now: datetime) -> bool:
    """Whether a time of the vendor's is certainly still to come, whatever its zone where none is known."""
    known = moment(value, zone)
    if known is not None:
        return known > now
    latest = moment(value, UTC)  # no zone is more than 14 hours ahead of UTC
    return latest is not None and (latest - now).total_seconds() > 14 * 3600
