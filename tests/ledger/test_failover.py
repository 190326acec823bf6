"""A campaign that moves on to its next provider, on either engine: what may have been sent stays where it is."""

from datetime import timedelta
from decimal import Decimal

from dispatcher import failover
from dispatcher.campaign import CampaignState
from dispatcher.ledger import Campaign, Claim, Ledger
from dispatcher.provider import Answers
from tests.ledger.conftest import LEASE, NOW, WINDOW, Enqueue

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


def take(ledger: Ledger, provider: str) -> Claim | None:
    return ledger.batches.claim(provider, owner="w1", now=NOW, lease=LEASE)


def attempt(ledger: Ledger, provider: str = "winsms") -> Claim:
    taken = take(ledger, provider)
    assert taken is not None
    assert ledger.batches.begin_attempt(taken, now=NOW, lease=LEASE)
    return taken


def leave(ledger: Ledger, campaign: Campaign, provider: str = "winsms") -> bool:
    return failover.leave(ledger, campaign.public_id, provider, "HTTP 402", who="t", now=NOW)


def providers(ledger: Ledger, campaign: Campaign) -> dict[int, str]:
    with ledger.database.read() as tx:
        rows = tx.rows("SELECT number, provider FROM batch WHERE campaign_id = :id", id=campaign.id)
    return {row.number: row.provider for row in rows}


def test_what_is_pending_goes_to_the_next_and_what_may_have_been_sent_stays(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=6, fallbacks=("bsg",))
    sent, lost, in_flight, refused = (attempt(ledger) for _ in range(4))
    claimed = take(ledger, "winsms")
    assert claimed is not None
    content = ledger.batches.content(sent)
    answers = Answers(provider_message_ids=["a", "b", "c"], costs=[None] * 3)
    ledger.outcomes.submitted(sent, content, answers, now=NOW, receipt_window=WINDOW)
    ledger.outcomes.unknown(lost, now=NOW, why="no answer", receipt_window=WINDOW)
    ledger.outcomes.not_submitted(refused, now=NOW, why="HTTP 402")
    assert leave(ledger, campaign)
    assert leave(ledger, campaign)  # another worker comes to the same conclusion
    found = ledger.campaigns.get(campaign.public_id)
    assert (found.provider, found.fallbacks, found.state) == ("bsg", (), CampaignState.RUNNING)
    assert found.reason == "moved from winsms to bsg: HTTP 402"
    # The claim of before gives no right any more.
    assert not ledger.batches.begin_attempt(claimed, now=NOW, lease=LEASE)
    assert ledger.outcomes.hand_back(claimed, now=NOW, why="moved")
    assert take(ledger, "winsms") is None
    assert ledger.batches.due("winsms", now=NOW, most=9) == 0
    there = {attempt(ledger, "bsg").number for _ in range(3)}
    assert there == {refused.number, claimed.number, 6}
    assert take(ledger, "bsg") is None
    kept = {number for number, provider in providers(ledger, campaign).items() if provider == "winsms"}
    assert kept == {sent.number, lost.number, in_flight.number}
    # Receipts and look-ups go on being asked for where the batch was attempted.
    assert [one.batch_id for one in ledger.receipts.due("winsms", now=NOW, most=99)] == [sent.batch_id]
    assert [one.batch_id for one in ledger.doubts.due("winsms", now=NOW)] == [lost.batch_id]
    assert ledger.doubts.due("bsg", now=NOW) == []
    # What the first one certainly does not have goes to the second.
    [doubt] = ledger.doubts.due("winsms", now=NOW)
    ledger.doubts.free(doubt, evidence="absent", who="t", now=NOW)
    ledger.outcomes.not_submitted(in_flight, now=NOW, why="no connection")
    assert {attempt(ledger, "bsg").number for _ in range(2)} == {lost.number, in_flight.number}
    assert not leave(ledger, campaign, "bsg")
    assert failover.providers_of(ledger.campaigns.get(campaign.public_id)) == ["bsg", "winsms"]
    assert ledger.reports.discrepancies(ledger.campaigns.get(campaign.public_id)) == []


def test_a_campaign_that_was_stopped_meanwhile_stays_where_it_is(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(fallbacks=("bsg",))
    ledger.campaigns.move(campaign, CampaignState.PAUSED, who="t", now=NOW, reason="by hand")
    leave(ledger, campaign)
    found = ledger.campaigns.get(campaign.public_id)
    assert (found.provider, found.reason) == ("winsms", "by hand")


def test_a_provider_is_down_after_a_while_of_reaching_nobody(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=9, fallbacks=("bsg", "sakari"))

    def not_reached(seconds: int) -> str:
        now = NOW + seconds * SECOND
        taken = attempt(ledger)
        ledger.outcomes.not_submitted(taken, now=NOW, why="no connection", due_at=now + MINUTE)
        failover.not_reached(ledger, taken, "no connection", after=MINUTE, who="t", now=now)
        return ledger.campaigns.get(campaign.public_id).provider

    assert [not_reached(0), not_reached(1), not_reached(59)] == ["winsms"] * 3
    taken = attempt(ledger)
    assert taken.unreached
    failover.reached(ledger, taken)
    assert [not_reached(61), not_reached(121)] == ["winsms"] * 2  # not three times in a row yet
    assert not_reached(122) == "bsg"
    found = ledger.campaigns.get(campaign.public_id)
    assert found.fallbacks == ("sakari",)
    assert "not reached for 61 s, 3 times in a row: no connection" in str(found.reason)
    again = take(ledger, "bsg")
    assert again is not None
    assert not again.unreached
    # Those that were to wait until they are tried again are due at once at the next one.
    assert ledger.batches.due("bsg", now=NOW + 122 * SECOND, most=9) == 7


def test_without_a_fallback_nothing_is_counted(ledger: Ledger, enqueue: Enqueue) -> None:
    enqueue(batches=1)
    taken = attempt(ledger)
    failover.not_reached(ledger, taken, "no connection", after=MINUTE, who="t", now=NOW)
    ledger.outcomes.not_submitted(taken, now=NOW, why="no connection")
    again = take(ledger, "winsms")
    assert again is not None
    assert not again.unreached


def test_money_follows_to_the_other_provider_at_its_price(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(
        batches=2,
        fallbacks=("bsg",),
        budget=Decimal(100),
        segment_price=Decimal(2),
        rules={"prices": {"winsms": "2", "bsg": "0.5"}},
    )
    with ledger.database.write() as tx:
        tx.run("UPDATE batch SET price = 3000000")
    first = attempt(ledger)
    assert ledger.campaigns.get(campaign.public_id).committed == 9
    ledger.outcomes.not_submitted(first, now=NOW, why="HTTP 402")
    leave(ledger, campaign)
    attempt(ledger, "bsg")
    found = ledger.campaigns.get(campaign.public_id)
    assert (found.segment_price, found.committed) == (Decimal("0.5"), Decimal("1.5"))
    winsms, bsg = ledger.spending.latest_day("winsms"), ledger.spending.latest_day("bsg")
    assert winsms is not None
    assert bsg is not None
    assert (winsms[1], bsg[1]) == (0, Decimal("1.5"))


def test_it_takes_turns_with_those_that_are_there(ledger: Ledger, enqueue: Enqueue) -> None:
    moving = enqueue(batches=8, fallbacks=("bsg",))
    there = enqueue(batches=8, provider="bsg")
    for _ in range(4):
        attempt(ledger)
    leave(ledger, moving)
    turns = [attempt(ledger, "bsg").campaign for _ in range(4)]
    assert sorted(turns) == sorted([moving.public_id, there.public_id] * 2)
