"""Claims batches, gives out what they say, and records each attempt before its request."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta

from dispatcher.batch import BatchState
from dispatcher.ledger.database import Database, Transaction, micros, moment
from dispatcher.ledger.rows import BatchContent, Claim
from dispatcher.ledger.trail import count, note_batch_move, shifts
from dispatcher.message import MESSAGES_PER_BATCH, MessageState

_NOT_EXPIRED = "(c.expires_at IS NULL OR c.expires_at > :now)"


class Batches:
    """The submitter's way to work. A method that moves a batch is a compare-and-set on its attempt."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def next_segments(self, provider: str, *, now: datetime) -> int | None:
        """Return the segments of the batch that would be claimed now, None where none is due."""
        with self._database.read() as tx:
            best = tx.first(
                "SELECT b.segments FROM campaign c JOIN batch b ON b.campaign_id = c.id AND b.state = 'pending'"
                " AND b.due_at <= :now WHERE c.provider = :provider AND c.state IN ('running', 'scheduled')"
                f" AND {_NOT_EXPIRED}"
                " ORDER BY c.priority DESC, c.served, c.id, b.due_at, b.id LIMIT 1",
                provider=provider,
                now=micros(now),
            )
        return None if best is None else int(best.segments)

    def claim(self, provider: str, *, owner: str, now: datetime, lease: timedelta) -> Claim | None:
        """Take the best batch that is due: highest priority, then the campaign that has been served least.

        Messages whose numbers were suppressed since planning leave the batch here. None where nothing is due.
        """
        with self._database.write() as tx:
            return _claim(tx, provider, owner=owner, now=now, lease=lease)

    def claim_and_begin(
        self,
        provider: str,
        *,
        owner: str,
        now: datetime,
        lease: timedelta,
        ready: Callable[[Claim, BatchContent], bool],
    ) -> tuple[Claim, BatchContent, bool] | None:
        """Claim the best batch that is due and record its attempt at once, in one commit: its permit is at hand.

        The attempt is recorded, and the last value True, where `ready` says so of what was claimed. Else the batch is
        claimed and no more. None where nothing is due.
        """
        with self._database.write() as tx:
            claim = _claim(tx, provider, owner=owner, now=now, lease=lease)
            if claim is None:
                return None
            content = read_content(tx, claim.batch_id, MessageState.QUEUED)
            begun = ready(claim, content) and _record_attempt(tx, claim, now=now, lease=lease, scheduled_for=None)
            return claim, content, begun

    def content(self, claim: Claim) -> BatchContent:
        """Return what a claimed batch is to say, to those of its messages that are still queued."""
        with self._database.read() as tx:
            return read_content(tx, claim.batch_id, MessageState.QUEUED)

    def begin_attempt(
        self, claim: Claim, *, now: datetime, lease: timedelta, scheduled_for: datetime | None = None
    ) -> bool:
        """Record that the request is about to be made; only after this may it be.

        `scheduled_for` is when the provider is asked to send, where it keeps the time.

        False, with nothing changed, where the claim no longer gives the right to: the campaign was paused or
        cancelled or has expired, the lease has ended or is another's, or a recipient was suppressed since the claim.
        """
        with self._database.write() as tx:
            return _begin(tx, claim, now=now, lease=lease, scheduled_for=scheduled_for)

    def due(self, provider: str, *, now: datetime, most: int) -> int:
        """Return how many batches could be claimed now, counting no further than `most`."""
        with self._database.read() as tx:
            rows = tx.rows(
                "SELECT 1 FROM campaign c JOIN batch b ON b.campaign_id = c.id"
                f" WHERE c.provider = :provider AND c.state IN ('running', 'scheduled') AND {_NOT_EXPIRED}"
                " AND b.state = 'pending' AND b.due_at <= :now LIMIT :most",
                provider=provider,
                now=micros(now),
                most=most,
            )
        return len(rows)


def _claim(tx: Transaction, provider: str, *, owner: str, now: datetime, lease: timedelta) -> Claim | None:
    campaign = tx.first(
        "SELECT c.id, c.public_id, c.brand, c.rules, c.expires_at FROM campaign c"
        f" WHERE c.provider = :provider AND c.state IN ('running', 'scheduled') AND {_NOT_EXPIRED}"
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
        " AND state = 'pending' RETURNING id, number, attempt, messages, segments, send_at, zone",
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
        tried=0 if batch.attempt == 1 else _tried(tx, batch.id),
        owner=owner,
        messages=batch.messages,
        segments=batch.segments,
        send_at=moment(batch.send_at),
        zone=batch.zone,
        rules=json.loads(campaign.rules),
        expires_at=moment(campaign.expires_at),
    )
    changes = shifts("batch", [("pending", "claimed", 1)])
    for name, amount in _suppress(tx, claim.batch_id, campaign.brand).items():
        changes[name] = changes.get(name, 0) + amount
    count(tx, campaign_id=claim.campaign_id, batch_id=claim.batch_id, changes=changes)
    return claim


def _begin(tx: Transaction, claim: Claim, *, now: datetime, lease: timedelta, scheduled_for: datetime | None) -> bool:
    campaign = tx.first(
        f"SELECT c.state, c.brand FROM campaign c WHERE c.id = :id AND {_NOT_EXPIRED}"
        + (" FOR SHARE" if tx.postgresql else ""),
        id=claim.campaign_id,
        now=micros(max(now, scheduled_for or now)),
    )
    if campaign is None or campaign.state not in ("running", "scheduled"):
        return False
    first = claim.batch_id * MESSAGES_PER_BATCH
    opted_out = tx.first(
        "SELECT 1 FROM message m JOIN suppression s ON s.msisdn = m.msisdn AND s.scope IN ('', :brand)"
        " WHERE m.id >= :first AND m.id < :end AND m.state = 'queued' LIMIT 1",
        brand=campaign.brand,
        first=first,
        end=first + MESSAGES_PER_BATCH,
    )
    if opted_out is not None:
        return False
    return _record_attempt(tx, claim, now=now, lease=lease, scheduled_for=scheduled_for)


def _record_attempt(
    tx: Transaction, claim: Claim, *, now: datetime, lease: timedelta, scheduled_for: datetime | None
) -> bool:
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
    note_batch_move(tx, claim, BatchState.CLAIMED, BatchState.SUBMITTING, now=now)
    return True


def read_content(tx: Transaction, batch_id: int, state: MessageState) -> BatchContent:
    """Return what a batch says, to those of its messages that are in a state."""
    first = batch_id * MESSAGES_PER_BATCH
    said = tx.rows(
        "SELECT COALESCE(v.template, c.template) AS template, c.personalised, c.sender, c.options, p.fields"
        " FROM batch b JOIN campaign c ON c.id = b.campaign_id LEFT JOIN payload p ON p.batch_id = b.id"
        " LEFT JOIN variant v ON v.campaign_id = c.id AND v.name = b.variant WHERE b.id = :id",
        id=batch_id,
    )[0]
    positions, numbers, rows, segments = tx.columns(
        {"id - CAST(:first AS bigint)": int, "msisdn": int, '"row"': int, "segments": int},
        "FROM message WHERE id >= :first AND id < :end AND state = :state ORDER BY id",
        first=first,
        end=first + MESSAGES_PER_BATCH,
        state=state.value,
    )
    return BatchContent(
        positions=positions,
        numbers=numbers,
        rows=rows,
        segments=segments,
        fields=None if said.fields is None else bytes(said.fields),
        template=said.template,
        personalised=bool(said.personalised),
        sender=said.sender,
        options=json.loads(said.options),
    )


def _tried(tx: Transaction, batch_id: int) -> int:
    return int(tx.rows("SELECT COUNT(*) AS many FROM attempt WHERE batch_id = :id", id=batch_id)[0].many)


def _suppress(tx: Transaction, batch_id: int, brand: str) -> dict[str, int]:
    first = batch_id * MESSAGES_PER_BATCH
    many = tx.run(
        "UPDATE message SET state = 'suppressed', reason = 'suppressed after planning'"
        " WHERE id >= :first AND id < :end AND state = 'queued'"
        " AND EXISTS (SELECT 1 FROM suppression s WHERE s.msisdn = message.msisdn AND s.scope IN ('', :brand))",
        brand=brand,
        first=first,
        end=first + MESSAGES_PER_BATCH,
    )
    return {"message.queued": -many, "message.suppressed": many} if many else {}
