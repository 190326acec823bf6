"""What is counted of campaigns that take care of themselves: what was tried, what went wrong, what was delivered."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from dispatcher.ledger.database import Database, Transaction, moment
from dispatcher.ledger.messages import MESSAGES_OF_BATCH
from dispatcher.ledger.rows import Campaign
from dispatcher.ledger.spending import hold_campaign
from dispatcher.ledger.trail import note, totals

RELEASED = (
    " AND (c.released_through IS NULL OR c.released_through > 0)"
    " AND (c.released_through IS NULL OR b.number <= c.released_through)"
)
"""SQL for a campaign `c` and a batch `b`: it is not held back by a canary. While that waits, no batch is looked at."""

_LOOKED_AT = 1000
"""Messages that went wrong of which the reasons are read; more would tell no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How a campaign stands. `rules` are its owner's; messages and batches are counted by state."""

    campaign_id: int
    campaign: str
    rules: Mapping[str, Any]
    messages: Mapping[str, int]
    batches: Mapping[str, int]
    tried_before: int  # messages, when it was last resumed
    bad_before: int
    released_through: int | None

    @property
    def tried(self) -> int:
        """Messages that a provider was asked to send, in all."""
        return _tried(self.messages)

    @property
    def bad(self) -> int:
        """Those of them that were refused or are unknown."""
        return _bad(self.messages)


def released_through(campaign: Row[Any]) -> str:
    """Return SQL, that a batch `b` of one campaign is not held back by its canary."""
    return "" if campaign.released_through is None else f" AND b.number <= {int(campaign.released_through)}"


class Care:
    """The way into the ledger of what judges campaigns."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def tallies(self, *, campaign: str | None = None) -> list[Tally]:
        """Return the campaigns with rules whose batches may be claimed, or the one of them with this id."""
        one = "" if campaign is None else " AND c.public_id = :campaign"
        parameters = {} if campaign is None else {"campaign": campaign}
        with self._database.read() as tx:
            rows = tx.rows(
                "SELECT c.id, c.public_id, c.rules, c.tried_before, c.bad_before, c.released_through, n.name,"
                " SUM(n.amount) AS amount FROM campaign c JOIN counter n ON n.campaign_id = c.id"
                f" WHERE c.state IN ('running', 'scheduled') AND c.rules <> '{{}}'{one} GROUP BY c.id, c.public_id,"
                " c.rules, c.tried_before, c.bad_before, c.released_through, n.name",
                **parameters,
            )
        counted: dict[int, dict[str, int]] = {}
        for row in rows:
            counted.setdefault(int(row.id), {})[str(row.name)] = int(row.amount)
        found = {int(row.id): row for row in rows}
        return [
            Tally(
                campaign_id=campaign_id,
                campaign=row.public_id,
                rules=json.loads(row.rules),
                messages=_of(counted[campaign_id], "message."),
                batches=_of(counted[campaign_id], "batch."),
                tried_before=int(row.tried_before),
                bad_before=int(row.bad_before),
                released_through=row.released_through,
            )
            for campaign_id, row in found.items()
        ]

    def restart(self, campaign: Campaign) -> None:
        """Count anew from here on what is tried and what goes wrong."""
        with self._database.write() as tx:
            hold_campaign(tx, campaign.id)
            count_anew(tx, campaign.id)

    def begin_canary(self, campaign_id: int, *, batches: int) -> None:
        """Hold all batches of a draft back but the first so many, 0 where there is no more than the canary."""
        with self._database.write() as tx:
            _note_canary(tx, campaign_id, {"batches": batches} if batches else {"state": "whole"})
            tx.run(
                "UPDATE campaign SET released_through = :through WHERE id = :id",
                through=batches or None,
                id=campaign_id,
            )

    def hold_canary(self, campaign_id: int, through: int) -> None:
        """Release a canary up to a batch; 0 while all of it is out, and nothing else may go."""
        with self._database.write() as tx:
            tx.run(
                "UPDATE campaign SET released_through = :through WHERE id = :id AND released_through IS NOT NULL",
                through=through,
                id=campaign_id,
            )

    def end_canary(self, campaign_id: int, *, state: str, share: float, why: str, who: str, now: datetime) -> bool:
        """Hold nothing back any more, and keep what came of the canary. False where another did so first."""
        with self._database.write() as tx:
            ended = tx.run(
                "UPDATE campaign SET released_through = NULL WHERE id = :id AND released_through IS NOT NULL",
                id=campaign_id,
            )
            if ended:
                _note_canary(tx, campaign_id, {"state": state, "share": share})
                what = f"canary {state}"
                note(tx, at=now, who=who, subject="campaign", what=what, campaign_id=campaign_id, why=why)
            return bool(ended)

    def canary_out_at(self, campaign_id: int, *, batches: int) -> datetime | None:
        """Return when the last of the first so many batches was handed over, or is to be sent by the provider."""
        with self._database.read() as tx:
            row = tx.first(
                "SELECT MAX(COALESCE(scheduled_for, attempted_at)) AS at FROM batch"
                " WHERE campaign_id = :id AND number <= :batches",
                id=campaign_id,
                batches=batches,
            )
        return None if row is None else moment(row.at)

    def set_priority(self, campaign: Campaign, priority: int, *, who: str, now: datetime) -> None:
        """Set which campaign goes first, from the next claim on: the highest number."""
        with self._database.write() as tx:
            tx.run("UPDATE campaign SET priority = :priority WHERE id = :id", priority=priority, id=campaign.id)
            told = f"{priority}, before: {campaign.priority}"
            note(tx, at=now, who=who, subject="campaign", what="priority", campaign_id=campaign.id, why=told)

    def reasons(self, campaign_id: int, *, states: tuple[str, ...], most: int = 100) -> list[tuple[str, int]]:
        """Return the most frequent reasons of messages in some states, with how many of about a thousand have it."""
        among = ", ".join(f"'{state}'" for state in states)
        with self._database.read() as tx:
            rows = tx.rows(
                "SELECT reason, COUNT(*) AS many FROM (SELECT COALESCE(m.reason, 'no reason given') AS reason"
                f" FROM batch b JOIN message m ON {MESSAGES_OF_BATCH}"
                " WHERE b.campaign_id = :id AND b.state IN ('submitted', 'refused', 'unknown')"
                f" AND m.state IN ({among}) LIMIT {_LOOKED_AT}) AS few GROUP BY reason"
                " ORDER BY COUNT(*) DESC, reason LIMIT :most",
                id=campaign_id,
                most=most,
            )
        return [(str(row.reason), int(row.many)) for row in rows]


def count_anew(tx: Transaction, campaign_id: int) -> None:
    """Count from here on what is tried and what goes wrong, in a transaction that holds the campaign."""
    messages = _of(totals(tx, campaign_id), "message.")
    tx.run(
        "UPDATE campaign SET tried_before = :tried, bad_before = :bad WHERE id = :id",
        tried=_tried(messages),
        bad=_bad(messages),
        id=campaign_id,
    )


def _note_canary(tx: Transaction, campaign_id: int, more: Mapping[str, Any]) -> None:
    hold_campaign(tx, campaign_id)
    rules = json.loads(tx.rows("SELECT rules FROM campaign WHERE id = :id", id=campaign_id)[0].rules)
    rules["canary"] = {**rules.get("canary", {}), **more}
    tx.run("UPDATE campaign SET rules = :rules WHERE id = :id", rules=json.dumps(rules), id=campaign_id)


def _of(counters: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): many for name, many in counters.items() if name.startswith(prefix)}


def _tried(messages: Mapping[str, int]) -> int:
    states = ("submitted", "delivered", "undelivered", "expired", "unconfirmed", "refused", "unknown")
    return sum(messages.get(state, 0) for state in states)


def _bad(messages: Mapping[str, int]) -> int:
    return messages.get("refused", 0) + messages.get("unknown", 0)
