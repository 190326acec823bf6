"""Records what a provider answered to one request; lots.py does so for several small ones in few statements."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dispatcher.batch import BatchState
from dispatcher.failpoints import reach
from dispatcher.ledger.database import Transaction, micros, moment
from dispatcher.ledger.messages import MessageMove, accept_messages, move_batch_messages, move_messages
from dispatcher.ledger.rows import BatchContent, Claim
from dispatcher.ledger.spending import hold, settle
from dispatcher.ledger.trail import ByCampaign, merge, note, note_batch_move, shifts
from dispatcher.message import MessageState, message_id
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
