"""Doubts that end little by little, on either engine."""

from datetime import timedelta
from decimal import Decimal

from dispatcher.ledger import Doubt, Ledger
from dispatcher.provider import Answers
from tests.ledger.conftest import LEASE, NOW, WINDOW, Enqueue, claim, numbers

LATER = NOW + timedelta(seconds=61)
AGAIN = LATER + timedelta(minutes=5)


def lost(ledger: Ledger, *, scheduled: bool = False) -> Doubt:
    """Claim a batch and lose its answer."""
    taken = claim(ledger)
    scheduled_for = NOW + timedelta(hours=1) if scheduled else None
    assert ledger.batches.begin_attempt(taken, now=NOW, lease=LEASE, scheduled_for=scheduled_for)
    assert ledger.outcomes.unknown(taken, now=NOW, why="reset", receipt_window=WINDOW)
    return next(doubt for doubt in ledger.doubts.due("winsms", now=NOW) if doubt.batch_id == taken.batch_id)


def answers(
    *ids: str | None, missing: frozenset[int] = frozenset(), reference: str | None = None, note: str | None = None
) -> Answers:
    return Answers(
        provider_message_ids=ids,
        costs=[Decimal(1)] * len(ids),
        missing=missing,
        provider_reference=reference,
        note=note,
    )


def adopt(ledger: Ledger, doubt: Doubt, found: Answers) -> bool:
    return ledger.doubts.adopt(
        doubt,
        ledger.doubts.content(doubt),
        found,
        evidence="seen",
        who="t",
        now=LATER,
        receipt_window=WINDOW,
        look_again_at=AGAIN,
    )


def states(ledger: Ledger, name: str) -> dict[str, int]:
    counts = ledger.campaigns.counts(ledger.campaigns.get(name))
    return {state.value: many for state, many in counts.messages.items() if many}


def test_what_was_not_found_yet_is_looked_up_again_until_all_of_it_is(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=1, size=3)
    doubt = lost(ledger)
    assert adopt(ledger, doubt, answers("a", None, "c", missing=frozenset({1}), reference="job 1"))
    assert states(ledger, campaign.public_id) == {"submitted": 2, "unknown": 1}
    assert ledger.doubts.due("winsms", now=AGAIN - timedelta(seconds=1)) == []
    (rest,) = ledger.doubts.due("winsms", now=AGAIN)
    assert (rest.whole, rest.messages, rest.batch_id) == (False, 1, doubt.batch_id)
    assert list(ledger.doubts.content(rest).numbers) == numbers(3)[1:2]
    assert adopt(ledger, rest, answers("b", reference="job 2"))
    assert states(ledger, campaign.public_id) == {"submitted": 3}
    assert ledger.doubts.due("winsms", now=AGAIN + WINDOW) == []
    assert ledger.doubts.listed() == []
    (awaited,) = ledger.receipts.due("winsms", now=AGAIN, most=10)
    assert awaited.provider_message_ids == ["a", "b", "c"]
    assert awaited.provider_reference == "job 1"  # what the answer or the first look-up said
    assert ledger.campaigns.counts(campaign).segments_submitted == 3
    assert ledger.reports.discrepancies(campaign) == []


def test_what_was_found_whole_is_not_looked_up_again(ledger: Ledger, enqueue: Enqueue) -> None:
    enqueue(batches=1, size=2)
    assert adopt(ledger, lost(ledger), answers("a", "b"))
    assert ledger.doubts.due("winsms", now=AGAIN + WINDOW) == []


def test_the_rest_of_a_doubt_ends_with_the_receipt_window(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=1, size=2)
    assert adopt(ledger, lost(ledger), answers("a", None, missing=frozenset({1})))
    assert ledger.receipts.close_windows(who="t", now=LATER + WINDOW) == 2
    assert states(ledger, campaign.public_id) == {"unconfirmed": 2}
    assert ledger.doubts.due("winsms", now=AGAIN + WINDOW) == []


def test_what_a_person_must_know_of_a_found_batch_is_kept(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=1, size=2)
    doubt = lost(ledger)
    assert adopt(ledger, doubt, answers("a", None, missing=frozenset({1}), note="start it there"))
    assert ledger.campaigns.notes(campaign) == ["start it there"]
    (rest,) = ledger.doubts.due("winsms", now=AGAIN)
    assert adopt(ledger, rest, answers("b"))
    assert ledger.campaigns.notes(campaign) == ["start it there"]


def test_why_it_was_lost_is_no_note_of_a_found_batch(ledger: Ledger, enqueue: Enqueue) -> None:
    campaign = enqueue(batches=1, size=1)
    assert adopt(ledger, lost(ledger), answers("a"))
    assert ledger.campaigns.notes(campaign) == []


def test_the_attempts_whose_answers_were_lost_are_counted(ledger: Ledger, enqueue: Enqueue) -> None:
    enqueue(batches=1)
    for many in (1, 2, 3):
        doubt = lost(ledger)
        assert ledger.doubts.losses(doubt) == many
        assert ledger.doubts.free(doubt, evidence="absent", who="t", now=NOW)
        handed_back = claim(ledger)
        assert ledger.outcomes.hand_back(handed_back, now=NOW, why="throughput")
    taken = claim(ledger)
    assert ledger.batches.begin_attempt(taken, now=NOW, lease=LEASE)
    assert ledger.outcomes.settle_expired(now=LATER, receipt_windows={}) == 1
    (doubt,) = ledger.doubts.due("winsms", now=LATER)
    assert ledger.doubts.losses(doubt) == 4


def test_the_ids_of_other_batches_to_the_same_numbers_are_known(ledger: Ledger, enqueue: Enqueue) -> None:
    enqueue(batches=1, size=3)
    first = claim(ledger)
    ledger.batches.begin_attempt(first, now=NOW, lease=LEASE)
    content = ledger.batches.content(first)
    ledger.outcomes.submitted(first, content, answers("a", "b", "c"), now=NOW, receipt_window=WINDOW)
    enqueue(batches=1, size=2)
    doubt = lost(ledger)
    assert ledger.doubts.ids_of_others(doubt, numbers(2)) == {"a", "b"}
    assert ledger.doubts.ids_of_others(doubt, numbers(3)[2:]) == {"c"}
    assert ledger.doubts.ids_of_others(doubt, []) == set()
    assert adopt(ledger, doubt, answers("d", "e"))
    assert ledger.doubts.ids_of_others(doubt, numbers(2)) == {"a", "b"}
    enqueue(batches=1, size=2)
    for_later = lost(ledger, scheduled=True)
    assert ledger.doubts.ids_of_others(for_later, numbers(2)) == set()
    assert adopt(ledger, for_later, answers("f", None, missing=frozenset({1})))
    enqueue(batches=1, size=2)
    assert ledger.doubts.ids_of_others(lost(ledger, scheduled=True), numbers(2)) == {"f"}
