"""Opens the ledger's database, SQLite or PostgreSQL, and gives out its transactions."""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InvalidatePoolError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoneFree
from sqlalchemy.pool import QueuePool

from dispatcher.errors import LedgerError, SettingsError
from dispatcher.ledger.transaction import Transaction
from dispatcher.ledger.writers import Writers

__all__ = ["Database", "Transaction", "micros", "millionths", "moment", "money"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BUSY_SECONDS = 30
_RESTED_SECONDS = 1.0
"""A connection that nobody used for longer is asked whether it is still there."""

_LOST_WIRE = {"tcp_user_timeout": 15_000, "keepalives_idle": 5, "keepalives_interval": 3, "keepalives_count": 3}
"""After about 15 s without a sign of the server's machine a connection is given up; by itself TCP takes a quarter of an
hour, and whoever waits for it may be doing the work of others as well."""

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


class Database:
    """The engine with its pool. One `write` at a time on SQLite, so that threads and processes queue."""

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        self.url = _parsed(url)
        self.postgresql = self.url.get_backend_name() == "postgresql"
        self._writers: Writers | None = None
        # NoneFree: every connection is at something that does not end, a server that hangs.
        self._errors: tuple[type[Exception], ...] = (sqlite3.Error, DBAPIError, NoneFree)
        self._unusable: tuple[type[Exception], ...] = (sqlite3.OperationalError, NoneFree)
        if self.postgresql:
            import psycopg  # noqa: PLC0415 - SQLite needs none of it

            self._errors = (psycopg.Error, DBAPIError, NoneFree)
            self._unusable = (psycopg.OperationalError, NoneFree)
            self.engine = _postgresql(self.url, pool_size)
        else:
            self.engine = _sqlite(self.url, pool_size)
            self._writers = Writers(self.engine.raw_connection, Path(f"{self.url.database}-turn"))

    @property
    def shown_url(self) -> str:
        """The URL without its password."""
        return self.url.render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Give a transaction that sees one state of the ledger and changes nothing."""
        with self._transaction() as tx:
            yield tx

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Give a transaction that is committed (and on the disk) when the block ends, or undone if it raises."""
        if self._writers is None:
            with self._transaction() as tx:
                yield tx
            return
        with self._told(), self._writers.write() as driver:
            yield Transaction(driver, postgresql=False)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()
        if self._writers is not None:
            self._writers.close()

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        with self._told():
            pooled = self.engine.raw_connection()
            driver: Any = pooled.driver_connection
            try:
                if not self.postgresql:
                    driver.execute("BEGIN")
                yield Transaction(driver, postgresql=self.postgresql)
                driver.commit()
            except BaseException:
                # A connection that cannot even do this is broken, and the pool must not give it out again.
                try:
                    driver.rollback()
                except self._errors:
                    pooled.invalidate()
                raise
            finally:
                pooled.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            origin = (error.orig or error) if isinstance(error, DBAPIError) else error
            if isinstance(origin, self._unusable):
                raise LedgerError(
                    f"the ledger at {self.shown_url} cannot be used: {_first_line(origin)}. "
                    "If another program holds it, try again; else see `dispatcher doctor`."
                ) from error
            raise LedgerError(f"the ledger refused a change: {_first_line(origin)}") from error


def _first_line(error: BaseException) -> str:
    # The driver's words only: what follows may show values, numbers among them.
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


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


def _postgresql(url: URL, pool_size: int) -> Engine:
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=pool_size,
        # What is said twice is said often: the driver would let it be parsed and planned anew five times.
        connect_args={"connect_timeout": 10, "prepare_threshold": 1}
        | {name: value for name, value in _LOST_WIRE.items() if name not in url.query},
    )

    @event.listens_for(engine, "checkin")
    def _rests(_driver: Any, record: Any) -> None:
        record.info["rests_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _still_there(driver: Any, record: Any, _pooled: Any) -> None:
        # Not before each transaction, which would be every second question of a worker at work.
        if time.monotonic() - record.info.get("rests_since", time.monotonic()) > _RESTED_SECONDS:
            try:
                engine.dialect.do_ping(driver)
            except engine.dialect.loaded_dbapi.Error as error:
                raise InvalidatePoolError from error

    return engine


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
        # A page that many commits change is then written back once for them all.
        cursor.execute("PRAGMA wal_autocheckpoint = 8000")
        cursor.execute("PRAGMA cache_size = -65536")
        cursor.execute("PRAGMA temp_store = MEMORY")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # IMMEDIATE takes the write lock first, so that a compare-and-set never fails for an upgrade.
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine
