"""What goes over the wire to NetSapiens and back: requests as the vendor specifies them, answers read leniently.

Marks in this file: K the vendor's document says so, I inferred, U unknown.
"""

import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from dispatcher.errors import InvalidRequest, Refused
from dispatcher.message import MessageState
from dispatcher.provider import OutgoingBatch

OPTIONS = frozenset({"media_data", "media_type", "media_size"})
"""The campaign options that it can express: one file, sent as an MMS."""
MOST_LISTED = 1000
"""K: the largest `limit` of a list; there is no offset."""

_NEVER = datetime.max.replace(tzinfo=UTC)
_SESSION = re.compile("[A-Za-z0-9_]{32,}")  # K

# --- What is sent: exactly as the vendor specifies -----------------------------------------------------------------


class _Message(Struct, rename="kebab"):
    type: str
    message: str
    # K: one number as a string. A list would make one group conversation of all of them (K), so there is none here.
    destination: str
    from_number: str
    data: str | UnsetType = UNSET
    mime_type: str | UnsetType = UNSET
    size: int | UnsetType = UNSET


_encoder = msgspec.json.Encoder()


def encoded(batch: OutgoingBatch, from_number: str) -> tuple[str, bytes]:
    """Return the session and the body of the request that sends a batch of one message.

    Raises:
        InvalidRequest: it is something that NetSapiens cannot express, or cannot be written down.
        Refused: nobody says which number it is sent from.
    """
    if len(batch) != 1 or batch.scheduled_for is not None:
        raise InvalidRequest(f"netsapiens: not sent: a batch of {len(batch)} messages, or one for later")
    session = batch.references[0]
    text = (batch.texts[0] if batch.texts is not None else batch.text) or ""
    sender = (batch.sender or from_number).removeprefix("+")
    if not is_session(session):
        raise InvalidRequest("netsapiens: not sent: a reference that cannot name a session")
    if not sender:
        raise Refused(
            "netsapiens: not sent: the campaign has no sender, and DISPATCHER_NETSAPIENS__FROM_NUMBER is not set"
        )
    message = _Message("sms", text, str(batch.numbers[0]), sender)
    if batch.options:
        _attach(message, batch)
    elif not text:
        raise InvalidRequest("netsapiens: not sent: there is no text")
    try:
        return session, _encoder.encode(message)
    except UnicodeEncodeError:
        problem = "a text is not Unicode"
    raise InvalidRequest(f"netsapiens: not sent: {problem}")


def _attach(message: _Message, batch: OutgoingBatch) -> None:
    options = batch.options
    if not options.keys() <= OPTIONS or not (options.get("media_data") and options.get("media_type")):
        raise InvalidRequest("netsapiens: not sent: an MMS takes media_data with its media_type, and nothing else")
    data, size = options["media_data"], options.get("media_size", "")
    try:
        measured = len(binascii.a2b_base64(data, strict_mode=True))
    except (binascii.Error, ValueError):
        measured = 0
    if not measured or size not in ("", str(measured)):
        raise InvalidRequest("netsapiens: not sent: the media is no base64, or not of the size that it is said to be")
    message.type = "mms"
    message.data, message.mime_type, message.size = data, options["media_type"], measured


def is_session(value: str) -> bool:
    """Whether a word can be the id of a session: 32 letters, digits and underscores at least (K)."""
    return _SESSION.fullmatch(value) is not None


# --- What is answered: read leniently, since the vendor's schemas and its examples differ --------------------------

Loose = str | int | float | bool | None


class Acknowledged(Struct):
    """K: `{code: 202, message: "Accepted"}`; there is no id of the message in it."""

    code: int | None = None


class Message(Struct, rename="kebab"):
    """One message of a session."""

    id: Loose = None
    timestamp: Loose = None
    direction: Loose = None  # K: term is outbound, orig inbound; empty in a chat between users
    type: Loose = None
    from_number: Loose = None
    text: Raw = Raw(b"null")  # K: a string, or whatever JSON its characters happen to be
    status: Loose = None  # U: which words there are


class Session(Struct, rename="kebab"):
    """One session, of a list."""

    messagesession_id: Loose = None
    messagesession_last_sender: Loose = None  # K: a user's id, user@domain, or a number


class Subscription(Struct, rename="kebab"):
    """One event subscription."""

    id: str = ""
    model: Loose = None
    post_url: Loose = None
    domain: Loose = None
    subscription_expires_datetime: Loose = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The status words that are taken to be final, each by its `key` (U: settings)."""

    delivered: frozenset[str]
    failed: frozenset[str]

    @classmethod
    def of(cls, *, delivered: str, failed: str) -> "Words":
        """Return the words of two lists, with commas between."""
        keys = [frozenset(filter(None, map(key, words.split(",")))) for words in (delivered, failed)]
        return cls(delivered=keys[0], failed=keys[1])


def inbound(message: Message) -> bool:
    """Whether it came in."""
    return key(word(message.direction)) == "orig"


def ours(messages: Sequence[Message], zone: tzinfo) -> list[Message]:
    """Return our message of a session, the oldest outbound one; if it was sent again (the same text), each time.

    The session was made by it. What else is outbound there, a person has written by hand.
    """
    outbound = [message for message in messages if not inbound(message)]
    outbound.reverse()  # K: in the vendor's examples the newest is the first
    outbound.sort(key=lambda message: moment(message.timestamp, zone) or _NEVER)
    return [
        message
        for message in outbound
        if (bytes(message.text), word(message.type)) == (bytes(outbound[0].text), word(outbound[0].type))
    ]


def fate(messages: Sequence[Message], words: Words, zone: tzinfo) -> tuple[MessageState, str | None]:
    """Return what a session tells of our message: its state and the vendor's word.

    Of one that was sent twice, delivered outweighs under way, and that a failure.
    """
    told = []
    for message in ours(messages, zone):
        status = word(message.status)
        if key(status) in words.delivered:
            return MessageState.DELIVERED, None
        failed = key(status) in words.failed
        told.append((MessageState.UNDELIVERED if failed else MessageState.SUBMITTED, status or None))
    under_way = (found for found in told if found[0] is MessageState.SUBMITTED)
    return next(under_way, told[0] if told else (MessageState.SUBMITTED, None))


def answered_sessions(sessions: Sequence[Session]) -> list[str]:
    """Return the ids of the sessions whose last message did not come from one of the domain's users."""
    found = []
    for session in sessions:
        theirs, last = word(session.messagesession_id), word(session.messagesession_last_sender)
        if theirs and "," not in theirs and "@" not in last:
            found.append(theirs)
    return found


def text_of(message: Message) -> str:
    """Return a message's text; where its JSON is no string, that JSON as it was written (K: a text 5 is a number)."""
    raw = bytes(message.text).strip()
    if raw.startswith(b'"'):
        return msgspec.json.decode(raw, type=str)
    return "" if raw == b"null" else raw.decode("utf-8", "replace")


def word(value: Loose) -> str:
    """Return a word or an id as text, "" for none."""
    if isinstance(value, str):
        return value.strip()[:200]
    if value is None or isinstance(value, bool):
        return ""
    return str(int(value)) if isinstance(value, int) or value.is_integer() else str(value)


def key(value: str) -> str:
    """Return a word without its case, blanks and signs."""
    return re.sub("[^a-z0-9]", "", value.lower())


def number(value: Loose) -> int | None:
    """Return a phone number, None for what is none."""
    text = word(value).removeprefix("+")
    return int(text) if text.isascii() and text.isdecimal() and 3 <= len(text) <= 15 else None


def moment(value: Loose, zone: tzinfo) -> datetime | None:
    """Return a time, RFC 3339 or YYYY-MM-DD HH:MM:SS in the server's zone (U), in UTC; None for what is none."""
    try:
        found = datetime.fromisoformat(word(value))
        return (found if found.tzinfo is not None else found.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def stamp(at: datetime, zone: tzinfo) -> str:
    """Return a time as YYYY-MM-DD HH:MM:SS and its offset, in the server's zone (U).

    K: the vendor's prose and examples have no offset, its schema (`date-time`) wants one: this is right by both.
    """
    return at.astimezone(zone).isoformat(sep=" ", timespec="seconds")
