"""Brings the ledger's schema to the version that this program speaks."""

from pathlib import Path

from sqlalchemy import inspect, text

from dispatcher.errors import LedgerError
from dispatcher.ledger.database import Database

CURRENT = "0003"
"""The newest migration, which this program needs."""


def version(database: Database) -> str | None:
    """Return the version that the ledger's schema has, None where there is none yet."""
    with database.read():
        pass  # a ledger that cannot be opened is told as such, before anything looks into it
    with database.engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return None if found is None else str(found)


def migrate(database: Database) -> None:
    """Run the migrations that the ledger lacks; many processes may do so at once.

    Raises:
        LedgerError: the ledger is of a newer version than this program.
    """
    found = version(database)
    if found == CURRENT:
        return
    if found is not None and found > CURRENT:
        raise LedgerError(
            f"the ledger is of version {found}, this program speaks {CURRENT}: install the newer dispatcher"
        )
    # Imported here: it costs a sixth of a second, which a ledger of the right version need not pay.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with database.engine.connect().execution_options(writes=True) as connection, connection.begin():
        if database.postgresql:
            connection.execute(text("SELECT pg_advisory_xact_lock(7210463)"))
        # The lock is held now: whoever came first may have done it all.
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def stored_version(url: str) -> str | None:
    """Return the version of the ledger at a database URL, changing nothing; None where there is none yet.

    Raises:
        SettingsError: the URL is not one.
        LedgerError: it cannot be opened.
    """
    database = Database(url, pool_size=1)
    try:
        return version(database)
    finally:
        database.close()


def check_database(database: Database) -> list[str]:
    """Return what the database itself finds wrong with its tables; an empty list is good."""
    with database.read() as tx:
        if database.postgresql:
            return []  # PostgreSQL has checksums and constraints of its own, always on
        damage = [row.quick_check for row in tx.rows("PRAGMA quick_check") if row.quick_check != "ok"]
        lost = tx.rows("PRAGMA foreign_key_check")
        return damage + [f"{row.table}: row {row.rowid} refers to nothing in {row.parent}" for row in lost]
