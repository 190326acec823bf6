"""Moves a whole ledger from SQLite to PostgreSQL, and sees to it that the old one is not used again."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from dispatcher.errors import LedgerError
from dispatcher.ledger.database import Database, Transaction, micros

TABLES = (
    "campaign",
    "variant",
    "batch",
    "payload",
    "message",
    "excluded_row",
    "attempt",
    "counter",
    "event",
    "suppression",
    "spending",
    "saved_text",
    "fact",
)
"""What is copied, a referenced table before those that refer to it; leases and workers belong to what runs now."""

MOVED_TO = "moved to"
"""The fact in a ledger that another has taken its place; its value says which, without a password."""

_NUMBERED = ("campaign", "batch", "event")
_BOOLEANS = {"personalised"}
_AT_ONCE = 20_000
_ALIVE = timedelta(seconds=30)


def copy_ledger(
    source: Database, target: Database, *, now: datetime, progress: Callable[[str, int], None] = lambda *_: None
) -> dict[str, int]:
    """Copy everything from a SQLite ledger to an empty PostgreSQL one of the same version; return rows by table.

    The source is locked meanwhile, and marked as moved in the end, so that no program goes on with both.

    Raises:
        LedgerError: workers are at work, the target is not empty, or what arrived is not what was sent.
    """
    if source.postgresql or not target.postgresql:
        raise LedgerError("a ledger is copied from SQLite to PostgreSQL, in no other direction")
    with source.write() as old:
        _refuse_while_in_use(old, now)
        with target.write() as new:
            if new.first("SELECT 1 FROM campaign LIMIT 1") or new.first("SELECT 1 FROM suppression LIMIT 1"):
                raise LedgerError(
                    f"the ledger at {target.shown_url} is not empty: name an empty database,"
                    " or empty that one if an earlier copy was interrupted"
                )
            copied = {table: _copy_table(old, new, table, progress) for table in TABLES}
            for table in _NUMBERED:
                new.rows(
                    f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), GREATEST(1, (SELECT MAX(id) FROM {table})))"
                )
            for table, many in copied.items():
                arrived = new.rows(f"SELECT COUNT(*) AS many FROM {table}")[0].many
                if arrived != many:
                    raise LedgerError(f"{arrived} of {many} rows of {table} arrived: nothing was kept, try again")
        old.run("INSERT INTO fact (name, value) VALUES (:name, :value)", name=MOVED_TO, value=target.shown_url)
    return copied


def moved_to(database: Database) -> str | None:
    """Return which ledger has taken this one's place, None where it is in use."""
    with database.read() as tx:
        found = tx.first("SELECT value FROM fact WHERE name = :name", name=MOVED_TO)
    return None if found is None else str(found.value)


def _refuse_while_in_use(tx: Transaction, now: datetime) -> None:
    if tx.first("SELECT 1 FROM worker WHERE seen_at > :since LIMIT 1", since=micros(now - _ALIVE)):
        raise LedgerError("workers were at work on this ledger half a minute ago: stop them all, then copy")
    if tx.first("SELECT 1 FROM campaign WHERE state = 'draft' AND planner_until > :now LIMIT 1", now=micros(now)):
        raise LedgerError("an enqueue is planning a campaign at this moment: copy when it is done")


def _copy_table(old: Transaction, new: Transaction, table: str, progress: Callable[[str, int], None]) -> int:
    columns = [str(row.name) for row in old.rows(f"SELECT name FROM pragma_table_info('{table}')")]
    names = [f'"{name}"' for name in columns]
    booleans = [at for at, name in enumerate(columns) if name in _BOOLEANS]
    stream = _plain(old.stream(f"SELECT {', '.join(names)} FROM {table}"), booleans)
    many = 0
    while portion := list(islice(stream, _AT_ONCE)):
        new.insert(table, dict(zip(names, map(list, zip(*portion, strict=True)), strict=True)))
        many += len(portion)
        progress(table, many)
    return many


def _plain(rows: Iterator[Any], booleans: list[int]) -> Iterator[tuple[Any, ...]]:
    for row in rows:
        values = list(row)
        for at in booleans:
            values[at] = bool(values[at])
        yield tuple(values)
