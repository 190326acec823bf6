"""Moves the times at which pending batches fall due: held until hours begin, or paced over a time."""

from datetime import datetime, timedelta

from dispatcher.campaign import CampaignState
from dispatcher.ledger.database import Database, Transaction, micros, moment
from dispatcher.ledger.rows import Claim
from dispatcher.ledger.trail import note

_MICROSECOND = timedelta(microseconds=1)
_MINUTE = 60_000_000


class Timing:
    """When the pending batches of a campaign fall due, by the zones that their recipients are in."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def zones(self, campaign_id: int) -> list[str | None]:
        """Return the zones of a campaign's pending batches; None where it makes no difference between zones."""
        with self._database.read() as tx:
            return [
                row.zone
                for row in tx.rows(
                    "SELECT DISTINCT zone FROM batch WHERE campaign_id = :id AND state = 'pending' ORDER BY zone",
                    id=campaign_id,
                )
            ]

    def waiting(self, campaign_id: int) -> list[tuple[str | None, datetime, int]]:
        """Return (zone, when the first falls due, messages) of a campaign's pending batches."""
        found = []
        with self._database.read() as tx:
            for row in tx.rows(
                "SELECT zone, MIN(due_at) AS due_at, SUM(messages) AS messages FROM batch"
                " WHERE campaign_id = :id AND state = 'pending' GROUP BY zone",
                id=campaign_id,
            ):
                due_at = moment(row.due_at)
                assert due_at is not None
                found.append((row.zone, due_at, int(row.messages)))
        return found

    def hold(self, claim: Claim, *, until: datetime, why: str, now: datetime) -> int:
        """Hold with a claimed batch the pending ones that wait for the same hours; return how many.

        So a window that closes on a thousand batches costs one claim, not a thousand.
        """
        with self._database.write() as tx:
            _lock(tx, claim.campaign_id)
            many = tx.run(
                "UPDATE batch SET due_at = :until WHERE campaign_id = :id AND state = 'pending' AND due_at < :until"
                " AND zone = :zone AND send_at IS NOT DISTINCT FROM :send_at"
                if tx.postgresql
                else "UPDATE batch SET due_at = :until WHERE campaign_id = :id AND state = 'pending'"
                " AND due_at < :until AND zone = :zone AND send_at IS :send_at",
                until=micros(until),
                id=claim.campaign_id,
                zone=claim.zone,
                send_at=None if claim.send_at is None else micros(claim.send_at),
            )
            if many:
                note(
                    tx,
                    at=now,
                    who=claim.owner,
                    subject="batch",
                    what=f"{many} held",
                    campaign_id=claim.campaign_id,
                    why=why,
                )
            return many

    def begun(self, campaign_id: int) -> tuple[datetime | None, list[tuple[datetime, datetime | None]]]:
        """Return when a campaign was made live, and its pauses; the last has no end where it is paused now."""
        live: datetime | None = None
        pauses: list[tuple[datetime, datetime | None]] = []
        with self._database.read() as tx:
            for row in tx.rows(
                "SELECT at, before, after FROM event WHERE campaign_id = :id AND subject = 'campaign'"
                " AND (before IN ('draft', 'paused') OR after = 'paused') ORDER BY id",
                id=campaign_id,
            ):
                at = moment(row.at)
                assert at is not None
                if row.after == CampaignState.PAUSED:
                    pauses.append((at, None))
                elif row.before == CampaignState.PAUSED:
                    pauses[-1] = (pauses[-1][0], at)
                else:
                    live = at
        return live, pauses

    def pace(
        self,
        campaign_id: int,
        *,
        zone: str | None,
        step: timedelta,
        begin: timedelta,
        end: timedelta,
        at: datetime,
    ) -> int:
        """Give the pending batches of a zone their times: batch number 1 at 0, each that follows a `step` later.

        Of these this places those from `begin` to before `end`, as if `begin` were `at`. A batch that a provider
        will hold to send later keeps when it is handed over; its send time moves, by whole minutes.
        """
        offset = "CAST(number - 1 AS BIGINT) * :step"
        placed = f"({offset} + :shift)"
        with self._database.write() as tx:
            _lock(tx, campaign_id)
            return tx.run(
                "UPDATE batch SET"
                f" due_at = CASE WHEN send_at IS NULL OR send_at = due_at THEN {placed} ELSE due_at END,"
                f" send_at = CASE WHEN send_at IS NULL THEN NULL WHEN send_at = due_at THEN {placed}"
                f" ELSE {placed} - {placed} % {_MINUTE} END"
                " WHERE campaign_id = :id AND state = 'pending' AND COALESCE(zone, '') = :zone"
                f" AND {offset} >= :begin AND {offset} < :end",
                id=campaign_id,
                zone=zone or "",
                step=step // _MICROSECOND,
                shift=micros(at) - begin // _MICROSECOND,
                begin=begin // _MICROSECOND,
                end=end // _MICROSECOND,
            )


def _lock(tx: Transaction, campaign_id: int) -> None:
    """Take the campaign first, as a claim does, so that the two never wait for each other."""
    if tx.postgresql:
        tx.first("SELECT 1 FROM campaign WHERE id = :id FOR NO KEY UPDATE", id=campaign_id)
