"""What is unknown: which batches, what was learned of them, and how each doubt ended."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from dispatcher.batch import BatchState
from dispatcher.ledger.answers import in_words, merged, message_moves
from dispatcher.ledger.claims import read_content
from dispatcher.ledger.database import Database, Transaction, micros, moment
from dispatcher.ledger.messages import MESSAGES_OF_BATCH, move_batch_messages, move_messages
from dispatcher.ledger.rows import BatchContent, Doubt
from dispatcher.ledger.spending import hold_campaign, recount
from dispatcher.ledger.trail import count, note, shifts
from dispatcher.message import MESSAGES_PER_BATCH, MessageState, message_id
from dispatcher.provider import Answers

_COLUMNS = (
    "SELECT b.id, b.number, b.campaign_id, c.public_id, b.provider, b.attempt, b.state, b.attempted_at, b.scheduled_for,"
    " b.reason, (SELECT COUNT(*) FROM message m WHERE m.state = 'unknown'"
    f" AND m.id >= b.id * {MESSAGES_PER_BATCH} AND m.id < (b.id + 1) * {MESSAGES_PER_BATCH}) AS unknown"
    " FROM batch b JOIN campaign c ON c.id = b.campaign_id"
)


_SENT_SHORTLY_BEFORE = timedelta(hours=1)


class Doubts:
    """The way of reconciliation, and of a person who decides, into the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, provider: str, *, now: datetime, most: int = 50) -> list[Doubt]:
        """Return the doubts that should be looked up now, the longest waiting first."""
        with self._database.read() as tx:
            rows = tx.rows(
                _COLUMNS + " WHERE b.provider = :provider AND b.look_up_at <= :now ORDER BY b.look_up_at LIMIT :most",
                provider=provider,
                now=micros(now),
                most=most,
            )
        return [_doubt(row) for row in rows]

    def listed(self, *, campaign_id: int | None = None) -> list[Doubt]:
        """Return every doubt there is, or those of one campaign."""
        one = "" if campaign_id is None else " AND b.campaign_id = :campaign_id"
        parameters = {} if campaign_id is None else {"campaign_id": campaign_id}
        with self._database.read() as tx:
            rows = tx.rows(
                _COLUMNS
                + f" WHERE b.receipts_until IS NOT NULL AND b.state IN ('unknown', 'submitted'){one} ORDER BY b.id",
                **parameters,
            )
        return [_doubt(row) for row in rows if row.unknown]

    def last_seen(self, doubt: Doubt) -> str | None:
        """Return what the last look-up saw, None where there was none."""
        with self._database.read() as tx:
            row = tx.first(
                "SELECT why FROM event WHERE campaign_id = :campaign_id AND batch_id = :batch_id AND what = 'looked up'"
                " ORDER BY id DESC LIMIT 1",
                campaign_id=doubt.campaign_id,
                batch_id=doubt.batch_id,
            )
        return None if row is None else str(row.why)

    def content(self, doubt: Doubt) -> BatchContent:
        """Return what the batch said, to those of its messages that are unknown."""
        with self._database.read() as tx:
            return read_content(tx, doubt.batch_id, MessageState.UNKNOWN)

    def losses(self, doubt: Doubt) -> int:
        """Return how many attempts of the batch ended as unknown."""
        with self._database.read() as tx:
            return int(
                tx.rows(
                    "SELECT COUNT(*) AS many FROM attempt WHERE batch_id = :id AND outcome = 'unknown'",
                    id=doubt.batch_id,
                )[0].many
            )

    def ids_of_others(self, doubt: Doubt, numbers: Sequence[int]) -> set[str]:
        """Return the provider's ids of what other batches sent to these numbers, for the same time or since shortly before.

        Where a provider keeps nothing of ours, what it has of another batch may look like what it should have of this.
        """
        if doubt.scheduled_for is None:
            which, moment_of = "b.submitted_at >= :moment", doubt.attempted_at - _SENT_SHORTLY_BEFORE
        else:
            which, moment_of = "b.scheduled_for = :moment", doubt.scheduled_for
        with self._database.read() as tx:
            rows = tx.rows(
                f"SELECT m.provider_message_id AS theirs FROM batch b JOIN message m ON {MESSAGES_OF_BATCH}"
                f" WHERE b.provider = :provider AND b.id <> :id AND {which} AND m.msisdn {tx.in_ids}"
                " AND m.provider_message_id IS NOT NULL",
                provider=doubt.provider,
                id=doubt.batch_id,
                moment=micros(moment_of),
                ids=tx.ids(numbers),
            )
        return {str(row.theirs) for row in rows}

    def postpone(self, doubt: Doubt, *, until: datetime | None, evidence: str, who: str, now: datetime) -> None:
        """Keep the doubt, and what was seen; look again at `until`, or never. Nothing where another settled it first."""
        with self._database.write() as tx:
            open_still = bool(_unknown(tx, doubt))
            stands = tx.run(
                "UPDATE batch SET look_up_at = :until WHERE id = :id AND attempt = :attempt AND state = :state",
                until=micros(until) if until is not None and open_still else None,
                id=doubt.batch_id,
                attempt=doubt.attempt,
                state=(BatchState.UNKNOWN if doubt.whole else BatchState.SUBMITTED).value,
            )
            if not stands:
                return
            _told(tx, doubt, "looked up", evidence, who=who, now=now)

    def adopt(
        self,
        doubt: Doubt,
        content: BatchContent,
        answers: Answers,
        *,
        evidence: str,
        who: str,
        now: datetime,
        receipt_window: timedelta,
        look_again_at: datetime | None = None,
    ) -> bool:
        """Settle the doubt: the provider has the batch, as `answers` (one a message of `content`) say.

        Messages that are `missing` in them stay unknown, and are looked up again at `look_again_at`. What a person must
        know of it is kept. False where another settled it first.
        """
        begins = max(now, doubt.scheduled_for or now)
        with self._database.write() as tx:
            hold_campaign(tx, doubt.campaign_id)
            unknown = _unknown(tx, doubt)
            if not unknown:
                return False
            tx.run(
                "UPDATE batch SET state = 'submitted', submitted_at = COALESCE(submitted_at, :attempted),"
                " provider_reference = COALESCE(provider_reference, :reference), look_up_at = :again,"
                " receipts_due_at = :due, receipts_until = :until WHERE id = :id",
                attempted=micros(doubt.attempted_at),
                reference=answers.provider_reference,
                again=micros(look_again_at) if answers.missing and look_again_at is not None else None,
                due=micros(begins),
                until=micros(begins + receipt_window),
                id=doubt.batch_id,
            )
            if doubt.whole or answers.note is not None:
                tx.run("UPDATE batch SET reason = :note WHERE id = :id", note=answers.note, id=doubt.batch_id)
            changes = shifts("batch", [("unknown", "submitted", 1)]) if doubt.whole else {}
            moves = [
                move
                for move in message_moves(doubt.batch_id, content, answers, settled_at=micros(now))
                if move.state is not MessageState.UNKNOWN and move.message_id in unknown
            ]
            changes = merged(move_messages(tx, moves), changes)
            changes["segments"] = sum(
                segments
                for index, (position, segments) in enumerate(zip(content.positions, content.segments, strict=True))
                if index not in answers.refused
                and index not in answers.missing
                and message_id(doubt.batch_id, position) in unknown
            )
            recount(tx, [doubt.batch_id], who=who, now=now)
            count(tx, campaign_id=doubt.campaign_id, batch_id=doubt.batch_id, changes=changes)
            after = BatchState.SUBMITTED.value
            told = f"{evidence}: {in_words(len(content.positions), answers)}"
            _told(tx, doubt, "adopted", told, who=who, now=now, after=after)
            return True

    def free(self, doubt: Doubt, *, evidence: str, who: str, now: datetime) -> bool:
        """Settle the doubt of a whole batch: it never reached the provider, or may be sent again. It is pending."""
        with self._database.write() as tx:
            hold_campaign(tx, doubt.campaign_id)
            if not doubt.whole or not _unknown(tx, doubt):
                return False
            tx.run(
                "UPDATE batch SET state = 'pending', reason = :reason, owner = NULL, look_up_at = NULL,"
                " receipts_until = NULL, due_at = :now WHERE id = :id",
                reason=evidence,
                now=micros(now),
                id=doubt.batch_id,
            )
            changes = move_batch_messages(
                tx, doubt.batch_id, MessageState.UNKNOWN, MessageState.QUEUED, reason=None
            ) | shifts("batch", [("unknown", "pending", 1)])
            recount(tx, [doubt.batch_id], who=who, now=now)
            count(tx, campaign_id=doubt.campaign_id, batch_id=doubt.batch_id, changes=changes)
            _told(tx, doubt, "freed", evidence, who=who, now=now, after=BatchState.PENDING.value)
            return True

    def give_up(self, doubt: Doubt, *, who: str, now: datetime) -> int:
        """End the doubt without an answer: its messages are unconfirmed, and are never sent again.

        Returns how many; none where another settled the doubt first.
        """
        with self._database.write() as tx:
            hold_campaign(tx, doubt.campaign_id)
            if not _unknown(tx, doubt):
                return 0
            changes = move_batch_messages(
                tx,
                doubt.batch_id,
                MessageState.UNKNOWN,
                MessageState.UNCONFIRMED,
                reason="given up by a person",
                settled_at=micros(now),
            )
            tx.run("UPDATE batch SET look_up_at = NULL WHERE id = :id", id=doubt.batch_id)
            recount(tx, [doubt.batch_id], who=who, now=now)
            count(tx, campaign_id=doubt.campaign_id, batch_id=doubt.batch_id, changes=changes)
            _told(tx, doubt, "given up", "by a person", who=who, now=now)
            return changes.get("message.unconfirmed", 0)


def _unknown(tx: Transaction, doubt: Doubt) -> set[int]:
    """Lock the batch and return which of its messages are unknown; none where the doubt no longer stands."""
    state = BatchState.UNKNOWN if doubt.whole else BatchState.SUBMITTED
    lock = " FOR UPDATE" if tx.postgresql else ""
    stands = tx.first(
        "SELECT 1 FROM batch WHERE id = :id AND attempt = :attempt AND state = :state" + lock,
        id=doubt.batch_id,
        attempt=doubt.attempt,
        state=state.value,
    )
    if stands is None:
        return set()
    first = doubt.batch_id * MESSAGES_PER_BATCH
    rows = tx.rows(
        "SELECT id FROM message WHERE id >= :first AND id < :end AND state = 'unknown'",
        first=first,
        end=first + MESSAGES_PER_BATCH,
    )
    return {int(row.id) for row in rows}


def _doubt(row: Any) -> Doubt:
    attempted = moment(row.attempted_at)
    assert attempted is not None
    return Doubt(
        batch_id=int(row.id),
        number=row.number,
        campaign_id=int(row.campaign_id),
        campaign=row.public_id,
        provider=row.provider,
        attempt=row.attempt,
        whole=row.state == BatchState.UNKNOWN,
        messages=int(row.unknown),
        attempted_at=attempted,
        scheduled_for=moment(row.scheduled_for),
        reason=row.reason,
    )


def _told(
    tx: Transaction, doubt: Doubt, what: str, evidence: str, *, who: str, now: datetime, after: str | None = None
) -> None:
    note(
        tx,
        at=now,
        who=who,
        subject="batch",
        what=what,
        campaign_id=doubt.campaign_id,
        batch_id=doubt.batch_id,
        before=BatchState.UNKNOWN.value if after else None,
        after=after,
        why=evidence,
    )
