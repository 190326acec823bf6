"""What planning writes, and that nothing is left of a plan that fails."""

import io
import itertools
import sys
from datetime import timedelta
from typing import Any

import pytest

from dispatcher.errors import InputError, LedgerError
from dispatcher.ledger import ExcludedRow, Exclusion, Ledger, NewCampaign, PlannedBatch, PlanTotals
from dispatcher.planning import Order, enqueue
from dispatcher.provider import Capabilities
from dispatcher.template import pack_fields, unpack_fields
from tests.ledger.conftest import NOW, claim, numbers

NEW = NewCampaign(
    public_id="c1", name="c1", provider="winsms", template="Hi {name}", personalised=True, created_at=NOW
)
ORDER = Order(public_id="c1", name="c1", provider="winsms", text="Hi {name|there}", phone_column="phone", key="k")


def plan(ledger: Ledger, content: str, **more: Any) -> None:
    enqueue(
        ledger,
        ORDER,
        io.BytesIO(content.encode()),
        capabilities=Capabilities(messages_per_request=3),
        who="test",
        clock=lambda: NOW,
        **more,
    )


def listed(many: int) -> str:
    return "phone,name\n" + "".join(f"+{number},name {at}\n" for at, number in enumerate(numbers(many)))


def test_whatever_stands_in_a_plan_is_in_the_ledger_as_it_stood(ledger: Ledger) -> None:
    campaign_id = ledger.plans.begin(NEW, who="test", now=NOW)
    names = ['a,b\tc\\n"\n\N{SUNFLOWER}', "", "\\N"]
    batches = [
        PlannedBatch(
            numbers=numbers(3),
            rows=[2, 5, 9],
            segments=[1, 2, 3],
            fields=pack_fields({"name": names}),
            due_at=NOW,
            send_at=NOW + timedelta(hours=1),
            zone="Africa/Johannesburg",
            variant=None,
        ),
        PlannedBatch(numbers=numbers(1, start=3), rows=[11], segments=[1], fields=None, due_at=NOW),
    ]
    excluded = [
        ExcludedRow(row=row, kind=Exclusion.INVALID, number=number, reason=f"invalid: {number}")
        for row, number in enumerate(["a,b", "\\N", "\t", "],[", "\\."], 20)
    ]
    ledger.plans.append(campaign_id, first_number=1, batches=batches, excluded=excluded, now=NOW)
    totals = PlanTotals(rows=9, messages=4, invalid=5, batches=2, segments=7)
    ledger.plans.finish(campaign_id, totals, who="test", now=NOW)

    campaign = ledger.campaigns.get("c1")
    assert ledger.campaigns.counts(campaign).messages["queued"] == 4
    assert ledger.reports.discrepancies(campaign) == []
    lines = [line for line in ledger.reports.lines(campaign) if line.state == "invalid"]
    assert [(line.row, line.number, line.reason) for line in lines] == [
        (row.row, row.number, row.reason) for row in excluded
    ]
    first, second = claim(ledger), claim(ledger)
    assert (first.number, first.messages, first.segments, first.send_at) == (1, 3, 6, NOW + timedelta(hours=1))
    assert (second.number, second.messages, second.segments, second.send_at) == (2, 1, 1, None)
    content = ledger.batches.content(first)
    assert list(content.numbers) == numbers(3)
    assert list(content.rows) == [2, 5, 9]
    assert list(content.segments) == [1, 2, 3]
    assert content.fields is not None
    assert unpack_fields(content.fields) == {"name": names}


@pytest.mark.parametrize("size", [1, 5000])
def test_a_portion_of_many_rows(ledger: Ledger, size: int) -> None:
    campaign_id = ledger.plans.begin(NEW, who="test", now=NOW)
    many = 10_001 if size > 1 else 4001
    batches = [
        PlannedBatch(
            numbers=range(12025550100 + start, 12025550100 + min(start + size, many)),
            rows=range(start + 1, min(start + size, many) + 1),
            segments=[1] * (min(start + size, many) - start),
            fields=b"{}",
            due_at=NOW,
        )
        for start in range(0, many, size)
    ]
    ledger.plans.append(campaign_id, first_number=1, batches=batches, excluded=[], now=NOW)
    totals = PlanTotals(rows=many, messages=many, batches=len(batches), segments=many)
    ledger.plans.finish(campaign_id, totals, who="test", now=NOW)
    counts = ledger.campaigns.counts(ledger.campaigns.get("c1"))
    assert (counts.messages["queued"], counts.batches["pending"]) == (many, len(batches))
    content = ledger.batches.content(claim(ledger))
    assert (content.rows[0], len(content.rows)) == (1, min(size, many))


def fails_at(ledger: Ledger, call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    append, calls = ledger.plans.append, itertools.count(1)

    def failing(_self: object, *args: Any, **kwargs: Any) -> None:
        if next(calls) == call:
            raise LedgerError("the ledger refused a change: no room")
        append(*args, **kwargs)

    monkeypatch.setattr(type(ledger.plans), "append", failing)


@pytest.mark.parametrize("call", [1, 2, 4])
def test_a_write_that_fails_leaves_nothing_of_the_plan(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    monkeypatch.setattr(sys.modules["dispatcher.planning.enqueue"], "_MESSAGES_PER_COMMIT", 6)
    fails_at(ledger, call, monkeypatch)
    with pytest.raises(LedgerError, match="no room"):
        plan(ledger, listed(22))
    monkeypatch.undo()
    assert ledger.campaigns.with_key("k") is None
    plan(ledger, listed(22))
    campaign = ledger.campaigns.with_key("k")
    assert campaign is not None
    assert campaign.totals.messages == 22


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InputError("line 2")])
def test_a_plan_that_is_broken_off_leaves_nothing(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(sys.modules["dispatcher.planning.enqueue"], "_MESSAGES_PER_COMMIT", 6)
    seen: list[int] = []

    def progress(totals: PlanTotals) -> None:
        seen.append(totals.messages)
        if len(seen) == 2:
            raise error

    with pytest.raises(type(error)):
        plan(ledger, listed(22), progress=progress)
    assert ledger.campaigns.with_key("k") is None
    assert ledger.batches.claim("winsms", owner="w", now=NOW, lease=timedelta(seconds=9)) is None
