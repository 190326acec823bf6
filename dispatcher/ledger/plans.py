"""Writes a campaign's plan: as a draft that cannot send, in portions, made live by one last commit."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta

from dispatcher.batch import BatchState
from dispatcher.campaign import FINAL_CAMPAIGN_STATES, CampaignState
from dispatcher.errors import LedgerError
from dispatcher.ledger.database import Database, Transaction, micros, millionths
from dispatcher.ledger.rows import Campaign, ExcludedRow, NewCampaign, PlannedBatch, PlanTotals
from dispatcher.ledger.trail import count, note
from dispatcher.message import MESSAGES_PER_BATCH, MessageState

_PLANNER_LEASE = timedelta(minutes=5)
"""A draft whose planner has not written for this long has lost its planner."""


class Plans:
    """The planner's way into the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, new: NewCampaign, *, who: str, now: datetime) -> int:
        """Create the draft and return its id. A draft that a dead planner left under the same key is replaced.

        Raises:
            LedgerError: a campaign with this key exists, or is being planned at this moment.
        """
        with self._database.write() as tx:
            _discard_abandoned(tx, now)
            if new.key is not None:
                other = tx.first("SELECT id, state, public_id FROM campaign WHERE key = :key", key=new.key)
                if other is not None:
                    raise LedgerError(
                        f"key {new.key!r} is taken: "
                        + (
                            "another enqueue is planning it at this moment; wait for it, or for 5 minutes if it died"
                            if other.state == CampaignState.DRAFT
                            else f"it is campaign {other.public_id}"
                        )
                    )
            values = {
                "public_id": new.public_id,
                "key": new.key,
                "name": new.name,
                "provider": new.provider,
                "sender": new.sender,
                "template": new.template,
                "personalised": new.personalised,
                "state": CampaignState.DRAFT.value,
                "send_at": None if new.send_at is None else micros(new.send_at),
                "country": new.country,
                "options": json.dumps(dict(new.options)),
                "rules": json.dumps(dict(new.rules)),
                "brand": new.brand,
                "fallbacks": ",".join(new.fallbacks),
                "priority": new.priority,
                "expires_at": None if new.expires_at is None else micros(new.expires_at),
                "budget": None if new.budget is None else millionths(new.budget),
                "segment_price": None if new.segment_price is None else millionths(new.segment_price),
                "retry_of": new.retry_of,
                "adds_to": new.adds_to,
                "created_at": micros(new.created_at),
                "planner_until": micros(now + _PLANNER_LEASE),
            }
            created = tx.first(
                f"INSERT INTO campaign ({', '.join(values)}) VALUES ({', '.join(f':{name}' for name in values)})"
                " RETURNING id",
                **values,
            )
            assert created is not None
            campaign_id = int(created.id)
            tx.run_many(
                "INSERT INTO variant (campaign_id, name, template) VALUES (:campaign_id, :name, :template)",
                [{"campaign_id": campaign_id, "name": name, "template": text} for name, text in new.variants.items()],
            )
            note(
                tx,
                at=now,
                who=who,
                subject="campaign",
                what="planned",
                campaign_id=campaign_id,
                after="draft",
            )
            return campaign_id

    def append(
        self,
        campaign_id: int,
        *,
        first_number: int,
        batches: Sequence[PlannedBatch],
        excluded: Sequence[ExcludedRow],
        now: datetime,
    ) -> None:
        """Write some batches, numbered from `first_number`, and some excluded rows, in one commit.

        Raises:
            LedgerError: the draft is gone: this planner stood still so long that it was taken for dead.
        """
        with self._database.write() as tx:
            draft = tx.first(
                "UPDATE campaign SET planner_until = :until WHERE id = :id AND state = 'draft' RETURNING provider",
                until=micros(now + _PLANNER_LEASE),
                id=campaign_id,
            )
            if draft is None:
                raise LedgerError("the plan was discarded because it stood still for too long; nothing was sent")
            if batches:
                _insert_batches(tx, campaign_id, draft.provider, first_number, batches)
            tx.insert(
                "excluded_row",
                {
                    '"row"': [row.row for row in excluded],
                    "kind": [row.kind.value for row in excluded],
                    "number": [row.number for row in excluded],
                    "reason": [row.reason for row in excluded],
                },
                same={"campaign_id": campaign_id},
            )

    def finish(self, campaign_id: int, totals: PlanTotals, *, who: str, now: datetime) -> CampaignState:
        """Make the plan live: from this commit on, and not before, its batches may be sent. Returns the state."""
        with self._database.write() as tx:
            row = tx.rows("SELECT send_at, provider FROM campaign WHERE id = :id", id=campaign_id)
            later = bool(row) and row[0].send_at is not None and row[0].send_at > micros(now)
            state = CampaignState.SCHEDULED if later else CampaignState.RUNNING
            # A newcomer starts level with those that are being served, else it would have everything to itself.
            level = tx.first(
                "SELECT MIN(served) AS served FROM campaign"
                " WHERE provider = :provider AND state IN ('running', 'scheduled')",
                provider=row[0].provider if row else "",
            )
            changed = tx.run(
                "UPDATE campaign SET state = :state, planner_until = NULL, served = :served, rows = :rows,"
                " messages = :messages, duplicates = :duplicates, invalid = :invalid, suppressed = :suppressed,"
                " batches = :batches, segments = :segments, started_at = :started"
                " WHERE id = :id AND state = 'draft'",
                state=state.value,
                served=(level.served if level is not None else None) or 0,
                **asdict(totals),
                started=None if later else micros(now),
                id=campaign_id,
            )
            if not changed:
                raise LedgerError("the plan was discarded because it stood still for too long; nothing was sent")
            note(
                tx,
                at=now,
                who=who,
                subject="campaign",
                what="enqueued",
                campaign_id=campaign_id,
                before=CampaignState.DRAFT.value,
                after=state.value,
            )
            return state

    def add(self, draft_id: int, campaign: Campaign, totals: PlanTotals, *, who: str, now: datetime) -> None:
        """Put the plan of a draft, whose rows follow the campaign's, into the campaign: live from this commit on.

        Raises:
            LedgerError: the campaign has ended, or others were added since it was read; nothing was added.
        """
        with self._database.write() as tx:
            lock = " FOR UPDATE" if tx.postgresql else ""
            there = tx.first("SELECT state, rows, batches FROM campaign WHERE id = :id" + lock, id=campaign.id)
            draft = tx.first("SELECT id FROM campaign WHERE id = :id AND state = 'draft'" + lock, id=draft_id)
            if draft is None:
                raise LedgerError("the plan was discarded because it stood still for too long; nothing was added")
            if there is None or CampaignState(there.state) in FINAL_CAMPAIGN_STATES:
                raise LedgerError(f"campaign {campaign.public_id} has ended meanwhile: nothing was added")
            if there.rows != campaign.totals.rows:
                raise LedgerError(f"others were added to campaign {campaign.public_id} meanwhile: run this again")
            ids = {"draft": draft_id, "campaign": campaign.id}
            tx.run(
                "UPDATE batch SET campaign_id = :campaign, number = number + :after WHERE campaign_id = :draft",
                after=there.batches,
                **ids,
            )
            tx.run("UPDATE excluded_row SET campaign_id = :campaign WHERE campaign_id = :draft", **ids)
            for row in tx.rows("SELECT name, shard, amount FROM counter WHERE campaign_id = :id", id=draft_id):
                count(tx, campaign_id=campaign.id, batch_id=int(row.shard), changes={str(row.name): int(row.amount)})
            tx.run(
                "UPDATE campaign SET rows = rows + :rows, messages = messages + :messages,"
                " duplicates = duplicates + :duplicates, invalid = invalid + :invalid,"
                " suppressed = suppressed + :suppressed, batches = batches + :batches,"
                " segments = segments + :segments WHERE id = :id",
                **asdict(totals),
                id=campaign.id,
            )
            tx.run("DELETE FROM campaign WHERE id = :id", id=draft_id)
            note(
                tx,
                at=now,
                who=who,
                subject="campaign",
                what="added",
                campaign_id=campaign.id,
                why=f"{totals.rows} rows, {totals.messages} messages",
            )

    def discard(self, campaign_id: int) -> None:
        """Remove a draft with all that was planned of it; it never sent anything."""
        with self._database.write() as tx:
            _discard(tx, campaign_id)

    def discard_abandoned(self, *, now: datetime) -> int:
        """Remove the drafts whose planners died, and return how many there were."""
        with self._database.read() as tx:
            if (
                tx.first("SELECT 1 FROM campaign WHERE state = 'draft' AND planner_until < :now", now=micros(now))
                is None
            ):
                return 0
        with self._database.write() as tx:
            return _discard_abandoned(tx, now)


def _discard_abandoned(tx: Transaction, now: datetime) -> int:
    # Locked before it is judged: a planner that wakes up waits for the end of this, and then finds its draft gone.
    lock = " FOR UPDATE SKIP LOCKED" if tx.postgresql else ""
    abandoned = tx.rows(
        "SELECT id FROM campaign WHERE state = 'draft' AND planner_until < :now" + lock, now=micros(now)
    )
    for row in abandoned:
        _discard(tx, int(row.id))
    return len(abandoned)


def _discard(tx: Transaction, campaign_id: int) -> None:
    lock = " FOR UPDATE" if tx.postgresql else ""
    draft = tx.first("SELECT id FROM campaign WHERE id = :id AND state = 'draft'" + lock, id=campaign_id)
    if draft is None:
        return
    ids = [int(row.id) for row in tx.rows("SELECT id FROM batch WHERE campaign_id = :id ORDER BY id", id=campaign_id)]
    # Ids of one planner are runs, broken only where others planned meanwhile.
    breaks = [at for at in range(1, len(ids)) if ids[at] != ids[at - 1] + 1]
    for start, end in zip([0, *breaks], [*breaks, len(ids)], strict=True):
        if start < end:
            tx.run(
                "DELETE FROM message WHERE id >= :first AND id < :end",
                first=ids[start] * MESSAGES_PER_BATCH,
                end=(ids[end - 1] + 1) * MESSAGES_PER_BATCH,
            )
    tx.run("DELETE FROM campaign WHERE id = :id AND state = 'draft'", id=campaign_id)


def _insert_batches(
    tx: Transaction, campaign_id: int, provider: str, first_number: int, batches: Sequence[PlannedBatch]
) -> None:
    ids = _batch_ids(tx, len(batches))
    tx.insert(
        "batch",
        {
            "id": ids,
            "number": range(first_number, first_number + len(batches)),
            "messages": [len(batch.numbers) for batch in batches],
            "segments": [sum(batch.segments) for batch in batches],
            "due_at": [micros(batch.due_at) for batch in batches],
            "send_at": [None if batch.send_at is None else micros(batch.send_at) for batch in batches],
            "zone": [batch.zone for batch in batches],
            "variant": [batch.variant for batch in batches],
        },
        same={"campaign_id": campaign_id, "provider": provider, "state": BatchState.PENDING.value},
    )
    personal = [(batch_id, batch.fields) for batch_id, batch in zip(ids, batches, strict=True) if batch.fields]
    tx.insert(
        "payload", {"batch_id": [batch_id for batch_id, _ in personal], "fields": [fields for _, fields in personal]}
    )
    columns: dict[str, list[int]] = {"id": [], '"row"': [], "msisdn": [], "segments": []}
    for batch_id, batch in zip(ids, batches, strict=True):
        first = batch_id * MESSAGES_PER_BATCH
        columns["id"].extend(range(first, first + len(batch.numbers)))
        columns['"row"'].extend(batch.rows)
        columns["msisdn"].extend(batch.numbers)
        columns["segments"].extend(batch.segments)
    tx.insert("message", columns, same={"state": MessageState.QUEUED.value})
    # Only the sum over the shards has a meaning, so all go to one.
    changes = {"message.queued": len(columns["id"]), "batch.pending": len(batches)}
    count(tx, campaign_id=campaign_id, batch_id=ids[0], changes=changes)


def _batch_ids(tx: Transaction, many: int) -> list[int]:
    if tx.postgresql:
        rows = tx.rows(
            "SELECT nextval(pg_get_serial_sequence('batch', 'id')) AS id FROM generate_series(1, :many)",
            many=many,
        )
        return [int(row.id) for row in rows]
    last = tx.first("SELECT seq FROM sqlite_sequence WHERE name = 'batch'")
    first = (0 if last is None else int(last.seq)) + 1
    return list(range(first, first + many))
