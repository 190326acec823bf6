"""Which provider a campaign is with, and how often in a row that could not be reached."""

import json
from datetime import datetime, timedelta
from decimal import Decimal

from dispatcher.ledger.care import count_anew
from dispatcher.ledger.database import Database, micros, millionths, moment
from dispatcher.ledger.rows import Campaign, Claim
from dispatcher.ledger.spending import hold_campaign
from dispatcher.ledger.trail import note

_LONGEST_BACKOFF = timedelta(minutes=1)


class Failover:
    """The way of failover into the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def move_on(self, campaign: Campaign, *, why: str, who: str, now: datetime) -> bool:
        """Let the first fallback take over. False where the campaign has moved, or was stopped, meanwhile.

        Batches that are pending go there with the next claim. What was attempted stays with whom it was attempted.
        """
        to, *rest = campaign.fallbacks
        at = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        with self._database.write() as tx:
            hold_campaign(tx, campaign.id)
            row = tx.rows("SELECT provider, state, rules FROM campaign WHERE id = :id", id=campaign.id)[0]
            if row.provider != campaign.provider or row.state not in ("running", "scheduled"):
                return False
            rules = json.loads(row.rules)
            rules["moved"] = [*rules.get("moved", []), {"from": row.provider, "to": to, "at": at, "why": why}]
            prices = rules.get("prices", {})
            level = tx.first(
                "SELECT MIN(served) AS served FROM campaign"
                " WHERE provider = :provider AND state IN ('running', 'scheduled')",
                provider=to,
            )
            tx.run(
                "UPDATE campaign SET provider = :to, fallbacks = :rest, rules = :rules, reason = :reason,"
                " segment_price = :price, served = COALESCE(:served, served), down_since = NULL, down_count = 0"
                " WHERE id = :id",
                to=to,
                rest=",".join(rest),
                rules=json.dumps(rules),
                reason=f"moved from {row.provider} to {to}: {why}",
                price=millionths(Decimal(prices[to])) if to in prices else None,
                served=None if level is None else level.served,
                id=campaign.id,
            )
            # What waited before it was tried again there, goes here at once; hours are looked at again with the claim.
            tx.run(
                "UPDATE batch SET due_at = :now WHERE campaign_id = :id AND state = 'pending' AND due_at > :now"
                " AND due_at <= :soon AND attempted_at IS NOT NULL",
                now=micros(now),
                soon=micros(now + _LONGEST_BACKOFF),
                id=campaign.id,
            )
            # What went wrong at the one that was left says nothing of the next.
            count_anew(tx, campaign.id)
            note(
                tx,
                at=now,
                who=who,
                subject="campaign",
                what="moved to another provider",
                campaign_id=campaign.id,
                before=row.provider,
                after=to,
                why=why,
            )
            return True

    def count_unreached(self, claim: Claim, *, now: datetime) -> tuple[datetime, int]:
        """Count one more attempt that reached nobody; return since when and how often that has been so in a row."""
        with self._database.write() as tx:
            row = tx.first(
                "UPDATE campaign SET down_since = COALESCE(down_since, :now), down_count = down_count + 1"
                " WHERE id = :id AND provider = :provider RETURNING down_since, down_count",
                now=micros(now),
                id=claim.campaign_id,
                provider=claim.provider,
            )
        since = None if row is None else moment(row.down_since)
        return (now, 0) if row is None or since is None else (since, int(row.down_count))

    def forget_unreached(self, claim: Claim) -> None:
        """Begin to count anew."""
        with self._database.write() as tx:
            tx.run(
                "UPDATE campaign SET down_since = NULL, down_count = 0 WHERE id = :id AND provider = :provider",
                id=claim.campaign_id,
                provider=claim.provider,
            )
