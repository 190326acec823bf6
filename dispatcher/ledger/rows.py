"""The plain values that go into the ledger and come out of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from dispatcher.batch import BatchState
from dispatcher.campaign import CampaignState
from dispatcher.message import MessageState


class Exclusion(StrEnum):
    """Why an input row did not become a message."""

    DUPLICATE = "duplicate"
    INVALID = "invalid"
    SUPPRESSED = "suppressed"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCampaign:
    """A campaign as it is before its recipients are planned."""

    public_id: str
    name: str
    provider: str
    template: str
    personalised: bool
    created_at: datetime
    key: str | None = None
    sender: str | None = None
    send_at: datetime | None = None
    country: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    rules: Mapping[str, Any] = field(default_factory=dict)  # what the owner asked for, see Campaign.rules
    brand: str = ""
    fallbacks: Sequence[str] = ()
    priority: int = 0
    expires_at: datetime | None = None
    budget: Decimal | None = None
    segment_price: Decimal | None = None
    retry_of: str | None = None
    adds_to: int | None = None
    variants: Mapping[str, str] = field(default_factory=dict)  # name → text


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBatch:
    """The messages of one future request, in columns of equal length."""

    numbers: Sequence[int]  # E.164 without the plus
    rows: Sequence[int]  # input rows, the first data row is 1
    segments: Sequence[int]
    fields: (
        bytes | None
    )  # template.pack_fields of the columns that the template uses; None where one text goes to all
    due_at: datetime  # not released before
    send_at: datetime | None = None  # wanted at the recipient's; for a provider that schedules
    zone: str | None = None  # the recipients' time zone, where it makes a difference
    variant: str | None = None  # which of the campaign's texts; None: its own


@dataclass(frozen=True, slots=True, kw_only=True)
class ExcludedRow:
    """An input row that did not become a message, and why."""

    row: int
    kind: Exclusion
    number: str  # as it stood in the file
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTotals:
    """What a finished plan came to; `rows` is the sum of the four that follow."""

    rows: int = 0
    messages: int = 0
    duplicates: int = 0
    invalid: int = 0
    suppressed: int = 0
    batches: int = 0
    segments: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """A campaign as the ledger has it."""

    id: int
    public_id: str
    key: str | None
    name: str
    provider: str
    sender: str | None
    template: str
    personalised: bool
    state: CampaignState
    reason: str | None
    send_at: datetime | None
    country: str | None  # of numbers that do not say theirs
    options: Mapping[str, str]
    rules: Mapping[str, Any]  # JSON values by rule: window, quiet, spread, canary, breaker…
    brand: str  # whose suppression list counts beside the global one; "" for none
    fallbacks: Sequence[str]  # the providers that take over, in their order
    priority: int
    released_through: int | None  # only batches up to this number may be claimed
    expires_at: datetime | None
    budget: Decimal | None
    segment_price: Decimal | None  # what a segment is thought to cost
    committed: Decimal  # what is spent or reserved
    retry_of: str | None
    erased_at: datetime | None
    totals: PlanTotals
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What the settings say of the money at a provider, in its own unit: for a day (UTC), and for a segment."""

    per_day: Decimal | None = None
    price: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A batch held under a lease by one worker: proof of the right to attempt it."""

    batch_id: int
    number: int
    campaign_id: int
    campaign: str
    provider: str
    attempt: int  # fences: each claim has one of its own, and an outcome counts only under the last
    tried: int  # how many attempts were made before
    owner: str
    messages: int
    segments: int
    send_at: datetime | None
    allowance: Allowance | None = None  # where its money is watched
    fallbacks: bool = False  # whether another provider can take over
    unreached: bool = False  # whether the last attempts reached nobody, where that is counted
    zone: str | None = None
    rules: Mapping[str, Any] = field(default_factory=dict)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The batch at the head of a provider's queue: what its permit must be for."""

    segments: int
    options: bool  # whether its campaign has options, which may need calls beforehand


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchContent:
    """What a claimed batch is to say to whom, in columns; only the messages that are still queued."""

    positions: Sequence[int]
    numbers: Sequence[int]
    rows: Sequence[int]
    segments: Sequence[int]
    fields: bytes | None
    template: str
    personalised: bool
    sender: str | None
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitedReceipts:
    """The messages of one batch whose fate is not known yet, in columns."""

    batch_id: int
    campaign: str
    provider_reference: str | None
    submitted_at: datetime
    asked_at: datetime | None
    until: datetime
    message_ids: Sequence[int]
    numbers: Sequence[int]
    rows: Sequence[int]
    provider_message_ids: Sequence[str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What has become of a campaign: every state is present, with 0 where there is none."""

    messages: Mapping[MessageState, int]
    batches: Mapping[BatchState, int]
    cost: Decimal
    refunded: Decimal
    segments_submitted: int
    reasons: Mapping[tuple[str, str], int] = field(default_factory=dict)  # (state, reason) → messages


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportLine:
    """The fate of one input row. `state` is a message state, or the kind of exclusion."""

    row: int
    number: str
    state: str
    reason: str | None = None
    provider_message_id: str | None = None
    batch: int | None = None
    submitted_at: datetime | None = None
    settled_at: datetime | None = None
    segments: int | None = None
    cost: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became of one message, for sums over many: times in seconds since 1970."""

    provider: str  # who has it, or is to have it
    number: int  # negative where only a pseudonym is left
    state: str
    reason: str | None
    began_at: float | None  # submitted, or due at the provider where that is later
    settled_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SentTo:
    """Some messages of one batch with what their text was made of, in columns; `positions` are those in `fields`."""

    rows: Sequence[int]
    numbers: Sequence[int]
    positions: Sequence[int]
    fields: bytes | None
    variant: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One request to submit a batch: when it began, how many seconds it took, what it carried."""

    began_at: datetime
    provider: str
    seconds: float | None
    messages: int
    segments: int
    outcome: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of the audit trail."""

    at: datetime
    who: str
    subject: str  # campaign, batch, message, suppression
    what: str
    campaign: str | None = None
    batch: int | None = None
    message: int | None = None
    before: str | None = None
    after: str | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSeen:
    """The last sign of life of a worker process."""

    name: str
    started_at: datetime
    seen_at: datetime
    worked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """A number that nothing may be sent to. `source` is who said so: a provider, or a person."""

    number: int
    reason: str
    source: str
    since: datetime
    brand: str = ""  # in whose name nothing may be sent to it; "": in nobody's


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A batch of which nobody can say whether it, or some of it, was accepted."""

    batch_id: int
    number: int
    campaign_id: int
    campaign: str
    provider: str
    attempt: int
    whole: bool  # the whole batch is unknown; else only some messages that an answer left out
    messages: int  # that are unknown
    attempted_at: datetime
    scheduled_for: datetime | None
    reason: str | None
