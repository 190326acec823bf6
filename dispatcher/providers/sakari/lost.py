"""Finds a batch whose answer was lost in Sakari's list of messages: weak evidence, since nothing of ours is in it.

A message is taken for ours by its number, its text, and that it was created by the attempt or after it. The list is
read back to the time of the attempt; its order is U, so it is believed only as far as the rows themselves are in order.

Messages may be created one by one while a job expands (I), so those that are not there yet are looked for again.
"Absent" may lead to a second submission, which Sakari may not tell from the first (K: there is an error MSG-024 for
a duplicate; U: of what). So nothing is called absent unless the list was read without a gap beyond the time of the
attempt, and nothing else in it went to one of these numbers since then, whatever it reads. What is left of the
danger is a job that begins to expand later than the absence was seen: `lookup_grace_seconds`, counted from the end of
the request's time-out (U, hence 15 minutes). Without a grace nothing is sent again, and a person decides.

Marks in this file: K the vendor's document (v1.0.1) says so, I inferred, U unknown.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from dispatcher.provider import Answers, LookUp, OutgoingBatch, Verdict
from dispatcher.providers.sakari import wire
from dispatcher.providers.sakari.message import (
    Message,
    MessagesAnswer,
    decimal,
    flag,
    moment,
    next_offset,
    number_of,
    word,
)
from dispatcher.providers.sakari.receipts import PAGE

SKEW = timedelta(minutes=1)
"""By how much a message may seem older than the attempt."""

_KEPT = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The list as far as it was read; `whole` if nothing that was created since can be missing from it."""

    messages: Sequence[Message]
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A list that was read for one lost batch, and may tell of others: many answers are lost together."""

    listing: Listing
    since: datetime  # how far back
    began: datetime

    def tells_of(self, attempted_at: datetime, *, over: timedelta, now: datetime) -> bool:
        """Whether it was read far enough back, once that attempt was `over`, and not long ago."""
        far = self.listing.whole and self.since <= attempted_at - SKEW
        return far and attempted_at + over < self.began <= now < self.began + _KEPT


def read(page: Callable[[int], MessagesAnswer], since: datetime, *, pages: int, wait: Callable[[], None]) -> Listing:
    """Read the list from its newest message back to the first that was created before `since`.

    A list that begins with the oldest is read from its end. Each page has to touch the one before.

    Raises:
        ProviderError: a page cannot be had.
    """
    found: dict[str, Message] = {}
    newest_first: list[datetime | None] = []
    whole, backwards = True, False
    offset, lowest, edge, last = 0, 0, 0, ""
    for number in range(pages):
        wait()
        answer = page(offset)
        rows = [row for row in answer.data or () if row is not None and word(row.id)]
        ids = [word(row.id) for row in rows]
        fresh = [moment(row.created) for row, theirs in zip(rows, ids, strict=True) if theirs not in found]
        found |= dict(zip(ids, rows, strict=True))
        end = offset + len(answer.data or ())
        total = None if answer.pagination is None else answer.pagination.total_count
        whole = whole and len(rows) == len(answer.data or ())  # what has no id cannot be told from the rest
        if not number and total is not None and total > end and _rises(fresh):
            offset, lowest, edge, backwards = max(total - PAGE, end), end, total, True
            continue
        whole = whole and (end >= edge if backwards else not last or last in ids)
        newest_first += reversed(fresh) if backwards else fresh
        if not whole or _reaches(newest_first, since):
            break
        if backwards:
            if offset <= lowest:
                break
            offset, edge = max(offset - PAGE, lowest), offset
        else:
            following = next_offset(answer.pagination, offset, len(ids), PAGE)
            if following is None:
                told = answer.pagination is not None and answer.pagination.has_next is False
                whole = told if total is None else end >= total
                break
            offset, last = following - 1, ids[-1]
    else:
        whole = False
    return Listing(messages=list(found.values()), whole=whole)


def _reaches(newest_first: Sequence[datetime | None], since: datetime) -> bool:
    """Whether times that were read from the newest on are in order, and have come to what was before."""
    return bool(newest_first) and _falls(newest_first) and any(at is not None and at < since for at in newest_first)


def judge(lost: OutgoingBatch, since: datetime, listing: Listing, field: wire.Field) -> LookUp:
    """Return what the list tells of a batch: of the messages that fit one of ours, the oldest.

    Raises:
        InvalidRequest: it is no batch that could have been sent.
    """
    template, texts = wire.template_of(lost, field)
    positions: defaultdict[int, list[int]] = defaultdict(list)
    for at, ours in enumerate(lost.numbers):
        positions[ours].append(at)
    without_country = {n % 10 ** (len(str(n)) - digits) for n in lost.numbers for digits in (1, 2, 3)}
    ids: list[str | None] = [None] * len(lost)
    costs: list[Decimal | None] = [None] * len(lost)
    taken: set[int] = set()
    strange = 0
    rows = [(moment(row.created), row) for row in listing.messages if flag(row.outgoing) is not False]
    dated = sorted(rows, key=lambda one: one[0] or since)
    for created, row in dated:
        if created is not None and created < since:
            continue
        number = number_of(row.contact)
        if number is None or created is None or flag(row.outgoing) is None:
            strange += 1
            continue
        fitting = [
            at for at in positions.get(number, ()) if _reads(row, template, lost.text if texts is None else texts[at])
        ]
        free = [at for at in fitting if at not in taken]
        if free:
            taken.add(free[0])
            ids[free[0]], costs[free[0]] = word(row.id), decimal(row.price)
        elif not fitting:
            strange += number in positions or number in without_country
    missing = frozenset(range(len(lost))) - taken
    seen = f"{len(taken)} of {len(lost)} messages are among the {len(listing.messages)} latest"
    if taken:
        answers = Answers(
            provider_message_ids=ids,
            costs=costs,
            missing=missing,
            provider_reference=wire.reference("job", "-", since=int(since.timestamp()), template=template),
        )
        return LookUp(verdict=Verdict.FOUND, evidence=seen, answers=answers)
    if strange:
        why = f"{seen}, but {strange} others could be of it"
        return LookUp(verdict=Verdict.UNCLEAR, evidence=why)
    if not listing.whole:
        return LookUp(verdict=Verdict.UNCLEAR, evidence=f"{seen}, and it was not read back to the attempt")
    return LookUp(verdict=Verdict.ABSENT, evidence=seen)


def _reads(row: Message, template: str, text: str | None) -> bool:
    """Whether a message says a text: by itself, or with words that Sakari adds where its template is ours."""
    said, ours = " ".join((row.message or "").split()), " ".join((text or "").split())
    return said == ours or (row.template == template and (ours in said or template == text))


def _falls(times: Sequence[datetime | None]) -> bool:
    known = [time for time in times if time is not None]
    return len(known) == len(times) and all(a >= b for a, b in pairwise(known))


def _rises(times: Sequence[datetime | None]) -> bool:
    return len(times) > 1 and _falls(times[::-1]) and times[0] != times[-1]
