"""Inserts rows by the thousand, in few statements during which other threads run."""

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from typing import Any

import msgspec

_ROWS = 4000
"""Rows in one statement on SQLite: about 5 ms. Its driver gives the interpreter away once a statement."""

_WORTH_A_COPY = 64
"""Rows for which PostgreSQL's COPY is set up: it takes more messages to and fro than a statement, and is not prepared."""


def insert(
    driver: Any,
    table: str,
    columns: Mapping[str, Sequence[Any]],
    *,
    same: Mapping[str, Any] | None = None,
    postgresql: bool,
) -> None:
    """Insert rows that are given in columns of equal length (name → values); `same` has one value for all rows.

    `driver` is the connection of sqlite3 or psycopg.
    """
    same = same or {}
    many = len(next(iter(columns.values())))
    if not many:
        return
    if postgresql and many < _WORTH_A_COPY:
        kinds = {name: kind for name, column in columns.items() if (kind := _kind(column))}
        statement = _statement_of_arrays(table, tuple(kinds.items()), tuple(same))
        driver.execute(statement, [*(list(columns[name]) for name in kinds), *same.values()]).close()
        return
    if postgresql:
        copy = f"COPY {table} ({', '.join([*columns, *same])}) FROM STDIN"
        plain = all(str(value).isalnum() for value in same.values())
        if plain and all(set(map(type, column)) == {int} for column in columns.values()):
            _copy_numbers(driver, f"{copy} (DELIMITER ',')", columns, same)
        else:
            _copy(driver, copy, columns, same, many)
        return
    most = min(_ROWS, (driver.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) - len(same)) // len(columns))
    for start in range(0, many, most):
        piece = slice(start, start + most)
        rows = min(most, many - start)
        parameters: list[Any] = [*same.values(), *repeat(None, rows * len(columns))]
        for at, column in enumerate(columns.values(), len(same)):
            parameters[at :: len(columns)] = column[piece]
        driver.execute(_statement(table, tuple(columns), tuple(same), rows), parameters).close()


_KINDS = {bool: "boolean", int: "bigint", str: "text", bytes: "bytea"}


def _kind(column: Sequence[Any]) -> str | None:
    """Return PostgreSQL's type for some values of one kind; None where all are NULL, as in a column not named at all."""
    given = next((value for value in column if value is not None), None)
    if given is None:
        return None
    return _KINDS[type(given)]


@lru_cache(maxsize=256)
def _statement_of_arrays(table: str, columns: tuple[tuple[str, str], ...], same: tuple[str, ...]) -> str:
    names = ", ".join([*(name for name, _ in columns), *same])
    arrays = ", ".join(f"%s::{kind}[]" for _, kind in columns)
    shared = "".join(", %s" for _ in same)
    own = ", ".join(f"u.c{at}" for at in range(len(columns)))
    # The arrays are named first, as their parameters come first.
    return (
        f"WITH u({', '.join(f'c{at}' for at in range(len(columns)))}) AS (SELECT * FROM unnest({arrays}))"
        f" INSERT INTO {table} ({names}) SELECT {own}{shared} FROM u"
    )


@lru_cache(maxsize=64)
def _statement(table: str, columns: tuple[str, ...], same: tuple[str, ...], rows: int) -> str:
    shared = [f"?{at}" for at in range(1, len(same) + 1)]
    first = ", ".join([f"?{len(same) + 1}", *repeat("?", len(columns) - 1), *shared])
    other = ", ".join([*repeat("?", len(columns)), *shared])
    values = ",".join([f"({first})", *repeat(f"({other})", rows - 1)])
    return f"INSERT INTO {table} ({', '.join([*columns, *same])}) VALUES {values}"


def _copy(driver: Any, copy: str, columns: Mapping[str, Sequence[Any]], same: Mapping[str, Any], many: int) -> None:
    rows: Iterator[tuple[Any, ...]] = zip(
        *columns.values(), *(repeat(value, many) for value in same.values()), strict=True
    )
    with driver.cursor() as cursor, cursor.copy(copy) as stream:
        for row in rows:
            stream.write_row(row)


def _copy_numbers(driver: Any, copy: str, columns: Mapping[str, Sequence[int]], same: Mapping[str, Any]) -> None:
    """Copy whole numbers, which look alike in JSON and in what COPY reads; `same` are letters and digits."""
    end = "".join(f",{value}" for value in same.values()) + "\n"
    rows = msgspec.json.encode(list(zip(*columns.values(), strict=True)))
    with driver.cursor() as cursor, cursor.copy(copy) as stream:
        stream.write(rows[2:-2].replace(b"],[", end.encode()) + end.encode())
