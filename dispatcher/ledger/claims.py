"""Claims batches and records their attempts, inside a caller's transaction."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dispatcher.batch import BatchState
from dispatcher.ledger.answers import Answered
from dispatcher.ledger.care import RELEASED, released_through
from dispatcher.ledger.database import Transaction, micros, moment
from dispatcher.ledger.rows import Allowance, BatchContent, Claim
from dispatcher.ledger.spending import Cost, affordable, reserve, watched
from dispatcher.ledger.trail import ByCampaign, count_several, merge, note_batch_moves, shifts
from dispatcher.message import MESSAGES_PER_BATCH, MessageState


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A batch that one thread wants to attempt: it holds a permit. `ready` says of what was claimed whether it may.

    `before` is what came of the thread's last request, to be recorded with that.
    """

    provider: str
    owner: str
    now: datetime
    lease: timedelta
    ready: Callable[[Claim, BatchContent], bool]
    allowance: Allowance | None
    before: Answered | None = None


Taken = tuple[Claim, BatchContent, bool]
"""A claim, what its batch says, and whether its attempt is recorded."""


NOT_EXPIRED = "(c.expires_at IS NULL OR c.expires_at > :now)"


def best(tx: Transaction, provider: str, *, now: datetime, which: str = "", lock: str = "") -> Any:
    """Return the campaign whose turn it is: of those with something due, the one served least at highest priority.

    `which` narrows the choice to some campaigns `c`, and `lock` locks the row, both as SQL.
    """
    return tx.first(
        "SELECT c.id, c.public_id, c.budget, c.released_through, c.fallbacks, c.down_since, c.brand, c.rules, c.expires_at,"
        " c.options, c.template, c.personalised, c.sender"
        f" FROM campaign c WHERE c.provider = :provider AND c.state IN ('running', 'scheduled') AND {NOT_EXPIRED}{which}"
        # A single value and no EXISTS: that PostgreSQL may answer by reading the pending batches of all campaigns.
        " AND (SELECT b.id FROM batch b WHERE b.campaign_id = c.id AND b.state = 'pending'"
        f" AND b.due_at <= :now{RELEASED} ORDER BY b.due_at, b.id LIMIT 1) IS NOT NULL"
        f" ORDER BY c.priority DESC, c.served, c.id LIMIT 1{lock}",
        provider=provider,
        now=micros(now),
    )


def best_to_claim(tx: Transaction, provider: str, *, now: datetime) -> Any:
    """Return the campaign whose turn it is, locked before anything else: who held one each might want the other's.

    Whose row another holds at this moment is passed over for its equals; where it has none, it is waited for.
    """
    if not tx.postgresql:
        return best(tx, provider, now=now)
    equal = (
        " AND c.priority = (SELECT MAX(o.priority) FROM campaign o"
        " WHERE o.provider = :provider AND o.state IN ('running', 'scheduled'))"
    )
    free = best(tx, provider, now=now, which=equal, lock=" FOR NO KEY UPDATE SKIP LOCKED")
    return free or best(tx, provider, now=now, lock=" FOR NO KEY UPDATE")


CLAIMED = (
    "state = 'claimed', owner = :owner, lease_until = :until, attempt = attempt + 1,"
    # What was planned for another provider that is down goes to this one, without that one's price.
    " price = CASE WHEN provider = :provider THEN price END, provider = :provider"
)
"""What a claim sets of a batch."""


def due_of(campaign: Any) -> str:
    """Return the SQL that chooses those batches `b` of a campaign that are due, the longest overdue first."""
    return (
        "b.campaign_id = :campaign_id AND b.state = 'pending' AND b.due_at <= :now"
        f"{released_through(campaign)} ORDER BY b.due_at, b.id"
    )


def claim(
    tx: Transaction,
    provider: str,
    campaign: Any,
    *,
    owner: str,
    now: datetime,
    lease: timedelta,
    allowance: Allowance | None,
    changes: ByCampaign,
) -> Claim | None:
    """Claim the next batch of the campaign whose turn it is, without those whose numbers were suppressed since planning.

    What this changes in the counters is added to `changes`.
    """
    which = f"SELECT b.id FROM batch b WHERE {due_of(campaign)} LIMIT 1"
    # An array, so that PostgreSQL looks for it once.
    which = f"= ANY(ARRAY({which} FOR UPDATE))" if tx.postgresql else f"IN ({which})"
    batch = tx.first(
        f"UPDATE batch SET {CLAIMED} WHERE id {which} AND state = 'pending'"
        " RETURNING id, number, attempt, messages, segments, send_at, zone",
        owner=owner,
        until=micros(now + lease),
        provider=provider,
        campaign_id=campaign.id,
        now=micros(now),
    )
    if batch is None:
        return None
    serve(tx, campaign.id, batch.segments)
    taken = claim_on(
        batch,
        campaign,
        provider=provider,
        owner=owner,
        tried=0 if batch.attempt == 1 else _tried(tx, batch.id),
        money=watched(campaign.budget, allowance),
    )
    counted = changes.setdefault(taken.campaign_id, {})
    merge(counted, shifts("batch", [("pending", "claimed", 1)]))
    merge(counted, suppress(tx, taken.batch_id, campaign.brand))
    return taken


def serve(tx: Transaction, campaign_id: int, segments: int) -> None:
    """Write down that a campaign had its turn, and for how much."""
    tx.run("UPDATE campaign SET served = served + :segments WHERE id = :id", segments=segments, id=campaign_id)


def claim_on(
    batch: Sequence[Any], campaign: Any, *, provider: str, owner: str, tried: int, money: Allowance | None
) -> Claim:
    """Return the claim on a batch: its id, number, attempt, messages, segments, send_at and zone."""
    batch_id, number, attempt, messages, segments, send_at, zone = batch
    return Claim(
        batch_id=int(batch_id),
        number=number,
        campaign_id=int(campaign.id),
        campaign=campaign.public_id,
        provider=provider,
        attempt=attempt,
        tried=tried,
        owner=owner,
        messages=messages,
        segments=segments,
        send_at=moment(send_at),
        allowance=money,
        fallbacks=bool(campaign.fallbacks),
        unreached=campaign.down_since is not None,
        zone=zone,
        rules=json.loads(campaign.rules),
        expires_at=moment(campaign.expires_at),
    )


def claim_and_begin(tx: Transaction, campaign: Any, wish: Wish, changes: ByCampaign) -> Taken | None:
    """Claim the next batch of a campaign, and record its attempt where it is ready and the budgets allow it."""
    w = wish
    claimed = claim(
        tx, w.provider, campaign, owner=w.owner, now=w.now, lease=w.lease, allowance=w.allowance, changes=changes
    )
    if claimed is None:
        return None
    content = read_content(tx, claimed.batch_id, MessageState.QUEUED)
    cost: Cost | None = Cost()
    if claimed.allowance is not None:
        cost = affordable(tx, claimed, campaign_row(tx, claimed, now=w.now), now=w.now)
    begun = (
        cost is not None
        and w.ready(claimed, content)
        and record_attempt(tx, claimed, cost, now=w.now, lease=w.lease, scheduled_for=None, changes=changes)
    )
    return claimed, content, begun


def campaign_row(tx: Transaction, claim: Claim, *, now: datetime) -> Any:
    """Return what of a claim's campaign decides on its attempt, locked; None where it has expired."""
    lock = " FOR SHARE" if claim.allowance is None else " FOR NO KEY UPDATE"
    return tx.first(
        "SELECT c.state, c.provider, c.budget, c.committed, c.segment_price, c.brand FROM campaign c"
        f" WHERE c.id = :id AND {NOT_EXPIRED}" + (lock if tx.postgresql else ""),
        id=claim.campaign_id,
        now=micros(now),
    )


def begin(tx: Transaction, claim: Claim, *, now: datetime, lease: timedelta, scheduled_for: datetime | None) -> bool:
    """Record the attempt of a claimed batch where its campaign still allows it."""
    campaign = campaign_row(tx, claim, now=max(now, scheduled_for or now))
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
    changes: ByCampaign = {}
    begun = record_attempt(tx, claim, cost, now=now, lease=lease, scheduled_for=scheduled_for, changes=changes)
    count_several(tx, changes, batch_id=claim.batch_id)
    return begun


def record_attempt(
    tx: Transaction,
    claim: Claim,
    cost: Cost,
    *,
    now: datetime,
    lease: timedelta,
    scheduled_for: datetime | None,
    changes: ByCampaign,
) -> bool:
    """Record the attempt of a claimed batch, and reserve its cost; False where the claim has been lost.

    What this changes in the counters is added to `changes`.
    """
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
    reserve(tx, claim, cost, now=now)
    merge(changes.setdefault(claim.campaign_id, {}), shifts("batch", [("claimed", "submitting", 1)]))
    _note_attempts(tx, [claim], now=now)
    return True


def record_attempts(tx: Transaction, claims: Sequence[Claim], *, now: datetime, lease: timedelta) -> None:
    """Record the attempts of batches that this transaction claimed, and whose money is not watched.

    The counters are the caller's.
    """
    tx.run(
        "UPDATE batch SET state = 'submitting', lease_until = :until, attempted_at = :now, scheduled_for = NULL"
        f" WHERE id {tx.in_ids}",
        until=micros(now + lease),
        ids=tx.ids(claim.batch_id for claim in claims),
        now=micros(now),
    )
    _note_attempts(tx, claims, now=now)


def _note_attempts(tx: Transaction, claims: Sequence[Claim], *, now: datetime) -> None:
    """Add the rows of attempts that begin, and their events."""
    tx.insert(
        "attempt",
        {"batch_id": [claim.batch_id for claim in claims], "number": [claim.attempt for claim in claims]},
        same={"worker": claims[0].owner, "started_at": micros(now)},
    )
    whys = [None] * len(claims)
    note_batch_moves(tx, claims, BatchState.CLAIMED, BatchState.SUBMITTING, now=now, whys=whys)


def read_content(tx: Transaction, batch_id: int, state: MessageState) -> BatchContent:
    """Return what a batch says, to those of its messages that are in a state."""
    first = batch_id * MESSAGES_PER_BATCH
    positions, numbers, rows, segments = tx.columns(
        {"id - CAST(:first AS bigint)": int, "msisdn": int, '"row"': int, "segments": int},
        "FROM message WHERE id >= :first AND id < :end AND state = :state ORDER BY id",
        first=first,
        end=first + MESSAGES_PER_BATCH,
        state=state.value,
    )
    said = tx.rows(
        "SELECT COALESCE(v.template, c.template) AS template, c.personalised, c.sender, c.options, p.fields"
        " FROM batch b JOIN campaign c ON c.id = b.campaign_id LEFT JOIN payload p ON p.batch_id = b.id"
        " LEFT JOIN variant v ON v.campaign_id = c.id AND v.name = b.variant WHERE b.id = :id",
        id=batch_id,
    )[0]
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


def suppress(tx: Transaction, batch_id: int, brand: str) -> dict[str, int]:
    """Take those whose numbers were suppressed since planning out of a batch, and return the counter changes."""
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
