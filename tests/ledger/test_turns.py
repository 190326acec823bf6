"""Whose turn it is on PostgreSQL, where other workers claim at the same moment."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from dispatcher.ledger import Claim, Ledger, open_ledger
from dispatcher.ledger.claims import best_to_claim, claim, claim_and_begin
from dispatcher.ledger.trail import count_several
from tests.ledger.conftest import LEASE, NOW, Enqueue
from tests.ledger.test_together import wish


@pytest.fixture
def ledger(postgresql_url: str) -> Iterator[Ledger]:
    ledger = open_ledger(postgresql_url)
    yield ledger
    ledger.close()


def claim_one(ledger: Ledger) -> Claim | None:
    return ledger.batches.claim("winsms", owner="w2", now=NOW, lease=LEASE)


def test_a_campaign_that_another_claims_from_is_passed_over_for_its_equal(ledger: Ledger, enqueue: Enqueue) -> None:
    first, second = enqueue(batches=2), enqueue(batches=2)
    with ledger.database.write() as tx:
        assert best_to_claim(tx, "winsms", now=NOW).id == first.id
        other = claim_one(ledger)
    assert other is not None
    assert other.campaign_id == second.id


def wait_until_blocked(ledger: Ledger) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with ledger.database.read() as tx:
            if tx.first("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'") is not None:
                return
        threading.Event().wait(0.01)
    raise AssertionError("nobody waits")


@pytest.mark.parametrize("left", [0, 1])
@pytest.mark.parametrize("small", [True, False])
def test_a_campaign_of_higher_priority_is_waited_for_and_where_it_has_nothing_left_the_next_is_taken(
    ledger: Ledger, enqueue: Enqueue, left: int, *, small: bool
) -> None:
    first, second = enqueue(batches=1 + left, size=1, priority=1), enqueue(batches=1, size=1)
    with ThreadPoolExecutor(1) as pool:
        with ledger.database.write() as tx:
            changes: dict[int, dict[str, int]] = {}
            taken = claim_and_begin(tx, best_to_claim(tx, "winsms", now=NOW), wish(), changes)
            assert taken is not None
            assert taken[0].campaign_id == first.id
            count_several(tx, changes, batch_id=taken[0].batch_id)
            other = pool.submit(
                ledger.batches.claim_and_begin,
                "winsms",
                owner="w2",
                now=NOW,
                lease=LEASE,
                ready=lambda *_: True,
                small=small,
            )
            wait_until_blocked(ledger)
        found = other.result(timeout=10)
    assert found is not None
    assert found[0].batch_id != taken[0].batch_id
    assert found[0].campaign_id == (first.id if left else second.id)
    for campaign in (first, second):
        assert ledger.reports.discrepancies(campaign) == []


def test_of_a_campaign_that_holds_its_last_batch_nothing_is_left(ledger: Ledger, enqueue: Enqueue) -> None:
    enqueue(batches=1)
    with ThreadPoolExecutor(1) as pool:
        with ledger.database.write() as tx:
            changes: dict[int, dict[str, int]] = {}
            campaign = best_to_claim(tx, "winsms", now=NOW)
            taken = claim(tx, "winsms", campaign, owner="w1", now=NOW, lease=LEASE, allowance=None, changes=changes)
            assert taken is not None
            other = pool.submit(claim_one, ledger)
            wait_until_blocked(ledger)
        assert other.result(timeout=10) is None
