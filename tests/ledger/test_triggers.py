"""The database itself knows every move: each that there is passes, each that there is not is refused, on either engine."""

from enum import StrEnum
from itertools import product

import pytest
from sqlalchemy import create_engine, text

from dispatcher.batch import BATCH_MOVES
from dispatcher.campaign import CAMPAIGN_MOVES
from dispatcher.errors import LedgerError
from dispatcher.ledger import Ledger
from dispatcher.message import MESSAGE_MOVES

CAMPAIGN = (
    "INSERT INTO campaign (public_id, name, provider, template, personalised, state, created_at)"
    " VALUES ('c', 'c', 'winsms', 'x', false, :state, 0) RETURNING id"
)
BATCH = (
    "INSERT INTO batch (campaign_id, number, provider, messages, segments, due_at, attempt, state, lease_until)"
    " VALUES (:campaign, 1, 'winsms', 1, 1, 0, 1, :state,"
    " CASE WHEN :state IN ('claimed', 'submitting') THEN 1 END) RETURNING id"
)
MESSAGE = (
    'INSERT INTO message (id, "row", msisdn, segments, state) VALUES (1, 1, 12025550100, 1, :state) RETURNING id'
)


@pytest.mark.parametrize("table", ["campaign", "batch", "message"])
def test_the_database_has_exactly_our_moves(ledger: Ledger, url: str, table: str) -> None:
    moves: dict[StrEnum, frozenset[StrEnum]] = {
        "campaign": CAMPAIGN_MOVES,
        "batch": BATCH_MOVES,
        "message": MESSAGE_MOVES,
    }[table]  # type: ignore[assignment]
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    lease = ", lease_until = CASE WHEN CAST(:after AS TEXT) IN ('claimed', 'submitting') THEN 1 END"
    wrong = []
    for before, after in product(moves, moves):
        with engine.connect() as connection:
            campaign = connection.execute(
                text(CAMPAIGN), {"state": "running" if table != "campaign" else before.value}
            )
            one = campaign.scalar_one()
            if table == "batch":
                made = BATCH.replace(":state", "CAST(:state AS TEXT)")
                one = connection.execute(text(made), {"state": before.value, "campaign": one}).scalar_one()
            elif table == "message":
                one = connection.execute(text(MESSAGE), {"state": before.value}).scalar_one()
            try:
                connection.execute(
                    text(f"UPDATE {table} SET state = :after{lease if table == 'batch' else ''} WHERE id = :id"),
                    {"after": after.value, "id": one},
                )
                passed = True
            except Exception as error:  # noqa: BLE001 - each driver has its own
                passed = "no such move" not in str(error)
            connection.rollback()
        if passed != (after in moves[before] or before is after):
            wrong.append(f"{before.value} to {after.value}")
    engine.dispose()
    assert wrong == []


def test_one_wrong_move_among_many_undoes_the_whole_statement(ledger: Ledger) -> None:
    with ledger.database.write() as tx:
        for one, state in enumerate(["submitted", "submitted", "delivered", "submitted"], 1):
            tx.run(
                'INSERT INTO message (id, "row", msisdn, segments, state) VALUES (:id, :id, 1, 1, :state)',
                id=one,
                state=state,
            )
    with pytest.raises(LedgerError, match="no such move"), ledger.database.write() as tx:
        tx.run("UPDATE message SET state = 'undelivered' WHERE id > 0")
    with ledger.database.read() as tx:
        states = [row.state for row in tx.rows("SELECT state FROM message ORDER BY id")]
    assert states == ["submitted", "submitted", "delivered", "submitted"]


@pytest.mark.parametrize("state", ["claimed", "submitting", "pending", "submitted"])
def test_a_lease_and_a_state_that_needs_one_go_together(ledger: Ledger, url: str, state: str) -> None:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    wrong = BATCH.replace("IN (", "NOT IN (").replace(":state", "CAST(:state AS TEXT)")
    with engine.connect() as connection:
        campaign = connection.execute(text(CAMPAIGN), {"state": "running"}).scalar_one()
        with pytest.raises(Exception, match=r"(?i)check constraint"):
            connection.execute(text(wrong), {"state": state, "campaign": campaign})
        connection.rollback()
    engine.dispose()
