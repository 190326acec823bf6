"""What every provider that finds lost batches owes: over real HTTP against the sandbox, with real faults."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from dispatcher import providers
from dispatcher.errors import NotSubmitted, OutcomeUnknown
from dispatcher.provider import FindsLost, LookUp, OutgoingBatch, Provider, Verdict
from dispatcher.sandbox import Sandbox
from tests.providers.rows import assert_discreet, batch_of, connect, let_in, ordinary, some


def batch_for(provider: Provider, numbers: list[int], **fields: Any) -> OutgoingBatch:
    """Return a batch that can be looked for: where only what is scheduled is listed, one for later."""
    if provider.name == "winsms":
        fields["scheduled_for"] = (datetime.now(UTC) + timedelta(minutes=10)).replace(second=0, microsecond=0)
    return batch_of(numbers, **fields)


def look_for(provider: Provider, lost: OutgoingBatch, sandbox: Sandbox, *, ago: float = 0) -> LookUp:
    """Look for a batch that was attempted so many seconds ago; throughput is asked for before each request."""
    if not isinstance(provider, FindsLost):
        pytest.skip("it finds no lost batches")
    before = len(sandbox.record.requests)
    waits: list[None] = []
    found = provider.find(lost, datetime.now(UTC) - timedelta(seconds=ago), lambda: waits.append(None))
    assert len(waits) == len(sandbox.record.requests) - before
    assert not any(request.sends for request in sandbox.record.requests[before:])
    assert_discreet(found.evidence, lost)
    return found


def lose(provider: Provider, batch: OutgoingBatch, sandbox: Sandbox, kind: str) -> None:
    sandbox.fault(kind, count=1)
    with pytest.raises(OutcomeUnknown):
        provider.submit(batch)


def each_found(provider: Provider, lost: OutgoingBatch, found: LookUp, sandbox: Sandbox) -> None:
    assert found.verdict is Verdict.FOUND
    assert found.answers is not None
    ids = found.answers.provider_message_ids
    assert len(ids) == len(found.answers.costs) == len(lost)
    assert not found.answers.missing
    kept = {
        str((message.details or {}).get("session", message.message_id)): message
        for message in sandbox.record.messages
    }
    if provider.name == "bsg":
        assert {str((m.details or {})["campaign"]) for m in kept.values()} == {found.answers.provider_reference}
    else:
        assert [kept[theirs or ""].number for theirs in ids] == list(map(str, lost.numbers))


@pytest.mark.parametrize("personalised", [False, True])
@pytest.mark.parametrize("kind", ["drop_after", "500_after", "html", "cut_body"])
def test_what_was_carried_out_is_found(provider: Provider, sandbox: Sandbox, kind: str, personalised: bool) -> None:
    numbers = some(provider, 40)
    texts = [f"Number {at}, {{{{field}}}} and  more" for at in range(len(numbers))]
    batch = batch_for(provider, numbers, **({"texts": texts} if personalised else {}))
    lose(provider, batch, sandbox, kind)
    each_found(provider, batch, look_for(provider, batch, sandbox), sandbox)
    # What is unknown of a batch may be some of its messages.
    half = numbers[::2]
    part = dataclasses.replace(
        batch,
        numbers=half,
        references=batch.references[::2],
        segments=batch.segments[::2],
        texts=None if batch.texts is None else batch.texts[::2],
    )
    found = look_for(provider, part, sandbox)
    assert found.answers is not None
    assert len(found.answers.provider_message_ids) == len(half)


@pytest.mark.parametrize("kind", ["drop_before", "500"])
def test_what_was_not_carried_out_is_absent(provider: Provider, sandbox: Sandbox, kind: str) -> None:
    batch = batch_for(provider, some(provider))
    lose(provider, batch, sandbox, kind)
    found = look_for(provider, batch, sandbox)
    assert (found.verdict, found.answers) == (Verdict.ABSENT, None)


def test_what_others_were_sent_is_not_taken_for_it(provider: Provider, sandbox: Sandbox) -> None:
    numbers = ordinary(9)
    for number in numbers[3:]:
        other = batch_for(provider, [number])
        provider.submit(other)
    batch = batch_for(provider, numbers[: min(3, provider.capabilities.messages_per_request)])
    assert look_for(provider, batch, sandbox).verdict is Verdict.ABSENT


@pytest.mark.parametrize("kind", ["500", "429", "drop_before", "html", "cut_json", "empty"])
def test_while_the_provider_cannot_be_read_nothing_is_proven(provider: Provider, sandbox: Sandbox, kind: str) -> None:
    batch = batch_for(provider, some(provider))
    provider.submit(batch)
    sandbox.fault(kind)
    with pytest.raises(NotSubmitted) as caught:
        look_for(provider, batch, sandbox)
    assert_discreet(str(caught.value), batch)


def test_no_request_is_made_without_throughput(provider: Provider, sandbox: Sandbox) -> None:
    def none() -> None:
        raise NotSubmitted("no throughput")

    if not isinstance(provider, FindsLost):
        pytest.skip("it finds no lost batches")
    with pytest.raises(NotSubmitted, match="no throughput"):
        provider.find(batch_for(provider, some(provider)), datetime.now(UTC), none)
    assert sandbox.record.requests == []


GRACES: list[tuple[str, timedelta]] = [
    ("bsg", timedelta(seconds=120)),
    ("sakari", timedelta(minutes=15)),
    ("winsms", timedelta(seconds=60)),
]


@pytest.mark.parametrize(("name", "grace"), GRACES)
def test_the_grace_begins_when_the_request_is_over(name: str, grace: timedelta, sandbox: Sandbox) -> None:
    def said(**settings: Any) -> timedelta | None:
        return connect(name, sandbox, timeout=7.0, **settings).capabilities.lookup_grace

    assert said() == grace + timedelta(seconds=7)
    assert said(lookup_grace_seconds=2.5) == timedelta(seconds=9.5)
    assert said(lookup_grace_seconds="") is None
    model = providers.settings_models()[name]
    with pytest.raises(ValueError, match="lookup_grace_seconds"):
        model(lookup_grace_seconds=0)


def test_at_bsg_a_resend_of_what_was_carried_out_is_unknown_and_ends_with_the_first(sandbox: Sandbox) -> None:
    provider = let_in("bsg", sandbox)
    batch = batch_of(ordinary(3))
    lose(provider, batch, sandbox, "drop_after")
    with pytest.raises(OutcomeUnknown, match="earlier attempt"):
        provider.submit(batch)
    each_found(provider, batch, look_for(provider, batch, sandbox), sandbox)
    assert sandbox.record.duplicates() == []


def test_sakaris_list_is_read_page_by_page(sandbox: Sandbox) -> None:
    provider = let_in("sakari", sandbox)
    batch = batch_of(ordinary(120))
    lose(provider, batch, sandbox, "drop_after")
    each_found(provider, batch, look_for(provider, batch, sandbox), sandbox)
    assert len([request for request in sandbox.record.requests if not request.sends]) == 2


@pytest.mark.parametrize("kind", ["drop_after", "drop_before"])
def test_a_campaign_at_sakari_is_found_by_its_name(sandbox: Sandbox, kind: str) -> None:
    provider = let_in("sakari", sandbox)
    batch = batch_of(ordinary(3), options={"as_campaign": "1"})
    provider.prepare(batch)  # type: ignore[attr-defined]
    lose(provider, batch, sandbox, kind)
    found = look_for(provider, batch, sandbox)
    if kind == "drop_before":
        assert (found.verdict, found.answers) == (Verdict.ABSENT, None)
        return
    assert found.verdict is Verdict.FOUND
    assert found.answers is not None
    assert (found.answers.provider_reference or "").startswith("campaign:a1")
    assert found.answers.note == f"waits to be started at Sakari: dispatcher-{batch.reference}"
    other = dataclasses.replace(batch, reference="ab" * 16)
    assert look_for(provider, other, sandbox).verdict is Verdict.ABSENT
    provider.submit(batch)
    again = look_for(provider, batch, sandbox).answers
    assert again is not None
    assert "more than once" in (again.note or "")
