"""Canaries are planned exactly; options that cannot be meant are told."""

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dispatcher.ledger import PlannedBatch
from dispatcher.planning import count_rows
from dispatcher.planning.guard import Guard
from dispatcher.planning.order import Order
from dispatcher.template import pack_fields, unpack_fields
from tests.unit.test_cli import GOOD, HELLO, Run, people, run
from tests.unit.test_operations import START

__all__ = ["run"]


def batch(first: int, many: int) -> PlannedBatch:
    rows = range(first, first + many)
    return PlannedBatch(
        numbers=[12_025_550_100 + row for row in rows],
        rows=list(rows),
        segments=[1] * many,
        fields=pack_fields({"name": [f"n{row}" for row in rows]}),
        due_at=START,
        zone="Africa/Johannesburg",
    )


@pytest.mark.parametrize(
    ("canary", "sizes", "held"),
    [(2, [2, 3, 5, 1], 1), (5, [5, 5, 1], 1), (7, [5, 2, 3, 1], 2), (11, [5, 5, 1], 0), (50, [5, 5, 1], 0)],
)
def test_the_canary_is_cut_off_exactly(canary: int, sizes: list[int], held: int) -> None:
    asked: list[Any] = []

    def begin_canary(campaign_id: int, *, batches: int) -> None:
        asked.append((campaign_id, batches))

    ledger = SimpleNamespace(care=SimpleNamespace(begin_canary=begin_canary))
    rules = {"canary": {"messages": canary}}
    guard = Guard(Order(public_id="c1", name="x", provider="winsms", text="Hi", rules=rules), asks={})
    planned = [
        one for one in guard.steps([batch(1, 5), batch(6, 5), [], batch(11, 1)]) if isinstance(one, PlannedBatch)
    ]
    assert [len(one.numbers) for one in planned] == sizes
    assert [row for one in planned for row in one.rows] == list(range(1, 12))
    for one in planned:
        assert one.zone == "Africa/Johannesburg"
        assert one.fields is not None
        assert unpack_fields(one.fields)["name"] == [f"n{row}" for row in one.rows]
    guard.write(ledger, 7)  # type: ignore[arg-type]
    assert asked == [(7, held)]


@pytest.mark.parametrize(("content", "rows"), [("phone\n", 0), ("phone\n1\n2\n", 2), ("phone\n1\n2", 2), ("", 0)])
def test_rows_are_counted_in_a_first_pass(tmp_path: Path, content: str, rows: int) -> None:
    (tmp_path / "people.csv").write_text(content)
    assert count_rows(tmp_path / "people.csv") == rows


def test_rows_of_other_sources_are_counted_by_reading_where_that_can_be_done_twice(tmp_path: Path) -> None:
    kept = io.BytesIO(GOOD.encode())
    assert count_rows(kept) == 2
    assert kept.tell() == 0
    (tmp_path / "people.list").write_text(GOOD)
    assert count_rows(tmp_path / "people.list") == 2
    assert count_rows(io.BufferedReader(io.BytesIO(GOOD.encode()))) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--budget", "50"), "set DISPATCHER_WINSMS__PRICE to what a segment costs"),
        (("--budget", "-5"), "write an amount such as 5000"),
        (("--budget", "lots"), "write an amount such as 5000"),
        (("--breaker", "30"), "write 20% or 0.2"),
        (("--canary", "0"), "write a share such as 1%, or a number"),
        (("--canary", "0.5"), "write a share such as 1%, or a number"),
        (("--canary", "100%"), "write a share such as 1%, or a number"),
        (("--canary", "5", "--canary-wait", "soon"), "write 90s, 15m or 2h"),
        (("--canary", "5", "--canary-delivered", "most"), "write 20% or 0.2"),
        (("--priority", "high"), "--priority"),
    ],
)
def test_what_cannot_be_meant_is_told_and_nothing_is_planned(
    run: Run, tmp_path: Path, args: tuple[str, ...], told: str
) -> None:
    done = run("enqueue", people(tmp_path), *HELLO, *args)
    assert done.code == 2
    assert told in done.err
    assert "no campaigns yet" in run("list").out


def test_a_share_of_standard_input_is_refused(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("enqueue", "-", *HELLO, "--canary", "1%")
    assert done.code == 2
    assert "standard input is not known beforehand" in done.err


def test_a_budget_with_prices_by_country_names_what_has_none(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPATCHER_WINSMS__PRICES", '{"ZA": 0.25}')
    done = run("enqueue", people(tmp_path), *HELLO, "--budget", "50")
    assert (done.code, "no price is known for US" in done.err) == (2, True)
    assert "add it to DISPATCHER_WINSMS__PRICES" in done.err
    assert "no campaigns yet" in run("list").out
    monkeypatch.setenv("DISPATCHER_WINSMS__PRICES", '{"ZA": 0.25, "US": 0.04}')
    assert json.loads(run("estimate", people(tmp_path), *HELLO, "--json").out)["price"] == 0.08
    campaign = json.loads(run("enqueue", people(tmp_path), *HELLO, "--budget", "50", "--json").out)["campaign"]
    money = json.loads(run("status", campaign, "--json").out)["money"]
    assert (money["segment_price"], money["budget"], money["committed"]) == (0.04, 50, 0)
    assert "50" in run("budget", campaign).out
    assert json.loads(run("budget", campaign, "75.5", "--json").out)["left"] == 75.5
    assert json.loads(run("budget", campaign, "none", "--json").out)["budget"] is None
    assert run("budget", campaign, "x").code == 2


def test_the_rules_are_shown(run: Run, tmp_path: Path) -> None:
    rules = (
        "--canary",
        "1",
        "--canary-wait",
        "90s",
        "--canary-delivered",
        "0.5",
        "--breaker",
        "0",
        "--priority",
        "3",
    )
    campaign = json.loads(run("enqueue", people(tmp_path), *HELLO, *rules, "--json").out)["campaign"]
    found = json.loads(run("status", campaign, "--json").out)
    assert found["batches"]["pending"] == 2
    canary = {"messages": 1, "wait_seconds": 90, "delivered": 0.5, "state": "sending", "share": None}
    assert found["care"] == {"priority": 3, "breaker": None, "canary": canary}
    assert "1 message, sending; 50 % must be delivered within 1.5 min" in run("status", campaign).out
    assert "priority 7" in run("priority", campaign, "7").out
    assert json.loads(run("priority", campaign, "--json").out)["priority"] == 7
