"""What unit tests of commands share: a home of their own, and its ledger."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.ledger import Ledger, open_ledger


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """The ledger of a home that the commands use as well."""
    monkeypatch.setenv("DISPATCHER_HOME", str(tmp_path))
    opened = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield opened
    opened.close()
