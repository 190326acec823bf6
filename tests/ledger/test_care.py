"""Campaigns that take care of themselves, on either engine: the breaker, the canary, priorities, fair turns."""

from collections import Counter
from datetime import datetime, timedelta

from dispatcher import cancellation, care
from dispatcher.campaign import CampaignState
from dispatcher.ledger import Campaign, Claim, Ledger
from dispatcher.message import MessageState
from dispatcher.provider import Answers, Receipt, Refusal
from tests.ledger.conftest import LEASE, NOW, WINDOW, Enqueue

CANARY = {"canary": {"messages": 4, "wait": 900, "delivered": 0.8}}
MINUTES = timedelta(minutes=1)


def attempt(ledger: Ledger, *, now: datetime = NOW) -> Claim | None:
    taken = ledger.batches.claim("winsms", owner="w1", now=now, lease=LEASE)
    if taken is not None:
        assert ledger.batches.begin_attempt(taken, now=now, lease=LEASE)
    return taken


def send(ledger: Ledger, *, refused: int = 0, now: datetime = NOW) -> Claim | None:
    taken = attempt(ledger, now=now)
    if taken is None:
        return None
    content = ledger.batches.content(taken)
    many = len(content.positions)
    answers = Answers(
        provider_message_ids=[f"p{taken.batch_id}-{index}" for index in range(many)],
        costs=[None] * many,
        refused={index: Refusal(reason="BADDEST") for index in range(refused)},
    )
    assert ledger.outcomes.submitted(taken, content, answers, now=now, receipt_window=WINDOW)
    return taken


def settle(ledger: Ledger, *states: MessageState) -> None:
    """Bring receipts for so many of those that wait, in their order."""
    waiting = [one for batch in ledger.receipts.due("winsms", now=NOW, most=1000) for one in batch.message_ids]
    told = [Receipt(message_id=one, state=state, reason="LATE") for one, state in zip(waiting, states, strict=False)]
    ledger.receipts.apply(told, asked={}, who="t", now=NOW)


def judge(ledger: Ledger, *, now: datetime = NOW) -> list[str]:
    return care.judge(ledger, who="t", now=now)


def current(ledger: Ledger, campaign: Campaign) -> Campaign:
    return ledger.campaigns.get(campaign.public_id)


# --- The breaker ----------------------------------------------------------------------------------------------------


def test_refusals_beyond_the_limit_pause_the_campaign_and_resume_counts_anew(
    ledger: Ledger, enqueue: Enqueue
) -> None:
    campaign = enqueue(batches=5, size=30, rules={"breaker": 0.3})
    send(ledger, refused=30)
    assert judge(ledger) == []  # 30 messages tell too little
    send(ledger, refused=0)
    assert judge(ledger) == [campaign.public_id]
    assert judge(ledger) == []
    reason = str(current(ledger, campaign).reason)
    assert reason.startswith("breaker: 50 % of 60 messages tried were refused or are unknown, above 30 %")
    assert "BADDEST: 30" in reason
    cancellation.resume(ledger, current(ledger, campaign), who="t", now=NOW)
    send(ledger, refused=10)
    send(ledger, refused=7)
    assert judge(ledger) == []
    send(ledger, refused=15)
    assert judge(ledger) == [campaign.public_id]
    assert "of 90 messages tried since it last went on" in str(current(ledger, campaign).reason)


def test_lost_answers_count_from_the_fifth_batch_on(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=6, size=20, rules={"breaker": 0.3})
    for _ in range(3):
        send(ledger)
    for stopped in (False, True):
        taken = attempt(ledger)
        assert taken is not None
        ledger.outcomes.unknown(taken, now=NOW, why="no answer", receipt_window=WINDOW)
        assert bool(judge(ledger)) == stopped
    assert "no answer: 40" in str(current(ledger, campaign).reason)


def test_without_a_rule_nothing_is_judged(ledger: Ledger, enqueue: Enqueue) -> None:
    enqueue(batches=1, size=100)
    enqueue(batches=1, size=100, rules={"breaker": 0})
    send(ledger, refused=100)
    send(ledger, refused=100)
    assert judge(ledger) == []


# --- The canary -----------------------------------------------------------------------------------------------------


def with_canary(ledger: Ledger, enqueue: Enqueue) -> Campaign:
    """Two batches of two go first, three more wait."""
    campaign = enqueue(batches=5, size=2, rules=CANARY)
    ledger.care.begin_canary(campaign.id, batches=2)
    return campaign


def sent(ledger: Ledger) -> list[int]:
    """Send all that may go, and return the numbers of the batches."""
    numbers = []
    while (taken := send(ledger)) is not None:
        numbers.append(taken.number)
    assert ledger.batches.due("winsms", now=NOW, most=9) == 0
    assert ledger.batches.head("winsms", now=NOW) is None
    return numbers


def test_a_canary_goes_first_and_lets_the_rest_go_once_enough_has_arrived(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = with_canary(ledger, enqueue)
    assert sent(ledger) == [1, 2]
    assert judge(ledger) == []
    assert current(ledger, campaign).released_through == 0
    settle(ledger, *[MessageState.DELIVERED] * 3)
    assert judge(ledger, now=NOW + 14 * MINUTES) == []
    assert sent(ledger) == []
    # Not all is settled, but the time is over, and 75 % is too little; with the fourth it is enough, and at once.
    settle(ledger, MessageState.DELIVERED)
    assert judge(ledger, now=NOW + MINUTES) == []
    assert sent(ledger) == [3, 4, 5]
    found = current(ledger, campaign)
    assert (found.released_through, found.rules["canary"]["state"], found.rules["canary"]["share"]) == (
        None,
        "passed",
        1,
    )
    assert "canary passed" in [event.what for event in ledger.reports.events(campaign)]


def test_a_canary_that_fails_pauses_and_a_person_may_send_the_rest(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = with_canary(ledger, enqueue)
    assert sent(ledger) == [1, 2]
    settle(ledger, MessageState.UNDELIVERED, MessageState.DELIVERED, MessageState.DELIVERED)
    assert judge(ledger, now=NOW + 14 * MINUTES) == []
    assert judge(ledger, now=NOW + 15 * MINUTES) == [campaign.public_id]
    found = current(ledger, campaign)
    assert found.state is CampaignState.PAUSED
    assert str(found.reason).startswith("canary: 50 % of 4 messages were delivered within 15 min, below 80 %")
    assert f"`dispatcher resume {campaign.public_id}` sends the rest all the same" in str(found.reason)
    assert "LATE: 1" in str(found.reason)
    assert sent(ledger) == []
    cancellation.resume(ledger, found, who="t", now=NOW)
    assert judge(ledger, now=NOW + 20 * MINUTES) == []
    assert sent(ledger) == [3, 4, 5]


def test_a_canary_whose_batch_comes_back_is_sent_again_and_goes_on_waiting(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = with_canary(ledger, enqueue)
    send(ledger)
    taken = attempt(ledger)
    assert taken is not None
    ledger.outcomes.unknown(taken, now=NOW, why="no answer", receipt_window=WINDOW)
    assert judge(ledger) == []
    assert current(ledger, campaign).released_through == 0
    [doubt] = ledger.doubts.listed()
    ledger.doubts.free(doubt, evidence="absent", who="t", now=NOW)
    assert judge(ledger, now=NOW + 20 * MINUTES) == []
    assert current(ledger, campaign).released_through == 2
    assert sent(ledger) == [2]
    # Paused and resumed by hand in between, it is a canary still.
    ledger.campaigns.move(current(ledger, campaign), CampaignState.PAUSED, who="t", now=NOW, reason="by hand")
    cancellation.resume(ledger, current(ledger, campaign), who="t", now=NOW)
    assert judge(ledger) == []
    assert sent(ledger) == []


def test_a_canary_handed_over_to_be_sent_later_is_waited_for_from_then_on(ledger: Ledger, enqueue: Enqueue) -> None:
    with_canary(ledger, enqueue)
    for _ in range(2):
        taken = ledger.batches.claim("winsms", owner="w1", now=NOW, lease=LEASE)
        assert taken is not None
        ledger.batches.begin_attempt(taken, now=NOW, lease=LEASE, scheduled_for=NOW + 60 * MINUTES)
        content = ledger.batches.content(taken)
        answers = Answers(provider_message_ids=["a", "b"], costs=[None, None])
        ledger.outcomes.submitted(taken, content, answers, now=NOW, receipt_window=WINDOW)
    assert judge(ledger, now=NOW + 74 * MINUTES) == []
    assert len(judge(ledger, now=NOW + 75 * MINUTES)) == 1


# --- Who goes first -------------------------------------------------------------------------------------------------


def test_the_highest_priority_goes_first_and_may_change(ledger: Ledger, enqueue: Enqueue) -> None:
    low, high = enqueue(batches=3), enqueue(batches=3, priority=5)
    assert [claimed(ledger), claimed(ledger)] == [high.public_id] * 2
    ledger.care.set_priority(low, 6, who="t", now=NOW)
    assert claimed(ledger) == low.public_id
    assert current(ledger, low).priority == 6
    assert [event.why for event in ledger.reports.events(low) if event.what == "priority"] == ["6, before: 0"]


def test_campaigns_of_one_priority_share_a_provider_by_segments(ledger: Ledger, enqueue: Enqueue) -> None:
    big = enqueue(batches=20, size=4)
    for _ in range(4):
        assert claimed(ledger) == big.public_id
    # One that comes later begins level with it; one of small batches has more turns, for as many segments.
    small = enqueue(batches=20, size=1)
    turns = Counter(claimed(ledger) for _ in range(15))
    assert (4 * turns[big.public_id], turns[small.public_id]) == (12, 12)
    assert claimed(ledger) in {big.public_id, small.public_id}


def claimed(ledger: Ledger) -> str:
    taken = ledger.batches.claim("winsms", owner="w1", now=NOW, lease=LEASE)
    assert taken is not None
    return taken.campaign
