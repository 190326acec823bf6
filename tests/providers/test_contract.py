"""What every provider owes its callers: one suite, over real HTTP against the sandbox, one row a provider."""

import dataclasses
import logging
import socket
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from dispatcher import providers
from dispatcher.errors import (
    AuthenticationFailed,
    InsufficientCredit,
    InvalidRequest,
    Misconfigured,
    OutcomeUnknown,
    ProviderError,
    Refused,
    SettingsError,
    Throttled,
    Unreachable,
)
from dispatcher.message import MessageState
from dispatcher.provider import (
    Answers,
    Awaited,
    ChecksCredentials,
    EstimatesPrice,
    FetchesReceipts,
    KnowsOptOuts,
    OutgoingBatch,
    Provider,
    Receipt,
    Schedules,
    StopsBatches,
    TellsBalance,
)
from dispatcher.sandbox import Sandbox
from dispatcher.throughput import LocalTokens
from tests.providers.rows import (
    ROWS,
    SECRET,
    TEXT,
    accepted,
    assert_discreet,
    batch_of,
    connect,
    failure,
    let_in,
    ordinary,
    some,
    submit,
    taken,
)

OPTED_OUT, BAD, FAILS, SILENT, NOT_SENT = 12025550199, 12025550198, 12025550197, 12025550196, 12025550195


def test_the_folder_the_sandbox_and_this_suite_name_the_same_providers() -> None:
    sandbox = Sandbox()
    sandbox.close()
    assert set(providers.names()) == {app.name for app in sandbox.apps} == set(ROWS)


# --- Answers ----------------------------------------------------------------------------------------------------------


def test_one_answer_per_message_in_order(provider: Provider, sandbox: Sandbox) -> None:
    batch = batch_of(ordinary(50))
    answers = submit(provider, batch)
    assert (len(answers.provider_message_ids), len(answers.costs)) == (50, 50)
    assert not answers.refused
    assert not answers.missing
    assert answers.pause is None
    known = taken(provider, answers, sandbox)
    assert [message and message.number for message in known] == [str(number) for number in batch.numbers]
    told_cost = Decimal if ROWS[provider.name].costs_in_answer else type(None)
    assert all(isinstance(cost, told_cost) for cost in answers.costs)
    assert {message and message.text for message in known} == {TEXT}
    requests = -(-50 // provider.capabilities.messages_per_request)
    assert [entry.sends for entry in sandbox.record.requests] == [True] * requests


def test_a_text_each(provider: Provider, sandbox: Sandbox) -> None:
    numbers = ordinary(40)
    texts = [f'Row {at}: "quoted", 100 % {{braces}} \\ back\nline — ünïcode ✓ 🎉' for at in range(40)]
    answers = submit(provider, batch_of(numbers, texts=texts, segments=[2] * 40))
    got = [message and (message.number, message.text) for message in taken(provider, answers, sandbox)]
    assert got == list(zip(map(str, numbers), texts, strict=True))


def test_a_batch_of_one(provider: Provider, sandbox: Sandbox) -> None:
    for number, texts in zip(ordinary(2), (None, [TEXT]), strict=True):
        answers = provider.submit(batch_of([number], texts=texts))
        (message,) = taken(provider, answers, sandbox)
        assert message == sandbox.record.messages[-1]
        assert message.number == str(number)


@pytest.mark.parametrize("texts", [{}, {"texts": [TEXT] * 4}])
def test_refused_recipients_stand_between_accepted_ones(
    provider: Provider, sandbox: Sandbox, texts: dict[str, Any]
) -> None:
    if not ROWS[provider.name].refusals_in_answer:
        pytest.skip("its answer tells nothing of single recipients")
    good = ordinary(2)
    answers = submit(provider, batch_of([good[0], OPTED_OUT, BAD, good[1]], **texts))
    assert set(answers.refused) == {1, 2}
    assert answers.refused[1].opted_out
    assert not answers.refused[2].opted_out
    assert all(refusal.reason for refusal in answers.refused.values())
    assert not answers.missing
    known = accepted(sandbox)
    assert [known[answers.provider_message_ids[at] or ""].number for at in (0, 3)] == [str(n) for n in good]
    assert answers.provider_message_ids[1:3] == [None, None]


def test_everyone_refused_is_still_an_answer(provider: Provider) -> None:
    if not ROWS[provider.name].refusals_in_answer:
        pytest.skip("its answer tells nothing of single recipients")
    answers = submit(provider, batch_of([OPTED_OUT, BAD]))
    assert set(answers.refused) == {0, 1}
    assert answers.pause is None


@pytest.mark.parametrize("personalised", [False, True])
def test_the_largest_batch_that_planning_makes_is_taken(
    provider: Provider, sandbox: Sandbox, personalised: bool
) -> None:
    can = provider.capabilities
    segments = can.segments or 1
    # Each sign is one of GSM-7, and two bytes of JSON.
    text = ('"\n\u00e9' * 400)[: min(can.characters or 10_000, 153 * segments)]
    room = can.bytes_per_request or 10**9
    size = len(msgspec.json.encode(text))
    most = can.messages_per_request
    if personalised:
        most = min(most, room // (size + can.bytes_per_message))
    else:
        most = min(most, (room - size) // can.bytes_per_message) if can.bytes_per_message else most
    numbers = [999999999999999 - at for at in range(most)]
    fields = {"texts": [text] * most} if personalised else {"text": text}
    when = datetime.now(UTC) + timedelta(days=1) if can.schedule_ahead else None
    answers = provider.submit(batch_of(numbers, segments=[segments] * most, scheduled_for=when, **fields))
    assert len(accepted(sandbox)) == most
    assert not answers.missing


def test_more_than_a_request_carries_is_never_sent(provider: Provider, sandbox: Sandbox) -> None:
    can = provider.capabilities
    assert isinstance(failure(provider, batch_of(ordinary(can.messages_per_request + 1))), InvalidRequest)
    if can.bytes_per_request is not None:
        texts = ["x" * (can.bytes_per_request // 2 + 1)] * 2
        assert isinstance(failure(provider, batch_of(ordinary(2), texts=texts)), InvalidRequest)
    assert sandbox.record.requests == []


# --- Failures ---------------------------------------------------------------------------------------------------------

FAULTS: dict[str, tuple[type[ProviderError], dict[str, Any]]] = {
    "drop_before": (OutcomeUnknown, {}),  # the request was handed over: nobody can tell it from the next
    "drop_after": (OutcomeUnknown, {}),
    "hang_before": (OutcomeUnknown, {}),
    "hang_after": (OutcomeUnknown, {}),
    "500": (OutcomeUnknown, {}),
    "500_after": (OutcomeUnknown, {}),
    "html": (OutcomeUnknown, {}),
    "cut_json": (OutcomeUnknown, {}),
    "cut_body": (OutcomeUnknown, {}),
    "empty": (OutcomeUnknown, {}),
    "slow": (OutcomeUnknown, {"seconds": 2}),
    "429": (Throttled, {}),
    "429_retry_after": (Throttled, {"retry_after": 7}),
    "refused 400": (InvalidRequest, {"status": 400}),
    "refused 401": (AuthenticationFailed, {"status": 401}),
    "refused 402": (InsufficientCredit, {"status": 402}),
    "refused 403": (AuthenticationFailed, {"status": 403}),
    "refused 404": (Misconfigured, {"status": 404}),
    "refused 413": (InvalidRequest, {"status": 413}),
    "refused 422": (InvalidRequest, {"status": 422}),
    "refused 503": (OutcomeUnknown, {"status": 503}),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("personalised", [False, True])
def test_each_failure_is_told_apart_and_costs_one_request(
    name: str, sandbox: Sandbox, fault: str, personalised: bool
) -> None:
    error, fields = FAULTS[fault]
    kind = fault.partition(" ")[0]
    if fault == "refused 401" and ROWS[name].logs_in:
        error = Unreachable  # its token may have expired: the next call logs in anew
    provider = let_in(name, sandbox, timeout=0.2 if kind in {"slow", "hang_before", "hang_after"} else 10.0)
    sandbox.fault(kind, provider=name, **fields)
    numbers = some(provider)
    started = time.monotonic()
    raised = failure(provider, batch_of(numbers, texts=[f"{TEXT} {at}" for at in numbers] if personalised else None))
    assert time.monotonic() - started < 5
    assert type(raised) is error
    if isinstance(raised, Throttled):
        assert raised.retry_after == fields.get("retry_after")
    assert len(sandbox.record.requests) == 1


def test_wrong_credentials(name: str, sandbox: Sandbox) -> None:
    provider = connect(name, sandbox, **ROWS[name].refused_settings)
    assert isinstance(failure(provider), AuthenticationFailed)
    assert not sandbox.record.messages


def test_no_credentials(name: str, sandbox: Sandbox) -> None:
    settings = providers.settings_models()[name](base_url=sandbox.url)
    assert settings.missing()
    assert all(variable.startswith(f"DISPATCHER_{name.upper()}__") for variable in settings.missing())
    assert isinstance(failure(providers.connect(name, settings, LocalTokens())), AuthenticationFailed)
    assert sandbox.record.requests == []
    model = providers.settings_models()[name]
    assert model(**{"base_url": sandbox.url, **ROWS[name].settings}).missing() == []


def test_no_credit_at_all(provider: Provider, sandbox: Sandbox) -> None:
    if not ROWS[provider.name].prepaid:
        pytest.skip("it knows no credit")
    sandbox.record.set_credits(provider.name, 0)
    assert isinstance(failure(provider), InsufficientCredit)
    assert not sandbox.record.messages


def test_credit_that_runs_out_on_the_way(provider: Provider, sandbox: Sandbox) -> None:
    if not ROWS[provider.name].prepaid:
        pytest.skip("it knows no credit")
    sandbox.record.set_credits(provider.name, 2)
    try:
        answers = provider.submit(batch_of(ordinary(5)))
    except InsufficientCredit:  # a provider that takes all or nothing
        assert not sandbox.record.messages
        return
    assert len(sandbox.record.messages) == 5 - len(answers.refused)
    assert answers.pause


def test_rows_that_are_absent_are_missing_and_the_rest_is_matched(provider: Provider, sandbox: Sandbox) -> None:
    if provider.capabilities.messages_per_request == 1 or not ROWS[provider.name].ids_in_answer:
        pytest.skip("its answer has no rows")
    batch = batch_of(ordinary(30))
    sandbox.fault("missing_rows", provider=provider.name)
    answers = provider.submit(batch)
    absent = set(answers.missing)
    if ROWS[provider.name].counts_in_answer:
        assert not absent
        absent = {at for at, theirs in enumerate(answers.provider_message_ids) if theirs is None}
    assert 0 < len(absent) < 30
    assert_matched(provider, batch, dataclasses.replace(answers, missing=frozenset(absent)), sandbox)


def assert_matched(provider: Provider, batch: OutgoingBatch, answers: Answers, sandbox: Sandbox) -> None:
    for position, message in enumerate(taken(provider, answers, sandbox)):
        if position not in answers.missing:
            assert message is not None
            assert message.number == str(batch.numbers[position])


def test_nobody_listens(name: str, sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert type(failure(connect(name, sandbox, base_url=f"http://127.0.0.1:{port}"))) is Unreachable


def test_nothing_is_sent_after_the_deadline(provider: Provider, sandbox: Sandbox) -> None:
    batch = dataclasses.replace(batch_of(some(provider)), deadline=time.monotonic() - 0.001)
    assert type(failure(provider, batch)) is Unreachable
    assert sandbox.record.requests == []


def test_a_deadline_cuts_the_request_off(provider: Provider, sandbox: Sandbox) -> None:
    sandbox.fault("hang_after", provider=provider.name)
    batch = dataclasses.replace(batch_of(some(provider)), deadline=time.monotonic() + 0.1)
    assert type(failure(provider, batch)) is OutcomeUnknown


def test_many_threads_share_an_account(provider: Provider, sandbox: Sandbox) -> None:
    batches = [batch_of(ordinary(80)[at : at + 10]) for at in range(0, 80, 10)]
    found: list[tuple[OutgoingBatch, Answers]] = []
    threads = [threading.Thread(target=lambda b=b: found.append((b, submit(provider, b)))) for b in batches]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    for batch, answers in found:
        assert not answers.missing
        assert_matched(provider, batch, answers, sandbox)


# --- Discretion -------------------------------------------------------------------------------------------------------


def test_no_credential_text_or_number_is_shown(
    name: str, provider: Provider, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    batch = batch_of(some(provider))
    provider.submit(batch)
    sandbox.fault("refused", provider=name, status=422, count=1)
    failure(provider, batch)
    model = providers.settings_models()[name]
    settings = model(**{"base_url": sandbox.url, **ROWS[name].settings})
    assert_discreet(f"{caplog.text} {provider!r} {provider} {settings!r} {settings} {settings.model_dump()}", batch)


def test_the_name_is_that_of_its_file(name: str, provider: Provider) -> None:
    assert provider.name == name


def test_the_capabilities_are_sound(name: str, sandbox: Sandbox) -> None:
    can = connect(name, sandbox, requests_per_second=3.5).capabilities
    assert can.requests_per_second == 3.5
    assert can.messages_per_request >= 1
    assert can.ids_per_receipt_request >= 1
    assert can.receipt_window > timedelta(0)
    assert can.schedule_ahead is None or can.schedule_ahead > can.schedule_least


def test_settings_of_another_kind_are_refused(name: str) -> None:
    with pytest.raises(SettingsError):
        providers.connect(name, providers.ProviderSettings(base_url="http://127.0.0.1:1"), LocalTokens())
    with pytest.raises(SettingsError, match="there is no provider 'nobody'"):
        providers.connect("nobody", providers.ProviderSettings(base_url="http://127.0.0.1:1"), LocalTokens())


# --- Abilities --------------------------------------------------------------------------------------------------------


def awaited(answers: Answers, numbers: Sequence[int]) -> list[Awaited]:
    return [
        Awaited(
            message_id=1000 + at,
            number=number,
            reference=f"{number:032x}",
            provider_message_id=answers.provider_message_ids[at],
            provider_reference=answers.provider_reference,
        )
        for at, number in enumerate(numbers)
    ]


def test_receipts_tell_the_fate_of_each_message(provider: Provider, sandbox: Sandbox) -> None:
    if not isinstance(provider, FetchesReceipts):
        pytest.skip("it tells no receipts when asked")
    numbers = [*ordinary(1), FAILS, NOT_SENT, SILENT]
    asked = awaited(submit(provider, batch_of(numbers)), numbers)
    found: dict[int, Receipt] = {}
    most = provider.capabilities.ids_per_receipt_request
    for start in range(0, len(asked), most):
        page = None
        while True:
            answer = provider.fetch_receipts(asked[start : start + most], page)
            found.update({receipt.message_id: receipt for receipt in answer.receipts})
            page = answer.next_page
            if page is None:
                break
    assert found[1000].state is MessageState.DELIVERED
    delivered_at = found[1000].at
    assert (delivered_at is not None) == ROWS[provider.name].times_in_receipts
    assert delivered_at is None or abs(delivered_at - datetime.now(UTC)) < timedelta(minutes=3)
    assert found[1001].state is MessageState.UNDELIVERED
    assert found[1001].reason
    assert found[1002].state is MessageState.UNDELIVERED
    assert 1003 not in found or found[1003].state is MessageState.SUBMITTED


def test_receipts_of_what_nobody_knows(provider: Provider) -> None:
    if not isinstance(provider, FetchesReceipts):
        pytest.skip("it tells no receipts when asked")
    nobody = Awaited(message_id=1, number=1, reference="0" * 32, provider_message_id=None, provider_reference=None)
    assert provider.fetch_receipts([]).receipts == []
    assert all(receipt.state is MessageState.SUBMITTED for receipt in provider.fetch_receipts([nobody]).receipts)


@pytest.mark.parametrize("fault", ["drop_after", "500", "html", "empty", "cut_json", "429", "refused"])
def test_a_question_that_fails_may_be_asked_again(provider: Provider, sandbox: Sandbox, fault: str) -> None:
    if not isinstance(provider, FetchesReceipts):
        pytest.skip("it tells no receipts when asked")
    numbers = some(provider, 2)
    asked = awaited(provider.submit(batch_of(numbers)), numbers)
    sandbox.fault(fault, provider=provider.name)
    error = {"429": Throttled, "refused": Refused}.get(fault, Unreachable)
    requests = len(sandbox.record.requests)
    with pytest.raises(error) as caught:
        provider.fetch_receipts(asked)
    assert_discreet(f"{caught.value!r}", batch_of(numbers))
    assert len(sandbox.record.requests) == requests + 1


def test_what_is_scheduled_is_listed_and_taken_back(provider: Provider, sandbox: Sandbox) -> None:
    if not isinstance(provider, Schedules):
        assert provider.capabilities.schedule_ahead is None or isinstance(provider, StopsBatches)
        pytest.skip("it has no schedule")
    when = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(days=2)
    numbers = ordinary(1200)
    ids: list[str] = []
    most = provider.capabilities.messages_per_request
    for start in range(0, len(numbers), most):
        batch = batch_of(numbers[start : start + most], scheduled_for=when)
        ids += [theirs for theirs in provider.submit(batch).provider_message_ids if theirs is not None]
    listed, page = {}, None
    while True:
        answer = provider.list_scheduled(page)
        assert answer.total == 1200
        listed.update({message.provider_message_id: message for message in answer.messages})
        page = answer.next_page
        if page is None:
            break
    assert list(listed) == ids
    assert [message.number for message in listed.values()] == numbers
    assert {message.send_at for message in listed.values()} == {when}
    recalls = provider.recall([*ids[:3], "999999999"])
    assert [recall.provider_message_id for recall in recalls] == [*ids[:3], "999999999"]
    assert [recall.recalled for recall in recalls] == [True, True, True, False]
    assert recalls[3].reason
    assert [recall.refunded for recall in recalls] == [Decimal(1), Decimal(1), Decimal(1), None]
    assert len(sandbox.record.recalled) == 3


def test_a_scheduled_batch_is_stopped_as_a_whole(provider: Provider, sandbox: Sandbox) -> None:
    if not isinstance(provider, StopsBatches) or provider.capabilities.schedule_ahead is None:
        pytest.skip("it stops no scheduled batches")
    when = datetime.now(UTC) + timedelta(days=2)
    later = provider.submit(batch_of(ordinary(3), scheduled_for=when)).provider_reference or ""
    stopped = provider.stop(later)
    assert (stopped.stopped, stopped.unsent) == (True, True)
    assert len(sandbox.record.recalled) == 3
    again = provider.stop(later)
    assert (again.stopped, again.unsent) == (False, False)
    assert again.reason
    gone = provider.submit(batch_of([number + 1 for number in ordinary(3)])).provider_reference or ""
    assert not provider.stop(gone).stopped
    assert len(sandbox.record.recalled) == 3


def test_a_price_is_told_before_sending(provider: Provider, sandbox: Sandbox) -> None:
    if not isinstance(provider, EstimatesPrice):
        pytest.skip("it tells no price beforehand")
    batch = batch_of(some(provider))
    amount = provider.price(batch).amount
    assert not sandbox.record.messages
    provider.submit(batch)
    assert amount == sum(Decimal(str(message.cost)) for message in sandbox.record.messages)


def test_who_has_opted_out_is_listed(provider: Provider, sandbox: Sandbox) -> None:
    if not isinstance(provider, KnowsOptOuts):
        pytest.skip("it lists no opt-outs")
    for number in ordinary(3):
        sandbox.record.opt_out(str(number), time.time())
    page = provider.opt_outs()
    assert [opt_out.number for opt_out in page.opt_outs] == ordinary(3)
    assert all(opt_out.reason for opt_out in page.opt_outs)
    assert page.next_page is None


def test_the_credentials_are_tried_without_sending(name: str, provider: Provider, sandbox: Sandbox) -> None:
    if not isinstance(provider, ChecksCredentials):
        pytest.skip("its credentials are tried by asking for the balance")
    assert SECRET not in provider.check()
    wrong = connect(name, sandbox, **ROWS[name].refused_settings)
    assert isinstance(wrong, ChecksCredentials)
    with pytest.raises(AuthenticationFailed):
        wrong.check()
    assert not any(entry.sends for entry in sandbox.record.requests)


def test_the_balance(provider: Provider, sandbox: Sandbox) -> None:
    if not isinstance(provider, TellsBalance):
        pytest.skip("it tells no balance")
    sandbox.record.set_credits(provider.name, 188.6)
    assert provider.balance() == Decimal("188.6")
