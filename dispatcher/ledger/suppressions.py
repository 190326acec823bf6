"""The suppression list: numbers that are never sent to."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from dispatcher.ledger.database import Database, micros, moment
from dispatcher.ledger.privacy import pseudonyms_among
from dispatcher.ledger.rows import Suppression

_PORTION = 10_000


class Suppressions:
    """Numbers (E.164 without the plus) that nothing may be sent to."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def among(self, numbers: Sequence[int]) -> set[int]:
        """Return those of the numbers that are suppressed, by themselves or by their pseudonym."""
        found: set[int] = set()
        with self._database.read() as tx:
            if tx.first("SELECT 1 FROM suppression WHERE scope = '' LIMIT 1") is None:
                return found
            for start in range(0, len(numbers), _PORTION):
                portion = numbers[start : start + _PORTION]
                rows = tx.rows(
                    f"SELECT msisdn FROM suppression WHERE scope = '' AND msisdn {tx.in_ids}",
                    ids=tx.ids(portion),
                )
                found.update(int(row.msisdn) for row in rows)
            hidden = pseudonyms_among(tx, numbers)
            if hidden:
                rows = tx.rows("SELECT msisdn FROM suppression WHERE msisdn < 0")
                found.update(hidden[int(row.msisdn)] for row in rows if int(row.msisdn) in hidden)
        return found

    def add(self, reasons: Mapping[int, str], *, source: str, now: datetime) -> int:
        """Suppress numbers (number → reason); return how many were not suppressed before."""
        added = 0
        with self._database.write() as tx:
            for number, reason in sorted(reasons.items()):
                added += tx.run(
                    "INSERT INTO suppression (msisdn, scope, reason, source, since)"
                    " VALUES (:msisdn, '', :reason, :source, :since) ON CONFLICT (msisdn, scope) DO NOTHING",
                    msisdn=number,
                    reason=reason,
                    source=source,
                    since=micros(now),
                )
        return added

    def remove(self, numbers: Sequence[int]) -> int:
        """Lift the suppression of numbers; return how many were suppressed."""
        with self._database.write() as tx:
            return tx.run(
                f"DELETE FROM suppression WHERE scope = '' AND msisdn {tx.in_ids}",
                ids=tx.ids(numbers),
            )

    def entries(self) -> Iterator[Suppression]:
        """Yield all suppressed numbers, in order; not those of which only a pseudonym is left."""
        with self._database.read() as tx:
            for row in tx.stream(
                "SELECT msisdn, reason, source, since FROM suppression"
                " WHERE scope = '' AND msisdn > 0 ORDER BY msisdn"
            ):
                since = moment(row.since)
                assert since is not None
                yield Suppression(number=int(row.msisdn), reason=row.reason, source=row.source, since=since)

    def count(self) -> int:
        """Return how many numbers are suppressed."""
        with self._database.read() as tx:
            row = tx.first("SELECT COUNT(*) AS many FROM suppression")
        return 0 if row is None else int(row.many)
