"""Records what providers answered: to one request, or to several small ones in few statements."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dispatcher.batch import BatchState
from dispatcher.failpoints import reach
from dispatcher.ledger.database import Transaction, micros, millionths, moment
from dispatcher.ledger.messages import MessageMove, accept_messages, move_batch_messages, move_messages
from dispatcher.ledger.rows import BatchContent, Claim
from dispatcher.ledger.spending import hold, settle
from dispatcher.ledger.trail import ByCampaign, merge, note, note_batch_move, note_batch_moves, shifts
from dispatcher.message import MESSAGES_PER_BATCH, MessageState, message_id
from dispatcher.provider import Answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a provider answered to the request of a claimed batch, one answer for each message of `content`."""

    claim: Claim
    content: BatchContent
    answers: Answers
    now: datetime
    receipt_window: timedelta

    @property
    def attempt(self) -> tuple[int, int]:
        """Which attempt of which batch: of one batch, a late answer may come together with another attempt's."""
        return self.claim.batch_id, self.claim.attempt

    @property
    def plain(self) -> bool:
        """Whether everybody was accepted, there is no more to it, and nobody watches its money."""
        said = self.answers
        return self.claim.allowance is None and not (said.refused or said.missing or said.pause or said.note)


def in_words(asked: int, answers: Answers) -> str:
    """Return what the provider answered, in numbers."""
    accepted = asked - len(answers.refused) - len(answers.missing)
    return f"{accepted} accepted, {len(answers.refused)} refused, {len(answers.missing)} not answered for"


def record_several(tx: Transaction, answered: Sequence[Answered], changes: ByCampaign) -> list[bool]:
    """Record plain answers to several small requests as one.

    What this changes in the counters is added to `changes`. Looked at one by one are those whose claim is not as it was.
    """
    accepted = _record_accepted(tx, answered, changes) if len(answered) > 1 else set()
    if accepted:
        reach("in_outcome")
    return [one.attempt in accepted or record_answers(tx, one, changes) for one in answered]


def _record_accepted(tx: Transaction, answered: Sequence[Answered], changes: ByCampaign) -> set[tuple[int, int]]:
    plain = {one.claim.batch_id: one for one in answered}
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
    for one in ours:
        by_campaign = changes.setdefault(one.claim.campaign_id, {})
        merge(by_campaign, shifts("batch", [("submitting", "submitted", 1)]))
        merge(by_campaign, moved[one.claim.batch_id])
        merge(by_campaign, {"segments": sum(one.content.segments)})
    claims = [one.claim for one in ours]
    note_batch_moves(tx, claims, BatchState.SUBMITTING, BatchState.SUBMITTED, now=now, whys=learned)
    return {one.attempt for one in ours}


def record_answers(tx: Transaction, answered: Answered, changes: ByCampaign) -> bool:
    """Record the answers to one request; False where its claim has passed to another: then they are kept as evidence.

    What this changes in the counters is added to `changes`.
    """
    claim, content, answers, now = answered.claim, answered.content, answered.answers, answered.now
    accepted = len(content.positions) - len(answers.refused)
    learned = in_words(len(content.positions), answers)
    state = BatchState.SUBMITTED if accepted else BatchState.REFUSED
    hold(tx, claim)
    kept = tx.first("SELECT scheduled_for FROM batch WHERE id = :id", id=claim.batch_id)
    begins = max(now, moment(kept.scheduled_for) or now) if kept is not None else now
    before = settle_batch(
        tx,
        claim,
        state,
        why=answers.pause or answers.note,
        provider_reference=answers.provider_reference,
        submitted_at=micros(now),
        receipts_due_at=micros(begins) if accepted else None,
        receipts_until=micros(begins + answered.receipt_window) if accepted else None,
        # What the answer left out is looked up, like a batch whose answer was lost.
        look_up_at=micros(now) if answers.missing else None,
    )
    if before is None:
        keep_evidence(tx, claim, state.value, learned, now=now)
        return False
    counted = changes.setdefault(claim.campaign_id, {})
    if before is BatchState.UNKNOWN:
        merge(counted, requeue_unknown(tx, claim))
    moved = None
    if not answers.refused and not answers.missing:
        moved = accept_messages(tx, claim.batch_id, content.positions, answers.provider_message_ids, answers.costs)
    if moved is None:
        moves = message_moves(claim.batch_id, content, answers, settled_at=micros(now))
        moved = merged(move_messages(tx, moves), {})
    merge(counted, moved | shifts("batch", [(before.value, state.value, 1)]))
    merge(counted, {"segments": segments_accepted(content, answers)})
    settle(tx, claim, now=now)
    end_attempt(tx, claim, state.value, learned, now=now)
    note_batch_move(tx, claim, before, state, now=now, why=learned)
    reach("in_outcome")
    return True


def settle_batch(
    tx: Transaction, claim: Claim, state: BatchState, *, why: str | None, **columns: Any
) -> BatchState | None:
    """Move the batch out of `submitting` (or `unknown`, of the same attempt); return where it was."""
    found = tx.first(
        "SELECT state FROM batch WHERE id = :id AND attempt = :attempt" + (" FOR UPDATE" if tx.postgresql else ""),
        id=claim.batch_id,
        attempt=claim.attempt,
    )
    if found is None or found.state not in (BatchState.SUBMITTING, BatchState.UNKNOWN):
        return None
    if found.state == state or (found.state == BatchState.UNKNOWN and state is BatchState.UNKNOWN):
        return None
    sets = "".join(f", {name} = :{name}" for name in columns)
    tx.run(
        f"UPDATE batch SET state = :state, reason = :reason, lease_until = NULL{sets} WHERE id = :id",
        state=state.value,
        reason=why,
        id=claim.batch_id,
        **columns,
    )
    return BatchState(found.state)


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


def message_moves(batch_id: int, content: BatchContent, answers: Answers, *, settled_at: int) -> list[MessageMove]:
    """Return where each message of `content` goes by what the provider answered."""
    moves = []
    for index, position in enumerate(content.positions):
        refusal = answers.refused.get(index)
        if refusal is not None:
            move = MessageMove(
                message_id=message_id(batch_id, position),
                state=MessageState.REFUSED,
                reason=refusal.reason,
                settled_at=settled_at,
            )
        elif index in answers.missing:
            move = MessageMove(
                message_id=message_id(batch_id, position),
                state=MessageState.UNKNOWN,
                reason="the provider's answer did not mention it",
            )
        else:
            move = MessageMove(
                message_id=message_id(batch_id, position),
                state=MessageState.SUBMITTED,
                provider_message_id=answers.provider_message_ids[index],
                cost=answers.costs[index],
            )
        moves.append(move)
    return moves


def merged(by_batch: Mapping[int, Mapping[str, int]], more: Mapping[str, int]) -> dict[str, int]:
    """Return counter changes by batch, and some more, as one sum."""
    merged = dict(more)
    for changes in by_batch.values():
        merge(merged, changes)
    return merged


def segments_accepted(content: BatchContent, answers: Answers) -> int:
    """Return the segments of those messages of `content` that the provider accepted."""
    left_out = {*answers.refused, *answers.missing}
    return sum(content.segments) - sum(content.segments[index] for index in left_out)


def requeue_unknown(tx: Transaction, claim: Claim) -> dict[str, int]:
    """Open the way for answers that came after the lease had ended: unknown → queued → what they say.

    Returns the counter changes.
    """
    return move_batch_messages(tx, claim.batch_id, MessageState.UNKNOWN, MessageState.QUEUED, reason=None)


def end_attempt(tx: Transaction, claim: Claim, outcome: str, evidence: str, *, now: datetime) -> None:
    """Write down how an attempt ended, and by what that is known."""
    tx.run(
        "UPDATE attempt SET ended_at = :now, outcome = :outcome, evidence = :evidence"
        " WHERE batch_id = :batch_id AND number = :number",
        now=micros(now),
        outcome=outcome,
        evidence=evidence,
        batch_id=claim.batch_id,
        number=claim.attempt,
    )


def keep_evidence(tx: Transaction, claim: Claim, outcome: str, evidence: str, *, now: datetime) -> None:
    """Keep what a worker learned after its claim had passed to another."""
    note(
        tx,
        at=now,
        who=claim.owner,
        subject="batch",
        what="late outcome",
        campaign_id=claim.campaign_id,
        batch_id=claim.batch_id,
        after=outcome,
        why=f"attempt {claim.attempt}: {evidence}",
    )
