"""Polls delivery receipts and the state of what is scheduled at a provider, and writes down what it learns."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from dispatcher.account import ENDLESS, MOST_PAGES, PATIENCE, Account
from dispatcher.errors import ProviderError, Throttled
from dispatcher.ledger import AwaitedReceipts, Settlement
from dispatcher.message import MessageState, reference
from dispatcher.provider import Awaited, Capabilities, FetchesReceipts, Receipt, Schedules

log = logging.getLogger(__name__)

_NO_THROUGHPUT = "throughput: sending goes first"
_AT_ONCE = 100
_LONGEST_PAUSE = timedelta(hours=1)
_AGE_SHARE = 10
"""A message is asked for again after a tenth of its age, so that old ones cost little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """What one poll did. `left` tells why it ended before all that was due had been asked for."""

    provider: str
    requests: int = 0
    messages: int = 0
    settled: int = 0
    left: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledState:
    """How the ledger and the provider compare: what the provider should hold to send later, and what it holds."""

    provider: str
    scheduled: int  # in the ledger
    missing: int  # in the ledger, not at the provider
    foreign: int  # at the provider, not in the ledger
    left: str | None = None


def next_question(submitted_at: datetime, now: datetime, every: timedelta) -> datetime:
    """Return when to ask again for messages submitted at `submitted_at`: soon while they are young."""
    return now + min(max(every, (now - submitted_at) / _AGE_SHARE), _LONGEST_PAUSE)


def poll(account: Account, *, every: timedelta, seconds: float = 20.0, max_wait: float = 2.0) -> Polled:
    """Ask for every message that is due, young ones first, for at most about `seconds`."""
    a = account
    if not isinstance(a.provider, FetchesReceipts):
        return Polled(provider=a.name, left="it cannot be asked for receipts")
    polled = Polled(provider=a.name)
    until = a.monotonic() + seconds
    can = a.provider.capabilities
    while a.monotonic() < until:
        due = a.ledger.receipts.due(a.name, now=a.clock(), most=max(can.ids_per_receipt_request, _AT_ONCE))
        if not due:
            return polled
        receipts: list[Receipt] = []
        asked_for: set[int] = set()
        left: str | None = None
        for question in _questions(due, can):
            asked = _ask(a, a.provider, question, max_wait=max_wait)
            receipts += asked.receipts
            left = asked.left
            if asked.counts:
                asked_for.update(one.message_id for one in question)
            polled = replace(
                polled,
                requests=polled.requests + asked.requests,
                messages=polled.messages + (len(question) if asked.requests else 0),
                left=left,
            )
            if left is not None or a.monotonic() > until:
                break
        # One commit for many questions: where each is about one message, commits would cost more than asking.
        done = [batch for batch in due if asked_for.issuperset(batch.message_ids)]
        polled = replace(polled, settled=polled.settled + _apply(a, receipts, done, every))
        if left is not None:
            return polled
    return replace(polled, left="more is due")


def _questions(due: Sequence[AwaitedReceipts], can: Capabilities) -> Iterator[list[Awaited]]:
    """Put what is due into questions that one request (and its pages) can carry."""
    if can.receipts_by_batch:
        yield from map(_awaited, due)
        return
    awaited = [one for batch in due for one in _awaited(batch)]
    for start in range(0, len(awaited), can.ids_per_receipt_request):
        yield awaited[start : start + can.ids_per_receipt_request]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What one question brought; it `counts` as asked also where the provider failed, so that it is not asked at once."""

    receipts: Sequence[Receipt]
    requests: int
    left: str | None = None
    counts: bool = True


def _ask(a: Account, provider: FetchesReceipts, awaited: Sequence[Awaited], *, max_wait: float) -> _Asked:
    """Ask for some messages, page after page, until all of them were seen or there is no more."""
    receipts: list[Receipt] = []
    requests = 0
    page: str | None = None
    while True:
        # What has begun is waited for: the next poll would begin at the first page again.
        if not a.wait_to_look_up(max_wait=max_wait if page is None else PATIENCE):
            return _Asked(receipts=receipts, requests=requests, left=_NO_THROUGHPUT, counts=False)
        requests += 1
        try:
            found = provider.fetch_receipts(awaited, page)
        except ProviderError as error:
            if isinstance(error, Throttled):
                a.throttled(error.retry_after)
            log.warning("receipts.failed provider=%s why=%s", a.name, error)
            return _Asked(receipts=receipts, requests=requests, left=str(error))
        receipts += found.receipts
        page = found.next_page
        seen = {receipt.message_id for receipt in found.receipts}
        awaited = [one for one in awaited if one.message_id not in seen]
        if page is None or not awaited:
            return _Asked(receipts=receipts, requests=requests)
        if requests >= MOST_PAGES:
            return _Asked(receipts=receipts, requests=requests, left=ENDLESS)


def compare_scheduled(account: Account, *, max_wait: float = 2.0) -> ScheduledState | None:
    """Compare what the provider holds to send later with the ledger; None where it has no schedule.

    Differences are told, never acted on: a person may have removed messages at the provider.
    """
    a = account
    if not isinstance(a.provider, Schedules):
        return None
    name = a.name
    expected = a.ledger.receipts.scheduled(name, now=a.clock() + timedelta(minutes=1))
    if not expected:
        return ScheduledState(provider=name, scheduled=0, missing=0, foreign=0)
    held: set[str] = set()
    page: str | None = None
    pages = 0
    while True:
        pages += 1
        left = None if a.wait_to_look_up(max_wait=max_wait if page is None else PATIENCE) else _NO_THROUGHPUT
        if left is None:
            try:
                found = a.provider.list_scheduled(page)
            except ProviderError as error:
                left = str(error)
        if left is not None:
            return ScheduledState(provider=name, scheduled=len(expected), missing=0, foreign=0, left=left)
        held.update(message.provider_message_id for message in found.messages)
        page = found.next_page
        if page is None:
            break
        if pages >= MOST_PAGES:
            return ScheduledState(provider=name, scheduled=len(expected), missing=0, foreign=0, left=ENDLESS)
    missing: dict[str, int] = {}
    for provider_message_id, (_, campaign) in expected.items():
        if provider_message_id not in held:
            missing[campaign] = missing.get(campaign, 0) + 1
    for campaign, many in sorted(missing.items()):
        why = f"{many} messages that {name} should hold to send later are not in its list"
        if a.ledger.receipts.tell_once(campaign, what="scheduled state", why=why, who=a.who, now=a.clock()):
            log.warning("scheduled.missing campaign=%s messages=%d", campaign, many)
    return ScheduledState(
        provider=name,
        scheduled=len(expected),
        missing=sum(missing.values()),
        foreign=len(held - expected.keys()),
    )


def _awaited(batch: AwaitedReceipts) -> list[Awaited]:
    return [
        Awaited(
            message_id=message_id,
            number=number,
            reference=reference(batch.campaign, row),
            provider_message_id=provider_message_id,
            provider_reference=batch.provider_reference,
        )
        for message_id, number, row, provider_message_id in zip(
            batch.message_ids, batch.numbers, batch.rows, batch.provider_message_ids, strict=True
        )
    ]


def _apply(a: Account, receipts: Sequence[Receipt], asked: Sequence[AwaitedReceipts], every: timedelta) -> int:
    settlements = [
        Settlement(
            message_id=receipt.message_id,
            state=receipt.state,
            reason=receipt.reason,
            at=receipt.at,
            cost=receipt.cost,
        )
        for receipt in receipts
        if receipt.state is not MessageState.SUBMITTED
    ]
    now = a.clock()
    again = {batch.batch_id: min(next_question(batch.submitted_at, now, every), batch.until) for batch in asked}
    return a.ledger.receipts.apply(settlements, asked=again, who=a.who, now=now)
