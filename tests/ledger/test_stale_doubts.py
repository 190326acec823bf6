"""What the state machine found, one by one: doubts that were settled meanwhile, and answers that come too late."""

from datetime import timedelta

from dispatcher.ledger import Ledger
from dispatcher.message import MessageState
from dispatcher.provider import Receipt
from tests.ledger.conftest import LEASE, NOW, WINDOW, Enqueue, claim
from tests.ledger.test_doubts import adopt, answers, lost, states

LATER = NOW + timedelta(seconds=61)


def test_what_was_given_up_is_not_sent_after_all(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=1, size=2)
    taken = claim(ledger)
    assert ledger.batches.begin_attempt(taken, now=NOW, lease=LEASE)
    ledger.outcomes.settle_expired(now=LATER, receipt_windows={})
    (doubt,) = ledger.doubts.listed()
    assert ledger.doubts.give_up(doubt, who="t", now=LATER) == 2
    ledger.campaigns.advance(who="t", now=LATER)
    assert not ledger.outcomes.not_submitted(taken, now=LATER, why="not sent: its time had passed")
    assert states(ledger, campaign.public_id) == {"unconfirmed": 2}
    assert ledger.batches.due("winsms", now=LATER, most=9) == 0
    assert "late outcome" in [event.what for event in ledger.reports.events(campaign)]
    assert not ledger.doubts.free(doubt, evidence="absent", who="t", now=LATER)


def test_a_doubt_that_was_settled_meanwhile_cannot_be_given_up(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=1, size=2)
    stale = lost(ledger)
    assert adopt(ledger, stale, answers("a", None, missing=frozenset({1})))
    assert ledger.doubts.give_up(stale, who="t", now=LATER) == 0
    assert states(ledger, campaign.public_id) == {"submitted": 1, "unknown": 1}


def test_a_doubt_that_was_settled_meanwhile_is_not_looked_up_again(ledger: Ledger, enqueue: Enqueue) -> None:
    enqueue(batches=1, size=2)
    stale = lost(ledger)
    assert ledger.doubts.free(stale, evidence="absent", who="t", now=LATER)
    ledger.doubts.postpone(stale, until=LATER, evidence="not yet", who="t", now=LATER)
    assert ledger.doubts.due("winsms", now=LATER) == []


def test_two_look_ups_that_find_the_same_count_it_once(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=1, size=2)
    assert adopt(ledger, lost(ledger), answers("a", None, missing=frozenset({1})))
    (rest,) = ledger.doubts.listed()
    content = ledger.doubts.content(rest)
    found = answers("b")
    told = {"evidence": "seen", "who": "t", "now": LATER, "receipt_window": WINDOW}
    assert ledger.doubts.adopt(rest, content, found, **told)
    assert not ledger.doubts.adopt(rest, content, found, **told)
    assert ledger.campaigns.counts(campaign).segments_submitted == 2


def test_no_receipt_moves_what_was_not_submitted(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=2, size=1)
    doubt = lost(ledger)
    queued = 16384 * (doubt.batch_id + 1)
    told = [
        Receipt(message_id=one, state=state)
        for one in (queued, 16384 * doubt.batch_id)
        for state in (MessageState.SUBMITTED, MessageState.CANCELLED, MessageState.DELIVERED)
    ]
    for one in told:
        assert ledger.receipts.apply([one], asked={}, who="t", now=NOW) == 0
    assert states(ledger, campaign.public_id) == {"queued": 1, "unknown": 1}
