"""Decides which batches may go now, and how: handed to the provider to send later, sent at once, or held here."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dispatcher.ledger import Allowance, Ledger
from dispatcher.provider import Capabilities

SLICE = "slice"
"""The family of leases that count the slices of work under way: `slice.<provider>:<n>`."""

BEAT = "beat"
"""The name under which the periodic schedule gives its sign of life."""

_TIME_TO_FIND = timedelta(minutes=1)
_ALIVE = timedelta(seconds=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """How a batch may go: not before `due_at`; scheduled at the provider where `scheduled_for` is set."""

    due_at: datetime
    scheduled_for: datetime | None = None


def handover(send_at: datetime | None, capabilities: Capabilities, *, now: datetime) -> Handover:
    """Return how a batch wanted at `send_at` goes, as things stand at `now`.

    The provider holds it where it has a schedule that can express the time and reach it; else the ledger does,
    exact to the second.
    """
    if send_at is None or send_at <= now:
        return Handover(due_at=now)
    ahead = capabilities.schedule_ahead
    whole = (send_at - datetime(1970, 1, 1, tzinfo=UTC)) % capabilities.schedule_step == timedelta(0)
    if ahead is None or not whole or send_at - now < capabilities.schedule_least:
        return Handover(due_at=send_at)
    return Handover(due_at=max(now, send_at - ahead), scheduled_for=send_at)


def reconcilable_at(capabilities: Capabilities, *, now: datetime) -> datetime | None:
    """Return the first moment to schedule a batch for that leaves time to find it if its answer is lost.

    None where the provider has no schedule of its own.
    """
    if capabilities.schedule_ahead is None:
        return None
    step = capabilities.schedule_step
    earliest = now + capabilities.schedule_least + _TIME_TO_FIND
    return earliest + (datetime(1970, 1, 1, tzinfo=UTC) - earliest) % step


def slices(ledger: Ledger, *, wanted: int | None, threads: int, now: datetime) -> int:
    """Return how many slices of work may be under way for one provider: `wanted`, or half the threads of all workers.

    Half, so that a provider that hangs leaves the other half to the others.
    """
    if wanted is not None:
        return wanted
    alive = sum("/" in worker.name and now - worker.seen_at < _ALIVE for worker in ledger.leases.workers())
    return max(1, threads // 2) * max(1, alive)


def bells(ledger: Ledger, provider: str, *, slices: int, now: datetime, allowance: Allowance | None = None) -> int:
    """Return how many workers to wake for a provider: one a due batch, up to the slices that are free."""
    if allowance is not None and ledger.spending.held(provider, allowance, now=now) is not None:
        return 0
    free = slices - ledger.leases.held(f"{SLICE}.{provider}", now=now)
    return ledger.batches.due(provider, now=now, most=free) if free > 0 else 0
