"""Claims batches, and records each attempt before its request and each outcome after it."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row

from dispatcher.batch import BatchState
from dispatcher.ledger.database import Database, Transaction, micros, moment
from dispatcher.ledger.messages import MessageMove, move_batch_messages, move_messages
from dispatcher.ledger.rows import BatchContent, Claim
from dispatcher.ledger.trail import count, note, shifts
from dispatcher.message import MESSAGES_PER_BATCH, MessageState, message_id
from dispatcher.provider import Answers

_NOBODY_LEFT = "nobody left to send to: every number was suppressed after planning"


class Batches:
    """The submitter's way into the ledger. A method that moves a batch is a compare-and-set on its attempt."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, provider: str, *, owner: str, now: datetime, lease: timedelta) -> Claim | None:
        """Take the best batch that is due: highest priority, then the campaign that has been served least.

        Messages whose numbers were suppressed since planning leave the batch here. None where nothing is due.
        """
        with self._database.write() as tx:
            campaign = tx.first(
                "SELECT c.id, c.public_id FROM campaign c"
                " WHERE c.provider = :provider AND c.state IN ('running', 'scheduled')"
                " AND EXISTS (SELECT 1 FROM batch b WHERE b.campaign_id = c.id AND b.state = 'pending'"
                " AND b.due_at <= :now)"
                " ORDER BY c.priority DESC, c.served, c.id LIMIT 1" + (" FOR NO KEY UPDATE" if tx.postgresql else ""),
                provider=provider,
                now=micros(now),
            )
            if campaign is None:
                return None
            batch = tx.first(
                "UPDATE batch SET state = 'claimed', owner = :owner, lease_until = :until, attempt = attempt + 1"
                " WHERE id = (SELECT id FROM batch WHERE campaign_id = :campaign_id AND state = 'pending'"
                " AND due_at <= :now ORDER BY due_at, id LIMIT 1" + (" FOR UPDATE" if tx.postgresql else "") + ")"
                " AND state = 'pending' RETURNING id, number, attempt, messages, segments, send_at",
                owner=owner,
                until=micros(now + lease),
                campaign_id=campaign.id,
                now=micros(now),
            )
            if batch is None:
                return None
            tx.run(
                "UPDATE campaign SET served = served + :segments WHERE id = :id",
                segments=batch.segments,
                id=campaign.id,
            )
            claim = Claim(
                batch_id=int(batch.id),
                number=batch.number,
                campaign_id=int(campaign.id),
                campaign=campaign.public_id,
                provider=provider,
                attempt=batch.attempt,
                owner=owner,
                messages=batch.messages,
                segments=batch.segments,
                send_at=moment(batch.send_at),
            )
            changes = shifts("batch", [("pending", "claimed", 1)])
            for name, amount in _suppress(tx, claim.batch_id).items():
                changes[name] = changes.get(name, 0) + amount
            count(tx, campaign_id=claim.campaign_id, batch_id=claim.batch_id, changes=changes)
            return claim

    def content(self, claim: Claim) -> BatchContent:
        """Return what a claimed batch is to say, to those of its messages that are still queued."""
        with self._database.read() as tx:
            return read_content(tx, claim.batch_id, claim.campaign_id, MessageState.QUEUED)

    def begin_attempt(
        self, claim: Claim, *, now: datetime, lease: timedelta, scheduled_for: datetime | None = None
    ) -> bool:
        """Record that the request is about to be made; only after this may it be.

        `scheduled_for` is when the provider is asked to send, where it keeps the time.

        False, with nothing changed, where the claim no longer gives the right to: the campaign was paused or
        cancelled, the lease has ended or is another's, or a recipient was suppressed since the claim.
        """
        with self._database.write() as tx:
            campaign = tx.first(
                "SELECT state FROM campaign WHERE id = :id" + (" FOR SHARE" if tx.postgresql else ""),
                id=claim.campaign_id,
            )
            if campaign is None or campaign.state not in ("running", "scheduled"):
                return False
            first = claim.batch_id * MESSAGES_PER_BATCH
            opted_out = tx.first(
                "SELECT 1 FROM message m JOIN suppression s ON s.msisdn = m.msisdn AND s.scope = ''"
                " WHERE m.id >= :first AND m.id < :end AND m.state = 'queued' LIMIT 1",
                first=first,
                end=first + MESSAGES_PER_BATCH,
            )
            if opted_out is not None:
                return False
            taken = tx.run(
                "UPDATE batch SET state = 'submitting', lease_until = :until, attempted_at = :now, scheduled_for = :scheduled_for"
                " WHERE id = :id AND attempt = :attempt"
                " AND owner = :owner AND state = 'claimed' AND lease_until > :now",
                until=micros(now + lease),
                scheduled_for=None if scheduled_for is None else micros(scheduled_for),
                id=claim.batch_id,
                attempt=claim.attempt,
                owner=claim.owner,
                now=micros(now),
            )
            if not taken:
                return False
            tx.run(
                "INSERT INTO attempt (batch_id, number, worker, started_at)"
                " VALUES (:batch_id, :number, :worker, :started_at)",
                batch_id=claim.batch_id,
                number=claim.attempt,
                worker=claim.owner,
                started_at=micros(now),
            )
            changes = shifts("batch", [("claimed", "submitting", 1)])
            count(tx, campaign_id=claim.campaign_id, batch_id=claim.batch_id, changes=changes)
            _note_move(tx, claim, BatchState.CLAIMED, BatchState.SUBMITTING, now=now)
            return True

    def hand_back(self, claim: Claim, *, now: datetime, why: str, due_at: datetime | None = None) -> bool:
        """Return a claimed batch, of which nothing was sent, to those that are pending."""
        return self._release(claim, BatchState.CLAIMED, now=now, why=why, due_at=due_at)

    def record_not_submitted(self, claim: Claim, *, now: datetime, why: str, due_at: datetime | None = None) -> bool:
        """Record that the attempt certainly reached nobody: the batch is pending again."""
        return self._release(claim, BatchState.SUBMITTING, now=now, why=why, due_at=due_at)

    def record_submitted(
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
        accepted = len(content.positions) - len(answers.refused)
        learned = in_words(len(content.positions), answers)
        state = BatchState.SUBMITTED if accepted else BatchState.REFUSED
        with self._database.write() as tx:
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
                receipts_until=micros(begins + receipt_window) if accepted else None,
                # What the answer left out is looked up, like a batch whose answer was lost.
                look_up_at=micros(now) if answers.missing else None,
            )
            if before is None:
                _keep_evidence(tx, claim, state.value, learned, now=now)
                return False
            if before is BatchState.UNKNOWN:
                _requeue_unknown(tx, claim)
            moves = message_moves(claim.batch_id, content, answers, settled_at=micros(now))
            changes = merged(move_messages(tx, moves), shifts("batch", [(before.value, state.value, 1)]))
            changes["segments"] = sum(
                segments
                for index, segments in enumerate(content.segments)
                if index not in answers.refused and index not in answers.missing
            )
            count(tx, campaign_id=claim.campaign_id, batch_id=claim.batch_id, changes=changes)
            _end_attempt(tx, claim, state.value, learned, now=now)
            _note_move(tx, claim, before, state, now=now, why=learned)
            return True

    def record_unknown(self, claim: Claim, *, now: datetime, why: str, receipt_window: timedelta) -> bool:
        """Record that nobody can say whether the request was carried out."""
        return self._record_whole(
            claim, BatchState.UNKNOWN, MessageState.UNKNOWN, now=now, why=why, until=now + receipt_window
        )

    def record_refused(self, claim: Claim, *, now: datetime, why: str) -> bool:
        """Record that the provider refused the whole request."""
        return self._record_whole(claim, BatchState.REFUSED, MessageState.REFUSED, now=now, why=why, until=None)

    def settle_expired(self, *, now: datetime, receipt_windows: Mapping[str, timedelta], limit: int = 200) -> int:
        """Settle leases that have ended: a claimed batch is pending again, a submitting one is unknown."""
        with self._database.read() as tx:
            expired = tx.rows(
                "SELECT b.id, b.number, b.state, b.campaign_id, b.provider, b.attempt, b.owner, b.messages,"
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

    def due(self, provider: str, *, now: datetime, most: int) -> int:
        """Return how many batches could be claimed now, counting no further than `most`."""
        with self._database.read() as tx:
            rows = tx.rows(
                "SELECT 1 FROM campaign c JOIN batch b ON b.campaign_id = c.id"
                " WHERE c.provider = :provider AND c.state IN ('running', 'scheduled')"
                " AND b.state = 'pending' AND b.due_at <= :now LIMIT :most",
                provider=provider,
                now=micros(now),
                most=most,
            )
        return len(rows)

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
        if found.state == state or (found.state == BatchState.UNKNOWN and state is not BatchState.SUBMITTED):
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
            if expired and not _still_expired(tx, claim, now):
                return False
            before = self._settle(tx, claim, state, why=why, receipts_until=None if until is None else micros(until))
            if before is None:
                _keep_evidence(tx, claim, state.value, why, now=now)
                return False
            changes = move_batch_messages(tx, claim.batch_id, MessageState.QUEUED, message_state, reason=why)
            changes |= shifts("batch", [(before.value, state.value, 1)])
            count(tx, campaign_id=claim.campaign_id, batch_id=claim.batch_id, changes=changes)
            _end_attempt(tx, claim, state.value, why, now=now)
            _note_move(tx, claim, before, state, now=now, why=why)
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
            found = tx.first("SELECT state FROM batch WHERE id = :id", id=claim.batch_id)
            if found is not None and found.state == BatchState.UNKNOWN and before is BatchState.SUBMITTING:
                # The lease ended first, but the worker that held it knows better: nothing was sent.
                before = BatchState.UNKNOWN
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
            count(
                tx,
                campaign_id=claim.campaign_id,
                batch_id=claim.batch_id,
                changes=shifts("batch", [(before.value, after.value, 1)]),
            )
            if before is not BatchState.CLAIMED:
                _end_attempt(tx, claim, "not submitted", why, now=now)
            _note_move(tx, claim, before, after, now=now, why=reason)
            return True


def read_content(tx: Transaction, batch_id: int, campaign_id: int, state: MessageState) -> BatchContent:
    """Return what a batch says, to those of its messages that are in a state."""
    first = batch_id * MESSAGES_PER_BATCH
    campaign = tx.rows("SELECT template, personalised, sender, options FROM campaign WHERE id = :id", id=campaign_id)[
        0
    ]
    payload = tx.first("SELECT fields FROM payload WHERE batch_id = :id", id=batch_id)
    messages = tx.rows(
        'SELECT id, msisdn, "row" AS line, segments FROM message'
        " WHERE id >= :first AND id < :end AND state = :state ORDER BY id",
        first=first,
        end=first + MESSAGES_PER_BATCH,
        state=state.value,
    )
    return BatchContent(
        positions=[row.id - first for row in messages],
        numbers=[row.msisdn for row in messages],
        rows=[row.line for row in messages],
        segments=[row.segments for row in messages],
        fields=None if payload is None else bytes(payload.fields),
        template=campaign.template,
        personalised=bool(campaign.personalised),
        sender=campaign.sender,
        options=json.loads(campaign.options),
    )


def _claim(row: Row[Any]) -> Claim:
    return Claim(
        batch_id=int(row.id),
        number=row.number,
        campaign_id=int(row.campaign_id),
        campaign=row.public_id,
        provider=row.provider,
        attempt=row.attempt,
        owner=row.owner or "",
        messages=row.messages,
        segments=row.segments,
        send_at=moment(row.send_at),
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


def _suppress(tx: Transaction, batch_id: int) -> dict[str, int]:
    first = batch_id * MESSAGES_PER_BATCH
    many = tx.run(
        "UPDATE message SET state = 'suppressed', reason = 'suppressed after planning'"
        " WHERE id >= :first AND id < :end AND state = 'queued'"
        " AND msisdn IN (SELECT msisdn FROM suppression WHERE scope = '')",
        first=first,
        end=first + MESSAGES_PER_BATCH,
    )
    return {"message.queued": -many, "message.suppressed": many} if many else {}


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


def in_words(asked: int, answers: Answers) -> str:
    """Return what the provider answered, in numbers."""
    accepted = asked - len(answers.refused) - len(answers.missing)
    return f"{accepted} accepted, {len(answers.refused)} refused, {len(answers.missing)} not answered for"


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


def _note_move(
    tx: Transaction,
    claim: Claim,
    before: BatchState,
    after: BatchState,
    *,
    now: datetime,
    why: str | None = None,
) -> None:
    note(
        tx,
        at=now,
        who=claim.owner,
        subject="batch",
        what=f"attempt {claim.attempt}",
        campaign_id=claim.campaign_id,
        batch_id=claim.batch_id,
        before=before.value,
        after=after.value,
        why=why,
    )
