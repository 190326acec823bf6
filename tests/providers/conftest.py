"""The sandbox, emptied for each test, and each provider in turn connected to it."""

from collections.abc import Iterator

import pytest

from dispatcher.provider import Provider
from dispatcher.sandbox import Sandbox, Settings
from tests.providers.rows import ROWS, let_in


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(settings=Settings(delivery_seconds=0, failing_share=0)) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.faults.put([], replace=True)
    running.record.reset()
    return running


@pytest.fixture(params=sorted(ROWS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def provider(name: str, sandbox: Sandbox) -> Provider:
    return let_in(name, sandbox)
