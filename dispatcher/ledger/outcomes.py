"""Records the outcome of each attempt, and settles those whose worker died."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from dispatcher.batch import SMALL_BATCH, BatchState
from dispatcher.failpoints import reach
from dispatcher.ledger.accepted import Answered, in_words, record_accepted
from dispatcher.ledger.database import Database, Transaction, micros, moment
from dispatcher.ledger.messages import MessageMove, accept_messages, move_batch_messages, move_messages
from dispatcher.ledger.rows import Allowance, BatchContent, Claim
from dispatcher.ledger.spending import hold, settle
from dispatcher.ledger.together import Together
from dispatcher.ledger.trail import count, note, note_batch_move, shifts
from dispatcher.message import MESSAGES_PER_BATCH, MessageState, message_id
from dispatcher.provider import Answers

_NOBODY_LEFT = "nobody left to send to: every number was suppressed after planning"


class Outcomes:
    """The submitter's way to record what came of an attempt; each is a compare-and-set on the attempt's number."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._together: Together[Answered, bool] = Together(database.write, self._record_several)

    def hand_back(self, claim: Claim, *, now: datetime, why: str, due_at: datetime | None = None) -> bool:
        """Return a claimed batch, of which nothing was sent, to those that are pending."""
        return self._release(claim, BatchState.CLAIMED, now=now, why=why, due_at=due_at)

    def not_submitted(self, claim: Claim, *, now: datetime, why: str, due_at: datetime | None = None) -> bool:
        """Record that the attempt certainly reached nobody: the batch is pending again."""
        return self._release(claim, BatchState.SUBMITTING, now=now, why=why, due_at=due_at)

    def submitted(
        self,
        claim: Claim,
        content: BatchContent,
        answers: Answers,
        *,
        now: datetime,
        receipt_window: timedelta,
    ) -> bool:
        """Record the provider's answers, one for each message of `content`.

        False where the claim has passed to another: then the answers are kept as evidence and nothing is moved.
        """
        answered = Answered(claim=claim, content=content, answers=answers, now=now, receipt_window=receipt_window)
        if len(content.positions) <= SMALL_BATCH:
            return self._together.ask(answered)
        with self._database.write() as tx:
            return self._record_answers(tx, answered)

    def unknown(self, claim: Claim, *, now: datetime, why: str, receipt_window: timedelta) -> bool:
        """Record that nobody can say whether the request was carried out."""
        return self._record_whole(
            claim, BatchState.UNKNOWN, MessageState.UNKNOWN, now=now, why=why, until=now + receipt_window
        )

    def refused(self, claim: Claim, *, now: datetime, why: str) -> bool:
        """Record that the provider refused the whole request."""
        return self._record_whole(claim, BatchState.REFUSED, MessageState.REFUSED, now=now, why=why, until=None)

    def settle_expired(self, *, now: datetime, receipt_windows: Mapping[str, timedelta], limit: int = 200) -> int:
        """Settle leases that have ended: a claimed batch is pending again, a submitting one is unknown."""
        with self._database.read() as tx:
            expired = tx.rows(
                "SELECT b.id, b.number, b.state, b.campaign_id, b.provider, b.attempt, b.owner, b.messages, b.reserved,"
                " b.segments, b.send_at, c.public_id FROM batch b JOIN campaign c ON c.id = b.campaign_id"
                " WHERE b.lease_until <= :now ORDER BY b.lease_until LIMIT :limit",
                now=micros(now),
                limit=limit,
            )
        settled = 0
        for row in expired:
            claim = _claim(row)
            if row.state == BatchState.CLAIMED:
                settled += self._release(
                    claim, BatchState.CLAIMED, now=now, why="its worker's lease ended before anything was sent",
                    expired=True,
                )  # fmt: skip
            else:
                settled += self._record_whole(
                    claim,
                    BatchState.UNKNOWN,
                    MessageState.UNKNOWN,
                    now=now,
                    why="its worker's lease ended between the attempt and its outcome",
                    until=now + receipt_windows.get(claim.provider, timedelta(hours=72)),
                    expired=True,
                )
        return settled

    def _record_several(self, tx: Transaction, answered: Sequence[Answered]) -> list[bool]:
        """Record the answers of several small batches; those that are all accepted, as nearly all are, as one."""
        if len(answered) == 1:
            return [self._record_answers(tx, answered[0])]
        recorded = record_accepted(tx, answered)
        reach("in_outcome")
        return [one.claim.batch_id in recorded or self._record_answers(tx, one) for one in answered]

    def _record_answers(self, tx: Transaction, answered: Answered) -> bool:
        claim, content, answers, now = answered.claim, answered.content, answered.answers, answered.now
        accepted = len(content.positions) - len(answers.refused)
        learned = in_words(len(content.positions), answers)
        state = BatchState.SUBMITTED if accepted else BatchState.REFUSED
        hold(tx, claim)
        kept = tx.first("SELECT scheduled_for FROM batch WHERE id = :id", id=claim.batch_id)
        begins = max(now, moment(kept.scheduled_for) or now) if kept is not None else now
        before = self._settle(
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
            _keep_evidence(tx, claim, state.value, learned, now=now)
            return False
        if before is BatchState.UNKNOWN:
            _requeue_unknown(tx, claim)
        moved = None
        if not answers.refused and not answers.missing:
            moved = accept_messages(
                tx, claim.batch_id, content.positions, answers.provider_message_ids, answers.costs
            )
        if moved is None:
            moves = message_moves(claim.batch_id, content, answers, settled_at=micros(now))
            moved = merged(move_messages(tx, moves), {})
        changes = moved | shifts("batch", [(before.value, state.value, 1)])
        changes["segments"] = segments_accepted(content, answers)
        settle(tx, claim, now=now)
        count(tx, campaign_id=claim.campaign_id, batch_id=claim.batch_id, changes=changes)
        _end_attempt(tx, claim, state.value, learned, now=now)
        note_batch_move(tx, claim, before, state, now=now, why=learned)
        reach("in_outcome")
        return True

    def _settle(
        self, tx: Transaction, claim: Claim, state: BatchState, *, why: str | None, **columns: Any
    ) -> BatchState | None:
        """Move the batch out of `submitting` (or `unknown`, of the same attempt); return where it was."""
        found = tx.first(
            "SELECT state FROM batch WHERE id = :id AND attempt = :attempt"
            + (" FOR UPDATE" if tx.postgresql else ""),
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

    def _record_whole(
        self,
        claim: Claim,
        state: BatchState,
        message_state: MessageState,
        *,
        now: datetime,
        why: str,
        until: datetime | None,
        expired: bool = False,
    ) -> bool:
        with self._database.write() as tx:
            hold(tx, claim)
            if expired and not _still_expired(tx, claim, now):
                return False
            before = self._settle(
                tx,
                claim,
                state,
                why=why,
                receipts_until=None if until is None else micros(until),
                look_up_at=micros(now) if state is BatchState.UNKNOWN else None,
            )
            if before is None:
                _keep_evidence(tx, claim, state.value, why, now=now)
                return False
            if before is BatchState.UNKNOWN:
                _requeue_unknown(tx, claim)
            changes = move_batch_messages(
                tx,
                claim.batch_id,
                MessageState.QUEUED,
                message_state,
                reason=why,
                settled_at=micros(now) if message_state is MessageState.REFUSED else None,
            )
            changes |= shifts("batch", [(before.value, state.value, 1)])
            settle(tx, claim, now=now)
            count(tx, campaign_id=claim.campaign_id, batch_id=claim.batch_id, changes=changes)
            _end_attempt(tx, claim, state.value, why, now=now)
            note_batch_move(tx, claim, before, state, now=now, why=why)
            return True

    def _release(
        self,
        claim: Claim,
        before: BatchState,
        *,
        now: datetime,
        why: str,
        due_at: datetime | None = None,
        expired: bool = False,
    ) -> bool:
        """Hand a batch back; of a cancelled campaign, or with nobody left in it, it is cancelled instead."""
        with self._database.write() as tx:
            hold(tx, claim)
            if expired and not _still_expired(tx, claim, now):
                return False
            first = claim.batch_id * MESSAGES_PER_BATCH
            queued = tx.first(
                "SELECT 1 FROM message WHERE id >= :first AND id < :end AND state = 'queued' LIMIT 1",
                first=first,
                end=first + MESSAGES_PER_BATCH,
            )
            after, reason = BatchState.PENDING, why
            if before is BatchState.CLAIMED and queued is None:
                after, reason = BatchState.CANCELLED, _NOBODY_LEFT
            lock = " FOR UPDATE" if tx.postgresql else ""
            found = tx.first("SELECT state FROM batch WHERE id = :id" + lock, id=claim.batch_id)
            if found is not None and found.state == BatchState.UNKNOWN and before is BatchState.SUBMITTING:
                # The lease ended first, but the worker that held it knows better: nothing was sent.
                before = BatchState.UNKNOWN
                if not _any_unknown(tx, claim):
                    # Given up, or its window has closed: to send it after all would be news to everyone.
                    _keep_evidence(tx, claim, "not submitted", why, now=now)
                    return False
            moved = tx.run(
                "UPDATE batch SET state = :after, owner = NULL, lease_until = NULL, reason = :reason,"
                " receipts_until = NULL, look_up_at = NULL, due_at = COALESCE(:due_at, due_at)"
                " WHERE id = :id AND attempt = :attempt AND state = :before",
                after=after.value,
                reason=reason,
                due_at=None if due_at is None else micros(due_at),
                id=claim.batch_id,
                attempt=claim.attempt,
                before=before.value,
            )
            if moved and before is BatchState.UNKNOWN:
                _requeue_unknown(tx, claim)
            if not moved:
                if before is not BatchState.CLAIMED:
                    _keep_evidence(tx, claim, "not submitted", why, now=now)
                return False
            # It was not served after all.
            tx.run(
                "UPDATE campaign SET served = served - :segments WHERE id = :id",
                segments=claim.segments,
                id=claim.campaign_id,
            )
            settle(tx, claim, now=now)
            count(
                tx,
                campaign_id=claim.campaign_id,
                batch_id=claim.batch_id,
                changes=shifts("batch", [(before.value, after.value, 1)]),
            )
            if before is not BatchState.CLAIMED:
                _end_attempt(tx, claim, "not submitted", why, now=now)
            note_batch_move(tx, claim, before, after, now=now, why=reason)
            return True


def _claim(row: Any) -> Claim:
    return Claim(
        batch_id=int(row.id),
        number=row.number,
        campaign_id=int(row.campaign_id),
        campaign=row.public_id,
        provider=row.provider,
        attempt=row.attempt,
        tried=0,
        owner=row.owner or "",
        messages=row.messages,
        segments=row.segments,
        send_at=moment(row.send_at),
        allowance=None if row.reserved is None else Allowance(),
    )


def _still_expired(tx: Transaction, claim: Claim, now: datetime) -> bool:
    return (
        tx.first(
            "SELECT 1 FROM batch WHERE id = :id AND attempt = :attempt AND lease_until <= :now",
            id=claim.batch_id,
            attempt=claim.attempt,
            now=micros(now),
        )
        is not None
    )


def _any_unknown(tx: Transaction, claim: Claim) -> bool:
    first = claim.batch_id * MESSAGES_PER_BATCH
    row = tx.first(
        "SELECT 1 FROM message WHERE id >= :first AND id < :end AND state = 'unknown' LIMIT 1",
        first=first,
        end=first + MESSAGES_PER_BATCH,
    )
    return row is not None


def _requeue_unknown(tx: Transaction, claim: Claim) -> None:
    """Open the way for answers that came after the lease had ended: unknown → queued → what they say."""
    changes = move_batch_messages(tx, claim.batch_id, MessageState.UNKNOWN, MessageState.QUEUED, reason=None)
    count(tx, campaign_id=claim.campaign_id, batch_id=claim.batch_id, changes=changes)


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
        for name, amount in changes.items():
            merged[name] = merged.get(name, 0) + amount
    return merged


def segments_accepted(content: BatchContent, answers: Answers) -> int:
    """Return the segments of those messages of `content` that the provider accepted."""
    left_out = {*answers.refused, *answers.missing}
    return sum(content.segments) - sum(content.segments[index] for index in left_out)


def _end_attempt(tx: Transaction, claim: Claim, outcome: str, evidence: str, *, now: datetime) -> None:
    tx.run(
        "UPDATE attempt SET ended_at = :now, outcome = :outcome, evidence = :evidence"
        " WHERE batch_id = :batch_id AND number = :number",
        now=micros(now),
        outcome=outcome,
        evidence=evidence,
        batch_id=claim.batch_id,
        number=claim.attempt,
    )


def _keep_evidence(tx: Transaction, claim: Claim, outcome: str, evidence: str, *, now: datetime) -> None:
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
