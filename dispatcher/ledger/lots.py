"""Does in few statements what several threads want of small batches: claims, attempts and the records of plain answers.

What is done for one batch at a time, and for everything unusual, is in claims.py and answers.py.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from dispatcher.batch import BatchState
from dispatcher.failpoints import reach
from dispatcher.ledger.answers import Answered, in_words, record_answers
from dispatcher.ledger.claims import (
    CLAIMED,
    Taken,
    Wish,
    best_to_claim,
    claim_and_begin,
    claim_on,
    due_of,
    read_content,
    record_attempts,
    serve,
    suppress,
)
from dispatcher.ledger.database import Transaction, micros, millionths
from dispatcher.ledger.rows import BatchContent, Claim
from dispatcher.ledger.spending import watched
from dispatcher.ledger.trail import ByCampaign, count_several, merge, note_batch_moves, shifts
from dispatcher.message import MESSAGES_PER_BATCH, MessageState, message_id


def claim_and_begin_several(tx: Transaction, wishes: Sequence[Wish]) -> list[Taken | None]:
    """Fulfil the wishes of several threads of one worker for one provider, whose batches are small, as one does.

    At most those of one campaign, and one alone where its money is watched or its batches need calls beforehand. Wishes
    beyond get no answer here.
    """
    changes: ByCampaign = {}
    first = wishes[0]
    campaign = best_to_claim(tx, first.provider, now=max(wish.now for wish in wishes))
    taken: list[Taken | None] = [None] * len(wishes)
    if campaign is not None:
        if campaign.options != "{}" or watched(campaign.budget, first.allowance) is not None:
            taken = [claim_and_begin(tx, campaign, first, changes)]
        else:
            taken = _take_lot(tx, campaign, wishes, changes)
    before = [wish.before for wish, _ in zip(wishes, taken, strict=False) if wish.before is not None]
    record_several(tx, before, changes)
    # Last, in one order: whoever records outcomes at the same time holds counters, and nothing that is wanted here.
    ids = [*(one[0].batch_id for one in taken if one is not None), *(one.claim.batch_id for one in before)]
    count_several(tx, changes, batch_id=min(ids, default=0))
    return taken


def _take_lot(tx: Transaction, campaign: Any, wishes: Sequence[Wish], changes: ByCampaign) -> list[Taken | None]:
    """Fulfil as many of the wishes as the campaign has batches that are due; one of them, with nothing, where none is."""
    first, now = wishes[0], max(wish.now for wish in wishes)
    # Longer than some need, by as much as they came before others: the lease ends after the request of each.
    lease = max(wish.now + wish.lease for wish in wishes) - now
    claims, said = _claim_several(tx, campaign, first, most=len(wishes), now=now, lease=lease)
    if not claims:
        return [None]
    counted = changes.setdefault(int(campaign.id), {})
    merge(counted, shifts("batch", [("pending", "claimed", len(claims))]))
    contents, to_suppress = _read_contents(tx, campaign, claims, said)
    for batch_id in to_suppress:
        merge(counted, suppress(tx, batch_id, campaign.brand))
        contents[batch_id] = read_content(tx, batch_id, MessageState.QUEUED)
    pairs = [(wish, one, contents[one.batch_id]) for wish, one in zip(wishes, claims, strict=False)]
    begun = {one.batch_id: one for wish, one, content in pairs if wish.ready(one, content)}
    if begun:
        record_attempts(tx, list(begun.values()), now=now, lease=lease)
        merge(counted, shifts("batch", [("claimed", "submitting", len(begun))]))
    return [(one, content, one.batch_id in begun) for _, one, content in pairs]


_Said = tuple[str | None, str | None]
"""Of a batch: its variant's template, and its packed fields as hexadecimal digits."""


def _claim_several(
    tx: Transaction, campaign: Any, wish: Wish, *, most: int, now: datetime, lease: timedelta
) -> tuple[list[Claim], dict[int, _Said]]:
    """Claim up to so many batches of a campaign whose money is not watched, and return what each says."""
    *columns, variants, fields = tx.columns(
        {
            "b.id": int,
            "b.number": int,
            "b.attempt + 1": int,
            "b.messages": int,
            "b.segments": int,
            "b.send_at": int | None,
            "b.zone": str | None,
            "CASE WHEN b.attempt > 0 THEN (SELECT COUNT(*) FROM attempt a WHERE a.batch_id = b.id) ELSE 0 END": int,
            "v.template": str | None,
            tx.hexadecimal("p.fields"): str | None,
        },
        "FROM batch b LEFT JOIN payload p ON p.batch_id = b.id"
        " LEFT JOIN variant v ON v.campaign_id = b.campaign_id AND v.name = b.variant"
        f" WHERE {due_of(campaign)} LIMIT :most" + (" FOR UPDATE OF b" if tx.postgresql else ""),
        campaign_id=campaign.id,
        now=micros(now),
        most=most,
    )
    *columns, tried = columns
    claims = [
        claim_on(row, campaign, provider=wish.provider, owner=wish.owner, tried=before, money=None)
        for *row, before in zip(*columns, tried, strict=True)
    ]
    if claims:
        tx.run(
            f"UPDATE batch SET {CLAIMED} WHERE id {tx.in_ids}",
            owner=wish.owner,
            until=micros(now + lease),
            provider=wish.provider,
            ids=tx.ids(one.batch_id for one in claims),
        )
        serve(tx, campaign.id, sum(one.segments for one in claims))
    return claims, {one.batch_id: both for one, both in zip(claims, zip(variants, fields, strict=True), strict=True)}


def _read_contents(
    tx: Transaction, campaign: Any, claims: Sequence[Claim], said: dict[int, _Said]
) -> tuple[dict[int, BatchContent], set[int]]:
    """Return what batches say to those who are queued, and which batches have numbers that were suppressed since."""
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
        brand=campaign.brand,
        ids=tx.ids(message_id(one.batch_id, at) for one in claims for at in range(one.messages)),
    )
    columns: dict[int, tuple[list[int], list[int], list[int], list[int]]] = {
        one.batch_id: ([], [], [], []) for one in claims
    }
    for one, *values in zip(ids, numbers, rows, segments, strict=True):
        batch_id, position = divmod(one, MESSAGES_PER_BATCH)
        for column, value in zip(columns[batch_id], (position, *values), strict=True):
            column.append(value)
    contents = {}
    for batch_id, (positions, theirs, their_rows, their_segments) in columns.items():
        template, fields = said[batch_id]
        contents[batch_id] = BatchContent(
            positions=positions,
            numbers=theirs,
            rows=their_rows,
            segments=their_segments,
            fields=None if fields is None else bytes.fromhex(fields),
            template=campaign.template if template is None else template,
            personalised=bool(campaign.personalised),
            sender=campaign.sender,
            options={},
        )
    return contents, {one // MESSAGES_PER_BATCH for one, suppressed in zip(ids, out, strict=True) if suppressed}


def record_several(tx: Transaction, answered: Sequence[Answered], changes: ByCampaign) -> list[bool]:
    """Record plain answers to several small requests as one.

    What this changes in the counters is added to `changes`. Looked at one by one are those whose claim is not as it was.
    """
    accepted = _record_accepted(tx, answered, changes)
    if accepted:
        reach("in_outcome")
    return [one.attempt in accepted or record_answers(tx, one, changes) for one in answered]


def _record_accepted(tx: Transaction, answered: Sequence[Answered], changes: ByCampaign) -> set[tuple[int, int]]:
    if not answered:
        return set()
    now = max(one.now for one in answered)
    attempts, values = _attempts(tx, answered, now=now)
    found = tx.rows(
        "UPDATE batch SET state = 'submitted', reason = NULL, lease_until = NULL, provider_reference = t.theirs,"
        " submitted_at = :now, receipts_due_at = :now, receipts_until = t.until, look_up_at = NULL"
        f" FROM {attempts} AS t WHERE batch.id = t.id AND batch.attempt = t.attempt AND batch.state = 'submitting'"
        # Of what the provider keeps for later, receipts are due later.
        " AND batch.scheduled_for IS NULL RETURNING batch.id, batch.attempt",
        now=micros(now),
        **values,
    )
    accepted = {(int(row.id), int(row.attempt)) for row in found}
    ours = list({one.attempt: one for one in answered if one.attempt in accepted}.values())
    if not ours:
        return accepted
    if len(ours) < len(answered):
        attempts, values = _attempts(tx, ours, now=now)
    tx.run(
        "UPDATE attempt SET ended_at = :now, outcome = 'submitted', evidence = t.learned"
        f" FROM {attempts} AS t WHERE attempt.batch_id = t.id AND attempt.number = t.attempt",
        now=micros(now),
        **values,
    )
    moved = _accept(tx, ours)
    for one in ours:
        by_campaign = changes.setdefault(one.claim.campaign_id, {})
        merge(by_campaign, shifts("batch", [("submitting", "submitted", 1)]))
        merge(by_campaign, moved[one.claim.batch_id])
        merge(by_campaign, {"segments": sum(one.content.segments)})
    note_batch_moves(
        tx,
        [one.claim for one in ours],
        BatchState.SUBMITTING,
        BatchState.SUBMITTED,
        now=now,
        whys=list(map(_learned, ours)),
    )
    return accepted


def _attempts(tx: Transaction, answered: Sequence[Answered], *, now: datetime) -> tuple[str, dict[str, Any]]:
    """Return SQL for a table of the attempts that were answered, and the parameters that it brings."""
    return tx.table(
        {
            "id": ("bigint", [one.claim.batch_id for one in answered]),
            "attempt": ("bigint", [one.claim.attempt for one in answered]),
            "theirs": ("text", [one.answers.provider_reference for one in answered]),
            "until": ("bigint", [micros(now + one.receipt_window) for one in answered]),
            "learned": ("text", list(map(_learned, answered))),
        }
    )


def _learned(answered: Answered) -> str:
    return in_words(len(answered.content.positions), answered.answers)


def _accept(tx: Transaction, answered: Sequence[Answered]) -> dict[int, dict[str, int]]:
    """Move the messages that are still queued to submitted; return the counter changes by batch."""
    ids: list[int] = []
    theirs: list[str | None] = []
    costs: list[int | None] = []
    for one in answered:
        ids += [message_id(one.claim.batch_id, position) for position in one.content.positions]
        theirs += one.answers.provider_message_ids
        costs += [None if cost is None else millionths(cost) for cost in one.answers.costs]
    messages, values = tx.table({"id": ("bigint", ids), "theirs": ("text", theirs), "cost": ("bigint", costs)})
    many = tx.run(
        "UPDATE message SET state = 'submitted', provider_message_id = t.theirs, cost = t.cost"
        f" FROM {messages} AS t WHERE message.id = t.id AND message.state = 'queued'",
        **values,
    )
    if many < len(ids):  # none of them had been submitted before, so that these are the ones
        ids, costs = tx.columns(
            {"id": int, "cost": int | None},
            f"FROM message WHERE id {tx.in_ids} AND state = 'submitted'",
            ids=tx.ids(ids),
        )
    changes: dict[int, dict[str, int]] = {one.claim.batch_id: {} for one in answered}
    for message, cost in zip(ids, costs, strict=True):
        move = {"message.queued": -1, "message.submitted": 1, "cost": cost or 0}
        merge(changes[message // MESSAGES_PER_BATCH], move)
    return changes
