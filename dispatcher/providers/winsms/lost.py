"""Finds a scheduled batch whose answer was lost in the list of what WinSMS holds to send later.

A row of that list has an id, a number, a send time and a submit time, the times in minutes; neither a text nor an id
of ours (K). So a row is taken for a message of the batch by its number, its send time, and when it was submitted.

"Absent" may lead to a second submission, which WinSMS does not tell from the first (K). So nothing is called absent
unless the whole list was read without a contradiction, long enough before the send time, and none of its rows could
mean the batch in another way. What is left of the danger is a first request that is carried out later than the
absence was seen, or that is listed later: `lookup_grace_seconds`, counted from the end of the request's time-out, is
how long that is taken to be possible (U). When a connection is cut, the system may go on for a minute or two to hand
over what was not acknowledged yet, and a proxy may keep a request for longer: the less sure a network is, the longer
the grace should be. Without a grace nothing is sent again, and a person decides.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dispatcher.provider import Answers, LookUp, OutgoingBatch, ScheduledMessage, Verdict

SKEW = timedelta(minutes=2)
"""By how much a submit time may seem earlier than the attempt."""
LEAVES = timedelta(minutes=1)
"""How long before the send time a message may have left the list already: their clock is not ours."""
MOST_PAGES = 200

Page = Callable[[int], tuple[Sequence[ScheduledMessage], int | None]]
"""Asks for the rows from an offset on; the second of what it returns is how many there are in all, where it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The list as it was read; `doubt` says why a message that is absent from it may be there all the same."""

    messages: Sequence[ScheduledMessage]
    doubt: str | None = None


def read(page: Page, wait: Callable[[], None]) -> Listing:
    """Read the list page by page, each page beginning with the last row of the one before.

    So a row that was taken out or put in before that place, which moves the rest, is seen even if the total is not
    changed by it.

    Raises:
        ProviderError: a page cannot be had.
    """
    found: dict[str, ScheduledMessage] = {}
    doubt: str | None = None
    offset, last, before = 0, "", None
    for number in range(MOST_PAGES):
        wait()
        rows, total = page(offset)
        if total is None:
            doubt = doubt or "it does not say how many there are"
        elif number and total != before:
            doubt = doubt or f"it grew from {before} to {total} rows while it was read"
        overlap = 1 if number else 0
        if overlap and (not rows or rows[0].provider_message_id != last):
            doubt = doubt or "it moved while it was read"
        if any(row.provider_message_id in found for row in rows[overlap:]):
            doubt = doubt or "a message is in it twice"
        found |= {row.provider_message_id: row for row in rows}
        end = offset + len(rows)
        if len(rows) <= overlap or total is None or end >= total:
            if total is not None and end != total:
                doubt = doubt or f"it has {end} rows and says {total}"
            return Listing(messages=list(found.values()), doubt=doubt)
        offset, last, before = end - 1, rows[-1].provider_message_id, total
    return Listing(messages=list(found.values()), doubt=doubt or f"it goes on after {MOST_PAGES} pages")


def judge(lost: OutgoingBatch, attempted_at: datetime, listing: Listing) -> LookUp:
    """Return what the list tells of a scheduled batch: one row a message, those that could be meant twice left out."""
    assert lost.scheduled_for is not None
    send_minute = -(-lost.scheduled_for.timestamp() // 60)  # it was rounded up when it was sent
    rows: defaultdict[int, list[ScheduledMessage]] = defaultdict(list)
    for row in listing.messages:
        if row.send_at.timestamp() // 60 == send_minute:
            rows[row.number].append(row)
    many = Counter(lost.numbers)
    ids: dict[int, list[str]] = {}
    strange = sum(len(rows[number]) for number in _without_country(lost.numbers) & rows.keys() - many.keys())
    for number in many.keys() & rows.keys():
        theirs = _nearest(rows[number], attempted_at)
        strange += len(rows[number])
        if theirs and (len(theirs) <= many[number] or _told_apart(theirs[many[number] - 1 :], attempted_at)):
            ids[number] = [row.provider_message_id for row in reversed(theirs[: many[number]])]
    adopted = [ids[number].pop() if ids.get(number) else None for number in lost.numbers]
    missing = frozenset(at for at, theirs in enumerate(adopted) if theirs is None)
    held = f"of {len(lost)} messages {len(lost) - len(missing)} are in the list of {len(listing.messages)} scheduled"
    if len(missing) < len(lost):
        answers = Answers(provider_message_ids=adopted, costs=[None] * len(lost), missing=missing)
        return LookUp(verdict=Verdict.FOUND, evidence=held, answers=answers)
    if strange:
        why = f"{held}, but {strange} to these numbers at that time could be of it"
        return LookUp(verdict=Verdict.UNCLEAR, evidence=why)
    if listing.doubt is not None:
        return LookUp(verdict=Verdict.UNCLEAR, evidence=f"{held}, but {listing.doubt}")
    return LookUp(verdict=Verdict.ABSENT, evidence=held)


def _nearest(rows: Sequence[ScheduledMessage], attempted_at: datetime) -> list[ScheduledMessage]:
    """Return the rows that were submitted by the attempt or after it, the nearest to it first."""
    since = _minute(attempted_at - SKEW)
    fitting = [row for row in rows if row.submitted_at is not None and row.submitted_at >= since]
    return sorted(fitting, key=lambda row: (*_distance(row, attempted_at), int(row.provider_message_id)))


def _told_apart(rows: Sequence[ScheduledMessage], attempted_at: datetime) -> bool:
    """Whether the first of some rows is nearer to the attempt than the second."""
    return _distance(rows[0], attempted_at) != _distance(rows[1], attempted_at)


def _distance(row: ScheduledMessage, attempted_at: datetime) -> tuple[bool, timedelta]:
    assert row.submitted_at is not None
    after = _minute(row.submitted_at) - _minute(attempted_at)
    return after < timedelta(0), abs(after)


def _minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


def _without_country(numbers: Sequence[int]) -> set[int]:
    """Return the numbers as a list that leaves the country code out would have them (one to three digits)."""
    return {number % 10 ** (len(str(number)) - digits) for number in numbers for digits in (1, 2, 3)}
