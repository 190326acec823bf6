"""What a provider can do beyond submitting: each ability is a protocol, and exists if the method does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Protocol, runtime_checkable

from dispatcher.provider.submitting import Answers, OutgoingBatch


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


@runtime_checkable
class Prepares(Protocol):
    """Ability: needs idempotent calls before a batch can be submitted; nothing is sent by them."""

    def prepare(self, batch: OutgoingBatch, /) -> None:
        """Bring the provider to where `submit(batch)` is the one request that remains; harmless to repeat."""
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


@runtime_checkable
class RenewsSubscriptions(Protocol):
    """Ability: has event subscriptions that expire."""

    def renew_subscriptions(self, *, now: datetime, ahead: timedelta) -> Sequence[str]:
        """Renew those of ours that expire within `ahead`, and return their ids."""
        ...
