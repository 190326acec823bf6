"""Connections to PostgreSQL that the server has cut: found out before they are used, or by whoever uses them, once."""

import psycopg
import pytest

from dispatcher.errors import LedgerError
from dispatcher.ledger import Ledger, database, open_ledger


@pytest.fixture
def cut(postgresql_url: str) -> Ledger:
    """A ledger whose one pooled connection was cut while it rested."""
    ledger = open_ledger(postgresql_url)
    with ledger.database.read() as tx:
        tx.rows("SELECT 1")
    with psycopg.connect(postgresql_url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    return ledger


def test_a_connection_that_was_cut_while_it_rested_is_replaced(cut: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_RESTED_SECONDS", -1.0)
    with cut.database.write() as tx:
        assert tx.rows("SELECT 1 AS one")[0].one == 1
    cut.close()


def test_one_that_was_cut_just_now_is_an_error_once(cut: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_RESTED_SECONDS", 3600.0)
    with pytest.raises(LedgerError, match="cannot be used"), cut.database.write() as tx:
        tx.rows("SELECT 1")
    with cut.database.write() as tx:
        assert tx.rows("SELECT 1 AS one")[0].one == 1
    cut.close()


def test_that_every_connection_hangs_is_an_error_of_the_ledger_after_which_its_caller_tries_again(
    postgresql_url: str,
) -> None:
    ledger = open_ledger(postgresql_url, pool_size=1)
    ledger.database.engine.pool._timeout = 0.01  # type: ignore[attr-defined] # its own is half a minute
    with (
        ledger.database.write(),
        ledger.database.write(),
        pytest.raises(LedgerError, match="cannot be used"),
        ledger.database.write(),
    ):
        pass
    with ledger.database.write() as tx:
        assert tx.rows("SELECT 1 AS one")[0].one == 1
    ledger.close()


def test_a_wire_that_was_lost_is_given_up_within_seconds_unless_the_url_says_otherwise(postgresql_url: str) -> None:
    def told(url: str) -> dict[str, str]:
        ledger = open_ledger(url)
        pooled = ledger.database.engine.raw_connection()
        driver = pooled.driver_connection
        assert isinstance(driver, psycopg.Connection)
        parameters = driver.info.get_parameters()
        pooled.close()
        ledger.close()
        return parameters

    assert told(postgresql_url)["tcp_user_timeout"] == "15000"
    assert told(postgresql_url)["keepalives_idle"] == "5"
    more = "&" if "?" in postgresql_url else "?"
    assert told(f"{postgresql_url}{more}tcp_user_timeout=4000")["tcp_user_timeout"] == "4000"
