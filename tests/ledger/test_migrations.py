"""Ledgers of earlier versions are brought up to this one, with what is in them."""

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from dispatcher.errors import LedgerError
from dispatcher.ledger import open_ledger
from dispatcher.ledger.database import Database
from dispatcher.ledger.migrations.versions import v0001_ledger
from tests.ledger.conftest import claim


def test_a_ledger_of_the_first_version_is_brought_up_with_what_is_in_it(url: str) -> None:
    database = Database(url)
    config = Config()
    config.set_main_option("script_location", str(Path(v0001_ledger.__file__).parents[1]))
    with database.engine.connect().execution_options(writes=True) as connection, connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(
            "INSERT INTO campaign (public_id, name, provider, template, personalised, state, created_at, rows, messages)"
            " VALUES ('c1', 'old', 'winsms', 'Hello', false, 'running', 1, 1, 1)"
        )
        connection.exec_driver_sql(
            "INSERT INTO batch (campaign_id, number, provider, state, messages, segments, due_at)"
            " VALUES (1, 1, 'winsms', 'pending', 1, 1, 0)"
        )
        connection.exec_driver_sql(
            "INSERT INTO message (id, \"row\", msisdn, segments, state) VALUES (16384, 1, 12025550100, 1, 'queued')"
        )
    database.close()
    ledger = open_ledger(url)
    try:
        campaign = ledger.campaigns.get("c1")
        assert (campaign.rules, campaign.brand, campaign.fallbacks, campaign.budget) == ({}, "", (), None)
        assert ledger.batches.content(claim(ledger)).numbers == [1_202_555_0100]
        for wrong in ("delivered", "no such state"):
            with pytest.raises(LedgerError), ledger.database.write() as tx:
                tx.run("UPDATE message SET state = :state", state=wrong)
        with pytest.raises(LedgerError), ledger.database.write() as tx:
            tx.run(
                "INSERT INTO message (id, \"row\", msisdn, segments, state) VALUES (16385, 2, 1, 1, 'no such state')"
            )
        with ledger.database.write() as tx:
            assert tx.run("UPDATE message SET state = 'submitted'") == 1
    finally:
        ledger.close()
