"""Sakari on the wire: requests byte by byte, and answers as documented, incomplete, and odder than that."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from dispatcher.errors import AuthenticationFailed, InsufficientCredit, InvalidRequest, OutcomeUnknown, ProviderError
from dispatcher.provider import Answers, OutgoingBatch, Refusal
from dispatcher.providers.sakari import Settings, wire
from dispatcher.sandbox import Sandbox
from tests.providers.rows import batch_of, let_in, ordinary
from tests.providers.sakari_vendor import Vendor, raw

A, B, C = 12025550110, 12025550111, 27825550112
FIELD = wire.Field(path="attributes.dispatcherText")
TAG = "{{{attributes.dispatcherText}}}"


def told(number: object, **fields: object) -> dict[str, object]:
    """Return a message of an answer as the vendor documents it."""
    contact = {"id": "c1", "mobile": {"number": f"+{number}", "country": "US"}}
    return {
        "id": "m1",
        "contact": contact,
        "outgoing": True,
        "price": 0.015,
        "segments": 1,
        "status": "New",
        **fields,
    }


def no(number: object, code: object, **fields: object) -> dict[str, object]:
    mobile = {"number": f"+{number}", "country": "US"}
    return {"mobile": mobile, "valid": False, "error": {"code": code, "description": "why"}, **fields}


def answered(*messages: object, invalid: Sequence[object] = (), **fields: object) -> dict[str, object]:
    counts = {"requested": len(messages) + len(invalid), "valid": len(messages)}
    data = {"jobId": "j1", "messages": messages, "invalid": invalid, "estimatedPrice": 0.03, **counts, **fields}
    return {"success": True, "data": data}


def submitted(batch: OutgoingBatch, content: object, **settings: Any) -> Answers:
    found: Answers = Vendor(content, **settings).ask(lambda provider: provider.submit(batch))
    return found


def sent(batch: OutgoingBatch, **settings: Any) -> Any:
    vendor = Vendor(answered(*map(told, batch.numbers)), **settings)
    vendor.ask(lambda provider: provider.submit(batch))
    return vendor.sent()


# --- Requests ---------------------------------------------------------------------------------------------------------


def test_one_text_to_all_is_the_template() -> None:
    vendor = Vendor(answered(told(A), told(C)))
    vendor.ask(lambda provider: provider.submit(batch_of([A, C], text='Hé "you" & {brace} ✓\n')))
    assert vendor.asked() == [
        (
            "POST /messages",
            (
                '{"contacts":[{"mobile":{"number":"+12025550110","country":"US"}},'
                '{"mobile":{"number":"+27825550112","country":"ZA"}}],'
                '"template":"Hé \\"you\\" & {brace} ✓\\n","type":"SMS"}'
            ).encode(),
        )
    ]


def test_a_text_each_is_an_attribute_of_each() -> None:
    assert sent(batch_of([A, B], texts=["one & two", "{{firstName}}"])) == {
        "contacts": [
            {"mobile": {"number": f"+{A}", "country": "US"}, "attributes": {"dispatcherText": "one & two"}},
            {"mobile": {"number": f"+{B}", "country": "US"}, "attributes": {"dispatcherText": "{{firstName}}"}},
        ],
        "template": TAG,
        "type": "SMS",
    }


@pytest.mark.parametrize("text", ["Hi {{firstName}}", "{{{contact.email}}}", "{{#attributes}}x{{/attributes}}", "{{"])
def test_a_text_that_looks_like_a_template_never_is_one(text: str) -> None:
    found = sent(batch_of([A, B], text=text))
    assert found["template"] == TAG
    assert [contact["attributes"] for contact in found["contacts"]] == [{"dispatcherText": text}] * 2


@pytest.mark.parametrize(
    ("path", "carried", "template"),
    [
        ("contact.attributes.message", {"attributes": {"message": "x"}}, "{{{contact.attributes.message}}}"),
        ("firstName", {"firstName": "x"}, "{{{firstName}}}"),
        ("contact.lastName", {"lastName": "x"}, "{{{contact.lastName}}}"),
    ],
)
def test_the_field_that_carries_a_text_is_a_setting(path: str, carried: dict[str, object], template: str) -> None:
    found = sent(batch_of([A], texts=["x"]), text_field=path)
    assert found["template"] == template
    assert {name: value for name, value in found["contacts"][0].items() if name != "mobile"} == carried


@pytest.mark.parametrize("path", ["", "a b", "}}}", "attributes.", "email", "contact.mobile", "attributes.tags", "1"])
def test_a_field_that_is_none_or_another_is_refused(path: str) -> None:
    with pytest.raises(ValidationError):
        Settings(text_field=path)


def test_media_and_what_the_settings_add() -> None:
    batch = batch_of([A], text="x", options={"media_url": "https://files.example/1"})
    found = sent(batch, number_group="g1", conversation_strategy="reuse")
    assert (found["type"], found["media"]) == ("MMS", [{"url": "https://files.example/1"}])
    assert found["phoneNumberFilter"] == {"group": {"id": "g1"}}
    assert found["conversationStrategy"] == "reuse"


@pytest.mark.parametrize(
    ("number", "country"),
    [
        (12025550110, "US"),
        (16135550110, "CA"),
        (27825550112, "ZA"),
        (447700900123, "GB"),
        (80012345678, None),
        (999999999999999, None),
    ],
)
def test_the_country_of_a_number(number: int, country: str | None) -> None:
    assert wire.country_of(number) == country


@pytest.mark.parametrize(
    "batch",
    [
        batch_of([]),
        batch_of(ordinary(501)),
        batch_of([A], text=""),
        batch_of([A, B], texts=["x", ""]),
        batch_of([A], text="\ud800"),
        batch_of([A], texts=["\ud800"]),
        batch_of([A], sender="SHOP"),
        batch_of([A], scheduled_for=datetime(2027, 1, 1, tzinfo=UTC)),
    ],
)
def test_what_cannot_be_sent_is_not(batch: OutgoingBatch) -> None:
    vendor = Vendor()
    with pytest.raises(InvalidRequest, match="not sent"):
        vendor.ask(lambda provider: provider.submit(batch))
    assert vendor.server.requests == []


def test_what_arrives_is_what_was_written(sandbox: Sandbox) -> None:
    provider = let_in("sakari", sandbox)
    texts = ["{{firstName}}", "{{{attributes.dispatcherText}}}", "<b> & \"'", "} }} }}}", "{{! no }}", "a\nb \\{{x}}"]
    numbers = ordinary(len(texts))
    assert provider.submit(batch_of(numbers, texts=texts)).pause is None
    for text in texts:
        assert provider.submit(batch_of(numbers[:1], text=text)).pause is None
    assert [message.text for message in sandbox.record.messages] == texts * 2


def test_the_facts_and_the_settings() -> None:
    can = Vendor(messages_per_request=50, characters=800).ask(lambda provider: provider.capabilities)
    assert (can.messages_per_request, can.characters, can.ids_per_receipt_request) == (50, 800, 50)
    assert (can.sender, can.schedule_ahead, can.personalised, can.deduplicates) == (False, None, True, False)
    assert (can.requests_per_second, can.currency) == (2.0, None)
    assert can.options == {"media_url", "as_campaign"}
    assert Settings(client_id=" ", client_secret="x").missing() == [
        "DISPATCHER_SAKARI__CLIENT_ID",
        "DISPATCHER_SAKARI__ACCOUNT_ID",
    ]


# --- Answers ----------------------------------------------------------------------------------------------------------


def test_the_answer_in_the_vendors_document() -> None:
    content = answered(told(A, id="m7"), invalid=[no(B, "CONT-010"), no(C, "CONT-001")])
    answers = Vendor(raw(content, 200, "Date: Thu, 01 Jan 2026 00:00:00 GMT")).ask(
        lambda provider: provider.submit(batch_of([A, B, C], text="x"))
    )
    assert answers == Answers(
        provider_message_ids=["m7", None, None],
        costs=[Decimal("0.015"), None, None],
        refused={1: Refusal(reason="CONT-010", opted_out=True), 2: Refusal(reason="CONT-001")},
        provider_reference=wire.reference("job", "j1", since=1767225600, template="x"),
    )


@pytest.mark.parametrize(
    ("content", "ids", "missing"),
    [
        pytest.param(answered(told(C, id=3), told(A, id="1"), told(B, id=2.0)), ["1", "2", "3"], set(), id="order"),
        pytest.param(answered(told(B), requested=3, valid=3), [None, "m1", None], set(), id="a large job"),
        pytest.param(
            {"data": {"messages": [told(B)], "queued": 3}}, [None, "m1", None], set(), id="counts of an older copy"
        ),
        pytest.param({"data": {"messages": [told(B)], "valid": "3"}}, [None, "m1", None], set(), id="in words"),
        pytest.param(answered(told(B), requested=3, valid=2), [None, "m1", None], {0, 2}, id="one too few"),
        pytest.param(answered(told(B), requested=2, valid=3), [None, "m1", None], {0, 2}, id="another request"),
        pytest.param({"data": {"messages": [told(B)]}}, [None, "m1", None], {0, 2}, id="no counts"),
        pytest.param(
            answered(told(B), invalid=[no(27999999999, "CONT-001")], requested=3, valid=2),
            [None, "m1", None],
            {0, 2},
            id="a refusal of nobody's",
        ),
        pytest.param(answered(told(A), told(B), told(C), told(27999999999), None), ["m1"] * 3, set(), id="strangers"),
        pytest.param(
            answered(told(A), told(B, id=None), told(C, id=""), extra=1), ["m1", None, None], set(), id="no ids"
        ),
    ],
)
def test_rows_find_their_messages(content: object, ids: Sequence[str | None], missing: set[int]) -> None:
    answers = submitted(batch_of([A, B, C]), content)
    assert answers.provider_message_ids == ids
    assert answers.missing == missing
    assert not answers.refused


@pytest.mark.parametrize(
    "mobile",
    [
        {"number": "202-555-0110", "country": "US"},
        {"number": "(202) 555-0110", "country": "us"},
        {"number": "12025550110", "country": "US"},
        {"number": "+1 202 555 0110"},
        {"number": 12025550110},
        "+12025550110",
    ],
)
def test_numbers_as_the_vendor_writes_them(mobile: object) -> None:
    message = {**told(A), "contact": {"mobile": mobile}}
    assert submitted(batch_of([A, B]), answered(message, told(B))).provider_message_ids == ["m1", "m1"]


def test_a_number_in_both_lists_may_have_been_sent_to() -> None:
    answers = submitted(batch_of([A, B]), answered(told(A), told(B), invalid=[no(A, "MSG-024")], valid=2))
    assert answers.provider_message_ids == ["m1", "m1"]
    assert not answers.refused


def test_one_number_twice_is_told_apart_by_its_order() -> None:
    answers = submitted(batch_of([A, B, A]), answered(told(A, id="1"), told(A, id="2"), told(B, id="3")))
    assert answers.provider_message_ids == ["1", "3", "2"]


def test_a_message_may_be_refused_at_once() -> None:
    refused = told(B, status="Error", error={"code": "MSG-007", "description": "too long"})
    retried = told(C, status="ERROR", error={"code": "MSG-028"})
    answers = submitted(batch_of([A, B, C]), answered(told(A), refused, retried))
    assert answers.refused == {1: Refusal(reason="MSG-007")}
    assert answers.provider_message_ids == ["m1", None, "m1"]


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"success": False, "error": {"code": "SYS-001", "message": "no"}},
        {"data": None},
        {"data": {}},
        {"data": {"messages": "none"}},
        {"data": {"messages": [told(27999999999)]}},
        [],
        b"",
    ],
)
def test_an_answer_for_nobody_leaves_the_batch_unknown(content: object) -> None:
    with pytest.raises(OutcomeUnknown):
        submitted(batch_of([A, B]), raw(content) if content == b"" else content)


@pytest.mark.parametrize(
    ("codes", "error"),
    [(["ACCT-006"] * 2, InsufficientCredit), (["ACCT-001", "ACCT-006"], AuthenticationFailed)],
)
def test_an_account_that_cannot_send_refuses_the_whole_batch(codes: list[str], error: type[ProviderError]) -> None:
    with pytest.raises(error, match="every recipient was refused: ACCT"):
        submitted(batch_of([A, B]), answered(invalid=[no(A, codes[0]), no(B, codes[1])]))


def test_credit_that_ran_out_pauses() -> None:
    answers = submitted(batch_of([A, B, C]), answered(told(A), invalid=[no(B, "ACCT-006"), no(C, None)]))
    assert answers.refused == {1: Refusal(reason="ACCT-006"), 2: Refusal(reason="no reason given")}
    assert answers.pause is not None
    assert "ACCT-006" in answers.pause


@pytest.mark.parametrize("status", [400, 402, 403, 422])
def test_no_credit_for_the_whole_request(status: int) -> None:
    content = raw({"success": False, "error": {"code": "ACCT-006", "message": "Insufficient credit"}}, status)
    error = AuthenticationFailed if status == 403 else InsufficientCredit
    with pytest.raises(error, match="ACCT-006"):
        submitted(batch_of([A]), content)


# --- What Sakari says that it sends -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "settings", "pauses"),
    [
        ("Dear Ann,\n it is here", {}, False),
        ("Dear Ann, it is here Reply STOP to opt out", {}, False),
        (TAG, {}, False),  # not rendered yet
        (None, {}, False),
        ("", {}, True),
        ("Dear Ann &amp; co", {}, True),
        ("", {"check_texts": False}, False),
    ],
)
def test_another_text_than_was_given_pauses_the_campaign(
    message: str | None, settings: dict[str, Any], pauses: bool
) -> None:
    batch = batch_of([A], texts=["Dear Ann, it is here"])
    answers = submitted(batch, answered(told(A, message=message)), **settings)
    assert answers.provider_message_ids == ["m1"]
    assert (answers.pause is not None) is pauses
    assert "TEXT_FIELD" in (answers.pause or "TEXT_FIELD")
    assert "Ann" not in (answers.pause or "")


def test_a_template_without_fields_needs_no_check() -> None:
    assert submitted(batch_of([A], text="x"), answered(told(A, message=""))).pause is None


def test_a_sandbox_that_names_attributes_otherwise_shows_it(sandbox: Sandbox) -> None:
    provider = let_in("sakari", sandbox, text_field="somewhere.else")
    with_media = {"options": {"media_url": "https://files.example/1"}}  # else an empty text is refused
    answers = provider.submit(batch_of(ordinary(2), texts=["one", "two"], **with_media))
    assert answers.pause is not None


# --- References -------------------------------------------------------------------------------------------------------


def test_a_reference_is_read_as_it_was_written() -> None:
    text = wire.reference("campaign", "id:with:colons", since=1767225600, template="Hi {{x}}")
    found = wire.Reference.parse(text)
    assert found is not None
    assert (found.kind, found.id, found.since, str(found)) == ("campaign", "id:with:colons", 1767225600, text)
    for other in (None, "", "j1", "job:j1", "job:j1:x:0123456789abcdef", "other:j1:1:0123456789abcdef"):
        assert wire.Reference.parse(other) is None
    assert "Hi" not in text
