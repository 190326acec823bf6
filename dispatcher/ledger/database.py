"""Opens the ledger's database, SQLite or PostgreSQL, and gives out its transactions."""

import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Row, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from dispatcher.errors import LedgerError, SettingsError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BUSY_SECONDS = 30
_MILLION = Decimal(1_000_000)


def micros(moment: datetime) -> int:
    """Return a moment as the ledger stores it: whole microseconds since 1970, UTC."""
    elapsed = moment - _EPOCH
    return (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds


def moment(stored: int | None) -> datetime | None:
    """Return a stored moment as an aware UTC datetime."""
    return None if stored is None else datetime.fromtimestamp(stored / 1_000_000, UTC)


def millionths(amount: Decimal) -> int:
    """Return money as the ledger stores it: whole millionths of the provider's unit."""
    return int((amount * _MILLION).to_integral_value())


def money(stored: int) -> Decimal:
    """Return stored money as a Decimal."""
    return (Decimal(stored) / _MILLION).normalize() + Decimal(0)


class Transaction:
    """One transaction: statements in SQL that both engines understand, with `:name` parameters."""

    def __init__(self, connection: Connection, *, postgresql: bool) -> None:
        self._connection = connection
        self.postgresql = postgresql
        # Lists of numbers are one parameter on either engine, whatever their length.
        self.in_ids = "= ANY(:ids)" if postgresql else "IN (SELECT value FROM json_each(:ids))"

    def ids(self, ids: Iterable[int]) -> Any:
        """Return a list of integers as the parameter `ids` of a statement that uses `in_ids`."""
        return list(ids) if self.postgresql else json.dumps(list(ids))

    def rows(self, sql: str, **parameters: Any) -> Sequence[Row[Any]]:
        """Run a query and return all rows."""
        return self._connection.execute(text(sql), parameters).all()

    def first(self, sql: str, **parameters: Any) -> Row[Any] | None:
        """Run a query and return its first row, if it has one."""
        return self._connection.execute(text(sql), parameters).first()

    def stream(self, sql: str, **parameters: Any) -> Iterator[Row[Any]]:
        """Run a query and return its rows a few thousand at a time."""
        options = {"stream_results": True, "max_row_buffer": 5000}
        with self._connection.execute(text(sql), parameters, execution_options=options) as result:
            yield from result

    def run(self, sql: str, **parameters: Any) -> int:
        """Run a statement and return how many rows it touched."""
        return self._connection.execute(text(sql), parameters).rowcount

    def run_many(self, sql: str, parameters: Sequence[Mapping[str, Any]]) -> None:
        """Run one statement for each of some few sets of parameters."""
        if parameters:
            self._connection.execute(text(sql), list(parameters))

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows by the thousand, by the driver's own bulk path."""
        if not rows:
            return
        names = ", ".join(columns)
        if self.postgresql:
            driver: Any = self._connection.connection.driver_connection
            with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            return
        marks = ", ".join("?" * len(columns))
        self._connection.exec_driver_sql(
            f"INSERT INTO {table} ({names}) VALUES ({marks})",
            [tuple(row) for row in rows],
        )

    def update(
        self, table: str, columns: Mapping[str, str], ids: Sequence[int], values: Sequence[Sequence[Any]]
    ) -> None:
        """Set `columns` (name → PostgreSQL type) of the rows with these ids, one sequence of values a column."""
        if not ids:
            return
        if self.postgresql:
            types = ["bigint", *columns.values()]
            names = ["id", *columns]
            sets = ", ".join(f"{name} = v.{name}" for name in columns)
            arrays = ", ".join(f"%s::{kind}[]" for kind in types)
            self._connection.exec_driver_sql(
                f"UPDATE {table} SET {sets} FROM unnest({arrays}) AS v({', '.join(names)}) WHERE {table}.id = v.id",
                (list(ids), *[list(column) for column in values]),
            )
            return
        sets = ", ".join(f"{name} = ?" for name in columns)
        self._connection.exec_driver_sql(
            f"UPDATE {table} SET {sets} WHERE id = ?",
            list(zip(*values, ids, strict=True)),
        )


class Database:
    """The engine with its pool. One `write` at a time a process on SQLite, so threads queue instead of polling."""

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        self.url = _parsed(url)
        self.postgresql = self.url.get_backend_name() == "postgresql"
        self._writing = threading.Lock()
        if self.postgresql:
            self.engine = create_engine(
                self.url.set(drivername="postgresql+psycopg"),
                pool_size=pool_size,
                max_overflow=pool_size,
                pool_pre_ping=True,
                connect_args={"connect_timeout": 10},
            )
        else:
            self.engine = _sqlite(self.url, pool_size)

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        return self.url.render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Give a transaction that sees one state of the ledger and changes nothing."""
        with self._told(), self.engine.connect() as connection:
            yield Transaction(connection, postgresql=self.postgresql)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Give a transaction that is committed (and on the disk) when the block ends, or undone if it raises."""
        if self.postgresql:
            with self._told(), self.engine.begin() as connection:
                yield Transaction(connection, postgresql=True)
            return
        with (
            self._writing,
            self._told(),
            self.engine.connect().execution_options(writes=True) as connection,
            connection.begin(),
        ):
            yield Transaction(connection, postgresql=False)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            raise LedgerError(
                f"the ledger at {self.shown_url} cannot be used: {_first_line(error)}. "
                "If another program holds it, try again; else see `dispatcher doctor`."
            ) from error
        except DBAPIError as error:
            raise LedgerError(f"the ledger refused a change: {_first_line(error)}") from error


def _first_line(error: DBAPIError) -> str:
    # The driver's words only: SQLAlchemy's text would add the statement's parameters, numbers among them.
    lines = str(error.orig).splitlines()
    return lines[0] if lines else type(error.orig).__name__


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
    except (ArgumentError, SQLAlchemyError):
        raise SettingsError("DISPATCHER_LEDGER_URL is not a database URL: sqlite:///… or postgresql://…") from None
    if backend not in ("sqlite", "postgresql"):
        raise SettingsError(f"DISPATCHER_LEDGER_URL: {backend} is not supported: use sqlite:///… or postgresql://…")
    if backend == "sqlite" and not parsed.database:
        raise SettingsError("DISPATCHER_LEDGER_URL: SQLite needs a file, for example sqlite:////var/lib/x/ledger.db")
    return parsed


def _sqlite(url: URL, pool_size: int) -> Engine:
    path = Path(str(url.database))
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The ledger holds people's numbers: created readable by its owner alone, before SQLite sees it.
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise LedgerError(f"the ledger {path} cannot be opened: {error.strerror}") from None
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=pool_size,
        connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        # FULL: an attempt is on the disk before its request leaves, also if the machine loses its power.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute("PRAGMA cache_size = -65536")
        cursor.execute("PRAGMA temp_store = MEMORY")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # IMMEDIATE takes the write lock first, so that a compare-and-set never fails for an upgrade.
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
