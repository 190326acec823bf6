"""Lost batches at Sakari: what its list of messages proves, and what it does not."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from dispatcher.errors import InvalidRequest, Unreachable
from dispatcher.provider import LookUp, Verdict
from dispatcher.providers.sakari import Sakari, wire
from dispatcher.providers.sakari import lost as finding
from dispatcher.providers.sakari.message import MessagesAnswer
from tests.providers.rows import batch_of
from tests.providers.sakari_vendor import Vendor, raw

A, B = 12025550110, 12025550111
AT = datetime(2026, 12, 1, 9, 0, 30, tzinfo=UTC)
"""When the batch was attempted."""
FIELD = wire.Field(path="attributes.dispatcherText")


def row(theirs: object, number: object = A, *, after: float = 1, **fields: Any) -> dict[str, Any]:
    """Return a message as the list tells of it, created so many seconds after the attempt."""
    return {
        "id": theirs,
        "contact": {"mobile": {"number": f"+{number}", "country": "US"}},
        "message": "Hello",
        "template": "Hello",
        "outgoing": True,
        "price": 0.01,
        "status": "Sent",
        "created": {"at": (AT + timedelta(seconds=after)).isoformat()},
        **fields,
    }


def listing(*rows: object, total: int | None = None) -> dict[str, object]:
    return {"data": rows, "pagination": {"offset": 0, "limit": 100, "totalCount": total or len(rows)}}


def looked_up(*contents: object, numbers: Sequence[int] = (A,), **fields: Any) -> LookUp:
    """Look for a batch; each content is a page, and each page is asked for."""
    batch = batch_of(numbers, **{"text": None if fields.get("texts") else "Hello", **fields})
    waits: list[None] = []

    def find(provider: Sakari) -> LookUp:
        return provider.find(batch, AT, lambda: waits.append(None))

    vendor = Vendor(*contents, receipt_pages=4)
    found: LookUp = vendor.ask(find)
    assert len(vendor.asked()) == len(waits) == len(contents)
    return found


def ids(found: LookUp) -> list[str | None]:
    assert found.verdict is Verdict.FOUND
    assert found.answers is not None
    theirs = list(found.answers.provider_message_ids)
    assert found.answers.missing == {at for at, one in enumerate(theirs) if one is None}
    return theirs


# --- Many that were lost together -------------------------------------------------------------------------------------


def test_one_reading_of_the_list_serves_many_lost_batches() -> None:
    page = listing(row("m2", B, after=2), row("m1", after=1), row("m0", after=-62))
    later = listing(row("m3", B + 1, after=50), row("m2", B, after=2), row("m1", after=1), row("m0", after=-200))
    began = AT + timedelta(seconds=20)

    def find(provider: Sakari) -> list[LookUp]:
        now = began
        provider._clock = lambda: now
        found = [provider.find(batch_of([number], text="Hello"), AT, lambda: None) for number in (A, B, B + 1)]
        # Of an attempt that was not over by then it tells nothing, nor of one before it, nor after some time.
        found.append(provider.find(batch_of([B + 1], text="Hello"), began - timedelta(seconds=4), lambda: None))
        found.append(provider.find(batch_of([A], text="Hello"), AT - timedelta(seconds=60), lambda: None))
        now += timedelta(seconds=31)
        found.append(provider.find(batch_of([B + 1], text="Hello"), AT, lambda: None))
        return found

    vendor = Vendor(page, later, later, later)
    found = vendor.ask(find)
    assert len(vendor.asked()) == 4
    assert [one.verdict for one in found[:3]] == [Verdict.FOUND, Verdict.FOUND, Verdict.ABSENT]
    assert [one.seen_at for one in found] == [None, began, began, None, None, None]
    assert ids(found[5]) == ["m3"]


# --- What a message is taken for --------------------------------------------------------------------------------------


def test_messages_are_known_by_number_text_and_time() -> None:
    found = looked_up(listing(row("m2", B), row("m1"), row("m0", after=-61)), numbers=[A, B, B + 1])
    assert ids(found) == ["m1", "m2", None]
    assert found.evidence == "2 of 3 messages are among the 3 latest"
    assert found.answers is not None
    assert str(found.answers.costs[0]) == "0.01"
    named = wire.Reference.parse(found.answers.provider_reference)
    assert named is not None
    assert named.since == int(AT.timestamp()) - 60


def test_of_several_the_oldest_since_the_attempt_is_taken_each_once() -> None:
    rows = [row("m3", after=9), row("m2", after=5), row("m1", after=-70)]
    assert ids(looked_up(listing(*rows))) == ["m2"]
    assert ids(looked_up(listing(*rows), numbers=[A, A, A])) == ["m2", "m3", None]
    assert ids(looked_up(listing(row("m1"), row("m1")))) == ["m1"]


@pytest.mark.parametrize(
    ("fields", "texts"),
    [
        ({"template": None, "message": " Hello \n"}, False),
        ({"message": "anything"}, False),  # its template is the text
        ({"template": FIELD.tag}, True),
        ({"template": FIELD.tag, "message": "Hello\nSTOP to opt out"}, True),
        ({"template": None}, True),
    ],
)
def test_texts_that_are_ours(fields: dict[str, Any], texts: bool) -> None:
    assert ids(looked_up(listing(row("m1", **fields)), **({"texts": ["Hello"]} if texts else {}))) == ["m1"]


@pytest.mark.parametrize(
    ("fields", "texts"),
    [
        ({"template": None, "message": "Hello to you"}, False),
        ({"template": FIELD.tag, "message": "Goodbye"}, True),
        ({"template": FIELD.tag, "message": FIELD.tag}, True),  # not rendered yet
        ({"template": FIELD.tag, "message": None}, True),
        ({"template": None, "message": None}, False),
        ({"outgoing": None}, False),
        ({"created": None}, False),
        ({"contact": None}, False),
        ({"contact": {"mobile": {"number": "2025550110"}}}, False),  # without its country
    ],
)
def test_what_could_be_ours_is_neither_adopted_nor_ignored(fields: dict[str, Any], texts: bool) -> None:
    found = looked_up(listing(row("m1", **fields)), **({"texts": ["Hello"]} if texts else {}))
    assert (found.verdict, found.answers) == (Verdict.UNCLEAR, None)
    assert found.evidence.endswith("1 others could be of it")


@pytest.mark.parametrize(
    "fields", [{"outgoing": False}, {"after": -61}, {"number": B}, {"after": -61, "contact": None}]
)
def test_what_cannot_be_ours_does_not_matter(fields: dict[str, Any]) -> None:
    found = looked_up(listing(row("m1", **fields)))
    assert (found.verdict, found.answers) == (Verdict.ABSENT, None)


def test_a_batch_that_could_not_have_been_sent_is_not_looked_for() -> None:
    with pytest.raises(InvalidRequest):
        looked_up(listing(), text="")


# --- How far the list was read ----------------------------------------------------------------------------------------


def others(first: int, many: int, *, after: float, step: float = -1) -> list[dict[str, Any]]:
    """Return messages to someone else, the newest first."""
    return [row(f"x{first + at}", B, after=after + step * at) for at in range(many)]


def read(*pages: object, since: datetime = AT) -> tuple[finding.Listing, list[int]]:
    waiting = [msgspec.json.decode(msgspec.json.encode(page), type=MessagesAnswer) for page in pages]
    asked: list[int] = []

    def page(offset: int) -> MessagesAnswer:
        asked.append(offset)
        return waiting.pop(0)

    found = finding.read(page, since, pages=4, wait=lambda: None)
    assert not waiting
    return found, asked


def test_it_is_read_back_to_the_attempt_and_no_further() -> None:
    found, asked = read(
        listing(*others(0, 100, after=150), total=900), listing(*others(99, 100, after=51), total=900)
    )
    assert (found.whole, asked) == (True, [0, 99])
    assert len(found.messages) == 199
    found, asked = read(listing(*others(0, 5, after=3), total=900))
    assert (found.whole, asked) == (True, [0])


def test_what_comes_in_meanwhile_moves_the_rest_to_where_it_is_read_again() -> None:
    second = [*others(97, 3, after=53), *others(100, 97, after=50)]
    assert read(listing(*others(0, 100, after=150), total=900), listing(*second, total=902))[0].whole


def test_a_gap_is_seen() -> None:
    found, _ = read(listing(*others(0, 100, after=150), total=900), listing(*others(100, 100, after=50), total=899))
    assert not found.whole


def test_a_list_that_is_in_no_order_is_read_to_its_end() -> None:
    mixed = [*others(0, 2, after=-500), *others(2, 2, after=9)]
    assert read(listing(*mixed))[0].whole
    assert not read({"data": mixed})[0].whole  # does it end here?
    assert read({"data": mixed, "pagination": {"hasNext": False}})[0].whole
    found, asked = read(listing(*mixed, total=6), listing(mixed[-1], *others(4, 2, after=30), total=6))
    assert (found.whole, asked) == (True, [0, 3])


def test_a_list_that_begins_with_the_oldest_is_read_from_its_end() -> None:
    oldest = others(0, 100, after=-9000)[::-1]
    end = others(100, 100, after=99)[::-1]
    before = others(200, 100, after=-1)[::-1]
    found, asked = read(listing(*oldest, total=900), listing(*end, total=900), listing(*before, total=900))
    assert (found.whole, asked) == (True, [0, 800, 700])
    found, asked = read(listing(*oldest, total=150), listing(*end[50:], total=150))
    assert (found.whole, asked) == (True, [0, 100])
    # Fewer rows than there should be: something between the pages was not read.
    found, _ = read(listing(*oldest, total=900), listing(*end[:50], total=900))
    assert not found.whole


@pytest.mark.parametrize(
    "pages",
    [
        [{"data": []}],
        [{"data": [], "pagination": {"totalCount": 3}}],
        [listing(*others(0, 3, after=9), None)],
        [listing(*others(0, 3, after=9), row(None, B))],
        [listing(*others(100 * at - at, 100, after=900 - 99 * at), total=900) for at in range(4)],
    ],
)
def test_a_list_that_was_not_read_whole_proves_no_absence(pages: list[object]) -> None:
    assert not read(*pages)[0].whole
    found = looked_up(*pages)
    assert found.verdict is Verdict.UNCLEAR
    assert found.evidence.endswith("it was not read back to the attempt")


@pytest.mark.parametrize("content", [{}, {"data": None}, b"<html>", raw({}, 500)])
def test_a_list_that_cannot_be_read_proves_nothing(content: object) -> None:
    with pytest.raises(Unreachable):
        looked_up(content)


# --- Campaigns at Sakari ----------------------------------------------------------------------------------------------

BATCH = batch_of([A, B], options={"as_campaign": "1"})
TAG = f"dispatcher-{BATCH.reference}"


def campaigns(*rows: object, **paging: object) -> dict[str, object]:
    return {"data": rows, "pagination": {"totalCount": len(rows), **paging}}


def found_campaign(*contents: object) -> tuple[LookUp, list[str]]:
    vendor = Vendor(*contents, receipt_pages=2)
    found: LookUp = vendor.ask(lambda provider: provider.find(BATCH, AT, lambda: None))
    return found, [line for line, _ in vendor.asked()]


@pytest.mark.parametrize("named", [{"name": TAG}, {"name": "Tuesday", "filters": {"tags": ["x", TAG]}}])
def test_a_campaign_is_found_by_its_name_or_its_tag(named: dict[str, object]) -> None:
    found, asked = found_campaign(campaigns({"id": "c0", "name": "other"}, {"id": "c1", **named}))
    assert asked == [f"GET /campaigns?name={TAG}&offset=0&limit=100"]
    assert found.verdict is Verdict.FOUND
    assert found.answers is not None
    assert (found.answers.provider_reference or "").startswith(f"campaign:c1:{int(AT.timestamp()) - 60}:")
    assert found.answers.note == f"waits to be started at Sakari: {TAG}"


def test_a_campaign_that_is_not_there() -> None:
    other = {"id": "c0", "name": TAG + "x", "filters": {"tags": None}}
    assert found_campaign(campaigns(other))[0].verdict is Verdict.ABSENT
    assert found_campaign(campaigns())[0].verdict is Verdict.ABSENT
    found, asked = found_campaign(campaigns(other, totalCount=3), campaigns({"id": "c1"}, {"id": "c2"}, totalCount=3))
    assert (found.verdict, len(asked)) == (Verdict.ABSENT, 2)


@pytest.mark.parametrize(
    "contents",
    [
        [{"data": []}],
        [campaigns(totalCount=2)],
        [campaigns({"id": "c1"}, totalCount=9), campaigns({"id": "c2"}, totalCount=9)],
    ],
)
def test_campaigns_that_were_not_all_listed_prove_nothing(contents: list[object]) -> None:
    assert found_campaign(*contents)[0].verdict is Verdict.UNCLEAR


def test_campaigns_that_cannot_be_read_prove_nothing() -> None:
    with pytest.raises(Unreachable):
        found_campaign({})
