"""What the dispatcher asks of a provider: one required method, facts, and abilities that exist if the method does.

Everything here is in columns: one list a field, one entry a message, all of one length and in one order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol, runtime_checkable

from dispatcher.message import MessageState


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """The facts about a provider that planning and releasing go by; None means that there is no such limit."""

    messages_per_request: int
    bytes_per_request: int | None = None
    bytes_per_message: int = 0  # what one message adds to a request besides its text, at most
    characters: int | None = None  # in one text
    segments: int | None = None  # of one text
    personalised: bool = True  # many texts in one request
    unicode: bool = True  # texts beyond GSM-7
    sender: bool = True  # takes a sender id
    schedule_ahead: timedelta | None = None  # how far ahead it takes a send time; None: no schedule of its own
    schedule_least: timedelta = timedelta(0)  # how far ahead a send time must be at least
    schedule_step: timedelta = timedelta(minutes=1)  # the granularity of a send time
    deduplicates: bool = False  # refuses a second message with our reference
    ids_per_receipt_request: int = 1
    receipt_window: timedelta = timedelta(hours=72)  # after which a receipt is no longer waited for
    requests_per_second: float | None = None  # defaults, where the settings say nothing
    segments_per_second: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingBatch:
    """What one provider request carries, rendered. `texts` is None where `text` goes to everyone."""

    reference: str  # ours: 32 hexadecimal characters
    numbers: Sequence[int]  # E.164 without the plus
    references: Sequence[str]  # ours, one a message
    segments: Sequence[int]
    text: str | None = None
    texts: Sequence[str] | None = None
    sender: str | None = None
    scheduled_for: datetime | None = None  # aware; hand it over to be sent then
    deadline: float | None = None  # monotonic seconds: not begun after, and over by then
    options: Mapping[str, str] = field(default_factory=dict)  # the campaign's provider-specific options

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why one recipient was refused, in the provider's own word, and whether that word is an opt-out."""

    reason: str
    opted_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """One answer per message of the batch, in its order.

    A position in `refused` was refused; one in `missing` was not answered for (unknown); every other one was
    accepted, under `provider_message_ids[position]` where the provider gives ids.
    """

    provider_message_ids: Sequence[str | None]
    costs: Sequence[Decimal | None]
    refused: Mapping[int, Refusal] = field(default_factory=dict)
    missing: frozenset[int] = frozenset()
    provider_reference: str | None = None  # the provider's id of the whole batch
    pause: str | None = None  # a reason to pause the campaign: the account is in trouble


class Provider(Protocol):
    """One provider account, ready to be called. Construction does no I/O."""

    @property
    def name(self) -> str:
        """The name of the provider's file."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """The facts about it, with the settings applied."""
        ...

    def submit(self, batch: OutgoingBatch, /) -> Answers:
        """Make exactly one request and return one answer per message; never retry, sleep or log a text.

        Raises:
            NotSubmitted: certainly nothing reached the provider.
            OutcomeUnknown: it may have been carried out.
            Refused: the provider refused the whole request.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """A message whose fate is asked for."""

    message_id: int
    number: int
    reference: str
    provider_message_id: str | None
    provider_reference: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a provider says of one message now. `state` is SUBMITTED while it is under way."""

    message_id: int
    state: MessageState
    reason: str | None = None  # the provider's own word
    at: datetime | None = None
    cost: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptPage:
    """The receipts of one request; `next_page` is for the next call, None when there is no more."""

    receipts: Sequence[Receipt]
    next_page: str | None = None


@runtime_checkable
class FetchesReceipts(Protocol):
    """Ability: tells the fate of messages when asked."""

    def fetch_receipts(self, awaited: Sequence[Awaited], page: str | None = None, /) -> ReceiptPage:
        """Ask once for up to `ids_per_receipt_request` messages; a message it says nothing about is left out."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledMessage:
    """A message that a provider holds to send later."""

    provider_message_id: str
    number: int
    send_at: datetime
    submitted_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledPage:
    """One page of what is scheduled; `next_page` is for the next call."""

    messages: Sequence[ScheduledMessage]
    total: int
    next_page: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """What came of taking one scheduled message back. `refunded` is what the provider gave back."""

    provider_message_id: str
    recalled: bool
    reason: str | None = None
    refunded: Decimal | None = None


@runtime_checkable
class Schedules(Protocol):
    """Ability: lists what it holds to send later, and takes messages back."""

    def list_scheduled(self, page: str | None = None, /) -> ScheduledPage:
        """Ask for one page of the scheduled messages."""
        ...

    def recall(self, provider_message_ids: Sequence[str], /) -> Sequence[Recall]:
        """Take back up to `messages_per_request` scheduled messages in one request."""
        ...


@runtime_checkable
class TellsBalance(Protocol):
    """Ability: tells what is left on the account."""

    def balance(self) -> Decimal:
        """Return what is left, in the provider's own unit."""
        ...
