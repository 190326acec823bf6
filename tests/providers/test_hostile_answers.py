"""Whatever a provider answers to whatever question: a value that the ledger can keep, or a ProviderError."""

import contextlib
import json
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dispatcher import providers, transport
from dispatcher.errors import OutcomeUnknown, ProviderError, Unreachable
from dispatcher.ledger.database import micros, millionths
from dispatcher.message import MessageState
from dispatcher.provider import Answers, Awaited, LookUp, OutgoingBatch, ReceiptPage
from dispatcher.sandbox import Sandbox
from dispatcher.throughput import LocalTokens
from tests.misbehaving import Server, answer
from tests.providers.rows import ROWS, batch_of, connect, ordinary
from tests.providers.vendor import Vendor

EXAMPLES = int(os.environ.get("DISPATCHER_TEST_EXAMPLES", "0"))
Ask = Callable[[Any], Any]
AT = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)


class KeptTokens(LocalTokens):
    """A token is there, or never is: then what was answered is the answer to the login as well."""

    there = True

    def get(self, name: str) -> str | None:
        return "a-token" if self.there else None

    def keep(self, name: str, token: str, *, seconds: float) -> None:
        assert 0 < seconds < 10**9
        token.encode()

    def first(self, name: str, *, seconds: float) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class Question:
    name: str
    ask: Ask
    batch: OutgoingBatch | None = None
    awaited: tuple[Awaited, ...] = ()
    sends: bool = False


def batch_for(name: str, **more: Any) -> OutgoingBatch:
    return batch_of(ordinary(1 if name == "netsapiens" else 3), **more)


def questions(name: str, provider: Any, ids: list[str | None], reference: str | None) -> list[Question]:
    """Return every question that this provider can be asked."""
    batch = batch_for(name)
    awaited = tuple(
        Awaited(
            message_id=at,
            number=number,
            reference=batch.references[at],
            provider_message_id=ids[at] or f"id{at}",
            provider_reference=reference or "1",
        )
        for at, number in enumerate(batch.numbers)
    )
    later = batch_for(name, scheduled_for=datetime.now(UTC).replace(microsecond=0) + timedelta(hours=3))
    patience = iter(range(30))

    def wait() -> None:
        if next(patience, None) is None:
            raise Unreachable("no patience")

    known: dict[str, Question] = {
        "submit": Question(name="submit", ask=lambda p: p.submit(batch), batch=batch, sends=True),
        "fetch_receipts": Question(
            name="fetch_receipts", ask=lambda p: p.fetch_receipts(awaited, None), awaited=awaited
        ),
        "find": Question(name="find", ask=lambda p: p.find(batch, AT, wait), batch=batch),
        "find_later": Question(name="find", ask=lambda p: p.find(later, AT, wait), batch=later),
        "list_scheduled": Question(name="list_scheduled", ask=lambda p: p.list_scheduled(None)),
        "recall": Question(name="recall", ask=lambda p: p.recall(["1001", "1002"])),
        "balance": Question(name="balance", ask=lambda p: p.balance()),
        "check": Question(name="check", ask=lambda p: p.check()),
        "opt_outs": Question(name="opt_outs", ask=lambda p: p.opt_outs(None)),
        "incoming": Question(name="incoming", ask=lambda p: p.incoming(None)),
        "stop": Question(name="stop", ask=lambda p: p.stop("1")),
        "price": Question(name="price", ask=lambda p: p.price(batch)),
        "prepare": Question(name="prepare", ask=lambda p: p.prepare(batch)),
        "share": Question(name="share", ask=lambda p: p.share("a.png", "image/png", b"x")),
        "template_text": Question(name="template_text", ask=lambda p: p.template_text("1")),
        "contacts_with_tag": Question(name="contacts_with_tag", ask=lambda p: p.contacts_with_tag("vip", None)),
        "renew_subscriptions": Question(
            name="renew_subscriptions", ask=lambda p: p.renew_subscriptions(now=AT, ahead=timedelta(days=1))
        ),
    }
    found = [question for question in known.values() if hasattr(provider, question.name)]
    for resource in provider.resources() if hasattr(provider, "resources") else []:
        calls: dict[str, Ask | None] = {
            "find": resource.find and (lambda _, r=resource: r.find({}, None)),
            "show": resource.show and (lambda _, r=resource: r.show("1")),
            "create": resource.create and (lambda _, r=resource: r.create({"name": "x"})),
            "update": resource.update and (lambda _, r=resource: r.update("1", {"name": "x"})),
            "delete": resource.delete and (lambda _, r=resource: r.delete("1")),
            **{verb: lambda _, call=call: call("1") for verb, call in resource.actions.items()},
            **{verb: lambda _, call=call: call("a.csv", b"x", {}) for verb, call in resource.uploads.items()},
        }
        found += [Question(name=f"{resource.name} {verb}", ask=ask) for verb, ask in calls.items() if ask]
    return found


def asked(question: Question, provider: Any) -> Any:
    """Return what was understood, or our error; any other is a failure of the test."""
    try:
        return question.ask(provider)
    except ProviderError as error:
        str(error).encode()
        return error


def check(question: Question, found: Any) -> None:
    """Hold what was understood against what was asked."""
    assert_keepable(found)
    answers = found.answers if isinstance(found, LookUp) else found
    if isinstance(answers, Answers) and question.batch is not None:
        every = set(range(len(question.batch)))
        assert len(answers.provider_message_ids) == len(answers.costs) == len(every)
        assert set(answers.refused) <= every
        assert answers.missing <= every
        assert not answers.missing & set(answers.refused)
        known = [
            one
            for at, one in enumerate(answers.provider_message_ids)
            if one and at not in answers.refused and at not in answers.missing
        ]
        assert len(known) == len(set(known)), "two messages under one id"
        assert all(refusal.reason for refusal in answers.refused.values())
    if isinstance(found, ReceiptPage):
        ours = {one.message_id for one in question.awaited}
        assert {receipt.message_id for receipt in found.receipts} <= ours
        assert {receipt.state for receipt in found.receipts} <= {
            MessageState.SUBMITTED,
            MessageState.DELIVERED,
            MessageState.UNDELIVERED,
            MessageState.EXPIRED,
        }


def assert_keepable(value: Any) -> None:
    """Everything that came out can go into a database: whole numbers of 64 bits, money, moments, text."""
    match value:
        case bool() | None:
            return
        case Decimal():
            assert value.is_finite()
            assert abs(millionths(value)) < 2**63
        case datetime():
            assert value.tzinfo is not None
            assert abs(micros(value)) < 2**63
        case str():
            value.encode()
            assert "\0" not in value, "PostgreSQL keeps no NUL"
        case _ if is_dataclass(value):
            for part in fields(value):
                inner = getattr(value, part.name)
                if part.name == "number":
                    assert 0 < inner < 10**16
                assert_keepable(inner)
        case dict():
            assert_keepable(list(value.values()))
        case list() | tuple() | frozenset():
            for inner in value:
                assert_keepable(inner)


# --- Answers: recorded ones, mutated; arbitrary JSON; arbitrary bytes -------------------------------------------------

# Put in as words, taken out as they are: JSON has them, Python's encoder has not.
RAW = [
    "1e400",
    "-1e400",
    "1e999999999",
    "-1e300",
    "1e-999999999",
    "9" * 40,
    "9" * 5000,
    "NaN",
    "Infinity",
    "1e18",
    "-0.0",
    "0.1e1",
]
ODD: list[object] = [
    *(f"@@{word}@@" for word in RAW),
    None, True, False, 0, 1, -1, 2**53, 2**63, 2**64, 0.5, "", " ", "0", "1", "-1", "yes", "false", "accepted", "delivered",
    "failed", "a\x00b", "\x1b[2J", "\\ud800", "2026-12-01T09:00:00Z", "0001-01-01T00:00:00+14:00", "99991231235959",
    "9999-12-31T23:59:59-14:00", "20261201090000", "27820000000", "+27820000000", "²", "١٢٣٤٥٦٧٨", "x" * 5000, [], {}, [[]], [None], {"id": 1},
]  # fmt: skip


def encoded(value: object) -> bytes:
    text = json.dumps(value)
    for word in RAW:
        text = text.replace(f'"@@{word}@@"', word)
    return text.replace("\\\\ud800", "\\ud800").encode()


def places(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*path, key))


def mutated(body: bytes, dice: random.Random) -> bytes:
    """Return a recorded answer with some things changed, as a vendor on a bad day would."""
    try:
        value = json.loads(body)
    except ValueError:
        value = {}
    for _ in range(dice.choice([1, 1, 1, 2, 4])):
        every = list(places(value))
        path = dice.choice(every)
        if not path:
            if dice.random() < 0.3:
                value = dice.choice(ODD)
            continue
        around = value
        for key in path[:-1]:
            around = around[key]
        what = dice.choice(["odd", "odd", "odd", "delete", "twice", "swap", "text"])
        if what == "odd":
            around[path[-1]] = dice.choice(ODD)
        elif what == "delete":
            del around[path[-1]]
        elif what == "twice" and isinstance(around, list):
            around.append(around[path[-1]])
        elif what == "swap":
            other = value
            for key in dice.choice(every):
                other = other[key]
            around[path[-1]] = json.loads(json.dumps(other))
        elif what == "text":
            around[path[-1]] = str(around[path[-1]])
    found = encoded(value)
    if dice.random() < 0.1:
        cut = dice.randrange(len(found))
        found = found[:cut] + dice.randbytes(2) * (dice.random() < 0.5)
    return found


def invented(keys: list[str], dice: random.Random, depth: int = 4) -> Any:
    """Return arbitrary JSON that uses the vendor's own names."""
    kind = dice.random() if depth else 1.0
    if kind < 0.35:
        return {dice.choice(keys): invented(keys, dice, depth - 1) for _ in range(dice.randrange(6))}
    if kind < 0.6:
        return [invented(keys, dice, depth - 1) for _ in range(dice.randrange(5))]
    return dice.choice(ODD) if dice.random() < 0.8 else dice.choice([dice.getrandbits(70), dice.uniform(-9, 9)])


@pytest.fixture(scope="module")
def recorded() -> dict[str, tuple[dict[str, list[bytes]], list[str | None], str | None]]:
    """What the sandbox answers to each question of each provider, and the ids that it gave."""
    found: dict[str, Any] = {}
    bodies: list[bytes] = []
    read = transport._read
    with pytest.MonkeyPatch.context() as patch, Sandbox() as sandbox:

        def recording(response: Any) -> bytes:
            bodies.append(read(response))
            return bodies[-1]

        patch.setattr(transport, "_read", recording)
        for name in ROWS:
            provider: Any = connect(name, sandbox)
            first = replace(batch_for(name), reference="f" * 32, references=["e" * 31 + str(at) for at in range(3)])
            last = provider.submit(replace(first, references=first.references[: len(first)]))
            ids, reference = list(last.provider_message_ids), last.provider_reference
            answers: dict[str, list[bytes]] = {}
            for question in questions(name, provider, ids, reference):
                bodies.clear()
                with contextlib.suppress(ProviderError):
                    question.ask(provider)
                answers[question.name] = answers.get(question.name, []) + [body for body in bodies if body]
            found[name] = answers, ids, reference
    return found


@pytest.mark.parametrize("name", sorted(ROWS))
def test_whatever_is_answered_is_understood_or_an_error_of_ours(name: str, recorded: Any) -> None:
    bodies, ids, reference = recorded[name]
    server = Server(answer())
    tokens = KeptTokens()
    model = providers.settings_models()[name]
    made = {"base_url": server.url, "timeout": 5.0, **ROWS[name].settings}
    provider: Any = providers.connect(name, model(**made), tokens)
    names = [question.name for question in questions(name, provider, ids, reference)]
    every = sorted({body for of_one in bodies.values() for body in of_one}) or [b"{}"]
    keys = sorted(
        {str(key) for body in every if body[:1] in b"[{" for path in places(json.loads(body)) for key in path}
    )

    @settings(
        derandomize=not EXAMPLES,
        max_examples=EXAMPLES or 200,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(
        at=st.one_of(st.just(0), st.integers(0, len(names) - 1), st.integers(0, min(12, len(names) - 1))),
        status=st.sampled_from([200] * 8 + [201, 202, 204, 226, 299, 302, 400, 404, 408, 418, 429, 500, 599]),
        way=st.sampled_from(["mutated"] * 6 + ["json", "json", "bytes"]),
        seed=st.integers(0, 2**32),
        there=st.sampled_from([True, True, True, True, False]),
    )
    def hold(at: int, status: int, way: str, seed: int, there: bool) -> None:
        question = questions(name, provider, ids, reference)[at]
        dice = random.Random(seed)
        if way == "mutated":
            body = mutated(dice.choice(bodies.get(question.name) or every), dice)
        else:
            body = encoded(invented(keys, dice)) if way == "json" else dice.randbytes(dice.randrange(80))
        server.script = [answer(status, body, "Content-Type: application/json")]
        server.requests.clear()
        tokens.there = there
        found = asked(question, provider)
        if not isinstance(found, ProviderError):
            check(question, found)
        elif question.sends and there and 200 <= status < 300 and not is_json(body):
            assert isinstance(found, OutcomeUnknown), f"{found!r} on {body!r}"
        if question.sends and tokens.there:
            assert len(server.requests) == 1

    with server:
        hold()


@pytest.mark.parametrize("word", ["a\x00b", "\x00", "=1+1\x1b[2J", "@@1e999999999@@", "@@-1e300@@", "x" * 5000])
@pytest.mark.parametrize("name", sorted(ROWS))
def test_each_word_of_an_answer_in_turn_is_a_hostile_one(name: str, word: str, recorded: Any) -> None:
    bodies, ids, reference = recorded[name]
    with Server(answer()) as server:
        model = providers.settings_models()[name]
        made = {"base_url": server.url, "timeout": 10.0, **ROWS[name].settings}
        provider: Any = providers.connect(name, model(**made), KeptTokens())
        for question in questions(name, provider, ids, reference)[:6]:
            body = next(iter(bodies.get(question.name) or []), b"{}")
            for path in places(json.loads(body)):
                value = around = json.loads(body)
                for key in path[:-1]:
                    around = around[key]
                if path and not isinstance(around[path[-1]], dict | list):
                    around[path[-1]] = word
                server.script = [answer(200, encoded(value))]
                found = asked(question, provider)
                if not isinstance(found, ProviderError):
                    check(question, found)


def test_an_id_that_two_messages_have_is_nobodys() -> None:
    batch = batch_for("winsms")
    ids = [7, 8, 8]
    rows = [
        {"accepted": True, "apiMessageId": theirs, "clientMessageId": str(at), "mobileNumber": str(batch.numbers[at])}
        for at, theirs in enumerate(ids)
    ]
    answers = Vendor({"recipients": rows}).ask(lambda provider: provider.submit(batch))
    assert answers.provider_message_ids == ["7", None, None]
    assert not answers.missing
    assert not answers.refused


DEEP = {
    "lists": b"[" * 100_000,
    "objects": b'{"data":' * 100_000,
    "closed": b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "in a field nobody reads": b'{"other":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a long word": b'{"data": "' + b"x" * 10_000_000 + b'"}',
    "a long key": b'{"' + b"x" * 10_000_000 + b'": 1}',
    "a long number": b'{"data": ' + b"9" * 10_000_000 + b"}",
}


@pytest.mark.parametrize("kind", list(DEEP))
@pytest.mark.parametrize("name", sorted(ROWS))
def test_deep_and_long_answers_are_errors_of_ours(name: str, kind: str, recorded: Any) -> None:
    _, ids, reference = recorded[name]
    tokens = KeptTokens()
    with Server(answer(200, DEEP[kind])) as server:
        model = providers.settings_models()[name]
        made = {"base_url": server.url, "timeout": 10.0, **ROWS[name].settings}
        provider: Any = providers.connect(name, model(**made), tokens)
        for status in (200, 400):
            server.script = [answer(status, DEEP[kind])]
            every = questions(name, provider, ids, reference)
            for question in every if len(DEEP[kind]) < 1_000_000 else every[:2]:
                found = asked(question, provider)
                if not isinstance(found, ProviderError):
                    check(question, found)  # told by the status alone, or without a request
                    continue
                assert status == 400 or not question.sends or isinstance(found, OutcomeUnknown)
                assert len(str(found)) < 500


def is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True
