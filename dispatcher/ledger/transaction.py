"""One transaction: statements in SQL that both engines understand, run by the driver itself."""

import json
import re
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from dispatcher.ledger import bulk

_NAMED = re.compile(r"(?<![:\w]):([a-z_]\w*)")
_AT_ONCE = 5000


@lru_cache(maxsize=1024)
def _for_psycopg(sql: str) -> str:
    """Return a statement with its `:name` parameters as psycopg wants them."""
    return _NAMED.sub(r"%(\1)s", sql.replace("%", "%%"))


@lru_cache(maxsize=1024)
def _shape(names: tuple[str, ...]) -> Callable[[Iterable[Any]], Any]:
    """Return what makes a row with attributes of a plain one."""
    made = namedtuple("Row", names, rename=True)  # type: ignore[misc]
    return made._make


class Transaction:
    """One transaction: statements with `:name` parameters.

    They go to the driver and not through SQLAlchemy, whose share of a small statement was nine tenths. What is counted
    in thousands crosses as one parameter or one value: SQLite's driver takes and gives back the interpreter's lock with
    each row, and with several threads at work each time waits for it.
    """

    def __init__(self, connection: Any, *, postgresql: bool) -> None:
        self._connection = connection
        self.postgresql = postgresql
        # Lists of numbers are one parameter on either engine, whatever their length.
        self.in_ids = "= ANY(:ids)" if postgresql else "IN (SELECT value FROM json_each(:ids))"

    def ids(self, ids: Iterable[int]) -> Any:
        """Return a list of integers as the parameter `ids` of a statement that uses `in_ids`."""
        return list(ids) if self.postgresql else json.dumps(list(ids))

    def hexadecimal(self, expression: str) -> str:
        """Return SQL for bytes as hexadecimal digits, NULL where there are none, so that they fit into `columns`."""
        if self.postgresql:
            return f"encode({expression}, 'hex')"
        return f"CASE WHEN {expression} IS NOT NULL THEN hex({expression}) END"

    def rows(self, sql: str, **parameters: Any) -> Sequence[Any]:
        """Run a query and return all rows, their columns as attributes."""
        cursor = self._execute(sql, parameters)
        found = cursor.fetchall()
        make = _made_by(cursor) if found else None
        cursor.close()
        return [] if make is None else list(map(make, found))

    def first(self, sql: str, **parameters: Any) -> Any | None:
        """Run a query and return its first row, if it has one."""
        cursor = self._execute(sql, parameters)
        found = cursor.fetchone()
        row = None if found is None else _made_by(cursor)(found)
        cursor.close()  # SQLite would not commit while a statement has rows to give
        return row

    def columns(self, types: Mapping[str, Any], rest: str, **parameters: Any) -> list[list[Any]]:
        """Return columns, one list each, of `SELECT … {rest}`: `types` maps each SQL expression to its type.

        They come as one value each, in the order that `rest` asks for.
        """
        names = [f"c{at}" for at in range(len(types))]
        inner = ", ".join(f"{expression} AS {name}" for expression, name in zip(types, names, strict=True))
        gather = "json_agg({})::text" if self.postgresql else "json_group_array({})"
        outer = ", ".join(gather.format(name) for name in names)
        cursor = self._execute(f"SELECT {outer} FROM (SELECT {inner} {rest}) AS found", parameters)
        [found] = cursor.fetchall()
        cursor.close()
        return [_decoded(value, kind) for value, kind in zip(found, types.values(), strict=True)]

    def stream(self, sql: str, **parameters: Any) -> Iterator[Any]:
        """Run a query and return its rows a few thousand at a time."""
        if self.postgresql:
            cursor = self._connection.cursor(name="streamed")
            cursor.execute(_for_psycopg(sql), parameters)
        else:
            cursor = self._execute(sql, parameters)
        try:
            while found := cursor.fetchmany(_AT_ONCE):
                yield from map(_made_by(cursor), found)
        finally:
            cursor.close()

    def run(self, sql: str, **parameters: Any) -> int:
        """Run a statement and return how many rows it touched."""
        cursor = self._execute(sql, parameters)
        touched = int(cursor.rowcount)
        cursor.close()
        return touched

    def run_many(self, sql: str, parameters: Sequence[Mapping[str, Any]]) -> None:
        """Run one statement for each of some few sets of parameters."""
        for one in parameters:
            self._execute(sql, one).close()

    def insert(
        self, table: str, columns: Mapping[str, Sequence[Any]], *, same: Mapping[str, Any] | None = None
    ) -> None:
        """Insert rows by the thousand, in columns of equal length (name → values); `same` are values of all rows."""
        bulk.insert(self._connection, table, columns, same=same, postgresql=self.postgresql)

    def update(
        self, table: str, columns: Mapping[str, str], ids: Sequence[int], values: Sequence[Sequence[Any]]
    ) -> None:
        """Set `columns` (name → PostgreSQL type) of the rows with these ids, one sequence of values a column."""
        if not ids:
            return
        if self.postgresql:
            names = ["id", *columns]
            arrays = ", ".join(f"%s::{kind}[]" for kind in ("bigint", *columns.values()))
            sets = ", ".join(f"{name} = v.{name}" for name in columns)
            self._connection.execute(
                f"UPDATE {table} SET {sets} FROM unnest({arrays}) AS v({', '.join(names)}) WHERE {table}.id = v.id",
                (list(ids), *[list(column) for column in values]),
            ).close()
            return
        sets = ", ".join(f"{name} = json_extract(v.value, '$[{at}]')" for at, name in enumerate(columns, 1))
        rows = msgspec.json.encode(list(zip(ids, *values, strict=True))).decode()
        self._connection.execute(
            f"UPDATE {table} SET {sets} FROM json_each(?) AS v WHERE {table}.id = json_extract(v.value, '$[0]')",
            (rows,),
        ).close()

    def table(self, columns: Mapping[str, tuple[str, Sequence[Any]]]) -> tuple[str, dict[str, Any]]:
        """Return SQL for a table of some rows (name → PostgreSQL type, values), and the parameters that it brings."""
        if self.postgresql:
            arrays = ", ".join(f"CAST(:t_{name} AS {kind}[])" for name, (kind, _) in columns.items())
            values = {f"t_{name}": list(column) for name, (_, column) in columns.items()}
            return f"(SELECT * FROM unnest({arrays}) AS u({', '.join(columns)}))", values
        cells = ", ".join(f"json_extract(value, '$[{at}]') AS {name}" for at, name in enumerate(columns))
        rows = list(zip(*(column for _, column in columns.values()), strict=True))
        return f"(SELECT {cells} FROM json_each(:t_rows))", {"t_rows": msgspec.json.encode(rows).decode()}

    def _execute(self, sql: str, parameters: Mapping[str, Any]) -> Any:
        if self.postgresql:
            return self._connection.execute(_for_psycopg(sql), parameters)
        return self._connection.execute(sql, parameters)


def _made_by(cursor: Any) -> Callable[[Iterable[Any]], Any]:
    return _shape(tuple([column[0] for column in cursor.description]))


def _decoded(value: str | None, kind: Any) -> list[Any]:
    return [] if value is None else msgspec.json.decode(value, type=list[kind])
