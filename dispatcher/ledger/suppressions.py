"""The suppression lists: numbers that are never sent to, by anyone or in the name of one brand."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from dispatcher.ledger.database import Database, micros, moment
from dispatcher.ledger.privacy import pseudonyms_among
from dispatcher.ledger.rows import Suppression

_PORTION = 10_000


class Suppressions:
    """Numbers (E.164 without the plus) that nothing may be sent to: brand "" is the list that holds for all."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def among(self, numbers: Sequence[int], *, brand: str = "") -> set[int]:
        """Return those of the numbers that are suppressed for all, or for the brand; also by their pseudonym."""
        found: set[int] = set()
        with self._database.read() as tx:
            if tx.first("SELECT 1 FROM suppression LIMIT 1") is None:
                return found
            for start in range(0, len(numbers), _PORTION):
                portion = numbers[start : start + _PORTION]
                rows = tx.rows(
                    f"SELECT msisdn FROM suppression WHERE scope IN ('', :brand) AND msisdn {tx.in_ids}",
                    brand=brand,
                    ids=tx.ids(portion),
                )
                found.update(int(row.msisdn) for row in rows)
            hidden = pseudonyms_among(tx, numbers)
            if hidden:
                rows = tx.rows(
                    "SELECT msisdn FROM suppression WHERE msisdn < 0 AND scope IN ('', :brand)", brand=brand
                )
                found.update(hidden[int(row.msisdn)] for row in rows if int(row.msisdn) in hidden)
        return found

    def add(self, reasons: Mapping[int, str], *, source: str, now: datetime, brand: str = "") -> int:
        """Suppress numbers (number → reason) on one list; return how many were not on it before."""
        added = 0
        with self._database.write() as tx:
            for number, reason in sorted(reasons.items()):
                added += tx.run(
                    "INSERT INTO suppression (msisdn, scope, reason, source, since)"
                    " VALUES (:msisdn, :brand, :reason, :source, :since) ON CONFLICT (msisdn, scope) DO NOTHING",
                    msisdn=number,
                    brand=brand,
                    reason=reason,
                    source=source,
                    since=micros(now),
                )
        return added

    def remove(self, numbers: Sequence[int], *, brand: str = "") -> int:
        """Take numbers off one list; return how many were on it."""
        with self._database.write() as tx:
            return tx.run(
                f"DELETE FROM suppression WHERE scope = :brand AND msisdn {tx.in_ids}",
                brand=brand,
                ids=tx.ids(numbers),
            )

    def entries(self, *, brand: str | None = None) -> Iterator[Suppression]:
        """Yield the suppressed numbers, in order: of one list, or of all where `brand` is None.

        Those of which only a pseudonym is left are not among them.
        """
        with self._database.read() as tx:
            one = "" if brand is None else " AND scope = :brand"
            parameters = {} if brand is None else {"brand": brand}
            for row in tx.stream(
                "SELECT msisdn, scope, reason, source, since FROM suppression"
                f" WHERE msisdn > 0{one} ORDER BY msisdn, scope",
                **parameters,
            ):
                since = moment(row.since)
                assert since is not None
                yield Suppression(
                    number=int(row.msisdn), reason=row.reason, source=row.source, since=since, brand=row.scope
                )

    def brands(self, numbers: Sequence[int]) -> set[str]:
        """Return the lists that any of the numbers is on; "" is the one that holds for all."""
        with self._database.read() as tx:
            return {
                str(row.scope)
                for row in tx.rows(
                    f"SELECT DISTINCT scope FROM suppression WHERE msisdn {tx.in_ids}", ids=tx.ids(numbers)
                )
            }

    def count(self) -> int:
        """Return how many numbers are suppressed, on any list."""
        with self._database.read() as tx:
            row = tx.first("SELECT COUNT(DISTINCT msisdn) AS many FROM suppression")
        return 0 if row is None else int(row.many)
