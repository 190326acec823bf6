"""A batch as a campaign at Sakari: prepared, created, started there by a person, known again, removed."""

from typing import Any, cast

import pytest

from dispatcher.errors import InvalidRequest, OutcomeUnknown, Throttled, Unreachable
from dispatcher.message import MessageState
from dispatcher.provider import Awaited, OutgoingBatch
from dispatcher.providers.sakari import Sakari
from dispatcher.sandbox import Sandbox
from dispatcher.sandbox import sakari as stand_in
from tests.providers.rows import batch_of, let_in, ordinary
from tests.providers.sakari_vendor import ANN, Vendor, raw, resource


@pytest.fixture
def sakari(sandbox: Sandbox) -> Sakari:
    return cast("Sakari", let_in("sakari", sandbox))


def at_sakari(sandbox: Sandbox) -> stand_in.Sakari:
    return next(app for app in sandbox.apps if isinstance(app, stand_in.Sakari))


def campaign(numbers: list[int], reference: str = "ab" * 16, **fields: Any) -> OutgoingBatch:
    options = {"as_campaign": "1", **fields.pop("options", {})}
    batch = batch_of(numbers, options=options, **fields)
    return OutgoingBatch(
        reference=reference,
        numbers=batch.numbers,
        references=batch.references,
        segments=batch.segments,
        text=batch.text,
        texts=batch.texts,
        options=options,
    )


def test_a_campaign_waits_for_a_person(sakari: Sakari, sandbox: Sandbox) -> None:
    numbers = ordinary(3)
    texts = ['Dear "Ann",\nhere, {{firstName}}', "two", "three"]
    batch = campaign(numbers, texts=texts)
    for _ in range(2):  # harmless to repeat
        sakari.prepare(batch)
    answers = sakari.submit(batch)
    assert answers.provider_message_ids == [None] * 3
    assert not answers.refused
    assert not answers.missing
    assert answers.note == "waits to be started at Sakari: dispatcher-" + "ab" * 16
    assert not sandbox.record.messages
    assert not any(entry.sends for entry in sandbox.record.requests)
    at_sakari(sandbox).start_campaign(str(answers.provider_reference).split(":")[1])
    found = {message.number: message.text for message in sandbox.record.messages}
    assert found == dict(zip(map(str, numbers), texts, strict=True))


def test_one_text_is_the_campaigns_template(sakari: Sakari, sandbox: Sandbox) -> None:
    batch = campaign(ordinary(2), text="Hello & welcome")
    sakari.prepare(batch)
    sakari.submit(batch)
    find = resource(sakari, "campaigns").find
    assert find is not None
    (item,) = find({}, None).items
    assert (item["template"], item["trigger"]) == ("Hello & welcome", {"code": "M"})
    assert item["filters"]["tags"] == ["dispatcher-" + "ab" * 16]


def test_campaigns_for_the_same_people_keep_their_texts_apart(sakari: Sakari, sandbox: Sandbox) -> None:
    numbers = ordinary(2)
    references = []
    for reference, texts in (("a" * 32, ["a1", "a2"]), ("b" * 32, ["b1", "b2"])):
        batch = campaign(numbers, reference, texts=texts)
        sakari.prepare(batch)
        references.append(str(sakari.submit(batch).provider_reference))
    for reference in references:
        at_sakari(sandbox).start_campaign(reference.split(":")[1])
    assert [message.text for message in sandbox.record.messages] == ["a1", "a2", "b1", "b2"]


@pytest.mark.parametrize("texts", [None, ["one", "two"]])
def test_the_messages_of_a_started_campaign_are_known_again(
    sakari: Sakari, sandbox: Sandbox, texts: list[str] | None
) -> None:
    numbers = ordinary(2)
    batch = campaign(numbers, texts=texts)
    sakari.prepare(batch)
    reference = sakari.submit(batch).provider_reference
    asked = [
        Awaited(message_id=at, number=number, reference="", provider_message_id=None, provider_reference=reference)
        for at, number in enumerate(numbers)
    ]
    sakari.submit(batch_of(numbers, text="Another one"))
    assert sakari.fetch_receipts(asked).receipts == []
    at_sakari(sandbox).start_campaign(str(reference).split(":")[1])
    found = sakari.fetch_receipts(asked).receipts
    assert {receipt.message_id: receipt.state for receipt in found} == dict.fromkeys(range(2), MessageState.DELIVERED)


def test_preparing_keeps_what_sakari_knows_of_people(sakari: Sakari, sandbox: Sandbox) -> None:
    create = resource(sakari, "contacts").create
    assert create is not None
    create(ANN)
    sakari.prepare(campaign([12025550120], texts=["x"]))
    (row,) = sakari.contacts_with_tag("dispatcher-" + "ab" * 16).rows
    assert (row["first_name"], row["code"]) == ("Ann", "7")
    assert len(sakari.contacts_with_tag("vip").rows) == 1


def test_an_ordinary_batch_needs_no_preparation(sakari: Sakari, sandbox: Sandbox) -> None:
    sakari.prepare(batch_of(ordinary(2)))
    assert sandbox.record.requests == []


def test_what_a_campaign_cannot_be(sakari: Sakari, sandbox: Sandbox) -> None:
    for batch in (campaign(ordinary(501)), campaign(ordinary(1), options={"media_url": "https://x.example"})):
        with pytest.raises(InvalidRequest, match="not sent"):
            sakari.submit(batch)
    assert sandbox.record.requests == []


def test_a_preparation_that_fails() -> None:
    batch = campaign(ordinary(2), texts=["a secret text", "b"])
    echo = {"success": False, "error": {"code": "CONT-001", "message": "row 1: a secret text +27820000000"}}
    with pytest.raises(InvalidRequest) as caught:
        Vendor(raw(echo, 400)).ask(lambda provider: provider.prepare(batch))
    assert str(caught.value).endswith("/contacts: HTTP 400: CONT-001")
    with pytest.raises(Unreachable) as unclear:
        Vendor(raw(echo, 500)).ask(lambda provider: provider.prepare(batch))
    assert "secret" not in str(unclear.value)
    with pytest.raises(Throttled) as throttled:
        Vendor(raw({}, 429, "Retry-After: 7")).ask(lambda provider: provider.prepare(batch))
    assert throttled.value.retry_after == 7
    none = {"data": {"submitted": 2, "inserted": 0, "updated": 0, "errors": [{}, {}]}}
    with pytest.raises(InvalidRequest, match="none of the contacts"):
        Vendor(raw(none, 201)).ask(lambda provider: provider.prepare(batch))
    Vendor(raw({"data": []}, 201)).ask(lambda provider: provider.prepare(batch))


def test_what_is_uploaded() -> None:
    vendor = Vendor(raw({"data": {}}, 201))
    vendor.ask(lambda provider: provider.prepare(campaign([12025550110], texts=['He said "hi",\nthen left'])))
    assert vendor.asked() == [
        (
            "POST /contacts?mergeStrategy=append",
            b"country,mobile,tags,dispatcherText_abababababab\r\n"
            b"US,+12025550110,dispatcher-" + b"ab" * 16 + b',"He said ""hi"",\nthen left"\r\n',
        )
    ]
    assert b"Content-Type: text/csv\r\n" in vendor.server.requests[1]


@pytest.mark.parametrize("content", [{}, {"data": {}}, {"data": {"id": None}}])
def test_a_campaign_without_an_id_may_be_there(content: object) -> None:
    with pytest.raises(OutcomeUnknown):
        Vendor(raw(content, 201)).ask(lambda provider: provider.submit(campaign(ordinary(1))))


def test_a_campaign_is_stopped_by_removing_it(sakari: Sakari, sandbox: Sandbox) -> None:
    batch = campaign(ordinary(2))
    sakari.prepare(batch)
    reference = str(sakari.submit(batch).provider_reference)
    stopped = sakari.stop(reference)
    assert (stopped.stopped, stopped.unsent) == (True, False)  # a person may have started it
    find = resource(sakari, "campaigns").find
    assert find is not None
    assert find({}, None).items == []
    again = sakari.stop(reference)
    assert (again.stopped, bool(again.reason)) == (False, True)


def test_messages_cannot_be_stopped(sakari: Sakari, sandbox: Sandbox) -> None:
    reference = str(sakari.submit(batch_of(ordinary(1))).provider_reference)
    before = len(sandbox.record.requests)
    for name in (reference, "something else"):
        assert not sakari.stop(name).stopped
    assert len(sandbox.record.requests) == before
    with pytest.raises(OutcomeUnknown):
        Vendor(raw({}, 500)).ask(lambda provider: provider.stop(reference.replace("job", "campaign")))
