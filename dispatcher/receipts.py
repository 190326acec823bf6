"""Polls delivery receipts and the state of what is scheduled at a provider, and writes down what it learns."""

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from dispatcher.account import ENDLESS, MOST_PAGES, PATIENCE, Account
from dispatcher.errors import ProviderError, Throttled
from dispatcher.ledger import AwaitedReceipts
from dispatcher.message import MessageState, References
from dispatcher.provider import AwaitedMessages, Capabilities, FetchesReceipts, Receipts, Schedules

log = logging.getLogger(__name__)

_NO_THROUGHPUT = "throughput: sending goes first"
_MORE = "more is due"
_AT_ONCE = 100
_QUESTIONS_AT_ONCE = 16
_WORTH_A_COMMIT = 2000
_BEHIND = 4
"""Commits by which writing may be behind asking, after all that was due at once has been asked for."""

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
    """Ask for every message that is due, young ones first, for at most about `seconds`.

    While one question is under way, a second thread reads what is due after that, and writes down what came before.
    """
    a = account
    if not isinstance(a.provider, FetchesReceipts):
        return Polled(provider=a.name, left="it cannot be asked for receipts")
    polled = Polled(provider=a.name)
    until = a.monotonic() + seconds
    can = a.provider.capabilities
    unlimited = not (a.limits.requests_per_second or a.limits.segments_per_second)
    at_once = can.ids_per_receipt_request * (_QUESTIONS_AT_ONCE if unlimited else 1)
    written: deque[Future[int]] = deque()
    left: str | None = None
    with ThreadPoolExecutor(max_workers=1) as ledger:

        def read(besides: Sequence[AwaitedReceipts]) -> Future[list[AwaitedReceipts]]:
            ids = [batch.batch_id for batch in besides]
            return ledger.submit(
                a.ledger.receipts.due, a.name, now=a.clock(), most=max(at_once, _AT_ONCE), besides=ids
            )

        coming = read([])
        while left is None and (due := coming.result()):
            if a.monotonic() >= until:
                left = _MORE
                break
            coming = read(due)
            heap = _Heap(due)
            for question in _questions(due, can):
                asked = _ask(a, a.provider, question, max_wait=max_wait)
                heap.add(question, asked)
                polled = replace(
                    polled,
                    requests=polled.requests + asked.requests,
                    messages=polled.messages + (len(question) if asked.requests else 0),
                )
                left = asked.left or (_MORE if a.monotonic() > until else None)
                if left is not None:
                    break
                # Where each question is about one message, commits would cost more than asking.
                if len(heap) >= _WORTH_A_COMMIT:
                    written.append(ledger.submit(_apply, a, *heap.taken(), every))
            written.append(ledger.submit(_apply, a, *heap.taken(), every))
            while len(written) > _BEHIND or (written and written[0].done()):
                polled = replace(polled, settled=polled.settled + written.popleft().result())
        return replace(polled, settled=polled.settled + sum(one.result() for one in written), left=left)


class _Heap:
    """What has been asked and learned, and is not written down yet."""

    def __init__(self, due: Sequence[AwaitedReceipts]) -> None:
        self._due = list(due)
        self._receipts: list[Receipts] = []
        self._asked: set[int] = set()
        self._many = 0

    def __len__(self) -> int:
        return self._many

    def add(self, question: AwaitedMessages, asked: "_Asked") -> None:
        """Put down one question with what it brought."""
        self._receipts += asked.receipts
        self._many += sum(map(len, asked.receipts))
        if asked.counts:
            self._asked.update(question.message_ids)

    def taken(self) -> tuple[Receipts, list[AwaitedReceipts]]:
        """Take it all away: the receipts, and the batches all of whose messages have been asked for."""
        done: list[AwaitedReceipts] = []
        left: list[AwaitedReceipts] = []
        for batch in self._due:
            (done if self._asked.issuperset(batch.message_ids) else left).append(batch)
        receipts = Receipts.joined(self._receipts) if self._receipts else Receipts.of([])
        self._due, self._receipts, self._many = left, [], 0
        return receipts, done


def _questions(due: Sequence[AwaitedReceipts], can: Capabilities) -> Iterator[AwaitedMessages]:
    """Put what is due into questions that one request (and its pages) can carry."""
    if can.receipts_by_batch:
        yield from map(_awaited, due)
        return
    asked = [_awaited(batch) for batch in due]
    together = (
        asked[0]
        if len(asked) == 1
        else AwaitedMessages(
            message_ids=[one for part in asked for one in part.message_ids],
            numbers=[one for part in asked for one in part.numbers],
            references=References.joined([References(batch.campaign, batch.rows) for batch in due]),
            provider_message_ids=[one for part in asked for one in part.provider_message_ids],
            provider_references=[one for part in asked for one in part.provider_references],
        )
    )
    for start in range(0, len(together), can.ids_per_receipt_request):
        yield together[start : start + can.ids_per_receipt_request]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What one question brought; it `counts` as asked also where the provider failed, so that it is not asked at once."""

    receipts: Sequence[Receipts]
    requests: int
    left: str | None = None
    counts: bool = True


def _ask(a: Account, provider: FetchesReceipts, awaited: AwaitedMessages, *, max_wait: float) -> _Asked:
    """Ask for some messages, page after page, until all of them were seen or there is no more."""
    receipts: list[Receipts] = []
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
        page = found.next_page
        told = Receipts.of(found.receipts)
        receipts.append(told)
        if page is None:
            return _Asked(receipts=receipts, requests=requests)
        seen = set(told.message_ids)
        awaited = awaited.at([at for at, one in enumerate(awaited.message_ids) if one not in seen])
        if not awaited:
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


def _awaited(batch: AwaitedReceipts) -> AwaitedMessages:
    return AwaitedMessages(
        message_ids=batch.message_ids,
        numbers=batch.numbers,
        references=References(batch.campaign, batch.rows),
        provider_message_ids=batch.provider_message_ids,
        provider_references=[batch.provider_reference] * len(batch.message_ids),
    )


def _apply(a: Account, receipts: Receipts, asked: Sequence[AwaitedReceipts], every: timedelta) -> int:
    if MessageState.SUBMITTED in receipts.states:
        receipts = receipts.at(
            [at for at, state in enumerate(receipts.states) if state is not MessageState.SUBMITTED]
        )
    now = a.clock()
    again = {batch.batch_id: min(next_question(batch.submitted_at, now, every), batch.until) for batch in asked}
    return a.ledger.receipts.apply(receipts, asked=again, who=a.who, now=now)
