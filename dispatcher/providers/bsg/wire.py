"""What goes over the wire to BSG when it sends: requests as the vendor specifies them, the answer read leniently.

Marks in this file: K the vendor's document says so, I inferred, U unknown.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import UNSET, Struct, UnsetType

from dispatcher.errors import InsufficientCredit, InvalidRequest, OutcomeUnknown, ProviderError, Refused
from dispatcher.provider import Answers, OutgoingBatch, Refusal
from dispatcher.providers.bsg.login import status_of
from dispatcher.providers.bsg.reading import Loose, moment, word
from dispatcher.providers.bsg.settings import Settings

MOST_CHARACTERS = 765  # K: in GSM-7
MOST_SEGMENTS = 5  # I: 765 characters are five segments; of UCS-2, of which BSG takes 355 (K), these are 335
CHANNELS = ("sms", "rcs", "viber", "whatsapp")  # K; voice is a call, and telegram is for one-time passwords (K)
MOST_BY_CHANNEL = {"rcs": 5000, "whatsapp": 5000}  # K: of RCS the prose, of WhatsApp the schema of its own call
CHARACTERS_BY_CHANNEL = {"rcs": 160, "viber": 1000}  # K; of RCS in UTF-16 code units
_SMALLEST, _LARGEST = 100_000_000, 999_999_999_999_999  # K: 9 to 15 digits

FRAME = len('{"messages":[],"tariff_code":-2147483648,"validity":72,"start_at":"2026-07-01T06:30:00+00:00"}')
"""Bytes of a personalised request besides its messages, at most."""
AROUND_A_TEXT = len(
    '{"phone":123456789012345,"text":,"sender":"123456789012345","reference_id":"12345678901234567890123456789012"},'
)
"""Bytes that a message adds to a personalised request besides its text as a JSON string, at most."""


# --- What is sent: exactly as the vendor specifies -----------------------------------------------------------------


class _Phone(Struct):
    number: str  # K: digits only
    reference_id: str  # K: up to 32 letters and digits; "messages with duplicate reference_id will be rejected"


class _Recipients(Struct):
    phones: Sequence[_Phone]


class _Content(Struct):
    sender: str
    text: str


class _Campaign(Struct):
    channels: Sequence[str]  # K: one or two; the second where the first does not deliver
    recipients: _Recipients
    check_stop_list: bool
    add_to_contact_book: bool
    sms: _Content | UnsetType = UNSET
    rcs: _Content | UnsetType = UNSET
    viber: _Content | UnsetType = UNSET
    whatsapp: _Content | UnsetType = UNSET  # U: the prose names the channel, the schema no content for it
    tariff_code: int | UnsetType = UNSET
    validity: int | UnsetType = UNSET
    start_at: str | UnsetType = UNSET


class _Message(Struct):
    phone: int
    text: str
    sender: str
    reference_id: str


class _Messages(Struct):
    messages: Sequence[_Message]
    tariff_code: int | UnsetType = UNSET
    validity: int | UnsetType = UNSET
    start_at: str | UnsetType = UNSET


class _Recipient(Struct):
    phone: int


class _Estimate(Struct):
    sender: str
    text: str
    messages: Sequence[_Recipient]
    tariff_code: int | UnsetType = UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A request that sends a batch; `refused` are the positions that are not in it."""

    path: str
    body: bytes = field(repr=False)
    refused: Mapping[int, Refusal]


def encoded(batch: OutgoingBatch, settings: Settings) -> Encoded:
    """Return the request that sends a batch: one text to all as a campaign of its channels, else a text each by SMS.

    A number that BSG cannot write down is left out, since it would have the whole request refused.

    Raises:
        InvalidRequest: it exceeds a limit of the vendor's, or cannot be written down.
        Refused: there is no sender.
    """
    channels = channels_of(batch)
    _check(batch, channels, settings)
    refused = left_out(batch.numbers)
    numbers, references, texts = batch.numbers, batch.references, batch.texts
    if refused:
        kept = [at for at in range(len(numbers)) if at not in refused]
        numbers, references = [numbers[at] for at in kept], [references[at] for at in kept]
        texts = None if texts is None else [texts[at] for at in kept]
    sender = sender_of(batch, settings)
    validity, tariff = _or_unset(settings.validity_hours), _or_unset(settings.tariff_code)
    when = UNSET if batch.scheduled_for is None else send_time(batch.scheduled_for, settings)
    content: _Campaign | _Messages
    if texts is None:
        path = "/api/campaigns/send"
        by_channel = {
            channel: _Content((settings.rcs_sender if channel == "rcs" else "") or sender, batch.text or "")
            for channel in channels
        }
        content = _Campaign(
            channels=channels,
            recipients=_Recipients(list(map(_Phone, map(str, numbers), references))),
            check_stop_list=True,
            add_to_contact_book=settings.add_to_contact_book,
            tariff_code=tariff,
            validity=validity,
            start_at=when,
            **by_channel,
        )
    else:
        path = "/api/campaigns/sms/send-individual"
        rows = zip(numbers, texts, references, strict=True)
        messages = [_Message(number, text, sender, reference) for number, text, reference in rows]
        content = _Messages(messages=messages, tariff_code=tariff, validity=validity, start_at=when)
    body = _written(content)
    if len(body) > settings.bytes_per_request:
        raise InvalidRequest(f"bsg: not sent: {len(body)} bytes, over the limit of {settings.bytes_per_request}")
    return Encoded(path=path, body=body, refused=refused)


def left_out(numbers: Sequence[int]) -> dict[int, Refusal]:
    """Return the positions of numbers that BSG cannot write down, and why."""
    if not numbers or (min(numbers) >= _SMALLEST and max(numbers) <= _LARGEST):
        return {}
    why = Refusal(reason="BSG takes numbers of 9 to 15 digits")
    return {at: why for at, number in enumerate(numbers) if not _SMALLEST <= number <= _LARGEST}


def estimate(batch: OutgoingBatch, settings: Settings) -> bytes:
    """Return the body of the request that asks for the price of one text to all, as an SMS.

    Raises:
        InvalidRequest: it exceeds a limit of the vendor's, or cannot be written down.
        Refused: there is no sender.
    """
    _check(batch, ["sms"], settings)
    recipients = [_Recipient(number) for number in batch.numbers if _SMALLEST <= number <= _LARGEST]
    return _written(
        _Estimate(
            sender=sender_of(batch, settings),
            text=batch.text or "",
            messages=recipients,
            tariff_code=_or_unset(settings.tariff_code),
        )
    )


def channels_of(batch: OutgoingBatch) -> list[str]:
    """Return the channels that a campaign asks for, in order; SMS where it asks for none.

    Raises:
        InvalidRequest: there is one that BSG does not send texts by, or too many.
    """
    channels = [name.strip().lower() for name in batch.options.get("channels", "sms").split(",")]
    if not 1 <= len(channels) <= 2 or len(set(channels)) != len(channels) or not set(channels) <= set(CHANNELS):
        raise InvalidRequest(f"bsg: not sent: channels are one or two of {', '.join(CHANNELS)}")
    return channels


def _check(batch: OutgoingBatch, channels: Sequence[str], settings: Settings) -> None:
    why = None
    most = min([settings.messages_per_request, *(MOST_BY_CHANNEL.get(name, len(batch)) for name in channels)])
    if not 1 <= len(batch) <= settings.messages_per_request or max(batch.segments) > MOST_SEGMENTS:
        why = f"a batch of {len(batch)} messages, or of more than {MOST_SEGMENTS} segments each"
    elif len(batch) > most:
        why = f"{len(batch)} messages by {channels[0]}: set DISPATCHER_BSG__MESSAGES_PER_REQUEST to {most}"
    elif batch.texts is None and not batch.text:
        why = "there is no text"
    elif batch.texts is not None and list(channels) != ["sms"]:
        why = "a text for each recipient goes by SMS only: leave the channels out, or the fields"
    elif max(map(len, batch.texts or [batch.text or ""])) > MOST_CHARACTERS:
        why = f"a text of more than {MOST_CHARACTERS} characters"
    else:
        units = len((batch.text or "").encode("utf-16-le", "replace")) // 2
        short = [name for name in channels if units > CHARACTERS_BY_CHANNEL.get(name, units)]
        if short:
            why = f"a text of more than {CHARACTERS_BY_CHANNEL[short[0]]} characters by {short[0]}"
    if why is not None:
        raise InvalidRequest(f"bsg: not sent: {why}")


def sender_of(batch: OutgoingBatch, settings: Settings) -> str:
    """Return the sender of a batch.

    Raises:
        Refused: there is none; nothing is wrong with the batch, so it may go once there is one.
    """
    sender = batch.sender or settings.sender
    if not sender:
        raise Refused("bsg: not sent: there is no sender: name one with the campaign, or set DISPATCHER_BSG__SENDER")
    return sender


def send_time(at: datetime, settings: Settings) -> str:
    """Return a send time as the settings say that BSG reads it, a part of a second rounded up: never before its time."""
    if at.tzinfo is None:
        raise InvalidRequest("bsg: not sent: the send time has no zone")
    if at.microsecond:
        at = at.replace(microsecond=0) + timedelta(seconds=1)
    if settings.send_time == "plain":
        return at.astimezone(settings.zone).strftime("%Y-%m-%d %H:%M:%S")
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")


def _or_unset(value: int | None) -> int | UnsetType:
    return UNSET if value is None else value


def _written(content: Struct) -> bytes:
    try:
        return msgspec.json.encode(content)
    except UnicodeEncodeError:
        pass
    raise InvalidRequest("bsg: not sent: a text is not Unicode")


# --- What is answered ------------------------------------------------------------------------------------------------


class Campaign(Struct):
    """A campaign, as far as it is gone by."""

    id: Loose = None
    status: Loose = None
    start_at: Loose = None
    real_start_at: Loose = None


class CampaignAnswer(Struct):
    """The answer of a call that sends, or that stops."""

    data: Campaign | None = None


_TROUBLE = {  # K: the words; I: what they mean for the rest
    "paused": "it lacks funds, or a person has paused it there",
    "stopped": "it was stopped there",
    "spam": "its text is taken for spam there",
}


def answers(batch: OutgoingBatch, request: Encoded, campaign: Campaign, settings: Settings) -> Answers:
    """Return one answer per message: all that were in the request are accepted, under the campaign.

    BSG says nothing of single recipients (K): what became of each is in its receipt. The price of the whole is an
    estimate (K), so that costs are known from the receipts as well.
    """
    reference, status = word(campaign.id), word(campaign.status).lower()
    pause = f"its campaign {reference} is {status}: {_TROUBLE[status]}" if status in _TROUBLE else None
    note = f"its campaign {reference} waits for moderation" if status == "moderation" else None
    asked, told = batch.scheduled_for, moment(campaign.start_at, settings.zone)
    if asked is not None and told is not None and abs(told - asked) > timedelta(minutes=1):
        note = (
            f"its campaign {reference} starts at {told:%Y-%m-%d %H:%M} UTC rather than {asked.astimezone(UTC):%H:%M}:"
            " check DISPATCHER_BSG__TIME_ZONE"
        )
    return Answers(
        provider_message_ids=[None] * len(batch),
        costs=[None] * len(batch),
        refused=request.refused,
        provider_reference=reference,
        pause=pause,
        note=note,
    )


_NO_FUNDS = re.compile(
    r"\b(insufficient|not enough|no|low)\s+(\w+\s+)?(funds?|money|balance|credits?)\b", re.IGNORECASE
)
_KNOWN = re.compile(r"duplicat|already|exist|unique|taken", re.IGNORECASE)


def judged(error: InvalidRequest) -> ProviderError:
    """Return what a refusal of a whole request means, by its words; how BSG words these two is U.

    Want of funds is the account's trouble, not the batch's. A reference that is known to BSG can only be one of an
    earlier attempt, whose answer was lost: this request was not carried out, but that one may have been. To call
    the messages refused would deny what was sent, and to call them not submitted would send the rest for ever; so
    the outcome is unknown, and found by the references.
    """
    words = str(error)
    if status_of(error) not in {400, 409, 422}:
        return error
    if _NO_FUNDS.search(words):
        return InsufficientCredit(words)
    if "reference" in words.lower() and _KNOWN.search(words):
        return OutcomeUnknown(f"{words}; an earlier attempt may have been carried out")
    return error
