"""What a campaign's owner asks for beyond a list and a text: rules, money, texts by recipient, retries, privacy.

Everything is added; only how a message's state is checked is written anew, to allow the same. So a program of the
version before goes on working on the ledger while this runs and after.
"""

from alembic import op
from sqlalchemy import Connection

from dispatcher.ledger.migrations.versions.v0001_ledger import MESSAGE_STATES

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_COLUMNS = {
    "campaign": (
        # What the owner asked for, as JSON: window, days, quiet, spread, canary, breaker, and so on.
        "rules TEXT NOT NULL DEFAULT '{}'",
        # Whose suppression list counts beside the global one.
        "brand TEXT NOT NULL DEFAULT ''",
        # Who takes over when the provider is down: names with commas between, in their order.
        "fallbacks TEXT NOT NULL DEFAULT ''",
        # Only batches up to this number may be claimed; NULL: all.
        "released_through INTEGER",
        # Not sent after this.
        "expires_at BIGINT",
        # Money in millionths: what may be spent, what a segment is thought to cost, and what is spent or reserved.
        "budget BIGINT",
        "segment_price BIGINT",
        "committed BIGINT NOT NULL DEFAULT 0",
        # What had been tried, and had gone wrong, when it was last resumed: the circuit breaker counts from there.
        "tried_before BIGINT NOT NULL DEFAULT 0",
        "bad_before BIGINT NOT NULL DEFAULT 0",
        # Since when, and how often in a row, its provider could not be reached; counted where there are fallbacks.
        "down_since BIGINT",
        "down_count INTEGER NOT NULL DEFAULT 0",
        # The campaign (its public id) whose undelivered or refused messages this one sends again.
        "retry_of TEXT",
        # The campaign (its id) that this draft's rows will be added to.
        "adds_to BIGINT",
        # When texts, fields and numbers were erased.
        "erased_at BIGINT",
    ),
    "batch": (
        # The time zone of its recipients, where quiet hours make a difference between them.
        "zone TEXT",
        # Which of the campaign's texts it says; NULL: the campaign's own.
        "variant TEXT",
        # What it has reserved or spent of the budgets, in millionths; NULL: its money is not watched.
        "reserved BIGINT",
        # What a segment of it is thought to cost, where its countries make it another price than the campaign's.
        "price BIGINT",
        # What its last attempt reserved a segment at.
        "rate BIGINT",
    ),
}

# Frozen here as they were at this version, the most frequent first; a test holds them against the code's own table.
MESSAGE_MOVES = {
    "queued": ["submitted", "refused", "suppressed", "cancelled", "unknown"],
    "submitted": ["delivered", "undelivered", "expired", "unconfirmed", "cancelled"],
    "unknown": ["submitted", "queued", "unconfirmed", "refused"],
    "unconfirmed": ["delivered", "undelivered", "expired"],
}


def _message_guard(*, postgresql: bool) -> list[str]:
    """Let the database refuse a wrong move as before, at a third of the cost: it was half of that of an update.

    A list of words is put into a table of its own for each row by SQLite, single comparisons are not.
    """
    allowed = " OR ".join(
        f"OLD.state = '{before}' AND (" + " OR ".join(f"NEW.state = '{after}'" for after in afters) + ")"
        for before, afters in MESSAGE_MOVES.items()
    )
    wrong = f"OLD.state <> NEW.state AND NOT ({allowed})"
    if postgresql:
        return [
            "DROP TRIGGER message_moves ON message",
            "CREATE TRIGGER message_moves BEFORE UPDATE OF state ON message FOR EACH ROW"
            f" WHEN ({wrong}) EXECUTE FUNCTION refuse_move()",
        ]
    return [
        "DROP TRIGGER message_moves",
        f"CREATE TRIGGER message_moves BEFORE UPDATE OF state ON message WHEN {wrong}"
        " BEGIN SELECT RAISE(ABORT, 'no such move of a message'); END",
    ]


def _cheaper_check(connection: Connection) -> None:
    """Write SQLite's check of a message's state as single comparisons, the most frequent first; it allows the same.

    This is how SQLite's documentation changes a constraint that leaves what is stored as it is.
    """
    words = ", ".join(f"'{state}'" for state in MESSAGE_STATES)
    each = " OR ".join(f"state = '{state}'" for state in MESSAGE_STATES)
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    changed = connection.exec_driver_sql(
        "UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE type = 'table' AND name = 'message'",
        (f"CHECK (state IN ({words}))", f"CHECK ({each})"),
    )
    assert changed.rowcount == 1
    connection.exec_driver_sql(f"PRAGMA schema_version = {int(version or 0) + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = OFF")


def upgrade() -> None:
    """Add what is missing."""
    connection = op.get_bind()
    for table, columns in _COLUMNS.items():
        for column in columns:
            connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {column}")
    roomy = " WITH (fillfactor = 70)" if connection.dialect.name == "postgresql" else ""
    for statement in (
        # The texts of a campaign that says different things to different recipients.
        """
        CREATE TABLE variant (
            campaign_id BIGINT NOT NULL REFERENCES campaign (id) ON DELETE CASCADE,
            name TEXT NOT NULL,
            template TEXT NOT NULL,
            PRIMARY KEY (campaign_id, name)
        )""",
        # What was spent or reserved on one day (UTC) at one provider, in millionths; and, where a batch was held for
        # the day's budget, what it would have cost and the budget then.
        f"""
        CREATE TABLE spending (
            provider TEXT NOT NULL,
            day TEXT NOT NULL,
            amount BIGINT NOT NULL,
            short BIGINT,
            budget BIGINT,
            PRIMARY KEY (provider, day)
        ){roomy}""",
        "CREATE TABLE saved_text (name TEXT PRIMARY KEY, template TEXT NOT NULL, saved_at BIGINT NOT NULL)",
        # Single facts of this ledger: the key of its hashes.
        "CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
        # Few batches have these, and nobody should look for them among a million.
        "CREATE INDEX batch_noted ON batch (campaign_id) WHERE state = 'submitted' AND reason IS NOT NULL",
        "CREATE INDEX batch_scheduled ON batch (campaign_id) WHERE scheduled_for IS NOT NULL",
        "CREATE INDEX batch_stoppable ON batch (campaign_id) WHERE provider_reference IS NOT NULL"
        " AND stopped_at IS NULL AND receipts_until IS NOT NULL",
        "CREATE INDEX event_batch ON event (batch_id) WHERE batch_id IS NOT NULL",
        *_message_guard(postgresql=connection.dialect.name == "postgresql"),
    ):
        connection.exec_driver_sql(statement)
    if connection.dialect.name != "postgresql":
        _cheaper_check(connection)
