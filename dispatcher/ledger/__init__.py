"""The truth: everything that must survive, in SQLite or PostgreSQL; the only package with SQL in it."""

from dataclasses import dataclass

from dispatcher.errors import DispatcherError, LedgerError
from dispatcher.ledger.agenda import Agenda
from dispatcher.ledger.answers import Answered
from dispatcher.ledger.batches import Batches
from dispatcher.ledger.campaigns import Campaigns
from dispatcher.ledger.care import Care, Tally
from dispatcher.ledger.copying import copy_ledger, moved_to
from dispatcher.ledger.database import Database
from dispatcher.ledger.doubts import Doubts
from dispatcher.ledger.failover import Failover
from dispatcher.ledger.leases import Leases
from dispatcher.ledger.outcomes import Outcomes
from dispatcher.ledger.plans import Plans
from dispatcher.ledger.pressure import Pressure
from dispatcher.ledger.privacy import ERASED, Forgotten, Privacy
from dispatcher.ledger.receipts import Receipts
from dispatcher.ledger.reports import Reports
from dispatcher.ledger.rows import (
    Allowance,
    Attempt,
    AwaitedReceipts,
    BatchContent,
    Campaign,
    Claim,
    Counts,
    Doubt,
    Event,
    ExcludedRow,
    Exclusion,
    Fate,
    Head,
    NewCampaign,
    PlannedBatch,
    PlanTotals,
    ReportLine,
    SentTo,
    Suppression,
    WorkerSeen,
)
from dispatcher.ledger.saved_texts import SavedText, SavedTexts
from dispatcher.ledger.spending import Shortage, Spending
from dispatcher.ledger.suppressions import Suppressions
from dispatcher.ledger.timing import Timing
from dispatcher.ledger.versioning import check_database, migrate, stored_version, version

__all__ = [
    "ERASED",
    "Allowance",
    "Answered",
    "Attempt",
    "AwaitedReceipts",
    "BatchContent",
    "Campaign",
    "Claim",
    "Counts",
    "Doubt",
    "Event",
    "ExcludedRow",
    "Exclusion",
    "Fate",
    "Forgotten",
    "Head",
    "Ledger",
    "NewCampaign",
    "PlanTotals",
    "PlannedBatch",
    "ReportLine",
    "SavedText",
    "SentTo",
    "Shortage",
    "Suppression",
    "Tally",
    "WorkerSeen",
    "check_database",
    "copy_ledger",
    "open_ledger",
    "stored_version",
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
    agenda: Agenda
    reports: Reports
    spending: Spending
    care: Care
    failover: Failover
    privacy: Privacy
    timing: Timing
    pressure: Pressure
    texts: SavedTexts

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
        LedgerError: it cannot be opened, is of a newer version, or was copied elsewhere.
    """
    database = Database(url, pool_size=pool_size)
    try:
        migrate(database)
        if (elsewhere := moved_to(database)) is not None:
            raise LedgerError(
                f"the ledger at {database.shown_url} was copied to {elsewhere}, which is in use since:"
                " set DISPATCHER_LEDGER_URL to that one"
            )
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
        agenda=Agenda(database),
        reports=Reports(database),
        spending=Spending(database),
        care=Care(database),
        failover=Failover(database),
        privacy=Privacy(database),
        timing=Timing(database),
        pressure=Pressure(database),
        texts=SavedTexts(database),
    )
