"""Lost batches at WinSMS: what its list of scheduled messages proves, and what it does not."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dispatcher.errors import Unreachable
from dispatcher.provider import LookUp, OutgoingBatch, ScheduledMessage, Verdict
from dispatcher.providers.winsms import Settings, WinSMS, lost
from tests.misbehaving import Server, answer
from tests.providers.rows import batch_of
from tests.providers.vendor import Vendor

A, B, C = 27820000001, 27820000002, 27820000003
AT = datetime(2026, 12, 1, 9, 0, 30, tzinfo=UTC)
"""When the batch was attempted."""
SEND = datetime(2026, 12, 1, 9, 4, tzinfo=UTC)


def held(theirs: object, number: int = A, *, send: datetime = SEND, submitted: float | None = 0) -> ScheduledMessage:
    """Return a row of the list, submitted in the minute `submitted` minutes after the attempt's."""
    minute = None if submitted is None else AT.replace(second=0) + timedelta(minutes=submitted)
    return ScheduledMessage(provider_message_id=str(theirs), number=number, send_at=send, submitted_at=minute)


def judged(*rows: ScheduledMessage, numbers: Sequence[int] = (A,), doubt: str | None = None, **fields: Any) -> LookUp:
    batch = batch_of(numbers, **{"scheduled_for": SEND, **fields})
    return lost.judge(batch, AT, lost.Listing(messages=rows, doubt=doubt))


def ids(found: LookUp) -> list[str | None]:
    assert found.verdict is Verdict.FOUND
    assert found.answers is not None
    theirs = list(found.answers.provider_message_ids)
    assert found.answers.missing == {at for at, one in enumerate(theirs) if one is None}
    return theirs


# --- What a row is taken for ------------------------------------------------------------------------------------------


def test_each_message_has_the_row_of_its_number_and_minute() -> None:
    found = judged(held(3, C), held(1, A), held(9, A, send=SEND + timedelta(minutes=1)), numbers=[A, B, C])
    assert ids(found) == ["1", None, "3"]
    assert found.evidence == "of 3 messages 2 are in the list of 3 scheduled"


def test_a_send_time_within_a_minute_was_rounded_up() -> None:
    assert ids(judged(held(1), scheduled_for=SEND - timedelta(seconds=40))) == ["1"]
    assert judged(held(1), scheduled_for=SEND + timedelta(seconds=1)).verdict is Verdict.ABSENT


@pytest.mark.parametrize("submitted", [-2, -1, 0, 1, 30])
def test_it_was_submitted_by_the_attempt_or_later_but_for_the_clocks(submitted: int) -> None:
    assert ids(judged(held(1, submitted=submitted))) == ["1"]


@pytest.mark.parametrize("submitted", [-3, -600, None])
def test_what_was_submitted_before_or_nobody_knows_when_is_neither_adopted_nor_ignored(
    submitted: float | None,
) -> None:
    # By a clock in another zone it could be ours: so it is not sent again either.
    found = judged(held(1, submitted=submitted))
    assert (found.verdict, found.answers) == (Verdict.UNCLEAR, None)
    assert ids(judged(held(1, submitted=submitted), held(2, B), numbers=[A, B])) == [None, "2"]


def test_of_several_the_nearest_after_the_attempt_is_taken() -> None:
    assert ids(judged(held(1, submitted=-1), held(2, submitted=1), held(3, submitted=0))) == ["3"]
    assert ids(judged(held(1, submitted=-1), held(2, submitted=2))) == ["2"]
    assert ids(judged(held(1, submitted=-2), held(2, submitted=-1))) == ["2"]


def test_one_of_two_that_nothing_tells_apart_is_not_guessed() -> None:
    twins = [held(1), held(2), held(3, B)]
    assert ids(judged(*twins, numbers=[A, B])) == [None, "3"]
    assert judged(*twins, numbers=[A]).verdict is Verdict.UNCLEAR


def test_an_id_is_used_once() -> None:
    assert ids(judged(held(2), held(1), numbers=[A, A])) == ["1", "2"]
    assert ids(judged(held(1), numbers=[A, A])) == ["1", None]


def test_numbers_without_their_country_prove_nothing() -> None:
    assert judged(held(1, A % 10**9)).verdict is Verdict.UNCLEAR
    assert judged(held(1, B % 10**9)).verdict is Verdict.ABSENT


def test_absence_is_told_of_a_list_without_a_doubt_only() -> None:
    assert judged(held(1, B)).verdict is Verdict.ABSENT
    assert judged().verdict is Verdict.ABSENT
    found = judged(held(1, B), doubt="it moved")
    assert (found.verdict, found.evidence) == (
        Verdict.UNCLEAR,
        "of 1 messages 0 are in the list of 1 scheduled, but it moved",
    )
    assert ids(judged(held(1), doubt="it moved")) == ["1"]


# --- Reading the list -------------------------------------------------------------------------------------------------


def read(*pages: tuple[Sequence[int], int | None]) -> tuple[lost.Listing, list[int]]:
    """Read a list whose pages have these ids and totals; return it, and the offsets that were asked for."""
    waiting = list(pages)
    asked: list[int] = []
    waits: list[None] = []

    def page(offset: int) -> tuple[list[ScheduledMessage], int | None]:
        asked.append(offset)
        found, total = waiting.pop(0)
        return [held(theirs) for theirs in found], total

    listing = lost.read(page, lambda: waits.append(None))
    assert len(waits) == len(asked)
    assert not waiting
    return listing, asked


def test_the_list_is_read_to_its_end_each_page_from_the_last_row_on() -> None:
    listing, asked = read(([1, 2, 3], 5), ([3, 4, 5], 5))
    assert asked == [0, 2]
    assert [row.provider_message_id for row in listing.messages] == ["1", "2", "3", "4", "5"]
    assert listing.doubt is None
    assert read(([], 0))[0].doubt is None
    assert read(([1], 1))[0].doubt is None


@pytest.mark.parametrize(
    ("pages", "doubt"),
    [
        ([([1, 2, 3], 5), ([3, 4, 5, 6], 6)], "it grew from 5 to 6 rows while it was read"),
        ([([1, 2, 3], 5), ([3, 4], 4)], "it grew from 5 to 4 rows while it was read"),
        # One left and one came: the total is the same, and a row has moved to where it is not read.
        ([([1, 2, 3], 5), ([4, 5, 6], 5)], "it moved while it was read"),
        ([([1, 2, 3], 5), ([2, 3, 4], 5)], "it moved while it was read"),
        ([([1, 2, 3], 6), ([3, 4, 1], 6), ([1, 6], 6)], "a message is in it twice"),
        ([([1, 2, 3], 5), ([3], 5)], "it has 3 rows and says 5"),
        ([([1, 2, 3], 5), ([], 5)], "it moved while it was read"),
        ([([], 5)], "it has 0 rows and says 5"),
        ([([1, 2, 3], 2)], "it has 3 rows and says 2"),
        ([([1, 2, 3], None)], "it does not say how many there are"),
        ([([], None)], "it does not say how many there are"),
    ],
)
def test_a_list_that_contradicts_itself_proves_no_absence(
    pages: list[tuple[list[int], int | None]], doubt: str
) -> None:
    assert read(*pages)[0].doubt == doubt


def test_a_list_without_end_is_given_up() -> None:
    asked: list[int] = []

    def page(offset: int) -> tuple[list[ScheduledMessage], int | None]:
        asked.append(offset)
        return [held(offset), held(offset + 1)], 10**6

    assert lost.read(page, lambda: None).doubt == f"it goes on after {lost.MOST_PAGES} pages"
    assert len(asked) == lost.MOST_PAGES


# --- On the wire ------------------------------------------------------------------------------------------------------


def row(theirs: int, number: object = A) -> dict[str, object]:
    # 11:04 and 11:00 in the vendor's zone.
    times = {"scheduledSendTime": "202612011104", "submitTime": "202612011100"}
    return {"apiMessageId": theirs, "mobileNumber": str(number), "creditCost": 1, **times}


def looked_up(content: object, batch: OutgoingBatch, *, now: datetime = AT + timedelta(seconds=40)) -> LookUp:
    def find(provider: WinSMS) -> LookUp:
        provider._clock = lambda: now
        return provider.find(batch, AT, lambda: None)

    vendor = Vendor(content)
    found: LookUp = vendor.ask(find)
    if vendor.server.requests:
        assert vendor.asked()[0] == "GET /sms/scheduled?offset=0&limit=1000"
    return found


BATCH = batch_of([A, B], scheduled_for=SEND)


def test_it_is_found_among_what_is_scheduled() -> None:
    found = looked_up({"scheduledMessages": [row(7, B), row(6, A)], "resultsTotalAvailable": 2}, BATCH)
    assert ids(found) == ["6", "7"]
    assert found.answers is not None
    assert found.answers.costs == [None, None]


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"scheduledMessages": None, "resultsTotalAvailable": 0},
        {"scheduledMessages": [{"apiMessageId": 1}], "resultsTotalAvailable": 1},
        b"<html>",
    ],
)
def test_a_list_that_cannot_be_read_is_no_list(content: object) -> None:
    with pytest.raises(Unreachable):
        looked_up(content, BATCH)


def test_what_was_sent_at_once_is_not_asked_for() -> None:
    found = looked_up({}, batch_of([A]))
    assert found.verdict is Verdict.NEVER


@pytest.mark.parametrize("before", [60, 0, -3600])
def test_once_the_time_has_nearly_passed_the_list_proves_nothing(before: float) -> None:
    empty = {"scheduledMessages": [], "resultsTotalAvailable": 0}
    found = looked_up(empty, BATCH, now=SEND - timedelta(seconds=before))
    assert (found.verdict, found.evidence) == (
        Verdict.NEVER,
        "the time has passed; they are no longer listed",
    )
    assert looked_up(empty, BATCH, now=SEND - timedelta(seconds=61)).verdict is Verdict.ABSENT


def test_nor_if_it_passed_while_the_list_was_read() -> None:
    now = SEND - timedelta(seconds=61)
    body = b'{"scheduledMessages": [], "resultsTotalAvailable": 0}'
    with Server(answer(200, body)) as server:
        provider = WinSMS(Settings(base_url=server.url, api_key="k"), clock=lambda: now)

        def wait() -> None:
            nonlocal now
            now = SEND - timedelta(seconds=59)

        found = provider.find(BATCH, AT, wait)
        provider._transport.close()
    assert found.verdict is Verdict.UNCLEAR
