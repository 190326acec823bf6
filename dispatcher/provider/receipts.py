"""What became of messages, asked for and told in columns: one list a field, one entry a message, all of one length."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol, overload, runtime_checkable

from dispatcher.message import MessageState


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


@runtime_checkable
class FetchesReceipts(Protocol):
    """Ability: tells the fate of messages when asked."""

    def fetch_receipts(self, awaited: Sequence[Awaited], page: str | None = None, /) -> ReceiptPage:
        """Ask once for up to `ids_per_receipt_request` messages; a message it says nothing about is left out.

        They come as `AwaitedMessages`: whoever asks for a thousand at once takes its columns, and gives `Receipts`.
        """
        ...
