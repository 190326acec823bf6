"""Threads that write to SQLite at the same time share a commit, and nothing else: each change stands or falls alone."""

import threading
from pathlib import Path

import pytest

from dispatcher.errors import LedgerError
from dispatcher.ledger.database import Database

THREADS, EACH = 8, 40


class Undone(Exception):
    """What a writer raises to undo its own change."""


@pytest.fixture
def database(tmp_path: Path) -> Database:
    opened = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    with opened.write() as tx:
        tx.run("CREATE TABLE word (said TEXT PRIMARY KEY)")
    return opened


def words(database: Database) -> set[str]:
    with database.read() as tx:
        return {row.said for row in tx.rows("SELECT said FROM word")}


def say(database: Database, *words: str, undo: bool = False) -> bool:
    """Write words in one change, or undo it; whether it stands."""
    try:
        with database.write() as tx:
            for said in words:
                tx.run("INSERT INTO word (said) VALUES (:said)", said=said)
            if undo:
                raise Undone  # noqa: TRY301 - what is undone is undone by raising
    except Undone:
        return False
    return True


def test_what_one_undoes_is_gone_and_what_the_others_wrote_is_there_when_they_go_on(database: Database) -> None:
    kept: set[str] = set()
    missing: list[str] = []
    begin = threading.Barrier(THREADS)

    def write(name: int) -> None:
        begin.wait()
        for at in range(EACH):
            said = f"{name}.{at}"
            if not say(database, said, undo=at % 5 == name % 5):
                continue
            kept.add(said)
            if said not in words(database):  # another connection sees it: it is committed
                missing.append(said)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missing == []
    assert words(database) == kept
    assert len(kept) == THREADS * EACH * 4 // 5
    database.close()


def test_a_constraint_that_one_breaks_undoes_that_one_alone(database: Database) -> None:
    say(database, "first")
    with pytest.raises(LedgerError, match="UNIQUE"):
        say(database, "second", "first")
    assert words(database) == {"first"}
    database.close()
