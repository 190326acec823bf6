"""Claims batches, gives out what they say, and records each attempt before its request."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

from dispatcher.ledger.answers import Answered
from dispatcher.ledger.care import RELEASED
from dispatcher.ledger.claims import (
    NOT_EXPIRED,
    Taken,
    Wish,
    begin,
    best,
    best_to_claim,
    claim,
    claim_and_begin,
    due_of,
    read_content,
)
from dispatcher.ledger.database import Database, micros
from dispatcher.ledger.lots import claim_and_begin_several
from dispatcher.ledger.rows import Allowance, BatchContent, Claim, Head
from dispatcher.ledger.together import Together
from dispatcher.ledger.trail import ByCampaign, count_several
from dispatcher.message import MessageState

T = TypeVar("T")

_TIMES = 20
"""Times that a worker whom others outrun looks for a batch, before its slice ends: the pump wakes it again."""


class Batches:
    """The submitter's way to work. A method that moves a batch is a compare-and-set on its attempt."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._together: dict[str, Together[Wish, Taken | None]] = defaultdict(
            lambda: Together(database.write, claim_and_begin_several)
        )

    def head(self, provider: str, *, now: datetime) -> Head | None:
        """Return what is known of the batch that would be claimed now, None where none is due."""
        with self._database.read() as tx:
            campaign = best(tx, provider, now=now)
            if campaign is None:
                return None
            batch = tx.first(
                f"SELECT b.segments FROM batch b WHERE {due_of(campaign)} LIMIT 1",
                campaign_id=campaign.id,
                now=micros(now),
            )
        return None if batch is None else Head(segments=int(batch.segments), options=campaign.options != "{}")

    def claim(
        self, provider: str, *, owner: str, now: datetime, lease: timedelta, allowance: Allowance | None = None
    ) -> Claim | None:
        """Take the best batch that is due: highest priority, then the campaign that has been served least.

        Its money is watched where the campaign has a budget, or the allowance one for the day. Messages whose numbers
        were suppressed since planning leave the batch here. None where nothing is due.
        """

        def once() -> Claim | None:
            with self._database.write() as tx:
                campaign = best_to_claim(tx, provider, now=now)
                if campaign is None:
                    return None
                changes: ByCampaign = {}
                taken = claim(
                    tx, provider, campaign, owner=owner, now=now, lease=lease, allowance=allowance, changes=changes
                )
                if taken is not None:
                    count_several(tx, changes, batch_id=taken.batch_id)
                return taken

        return once() or self._anew(once, provider, now=now)

    def claim_and_begin(
        self,
        provider: str,
        *,
        owner: str,
        now: datetime,
        lease: timedelta,
        ready: Callable[[Claim, BatchContent], bool],
        allowance: Allowance | None = None,
        small: bool = False,
        before: Answered | None = None,
    ) -> Taken | None:
        """Claim the best batch that is due and record its attempt at once, in one commit: its permit is at hand.

        The attempt is recorded, and the last value True, where `ready` says so of what was claimed, and the budgets
        allow it. Else the batch is claimed and no more. None where nothing is due. `small` says that the provider's
        batches carry few messages: what several threads want at the same time is then done in one go, and `before`, what
        came of the last request, is recorded with it.
        """
        wish = Wish(
            provider=provider, owner=owner, now=now, lease=lease, ready=ready, allowance=allowance, before=before
        )
        if small or before is not None:
            ask, recorded = self._together[provider].ask, replace(wish, before=None)
            return ask(wish) or self._anew(lambda: ask(recorded), provider, now=now)

        def once() -> Taken | None:
            with self._database.write() as tx:
                campaign = best_to_claim(tx, provider, now=now)
                changes: ByCampaign = {}
                taken = None if campaign is None else claim_and_begin(tx, campaign, wish, changes)
                if taken is not None:
                    count_several(tx, changes, batch_id=taken[0].batch_id)
                return taken

        return once() or self._anew(once, provider, now=now)

    def _anew(self, take: Callable[[], T | None], provider: str, *, now: datetime) -> T | None:
        """Take again while something is due.

        Between the choice of a campaign and the lock on its row, its last batch may have gone to another worker; on SQLite
        nobody comes between.
        """
        for _ in range(_TIMES if self._database.postgresql else 0):
            if not self.due(provider, now=now, most=1):
                return None
            if (taken := take()) is not None:
                return taken
        return None

    def content(self, claim: Claim) -> BatchContent:
        """Return what a claimed batch is to say, to those of its messages that are still queued."""
        with self._database.read() as tx:
            return read_content(tx, claim.batch_id, MessageState.QUEUED)

    def begin_attempt(
        self, claim: Claim, *, now: datetime, lease: timedelta, scheduled_for: datetime | None = None
    ) -> bool:
        """Record that the request is about to be made; only after this may it be.

        `scheduled_for` is when the provider is asked to send, where it keeps the time.

        False, with nothing changed, where the claim no longer gives the right to: the campaign was paused or
        cancelled or has moved to another provider, the lease has ended or is another's, a recipient was suppressed
        since the claim, or a budget does not allow it.
        """
        with self._database.write() as tx:
            return begin(tx, claim, now=now, lease=lease, scheduled_for=scheduled_for)

    def due(self, provider: str, *, now: datetime, most: int) -> int:
        """Return how many batches could be claimed now, counting no further than `most`."""
        with self._database.read() as tx:
            rows = tx.rows(
                "SELECT 1 FROM campaign c JOIN batch b ON b.campaign_id = c.id"
                f" WHERE c.provider = :provider AND c.state IN ('running', 'scheduled') AND {NOT_EXPIRED}"
                f" AND b.state = 'pending' AND b.due_at <= :now{RELEASED} LIMIT :most",
                provider=provider,
                now=micros(now),
                most=most,
            )
        return len(rows)
