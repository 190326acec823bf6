"""Claims batches, gives out what they say, and records each attempt before its request."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from dispatcher.batch import BatchState
from dispatcher.ledger.care import RELEASED, released_through
from dispatcher.ledger.database import Database, Transaction, micros, moment
from dispatcher.ledger.rows import Allowance, BatchContent, Claim, Head
from dispatcher.ledger.spending import Cost, affordable, reserve, watched
from dispatcher.ledger.trail import count, note_batch_move, shifts
from dispatcher.message import MESSAGES_PER_BATCH, MessageState

_NOT_EXPIRED = "(c.expires_at IS NULL OR c.expires_at > :now)"


class Batches:
    """The submitter's way to work. A method that moves a batch is a compare-and-set on its attempt."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def head(self, provider: str, *, now: datetime) -> Head | None:
        """Return what is known of the batch that would be claimed now, None where none is due."""
        with self._database.read() as tx:
            campaign = _best(tx, provider, now=now)
            if campaign is None:
                return None
            batch = tx.first(
                f"SELECT segments FROM batch WHERE {_NEXT.format(released=released_through(campaign))}",
                campaign_id=campaign.id,
                now=micros(now),
            )
        return None if batch is None else Head(segments=int(batch.segments), options=campaign.options != "{}")

    def claim(
        self, provider: str, *, owner: str, now: datetime, lease: timedelta, allowance: Allowance | None = None
    ) -> Claim | None:
        """Take the best batch that is due: highest priority, then the campaign that has been served least.

        Its money is watched where the campaign has a budget, or the allowance one for the day. Messages whose numbers
        were suppressed since planning leave the batch here. None where nothing is due.
        """
        with self._database.write() as tx:
            return _claim(tx, provider, owner=owner, now=now, lease=lease, allowance=allowance)

    def claim_and_begin(
        self,
        provider: str,
        *,
        owner: str,
        now: datetime,
        lease: timedelta,
        ready: Callable[[Claim, BatchContent], bool],
        allowance: Allowance | None = None,
    ) -> tuple[Claim, BatchContent, bool] | None:
        """Claim the best batch that is due and record its attempt at once, in one commit: its permit is at hand.

        The attempt is recorded, and the last value True, where `ready` says so of what was claimed, and the budgets
        allow it. Else the batch is claimed and no more. None where nothing is due.
        """
        with self._database.write() as tx:
            claim = _claim(tx, provider, owner=owner, now=now, lease=lease, allowance=allowance)
            if claim is None:
                return None
            content = read_content(tx, claim.batch_id, MessageState.QUEUED)
            cost: Cost | None = Cost()
            if claim.allowance is not None:
                cost = affordable(tx, claim, _campaign_row(tx, claim, now=now), now=now)
            begun = (
                cost is not None
                and ready(claim, content)
                and _record_attempt(tx, claim, cost, now=now, lease=lease, scheduled_for=None)
            )
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
        cancelled or has moved to another provider, the lease has ended or is another's, a recipient was suppressed
        since the claim, or a budget does not allow it.
        """
        with self._database.write() as tx:
            return _begin(tx, claim, now=now, lease=lease, scheduled_for=scheduled_for)

    def due(self, provider: str, *, now: datetime, most: int) -> int:
        """Return how many batches could be claimed now, counting no further than `most`."""
        with self._database.read() as tx:
            rows = tx.rows(
                "SELECT 1 FROM campaign c JOIN batch b ON b.campaign_id = c.id"
                f" WHERE c.provider = :provider AND c.state IN ('running', 'scheduled') AND {_NOT_EXPIRED}"
                f" AND b.state = 'pending' AND b.due_at <= :now{RELEASED} LIMIT :most",
                provider=provider,
                now=micros(now),
                most=most,
            )
        return len(rows)


_NOT_EXPIRED = "(c.expires_at IS NULL OR c.expires_at > :now)"

_NEXT = (
    "id = (SELECT id FROM batch WHERE campaign_id = :campaign_id AND state = 'pending' AND due_at <= :now{released}"
    " ORDER BY due_at, id LIMIT 1)"
)


def _best(tx: Transaction, provider: str, *, now: datetime, lock: str = "") -> Any:
    """Return the campaign whose turn it is: of those with something due, the one served least at highest priority."""
    return tx.first(
        "SELECT c.id, c.public_id, c.budget, c.released_through, c.fallbacks, c.down_since, c.brand, c.rules, c.expires_at, c.options"
        f" FROM campaign c WHERE c.provider = :provider AND c.state IN ('running', 'scheduled') AND {_NOT_EXPIRED}"
        " AND EXISTS (SELECT 1 FROM batch b WHERE b.campaign_id = c.id AND b.state = 'pending'"
        f" AND b.due_at <= :now{RELEASED}) ORDER BY c.priority DESC, c.served, c.id LIMIT 1{lock}",
        provider=provider,
        now=micros(now),
    )


def _claim(
    tx: Transaction, provider: str, *, owner: str, now: datetime, lease: timedelta, allowance: Allowance | None
) -> Claim | None:
    campaign = _best(tx, provider, now=now, lock=" FOR NO KEY UPDATE" if tx.postgresql else "")
    if campaign is None:
        return None
    first = _NEXT.format(released=released_through(campaign))
    if tx.postgresql:
        first = first.removesuffix(")") + " FOR UPDATE)"
    batch = tx.first(
        "UPDATE batch SET state = 'claimed', owner = :owner, lease_until = :until, attempt = attempt + 1,"
        # What was planned for another provider that is down goes to this one, without that one's price.
        " price = CASE WHEN provider = :provider THEN price END, provider = :provider"
        f" WHERE {first} AND state = 'pending' RETURNING id, number, attempt, messages, segments, send_at, zone",
        owner=owner,
        until=micros(now + lease),
        provider=provider,
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
        allowance=watched(campaign.budget, allowance),
        fallbacks=bool(campaign.fallbacks),
        unreached=campaign.down_since is not None,
        zone=batch.zone,
        rules=json.loads(campaign.rules),
        expires_at=moment(campaign.expires_at),
    )
    changes = shifts("batch", [("pending", "claimed", 1)])
    for name, amount in _suppress(tx, claim.batch_id, campaign.brand).items():
        changes[name] = changes.get(name, 0) + amount
    count(tx, campaign_id=claim.campaign_id, batch_id=claim.batch_id, changes=changes)
    return claim


def _campaign_row(tx: Transaction, claim: Claim, *, now: datetime) -> Any:
    lock = " FOR SHARE" if claim.allowance is None else " FOR NO KEY UPDATE"
    return tx.first(
        "SELECT c.state, c.provider, c.budget, c.committed, c.segment_price, c.brand FROM campaign c"
        f" WHERE c.id = :id AND {_NOT_EXPIRED}" + (lock if tx.postgresql else ""),
        id=claim.campaign_id,
        now=micros(now),
    )


def _begin(tx: Transaction, claim: Claim, *, now: datetime, lease: timedelta, scheduled_for: datetime | None) -> bool:
    campaign = _campaign_row(tx, claim, now=max(now, scheduled_for or now))
    if campaign is None or campaign.state not in ("running", "scheduled") or campaign.provider != claim.provider:
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
    cost = affordable(tx, claim, campaign, now=now)
    if cost is None:
        return False
    return _record_attempt(tx, claim, cost, now=now, lease=lease, scheduled_for=scheduled_for)


def _record_attempt(
    tx: Transaction, claim: Claim, cost: Cost, *, now: datetime, lease: timedelta, scheduled_for: datetime | None
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
    reserve(tx, claim, cost, now=now)
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
