"""What there is to do at all: one cheap look, so that a stack with nothing to do costs next to nothing."""

from dataclasses import dataclass
from datetime import datetime

from dispatcher.ledger.database import Database, micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Whether a sweep could find anything, and the providers of the campaigns whose batches may be claimed."""

    sweep: bool
    providers: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Whether a provider should be asked for receipts now, and whether something is to be looked up."""

    receipts: bool
    look_ups: bool


class Agenda:
    """Looks that change nothing and follow an index each."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, *, now: datetime) -> Open:
        """Return what the pump has to do. Whatever a sweep settles is of an open campaign, or is one of the three rest."""
        with self._database.read() as tx:
            campaigns = tx.rows(
                "SELECT DISTINCT provider, state FROM campaign WHERE state NOT IN ('completed', 'cancelled')"
            )
            sweep = bool(campaigns) or (
                tx.first(
                    "SELECT 1 WHERE EXISTS (SELECT 1 FROM batch WHERE lease_until <= :now)"
                    " OR EXISTS (SELECT 1 FROM batch WHERE receipts_until <= :now)"
                    " OR EXISTS (SELECT 1 FROM campaign c JOIN batch b ON b.campaign_id = c.id"
                    " WHERE c.state = 'cancelled' AND b.state = 'pending')",
                    now=micros(now),
                )
                is not None
            )
        releasing = (row.provider for row in campaigns if row.state in ("running", "scheduled"))
        return Open(sweep=sweep, providers=frozenset(releasing))

    def due(self, provider: str, *, now: datetime) -> Due:
        """Return which questions to a provider are due."""
        with self._database.read() as tx:
            receipts, look_ups = (
                tx.first(
                    f"SELECT 1 FROM batch WHERE provider = :provider AND {column} <= :now LIMIT 1",
                    provider=provider,
                    now=micros(now),
                )
                for column in ("receipts_due_at", "look_up_at")
            )
        return Due(receipts=receipts is not None, look_ups=look_ups is not None)
