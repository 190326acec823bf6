"""A small model of the ledger, and the promises that it is held to after every step of the state machine."""

import itertools
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
)

from dispatcher.batch import BATCH_MOVES, BatchState
from dispatcher.campaign import CAMPAIGN_MOVES, FINAL_CAMPAIGN_STATES, CampaignState
from dispatcher.ledger import (
    BatchContent,
    Claim,
    Doubt,
    Ledger,
    PlanTotals,
)
from dispatcher.message import MESSAGE_MOVES, MESSAGES_PER_BATCH, OPEN_MESSAGE_STATES, MessageState
from dispatcher.provider import Answers, Refusal
from tests.ledger.conftest import NOW, WINDOW

PROVIDER = "winsms"
M, B, C = MessageState, BatchState, CampaignState

ENDED = {M.DELIVERED, M.UNDELIVERED, M.EXPIRED}
MESSAGES_OF: dict[BatchState, set[MessageState]] = {
    B.PENDING: {M.QUEUED, M.SUPPRESSED},
    B.CLAIMED: {M.QUEUED, M.SUPPRESSED},
    B.SUBMITTING: {M.QUEUED, M.SUPPRESSED},
    B.SUBMITTED: set(M) - {M.QUEUED},
    B.REFUSED: {M.REFUSED, M.SUPPRESSED, M.UNCONFIRMED} | ENDED,
    B.UNKNOWN: {M.UNKNOWN, M.SUPPRESSED, M.UNCONFIRMED} | ENDED,
    B.CANCELLED: {M.CANCELLED, M.SUPPRESSED},
}
"""Which states the messages of a batch may be in."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one look at the rows shows."""

    campaigns: dict[int, CampaignState]
    batches: dict[int, "SeenBatch"]
    messages: dict[int, MessageState]


@dataclass(frozen=True, kw_only=True)
class SeenBatch:
    """One batch as its row has it."""

    campaign: int
    state: BatchState
    attempt: int
    lease: int | None


@dataclass(kw_only=True)
class Held:
    """A claim in the hands of a worker that may be slow, doubled or dead."""

    claim: Claim
    content: BatchContent
    began: bool = False


def _closure(moves: dict) -> set[tuple]:
    """Moves, and those that one transaction may make through one state between."""
    single = {(a, b) for a, targets in moves.items() for b in targets}
    return single | {(a, d) for a, b in single for c, d in single if b == c}


MOVES = {kind: _closure(moves) for kind, moves in (("m", MESSAGE_MOVES), ("b", BATCH_MOVES), ("c", CAMPAIGN_MOVES))}


class LedgerModel(RuleBasedStateMachine):
    """What is known of the ledger from outside, and how it may change."""

    ledger: Ledger

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.names = itertools.count(1)
        self.ids = itertools.count(1)
        self.drafts: list[tuple[int, str, PlanTotals]] = []
        self.live: dict[int, str] = {}
        self.held: list[Held] = []
        self.doubts: list[tuple[Doubt, BatchContent]] = []
        self.gone_out: set[int] = set()  # messages that a provider may have: never to be attempted again
        self.accepted: set[int] = set()  # that were ever seen as submitted
        self.moved: set[int] = set()  # campaigns, in the last step
        self.turn = 0
        self.seen = Seen(campaigns={}, batches={}, messages={})

    # --- the promises -------------------------------------------------------------------------------------------------

    @invariant()
    def promises(self) -> None:
        """Hold everything after every step."""
        self.look()
        self.sums()
        self.doubts_are_doubts()

    def look(self) -> None:
        """Hold what is there against what was there."""
        before, self.seen = self.seen, self._look()
        after = self.seen
        for kind, old, new in (
            ("m", before.messages, after.messages),
            ("c", before.campaigns, after.campaigns),
            (
                "b",
                {one: batch.state for one, batch in before.batches.items()},
                {one: batch.state for one, batch in after.batches.items()},
            ),
        ):
            for one, state in old.items():
                if one in new and new[one] is not state:
                    assert (state, new[one]) in MOVES[kind], f"{kind} {one}: {state} to {new[one]}"
                # Only a draft may go.
                assert one in new or (kind != "c" or state is C.DRAFT)
        assert self.live.keys() <= after.campaigns.keys()
        for batch_id, batch in after.batches.items():
            assert (batch.lease is not None) == (batch.state in (B.CLAIMED, B.SUBMITTING))
            inside = {after.messages[one] for one in self._messages(batch_id)}
            assert inside
            assert inside <= MESSAGES_OF[batch.state], f"batch {batch_id} is {batch.state} with {inside}"
        self.accepted |= {one for one, state in after.messages.items() if state is M.SUBMITTED}
        self.moved = {
            after.batches[one // MESSAGES_PER_BATCH].campaign
            for one, state in after.messages.items()
            if before.messages.get(one) is not state
        } | {batch.campaign for one, batch in after.batches.items() if before.batches.get(one) != batch}

    def sums(self, *, all_of_them: bool = False) -> None:
        """Hold the sums against the rows, of the campaigns in which something moved and of one more, in turn."""
        self.turn += 1
        for place, (campaign_id, name) in enumerate(self.live.items()):
            if not all_of_them and campaign_id not in self.moved and self.turn % len(self.live) != place:
                continue
            campaign = self.ledger.campaigns.get(name)
            assert self.ledger.reports.discrepancies(campaign) == []
            counts = self.ledger.campaigns.counts(campaign)
            assert sum(counts.messages.values()) == campaign.totals.messages
            assert sum(counts.batches.values()) == campaign.totals.batches
            assert min([*counts.messages.values(), *counts.batches.values()]) >= 0
            assert counts.segments_submitted == sum(
                1 + one % MESSAGES_PER_BATCH
                for one in self.accepted
                if self.seen.batches[one // MESSAGES_PER_BATCH].campaign == campaign_id
            )
            if campaign.state is C.COMPLETED:
                assert not any(counts.messages[state] for state in OPEN_MESSAGE_STATES)
                # One may still be claimed: of which the claim itself left nobody to send to.
                assert not counts.batches[B.PENDING]
                assert not counts.batches[B.SUBMITTING]

    def doubts_are_doubts(self) -> None:
        """Only what is unknown is looked up."""
        for doubt in self.ledger.doubts.due(PROVIDER, now=self.now + timedelta(days=99)):
            assert self.seen.batches[doubt.batch_id].state in (B.UNKNOWN, B.SUBMITTED)

    def teardown(self) -> None:
        """Whatever happened: cancelled and swept, nothing is open, and every row is told of once."""
        try:
            for name in self.live.values():
                campaign = self.ledger.campaigns.get(name)
                if campaign.state not in FINAL_CAMPAIGN_STATES:
                    self.ledger.campaigns.move(campaign, C.CANCELLED, who="t", now=self.now)
            self.now += timedelta(hours=200)
            self.ledger.outcomes.settle_expired(now=self.now, receipt_windows={PROVIDER: WINDOW})
            while self.ledger.campaigns.settle_cancelled(who="t", now=self.now):
                pass
            self.now += timedelta(hours=200)
            self.ledger.receipts.close_windows(who="t", now=self.now)
            self.ledger.campaigns.advance(who="t", now=self.now)
            self.look()
            self.sums(all_of_them=True)
            for name in self.live.values():
                campaign = self.ledger.campaigns.get(name)
                counts = self.ledger.campaigns.counts(campaign)
                assert not any(counts.messages[state] for state in OPEN_MESSAGE_STATES)
                rows = [line.row for line in self.ledger.reports.lines(campaign)]
                assert rows == list(range(1, campaign.totals.rows + 1))
            assert self.ledger.doubts.listed() == []
        finally:
            with self.ledger.database.write() as tx:
                for table in ("campaign", "message", "suppression"):
                    tx.run(f"TRUNCATE {table} CASCADE" if tx.postgresql else f"DELETE FROM {table}")

    # --- the model ----------------------------------------------------------------------------------------------------

    def _look(self) -> Seen:
        with self.ledger.database.read() as tx:
            campaigns = tx.rows("SELECT id, state FROM campaign")
            batches = tx.rows("SELECT id, campaign_id, state, attempt, lease_until FROM batch")
            messages = tx.rows("SELECT id, state FROM message")
        return Seen(
            campaigns={row.id: C(row.state) for row in campaigns},
            batches={
                row.id: SeenBatch(
                    campaign=row.campaign_id, state=B(row.state), attempt=row.attempt, lease=row.lease_until
                )
                for row in batches
            },
            messages={row.id: M(row.state) for row in messages},
        )

    def _messages(self, batch_id: int) -> set[int]:
        return {one for one in self.seen.messages if one // MESSAGES_PER_BATCH == batch_id}

    def _of(self, batch_id: int, state: MessageState) -> set[int]:
        return {one for one in self._messages(batch_id) if self.seen.messages[one] is state}

    def _open(self, doubt: Doubt) -> bool:
        """Whether the doubt still stands: the same attempt, and something of it unknown."""
        batch = self.seen.batches[doubt.batch_id]
        return (
            batch.attempt == doubt.attempt
            and batch.state is (B.UNKNOWN if doubt.whole else B.SUBMITTED)
            and bool(self._of(doubt.batch_id, M.UNKNOWN))
        )

    def _moved(self, done: bool, claim: Claim, before: set[BatchState], *, only_unknown: bool = False) -> None:
        """Hold whether an outcome was taken against whether it should be; where it was not, nothing moved."""
        batch = self.seen.batches[claim.batch_id]
        given_up = batch.state is B.UNKNOWN and not self._of(claim.batch_id, M.UNKNOWN)
        expected = batch.attempt == claim.attempt and batch.state in before
        assert done == (expected and not (only_unknown and given_up))
        if not done:
            assert self._look() == self.seen

    def _freed(self, batch_id: int) -> None:
        self.gone_out -= self._messages(batch_id)

    def _answers(self, content: BatchContent, fates: list[str], cost: int) -> Answers:
        many = len(content.positions)
        return Answers(
            provider_message_ids=[f"p{next(self.ids)}" for _ in range(many)],
            costs=[Decimal(cost) if cost else None] * many,
            refused={index: Refusal(reason="BADDEST") for index in range(many) if fates[index] == "r"},
            missing=frozenset(index for index in range(many) if fates[index] == "m"),
            provider_reference="job" if cost else None,
        )
