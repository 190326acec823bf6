"""Contact pressure: which numbers have been, or are about to be, texted so often that they should be left alone."""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dispatcher.ledger.database import Database, micros
from dispatcher.ledger.messages import MESSAGES_OF_BATCH

# What arrived, may have, or may yet. What was refused or stopped, or by its receipt never arrived, pressed nobody.
_COUNTED = "('queued', 'submitted', 'delivered', 'unconfirmed', 'unknown')"

# When a message reaches its recipient, as far as is known.
_GOES_AT = (
    "COALESCE(CASE WHEN b.state <> 'pending' THEN COALESCE(b.scheduled_for, b.submitted_at) END, b.send_at, b.due_at)"
)


@dataclass(frozen=True, slots=True)
class Pressed:
    """Numbers that have as many messages as they may have, sorted; eight bytes each."""

    numbers: "array[int]"

    def __contains__(self, number: int) -> bool:
        at = bisect_left(self.numbers, number)
        return at < len(self.numbers) and self.numbers[at] == number

    def among(self, numbers: Sequence[int]) -> set[int]:
        """Return those of the numbers that are pressed."""
        return {number for number in numbers if number in self} if self.numbers else set()


class Pressure:
    """Counts messages by number, over all campaigns."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def pressed(self, *, at_most: int, since: datetime, until: datetime) -> Pressed:
        """Return the numbers that have `at_most` messages or more, in one scan: there is no index on numbers.

        Counted are the messages of all campaigns that went at `since` or later, or are still to go before `until`;
        those of drafts too, which may go.
        """
        with self._database.read() as tx:
            rows = tx.stream(
                "SELECT m.msisdn FROM campaign c JOIN batch b ON b.campaign_id = c.id"
                f" JOIN message m ON {MESSAGES_OF_BATCH}"
                " WHERE (c.finished_at IS NULL OR c.finished_at >= :since) AND b.state NOT IN ('refused', 'cancelled')"
                f" AND (b.state = 'pending' OR {_GOES_AT} >= :since) AND {_GOES_AT} < :until"
                f" AND m.state IN {_COUNTED}"
                " GROUP BY m.msisdn HAVING COUNT(*) >= :at_most ORDER BY m.msisdn",
                since=micros(since),
                until=micros(until),
                at_most=at_most,
            )
            return Pressed(array("q", (row[0] for row in rows)))
