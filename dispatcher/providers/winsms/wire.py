"""What goes over the wire to WinSMS and back: requests as the vendor specifies them, answers read leniently.

Marks in this file: K the vendor's document says so, I inferred, U unknown.
"""

import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from dispatcher.errors import AuthenticationFailed, InsufficientCredit, InvalidRequest
from dispatcher.message import MessageState
from dispatcher.provider import Answers, OutgoingBatch, Refusal

MOST_PER_REQUEST = 1000  # K: recipients, over all messages of a request; ids in a status or a delete request
MOST_BYTES = 200_000  # K: "200kb" a POST; I: of 1000 bytes
FRAME = len('{"messages":[]}')
"""Bytes of a `sendmulti` request besides its messages."""
AROUND_A_TEXT = len(
    '{"message":,"recipients":[{"mobileNumber":"123456789012345","clientMessageId":"999"}],'
    '"maxSegments":6,"scheduledTime":"YYYYMMDDHHmm"},'
)
"""Bytes that a message adds to a `sendmulti` request besides its text as a JSON string, at most."""

T = TypeVar("T")
R = TypeVar("R")

_POSITIONS = [str(at) for at in range(MOST_PER_REQUEST)]
_ZONE = timezone(timedelta(hours=2))  # I: from the vendor's HTTP pages

# --- What is sent: exactly as the vendor specifies -----------------------------------------------------------------


class _Recipient(Struct, rename="camel", gc=False):
    mobile_number: str  # K: E.164 without the plus
    client_message_id: str  # the position in the batch: K: echoed, not saved; short, for the sake of the byte limit


class _Message(Struct, rename="camel", gc=False):
    message: str
    recipients: list[_Recipient]
    max_segments: int  # K: 1..6, default 1. As many as were planned, so that nothing costs more than that
    scheduled_time: str | UnsetType = UNSET


class _Messages(Struct, gc=False):
    messages: list[_Message]


def encoded(batch: OutgoingBatch) -> tuple[str, bytes]:
    """Return the path and the body of the request that sends a batch.

    Raises:
        InvalidRequest: it exceeds a limit of the vendor's, or cannot be written down.
    """
    if not 1 <= len(batch) <= MOST_PER_REQUEST or max(batch.segments) > 6:
        raise InvalidRequest(f"winsms: not sent: a batch of {len(batch)} messages, or of more than 6 segments each")
    when = UNSET if batch.scheduled_for is None else _minute(batch.scheduled_for)
    recipients = list(map(_Recipient, map(str, batch.numbers), _POSITIONS))
    content: _Message | _Messages
    if batch.texts is None and not batch.text:
        raise InvalidRequest("winsms: not sent: there is no text")
    if batch.texts is None:
        path = "/sms/outgoing/send"
        content = _Message(batch.text or "", recipients, max(batch.segments), when)
    else:
        path = "/sms/outgoing/sendmulti"
        rows = zip(batch.texts, recipients, batch.segments, strict=True)
        content = _Messages([_Message(text, [recipient], parts, when) for text, recipient, parts in rows])
    try:
        body = msgspec.json.encode(content)
    except UnicodeEncodeError:
        body = None
    if body is None or len(body) > MOST_BYTES:
        why = "a text is not Unicode" if body is None else f"{len(body)} bytes, over the limit of {MOST_BYTES}"
        raise InvalidRequest(f"winsms: not sent: {why}")
    return path, body


def _minute(moment: datetime) -> str:
    """Return a moment in the vendor's zone and form, a part of a minute rounded up: never before its time."""
    if moment.tzinfo is None:
        raise InvalidRequest("winsms: not sent: the send time has no zone")
    if moment.second or moment.microsecond:
        moment += timedelta(minutes=1)
    return moment.astimezone(_ZONE).strftime("%Y%m%d%H%M")


def ids(provider_message_ids: Sequence[str]) -> bytes:
    """Return the body of a request that names messages.

    Raises:
        InvalidRequest: there are too many, or one is no id of WinSMS.
    """
    if not all(map(is_id, provider_message_ids)):
        raise InvalidRequest("winsms: not sent: an id that is not a number")
    return named(list(map(int, provider_message_ids)))


def named(numbers: Sequence[int]) -> bytes:
    """Return the same of ids as numbers.

    Raises:
        InvalidRequest: there are too many.
    """
    if len(numbers) > MOST_PER_REQUEST:
        raise InvalidRequest(f"winsms: not sent: more than {MOST_PER_REQUEST} ids")
    return msgspec.json.encode(numbers)


def numbered(provider_message_ids: Sequence[str | None]) -> tuple[Sequence[int], list[int]]:
    """Return those that are ids of WinSMS's, each once: their positions, and they as numbers."""
    every = _all_numbered(provider_message_ids)
    if every is not None:
        return range(len(every)), every
    found = {int(theirs): at for at, theirs in enumerate(provider_message_ids) if theirs and is_id(theirs)}
    return list(found.values()), list(found)


def _all_numbered(provider_message_ids: Sequence[str | None]) -> list[int] | None:
    """Return the same where all of them are ids, and none is there twice: a thousand in some steps, not in thousands."""
    try:
        together = ",".join(provider_message_ids)  # type: ignore[arg-type]
        if together.encode("ascii").translate(None, b"0123456789,"):
            return None
        numbers = msgspec.json.decode(f"[{together}]", type=list[int])
    except (TypeError, UnicodeError, msgspec.MsgspecError):  # None, no ASCII, nothing at all or a zero in front
        return None
    whole = len(provider_message_ids) == len(numbers) == len(set(numbers)) and max(numbers, default=0) < 10**18
    return numbers if whole else None


def is_id(value: str) -> bool:
    """Whether a word is a number, as WinSMS's ids are."""
    return value.isascii() and value.isdecimal() and len(value) <= 18


# --- What is answered: read leniently, since the vendor's prose and its examples differ ----------------------------

Loose = str | int | float | bool | None


class SendRow(Struct, rename="camel", gc=False):
    """What became of one recipient."""

    accepted: Loose = None
    accept_error: Loose = None
    api_message_id: Loose = None
    client_message_id: Loose = None
    mobile_number: Loose = None
    credit_cost: Raw = Raw(b"null")


class _SendMessage(Struct, rename="camel", gc=False):
    recipients: list[SendRow | None] | None = None


class SendAnswer(Struct, rename="camel"):
    """The answer of `send` or `sendmulti`."""

    recipients: list[SendRow | None] | None = None  # of `send`
    messages: list[_SendMessage | None] | None = None  # of `sendmulti`


class StatusRow(Struct, rename="camel", gc=False):
    """The state of one message."""

    api_message_id: Loose = None
    status_delivered: Loose = None
    status_error_code: Loose = None
    status_time: Loose = None
    credit_cost: Raw = Raw(b"null")


class StatusAnswer(Struct, rename="camel"):
    """The answer of `status`."""

    message_statuses: list[StatusRow | None] | None = None


class ScheduledRow(Struct, rename="camel"):
    """One scheduled message."""

    api_message_id: Loose = None
    mobile_number: Loose = None
    scheduled_send_time: Loose = None
    submit_time: Loose = None


class ScheduledAnswer(Struct, rename="camel"):
    """One page of what is scheduled."""

    scheduled_messages: list[ScheduledRow] | None = None
    results_total_available: int | None = None


class DeleteRow(Struct, rename="camel"):
    """What became of one deletion; `credit_cost` is what came back."""

    api_message_id: Loose = None
    deleted: Loose = None
    delete_error: Loose = None
    credit_cost: Raw = Raw(b"null")


class DeleteAnswer(Struct, rename="camel"):
    """The answer of `delete`."""

    deleted_message_statuses: list[DeleteRow] | None = None


class BalanceAnswer(Struct, rename="camel"):
    """The answer of `balance`."""

    credit_balance: Raw = Raw(b"null")


# --- What the answers mean ---------------------------------------------------------------------------------------

_OF_THE_ACCOUNT = {"INSUFFICIENTCREDITS": InsufficientCredit, "ACCOUNTLOCKED": AuthenticationFailed}  # K
_UNDELIVERED = frozenset({"SENDINGFAILED", "FAILED", "BADDEST"})  # K; BADDEST: only in the vendor's example


def answers(batch: OutgoingBatch, answer: SendAnswer) -> Answers:
    """Return one answer per message of the batch, in its order.

    Raises:
        InsufficientCredit: every recipient was refused for want of credit.
        AuthenticationFailed: every recipient was refused because the account is locked.
    """
    said = [answer.recipients, *[message.recipients for message in answer.messages or () if message is not None]]
    rows = [row for rows in said if rows is not None for row in rows if row is not None]
    # What nearly every answer is: everyone is accepted, in our order, under an id of its own.
    echoed = [row.client_message_id for row in rows]
    if echoed == _POSITIONS[: len(batch)] and [row.accepted for row in rows].count(True) == len(rows):
        given = [row.api_message_id for row in rows]
        plain = set(map(type, given)) == {int}
        theirs = list(map(str, given)) if plain else [word(one) or None for one in given]
        if len(set(theirs)) == len(theirs):
            return Answers(provider_message_ids=theirs, costs=decimals([row.credit_cost for row in rows]))
    ids: list[str | None] = [None] * len(batch)
    costs: list[Decimal | None] = [None] * len(batch)
    refused: dict[int, Refusal] = {}
    accepted: set[int] = set()
    for row, position in zip(rows, _positions(batch, rows), strict=True):
        verdict = flag(row.accepted)
        if position is None or position in accepted or verdict is None:
            continue
        if verdict:  # it outweighs a refusal in another row for the same message: what may have gone out counts
            accepted.add(position)
            refused.pop(position, None)
            ids[position] = word(row.api_message_id) or None
            costs[position] = decimal(row.credit_cost)
        else:
            reason = word(row.accept_error)
            refused[position] = Refusal(reason=reason or "no reason given", opted_out=_key(reason) == "OPTEDOUT")
    # Of an id that two messages have, nobody can say whose receipt it brings: both are accepted, and have none.
    many = Counter(ids)
    ids = [None if one is None or many[one] > 1 else one for one in ids]
    account = {_key(refusal.reason): refusal.reason for refusal in refused.values()}
    for key, error in _OF_THE_ACCOUNT.items():
        # Nobody was accepted, so the whole batch may go later; whoever was refused for himself is so again then.
        if key in account and len(refused) == len(batch):
            raise error(f"winsms: every recipient was refused: {account[key]}")
    return Answers(
        provider_message_ids=ids,
        costs=costs,
        refused=refused,
        missing=frozenset(range(len(batch))).difference(accepted, refused),
        pause=next((_only_some(account[key], refused) for key in _OF_THE_ACCOUNT if key in account), None),
    )


def _only_some(word: str, refused: Mapping[int, Refusal]) -> str:
    many = sum(refusal.reason == word for refusal in refused.values())
    return f"winsms: {many:,} of a request were refused: {word}; `dispatcher retry … --refused` sends to them again"


def _positions(batch: OutgoingBatch, rows: Sequence[SendRow]) -> list[int | None]:
    """Return the position in the batch that each row answers for: by our id, else by order, else by number."""
    size = len(batch)
    found: list[int | None] = []
    for row in rows:
        echoed = word(row.client_message_id)
        position = int(echoed) if is_id(echoed) else size
        found.append(position if position < size else None)
    if None not in found:
        return found
    numbers = [digits(row.mobile_number) for row in rows]
    in_order = all(position in (None, at) for at, position in enumerate(found))
    if in_order and numbers == [str(number) for number in batch.numbers]:
        return list(range(size))
    taken = set(found)
    open_positions: defaultdict[str, deque[int]] = defaultdict(deque)
    for at, number in enumerate(batch.numbers):
        if at not in taken:
            open_positions[str(number)].append(at)
    for at, answered in enumerate(numbers):
        if found[at] is None and open_positions[answered]:
            found[at] = open_positions[answered].popleft()
    return found


def matched(
    positions: Sequence[int], asked: Sequence[int], rows: Sequence[StatusRow]
) -> tuple[Sequence[int], Sequence[StatusRow]]:
    """Return the rows about messages that were asked for by these ids, and their positions."""
    if [row.api_message_id for row in rows] == asked:  # nearly always: all, in our order
        return positions, rows
    at = {str(theirs): position for theirs, position in zip(asked, positions, strict=True)}
    known = [(at[theirs], row) for row in rows if (theirs := word(row.api_message_id)) in at]
    return [position for position, _ in known], [row for _, row in known]


def fates(rows: Sequence[StatusRow]) -> tuple[list[MessageState], list[str | None]]:
    """Return the states that status rows tell of, and the vendor's own words where there are some."""
    codes = [row.status_error_code for row in rows]
    delivered = [row.status_delivered for row in rows]
    distinct = set(zip(codes, delivered, strict=True))
    # 1 equals True here, and says something else: only words are told apart by a set. (1 and True deliver alike.)
    if not all(code is None or isinstance(code, str) for code, _ in distinct):
        told = list(map(_fate, codes, delivered))
    elif len(distinct) == 1:
        told = [_fate(codes[0], delivered[0])] * len(rows)
    else:
        fate = {said: _fate(*said) for said in distinct}
        told = list(map(fate.__getitem__, zip(codes, delivered, strict=True)))
    return [state for state, _ in told], [reason for _, reason in told]


@lru_cache(maxsize=1024, typed=True)  # 1 is no True here
def _fate(error_code: Loose, delivered: Loose) -> tuple[MessageState, str | None]:
    code = word(error_code)
    key = _key(code)
    if key in ("", "0"):  # K: blank in the vendor's prose, 0 in its example
        return MessageState.DELIVERED if flag(delivered) else MessageState.SUBMITTED, None
    # A row that contradicts itself decides nothing: a final state never moves.
    if key in _UNDELIVERED and flag(delivered) is not True:
        return MessageState.UNDELIVERED, code
    return MessageState.SUBMITTED, code


def word(value: Loose) -> str:
    """Return a word or an id as text, "" for none."""
    if type(value) is int:
        return str(value)
    if isinstance(value, str):
        return value.strip()[:200]
    if value is None or isinstance(value, bool):
        return ""
    return str(int(value)) if isinstance(value, int) or value.is_integer() else str(value)


def _key(reason: str) -> str:
    """Return a word of the vendor's without its case, blanks and signs."""
    return re.sub("[^A-Z0-9]", "", reason.upper())


def flag(value: Loose) -> bool | None:
    """Return a truth value, None for what is none."""
    if isinstance(value, bool):
        return value
    return {"true": True, "1": True, "false": False, "0": False}.get(word(value).lower())


def digits(value: Loose) -> str:
    """Return the digits of a number, as they are in E.164 without the plus."""
    text = word(value)
    return text if text.isascii() and text.isdecimal() else re.sub("[^0-9]", "", text)


def decimal(value: Raw) -> Decimal | None:
    """Return an amount exactly as it was written, None for what is none (as is a million millions)."""
    return _decimal(bytes(value))


def decimals(values: Sequence[Raw]) -> list[Decimal | None]:
    """Return amounts as `decimal` does; few of them differ."""
    return _each(_decimal, list(map(bytes, values)))


@lru_cache(maxsize=1024)
def _decimal(written: bytes) -> Decimal | None:
    try:
        amount = Decimal(written.decode().strip().strip('"'))
    except (InvalidOperation, UnicodeError):
        return None
    return amount if amount.is_finite() and amount.adjusted() < 12 else None


def moment(value: Loose) -> datetime | None:
    """Return a time of the vendor's, YYYYMMDDHHmm or with seconds, in UTC; None for what is none."""
    return _moment(word(value))


def moments(values: Sequence[Loose]) -> list[datetime | None]:
    """Return times as `moment` does; few of them differ."""
    return _each(moment, values)


def _each(read: Callable[[T], R], values: Sequence[T]) -> list[R]:
    """Return what `read` makes of each value, asking it once for those that are alike."""
    known = {value: read(value) for value in set(values)}
    if len(known) == 1:
        return list(known.values()) * len(values)
    return list(map(known.__getitem__, values))


@lru_cache(maxsize=1024)
def _moment(text: str) -> datetime | None:
    if len(text) not in (12, 14) or not is_id(text):
        return None
    try:
        parts = int(text[:4]), int(text[4:6]), int(text[6:8]), int(text[8:10]), int(text[10:12]), int(text[12:] or 0)
        return datetime(*parts, tzinfo=_ZONE).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
