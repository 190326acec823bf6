"""Everything that can happen to the ledger, in any order, on either engine, held against a small model of it.

`DISPATCHER_TEST_EXAMPLES=2000` runs longer, with other examples each time.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import event

from dispatcher import cancellation
from dispatcher.batch import BatchState
from dispatcher.campaign import FINAL_CAMPAIGN_STATES, RELEASING_STATES
from dispatcher.errors import LedgerError, MoveNotAllowed
from dispatcher.ledger import (
    ExcludedRow,
    Exclusion,
    Ledger,
    NewCampaign,
    PlannedBatch,
    PlanTotals,
)
from dispatcher.ledger.claims import Wish
from dispatcher.ledger.database import micros
from dispatcher.ledger.lots import claim_and_begin_several
from dispatcher.message import MESSAGES_PER_BATCH, MessageState
from dispatcher.provider import Receipt
from tests.ledger.conftest import LEASE, WINDOW, numbers
from tests.ledger.model import ENDED, PROVIDER, B, C, Held, LedgerModel, M

PICK = st.integers(0, 63)
EXAMPLES = int(os.environ.get("DISPATCHER_TEST_EXAMPLES", "0"))


class LedgerMachine(LedgerModel):
    """Rules are what workers, sweepers, look-ups and people do."""

    # --- planning -----------------------------------------------------------------------------------------------------

    @initialize(batches=st.integers(2, 3), size=st.integers(1, 3), later=st.booleans())
    def begin_with(self, batches: int, size: int, later: bool) -> None:
        self.plan(batches, size, later, 1)

    @precondition(lambda self: len(self.live) + len(self.drafts) < 3)
    @rule(batches=st.integers(1, 3), size=st.integers(1, 3), later=st.booleans(), live=st.integers(0, 4))
    def plan(self, batches: int, size: int, later: bool, live: int) -> None:
        name = f"c{next(self.names):07d}"
        send_at = self.now + timedelta(minutes=5) if later else None
        new = NewCampaign(
            public_id=name,
            name=name,
            provider=PROVIDER,
            template="Hello",
            personalised=False,
            created_at=self.now,
            send_at=send_at,
        )
        campaign_id = self.ledger.plans.begin(new, who="t", now=self.now)
        planned = [
            PlannedBatch(
                numbers=numbers(size, start=index * size),
                rows=range(index * size + 1, (index + 1) * size + 1),
                segments=list(range(1, size + 1)),
                fields=None,
                due_at=self.now,
                send_at=send_at,
            )
            for index in range(batches)
        ]
        rows = batches * size
        excluded = [ExcludedRow(row=rows + 1, kind=Exclusion.INVALID, number="n/a", reason="invalid: not a number")]
        self.ledger.plans.append(campaign_id, first_number=1, batches=planned, excluded=excluded, now=self.now)
        totals = PlanTotals(
            rows=rows + 1,
            messages=rows,
            invalid=1,
            batches=batches,
            segments=sum(sum(batch.segments) for batch in planned),
        )
        self.drafts.append((campaign_id, name, totals))
        if live:
            self.finish(len(self.drafts) - 1)

    @precondition(lambda self: self.drafts)
    @rule(pick=PICK)
    def finish(self, pick: int) -> None:
        campaign_id, name, totals = self.drafts.pop(pick % len(self.drafts))
        try:
            self.ledger.plans.finish(campaign_id, totals, who="t", now=self.now)
        except LedgerError:
            assert campaign_id not in self.seen.campaigns
            return
        self.live[campaign_id] = name

    @precondition(lambda self: self.drafts)
    @rule(pick=PICK, all_dead=st.booleans())
    def discard(self, pick: int, all_dead: bool) -> None:
        if all_dead:
            self.ledger.plans.discard_abandoned(now=self.now)
        else:
            self.ledger.plans.discard(self.drafts[pick % len(self.drafts)][0])

    # --- workers ------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.live)
    @rule(owner=st.sampled_from(["w1", "w2", "w3"]), begin=st.booleans())
    def claim(self, owner: str, begin: bool) -> None:
        due = self.ledger.batches.due(PROVIDER, now=self.now, most=99)
        found = self.ledger.batches.claim(PROVIDER, owner=owner, now=self.now, lease=LEASE)
        assert (found is None) == (due == 0)
        if found is None:
            return
        batch = self.seen.batches[found.batch_id]
        assert (batch.state, batch.attempt + 1) == (B.PENDING, found.attempt)
        assert self.seen.campaigns[found.campaign_id] in RELEASING_STATES
        self.held.append(Held(claim=found, content=self.ledger.batches.content(found)))
        if begin:
            self.look()
            self.begin(len(self.held) - 1, None, False)

    @precondition(lambda self: self.live)
    @rule(owner=st.sampled_from(["w1", "w2", "w3"]), ready=st.lists(st.booleans(), min_size=1, max_size=4))
    def claim_and_begin(self, owner: str, ready: list[bool]) -> None:
        due = self.ledger.batches.due(PROVIDER, now=self.now, most=99)
        wishes = [
            Wish(
                provider=PROVIDER,
                owner=owner,
                now=self.now,
                lease=LEASE,
                ready=lambda _, content, is_ready=is_ready: is_ready and bool(content.positions),
                allowance=None,
            )
            for is_ready in ready
        ]
        with self.ledger.database.write() as tx:
            found = claim_and_begin_several(tx, wishes)
        taken = [one for one in found if one is not None]
        assert bool(taken) == bool(due)
        assert len(found) <= len(wishes)
        for claim, content, begun in taken:
            batch = self.seen.batches[claim.batch_id]
            assert (batch.state, batch.attempt + 1) == (B.PENDING, claim.attempt)
            assert self.seen.campaigns[claim.campaign_id] in RELEASING_STATES
            self.held.append(Held(claim=claim, content=content, began=begun))
            if begun:
                messages = {claim.batch_id * MESSAGES_PER_BATCH + position for position in content.positions}
                assert messages <= self._of(claim.batch_id, M.QUEUED)
                assert not self.ledger.suppressions.among(content.numbers)
                assert not messages & self.gone_out, "texted twice"
                self.gone_out |= messages

    @precondition(lambda self: self.held)
    @rule(pick=PICK, thief=st.sampled_from([None, None, None, "w1", "w2"]), later=st.booleans())
    def begin(self, pick: int, thief: str | None, later: bool) -> None:
        held = self.held[pick % len(self.held)]
        if not held.content.positions:
            return
        claim = held.claim if thief is None else replace(held.claim, owner=thief)
        batch = self.seen.batches[claim.batch_id]
        queued = self._of(claim.batch_id, M.QUEUED)
        stopped = self.ledger.suppressions.among(held.content.numbers)
        expected = (
            self.seen.campaigns[claim.campaign_id] in RELEASING_STATES
            and (batch.state, batch.attempt) == (B.CLAIMED, claim.attempt)
            and (batch.lease or 0) > micros(self.now)
            and claim.owner == held.claim.owner
            and not stopped
        )
        began = self.ledger.batches.begin_attempt(
            claim, now=self.now, lease=LEASE, scheduled_for=self.now + timedelta(hours=1) if later else None
        )
        assert began == expected
        if began:
            messages = {claim.batch_id * MESSAGES_PER_BATCH + position for position in held.content.positions}
            assert messages == queued
            assert not messages & self.gone_out, "texted twice"
            self.gone_out |= messages
            held.began = True

    @precondition(lambda self: self.held)
    @rule(pick=PICK, seconds=st.sampled_from([None, 0, 30]))
    def hand_back(self, pick: int, seconds: int | None) -> None:
        held = self.held[pick % len(self.held)]
        due_at = None if seconds is None else self.now + timedelta(seconds=seconds)
        done = self.ledger.outcomes.hand_back(held.claim, now=self.now, why="x", due_at=due_at)
        self._moved(done, held.claim, {B.CLAIMED})

    def _outcome(
        self, pick: int, record: Callable[[Held], bool], before: set[BatchState], *, only_unknown: bool = False
    ) -> None:
        """Record an outcome for an attempt that was begun; again at once, as after a commit that seemed to fail."""
        begun = [held for held in self.held if held.began]
        held = begun[pick % len(begun)]
        done = record(held)
        self._moved(done, held.claim, before, only_unknown=only_unknown)
        after = self._look()
        assert not record(held)
        assert self._look() == after

    @precondition(lambda self: any(held.began for held in self.held))
    @rule(pick=PICK)
    def not_submitted(self, pick: int) -> None:
        def record(held: Held) -> bool:
            done = self.ledger.outcomes.not_submitted(held.claim, now=self.now, why="no connection")
            if done:
                self._freed(held.claim.batch_id)
            return done

        # What was given up stays so: to send it after all would be news to everyone.
        self._outcome(pick, record, {B.SUBMITTING, B.UNKNOWN}, only_unknown=True)

    @precondition(lambda self: any(held.began for held in self.held))
    @rule(pick=PICK, fates=st.lists(st.sampled_from("aaarm"), min_size=3, max_size=3), cost=st.integers(0, 3))
    def submitted(self, pick: int, fates: list[str], cost: int) -> None:
        def record(held: Held) -> bool:
            answers = self._answers(held.content, fates, cost)
            done = self.ledger.outcomes.submitted(
                held.claim, held.content, answers, now=self.now, receipt_window=WINDOW
            )
            if done:
                # Also what was given up meanwhile: the provider says that it has it.
                self.accepted |= {
                    held.claim.batch_id * MESSAGES_PER_BATCH + position
                    for index, position in enumerate(held.content.positions)
                    if index not in answers.refused and index not in answers.missing
                }
            return done

        self._outcome(pick, record, {B.SUBMITTING, B.UNKNOWN})

    @precondition(lambda self: any(held.began for held in self.held))
    @rule(pick=PICK)
    def unknown(self, pick: int) -> None:
        self._outcome(
            pick,
            lambda held: self.ledger.outcomes.unknown(held.claim, now=self.now, why="reset", receipt_window=WINDOW),
            {B.SUBMITTING},
        )

    @precondition(lambda self: any(held.began for held in self.held))
    @rule(pick=PICK)
    def refused(self, pick: int) -> None:
        self._outcome(
            pick,
            lambda held: self.ledger.outcomes.refused(held.claim, now=self.now, why="400 bad"),
            {B.SUBMITTING, B.UNKNOWN},
        )

    # --- time and sweeps ----------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 30, 61, 61, 400, 4000, 73 * 3600]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.held)
    @rule()
    def settle_expired(self) -> None:
        over = [1 for one in self.seen.batches.values() if one.lease is not None and one.lease <= micros(self.now)]
        assert self.ledger.outcomes.settle_expired(now=self.now, receipt_windows={PROVIDER: WINDOW}) == len(over)
        assert self.ledger.outcomes.settle_expired(now=self.now, receipt_windows={}) == 0

    @precondition(lambda self: self.held)
    @rule()
    def close_windows(self) -> None:
        self.ledger.receipts.close_windows(who="t", now=self.now)

    @rule()
    def advance(self) -> None:
        self.ledger.campaigns.advance(who="t", now=self.now)

    @precondition(lambda self: C.CANCELLED in self.seen.campaigns.values())
    @rule(most=st.integers(1, 3))
    def settle_cancelled(self, most: int) -> None:
        self.ledger.campaigns.settle_cancelled(who="t", now=self.now, most=most)

    @rule()
    def sweep(self) -> None:
        """Where the agenda has nothing, a sweep finds nothing, and nothing may be claimed."""
        todo, ledger = self.ledger.agenda.open(now=self.now), self.ledger
        assert PROVIDER in todo.providers or not ledger.batches.due(PROVIDER, now=self.now, most=1)
        found = (
            ledger.outcomes.settle_expired(now=self.now, receipt_windows={PROVIDER: WINDOW}),
            ledger.campaigns.settle_cancelled(who="t", now=self.now),
            ledger.campaigns.settle_out_of_time(who="t", now=self.now),
            ledger.receipts.close_windows(who="t", now=self.now),
            ledger.campaigns.advance(who="t", now=self.now),
        )
        assert todo.sweep or not any(found)

    # --- doubts -------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.held)
    @rule(due=st.booleans())
    def find_doubts(self, due: bool) -> None:
        doubts = self.ledger.doubts
        for doubt in doubts.due(PROVIDER, now=self.now) if due else doubts.listed():
            self.doubts.append((doubt, doubts.content(doubt)))

    @precondition(lambda self: self.doubts)
    @rule(pick=PICK, fates=st.lists(st.sampled_from("aarm"), min_size=3, max_size=3))
    def adopt(self, pick: int, fates: list[str]) -> None:
        doubt, content = self.doubts[pick % len(self.doubts)]
        done = self.ledger.doubts.adopt(
            doubt,
            content,
            self._answers(content, fates, 1),
            evidence="seen",
            who="t",
            now=self.now,
            receipt_window=WINDOW,
            look_again_at=self.now + timedelta(seconds=30),
        )
        assert done == self._open(doubt)

    @precondition(lambda self: self.doubts)
    @rule(pick=PICK)
    def free(self, pick: int) -> None:
        doubt, _ = self.doubts[pick % len(self.doubts)]
        done = self.ledger.doubts.free(doubt, evidence="absent", who="t", now=self.now)
        assert done == (doubt.whole and self._open(doubt))
        if done:
            self._freed(doubt.batch_id)

    @precondition(lambda self: self.doubts)
    @rule(pick=PICK)
    def give_up(self, pick: int) -> None:
        doubt, _ = self.doubts[pick % len(self.doubts)]
        unknown = self._of(doubt.batch_id, M.UNKNOWN)
        many = self.ledger.doubts.give_up(doubt, who="t", now=self.now)
        assert many == (len(unknown) if self._open(doubt) else 0)

    @precondition(lambda self: self.doubts)
    @rule(pick=PICK, seconds=st.sampled_from([None, 5, 600]))
    def postpone(self, pick: int, seconds: int | None) -> None:
        doubt, _ = self.doubts[pick % len(self.doubts)]
        until = None if seconds is None else self.now + timedelta(seconds=seconds)
        self.ledger.doubts.postpone(doubt, until=until, evidence="not yet", who="t", now=self.now)

    # --- receipts, recalls, stops -------------------------------------------------------------------------------------

    @rule(
        told=st.lists(
            st.tuples(PICK, st.sampled_from([*ENDED, M.DELIVERED, M.SUBMITTED]), st.booleans()), max_size=6
        ),
        foreign=st.booleans(),
    )
    def receipts(self, told: list[tuple[int, MessageState, bool]], foreign: bool) -> None:
        ours = sorted(self.seen.messages) or [1]
        settlements = [
            Receipt(
                message_id=ours[pick % len(ours)],
                state=state,
                cost=Decimal("0.5") if costs else None,
                at=self.now - timedelta(days=1) if costs else None,
            )
            for pick, state, costs in told
        ]
        if foreign:
            settlements.append(Receipt(message_id=10**12, state=M.DELIVERED))
        asked = {awaited.batch_id: self.now for awaited in self.ledger.receipts.due(PROVIDER, now=self.now, most=3)}
        moved = self.ledger.receipts.apply(settlements, asked=asked, who="t", now=self.now)
        after = self._look().messages
        changed = {one for one, state in after.items() if state is not self.seen.messages[one]}
        assert moved == len(changed)
        assert all(after[one] in ENDED for one in changed)
        assert all(self.seen.messages[one] in (M.SUBMITTED, M.UNCONFIRMED) for one in changed)

    @precondition(lambda self: C.CANCELLED in self.seen.campaigns.values())
    @rule(refund=st.sampled_from([None, "0", "1", "0.25"]))
    def recall(self, refund: str | None) -> None:
        waiting = self.ledger.receipts.to_recall(PROVIDER, now=self.now)
        back = {one: None if refund is None else Decimal(refund) for one in list(waiting.values())[:2]}
        assert self.ledger.receipts.record_recalled(back, who="t", now=self.now) == len(back)
        assert self.ledger.receipts.record_recalled(back, who="t", now=self.now) == 0

    @precondition(lambda self: C.CANCELLED in self.seen.campaigns.values())
    @rule(unsent=st.booleans())
    def stop(self, unsent: bool) -> None:
        for batch_id in list(self.ledger.receipts.to_stop(PROVIDER))[:1]:
            waiting = self._of(batch_id, M.SUBMITTED)
            many = self.ledger.receipts.record_stopped(batch_id, unsent=unsent, why="x", who="t", now=self.now)
            assert many == (len(waiting) if unsent else 0)

    # --- people -------------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.live)
    @rule(pick=PICK, what=st.sampled_from(["pause", "resume", "resume", "cancel"]))
    def order(self, pick: int, what: str) -> None:
        campaign_id = sorted(self.live)[pick % len(self.live)]
        campaign = self.ledger.campaigns.get(self.live[campaign_id])
        try:
            if what == "pause":
                cancellation.pause(self.ledger, campaign, who="t", now=self.now, reason="by hand")
            elif what == "resume":
                cancellation.resume(self.ledger, campaign, who="t", now=self.now)
            else:
                self.ledger.campaigns.move(campaign, C.CANCELLED, who="t", now=self.now)
        except MoveNotAllowed:
            assert self.seen.campaigns[campaign_id] in FINAL_CAMPAIGN_STATES

    @rule(which=st.integers(0, 8), lift=st.booleans())
    def suppress(self, which: int, lift: bool) -> None:
        number = numbers(9)[which]
        if lift:
            self.ledger.suppressions.remove([number])
        else:
            self.ledger.suppressions.add({number: "opted out"}, source="t", now=self.now)


def _hurry(ledger: Ledger) -> None:
    """Do without the disk: what a power cut takes is not what this is about."""
    ledger.database.engine.dispose()
    said = "SET synchronous_commit = off" if ledger.database.postgresql else "PRAGMA synchronous = OFF"

    @event.listens_for(ledger.database.engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.cursor().execute(said)
        if ledger.database.postgresql:
            connection.commit()


def test_whatever_happens_in_whatever_order_the_ledger_keeps_its_promises(ledger: Ledger) -> None:
    _hurry(ledger)
    machine = type("LedgerMachineHere", (LedgerMachine,), {"ledger": ledger})
    run_state_machine_as_test(
        machine,
        settings=settings(
            derandomize=not EXAMPLES,
            max_examples=EXAMPLES or (20 if ledger.database.postgresql else 40),
            stateful_step_count=50,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        ),
    )


if EXAMPLES:
    test_whatever_happens_in_whatever_order_the_ledger_keeps_its_promises = pytest.mark.timeout(0)(
        test_whatever_happens_in_whatever_order_the_ledger_keeps_its_promises
    )
