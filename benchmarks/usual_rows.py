"""The one table of the usual design, on either engine, as safe on the disk as the ledger is."""

import csv
import sqlite3
from pathlib import Path
from typing import Any

import psycopg

_TABLE = (
    "CREATE TABLE person (id {} PRIMARY KEY, phone TEXT, name TEXT, town TEXT, code TEXT, state TEXT, theirs TEXT)"
)


def connect(url: str) -> Any:
    """Open the database, by the driver itself: an object mapper would only cost more."""
    if url.startswith("postgresql:"):
        return psycopg.connect(url)
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=60, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def load(url: str, path: Path) -> list[int]:
    """Put a list into the table, in one commit, and return the ids."""
    database = connect(url)
    mark = "%s" if isinstance(database, psycopg.Connection) else "?"
    database.execute(_TABLE.format("BIGINT" if mark == "%s" else "INTEGER"))
    with path.open(encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines)
        next(rows)
        people = [(index, *row) for index, row in enumerate(rows, 1)]
    marks = ", ".join([mark] * 5)
    database.cursor().executemany(f"INSERT INTO person (id, phone, name, town, code) VALUES ({marks})", people)
    database.commit()
    database.close()
    return list(range(1, len(people) + 1))


def submitted(url: str) -> int:
    """Return to how many was sent."""
    database = connect(url)
    [many] = database.execute("SELECT COUNT(*) FROM person WHERE state = 'submitted'").fetchone()
    database.close()
    return int(many)
