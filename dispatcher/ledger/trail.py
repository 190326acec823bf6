"""What every change of the ledger leaves behind in its own transaction: an event, and the counters moved."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from dispatcher.batch import BatchState
from dispatcher.ledger.database import Transaction, micros
from dispatcher.ledger.rows import Claim

_SHARDS = 8
_LONGEST_REASON = 60
_DIGITS = re.compile(r"\d{5,}")  # an id in a reason would make each of them one of its own; codes are shorter


def note(
    tx: Transaction,
    *,
    at: datetime,
    who: str,
    subject: str,
    what: str,
    campaign_id: int | None = None,
    batch_id: int | None = None,
    message_id: int | None = None,
    before: str | None = None,
    after: str | None = None,
    why: str | None = None,
) -> None:
    """Add one event to the audit trail."""
    tx.run(
        "INSERT INTO event (at, who, subject, campaign_id, batch_id, message_id, what, before, after, why)"
        " VALUES (:at, :who, :subject, :campaign_id, :batch_id, :message_id, :what, :before, :after, :why)",
        at=micros(at),
        who=who,
        subject=subject,
        campaign_id=campaign_id,
        batch_id=batch_id,
        message_id=message_id,
        what=what,
        before=before,
        after=after,
        why=why,
    )


def count(tx: Transaction, *, campaign_id: int, batch_id: int, changes: Mapping[str, int]) -> None:
    """Add `changes` to the campaign's counters, in one order everywhere so that transactions cannot deadlock."""
    wanted = {name: changes[name] for name in sorted(changes) if changes[name]}
    if not wanted:
        return
    each = (
        "key, CAST(value AS bigint) FROM json_each_text(CAST(:changes AS json))"
        if tx.postgresql
        else "key, value FROM json_each(:changes)"
    ).replace("key, ", "key, CAST(:shard AS integer), ")
    tx.run(
        f"INSERT INTO counter (campaign_id, name, shard, amount) SELECT CAST(:campaign_id AS bigint), {each} WHERE true"
        " ON CONFLICT (campaign_id, name, shard) DO UPDATE SET amount = counter.amount + excluded.amount",
        campaign_id=campaign_id,
        shard=batch_id % _SHARDS,
        changes=json.dumps(wanted),
    )


ByCampaign = dict[int, dict[str, int]]
"""Counter changes of several campaigns, by their ids."""


def count_several(tx: Transaction, changes: ByCampaign, *, batch_id: int) -> None:
    """Add to the counters of several campaigns, in one order everywhere."""
    for campaign_id in sorted(changes):
        count(tx, campaign_id=campaign_id, batch_id=batch_id, changes=changes[campaign_id])


def totals(tx: Transaction, campaign_id: int) -> dict[str, int]:
    """Return the campaign's counters, summed over their shards."""
    return {
        str(row.name): int(row.amount)
        for row in tx.rows(
            "SELECT name, SUM(amount) AS amount FROM counter WHERE campaign_id = :id GROUP BY name",
            id=campaign_id,
        )
    }


def because(state: str, reason: str) -> str:
    """Return the name of the counter of the messages that ended in a state for a reason; numbers in it are left out."""
    return f"why.{state}.{_DIGITS.sub('…', reason)[:_LONGEST_REASON]}"


def shifts(prefix: str, moved: Iterable[tuple[str, str, int]]) -> dict[str, int]:
    """Return the counter changes for (from, to, how many) moves of a kind, `message` or `batch`."""
    changes: dict[str, int] = {}
    for before, after, many in moved:
        changes[f"{prefix}.{before}"] = changes.get(f"{prefix}.{before}", 0) - many
        changes[f"{prefix}.{after}"] = changes.get(f"{prefix}.{after}", 0) + many
    return changes


def merge(changes: dict[str, int], more: Mapping[str, int]) -> None:
    """Add counter changes to others."""
    for name, amount in more.items():
        changes[name] = changes.get(name, 0) + amount


def note_batch_move(
    tx: Transaction,
    claim: Claim,
    before: BatchState,
    after: BatchState,
    *,
    now: datetime,
    why: str | None = None,
) -> None:
    """Add the event of a batch's move under a claim."""
    note_batch_moves(tx, [claim], before, after, now=now, whys=[why])


def note_batch_moves(
    tx: Transaction,
    claims: Sequence[Claim],
    before: BatchState,
    after: BatchState,
    *,
    now: datetime,
    whys: Sequence[str | None],
) -> None:
    """Add the events of batches that made the same move, each under a claim and for a reason of its own."""
    tx.insert(
        "event",
        {
            "who": [claim.owner for claim in claims],
            "campaign_id": [claim.campaign_id for claim in claims],
            "batch_id": [claim.batch_id for claim in claims],
            "what": [f"attempt {claim.attempt}" for claim in claims],
            "why": whys,
        },
        same={"at": micros(now), "subject": "batch", "before": before.value, "after": after.value},
    )
