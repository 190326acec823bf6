"""Claims batches and records their attempts, inside a caller's transaction."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dispatcher.batch import BatchState
from dispatcher.ledger.answers import Answered, record_several
from dispatcher.ledger.care import RELEASED, released_through
from dispatcher.ledger.database import Transaction, micros, moment
from dispatcher.ledger.rows import Allowance, BatchContent, Claim
from dispatcher.ledger.spending import Cost, affordable, reserve, watched
from dispatcher.ledger.trail import ByCampaign, count_several, merge, note_batch_moves, shifts
from dispatcher.message import MESSAGES_PER_BATCH, MessageState, message_id

NOT_EXPIRED = "(c.expires_at IS NULL OR c.expires_at > :now)"


def best(tx: Transaction, provider: str, *, now: datetime, lock: str = "") -> Any:
    """Return the campaign whose turn it is: of those with something due, the one served least at highest priority."""
    return tx.first(
        "SELECT c.id, c.public_id, c.budget, c.released_through, c.fallbacks, c.down_since, c.brand, c.rules, c.expires_at, c.options"
        f" FROM campaign c WHERE c.provider = :provider AND c.state IN ('running', 'scheduled') AND {NOT_EXPIRED}"
        # A single value and no EXISTS: that PostgreSQL may answer by reading the pending batches of all campaigns.
        " AND (SELECT b.id FROM batch b WHERE b.campaign_id = c.id AND b.state = 'pending'"
        f" AND b.due_at <= :now{RELEASED} ORDER BY b.due_at, b.id LIMIT 1) IS NOT NULL"
        f" ORDER BY c.priority DESC, c.served, c.id LIMIT 1{lock}",
        provider=provider,
        now=micros(now),
    )


def take(
    tx: Transaction,
    provider: str,
    *,
    most: int,
    owner: str,
    now: datetime,
    lease: timedelta,
    allowance: Allowance | None,
) -> tuple[Any, list[Claim]]:
    """Claim up to so many batches of the campaign whose turn it is; return its row and the claims, none where none is due.

    Of a campaign whose money is watched, or whose batches need calls beforehand, one at a time is claimed. Whose numbers
    were suppressed since planning is still in them, and the counters are the caller's.
    """
    campaign = best(tx, provider, now=now, lock=" FOR NO KEY UPDATE" if tx.postgresql else "")
    if campaign is None:
        return None, []
    money = watched(campaign.budget, allowance)
    if money is not None or campaign.options != "{}":
        most = 1
    which = (
        "SELECT id FROM batch WHERE campaign_id = :campaign_id AND state = 'pending' AND due_at <= :now"
        f"{released_through(campaign)} ORDER BY due_at, id LIMIT :most"
    )
    # An array, so that PostgreSQL looks for them once.
    which = f"= ANY(ARRAY({which} FOR UPDATE))" if tx.postgresql else f"IN ({which})"
    batches = tx.rows(
        "UPDATE batch SET state = 'claimed', owner = :owner, lease_until = :until, attempt = attempt + 1,"
        # What was planned for another provider that is down goes to this one, without that one's price.
        " price = CASE WHEN provider = :provider THEN price END, provider = :provider"
        f" WHERE id {which} AND state = 'pending' RETURNING id, number, attempt, messages, segments, send_at, zone",
        owner=owner,
        until=micros(now + lease),
        provider=provider,
        campaign_id=campaign.id,
        now=micros(now),
        most=most,
    )
    if not batches:
        return campaign, []
    tx.run(
        "UPDATE campaign SET served = served + :segments WHERE id = :id",
        segments=sum(batch.segments for batch in batches),
        id=campaign.id,
    )
    rules, expires_at = json.loads(campaign.rules), moment(campaign.expires_at)
    return campaign, [
        Claim(
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
            allowance=money,
            fallbacks=bool(campaign.fallbacks),
            unreached=campaign.down_since is not None,
            zone=batch.zone,
            rules=rules,
            expires_at=expires_at,
        )
        for batch in batches
    ]


def claim(
    tx: Transaction,
    provider: str,
    *,
    owner: str,
    now: datetime,
    lease: timedelta,
    allowance: Allowance | None,
    changes: ByCampaign,
) -> Claim | None:
    """Claim the best batch that is due, without those whose numbers were suppressed since planning.

    What this changes in the counters is added to `changes`.
    """
    campaign, claims = take(tx, provider, most=1, owner=owner, now=now, lease=lease, allowance=allowance)
    if not claims:
        return None
    [taken] = claims
    counted = changes.setdefault(taken.campaign_id, {})
    merge(counted, shifts("batch", [("pending", "claimed", 1)]))
    merge(counted, suppress(tx, taken.batch_id, campaign.brand))
    return taken


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


def _claim_and_begin(tx: Transaction, wish: Wish, changes: ByCampaign) -> Taken | None:
    """Claim the best batch that is due, and record its attempt where it is ready and the budgets allow it."""
    w = wish
    claimed = claim(tx, w.provider, owner=w.owner, now=w.now, lease=w.lease, allowance=w.allowance, changes=changes)
    if claimed is None:
        return None
    return _begin_ready(tx, w, claimed, read_content(tx, claimed.batch_id, MessageState.QUEUED), changes)


def _begin_ready(tx: Transaction, wish: Wish, claim: Claim, content: BatchContent, changes: ByCampaign) -> Taken:
    """Record the attempt of what this transaction claimed, where it is ready and the budgets allow it."""
    cost: Cost | None = Cost()
    if claim.allowance is not None:
        cost = affordable(tx, claim, campaign_row(tx, claim, now=wish.now), now=wish.now)
    begun = (
        cost is not None
        and wish.ready(claim, content)
        and record_attempt(tx, claim, cost, now=wish.now, lease=wish.lease, scheduled_for=None, changes=changes)
    )
    return claim, content, begun


def claim_and_begin_several(tx: Transaction, wishes: Sequence[Wish]) -> list[Taken | None]:
    """Fulfil the wishes of several threads of one worker for one provider, whose batches are small, as one does.

    At most those of one campaign, whose row is locked before anything else: two transactions that held a campaign each
    might want the other's. Wishes beyond get no answer here. Counters come last, in one order: whoever records outcomes
    at the same time holds them and nothing that is wanted here.
    """
    changes: ByCampaign = {}
    if len(wishes) > 1:
        taken: list[Taken | None] = [*_take_lot(tx, wishes, changes)] or [None] * len(wishes)
    else:
        taken = [_claim_and_begin(tx, wishes[0], changes)]
    before = [wish.before for wish, _ in zip(wishes, taken, strict=False) if wish.before is not None]
    record_several(tx, before, changes)
    ids = [*(one[0].batch_id for one in taken if one is not None), *(one.claim.batch_id for one in before)]
    count_several(tx, changes, batch_id=min(ids, default=0))
    return taken


def _take_lot(tx: Transaction, wishes: Sequence[Wish], changes: ByCampaign) -> list[Taken]:
    """Fulfil as many of the wishes as there are batches of the campaign whose turn it is."""
    first, now = wishes[0], max(wish.now for wish in wishes)
    # Longer than some need, by as much as they came before others: the lease ends after the request of each.
    lease = max(wish.now + wish.lease for wish in wishes) - now
    campaign, claims = take(
        tx,
        first.provider,
        most=len(wishes),
        owner=first.owner,
        now=now,
        lease=lease,
        allowance=first.allowance,
    )
    if not claims:
        return []
    counted = changes.setdefault(campaign.id, {})
    merge(counted, shifts("batch", [("pending", "claimed", len(claims))]))
    contents, to_suppress = read_contents(tx, claims, brand=campaign.brand)
    for batch_id in to_suppress:
        merge(counted, suppress(tx, batch_id, campaign.brand))
        contents[batch_id] = read_content(tx, batch_id, MessageState.QUEUED)
    pairs = [(wish, claim, contents[claim.batch_id]) for wish, claim in zip(wishes, claims, strict=False)]
    if claims[0].allowance is not None:
        return [_begin_ready(tx, *pair, changes) for pair in pairs]
    begun = {claim.batch_id: claim for wish, claim, content in pairs if wish.ready(claim, content)}
    if begun:
        record_attempts(tx, list(begun.values()), now=now, lease=lease)
        merge(counted, shifts("batch", [("claimed", "submitting", len(begun))]))
    return [(claim, content, claim.batch_id in begun) for _, claim, content in pairs]


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
    columns = tx.columns(
        {"id - CAST(:first AS bigint)": int, "msisdn": int, '"row"': int, "segments": int},
        "FROM message WHERE id >= :first AND id < :end AND state = :state ORDER BY id",
        first=first,
        end=first + MESSAGES_PER_BATCH,
        state=state.value,
    )
    return _content(_said(tx, [batch_id])[batch_id], *columns)


def read_contents(
    tx: Transaction, claims: Sequence[Claim], *, brand: str
) -> tuple[dict[int, BatchContent], set[int]]:
    """Return what small batches say to those who are queued, by batch, and which of them have numbers suppressed since."""
    ids, numbers, rows, segments, out = tx.columns(
        {
            "m.id": int,
            "m.msisdn": int,
            'm."row"': int,
            "m.segments": int,
            "CASE WHEN EXISTS (SELECT 1 FROM suppression s WHERE s.msisdn = m.msisdn AND s.scope IN ('', :brand))"
            " THEN 1 ELSE 0 END": int,
        },
        f"FROM message m WHERE m.id {tx.in_ids} AND m.state = 'queued' ORDER BY m.id",
        brand=brand,
        ids=tx.ids(message_id(claim.batch_id, at) for claim in claims for at in range(claim.messages)),
    )
    batch_ids = [claim.batch_id for claim in claims]
    columns: dict[int, tuple[list[int], list[int], list[int], list[int]]] = {
        one: ([], [], [], []) for one in batch_ids
    }
    for one, *values in zip(ids, numbers, rows, segments, strict=True):
        batch_id, position = divmod(one, MESSAGES_PER_BATCH)
        for column, value in zip(columns[batch_id], (position, *values), strict=True):
            column.append(value)
    said = _said(tx, batch_ids)
    return (
        {batch_id: _content(said[batch_id], *found) for batch_id, found in columns.items()},
        {one // MESSAGES_PER_BATCH for one, suppressed in zip(ids, out, strict=True) if suppressed},
    )


def _said(tx: Transaction, batch_ids: Sequence[int]) -> dict[int, Any]:
    rows = tx.rows(
        "SELECT b.id, COALESCE(v.template, c.template) AS template, c.personalised, c.sender, c.options, p.fields"
        " FROM batch b JOIN campaign c ON c.id = b.campaign_id LEFT JOIN payload p ON p.batch_id = b.id"
        f" LEFT JOIN variant v ON v.campaign_id = c.id AND v.name = b.variant WHERE b.id {tx.in_ids}",
        ids=tx.ids(batch_ids),
    )
    return {int(row.id): row for row in rows}


def _content(
    said: Any, positions: Sequence[int], numbers: Sequence[int], rows: Sequence[int], segments: Sequence[int]
) -> BatchContent:
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
