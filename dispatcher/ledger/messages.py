"""Moves messages from state to state inside a caller's transaction, many at a time, with their counters."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from dispatcher.ledger.database import Transaction, millionths
from dispatcher.message import MESSAGE_MOVES, MESSAGES_PER_BATCH, MessageState

MESSAGES_OF_BATCH = f"m.id >= b.id * {MESSAGES_PER_BATCH} AND m.id < (b.id + 1) * {MESSAGES_PER_BATCH}"
"""SQL that joins messages `m` to their batch `b` by one range of the primary key."""

_STATES = {state.value: state for state in MessageState}


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageMove:
    """Where one message shall go, and what is known with that; None leaves a column as it is."""

    message_id: int
    state: MessageState
    reason: str | None = None
    provider_message_id: str | None = None
    cost: Decimal | None = None
    settled_at: int | None = None  # as the ledger stores moments


def move_messages(tx: Transaction, moves: Sequence[MessageMove]) -> dict[int, dict[str, int]]:
    """Make those of the moves that the state machine has; the others change nothing.

    Returns, by batch, what this changes in the counters of its campaign: `message.<state>` and `cost`.
    """
    lock = " FOR UPDATE" if tx.postgresql else ""
    ids = [move.message_id for move in moves]
    found = {
        int(row.id): row
        for row in tx.rows(
            "SELECT id, state, reason, provider_message_id, cost, settled_at FROM message"
            f" WHERE id {tx.in_ids} ORDER BY id{lock}",
            ids=tx.ids(ids),
        )
    }
    changes: dict[int, dict[str, int]] = {}
    moved: list[int] = []
    columns: tuple[list[str], list[str | None], list[str | None], list[int | None], list[int | None]] = (
        [], [], [], [], [],
    )  # fmt: skip
    states, reasons, provider_ids, costs, settled = columns
    for move in moves:
        # The first word about a message counts: a second one in the same breath is a repetition.
        row = found.pop(move.message_id, None)
        if row is None or move.state not in MESSAGE_MOVES[_STATES[row.state]]:
            continue
        cost = row.cost if move.cost is None else millionths(move.cost)
        moved.append(move.message_id)
        states.append(move.state.value)
        reasons.append(row.reason if move.reason is None else move.reason)
        provider_ids.append(move.provider_message_id or row.provider_message_id)
        costs.append(cost)
        settled.append(row.settled_at if move.settled_at is None else move.settled_at)
        batch = changes.setdefault(move.message_id // MESSAGES_PER_BATCH, {})
        for name, amount in (
            (f"message.{row.state}", -1),
            (f"message.{move.state.value}", 1),
            ("cost", (cost or 0) - (row.cost or 0)),
        ):
            batch[name] = batch.get(name, 0) + amount
    tx.update(
        "message",
        {
            "state": "text",
            "reason": "text",
            "provider_message_id": "text",
            "cost": "bigint",
            "settled_at": "bigint",
        },
        moved,
        columns,
    )
    return changes


def move_batch_messages(
    tx: Transaction,
    batch_id: int,
    before: MessageState,
    after: MessageState,
    *,
    reason: str | None,
    settled_at: int | None = None,
) -> dict[str, int]:
    """Move all messages of a batch that are in one state to another, and return the counter changes."""
    first = batch_id * MESSAGES_PER_BATCH
    many = tx.run(
        "UPDATE message SET state = :after, reason = :reason, settled_at = :settled_at"
        " WHERE id >= :first AND id < :end AND state = :before",
        after=after.value,
        before=before.value,
        reason=reason,
        settled_at=settled_at,
        first=first,
        end=first + MESSAGES_PER_BATCH,
    )
    return {f"message.{before.value}": -many, f"message.{after.value}": many} if many else {}
