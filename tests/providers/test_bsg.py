"""BSG on the wire when it sends: the requests byte by byte, and answers as documented, and odder than that."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError

from dispatcher.errors import (
    AuthenticationFailed,
    InsufficientCredit,
    InvalidRequest,
    Misconfigured,
    OutcomeUnknown,
    ProviderError,
    Refused,
    Throttled,
)
from dispatcher.provider import Answers, OutgoingBatch
from dispatcher.providers.bsg import Settings, connect, wire
from dispatcher.throughput import LocalTokens
from tests.providers.bsg_vendor import BsgVendor, campaign
from tests.providers.rows import assert_discreet, batch_of, ordinary

A, B = 12025550101, 12025550102
WHEN = datetime(2026, 7, 1, 6, 30, tzinfo=UTC)


def submitted(batch: OutgoingBatch, content: object, **settings: Any) -> Answers:
    found: Answers = BsgVendor(content, **settings).ask(lambda provider: provider.submit(batch))
    return found


def failed(batch: OutgoingBatch, content: object, **settings: Any) -> ProviderError:
    vendor = BsgVendor(content, **settings)
    with pytest.raises(ProviderError) as caught:
        vendor.ask(lambda provider: provider.submit(batch))
    assert_discreet(f"{caught.value!r} {caught.value.__context__!r}", batch)
    assert len(vendor.server.requests) <= 1
    return caught.value


# --- Requests ---------------------------------------------------------------------------------------------------------


def test_one_text_to_all() -> None:
    vendor = BsgVendor(campaign())
    vendor.ask(lambda provider: provider.submit(batch_of([A, B], text="Hé ✓")))
    assert vendor.asked() == (
        "POST /api/campaigns/send",
        (
            '{"channels":["sms"],"recipients":{"phones":['
            f'{{"number":"12025550101","reference_id":"{A:032x}"}},{{"number":"12025550102","reference_id":"{B:032x}"}}'
            ']},"check_stop_list":true,"add_to_contact_book":false,"sms":{"sender":"Shop","text":"Hé ✓"}}'
        ).encode(),
    )


def test_a_text_each_at_a_time_with_all_that_can_be_set() -> None:
    vendor = BsgVendor(campaign(), tariff_code=9, validity_hours=24)
    batch = batch_of([A, B], texts=["a", "b\n"], sender="Other", scheduled_for=WHEN)
    vendor.ask(lambda provider: provider.submit(batch))
    assert vendor.asked() == (
        "POST /api/campaigns/sms/send-individual",
        (
            b'{"messages":[{"phone":12025550101,"text":"a","sender":"Other","reference_id":"%032x"},'
            b'{"phone":12025550102,"text":"b\\n","sender":"Other","reference_id":"%032x"}],'
            b'"tariff_code":9,"validity":24,"start_at":"2026-07-01T06:30:00+00:00"}' % (A, B)
        ),
    )


@pytest.mark.parametrize(
    ("channels", "content"),
    [
        ("rcs", {"rcs": {"sender": "agent", "text": "Hi"}}),
        ("rcs,sms", {"rcs": {"sender": "agent", "text": "Hi"}, "sms": {"sender": "Shop", "text": "Hi"}}),
        (" SMS , viber", {"sms": {"sender": "Shop", "text": "Hi"}, "viber": {"sender": "Shop", "text": "Hi"}}),
        ("whatsapp", {"whatsapp": {"sender": "Shop", "text": "Hi"}}),
    ],
)
def test_channels(channels: str, content: dict[str, Any]) -> None:
    batch = batch_of([A], text="Hi", options={"channels": channels})
    sent = json.loads(wire.encoded(batch, Settings(sender="Shop", rcs_sender="agent")).body)
    assert sent["channels"] == list(content)
    assert {name: value for name, value in sent.items() if name in wire.CHANNELS} == content


@pytest.mark.parametrize(
    ("fields", "at", "written"),
    [
        ({}, WHEN, "2026-07-01T06:30:00+00:00"),
        ({}, WHEN.astimezone(timezone(timedelta(hours=2))), "2026-07-01T06:30:00+00:00"),
        ({}, WHEN + timedelta(microseconds=1), "2026-07-01T06:30:01+00:00"),
        ({"send_time": "plain", "time_zone": "Europe/Kyiv"}, WHEN, "2026-07-01 09:30:00"),
    ],
)
def test_a_send_time_is_unmistakable_and_never_early(fields: dict[str, Any], at: datetime, written: str) -> None:
    body = wire.encoded(batch_of([A], scheduled_for=at), Settings(sender="Shop", **fields)).body
    assert json.loads(body)["start_at"] == written


@pytest.mark.parametrize("text", ["plain", 'all "of" \\ it\n\t\x01', "é" * 70, "🎉✓"])
def test_the_bytes_of_a_message_are_known(text: str) -> None:
    numbers = [123456789012345 + at for at in range(500)]
    batch = batch_of(numbers, texts=[text] * 500, scheduled_for=WHEN)
    settings = Settings(sender="123456789012345", validity_hours=72, tariff_code=-2147483648)
    size = wire.AROUND_A_TEXT + len(msgspec.json.encode(text))
    assert len(wire.encoded(batch, settings).body) == wire.FRAME + 500 * size - 1  # there is no comma after the last


def test_a_number_that_cannot_be_written_is_refused_and_the_rest_goes() -> None:
    batch = batch_of([A, 12345678, B], texts=["a", "b", "c"])
    vendor = BsgVendor(campaign())
    answers = vendor.ask(lambda provider: provider.submit(batch))
    assert [message["phone"] for message in json.loads(vendor.asked()[1])["messages"]] == [A, B]
    assert set(answers.refused) == {1}
    assert len(answers.costs) == 3
    nobody = BsgVendor({})
    answers = nobody.ask(lambda provider: provider.submit(batch_of([12345678])))
    assert set(answers.refused) == {0}
    assert nobody.server.connections == 0


RCS = {"channels": "rcs"}


@pytest.mark.parametrize(
    ("batch", "settings"),
    [
        (batch_of([]), {}),
        (batch_of(ordinary(10_001)), {}),
        (batch_of(ordinary(11)), {"messages_per_request": 10}),
        (batch_of(ordinary(5001), options=RCS), {}),
        (batch_of([A], segments=[6]), {}),
        (batch_of([A], text=""), {}),
        (batch_of([A], text="x" * 766), {}),
        (batch_of([A], text="\ud800"), {}),
        (batch_of([A], text="x" * 161, options=RCS), {}),
        (batch_of([A], text="🎉" * 81, options=RCS), {}),
        (batch_of([A], texts=["Hi there"], options=RCS), {}),
        (batch_of([A], options={"channels": "sms,rcs,viber"}), {}),
        (batch_of([A], options={"channels": "sms,sms"}), {}),
        (batch_of([A], options={"channels": "telegram"}), {}),
        (batch_of([A], options={"channels": ""}), {}),
        (batch_of(ordinary(150), texts=["x" * 765] * 150), {"bytes_per_request": 100_000}),
        (batch_of([A], scheduled_for=datetime(2026, 7, 1)), {}),  # noqa: DTZ001 - without a zone on purpose
    ],
)
def test_what_breaks_a_rule_is_not_sent(batch: OutgoingBatch, settings: dict[str, Any]) -> None:
    vendor = BsgVendor({}, **settings)
    with pytest.raises(InvalidRequest, match="bsg: not sent: ") as caught:
        vendor.ask(lambda provider: provider.submit(batch))
    assert_discreet(str(caught.value), batch)
    assert vendor.server.connections == 0


def test_without_a_sender_nothing_is_sent_and_the_batch_may_go_later() -> None:
    vendor = BsgVendor({}, sender="")
    with pytest.raises(Refused, match="DISPATCHER_BSG__SENDER") as caught:
        vendor.ask(lambda provider: provider.submit(batch_of([A])))
    assert type(caught.value) is Refused  # a malformed request would have the batch refused for good
    assert vendor.server.connections == 0


def test_the_settings_decide_what_the_document_leaves_open() -> None:
    can = connect(Settings(messages_per_request=5000, validity_hours=2, currency="UAH"), LocalTokens()).capabilities
    assert (can.messages_per_request, can.currency, can.deduplicates) == (5000, "UAH", True)
    assert can.receipt_window == timedelta(hours=3)
    assert can.receipts_by_batch
    assert can.options == {"channels"}
    assert Settings(api_key=" ").missing() == ["DISPATCHER_BSG__API_KEY"]
    with pytest.raises(ValidationError, match="needs time_zone"):
        Settings(send_time="plain")
    with pytest.raises(ValidationError, match="not the name of a time zone"):
        Settings(time_zone="Mars/Olympus")


# --- Answers ----------------------------------------------------------------------------------------------------------


def test_the_answer_in_the_vendors_document() -> None:
    assert submitted(batch_of([A, B]), campaign()) == Answers(
        provider_message_ids=[None, None], costs=[None, None], provider_reference="53651994"
    )


@pytest.mark.parametrize(
    "content", [{}, {"data": None}, {"data": {}}, {"data": []}, [], {"data": {"id": ""}}, b"<p>"]
)
def test_an_answer_without_a_campaign_leaves_the_batch_unknown(content: object) -> None:
    assert type(failed(batch_of([A, B]), content)) is OutcomeUnknown


@pytest.mark.parametrize("status", ["paused", "SPAM", "stopped"])
def test_a_campaign_in_trouble_pauses_ours(status: str) -> None:
    answers = submitted(batch_of([A]), campaign(status=status))
    assert answers.pause is not None
    assert f"its campaign 53651994 is {status.lower()}" in answers.pause
    assert answers.provider_reference == "53651994"


def test_moderation_and_another_start_are_told() -> None:
    assert "moderation" in (submitted(batch_of([A]), campaign(status="moderation")).note or "")
    batch = batch_of([A], scheduled_for=WHEN)
    told = submitted(batch, campaign(status="scheduled", start_at="2026-07-01 09:30:00"), time_zone="UTC").note
    assert told is not None
    assert "starts at 2026-07-01 09:30 UTC rather than 06:30" in told
    for same in ("2026-07-01T09:30:00+03:00", "2026-07-01 06:30:00"):
        assert submitted(batch, campaign(start_at=same), time_zone="UTC").note is None
    # A time without a zone says nothing where none is known.
    assert submitted(batch, campaign(start_at="2026-07-01 09:30:00")).note is None


@pytest.mark.parametrize(
    ("status", "message", "error"),
    [
        (422, "The given data was invalid.", InvalidRequest),
        (422, "Tariff was not found", InvalidRequest),
        (422, "Duplicate reference_id", OutcomeUnknown),
        (409, "reference id is already used", OutcomeUnknown),
        (400, "Such reference_id exists", OutcomeUnknown),
        (422, "Invalid reference_id format", InvalidRequest),
        (422, "Not enough funds", InsufficientCredit),
        (400, "Insufficient account balance", InsufficientCredit),
        (404, "Duplicate reference_id", Misconfigured),
        (402, "Pay", InsufficientCredit),
        (403, "Account is blocked", AuthenticationFailed),
        (429, "Too many duplicate request detected", Throttled),
        (500, "Duplicate reference_id", OutcomeUnknown),
    ],
)
def test_what_a_refusal_means(status: int, message: str, error: type[ProviderError]) -> None:
    raised = failed(batch_of([A]), (status, {"message": message, "errors": []}))
    assert type(raised) is error
    assert message in str(raised)
