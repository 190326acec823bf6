"""Reads out what became of every input row, and the audit trail."""

import heapq
from collections.abc import Collection, Iterator
from datetime import datetime

from dispatcher.ledger.database import Database, moment, money
from dispatcher.ledger.messages import MESSAGES_OF_BATCH
from dispatcher.ledger.privacy import shown_number
from dispatcher.ledger.rows import Attempt, Campaign, Event, Fate, ReportLine, SentTo
from dispatcher.ledger.trail import totals
from dispatcher.message import MESSAGES_PER_BATCH, MessageState


class Reports:
    """Read-only views of a campaign; rows are streamed, whatever their number."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def lines(self, campaign: Campaign) -> Iterator[ReportLine]:
        """Yield the fate of every input row, in the order of the rows."""
        yield from heapq.merge(self._messages(campaign), self._excluded(campaign), key=lambda line: line.row)

    def rows_by_number(self, campaign: Campaign) -> dict[int, int]:
        """Return the row of every number that the campaign has a message for."""
        with self._database.read() as tx:
            return {
                int(row.msisdn): int(row.line)
                for row in tx.stream(
                    f'SELECT m.msisdn, m."row" AS line FROM batch b JOIN message m ON {MESSAGES_OF_BATCH}'
                    " WHERE b.campaign_id = :id",
                    id=campaign.id,
                )
            }

    def retries(self, campaign: Campaign) -> int:
        """Return how many campaigns send again to some of this one."""
        with self._database.read() as tx:
            return int(
                tx.rows(
                    "SELECT COUNT(*) AS many FROM campaign WHERE retry_of = :name AND state <> 'draft'",
                    name=campaign.public_id,
                )[0].many
            )

    def retried(self, campaign: Campaign) -> dict[int, str]:
        """Return the rows of a campaign that others have sent again, each with the last of those."""
        with self._database.read() as tx:
            return {
                int(row.line): str(row.public_id)
                for row in tx.stream(
                    'SELECT c.public_id, m."row" AS line FROM campaign c JOIN batch b ON b.campaign_id = c.id'
                    f" JOIN message m ON {MESSAGES_OF_BATCH} WHERE c.retry_of = :name ORDER BY c.id",
                    name=campaign.public_id,
                )
            }

    def sent_to(self, campaign: Campaign, states: Collection[MessageState]) -> Iterator[SentTo]:
        """Yield the messages in one of some states, batch by batch, with what their text was made of."""
        with self._database.read() as tx:
            batches = tx.rows(
                "SELECT b.id, b.variant, p.fields FROM batch b LEFT JOIN payload p ON p.batch_id = b.id"
                " WHERE b.campaign_id = :id ORDER BY b.id",
                id=campaign.id,
            )
            for batch in batches:
                first = int(batch.id) * MESSAGES_PER_BATCH
                rows = [
                    row
                    for row in tx.rows(
                        'SELECT id, "row" AS line, msisdn, state FROM message WHERE id >= :first AND id < :end ORDER BY id',
                        first=first,
                        end=first + MESSAGES_PER_BATCH,
                    )
                    if row.state in states
                ]
                if rows:
                    yield SentTo(
                        rows=[int(row.line) for row in rows],
                        numbers=[int(row.msisdn) for row in rows],
                        positions=[int(row.id) - first for row in rows],
                        fields=None if batch.fields is None else bytes(batch.fields),
                        variant=batch.variant,
                    )

    def fates(self, campaign: Campaign) -> Iterator[Fate]:
        """Yield what became of every message, in no particular order."""
        with self._database.read() as tx:
            for row in tx.stream(
                "SELECT m.msisdn, m.state, m.reason, m.settled_at, b.submitted_at, b.scheduled_for, b.provider FROM batch b"
                f" JOIN message m ON {MESSAGES_OF_BATCH} WHERE b.campaign_id = :id",
                id=campaign.id,
            ):
                began = max(row.submitted_at or 0, row.scheduled_for or 0)
                yield Fate(
                    provider=row.provider,
                    number=int(row.msisdn),
                    state=row.state,
                    reason=row.reason,
                    began_at=began / 1e6 if began else None,
                    settled_at=None if row.settled_at is None else row.settled_at / 1e6,
                )

    def excluded_reasons(self, campaign: Campaign) -> dict[tuple[str, str], int]:
        """Return how many rows became no message, by kind and reason; duplicates, whose reasons all differ, are left out."""
        with self._database.read() as tx:
            return {
                (str(row.kind), str(row.reason)): int(row.many)
                for row in tx.rows(
                    "SELECT kind, reason, COUNT(*) AS many FROM excluded_row"
                    " WHERE campaign_id = :id AND kind <> 'duplicate' GROUP BY kind, reason",
                    id=campaign.id,
                )
            }

    def attempts(self, campaign: Campaign) -> list[Attempt]:
        """Return every request that was made for a campaign, in the order of their beginning."""
        with self._database.read() as tx:
            return [
                Attempt(
                    began_at=_at(row.started_at),
                    provider=row.provider,
                    seconds=None if row.ended_at is None else (row.ended_at - row.started_at) / 1e6,
                    messages=row.messages,
                    segments=row.segments,
                    outcome=row.outcome,
                )
                for row in tx.rows(
                    "SELECT a.started_at, a.ended_at, a.outcome, b.messages, b.segments, b.provider FROM batch b"
                    " JOIN attempt a ON a.batch_id = b.id WHERE b.campaign_id = :id ORDER BY a.started_at",
                    id=campaign.id,
                )
            ]

    def events(self, campaign: Campaign, *, batch: int | None = None, most: int = 10_000) -> list[Event]:
        """Return the audit trail of a campaign, the oldest entry first; of one batch: its own and the campaign's."""
        one = "" if batch is None else " AND (e.batch_id IS NULL OR b.number = :batch)"
        parameters = {} if batch is None else {"batch": batch}
        with self._database.read() as tx:
            rows = tx.rows(
                "SELECT e.*, b.number FROM event e LEFT JOIN batch b ON b.id = e.batch_id"
                f" WHERE e.campaign_id = :id{one} ORDER BY e.id LIMIT :most",
                id=campaign.id,
                most=most,
                **parameters,
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

    def line(self, campaign: Campaign, row: int) -> ReportLine | None:
        """Return the fate of one input row, None where the campaign has no such row."""
        found = [*self._messages(campaign, row=row), *self._excluded(campaign, row=row)]
        return found[0] if found else None

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

    def _messages(self, campaign: Campaign, *, row: int | None = None) -> Iterator[ReportLine]:
        one = "" if row is None else ' AND m."row" = :line'
        parameters = {} if row is None else {"line": row}
        # Batches follow the rows but where they were cut by place or by text, or were read from such.
        cut = campaign.retry_of is not None or {"window", "text_by"} & campaign.rules.keys()
        order = 'm."row"' if cut else "b.id, m.id"
        with self._database.read() as tx:
            for found in tx.stream(
                'SELECT m."row" AS line, m.msisdn, m.state, m.reason, m.provider_message_id, m.settled_at,'
                f" m.segments, m.cost, b.number, b.submitted_at FROM batch b JOIN message m ON {MESSAGES_OF_BATCH}"
                f" WHERE b.campaign_id = :id{one} ORDER BY {order}",
                id=campaign.id,
                **parameters,
            ):
                yield ReportLine(
                    row=found.line,
                    number=shown_number(int(found.msisdn)),
                    state=found.state,
                    reason=found.reason,
                    provider_message_id=found.provider_message_id,
                    batch=found.number,
                    submitted_at=moment(found.submitted_at) if found.provider_message_id else None,
                    settled_at=moment(found.settled_at),
                    segments=found.segments,
                    cost=None if found.cost is None else money(found.cost),
                )

    def _excluded(self, campaign: Campaign, *, row: int | None = None) -> Iterator[ReportLine]:
        one = "" if row is None else ' AND "row" = :line'
        parameters = {} if row is None else {"line": row}
        with self._database.read() as tx:
            for found in tx.stream(
                'SELECT "row" AS line, kind, number, reason FROM excluded_row'
                f' WHERE campaign_id = :id{one} ORDER BY "row"',
                id=campaign.id,
                **parameters,
            ):
                yield ReportLine(row=found.line, number=found.number, state=found.kind, reason=found.reason)


def _at(stored: int) -> datetime:
    found = moment(stored)
    assert found is not None
    return found
