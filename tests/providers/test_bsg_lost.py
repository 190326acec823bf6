"""Lost batches at BSG: found by the references that it keeps."""

from typing import Any

import pytest

from dispatcher.errors import Unreachable
from dispatcher.provider import LookUp, Verdict
from dispatcher.providers.bsg import BSG
from tests.providers.bsg_vendor import BsgVendor
from tests.providers.rows import batch_of, ordinary
from tests.providers.test_winsms_lost import AT

NUMBERS = ordinary(5)
BATCH = batch_of(NUMBERS)
SHORT = 12345678  # one digit less than BSG takes


def message(at: int, campaign: object = 77, **fields: object) -> dict[str, object]:
    return {"id": at, "campaign_id": campaign, "reference_id": BATCH.references[at], "status": "sent", **fields}


def page(*rows: object) -> dict[str, object]:
    return {"data": rows, "meta": {"page": {"total": len(rows), "limit": 15, "offset": 0}}}


def looked_up(*contents: object, batch: Any = BATCH) -> tuple[LookUp, list[str]]:
    vendor = BsgVendor(*contents)
    waits: list[None] = []

    def find(provider: BSG) -> LookUp:
        return provider.find(batch, AT, lambda: waits.append(None))

    found: LookUp = vendor.ask(find)
    asked = [vendor.asked(at)[0] for at in range(len(vendor.server.requests))]
    assert len(waits) == len(asked)
    return found, asked


def question(at: int) -> str:
    return f"GET /api/messages?filter%5Breference_id%5D={BATCH.references[at]}&page%5Boffset%5D=0&page%5Blimit%5D=15"


def test_one_message_tells_of_the_whole_campaign() -> None:
    found, asked = looked_up(page(message(0)))
    assert asked == [question(0)]
    assert found.verdict is Verdict.FOUND
    assert found.evidence == "campaign 77 has message 1 of 5 under our reference"
    assert found.answers is not None
    assert found.answers.provider_reference == "77"
    assert (found.answers.provider_message_ids, found.answers.costs) == ([None] * 5, [None] * 5)
    assert (found.answers.missing, found.answers.refused) == (frozenset(), {})


def test_the_last_and_one_in_the_middle_are_asked_for_where_the_first_is_not_there() -> None:
    found, asked = looked_up(page(), page(message(4)))
    assert asked == [question(0), question(4)]
    assert found.verdict is Verdict.FOUND
    found, asked = looked_up(page())
    assert asked == [question(0), question(4), question(2)]
    assert (found.verdict, found.answers) == (Verdict.ABSENT, None)
    assert found.evidence == "nothing under 3 references of 5 messages"
    assert len(looked_up(page(), batch=batch_of(NUMBERS[:1]))[1]) == 1


@pytest.mark.parametrize(
    "rows",
    [
        [message(0, campaign=None)],
        [message(0), message(0, campaign=78)],
        [message(0, reference_id="of someone else")],  # the filter was not heeded
        [message(0, reference_id=None)],
        [None],
    ],
)
def test_rows_that_prove_nothing(rows: list[object]) -> None:
    found, _ = looked_up(page(*rows))
    assert (found.verdict, found.answers) == (Verdict.UNCLEAR, None)


def test_by_two_channels_it_is_the_same_campaign() -> None:
    assert looked_up(page(message(0), message(0, status="failed")))[0].verdict is Verdict.FOUND


def test_numbers_that_were_left_out_are_refused_and_not_asked_for() -> None:
    batch = batch_of([SHORT, *NUMBERS[1:]])
    found, asked = looked_up(page(message(1)), batch=batch)
    assert asked == [question(1)]
    assert found.answers is not None
    assert list(found.answers.refused) == [0]
    found, asked = looked_up(page(), batch=batch_of([SHORT]))
    assert (found.verdict, asked) == (Verdict.ABSENT, [])


@pytest.mark.parametrize("content", [{}, {"data": None}, b"<html>", (500, {"message": "no"})])
def test_an_answer_that_cannot_be_read_proves_nothing(content: object) -> None:
    with pytest.raises(Unreachable):
        looked_up(content)
