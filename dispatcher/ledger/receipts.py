"""Keeps which messages still wait for their fate, and writes down what the provider says of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from dispatcher.ledger.database import Database, Transaction, micros, millionths, moment
from dispatcher.ledger.messages import MESSAGES_OF_BATCH, MessageMove, move_messages, settle_messages
from dispatcher.ledger.rows import AwaitedReceipts
from dispatcher.ledger.spending import settle_changed
from dispatcher.ledger.trail import count, note
from dispatcher.message import MESSAGES_PER_BATCH, MessageState
from dispatcher.provider import Receipt
from dispatcher.provider import Receipts as Told

_BATCHES = 1000
"""Batches that are looked at to find enough messages: not all of a large campaign's, each time anew."""

_LOOKS = 20
"""Times that so many are looked at where nothing is left to ask for in any of them, before the poll is let go."""


class Receipts:
    """The receipt poller's way into the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, provider: str, *, now: datetime, most: int, besides: Sequence[int] = ()) -> list[AwaitedReceipts]:
        """Return batches whose messages should be asked for now, of about `most` messages in all.

        Those never asked for come first, then the longest overdue: nobody waits for ever where look-ups are few. Left out
        are those `besides`, which are being asked for at this moment.

        A batch with nothing left to ask for is taken off the list here. Where all that were looked at are such, the next
        are looked at: else a campaign of single messages, all told of, would keep others waiting for hours.
        """
        looked_at = min(most, _BATCHES)
        for _ in range(_LOOKS):
            found, done = self._look(provider, now=now, most=most, besides=besides, looked_at=max(1, looked_at))
            if found or not done:
                return found
            looked_at = _BATCHES
        return []

    def _look(
        self, provider: str, *, now: datetime, most: int, besides: Sequence[int], looked_at: int
    ) -> tuple[list[AwaitedReceipts], list[int]]:
        """Return what is to be asked for, and the batches that were taken off the list."""
        found: list[AwaitedReceipts] = []
        done: list[int] = []
        messages = 0
        with self._database.read() as tx:
            batches = tx.rows(
                "SELECT b.id, b.provider_reference, b.submitted_at, b.receipts_asked_at, b.receipts_until,"
                " c.public_id FROM batch b JOIN campaign c ON c.id = b.campaign_id"
                f" WHERE b.provider = :provider AND b.receipts_due_at <= :now AND NOT b.id {tx.in_ids}"
                " ORDER BY b.receipts_asked_at IS NOT NULL, b.receipts_due_at, b.id LIMIT :most",
                provider=provider,
                now=micros(now),
                most=looked_at,
                ids=tx.ids(besides),
            )
            for batch in batches:
                if messages >= most:
                    break
                message_ids, numbers, rows, theirs = _waiting(tx, int(batch.id))
                if not message_ids:
                    done.append(int(batch.id))
                    continue
                submitted, until = moment(batch.submitted_at), moment(batch.receipts_until)
                assert submitted is not None
                assert until is not None
                found.append(
                    AwaitedReceipts(
                        batch_id=int(batch.id),
                        campaign=batch.public_id,
                        provider_reference=batch.provider_reference,
                        submitted_at=submitted,
                        asked_at=moment(batch.receipts_asked_at),
                        until=until,
                        message_ids=message_ids,
                        numbers=numbers,
                        rows=rows,
                        provider_message_ids=theirs,
                    )
                )
                messages += len(message_ids)
        if done:
            with self._database.write() as tx:
                # Asked again in the same statement: a look-up may have adopted messages of it meanwhile.
                tx.run(
                    f"UPDATE batch SET receipts_due_at = NULL WHERE id {tx.in_ids} AND NOT EXISTS ("
                    f"SELECT 1 FROM message m WHERE m.id >= batch.id * {MESSAGES_PER_BATCH}"
                    f" AND m.id < (batch.id + 1) * {MESSAGES_PER_BATCH} AND m.state = 'submitted')",
                    ids=tx.ids(done),
                )
        return found, done

    def apply(
        self,
        receipts: Sequence[Receipt],
        *,
        asked: Mapping[int, datetime],
        who: str,
        now: datetime,
    ) -> int:
        """Move messages by what the provider said, and set when each batch in `asked` is asked for again.

        A receipt that is no news (repeated, out of order, after a final state) changes nothing. Returns how many
        messages moved.
        """
        with self._database.write() as tx:
            changed = settle_messages(tx, Told.of(receipts), now=now)
            moved = _record(tx, changed, who=who, what="receipts", now=now)
            for batch_id, next_at in sorted(asked.items()):
                tx.run(
                    "UPDATE batch SET receipts_asked_at = :now, receipts_due_at = :next_at"
                    " WHERE id = :id AND receipts_due_at IS NOT NULL",
                    now=micros(now),
                    next_at=micros(next_at),
                    id=batch_id,
                )
        return moved

    def make_due(self, *, now: datetime, campaign_id: int | None = None) -> int:
        """Let every batch that still waits for receipts be asked for now; return how many there are."""
        with self._database.write() as tx:
            one = "" if campaign_id is None else " AND campaign_id = :campaign_id"
            parameters = {} if campaign_id is None else {"campaign_id": campaign_id}
            return tx.run(
                f"UPDATE batch SET receipts_due_at = :now WHERE receipts_due_at IS NOT NULL{one}",
                now=micros(now),
                **parameters,
            )

    def close_windows(self, *, who: str, now: datetime, most: int = 50) -> int:
        """Settle as unconfirmed what was never confirmed within the receipt window; return how many messages."""
        with self._database.read() as tx:
            if tx.first("SELECT 1 FROM batch WHERE receipts_until <= :now LIMIT 1", now=micros(now)) is None:
                return 0
        with self._database.write() as tx:
            batches = tx.rows(
                "SELECT id FROM batch WHERE receipts_until <= :now ORDER BY id LIMIT :most",
                now=micros(now),
                most=most,
            )
            moved = 0
            for batch in batches:
                first = int(batch.id) * MESSAGES_PER_BATCH
                open_messages = tx.rows(
                    "SELECT id FROM message WHERE id >= :first AND id < :end AND state IN ('submitted', 'unknown')",
                    first=first,
                    end=first + MESSAGES_PER_BATCH,
                )
                moves = [
                    MessageMove(
                        message_id=row[0],
                        state=MessageState.UNCONFIRMED,
                        reason="no receipt within the receipt window",
                        settled_at=micros(now),
                    )
                    for row in open_messages
                ]
                moved += _apply(tx, moves, who=who, what="receipt window closed", now=now)
                tx.run(
                    "UPDATE batch SET receipts_due_at = NULL, receipts_until = NULL, look_up_at = NULL WHERE id = :id",
                    id=batch.id,
                )
        return moved

    def scheduled(self, provider: str, *, now: datetime) -> dict[str, tuple[int, str]]:
        """Return what the provider should hold to send later: its message id → (message id, campaign)."""
        with self._database.read() as tx:
            return {
                str(row.provider_message_id): (int(row.id), str(row.public_id))
                for row in tx.rows(
                    "SELECT m.id, m.provider_message_id, c.public_id FROM batch b"
                    " JOIN campaign c ON c.id = b.campaign_id"
                    f" JOIN message m ON {MESSAGES_OF_BATCH}"
                    " WHERE b.provider = :provider AND b.state = 'submitted' AND b.scheduled_for > :now"
                    " AND m.state = 'submitted' AND m.provider_message_id IS NOT NULL",
                    provider=provider,
                    now=micros(now),
                )
            }

    def tell_once(self, campaign: str, *, what: str, why: str, who: str, now: datetime) -> bool:
        """Leave an event, unless the campaign's last one of this kind says the same; True where it was left."""
        with self._database.write() as tx:
            row = tx.rows("SELECT id FROM campaign WHERE public_id = :name", name=campaign)[0]
            last = tx.first(
                "SELECT why FROM event WHERE campaign_id = :id AND what = :what ORDER BY id DESC LIMIT 1",
                id=row.id,
                what=what,
            )
            if last is not None and last.why == why:
                return False
            note(tx, at=now, who=who, subject="campaign", what=what, campaign_id=row.id, why=why)
            return True

    def to_recall(self, provider: str, *, now: datetime, campaign_id: int | None = None) -> dict[str, int]:
        """Return what cancelled campaigns still have scheduled at the provider: its message id → message id."""
        one = "" if campaign_id is None else " AND c.id = :campaign_id"
        parameters = {} if campaign_id is None else {"campaign_id": campaign_id}
        with self._database.read() as tx:
            return {
                str(row.provider_message_id): int(row.id)
                for row in tx.rows(
                    "SELECT m.id, m.provider_message_id FROM campaign c JOIN batch b ON b.campaign_id = c.id"
                    f" JOIN message m ON {MESSAGES_OF_BATCH}"
                    " WHERE b.provider = :provider AND c.state = 'cancelled' AND b.state = 'submitted'"
                    " AND b.scheduled_for > :now AND m.state = 'submitted' AND m.provider_message_id IS NOT NULL"
                    f"{one} ORDER BY m.id",
                    provider=provider,
                    now=micros(now),
                    **parameters,
                )
            }

    def opted_out(self, provider: str, *, now: datetime) -> dict[str, int]:
        """Return what is scheduled at the provider to people who opted out since: its message id → message id."""
        with self._database.read() as tx:
            if tx.first("SELECT 1 FROM suppression LIMIT 1") is None:
                return {}
            return {
                str(row.provider_message_id): int(row.id)
                for row in tx.rows(
                    "SELECT m.id, m.provider_message_id FROM campaign c JOIN batch b ON b.campaign_id = c.id"
                    f" JOIN message m ON {MESSAGES_OF_BATCH}"
                    " WHERE c.state IN ('scheduled', 'running', 'paused') AND b.provider = :provider"
                    " AND b.state = 'submitted' AND b.scheduled_for > :now"
                    " AND m.state = 'submitted' AND m.provider_message_id IS NOT NULL AND EXISTS"
                    " (SELECT 1 FROM suppression s WHERE s.msisdn = m.msisdn AND s.scope IN ('', c.brand))"
                    " ORDER BY m.id",
                    provider=provider,
                    now=micros(now),
                )
            }

    def to_stop(self, provider: str, *, campaign_id: int | None = None, most: int = 100) -> dict[int, str]:
        """Return submitted batches of cancelled campaigns that were not asked to stop yet: id → the provider's id."""
        one = "" if campaign_id is None else " AND c.id = :campaign_id"
        parameters = {} if campaign_id is None else {"campaign_id": campaign_id}
        with self._database.read() as tx:
            return {
                int(row.id): str(row.provider_reference)
                for row in tx.rows(
                    "SELECT b.id, b.provider_reference FROM campaign c JOIN batch b ON b.campaign_id = c.id"
                    " WHERE b.provider = :provider AND c.state = 'cancelled' AND b.state = 'submitted'"
                    " AND b.provider_reference IS NOT NULL AND b.stopped_at IS NULL AND b.receipts_until IS NOT NULL"
                    f"{one} ORDER BY b.id LIMIT :most",
                    provider=provider,
                    most=most,
                    **parameters,
                )
            }

    def record_stopped(self, batch_id: int, *, unsent: bool, why: str, who: str, now: datetime) -> int:
        """Record what came of asking the provider to stop a batch; return how many messages that cancelled.

        Only where certainly nothing of it had gone out are its messages cancelled; else their receipts decide.
        """
        with self._database.write() as tx:
            tx.run("UPDATE batch SET stopped_at = :now WHERE id = :id", now=micros(now), id=batch_id)
            row = tx.rows("SELECT campaign_id FROM batch WHERE id = :id", id=batch_id)[0]
            note(
                tx,
                at=now,
                who=who,
                subject="batch",
                what="stop",
                campaign_id=row.campaign_id,
                batch_id=batch_id,
                why=why,
            )
            if not unsent:
                return 0
            moves = [
                MessageMove(
                    message_id=waiting,
                    state=MessageState.CANCELLED,
                    reason="stopped at the provider before it was sent",
                    cost=Decimal(0),
                    settled_at=micros(now),
                )
                for waiting in _waiting(tx, batch_id)[0]
            ]
            return _apply(tx, moves, who=who, what="stopped", now=now)

    def record_recalled(
        self,
        refunds: Mapping[int, Decimal | None],
        *,
        who: str,
        now: datetime,
        why: str = "recalled from the provider",
    ) -> int:
        """Record messages (id → credits given back) that the provider confirmed it will not send, and why."""
        costs: dict[int, int | None] = {}
        with self._database.write() as tx:
            for row in tx.rows(
                f"SELECT id, cost FROM message WHERE id {tx.in_ids} AND state = 'submitted'", ids=tx.ids(refunds)
            ):
                costs[int(row.id)] = row.cost
            moves = []
            refunded: dict[int, int] = {}
            for message, refund in refunds.items():
                if message not in costs:
                    continue
                back = 0 if refund is None else millionths(refund)
                left = None if costs.get(message) is None else Decimal((costs[message] or 0) - back) / 1_000_000
                batch = message // MESSAGES_PER_BATCH
                refunded[batch] = refunded.get(batch, 0) + back
                moves.append(
                    MessageMove(
                        message_id=message,
                        state=MessageState.CANCELLED,
                        reason=why,
                        cost=left,
                        settled_at=micros(now),
                    )
                )
            return _apply(tx, moves, who=who, what="recalled", now=now, refunded=refunded)


def _waiting(tx: Transaction, batch_id: int) -> list[list[Any]]:
    """Return the ids, numbers, rows and provider's ids of a batch's messages that wait for a receipt."""
    first = batch_id * MESSAGES_PER_BATCH
    return tx.columns(
        {"id": int, "msisdn": int, '"row"': int, "provider_message_id": str | None},
        "FROM message WHERE id >= :first AND id < :end AND state = 'submitted' ORDER BY id",
        first=first,
        end=first + MESSAGES_PER_BATCH,
    )


def _apply(
    tx: Transaction,
    moves: Sequence[MessageMove],
    *,
    who: str,
    what: str,
    now: datetime,
    refunded: Mapping[int, int] | None = None,
) -> int:
    """Make the moves, count them, and leave one event a batch that says how many went where."""
    return _record(tx, move_messages(tx, moves), who=who, what=what, now=now, refunded=refunded)


def _record(
    tx: Transaction,
    changed: Mapping[int, Mapping[str, int]],
    *,
    who: str,
    what: str,
    now: datetime,
    refunded: Mapping[int, int] | None = None,
) -> int:
    """Count what moved, by batch, and leave one event a batch; return how many messages that is."""
    settle_changed(tx, changed, who=who, now=now)
    moved = 0
    for batch_id, changes in sorted(changed.items()):
        row = tx.rows("SELECT campaign_id FROM batch WHERE id = :id", id=batch_id)[0]
        arrived = {name[8:]: many for name, many in changes.items() if name.startswith("message.") and many > 0}
        moved += sum(arrived.values())
        back = (refunded or {}).get(batch_id, 0)
        count(
            tx,
            campaign_id=row.campaign_id,
            batch_id=batch_id,
            changes={**changes, "refunded": back} if back else changes,
        )
        note(
            tx,
            at=now,
            who=who,
            subject="message",
            what=what,
            campaign_id=row.campaign_id,
            batch_id=batch_id,
            why=", ".join(f"{many} {state}" for state, many in sorted(arrived.items())),
        )
    return moved
