"""What the dispatcher asks of a provider: one required method, facts, and abilities that exist if the method does.

Everything here is in columns: one list a field, one entry a message, all of one length and in one order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol, overload, runtime_checkable

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


class AwaitedMessages(Sequence[Awaited]):
    """Messages whose fate is asked for, in columns of one length; read as a sequence, it makes each row when asked."""

    __slots__ = ("message_ids", "numbers", "provider_message_ids", "provider_references", "references")

    def __init__(
        self,
        *,
        message_ids: Sequence[int],
        numbers: Sequence[int],
        references: Sequence[str],
        provider_message_ids: Sequence[str | None],
        provider_references: Sequence[str | None],
    ) -> None:
        self.message_ids = message_ids
        self.numbers = numbers
        self.references = references
        self.provider_message_ids = provider_message_ids
        self.provider_references = provider_references

    @classmethod
    def of(cls, awaited: Sequence[Awaited]) -> "AwaitedMessages":
        """Return them in columns, if they are not yet."""
        if isinstance(awaited, AwaitedMessages):
            return awaited
        return cls(
            message_ids=[one.message_id for one in awaited],
            numbers=[one.number for one in awaited],
            references=[one.reference for one in awaited],
            provider_message_ids=[one.provider_message_id for one in awaited],
            provider_references=[one.provider_reference for one in awaited],
        )

    def at(self, positions: Sequence[int]) -> "AwaitedMessages":
        """Return those at some positions."""
        return AwaitedMessages(
            message_ids=[self.message_ids[at] for at in positions],
            numbers=[self.numbers[at] for at in positions],
            references=[self.references[at] for at in positions],
            provider_message_ids=[self.provider_message_ids[at] for at in positions],
            provider_references=[self.provider_references[at] for at in positions],
        )

    def __len__(self) -> int:
        return len(self.message_ids)

    @overload
    def __getitem__(self, index: int) -> Awaited: ...

    @overload
    def __getitem__(self, index: slice) -> "AwaitedMessages": ...

    def __getitem__(self, index: int | slice) -> "Awaited | AwaitedMessages":
        if isinstance(index, slice):
            return AwaitedMessages(
                message_ids=self.message_ids[index],
                numbers=self.numbers[index],
                references=self.references[index],
                provider_message_ids=self.provider_message_ids[index],
                provider_references=self.provider_references[index],
            )
        return Awaited(
            message_id=self.message_ids[index],
            number=self.numbers[index],
            reference=self.references[index],
            provider_message_id=self.provider_message_ids[index],
            provider_reference=self.provider_references[index],
        )


class Receipts(Sequence[Receipt]):
    """What a provider says of messages, in columns of one length; read as a sequence, it makes each row when asked."""

    __slots__ = ("ats", "costs", "message_ids", "reasons", "states")

    def __init__(
        self,
        *,
        message_ids: Sequence[int],
        states: Sequence[MessageState],
        reasons: Sequence[str | None],
        ats: Sequence[datetime | None],
        costs: Sequence[Decimal | None],
    ) -> None:
        self.message_ids = message_ids
        self.states = states
        self.reasons = reasons
        self.ats = ats
        self.costs = costs

    @classmethod
    def of(cls, receipts: Sequence[Receipt]) -> "Receipts":
        """Return them in columns, if they are not yet."""
        if isinstance(receipts, Receipts):
            return receipts
        return cls(
            message_ids=[one.message_id for one in receipts],
            states=[one.state for one in receipts],
            reasons=[one.reason for one in receipts],
            ats=[one.at for one in receipts],
            costs=[one.cost for one in receipts],
        )

    @classmethod
    def joined(cls, parts: Sequence["Receipts"]) -> "Receipts":
        """Return several as one, in their order."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            message_ids=[one for part in parts for one in part.message_ids],
            states=[one for part in parts for one in part.states],
            reasons=[one for part in parts for one in part.reasons],
            ats=[one for part in parts for one in part.ats],
            costs=[one for part in parts for one in part.costs],
        )

    def at(self, positions: Sequence[int]) -> "Receipts":
        """Return those at some positions."""
        return Receipts(
            message_ids=[self.message_ids[at] for at in positions],
            states=[self.states[at] for at in positions],
            reasons=[self.reasons[at] for at in positions],
            ats=[self.ats[at] for at in positions],
            costs=[self.costs[at] for at in positions],
        )

    def __len__(self) -> int:
        return len(self.message_ids)

    @overload
    def __getitem__(self, index: int) -> Receipt: ...

    @overload
    def __getitem__(self, index: slice) -> "Receipts": ...

    def __getitem__(self, index: int | slice) -> "Receipt | Receipts":
        if isinstance(index, slice):
            return self.at(range(len(self))[index])
        return Receipt(
            message_id=self.message_ids[index],
            state=self.states[index],
            reason=self.reasons[index],
            at=self.ats[index],
            cost=self.costs[index],
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptPage:
    """The receipts of one request (`Receipts`, where there are many); `next_page` is for the next call, None at the end."""

    receipts: Sequence[Receipt]
    next_page: str | None = None


class Verdict(StrEnum):
    """What a look-up of a lost batch came to."""

    FOUND = "found"  # the provider has it, or some of it
    ABSENT = "absent"  # the provider does not know of it, so far
    UNCLEAR = "unclear"  # what was seen proves nothing yet
    NEVER = "never"  # this provider cannot tell, now or later


@dataclass(frozen=True, slots=True, kw_only=True)
class LookUp:
    """What was found of a batch whose answer was lost. `evidence` is for the audit trail: words, ids and counts."""

    verdict: Verdict
    evidence: str
    answers: Answers | None = None  # with FOUND: one a message; those not (yet) seen are `missing`
    seen_at: datetime | None = None  # as of when, where that is before the question


@runtime_checkable
class FindsLost(Protocol):
    """Ability: finds out what became of a submission whose answer was lost."""

    def find(self, lost: OutgoingBatch, attempted_at: datetime, wait: Callable[[], None], /) -> LookUp:
        """Look for the messages of `lost`; call `wait` before each request, for its throughput.

        Raises:
            ProviderError: the provider cannot be asked at this moment.
        """
        ...


@runtime_checkable
class FetchesReceipts(Protocol):
    """Ability: tells the fate of messages when asked."""

    def fetch_receipts(self, awaited: Sequence[Awaited], page: str | None = None, /) -> ReceiptPage:
        """Ask once for up to `ids_per_receipt_request` messages; a message it says nothing about is left out.

        They come as `AwaitedMessages`: whoever asks for a thousand at once takes its columns, and gives `Receipts`.
        """
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


@runtime_checkable
class ChecksCredentials(Protocol):
    """Ability: tries the credentials by a call that changes nothing."""

    def check(self) -> str:
        """Return what the account is, in a few words for a person, no secret among them."""
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


@runtime_checkable
class Prepares(Protocol):
    """Ability: needs idempotent calls before a batch can be submitted; nothing is sent by them."""

    def prepare(self, batch: OutgoingBatch, /) -> None:
        """Bring the provider to where `submit(batch)` is the one request that remains; harmless to repeat."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """What came of stopping a submitted batch. `unsent`: certainly none of its messages had gone out."""

    stopped: bool
    unsent: bool = False
    reason: str | None = None
    refunded: Decimal | None = None


@runtime_checkable
class StopsBatches(Protocol):
    """Ability: stops a whole submitted batch, by the reference that the provider gave it."""

    def stop(self, provider_reference: str, /) -> Stopped:
        """Stop it, in one request; a refusal is an answer, with the reason."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a batch would cost; `amount` is None where the provider does not say."""

    amount: Decimal | None
    currency: str | None = None


@runtime_checkable
class EstimatesPrice(Protocol):
    """Ability: tells the price before sending."""

    def price(self, batch: OutgoingBatch, /) -> Price:
        """Ask what a batch would cost, in one request; nothing is sent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingMessage:
    """A message that someone sent to us."""

    number: int
    text: str
    at: datetime | None = None
    provider_message_id: str | None = None
    answers_to: str | None = None  # the provider's id of our message, or of the conversation


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingPage:
    """One page of incoming messages."""

    messages: Sequence[IncomingMessage]
    next_page: str | None = None


@runtime_checkable
class ReceivesMessages(Protocol):
    """Ability: lists the messages that came in."""

    def incoming(self, page: str | None = None, /) -> IncomingPage:
        """Ask for one page, in the provider's order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OptOut:
    """A number that must not be sent to, as the provider knows it."""

    number: int
    reason: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OptOutPage:
    """One page of opt-outs."""

    opt_outs: Sequence[OptOut]
    next_page: str | None = None


@runtime_checkable
class KnowsOptOuts(Protocol):
    """Ability: lists who has opted out."""

    def opt_outs(self, page: str | None = None, /) -> OptOutPage:
        """Ask for one page."""
        ...


@runtime_checkable
class HostsMedia(Protocol):
    """Ability: hosts a file for MMS and returns where."""

    def share(self, name: str, media_type: str, data: bytes, /) -> str:
        """Upload a file and return its URL."""
        ...


@runtime_checkable
class ReadsTemplates(Protocol):
    """Ability: keeps texts that a campaign can be built from."""

    def template_text(self, template_id: str, /) -> str:
        """Return a template's text with its fields as our {field} placeholders."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactPage:
    """One page of people kept at the provider, as rows for planning: `phone` and whatever else is known."""

    rows: Sequence[Mapping[str, str]]
    next_page: str | None = None


@runtime_checkable
class ReadsContacts(Protocol):
    """Ability: keeps people under tags that a campaign can be sent to."""

    def contacts_with_tag(self, tag: str, page: str | None = None, /) -> ContactPage:
        """Ask for one page of those with a tag."""
        ...


@runtime_checkable
class RenewsSubscriptions(Protocol):
    """Ability: has event subscriptions that expire."""

    def renew_subscriptions(self, *, now: datetime, ahead: timedelta) -> Sequence[str]:
        """Renew those of ours that expire within `ahead`, and return their ids."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcePage:
    """One page of a listed resource, each item as the provider gives it."""

    items: Sequence[Mapping[str, Any]]
    next_page: str | None = None


Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Something that a provider keeps, with the documented calls on it; a call that is None does not exist.

    Each call makes one request. `filters` are the words that `find` understands, `key` says what names one item.
    """

    name: str  # on the command line: contacts
    key: str  # "the contact's id"
    filters: Sequence[str] = ()
    find: Callable[[Mapping[str, str], str | None], ResourcePage] | None = None
    show: Callable[[str], Item] | None = None
    create: Callable[[Item], Item] | None = None
    update: Callable[[str, Item], Item] | None = None
    delete: Callable[[str], Item] | None = None
    actions: Mapping[str, Callable[[str], Item]] = field(default_factory=dict)  # close, stop: on one item, by its key
    # upload: (file name, content, options) → what came of it
    uploads: Mapping[str, Callable[[str, bytes, Mapping[str, str]], Item]] = field(default_factory=dict)


@runtime_checkable
class HasResources(Protocol):
    """Ability: offers the documented calls on what it keeps."""

    def resources(self) -> Sequence[Resource]:
        """Return them all; nothing is called yet."""
        ...
