"""WinSMS on the wire after a submission: receipts, what is scheduled, recalls and the balance."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from dispatcher.errors import InvalidRequest, OutcomeUnknown, Unreachable
from dispatcher.message import MessageState
from dispatcher.provider import Awaited, Receipt
from tests.providers.vendor import Vendor

A = 27444444444
D, U, S = MessageState.DELIVERED, MessageState.UNDELIVERED, MessageState.SUBMITTED


# --- Receipts ---------------------------------------------------------------------------------------------------------


def fates(*found: dict[str, object], count: int = 1) -> list[Receipt]:
    asked = [
        Awaited(message_id=at, number=A, reference="", provider_message_id=str(2316 + at), provider_reference=None)
        for at in range(count)
    ]
    page = Vendor({"messageStatuses": found}).ask(lambda provider: provider.fetch_receipts(asked))
    assert page.next_page is None
    receipts: list[Receipt] = page.receipts
    return receipts


def state(code: object, delivered: object = False, **fields: object) -> dict[str, object]:
    return {"apiMessageId": 2316, "statusDelivered": delivered, "statusErrorCode": code, **fields}


@pytest.mark.parametrize(
    ("found", "fate", "reason"),
    [
        (state(0, True), D, None),
        (state("0", "true"), D, None),
        (state("", True), D, None),
        (state(None, 1), D, None),
        ({"apiMessageId": "2316", "statusDelivered": True}, D, None),
        (state("SENT"), S, "SENT"),
        (state("INQUEUE"), S, "INQUEUE"),
        (state("NOTFOUND"), S, "NOTFOUND"),
        (state("SENDINGFAILED"), U, "SENDINGFAILED"),
        (state("FAILED"), U, "FAILED"),
        (state("failed"), U, "failed"),
        (state("BADDEST"), U, "BADDEST"),
        (state("QUEUED_AT_MOON"), S, "QUEUED_AT_MOON"),
        (state("QUEUED_AT_MOON", True), S, "QUEUED_AT_MOON"),
        (state("FAILED", True), S, "FAILED"),  # contradicts itself: a final state would never move again
        (state(""), S, None),
        (state("", None), S, None),
    ],
)
def test_what_a_state_means(found: dict[str, object], fate: MessageState, reason: str | None) -> None:
    (receipt,) = fates(found)
    assert (receipt.state, receipt.reason) == (fate, reason)


@pytest.mark.parametrize(
    ("time", "at"),
    [
        ("201712251431", datetime(2017, 12, 25, 12, 31, tzinfo=UTC)),
        (20171225143159, datetime(2017, 12, 25, 12, 31, 59, tzinfo=UTC)),
        ("201801010100", datetime(2017, 12, 31, 23, 0, tzinfo=UTC)),
        ("201713251431", None),
        ("2017-12-25 14:31", None),
        ("", None),
        (None, None),
        ("000101010000", None),
    ],
)
def test_times_are_the_vendors(time: object, at: datetime | None) -> None:
    (receipt,) = fates(state("SENT", statusTime=time, creditCost=1.3))
    assert receipt.at == at
    assert receipt.cost == Decimal("1.3")


def test_only_what_was_asked_for_and_answered_is_told() -> None:
    found = fates(
        state(0, True, apiMessageId=2317), state(0, True, apiMessageId=9), state(0, True, apiMessageId=None), count=3
    )
    assert [receipt.message_id for receipt in found] == [1]


def test_only_numbers_are_asked_for() -> None:
    ids = ["2316", None, "", "x", "2317"]
    asked = [
        Awaited(message_id=at, number=A, reference="", provider_message_id=theirs, provider_reference=None)
        for at, theirs in enumerate(ids)
    ]
    vendor = Vendor({"messageStatuses": []})
    vendor.ask(lambda provider: provider.fetch_receipts(asked))
    assert vendor.asked() == ("POST /sms/outgoing/status", b"[2316,2317]")
    silent = Vendor({})
    assert silent.ask(lambda provider: provider.fetch_receipts(asked[1:4])).receipts == []
    assert silent.server.connections == 0
    many = [
        Awaited(message_id=at, number=A, reference="", provider_message_id=str(at), provider_reference=None)
        for at in range(1001)
    ]
    with pytest.raises(InvalidRequest):
        Vendor({}).ask(lambda provider: provider.fetch_receipts(many))


# --- The schedule and the balance ---------------------------------------------------------------------------------


def scheduled(**fields: object) -> dict[str, object]:
    found = {
        "apiMessageId": 2316,
        "creditCost": 1,
        "mobileNumber": "27444444444",
        "scheduledSendTime": "201712251430",
        "submitTime": "201710220850",
    }
    return {**found, **fields}


def test_a_page_of_what_is_scheduled() -> None:
    vendor = Vendor({"resultsTotalAvailable": "3402", "scheduledMessages": [scheduled(), scheduled(submitTime=None)]})
    page = vendor.ask(lambda provider: provider.list_scheduled("3000"))
    assert vendor.asked() == ("GET /sms/scheduled?offset=3000&limit=1000", b"")
    assert (page.total, page.next_page) == (3402, "3002")
    first, second = page.messages
    assert (first.provider_message_id, first.number) == ("2316", A)
    assert first.send_at == datetime(2017, 12, 25, 12, 30, tzinfo=UTC)
    assert first.submitted_at == datetime(2017, 10, 22, 6, 50, tzinfo=UTC)
    assert second.submitted_at is None


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"scheduledMessages": None},
        {"scheduledMessages": [scheduled(apiMessageId=None)]},
        {"scheduledMessages": [scheduled(mobileNumber="")]},
        {"scheduledMessages": [scheduled(scheduledSendTime="soon")]},
    ],
)
def test_a_schedule_that_cannot_be_read_is_not_an_empty_one(content: object) -> None:
    with pytest.raises(Unreachable):
        Vendor(content).ask(lambda provider: provider.list_scheduled())


def test_the_last_page() -> None:
    page = Vendor({"scheduledMessages": []}).ask(lambda provider: provider.list_scheduled())
    assert (page.messages, page.total, page.next_page) == ([], 0, None)


def test_recalls_are_told_one_by_one() -> None:
    found = [
        {"apiMessageId": "2317", "creditCost": 0, "deleteError": "NOTFOUND", "deleted": False},
        {"apiMessageId": 2316, "creditCost": 1.3, "deleteError": "", "deleted": "true"},
        {"apiMessageId": 2318, "creditCost": 1, "deleted": "perhaps"},
    ]
    vendor = Vendor({"deletedMessageStatuses": found})
    recalls = vendor.ask(lambda provider: provider.recall(["2316", "2317", "2318", "2319"]))
    assert vendor.asked() == ("POST /sms/scheduled/delete", b"[2316,2317,2318,2319]")
    told = [(recall.recalled, recall.reason, recall.refunded) for recall in recalls]
    assert told == [
        (True, None, Decimal("1.3")),
        (False, "NOTFOUND", None),
        (False, "no reason given", None),
        (False, "no answer", None),
    ]


def test_a_recall_without_an_answer_is_unknown() -> None:
    with pytest.raises(OutcomeUnknown):
        Vendor({"statusCode": 200}).ask(lambda provider: provider.recall(["2316"]))
    with pytest.raises(InvalidRequest):
        Vendor({}).ask(lambda provider: provider.recall(["one"]))
    assert Vendor({}).ask(lambda provider: provider.recall([])) == []


def test_the_balance_is_exact() -> None:
    vendor = Vendor(b'{"creditBalance": 3645.10, "statusCode": 200}')
    assert str(vendor.ask(lambda provider: provider.balance())) == "3645.10"
    assert vendor.asked() == ("GET /credits/balance", b"")
    with pytest.raises(Unreachable, match="names no balance"):
        Vendor({}).ask(lambda provider: provider.balance())
