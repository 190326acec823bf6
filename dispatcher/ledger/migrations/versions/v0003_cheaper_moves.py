"""Moves of messages cost PostgreSQL less: each is checked after it is made, and has room on its own page.

The check allows the same, and refuses the whole statement as before. SQLite has nothing to gain from either.
"""

from alembic import op

from dispatcher.ledger.migrations.versions.v0002_owner import MESSAGE_MOVES

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

FILL = 35
"""Of a page, in per cent. A message is updated twice, and grows: with this, both find room beside it.

So the index is never written again, and the table ends no larger than if it had begun full.
"""


def upgrade() -> None:
    """Change how moves are checked, and how pages that are still to come are filled."""
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    allowed = " OR ".join(
        f"OLD.state = '{before}' AND (" + " OR ".join(f"NEW.state = '{after}'" for after in afters) + ")"
        for before, afters in MESSAGE_MOVES.items()
    )
    for statement in (
        # Before an update, PostgreSQL locks each row for a trigger that may change it, and writes that to its log.
        "DROP TRIGGER message_moves ON message",
        "CREATE TRIGGER message_moves AFTER UPDATE OF state ON message FOR EACH ROW"
        f" WHEN (OLD.state <> NEW.state AND NOT ({allowed})) EXECUTE FUNCTION refuse_move()",
        f"ALTER TABLE message SET (fillfactor = {FILL})",
    ):
        connection.exec_driver_sql(statement)
