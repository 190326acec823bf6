"""Finds campaigns, moves them from state to state, and sums up what has become of them."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from dispatcher.batch import BatchState
from dispatcher.campaign import CAMPAIGN_MOVES, FINAL_CAMPAIGN_STATES, CampaignState
from dispatcher.errors import CampaignNotFound, MoveNotAllowed
from dispatcher.ledger.database import Database, Transaction, micros, moment, money
from dispatcher.ledger.rows import Campaign, Counts, PlanTotals
from dispatcher.ledger.trail import count, merge, note, shifts, totals
from dispatcher.message import MESSAGES_PER_BATCH, OPEN_MESSAGE_STATES, MessageState

_SETTLED_AT_ONCE = 50_000
"""Messages that one commit of a cancel writes down: some tens of milliseconds, for which others wait."""

_COLUMNS = (
    "id, public_id, key, name, provider, sender, template, personalised, state, reason, send_at, country, options,"
    " rules, brand, fallbacks, priority, released_through, expires_at, budget, segment_price, committed, retry_of,"
    " erased_at, rows, messages, duplicates, invalid, suppressed, batches, segments, created_at, started_at,"
    " finished_at"
)

CANCELLED = "campaign cancelled"
EXPIRED = "expired before it was sent"
"""Why a message was never sent, as the report says it."""


class Campaigns:
    """Everything about a campaign as a whole."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> Campaign:
        """Return the campaign with this id, or else with this key, or else the only one of this name.

        Raises:
            CampaignNotFound: there is none, or several have the name.
        """
        with self._database.read() as tx:
            rows = tx.rows(f"SELECT {_COLUMNS} FROM campaign WHERE public_id = :name", name=name)
            if not rows:
                rows = tx.rows(f"SELECT {_COLUMNS} FROM campaign WHERE key = :name", name=name)
            if not rows:
                rows = tx.rows(f"SELECT {_COLUMNS} FROM campaign WHERE name = :name", name=name)
        if not rows:
            raise CampaignNotFound(f"there is no campaign {name!r}; `dispatcher list` shows those that there are")
        if len(rows) > 1:
            ids = ", ".join(row.public_id for row in rows)
            raise CampaignNotFound(f"{len(rows)} campaigns are named {name!r}: say which by its id: {ids}")
        return _campaign(rows[0])

    def with_key(self, key: str) -> Campaign | None:
        """Return the campaign that was enqueued with this key, if its plan was finished."""
        with self._database.read() as tx:
            row = tx.first(
                f"SELECT {_COLUMNS} FROM campaign WHERE key = :key AND state <> 'draft'",
                key=key,
            )
        return None if row is None else _campaign(row)

    def latest(self, most: int = 1000) -> list[Campaign]:
        """Return the campaigns, the newest first."""
        with self._database.read() as tx:
            rows = tx.rows(f"SELECT {_COLUMNS} FROM campaign ORDER BY id DESC LIMIT :most", most=most)
        return [_campaign(row) for row in rows]

    def releasing(self, provider: str) -> list[Campaign]:
        """Return the campaigns of a provider whose batches may be claimed."""
        with self._database.read() as tx:
            rows = tx.rows(
                f"SELECT {_COLUMNS} FROM campaign WHERE provider = :provider AND state IN ('running', 'scheduled')",
                provider=provider,
            )
        return [_campaign(row) for row in rows]

    def counts(self, campaign: Campaign) -> Counts:
        """Return how many messages and batches are in each state, and the money."""
        with self._database.read() as tx:
            found = totals(tx, campaign.id)
        return Counts(
            messages={state: found.get(f"message.{state.value}", 0) for state in MessageState},
            batches={state: found.get(f"batch.{state.value}", 0) for state in BatchState},
            cost=money(found.get("cost", 0)),
            refunded=money(found.get("refunded", 0)),
            segments_submitted=found.get("segments", 0),
            reasons={
                (state, reason): many
                for name, many in found.items()
                for kind, state, reason in [(*name.split(".", 2), "", "")[:3]]
                if kind == "why" and many
            },
        )

    def notes(self, campaign: Campaign, *, most: int = 5) -> list[str]:
        """Return what a person must know of the campaign's submitted batches, each thing once."""
        with self._database.read() as tx:
            rows = tx.rows(
                "SELECT DISTINCT reason FROM batch WHERE campaign_id = :id AND state = 'submitted'"
                " AND reason IS NOT NULL LIMIT :most",
                id=campaign.id,
                most=most,
            )
        return [row.reason for row in rows]

    def move(
        self, campaign: Campaign, state: CampaignState, *, who: str, now: datetime, reason: str | None = None
    ) -> bool:
        """Move a campaign; True where this call moved it, False where it already stood there.

        From this commit on the new state holds for every claim and every attempt.

        Raises:
            MoveNotAllowed: the campaign's state has no such move.
        """
        with self._database.write() as tx:
            row = tx.first(
                "SELECT state FROM campaign WHERE id = :id" + (" FOR UPDATE" if tx.postgresql else ""),
                id=campaign.id,
            )
            if row is None:
                raise CampaignNotFound(f"campaign {campaign.public_id} is gone")
            before = CampaignState(row.state)
            if before is state:
                return False
            if state not in CAMPAIGN_MOVES[before]:
                raise MoveNotAllowed(
                    f"campaign {campaign.public_id} is {before.value}: it cannot become {state.value}"
                )
            move_campaign(tx, campaign.id, before, state, who=who, now=now, reason=reason)
            return True

    def settle_cancelled(
        self, *, who: str, now: datetime, campaign_id: int | None = None, most: int = _SETTLED_AT_ONCE
    ) -> int:
        """Cancel some pending batches of cancelled campaigns, with their messages; return how many batches.

        The cancel itself is the campaign's state; this writes down, in portions of about `most` messages, what it
        came to.
        """
        if campaign_id is None:
            return self._cancel_pending("c.state = 'cancelled'", CANCELLED, who=who, now=now, most=most)
        one = "c.state = 'cancelled' AND c.id = :campaign_id"
        return self._cancel_pending(one, CANCELLED, who=who, now=now, most=most, campaign_id=campaign_id)

    def settle_out_of_time(self, *, who: str, now: datetime, most: int = _SETTLED_AT_ONCE) -> int:
        """Cancel some pending batches of campaigns that have expired, with their messages; return how many batches."""
        which = "c.state IN ('scheduled', 'running', 'paused') AND c.expires_at <= :moment"
        return self._cancel_pending(which, EXPIRED, who=who, now=now, most=most, moment=micros(now))

    def _cancel_pending(
        self, which: str, reason: str, *, who: str, now: datetime, most: int, **parameters: Any
    ) -> int:
        left = (
            "SELECT b.id, b.campaign_id, b.messages FROM campaign c JOIN batch b ON b.campaign_id = c.id"
            f" WHERE {which} AND b.state = 'pending' ORDER BY b.campaign_id, b.due_at, b.id LIMIT :most"
        )
        with self._database.read() as tx:
            if tx.first(left, most=1, **parameters) is None:
                return 0
        with self._database.write() as tx:
            lock = " FOR UPDATE OF b SKIP LOCKED" if tx.postgresql else ""
            by_campaign: dict[int, list[int]] = {}
            messages = 0
            for batch in tx.rows(left + lock, most=most, **parameters):
                if messages and messages + batch.messages > most:
                    break
                messages += batch.messages
                by_campaign.setdefault(int(batch.campaign_id), []).append(int(batch.id))
            for campaign, batches in by_campaign.items():
                _cancel_batches(tx, campaign, batches, reason, who=who, now=now)
            return sum(map(len, by_campaign.values()))

    def advance(self, *, who: str, now: datetime) -> list[tuple[str, CampaignState]]:
        """Start the campaigns whose time has come and complete those in which nothing is open any more.

        Returns (campaign, new state) of each.
        """
        open_states = ", ".join(f"'message.{state.value}'" for state in OPEN_MESSAGE_STATES)
        with self._database.read() as tx:
            open_campaigns = tx.rows(
                "SELECT c.id, c.public_id, c.state, c.send_at, c.reason,"
                " COALESCE((SELECT SUM(n.amount) FROM counter n WHERE n.campaign_id = c.id"
                f" AND n.name IN ({open_states})), 0) AS open_messages"
                " FROM campaign c WHERE c.state IN ('scheduled', 'running', 'paused')"
            )
        moved = []
        for row in open_campaigns:
            state = _next_state(row, now)
            if state is None:
                continue
            with self._database.write() as tx:
                lock = " FOR UPDATE" if tx.postgresql else ""
                current = tx.first("SELECT state FROM campaign WHERE id = :id" + lock, id=row.id)
                if current is not None and current.state == row.state:
                    # What paused it stays with it to the end.
                    reason = row.reason if state is CampaignState.COMPLETED else None
                    move_campaign(tx, row.id, CampaignState(row.state), state, who=who, now=now, reason=reason)
                    moved.append((str(row.public_id), state))
        return moved


def _next_state(row: Any, now: datetime) -> CampaignState | None:
    if not row.open_messages:
        return CampaignState.COMPLETED
    if row.state == CampaignState.SCHEDULED and (row.send_at or 0) <= micros(now):
        return CampaignState.RUNNING
    return None


def _cancel_batches(
    tx: Transaction, campaign_id: int, batches: list[int], reason: str, *, who: str, now: datetime
) -> None:
    """Cancel pending batches of one campaign; those with neighbouring ids are one range of messages."""
    tx.run(
        f"UPDATE batch SET state = 'cancelled', reason = :reason WHERE state = 'pending' AND id {tx.in_ids}",
        reason=reason,
        ids=tx.ids(batches),
    )
    changes = shifts("batch", [("pending", "cancelled", len(batches))])
    for first, last in _runs(sorted(batches)):
        many = tx.run(
            "UPDATE message SET state = 'cancelled', reason = :reason, settled_at = :now"
            " WHERE id >= :first AND id < :end AND state = 'queued'",
            reason=reason,
            now=micros(now),
            first=first * MESSAGES_PER_BATCH,
            end=(last + 1) * MESSAGES_PER_BATCH,
        )
        merge(changes, shifts("message", [("queued", "cancelled", many)]))
    count(tx, campaign_id=campaign_id, batch_id=batches[0], changes=changes)
    note(
        tx,
        at=now,
        who=who,
        subject="batch",
        what=f"{len(batches)} cancelled",
        campaign_id=campaign_id,
        before=BatchState.PENDING.value,
        after=BatchState.CANCELLED.value,
        why=None if reason == CANCELLED else reason,
    )


def _runs(ids: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of each run of consecutive ids."""
    first = last = ids[0]
    for one in ids[1:]:
        if one != last + 1:
            yield first, last
            first = one
        last = one
    yield first, last


def move_campaign(
    tx: Transaction,
    campaign_id: int,
    before: CampaignState,
    after: CampaignState,
    *,
    who: str,
    now: datetime,
    reason: str | None,
) -> None:
    """Move a campaign inside a caller's transaction that holds its row."""
    tx.run(
        "UPDATE campaign SET state = :after, reason = :reason,"
        " started_at = CASE WHEN :runs THEN COALESCE(started_at, :now) ELSE started_at END,"
        " finished_at = CASE WHEN :ends THEN :now ELSE finished_at END"
        " WHERE id = :id AND state = :before",
        after=after.value,
        before=before.value,
        reason=reason,
        runs=after is CampaignState.RUNNING,
        ends=after in FINAL_CAMPAIGN_STATES,
        now=micros(now),
        id=campaign_id,
    )
    note(
        tx,
        at=now,
        who=who,
        subject="campaign",
        what=after.value,
        campaign_id=campaign_id,
        before=before.value,
        after=after.value,
        why=reason,
    )


def _campaign(row: Any) -> Campaign:
    created = moment(row.created_at)
    assert created is not None
    return Campaign(
        id=int(row.id),
        public_id=row.public_id,
        key=row.key,
        name=row.name,
        provider=row.provider,
        sender=row.sender,
        template=row.template,
        personalised=bool(row.personalised),
        state=CampaignState(row.state),
        reason=row.reason,
        send_at=moment(row.send_at),
        country=row.country,
        options=json.loads(row.options),
        rules=json.loads(row.rules),
        brand=row.brand,
        fallbacks=tuple(row.fallbacks.split(",")) if row.fallbacks else (),
        priority=row.priority,
        released_through=row.released_through,
        expires_at=moment(row.expires_at),
        budget=None if row.budget is None else money(row.budget),
        segment_price=None if row.segment_price is None else money(row.segment_price),
        committed=money(row.committed),
        retry_of=row.retry_of,
        erased_at=moment(row.erased_at),
        totals=PlanTotals(
            rows=row.rows,
            messages=row.messages,
            duplicates=row.duplicates,
            invalid=row.invalid,
            suppressed=row.suppressed,
            batches=row.batches,
            segments=row.segments,
        ),
        created_at=created,
        started_at=moment(row.started_at),
        finished_at=moment(row.finished_at),
    )
