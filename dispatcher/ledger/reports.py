"""Reads out what became of every input row, and the audit trail."""

import heapq
from collections.abc import Iterator
from datetime import datetime

from dispatcher.ledger.database import Database, moment, money
from dispatcher.ledger.messages import MESSAGES_OF_BATCH
from dispatcher.ledger.rows import Campaign, Event, ReportLine
from dispatcher.ledger.trail import totals


class Reports:
    """Read-only views of a campaign; rows are streamed, whatever their number."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def lines(self, campaign: Campaign) -> Iterator[ReportLine]:
        """Yield the fate of every input row, in the order of the rows."""
        yield from heapq.merge(self._messages(campaign), self._excluded(campaign), key=lambda line: line.row)

    def events(self, campaign: Campaign, *, most: int = 10_000) -> list[Event]:
        """Return the audit trail of a campaign, the oldest entry first."""
        with self._database.read() as tx:
            rows = tx.rows(
                "SELECT e.*, b.number FROM event e LEFT JOIN batch b ON b.id = e.batch_id"
                " WHERE e.campaign_id = :id ORDER BY e.id LIMIT :most",
                id=campaign.id,
                most=most,
            )
        return [
            Event(
                at=_at(row.at),
                who=row.who,
                subject=row.subject,
                what=row.what,
                campaign=campaign.public_id,
                batch=row.number,
                message=row.message_id,
                before=row.before,
                after=row.after,
                why=row.why,
            )
            for row in rows
        ]

    def discrepancies(self, campaign: Campaign) -> list[str]:
        """Return where the ledger's sums do not match its rows; an empty list is the promise kept."""
        with self._database.read() as tx:
            counted = totals(tx, campaign.id)
            actual: dict[str, int] = {}
            for row in tx.rows(
                f"SELECT m.state, COUNT(*) AS many, SUM(m.cost) AS cost FROM batch b JOIN message m"
                f" ON {MESSAGES_OF_BATCH} WHERE b.campaign_id = :id GROUP BY m.state",
                id=campaign.id,
            ):
                actual[f"message.{row.state}"] = int(row.many)
                actual["cost"] = actual.get("cost", 0) + int(row.cost or 0)
            for row in tx.rows(
                "SELECT state, COUNT(*) AS many FROM batch WHERE campaign_id = :id GROUP BY state",
                id=campaign.id,
            ):
                actual[f"batch.{row.state}"] = int(row.many)
            excluded = tx.rows("SELECT COUNT(*) AS many FROM excluded_row WHERE campaign_id = :id", id=campaign.id)[
                0
            ].many
        wrong = [
            f"{name}: counted {counted.get(name, 0)}, found {actual.get(name, 0)}"
            for name in sorted(set(counted) | set(actual))
            if name.startswith(("message.", "batch.", "cost")) and counted.get(name, 0) != actual.get(name, 0)
        ]
        messages = sum(many for name, many in actual.items() if name.startswith("message."))
        if messages + excluded != campaign.totals.rows:
            wrong.append(f"rows: {campaign.totals.rows} in the file, {messages + excluded} accounted for")
        return wrong

    def _messages(self, campaign: Campaign) -> Iterator[ReportLine]:
        with self._database.read() as tx:
            for row in tx.stream(
                'SELECT m."row" AS line, m.msisdn, m.state, m.reason, m.provider_message_id, m.settled_at,'
                f" m.segments, m.cost, b.number, b.submitted_at FROM batch b JOIN message m ON {MESSAGES_OF_BATCH}"
                " WHERE b.campaign_id = :id ORDER BY b.id, m.id",
                id=campaign.id,
            ):
                yield ReportLine(
                    row=row.line,
                    number=f"+{row.msisdn}",
                    state=row.state,
                    reason=row.reason,
                    provider_message_id=row.provider_message_id,
                    batch=row.number,
                    submitted_at=moment(row.submitted_at) if row.provider_message_id else None,
                    settled_at=moment(row.settled_at),
                    segments=row.segments,
                    cost=None if row.cost is None else money(row.cost),
                )

    def _excluded(self, campaign: Campaign) -> Iterator[ReportLine]:
        with self._database.read() as tx:
            for row in tx.stream(
                'SELECT "row" AS line, kind, number, reason FROM excluded_row WHERE campaign_id = :id ORDER BY "row"',
                id=campaign.id,
            ):
                yield ReportLine(row=row.line, number=row.number, state=row.kind, reason=row.reason)


def _at(stored: int) -> datetime:
    found = moment(stored)
    assert found is not None
    return found
