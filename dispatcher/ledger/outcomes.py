"""Records the outcome of each attempt, and settles those whose worker died."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from dispatcher.batch import SMALL_BATCH, BatchState
from dispatcher.ledger.answers import (
    Answered,
    end_attempt,
    keep_evidence,
    record_answers,
    requeue_unknown,
    settle_batch,
)
from dispatcher.ledger.database import Database, Transaction, micros, moment
from dispatcher.ledger.lots import record_several
from dispatcher.ledger.messages import move_batch_messages
from dispatcher.ledger.rows import Allowance, BatchContent, Claim
from dispatcher.ledger.spending import hold, settle
from dispatcher.ledger.together import Together
from dispatcher.ledger.trail import ByCampaign, count, count_several, merge, note_batch_move, shifts
from dispatcher.message import MESSAGES_PER_BATCH, MessageState
from dispatcher.provider import Answers

_NOBODY_LEFT = "nobody left to send to: every number was suppressed after planning"


class Outcomes:
    """The submitter's way to record what came of an attempt; each is a compare-and-set on the attempt's number."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._together: Together[Answered, bool] = Together(database.write, _record_lot)

    def hand_back(self, claim: Claim, *, now: datetime, why: str, due_at: datetime | None = None) -> bool:
        """Return a claimed batch, of which nothing was sent, to those that are pending."""
        return self._release(claim, BatchState.CLAIMED, now=now, why=why, due_at=due_at)

    def not_submitted(self, claim: Claim, *, now: datetime, why: str, due_at: datetime | None = None) -> bool:
        """Record that the attempt certainly reached nobody: the batch is pending again."""
        return self._release(claim, BatchState.SUBMITTING, now=now, why=why, due_at=due_at)

    def submitted(
        self, claim: Claim, content: BatchContent, answers: Answers, *, now: datetime, receipt_window: timedelta
    ) -> bool:
        """Record the provider's answers, one for each message of `content`; see `answered`."""
        return self.answered(
            Answered(claim=claim, content=content, answers=answers, now=now, receipt_window=receipt_window)
        )

    def answered(self, answered: Answered) -> bool:
        """Record what the provider answered.

        False where the claim has passed to another: then the answers are kept as evidence and nothing is moved.
        """
        if answered.plain and len(answered.content.positions) <= SMALL_BATCH:
            return self._together.ask(answered)
        changes: ByCampaign = {}
        with self._database.write() as tx:
            recorded = record_answers(tx, answered, changes)
            count_several(tx, changes, batch_id=answered.claim.batch_id)
            return recorded

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
            before = settle_batch(
                tx,
                claim,
                state,
                why=why,
                receipts_until=None if until is None else micros(until),
                look_up_at=micros(now) if state is BatchState.UNKNOWN else None,
            )
            if before is None:
                keep_evidence(tx, claim, state.value, why, now=now)
                return False
            changes = shifts("batch", [(before.value, state.value, 1)])
            if before is BatchState.UNKNOWN:
                merge(changes, requeue_unknown(tx, claim))
            moved = move_batch_messages(
                tx,
                claim.batch_id,
                MessageState.QUEUED,
                message_state,
                reason=why,
                settled_at=micros(now) if message_state is MessageState.REFUSED else None,
            )
            merge(changes, moved)
            settle(tx, claim, now=now)
            count(tx, campaign_id=claim.campaign_id, batch_id=claim.batch_id, changes=changes)
            end_attempt(tx, claim, state.value, why, now=now)
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
                    keep_evidence(tx, claim, "not submitted", why, now=now)
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
            if not moved:
                if before is not BatchState.CLAIMED:
                    keep_evidence(tx, claim, "not submitted", why, now=now)
                return False
            changes = shifts("batch", [(before.value, after.value, 1)])
            if before is BatchState.UNKNOWN:
                merge(changes, requeue_unknown(tx, claim))
            # It was not served after all.
            tx.run(
                "UPDATE campaign SET served = served - :segments WHERE id = :id",
                segments=claim.segments,
                id=claim.campaign_id,
            )
            settle(tx, claim, now=now)
            count(tx, campaign_id=claim.campaign_id, batch_id=claim.batch_id, changes=changes)
            if before is not BatchState.CLAIMED:
                end_attempt(tx, claim, "not submitted", why, now=now)
            note_batch_move(tx, claim, before, after, now=now, why=reason)
            return True


def _record_lot(tx: Transaction, answered: Sequence[Answered]) -> list[bool]:
    changes: ByCampaign = {}
    recorded = record_several(tx, answered, changes)
    count_several(tx, changes, batch_id=answered[0].claim.batch_id)
    return recorded


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
