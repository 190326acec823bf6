"""How the contract suite reaches each provider in the sandbox: one row a provider, and what the tests share."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest

from dispatcher import providers
from dispatcher.errors import ProviderError
from dispatcher.provider import Answers, ChecksCredentials, OutgoingBatch, Provider, Refusal, Tokens
from dispatcher.sandbox import Accepted, Sandbox
from dispatcher.throughput import LocalTokens

SECRET = "key-5f3a90c1d2"
TEXT = "Dear Nomvula, your parcel is at the counter."


@dataclass(frozen=True, kw_only=True)
class Row:
    """How the suite reaches one provider in the sandbox, and the credentials that it refuses."""

    base_path: str
    settings: dict[str, Any] = field(default_factory=dict)
    refused_settings: dict[str, Any] = field(default_factory=dict)
    logs_in: bool = False
    """Whether a login goes before the first call; its token is kept, and dropped when a call refuses it with 401."""
    ids_in_answer: bool = True
    """Whether the answer to a submission gives each message an id."""
    counts_in_answer: bool = False
    """Whether the answer also counts who was accepted, so that one whose row is absent is accepted, without an id."""
    refusals_in_answer: bool = True
    """Whether the answer to a submission tells which recipients were refused."""
    costs_in_answer: bool = True
    """Whether the answer to a submission tells what each message costs."""
    times_in_receipts: bool = True
    """Whether a receipt tells when a message was delivered."""
    prepaid: bool = True
    """Whether the account pays from credit that can run out."""


ROWS = {
    "bsg": Row(
        base_path="",
        settings={"api_key": SECRET, "sender": "Dispatcher", "time_zone": "UTC"},
        refused_settings={"api_key": "bad-" + SECRET},
        logs_in=True,
        ids_in_answer=False,
        refusals_in_answer=False,
        costs_in_answer=False,
    ),
    "netsapiens": Row(
        base_path="/ns-api/v2",
        times_in_receipts=False,
        settings={
            "client_id": "our-client",
            "client_secret": SECRET,
            "username": "1000@sandbox.example",
            "password": SECRET[::-1],
            "from_number": "12025550100",
        },
        refused_settings={"client_secret": "bad-" + SECRET},
        logs_in=True,
        refusals_in_answer=False,
        costs_in_answer=False,
        prepaid=False,
    ),
    "sakari": Row(
        base_path="",
        settings={"client_id": "our-client", "client_secret": SECRET, "account_id": "5e0f00000000000000000001"},
        refused_settings={"client_secret": "bad-" + SECRET},
        logs_in=True,
        counts_in_answer=True,
    ),
    "winsms": Row(
        base_path="/api/rest/v1", settings={"api_key": SECRET}, refused_settings={"api_key": "bad-" + SECRET}
    ),
}


def connect(name: str, sandbox: Sandbox, *, tokens: Tokens | None = None, **settings: Any) -> Provider:
    row = ROWS[name]
    model = providers.settings_models()[name]
    arguments = {"base_url": sandbox.url + row.base_path, "timeout": 10.0, **row.settings, **settings}
    return providers.connect(name, model(**arguments), tokens or LocalTokens())


def let_in(name: str, sandbox: Sandbox, **settings: Any) -> Provider:
    """Connect to a provider whose login, if it has one, is over and forgotten: the token is there."""
    tokens = LocalTokens()
    if ROWS[name].logs_in:
        first = connect(name, sandbox, tokens=tokens)
        assert isinstance(first, ChecksCredentials)
        first.check()
        sandbox.record.requests.clear()
    return connect(name, sandbox, tokens=tokens, **settings)


def batch_of(numbers: Sequence[int], **fields: Any) -> OutgoingBatch:
    fields = {"text": None if fields.get("texts") else TEXT, "segments": [1] * len(numbers), **fields}
    references = [f"{number:032x}" for number in numbers]
    return OutgoingBatch(reference="c0ffee" * 5 + "ab", numbers=numbers, references=references, **fields)


def ordinary(count: int) -> list[int]:
    return [27820000000 + 7919 * at for at in range(count)]


def some(provider: Provider, count: int = 3) -> list[int]:
    """Return ordinary numbers, no more than one request carries."""
    return ordinary(min(count, provider.capabilities.messages_per_request))


def submit(provider: Provider, batch: OutgoingBatch) -> Answers:
    """Submit a batch in as many requests as it takes, and return the answers as one."""
    most = provider.capabilities.messages_per_request
    ids: list[str | None] = []
    costs: list[Decimal | None] = []
    refused: dict[int, Refusal] = {}
    missing: set[int] = set()
    for start in range(0, len(batch), most):
        cut = slice(start, start + most)
        part = dataclasses.replace(
            batch,
            numbers=batch.numbers[cut],
            references=batch.references[cut],
            segments=batch.segments[cut],
            texts=None if batch.texts is None else batch.texts[cut],
        )
        last = provider.submit(part)
        ids += last.provider_message_ids
        costs += last.costs
        refused |= {start + at: refusal for at, refusal in last.refused.items()}
        missing |= {start + at for at in last.missing}
    return dataclasses.replace(
        last, provider_message_ids=ids, costs=costs, refused=refused, missing=frozenset(missing)
    )


def accepted(sandbox: Sandbox) -> dict[str, Accepted]:
    """Return what was accepted by the id that the client knows it under: a session's, or the message's own."""
    return {
        str((message.details or {}).get("session", message.message_id)): message
        for message in sandbox.record.messages
    }


def taken(provider: Provider, answers: Answers, sandbox: Sandbox) -> list[Accepted | None]:
    """Return what was accepted for each message of a batch: by the ids in the answer, else in the campaign's order."""
    known = accepted(sandbox)
    if ROWS[provider.name].ids_in_answer:
        return [None if theirs is None else known[theirs] for theirs in answers.provider_message_ids]
    of_it = (m for m in known.values() if str((m.details or {}).get("campaign")) == answers.provider_reference)
    return [None if at in answers.refused else next(of_it) for at in range(len(answers.costs))]


def failure(provider: Provider, batch: OutgoingBatch | None = None) -> ProviderError:
    """Return what a submission raises; whatever it is, it tells nobody a text, a number or a credential."""
    batch = batch or batch_of(some(provider))
    with pytest.raises(ProviderError) as caught:
        provider.submit(batch)
    assert_discreet(f"{caught.value} {caught.value!r} {caught.value.__context__!r} {caught.value.__dict__}", batch)
    return caught.value


def assert_discreet(words: str, batch: OutgoingBatch) -> None:
    for secret in (SECRET, *map(str, batch.numbers), *filter(None, [batch.text, *(batch.texts or ())])):
        assert secret not in words
