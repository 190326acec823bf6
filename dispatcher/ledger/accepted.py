"""Records in few statements that the providers accepted several small batches as a whole."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dispatcher.batch import BatchState
from dispatcher.ledger.database import Transaction, micros, millionths, moment
from dispatcher.ledger.rows import BatchContent, Claim
from dispatcher.ledger.trail import count, merge, note_batch_moves, shifts
from dispatcher.message import MESSAGES_PER_BATCH, message_id
from dispatcher.provider import Answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a provider answered to the request of a claimed batch, one answer for each message of `content`."""

    claim: Claim
    content: BatchContent
    answers: Answers
    now: datetime
    receipt_window: timedelta


def in_words(asked: int, answers: Answers) -> str:
    """Return what the provider answered, in numbers."""
    accepted = asked - len(answers.refused) - len(answers.missing)
    return f"{accepted} accepted, {len(answers.refused)} refused, {len(answers.missing)} not answered for"


def record_accepted(tx: Transaction, answered: Sequence[Answered]) -> set[int]:
    """Record those batches whose answers accept everybody; return their ids.

    Left to be looked at one by one are the others: whose claim is not as it was, whose money is watched, or of which
    the provider had more to say.
    """
    plain = {one.claim.batch_id: one for one in answered if _plain(one)}
    found = tx.rows(
        f"SELECT id, attempt, scheduled_for FROM batch WHERE id {tx.in_ids} AND state = 'submitting' ORDER BY id"
        + (" FOR UPDATE" if tx.postgresql else ""),
        ids=tx.ids(plain),
    )
    ours = [plain[int(row.id)] for row in found if row.attempt == plain[int(row.id)].claim.attempt]
    if not ours:
        return set()
    now = max(one.now for one in ours)
    scheduled = {int(row.id): moment(row.scheduled_for) for row in found}
    starts = [max(now, scheduled[one.claim.batch_id] or now) for one in ours]
    learned = [in_words(len(one.content.positions), one.answers) for one in ours]
    batches, batch_values = tx.table(
        {
            "id": ("bigint", [one.claim.batch_id for one in ours]),
            "attempt": ("bigint", [one.claim.attempt for one in ours]),
            "theirs": ("text", [one.answers.provider_reference for one in ours]),
            "due_at": ("bigint", [micros(start) for start in starts]),
            "until": (
                "bigint",
                [micros(start + one.receipt_window) for start, one in zip(starts, ours, strict=True)],
            ),
            "learned": ("text", learned),
        }
    )
    tx.run(
        "UPDATE batch SET state = 'submitted', reason = NULL, lease_until = NULL, provider_reference = t.theirs,"
        " submitted_at = :now, receipts_due_at = t.due_at, receipts_until = t.until, look_up_at = NULL"
        f" FROM {batches} AS t WHERE batch.id = t.id",
        now=micros(now),
        **batch_values,
    )
    tx.run(
        "UPDATE attempt SET ended_at = :now, outcome = 'submitted', evidence = t.learned"
        f" FROM {batches} AS t WHERE attempt.batch_id = t.id AND attempt.number = t.attempt",
        now=micros(now),
        **batch_values,
    )
    moved = _accept(tx, ours)
    changes: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for one in ours:
        by_campaign = changes[one.claim.campaign_id]
        merge(by_campaign, shifts("batch", [("submitting", "submitted", 1)]))
        merge(by_campaign, moved[one.claim.batch_id])
        by_campaign["segments"] += sum(one.content.segments)
    for campaign_id in sorted(changes):
        count(tx, campaign_id=campaign_id, batch_id=ours[0].claim.batch_id, changes=changes[campaign_id])
    claims = [one.claim for one in ours]
    note_batch_moves(tx, claims, BatchState.SUBMITTING, BatchState.SUBMITTED, now=now, whys=learned)
    return {claim.batch_id for claim in claims}


def _plain(one: Answered) -> bool:
    said = one.answers
    return one.claim.allowance is None and not (said.refused or said.missing or said.pause or said.note)


def _accept(tx: Transaction, answered: Sequence[Answered]) -> dict[int, dict[str, int]]:
    """Move the messages that are still queued to submitted; return the counter changes by batch."""
    ids: list[int] = []
    theirs: list[str | None] = []
    costs: list[int | None] = []
    for one in answered:
        ids += [message_id(one.claim.batch_id, position) for position in one.content.positions]
        theirs += one.answers.provider_message_ids
        costs += [None if cost is None else millionths(cost) for cost in one.answers.costs]
    messages, values = tx.table({"id": ("bigint", ids), "theirs": ("text", theirs), "cost": ("bigint", costs)})
    moved = tx.rows(
        "UPDATE message SET state = 'submitted', provider_message_id = t.theirs, cost = t.cost"
        f" FROM {messages} AS t WHERE message.id = t.id AND message.state = 'queued' RETURNING message.id, message.cost",
        **values,
    )
    changes: dict[int, dict[str, int]] = {one.claim.batch_id: {} for one in answered}
    for row in moved:
        move = {"message.queued": -1, "message.submitted": 1, "cost": row.cost or 0}
        merge(changes[int(row.id) // MESSAGES_PER_BATCH], move)
    return changes
