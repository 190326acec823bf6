"""What the pump and the periodic look see, on either engine: enough to pass over what has nothing to do, and no more."""

from datetime import timedelta

from dispatcher.campaign import CampaignState
from dispatcher.ledger import Ledger, NewCampaign
from dispatcher.ledger.agenda import Due, Open
from tests.ledger.conftest import LEASE, NOW, WINDOW, Enqueue, claim

NOTHING = Open(sweep=False, providers=frozenset())
LATER = NOW + timedelta(seconds=61)


def test_an_empty_ledger_has_nothing_to_do(ledger: Ledger) -> None:
    assert ledger.agenda.open(now=NOW) == NOTHING
    assert ledger.agenda.due("winsms", now=NOW) == Due(receipts=False, look_ups=False)


def test_an_open_campaign_is_swept_and_its_provider_rung_unless_it_is_paused(
    ledger: Ledger, enqueue: Enqueue
) -> None:
    campaign = enqueue(provider="bsg")
    assert ledger.agenda.open(now=NOW) == Open(sweep=True, providers=frozenset({"bsg"}))
    ledger.campaigns.move(campaign, CampaignState.PAUSED, who="t", now=NOW)
    assert ledger.agenda.open(now=NOW) == Open(sweep=True, providers=frozenset())


def test_what_planners_left_behind_is_swept(ledger: Ledger) -> None:
    draft = NewCampaign(
        public_id="c1", name="c1", provider="bsg", template="Hello", personalised=False, created_at=NOW, send_at=None
    )
    ledger.plans.begin(draft, who="t", now=NOW)
    assert ledger.agenda.open(now=NOW) == Open(sweep=True, providers=frozenset())


def test_a_cancelled_campaign_is_swept_until_its_last_batch_is_settled(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=2)
    taken = claim(ledger)
    ledger.campaigns.move(campaign, CampaignState.CANCELLED, who="t", now=NOW)
    assert ledger.agenda.open(now=NOW) == Open(sweep=True, providers=frozenset())
    assert ledger.campaigns.settle_cancelled(who="t", now=NOW) == 1
    assert ledger.agenda.open(now=NOW) == NOTHING
    # Its worker has died: when the lease ends, that must be noticed.
    assert ledger.agenda.open(now=LATER).sweep
    assert ledger.outcomes.settle_expired(now=LATER, receipt_windows={}) == 1
    assert ledger.campaigns.settle_cancelled(who="t", now=LATER) == 1
    assert ledger.agenda.open(now=LATER) == NOTHING
    assert taken.provider == "winsms"


def test_a_look_up_is_due_and_a_window_closes_also_where_the_campaign_has_ended(
    ledger: Ledger, enqueue: Enqueue
) -> None:
    campaign = enqueue(batches=1)
    taken = claim(ledger)
    assert ledger.batches.begin_attempt(taken, now=NOW, lease=LEASE)
    assert ledger.outcomes.unknown(taken, now=NOW, why="reset", receipt_window=WINDOW)
    ledger.campaigns.move(campaign, CampaignState.CANCELLED, who="t", now=NOW)
    assert ledger.agenda.due("winsms", now=LATER) == Due(receipts=False, look_ups=True)
    assert ledger.agenda.due("bsg", now=LATER) == Due(receipts=False, look_ups=False)
    assert ledger.agenda.open(now=LATER) == NOTHING
    assert ledger.agenda.open(now=NOW + WINDOW).sweep
    assert ledger.receipts.close_windows(who="t", now=NOW + WINDOW) == 3
    assert ledger.agenda.open(now=NOW + WINDOW) == NOTHING
