"""What a provider is asked to do and what it answers: its facts, a batch, the answers, and the one method that each has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol


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
    receipts_by_batch: bool = False  # asked for one batch at a time, by its provider reference
    options: frozenset[str] = frozenset()  # campaign options that it can express, see OutgoingBatch.options
    currency: str | None = None  # of its costs, where it does not say with each; None: its own credits
    lookup_grace: timedelta | None = None  # how long after an attempt "not found" is no news; None: always
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
    # The campaign's own options, those that `Capabilities.options` names: `media_url`, or `media_data` (base64)
    # with `media_type` (MIME) and `media_size` (bytes); `channels` (one or two, comma between); `as_campaign` ("1").
    options: Mapping[str, str] = field(default_factory=dict)

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
    note: str | None = None  # what a person must know or do, shown with the campaign


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


class Tokens(Protocol):
    """Access tokens that all workers share, so that one logs in for all; any of them may be lost at any time."""

    def get(self, name: str) -> str | None:
        """Return the token kept under a name, None where there is none or it has expired."""
        ...

    def keep(self, name: str, token: str, *, seconds: float) -> None:
        """Keep a token for all workers, for so long."""
        ...

    def forget(self, name: str, token: str) -> None:
        """Drop a token that was refused, unless another has taken its place."""
        ...

    def first(self, name: str, *, seconds: float) -> bool:
        """Whether this caller is the one that should log in now; the others get False for so long."""
        ...
