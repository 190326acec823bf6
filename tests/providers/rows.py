"""How the contract suite reaches each provider in the sandbox: one row a provider, and what the tests share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from dispatcher import providers
from dispatcher.errors import ProviderError
from dispatcher.provider import OutgoingBatch, Provider
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


ROWS = {
    "winsms": Row(
        base_path="/api/rest/v1", settings={"api_key": SECRET}, refused_settings={"api_key": "bad-" + SECRET}
    ),
}


def connect(name: str, sandbox: Sandbox, **settings: Any) -> Provider:
    row = ROWS[name]
    model = providers.settings_models()[name]
    arguments = {"base_url": sandbox.url + row.base_path, "timeout": 10.0, **row.settings, **settings}
    return providers.connect(name, model(**arguments), LocalTokens())


def batch_of(numbers: Sequence[int], **fields: Any) -> OutgoingBatch:
    fields = {"text": None if fields.get("texts") else TEXT, "segments": [1] * len(numbers), **fields}
    references = [f"{number:032x}" for number in numbers]
    return OutgoingBatch(reference="c0ffee" * 5 + "ab", numbers=numbers, references=references, **fields)


def ordinary(count: int) -> list[int]:
    return [27820000000 + 7919 * at for at in range(count)]


def accepted(sandbox: Sandbox) -> dict[str, Accepted]:
    return {str(message.message_id): message for message in sandbox.record.messages}


def failure(provider: Provider, batch: OutgoingBatch | None = None) -> ProviderError:
    """Return what a submission raises; whatever it is, it tells nobody a text, a number or a credential."""
    batch = batch or batch_of(ordinary(3))
    with pytest.raises(ProviderError) as caught:
        provider.submit(batch)
    assert_discreet(f"{caught.value} {caught.value!r} {caught.value.__context__!r} {caught.value.__dict__}", batch)
    return caught.value


def assert_discreet(words: str, batch: OutgoingBatch) -> None:
    for secret in (SECRET, *map(str, batch.numbers), *filter(None, [batch.text, *(batch.texts or ())])):
        assert secret not in words
