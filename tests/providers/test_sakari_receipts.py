"""What Sakari tells of messages: their fate, found in its list or one by one, and what came in."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, cast

import pytest

from dispatcher.errors import AuthenticationFailed, InvalidRequest, Unreachable
from dispatcher.message import MessageState
from dispatcher.provider import Awaited, Receipt
from dispatcher.providers.sakari import Sakari, wire
from dispatcher.providers.sakari.receipts import Cursor
from dispatcher.sandbox import Sandbox
from tests.providers.rows import batch_of, let_in, ordinary
from tests.providers.sakari_vendor import Vendor, raw

A = 12025550110
SINCE = 1_767_225_600
D, U, S, E = MessageState.DELIVERED, MessageState.UNDELIVERED, MessageState.SUBMITTED, MessageState.EXPIRED


def awaited(count: int, *, known: bool = True, numbers: Sequence[int] = (), text: str = "Hello") -> list[Awaited]:
    """Return messages m0, m1, … of one batch, by their ids or (`known` False) without."""
    return [
        Awaited(
            message_id=100 + at,
            number=numbers[at] if numbers else A + at,
            reference="",
            provider_message_id=f"m{at}" if known else None,
            provider_reference=wire.reference("job", "j1", since=SINCE, template=text),
        )
        for at in range(count)
    ]


def row(at: int, status: object = "Delivered", **fields: object) -> dict[str, object]:
    """Return the message m0, m1, … as the list tells of it, created `at` seconds after its batch was answered."""
    return {
        "id": f"m{at}",
        "contact": {"mobile": {"number": f"+{A + at}", "country": "US"}},
        "message": "Hello",
        "template": "Hello",
        "outgoing": True,
        "price": 0.01,
        "status": status,
        "created": {"at": when(at)},
        "updated": {"at": when(at + 60)},
        **fields,
    }


def when(seconds: float) -> str:
    return datetime.fromtimestamp(SINCE + seconds, UTC).isoformat().replace("+00:00", "Z")


def listing(*rows: object, total: int | None = None, offset: int = 0) -> dict[str, object]:
    return {"data": rows, "pagination": {"offset": offset, "limit": 100, "totalCount": total or len(rows)}}


def walk(vendor: Vendor, asked: Sequence[Awaited]) -> dict[int, Receipt]:
    """Ask page after page, as the poller does."""

    def question(provider: Any) -> dict[int, Receipt]:
        found: dict[int, Receipt] = {}
        page = None
        while True:
            answer = provider.fetch_receipts(asked, page)
            found.update({receipt.message_id - 100: receipt for receipt in answer.receipts})
            page = answer.next_page
            if page is None:
                return found

    found: dict[int, Receipt] = vendor.ask(question)
    return found


def lines(vendor: Vendor) -> list[str]:
    return [line.removeprefix("GET ") for line, _ in vendor.asked()]


# --- What a state means -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "state", "reason"),
    [
        ("Delivered", None, D, None),
        ("DELIVERED", None, D, None),
        ("delivered", "", D, None),
        ("Delivered", "MSG-019", S, "MSG-019"),  # contradicts itself: a final state would never move again
        ("Undelivered", "MSG-019", U, "MSG-019"),
        ("undelivered", None, U, "undelivered"),
        ("Error", "MSG-008", U, "MSG-008"),
        ("Invalid", "CONT-001", U, "CONT-001"),
        ("Error", "MSG-026", E, "MSG-026"),
        ("Error", "MSG-028", S, "MSG-028"),  # they try again
        ("New", None, S, "New"),
        ("Validated", None, S, "Validated"),
        ("Queued", None, S, "Queued"),
        ("Sent", None, S, "Sent"),
        ("Received", None, S, "Received"),
        ("On its way to the moon", None, S, "On its way to the moon"),
        (None, None, S, None),
    ],
)
def test_what_a_state_means(status: object, code: object, state: MessageState, reason: str | None) -> None:
    error = {} if code is None else {"error": {"code": code, "description": "why"}}
    (receipt,) = walk(Vendor({"data": row(0, status, **error)}), awaited(1)).values()
    assert (receipt.state, receipt.reason) == (state, reason)
    assert (receipt.message_id, receipt.cost) == (100, Decimal("0.01"))
    assert receipt.at == datetime.fromtimestamp(SINCE + 60, UTC)


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"updated": None}, SINCE),
        ({"updated": {}}, SINCE),
        ({"updated": "2026-01-01T00:00:05"}, SINCE + 5),
        ({"updated": {"at": "2026-01-01T02:00:05+02:00"}}, SINCE + 5),
        ({"updated": {"at": "soon"}, "created": None}, None),
    ],
)
def test_times(fields: dict[str, object], at: float | None) -> None:
    (receipt,) = walk(Vendor({"data": row(0, **fields)}), awaited(1)).values()
    assert receipt.at == (None if at is None else datetime.fromtimestamp(at, UTC))


# --- One by one -------------------------------------------------------------------------------------------------------


def test_a_few_are_asked_for_one_by_one() -> None:
    vendor = Vendor({"data": row(0)}, raw({}, 404), {"data": row(5)})
    assert set(walk(vendor, awaited(3))) == {0}  # the second is not known, the third is another
    assert lines(vendor) == ["/messages/m0", "/messages/m1", "/messages/m2"]


def test_a_question_that_is_refused_is_not_an_answer() -> None:
    with pytest.raises(AuthenticationFailed):
        walk(Vendor(raw({}, 403)), awaited(1))
    with pytest.raises(InvalidRequest):
        walk(Vendor(raw({}, 400)), awaited(1))
    with pytest.raises(Unreachable, match="no message"):
        walk(Vendor({"success": True}), awaited(1))
    with pytest.raises(Unreachable, match="no list"):
        walk(Vendor({"success": True}), awaited(20))


# --- In the list ------------------------------------------------------------------------------------------------------


def test_many_are_looked_for_in_the_list() -> None:
    vendor = Vendor(listing(*[row(at) for at in range(19, -1, -1)], total=5000))
    found = walk(vendor, awaited(20))
    assert set(found) == set(range(20))
    assert lines(vendor) == ["/messages?offset=0&limit=100"]  # all were seen on it


def test_page_after_page_until_all_were_seen() -> None:
    vendor = Vendor(
        listing(*[row(at) for at in range(199, 99, -1)], total=500),
        listing(*[row(at) for at in range(99, -1, -1)], total=500),
    )
    found = walk(vendor, awaited(200))
    assert len(found) == 200
    assert lines(vendor) == ["/messages?offset=0&limit=100", "/messages?offset=100&limit=100"]


def test_the_first_word_on_a_message_counts() -> None:
    rows = [row(0, "Sent"), row(0, "Delivered"), *[row(at) for at in range(1, 20)]]
    assert walk(Vendor(listing(*rows)), awaited(20))[0].state is S


def test_the_search_ends_at_messages_older_than_the_batches() -> None:
    older = [row(at, id=f"x{at}") for at in range(-400, -500, -1)]
    vendor = Vendor(listing(*older, total=5000), raw({}, 404))
    assert walk(vendor, awaited(11)) == {}
    assert lines(vendor)[0] == "/messages?offset=0&limit=100"
    assert lines(vendor)[1:] == [f"/messages/m{at}" for at in range(10)]  # so many that are not seen, one by one


def test_the_search_ends_after_so_many_pages() -> None:
    younger = [row(at, id=f"x{at}") for at in range(1100, 1000, -1)]
    pages = [listing(*younger, total=5000, offset=offset) for offset in (0, 100, 200)]
    vendor = Vendor(*pages, {"data": row(0)}, receipt_pages=3, receipts_by_id=1)
    assert set(walk(vendor, awaited(2))) == {0}
    asked = [f"/messages?offset={offset}&limit=100" for offset in (0, 100, 200)]
    assert lines(vendor) == [*asked, "/messages/m0"]


def test_a_list_that_begins_with_the_oldest_is_read_from_its_end() -> None:
    vendor = Vendor(
        listing(*[row(at, id=f"x{at}") for at in range(-9999, -9899)], total=1000),
        listing(*[row(at) for at in range(20, 120)], total=1000, offset=900),
        listing(*[row(at) for at in range(-80, 20)], total=1000, offset=800),
    )
    assert len(walk(vendor, awaited(120))) == 120
    assert lines(vendor) == [f"/messages?offset={offset}&limit=100" for offset in (0, 900, 800)]


def test_the_end_of_the_list_ends_the_search() -> None:
    vendor = Vendor(listing(), raw({}, 404), receipts_by_id=1)
    assert walk(vendor, awaited(2)) == {}
    assert lines(vendor) == ["/messages?offset=0&limit=100", "/messages/m0"]


@pytest.mark.parametrize("pagination", [None, {}, {"hasNext": True}])
def test_a_list_that_does_not_say_how_long_it_is(pagination: object) -> None:
    first = [row(at, id=f"x{at}") for at in range(300, 200, -1)]
    vendor = Vendor({"data": first, "pagination": pagination}, {"data": [row(at) for at in range(19, -1, -1)]})
    assert len(walk(vendor, awaited(20))) == 20


# --- Without an id ----------------------------------------------------------------------------------------------------


def test_a_message_without_an_id_is_known_by_number_text_and_time() -> None:
    rows = [
        row(4, message="Hello", template=None),
        row(3, message="Hello again", template="Hello again"),  # another text
        row(2, outgoing=False),
        row(1, created={"at": when(-400)}),  # before our batch
        row(0, message="Hello with a footer"),
        None,
    ]
    found = walk(Vendor(listing(*rows, total=6)), awaited(5, known=False))
    assert set(found) == {0, 4}


def test_two_batches_that_it_could_be_of_are_none() -> None:
    twice = awaited(2, known=False, numbers=[A, A])
    assert walk(Vendor(listing(row(0))), twice) == {}
    other = [twice[0], *awaited(2, known=False, numbers=[A, A], text="Other")[1:]]
    assert set(walk(Vendor(listing(row(0, message=None, template="Other"))), other)) == {1}


def test_what_cannot_be_told_apart_is_not_asked_for() -> None:
    nobody = Awaited(message_id=1, number=A, reference="", provider_message_id=None, provider_reference="j1")
    vendor = Vendor()
    assert walk(vendor, [nobody]) == {}
    assert vendor.server.requests == []


def test_a_job_whose_answer_was_incomplete(sandbox: Sandbox) -> None:
    provider = cast("Sakari", let_in("sakari", sandbox, messages_per_request=1200))
    numbers = ordinary(1100)
    texts = [f"Text {at} to {{{{you}}}}" for at in range(1100)]
    answers = provider.submit(batch_of(numbers, texts=texts, segments=[1] * 1100))
    assert not answers.missing
    assert answers.provider_message_ids.count(None) == 100
    asked = [
        Awaited(
            message_id=at,
            number=number,
            reference="",
            provider_message_id=answers.provider_message_ids[at],
            provider_reference=answers.provider_reference,
        )
        for at, number in enumerate(numbers)
    ]
    found: set[int] = set()
    page = None
    while True:
        answer = provider.fetch_receipts(asked, page)
        found.update(receipt.message_id for receipt in answer.receipts if receipt.state is D)
        page = answer.next_page
        if page is None:
            break
    assert found == set(range(1100))


# --- Pages ------------------------------------------------------------------------------------------------------------


def test_a_cursor_is_read_as_it_was_written() -> None:
    cursor = Cursor(kind="list", at=900, backwards=True, left=7, seen=1 << 499 | 5)
    assert Cursor.parse(str(cursor)) == cursor
    for other in ("", "list", "list:1:+:1", "two:1:+:1:0", "list:-1:+:1:0"):
        assert Cursor.parse(other) is None


@pytest.mark.parametrize("page", ["nonsense", "one:7:+:1:0"])
def test_a_page_that_is_none_is_the_end(page: str) -> None:
    vendor = Vendor()
    answer = vendor.ask(lambda provider: provider.fetch_receipts(awaited(1), page))
    assert (answer.receipts, answer.next_page) == ([], None)
    assert vendor.server.requests == []


# --- What came in -----------------------------------------------------------------------------------------------------


def test_incoming_messages() -> None:
    came = row(3, "Received", outgoing=False, message="Yes", conversation={"id": "d1"})
    vendor = Vendor(listing(row(5), came, row(2, outgoing=False, contact=None), None, total=900, offset=100))
    page = vendor.ask(lambda provider: provider.incoming("100"))
    (message,) = page.messages
    assert (message.number, message.text, message.provider_message_id) == (A + 3, "Yes", "m3")
    assert (message.answers_to, message.at) == ("d1", datetime.fromtimestamp(SINCE + 3, UTC))
    assert page.next_page == "104"
    assert lines(vendor) == ["/messages?offset=100&limit=100"]
    with pytest.raises(InvalidRequest):
        Vendor().ask(lambda provider: provider.incoming("-1"))


def test_a_reply_is_told(sandbox: Sandbox) -> None:
    provider = cast("Sakari", let_in("sakari", sandbox))
    provider.submit(batch_of([A]))
    sandbox.record.receive(str(A), "Thank you", SINCE, "sakari")
    page = provider.incoming()
    assert [(message.number, message.text) for message in page.messages] == [(A, "Thank you")]
    assert page.next_page is None
