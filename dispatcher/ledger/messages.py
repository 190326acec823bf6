"""Moves messages from state to state inside a caller's transaction, many at a time, with their counters."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from dispatcher.ledger.database import Transaction, micros, millionths
from dispatcher.ledger.trail import because, merge
from dispatcher.message import MESSAGE_MOVES, MESSAGES_PER_BATCH, MessageState
from dispatcher.provider import Receipts

MESSAGES_OF_BATCH = f"m.id >= b.id * {MESSAGES_PER_BATCH} AND m.id < (b.id + 1) * {MESSAGES_PER_BATCH}"
"""SQL that joins messages `m` to their batch `b` by one range of the primary key."""

_WORTH_A_STATEMENT = 8
"""Messages of which the same is said, for which it takes a statement of their own."""

_TOLD_BY_RECEIPTS = frozenset({MessageState.DELIVERED, MessageState.UNDELIVERED, MessageState.EXPIRED})
"""No receipt moves what was not yet submitted: that is for an answer or a look-up, together with its batch."""

_WITH_A_REASON = frozenset({MessageState.REFUSED, MessageState.UNDELIVERED, MessageState.EXPIRED})
"""States whose reasons are counted, for a status that shows them at any size."""

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
        if move.reason is not None and move.state in _WITH_A_REASON:
            merge(batch, {because(move.state.value, move.reason): 1})
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


def settle_messages(tx: Transaction, receipts: Receipts, *, now: datetime) -> dict[int, dict[str, int]]:
    """Move messages by what a provider says of them, one statement for all of a batch that it says the same of.

    What is no news changes nothing; of two words about one message the first counts. Returns as `move_messages`.
    """
    changes: dict[int, dict[str, int]] = {}
    rest: list[MessageMove] = []
    for (batch_id, state, reason, at, cost), ids in _alike(receipts).items():
        if state not in _TOLD_BY_RECEIPTS:
            continue
        settled_at = micros(at or now)
        moved = 0
        if len(ids) >= _WORTH_A_STATEMENT:
            found = _settle(tx, ids, state, reason=reason, cost=cost, settled_at=settled_at)
            moved = -found.get("message.submitted", 0)
            merge(changes.setdefault(batch_id, {}), found)
        if moved < len(ids):  # another state, or another cost, than most have; those that have moved move no more
            rest += [
                MessageMove(message_id=one, state=state, reason=reason, cost=cost, settled_at=settled_at)
                for one in ids
            ]
    for batch_id, more in (move_messages(tx, rest) if rest else {}).items():
        merge(changes.setdefault(batch_id, {}), more)
    return changes


def _alike(
    receipts: Receipts,
) -> dict[tuple[int, MessageState, str | None, datetime | None, Decimal | None], list[int]]:
    """Return the messages of which the same is said, by batch, state, reason, time and cost."""
    groups: dict[Any, list[int]] = defaultdict(list)
    batches = [one // MESSAGES_PER_BATCH for one in receipts.message_ids]
    said = zip(batches, receipts.states, receipts.reasons, receipts.ats, receipts.costs, strict=True)
    if len(set(receipts.message_ids)) == len(receipts.message_ids):
        for one, key in zip(receipts.message_ids, said, strict=True):
            groups[key].append(one)
        return groups
    firsts = dict(zip(reversed(receipts.message_ids), reversed(list(said)), strict=True))
    for one in dict.fromkeys(receipts.message_ids):
        groups[firsts[one]].append(one)
    return groups


def _settle(
    tx: Transaction, ids: list[int], state: MessageState, *, reason: str | None, cost: Decimal | None, settled_at: int
) -> dict[str, int]:
    """Settle those of some messages of one batch that are submitted and cost what they did, or nothing yet.

    Returns the counter changes.
    """
    run = ids[-1] - ids[0] + 1 == len(ids) and ids == list(range(ids[0], ids[-1] + 1))
    parameters: dict[str, Any] = {"state": state.value, "settled_at": settled_at}
    parameters |= {"first": ids[0], "last": ids[-1]} if run else {"ids": tx.ids(ids)}
    sets = "state = :state, settled_at = :settled_at"
    which = "state = 'submitted' AND " + ("id >= :first AND id <= :last" if run else f"id {tx.in_ids}")
    if reason is not None:
        sets, parameters = sets + ", reason = :reason", parameters | {"reason": reason}
    if cost is None:
        moved, dearer = tx.run(f"UPDATE message SET {sets} WHERE {which}", **parameters), 0
    else:
        parameters["cost"] = millionths(cost)
        moved = tx.run(f"UPDATE message SET {sets} WHERE {which} AND cost = :cost", **parameters)
        dearer = 0
        if moved < len(ids):
            dearer = tx.run(f"UPDATE message SET {sets}, cost = :cost WHERE {which} AND cost IS NULL", **parameters)
            moved += dearer
    more = {"cost": dearer * millionths(cost)} if dearer and cost is not None else {}
    if moved and reason is not None and state in _WITH_A_REASON:
        more[because(state.value, reason)] = moved
    return {"message.submitted": -moved, f"message.{state.value}": moved, **more} if moved else {}


def accept_messages(
    tx: Transaction,
    batch_id: int,
    positions: Sequence[int],
    provider_message_ids: Sequence[str | None],
    costs: Sequence[Decimal | None],
) -> dict[str, int] | None:
    """Move the queued messages of a batch, all of whose answers accept them, to submitted, in one statement.

    Returns the counter changes; None, with nothing changed, where `positions` are no unbroken run.
    """
    if not positions or positions[-1] - positions[0] + 1 != len(positions):
        return None
    one = costs[0]
    same = costs.count(one) == len(costs)
    first = batch_id * MESSAGES_PER_BATCH + positions[0]
    amounts = [None if cost is None else millionths(cost) for cost in ([one] if same else costs)]
    # What differs from row to row is one parameter. The n-th of it is the n-th message of the run.
    theirs: Sequence[Any] = provider_message_ids
    each = {"one": amounts[0]} if same else {"amounts": msgspec.json.encode(amounts).decode()}
    if tx.postgresql:
        # Looked up by position: a join might be planned by statistics that do not know of the batch yet.
        nth = "CAST({} AS jsonb) ->> CAST(id - :first AS integer)"
        cost = "CAST(:one AS bigint)" if same else f"CAST({nth.format(':amounts')} AS bigint)"
        said, which = f"{nth.format(':theirs')}, cost = {cost}", "id >= :first AND id < :end"
    elif same:
        said, which = "j.value, cost = :one FROM json_each(:theirs) AS j", "message.id = :first + j.key"
    else:
        theirs, each = list(zip(provider_message_ids, amounts, strict=True)), {}
        said = "json_extract(j.value, '$[0]'), cost = json_extract(j.value, '$[1]') FROM json_each(:theirs) AS j"
        which = "message.id = :first + j.key"
    moved = tx.run(
        f"UPDATE message SET state = 'submitted', provider_message_id = {said} WHERE {which} AND state = 'queued'",
        first=first,
        end=first + len(positions),
        theirs=msgspec.json.encode(theirs).decode(),
        **each,
    )
    if moved == len(positions):
        cost_of_all = sum(filter(None, amounts)) * (len(positions) if same else 1)
    else:  # none of them had been submitted before, so that these are the ones
        cost_of_all = tx.rows(
            "SELECT CAST(COALESCE(SUM(cost), 0) AS bigint) AS cost FROM message"
            " WHERE id >= :first AND id < :end AND state = 'submitted'",
            first=first,
            end=first + len(positions),
        )[0].cost
    return {"message.queued": -moved, "message.submitted": moved, "cost": cost_of_all}


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
