"""The measuring sticks measure: every script runs, small, and checks its sums; no time is asserted."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import phonenumbers
import pytest
from pydantic import SecretStr

from benchmarks import people
from benchmarks.figures import Figure, keep
from benchmarks.limiter import most_in_a_second
from benchmarks.options import Options
from benchmarks.plot import draw
from benchmarks.stage import counting_server
from dispatcher.message import MessageState
from dispatcher.provider import Awaited, OutgoingBatch
from dispatcher.providers.winsms import Settings, WinSMS

BENCHMARKS = {"plan", "send", "receipts", "notations", "usual", "netsapiens", "status", "cancel", "idle", "growth"}


def batch(many: int, *, personal: bool) -> OutgoingBatch:
    return OutgoingBatch(
        reference="0" * 32,
        numbers=[people.number(index, seed=1) for index in range(many)],
        references=[f"{index:032}" for index in range(many)],
        segments=[1] * many,
        text=None if personal else "Hello",
        texts=[f"Hello {index}" for index in range(many)] if personal else None,
    )


def test_people_are_distinct_and_all_their_numbers_are_valid():
    numbers = {people.number(index, seed=3) for index in range(20_000)}
    assert len(numbers) == 20_000
    for number in sorted(numbers)[::40]:
        assert phonenumbers.is_valid_number(phonenumbers.parse(f"+{number}"))
    for index in range(200):
        phone, *_ = people.row(index, seed=3, mixed=True)
        assert phonenumbers.parse(phone, "ZA").national_number == people.number(index, seed=3) % 10**9


def test_a_thousand_of_the_texts_fit_into_one_request():
    longest = max(
        (people.row(index, seed=1) for index in range(2_000)), key=lambda row: len(row[1] + row[2] + row[3])
    )
    text = people.TEXT.replace("{first_name}", longest[1]).replace("{code}", longest[3])
    text = text.replace("{town|the depot}", longest[2] or "the depot")
    assert len(text) <= people.LONGEST_TEXT


@pytest.mark.parametrize("personal", [True, False])
def test_the_counting_server_answers_like_winsms_and_counts(personal):
    with counting_server(distinct=True) as server:
        account = WinSMS(Settings(base_url=server.url, api_key=SecretStr("bench"), requests_per_second=None))
        theirs = [account.submit(batch(many, personal=personal)).provider_message_ids for many in (1000, 7)]
        told = server.told()
        assert (told.requests, told.recipients, told.distinct) == (2, 1007, 1000)
        ids = [one for answer in theirs for one in answer if one]
        assert len(set(ids)) == 1007
        awaited = [
            Awaited(message_id=at, number=1, reference="", provider_message_id=one, provider_reference=None)
            for at, one in enumerate(ids[:1000])
        ]
        found = account.fetch_receipts(awaited).receipts
        assert [receipt.message_id for receipt in found] == list(range(1000))
        assert {receipt.state for receipt in found} == {MessageState.DELIVERED}
        server.reset()
        assert server.told().recipients == 0


def test_the_most_in_a_second():
    assert most_in_a_second([]) == 0
    assert most_in_a_second([0.0, 0.5, 0.99, 1.0, 1.49]) == 4


def test_a_figure_replaces_the_earlier_one_of_the_same(tmp_path):
    figure = Figure(
        benchmark="plan", what="w", unit="rows/s", values=[5.0, 7.0, 6.0], engine="sqlite", rows=9, bar=6.0
    )
    taken = {"load": "0.1"}
    keep([figure, replace(figure, engine="postgresql")], taken, {"processor": "p"}, folder=tmp_path)
    keep([replace(figure, values=[4.0])], taken, {"processor": "p"}, folder=tmp_path)
    kept = json.loads((tmp_path / "results.json").read_text())["figures"]
    assert [(one["engine"], one["median"], one["met"]) for one in kept] == [
        ("postgresql", 6.0, True),
        ("sqlite", 4.0, False),
    ]
    assert "| **no** |" in (tmp_path / "results.md").read_text()
    draw(tmp_path)
    assert (tmp_path / "results.svg").stat().st_size > 1000


def test_a_quick_run_is_held_to_no_bar():
    assert Options(quick=True).bar(3.0) is None
    assert Options().bar(3.0) == 3.0


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_every_script_runs_and_its_sums_are_right(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--engine", "sqlite", "--results", str(tmp_path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=580,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    kept = json.loads((tmp_path / "results.json").read_text())["figures"]
    assert {one["benchmark"] for one in kept} == BENCHMARKS | {"limiter"}
    assert all(one["bar"] is None for one in kept)
