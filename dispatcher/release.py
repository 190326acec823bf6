"""Decides which batches may go now, and how: handed to the provider to send later, sent at once, or held here."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from dispatcher.hours import LocalHours, Stretch, from_rules, parse_place
from dispatcher.ledger import Allowance, Campaign, Ledger
from dispatcher.provider import Capabilities
from dispatcher.throughput import Limits

SLICE = "slice"
"""The family of leases that count the slices of work under way: `slice.<provider>:<n>`."""

MAX_WAIT = 1.0
"""Seconds ahead that a submission books throughput, at most."""

BEAT = "beat"
"""The name under which the periodic schedule gives its sign of life."""

_TIME_TO_FIND = timedelta(minutes=1)
_ALIVE = timedelta(seconds=20)
_NEVER_OPEN = timedelta(days=1)
"""So long a batch is held for which there is no opening in sight; then the calendar is asked again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """How a batch may go: not before `due_at`; scheduled at the provider where `scheduled_for` is set."""

    due_at: datetime
    scheduled_for: datetime | None = None
    until: datetime | None = None  # no request may leave from then on; None: there is no such limit
    why: str = "held until its time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Messages of a campaign that wait for the hours of a place to begin."""

    until: datetime
    hours: LocalHours
    messages: int


def handover(
    send_at: datetime | None,
    capabilities: Capabilities,
    *,
    now: datetime,
    hours: LocalHours | None = None,
    reconcilable: bool = False,
    expires_at: datetime | None = None,
) -> Handover:
    """Return how a batch wanted at `send_at` goes, as things stand at `now`.

    The provider holds it where it has a schedule that can express the time and reach it; else the ledger does,
    exact to the second. With `hours` it goes within them: what waits for them to begin is held in the ledger.
    `reconcilable` asks for a schedule even where it could go at once. What would go when it has expired never does.
    """
    wanted = now if send_at is None else max(send_at, now)
    until = None
    if hours is not None:
        stretch = hours.stretch(wanted)
        if stretch is None:
            return Handover(due_at=now + _NEVER_OPEN, why=f"held: no hour is open in {hours.place}")
        wanted, until = stretch.begin, stretch.end
    if wanted <= now:
        scheduled_for = reconcilable_at(capabilities, now=now) if reconcilable else None
        if scheduled_for is not None and hours is not None and not hours.is_open(scheduled_for):
            later = hours.stretch(scheduled_for)
            return _held(now + _NEVER_OPEN if later is None else later.begin, hours)
        way = Handover(due_at=now, scheduled_for=scheduled_for, until=until)
    elif send_at is None or send_at <= now:
        assert hours is not None
        return _held(wanted, hours)
    else:
        ahead = capabilities.schedule_ahead
        whole = (wanted - datetime(1970, 1, 1, tzinfo=UTC)) % capabilities.schedule_step == timedelta(0)
        if ahead is None or not whole or wanted - now < capabilities.schedule_least:
            return Handover(due_at=wanted)
        way = Handover(due_at=max(now, wanted - ahead), scheduled_for=wanted)
    if way.scheduled_for is not None and expires_at is not None and way.scheduled_for >= expires_at:
        return Handover(due_at=max(now, expires_at), why="it expires before the provider would send it")
    return way


def _held(until: datetime, hours: LocalHours) -> Handover:
    return Handover(due_at=until, why=f"held until {hours.local(until):%H:%M} in {hours.place}")


def reconcilable_at(capabilities: Capabilities, *, now: datetime) -> datetime | None:
    """Return the first moment to schedule a batch for that leaves time to find it if its answer is lost.

    None where the provider has no schedule of its own.
    """
    if capabilities.schedule_ahead is None:
        return None
    step = capabilities.schedule_step
    earliest = now + capabilities.schedule_least + _TIME_TO_FIND
    return earliest + (datetime(1970, 1, 1, tzinfo=UTC) - earliest) % step


def local_hours(rules: Mapping[str, Any], zone: str | None) -> LocalHours | None:
    """Return the hours of a batch by its campaign's rules and its zone; None where it may go at any time."""
    hours = None if zone is None else from_rules(rules)
    return None if hours is None or zone is None else LocalHours(hours=hours, place=parse_place(zone))


def pace(
    ledger: Ledger,
    campaign_id: int,
    *,
    rules: Mapping[str, Any],
    batches: int,
    start: datetime,
    pauses: Sequence[tuple[datetime, datetime]] = (),
) -> None:
    """Let what is pending of a campaign of so many batches go from `start` on, at the even pace that its rules ask for.

    Only open hours count, and of them those that it was not paused: what does not fit into a place's day goes on where
    its next one begins.
    """
    if "spread" not in rules or not batches:
        return
    step = timedelta(seconds=rules["spread"]) / batches
    over = step * batches
    for zone in ledger.timing.zones(campaign_id):
        hours = local_hours(rules, zone)
        lost = sum((_open_time(hours, max(begin, start), end) for begin, end in pauses), timedelta(0))
        passed = timedelta(0)
        for stretch in _stretches(hours, start, start + lost + over):
            length = stretch.end - stretch.begin
            begin, end = max(passed, lost), min(passed + length, lost + over)
            if begin < end:
                at = stretch.begin + (begin - passed)
                ledger.timing.pace(campaign_id, zone=zone, step=step, begin=begin - lost, end=end - lost, at=at)
            passed += length
            if passed >= lost + over:
                break


def pace_anew(ledger: Ledger, campaign: Campaign, *, now: datetime) -> None:
    """Move what is left of a paced campaign on by as long as it was paused, so that it does not go in one burst."""
    live, pauses = ledger.timing.begun(campaign.id)
    if live is not None:
        pace(
            ledger,
            campaign.id,
            rules=campaign.rules,
            batches=campaign.totals.batches,
            start=live if campaign.send_at is None else max(live, campaign.send_at),
            pauses=[(begin, end or now) for begin, end in pauses],
        )


def _stretches(hours: LocalHours | None, begin: datetime, end: datetime) -> Iterable[Stretch]:
    return [Stretch(begin=begin, end=end)] if hours is None else hours.stretches(begin)


def _open_time(hours: LocalHours | None, begin: datetime, end: datetime) -> timedelta:
    """Return how much of a time is within the hours."""
    found = timedelta(0)
    for stretch in _stretches(hours, begin, end):
        if stretch.begin >= end:
            break
        found += min(stretch.end, end) - stretch.begin
    return found


def held(ledger: Ledger, campaign: Campaign, *, now: datetime) -> list[Held]:
    """Return what of a campaign waits for hours to begin, the soonest first.

    What is not due for another reason (its send time, its pace) waits for no hours, and is not told of.
    """
    if from_rules(campaign.rules) is None or (campaign.send_at is not None and campaign.send_at > now):
        return []
    found = []
    for zone, due_at, messages in ledger.timing.waiting(campaign.id):
        hours = local_hours(campaign.rules, zone)
        stretch = None if hours is None else hours.stretch(now)
        if hours is not None and stretch is not None and stretch.begin > now:
            found.append(Held(until=max(due_at, stretch.begin), hours=hours, messages=messages))
    return sorted(found, key=lambda one: one.until)


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


def worth_waking(wanted: int, limits: Limits, *, wait: float) -> int:
    """Return how many of the workers that are wanted could book throughput now, where a submission waits `wait` seconds.

    Many slices that wake to find everything booked cost more than those that send.
    """
    free = MAX_WAIT - wait
    if free <= 0:
        return 0
    rate = limits.requests_per_second
    return wanted if rate is None else min(wanted, max(1, math.ceil(free * rate)))
