"""WinSMS on the wire: the requests byte by byte, and answers as recorded, as documented, and odder than that."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import msgspec
import pytest

from dispatcher.errors import (
    AuthenticationFailed,
    InsufficientCredit,
    InvalidRequest,
    OutcomeUnknown,
    ProviderError,
)
from dispatcher.provider import Answers, OutgoingBatch, Refusal
from dispatcher.providers.winsms import Settings, connect, wire
from dispatcher.throughput import LocalTokens
from tests.providers.rows import batch_of, ordinary
from tests.providers.vendor import Vendor

A, B, C = 27444444444, 27555555555, 27666666666


def submitted(batch: OutgoingBatch, content: object) -> Answers:
    found: Answers = Vendor(content).ask(lambda provider: provider.submit(batch))
    return found


def row(number: object, **fields: object) -> dict[str, object]:
    """Return a row of an answer as the vendor documents it."""
    ordinary_row = {
        "acceptError": "",
        "accepted": True,
        "apiMessageId": {"5": 2317, "6": 2318}.get(str(number)[-1:], 2316),
        "clientMessageId": None,
        "creditCost": 1,
        "mobileNumber": number,
        "newCreditBalance": 188.6,
        "scheduledTime": None,
    }
    return {**ordinary_row, **fields}


def rows(*found: dict[str, object]) -> dict[str, object]:
    return {"recipients": found, "statusCode": 200, "timeStamp": "20170117054658978", "version": "1.0"}


# --- Requests ---------------------------------------------------------------------------------------------------------


def test_one_text_to_all() -> None:
    batch = batch_of([27444444444, 27555555555], text="Hé ✓", segments=[1, 2])
    vendor = Vendor(rows(row("27444444444", clientMessageId="0"), row("27555555555", clientMessageId="1")))
    vendor.ask(lambda provider: provider.submit(batch))
    assert vendor.asked() == (
        "POST /sms/outgoing/send",
        (
            '{"message":"Hé ✓","recipients":[{"mobileNumber":"27444444444","clientMessageId":"0"},'
            '{"mobileNumber":"27555555555","clientMessageId":"1"}],"maxSegments":2}'
        ).encode(),
    )


def test_a_text_each_at_a_time() -> None:
    when = datetime(2026, 7, 1, 6, 30, tzinfo=UTC)
    batch = batch_of([27444444444, 27555555555], texts=["a", "b\n"], segments=[1, 3], scheduled_for=when)
    answered = {"messages": [{"message": "a", "recipients": [row("27444444444")]}, {"recipients": []}, None]}
    vendor = Vendor(answered)
    answers = vendor.ask(lambda provider: provider.submit(batch))
    assert answers.missing == {1}
    assert vendor.asked() == (
        "POST /sms/outgoing/sendmulti",
        b'{"messages":[{"message":"a","recipients":[{"mobileNumber":"27444444444","clientMessageId":"0"}],'
        b'"maxSegments":1,"scheduledTime":"202607010830"},'
        b'{"message":"b\\n","recipients":[{"mobileNumber":"27555555555","clientMessageId":"1"}],'
        b'"maxSegments":3,"scheduledTime":"202607010830"}]}',
    )


def test_a_send_time_is_never_early() -> None:
    when = datetime(2026, 12, 31, 23, 59, 1, tzinfo=timezone(timedelta(hours=2)))
    _, body = wire.encoded(batch_of([27444444444], scheduled_for=when))
    assert json.loads(body)["scheduledTime"] == "202701010000"


@pytest.mark.parametrize("text", ["", "plain", 'all "of" \\ it\n\t\x01', "é" * 70, "🎉✓"])
def test_the_bytes_of_a_message_are_known_exactly(text: str) -> None:
    batch = batch_of(
        [999999999999999 - at for at in range(900)],
        texts=[text] * 900,
        segments=[6] * 900,
        scheduled_for=datetime(2026, 7, 1, tzinfo=UTC),
    )
    _, body = wire.encoded(batch) if len(text) < 60 else wire.encoded(_first(batch, 500))
    sizes = [wire.AROUND_A_TEXT + len(msgspec.json.encode(text))] * body.count(b'"message"')
    short = sum(3 - len(str(at)) for at in range(len(sizes)))  # positions of one digit or two
    assert len(body) == wire.FRAME + sum(sizes) - 1 - short  # there is no comma after the last


def _first(batch: OutgoingBatch, count: int) -> OutgoingBatch:
    return batch_of(
        batch.numbers[:count],
        texts=(batch.texts or [])[:count],
        segments=batch.segments[:count],
        scheduled_for=batch.scheduled_for,
    )


@pytest.mark.parametrize(
    "batch",
    [
        batch_of([]),
        batch_of(ordinary(1001)),
        batch_of([27444444444], segments=[7]),
        batch_of([27444444444], text=""),
        batch_of([27444444444], text="\ud800"),
        batch_of([27444444444], texts=["x" * 200_000]),
        batch_of([27444444444], scheduled_for=datetime(2026, 7, 1)),  # noqa: DTZ001 - without a zone on purpose
    ],
    ids=["empty", "too many", "segments", "no text", "no Unicode", "bytes", "no zone"],
)
def test_what_breaks_a_rule_is_not_sent(batch: OutgoingBatch) -> None:
    vendor = Vendor({})
    with pytest.raises(InvalidRequest, match="winsms: not sent: "):
        vendor.ask(lambda provider: provider.submit(batch))
    assert vendor.server.connections == 0


def test_the_settings_decide_what_the_document_leaves_open() -> None:
    can = connect(Settings(unicode=False, schedule_days=7, segments_per_second=100), LocalTokens()).capabilities
    assert (can.unicode, can.schedule_ahead, can.segments_per_second) == (False, timedelta(days=7), 100)
    assert (can.requests_per_second, can.sender, can.deduplicates) == (5.0, False, False)
    assert Settings(api_key=" ").missing() == ["DISPATCHER_WINSMS__API_KEY"]


# --- Answers to a submission ------------------------------------------------------------------------------------------


def test_the_answer_in_the_vendors_document() -> None:
    answers = submitted(
        batch_of([27444444444, 27555555555, 276666666666]),
        {
            "recipients": [
                row("27444444444", clientMessageId="0"),
                row("27555555555", apiMessageId=2317),
                row(
                    "276666666666",
                    accepted=False,
                    acceptError="BADDEST",
                    apiMessageId=None,
                    creditCost=0,
                    clientMessageId="2",
                ),
            ]
        },
    )
    assert answers == Answers(
        provider_message_ids=["2316", "2317", None],
        costs=[Decimal(1), Decimal(1), None],
        refused={2: Refusal(reason="BADDEST")},
    )


@pytest.mark.parametrize(
    ("found", "ids", "missing"),
    [
        pytest.param(
            [row(B, clientMessageId="1", apiMessageId="7"), row(A, clientMessageId=0, apiMessageId=6.0), row(C)],
            ["6", "7", "2318"],
            set(),
            id="another order, numbers for words, one id lost",
        ),
        pytest.param([row(f"+{A}"), row("27 555 555 555"), row(C)], ["2316", "2317", "2318"], set(), id="by order"),
        pytest.param([row(C, apiMessageId=3), row(A, apiMessageId=1)], ["1", None, "3"], {1}, id="by number"),
        pytest.param([row(A), row(27999999999), row(None)], ["2316", None, None], {1, 2}, id="strangers"),
        pytest.param([row(A, clientMessageId="3"), None], ["2316", None, None], {1, 2}, id="an id of nobody's"),
        pytest.param(
            [row(A, accepted="TRUE"), row(B, accepted="1"), row(C, accepted="maybe")],
            ["2316", "2317", None],
            {2},
            id="truth in words",
        ),
        pytest.param([row(A, accepted=None), row(B), row(C)], [None, "2317", "2318"], {0}, id="no truth"),
        pytest.param(
            [row(A, apiMessageId=None), {"mobileNumber": B, "accepted": True}, row(C, apiMessageId="")],
            [None, None, None],
            set(),
            id="accepted without an id",
        ),
        pytest.param(
            [
                *(
                    row(A, accepted=False, clientMessageId="0"),
                    row(A, clientMessageId="0"),
                    row(B, clientMessageId="1"),
                ),
                *(row(C, clientMessageId="2"), row(C, accepted=False, clientMessageId="2")),
            ],
            ["2316", "2317", "2318"],
            set(),
            id="two rows for one message: what may have gone out counts",
        ),
        pytest.param(
            [row(A, extra={"more": [1]}), row(B), row(C)], ["2316", "2317", "2318"], set(), id="fields that are new"
        ),
    ],
)
def test_rows_find_their_messages(
    found: Sequence[dict[str, object]], ids: Sequence[str | None], missing: set[int]
) -> None:
    answers = submitted(batch_of([A, B, C]), rows(*found))
    assert answers.provider_message_ids == ids
    assert answers.missing == missing
    assert not answers.refused


def test_one_number_twice_is_told_apart_by_its_order() -> None:
    batch = batch_of([A, A, B], texts=["one", "two", "three"])
    found = [row(B, apiMessageId=3), row(A, apiMessageId=1), row(A, apiMessageId=2)]
    answers = submitted(batch, {"messages": [{"recipients": [each]} for each in found]})
    assert answers.provider_message_ids == ["1", "2", "3"]


def test_our_id_outweighs_the_order() -> None:
    found = [row(A, apiMessageId=2, clientMessageId="1"), row(A, apiMessageId=1), row(B, apiMessageId=3)]
    assert submitted(batch_of([A, A, B]), rows(*found)).provider_message_ids == ["1", "2", "3"]


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"recipients": None},
        {"recipients": []},
        {"messages": [None]},
        {"recipients": [row(27999999999)]},
        {"errorMessage": "An unknown error has occurred", "statusCode": 500},
        {"recipients": "none"},
        [],
    ],
)
def test_an_answer_for_nobody_leaves_the_batch_unknown(content: object) -> None:
    with pytest.raises(OutcomeUnknown):
        submitted(batch_of([A, B]), content)


def no(number: object, reason: object) -> dict[str, object]:
    return row(number, accepted=False, acceptError=reason, apiMessageId=None, creditCost=None)


@pytest.mark.parametrize(
    ("reasons", "error"),
    [
        (["INSUFFICIENT CREDITS"] * 2, InsufficientCredit),
        (["insufficient_credits", "INSUFFICIENT\u00a0CREDITS"], InsufficientCredit),
        (["ACCOUNTLOCKED"] * 2, AuthenticationFailed),
        # Nobody was accepted: the rest may go when the account is mended, and who opted out is refused again then.
        (["INSUFFICIENT CREDITS", "OPTEDOUT"], InsufficientCredit),
    ],
)
def test_an_account_that_cannot_send_refuses_the_whole_batch(
    reasons: Sequence[str], error: type[ProviderError]
) -> None:
    with pytest.raises(error, match="winsms: every recipient was refused"):
        submitted(batch_of([A, B]), rows(*map(no, [A, B], reasons)))


def test_a_refusal_has_the_vendors_word_and_the_accounts_trouble_pauses() -> None:
    words = ["OptedOut", "SOMETHING NEW", None, "INSUFFICIENT CREDITS", "WASPADNC"]
    numbers = ordinary(6)
    answers = submitted(batch_of(numbers), rows(*map(no, numbers, words), row(numbers[5])))
    assert [answers.refused[at].reason for at in range(5)] == [*words[:2], "no reason given", *words[3:]]
    assert [at for at in range(5) if answers.refused[at].opted_out] == [0]
    assert answers.pause is not None
    assert answers.pause.startswith("winsms: 1 of a request were refused: INSUFFICIENT CREDITS; ")
    locked = submitted(batch_of([A, B]), rows(row(A), no(B, "ACCOUNTLOCKED"))).pause
    assert (
        locked
        == "winsms: 1 of a request were refused: ACCOUNTLOCKED; `dispatcher retry … --refused` sends to them again"
    )


def test_credits_are_exact() -> None:
    raw = [b"1.30", b'"0.10"', b"1e-1", b"null", b'"much"', b"true", b"NaN", b"[1]", b"1234567890.123456789"]
    exact = ["1.30", "0.10", "0.1", None, None, None, None, None, "1234567890.123456789"]
    numbers = ordinary(len(raw))
    found = [
        b'{"accepted":true,"clientMessageId":"%d","creditCost":%s}' % (at, cost)
        for at, cost in enumerate(raw)
        if cost != b"NaN"  # not JSON at all
    ]
    answers = submitted(batch_of(numbers), b'{"recipients":[' + b",".join(found) + b"]}")
    assert answers.costs == [None if cost is None else Decimal(cost) for cost in exact]
