"""The truth: everything that must survive, in SQLite or PostgreSQL; the only package with SQL in it."""

from dataclasses import dataclass

from dispatcher.errors import DispatcherError
from dispatcher.ledger.batches import Batches
from dispatcher.ledger.campaigns import Campaigns
from dispatcher.ledger.database import Database
from dispatcher.ledger.doubts import Doubts
from dispatcher.ledger.leases import Leases
from dispatcher.ledger.outcomes import Outcomes
from dispatcher.ledger.plans import Plans
from dispatcher.ledger.pressure import Pressure
from dispatcher.ledger.receipts import Receipts
from dispatcher.ledger.reports import Reports
from dispatcher.ledger.rows import (
    AwaitedReceipts,
    BatchContent,
    Campaign,
    Claim,
    Counts,
    Doubt,
    Event,
    ExcludedRow,
    Exclusion,
    NewCampaign,
    PlannedBatch,
    PlanTotals,
    ReportLine,
    Settlement,
    Suppression,
    WorkerSeen,
)
from dispatcher.ledger.suppressions import Suppressions
from dispatcher.ledger.timing import Timing
from dispatcher.ledger.versioning import migrate, version

__all__ = [
    "AwaitedReceipts",
    "BatchContent",
    "Campaign",
    "Claim",
    "Counts",
    "Doubt",
    "Event",
    "ExcludedRow",
    "Exclusion",
    "Ledger",
    "NewCampaign",
    "PlanTotals",
    "PlannedBatch",
    "ReportLine",
    "Settlement",
    "Suppression",
    "WorkerSeen",
    "open_ledger",
]


@dataclass(frozen=True, slots=True)
class Ledger:
    """One ledger, by who asks it: each part holds the verbs of one operation."""

    database: Database
    campaigns: Campaigns
    plans: Plans
    batches: Batches
    outcomes: Outcomes
    doubts: Doubts
    receipts: Receipts
    suppressions: Suppressions
    leases: Leases
    reports: Reports
    timing: Timing
    pressure: Pressure

    @property
    def version(self) -> str | None:
        """The version of the schema."""
        return version(self.database)

    def close(self) -> None:
        """Close all connections."""
        self.database.close()


def open_ledger(url: str, *, pool_size: int = 8) -> Ledger:
    """Open the ledger at a database URL, bringing its schema to this program's version first.

    Raises:
        SettingsError: the URL is not one.
        LedgerError: it cannot be opened, or is of a newer version.
    """
    database = Database(url, pool_size=pool_size)
    try:
        migrate(database)
    except DispatcherError:
        database.close()
        raise
    return Ledger(
        database=database,
        campaigns=Campaigns(database),
        plans=Plans(database),
        batches=Batches(database),
        outcomes=Outcomes(database),
        doubts=Doubts(database),
        receipts=Receipts(database),
        suppressions=Suppressions(database),
        leases=Leases(database),
        reports=Reports(database),
        timing=Timing(database),
        pressure=Pressure(database),
    )
