"""Providers whose pages have no end: every question ends all the same, and says why."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from dispatcher import receipts, suppression
from dispatcher.cli import orders
from dispatcher.errors import InputError
from dispatcher.provider import (
    Awaited,
    Capabilities,
    ContactPage,
    OptOut,
    OptOutPage,
    Recall,
    ReceiptPage,
    ScheduledMessage,
    ScheduledPage,
)
from tests.unit.test_operations import START, Obedient, World, world

__all__ = ["world"]


class Endless(Obedient):
    """Has always one more page."""

    def fetch_receipts(self, awaited: Sequence[Awaited], page: str | None = None, /) -> ReceiptPage:
        return ReceiptPage(receipts=[], next_page=str(int(page or 0) + 1))

    def opt_outs(self, page: str | None = None, /) -> OptOutPage:
        return OptOutPage(opt_outs=[OptOut(number=12025550199, reason="STOP")], next_page="more")

    def list_scheduled(self, page: str | None = None, /) -> ScheduledPage:
        held = ScheduledMessage(provider_message_id="1", number=12025550100, send_at=START)
        return ScheduledPage(messages=[held], total=10**9, next_page="more")

    def recall(self, provider_message_ids: Sequence[str], /) -> Sequence[Recall]:
        return []

    def contacts_with_tag(self, tag: str, page: str | None = None, /) -> ContactPage:
        return ContactPage(rows=[{"phone": "+12025550100"}], next_page="more")


@pytest.fixture
def endless(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    for module in (receipts, suppression, orders):
        monkeypatch.setattr(module, "MOST_PAGES", 5)
    world.provider = Endless(
        capabilities=Capabilities(
            messages_per_request=3, schedule_ahead=timedelta(days=30), ids_per_receipt_request=9
        )
    )
    return world


def test_receipts(endless: World) -> None:
    endless.enqueue()
    assert endless.step() == "submitted"
    polled = receipts.poll(endless.account, every=timedelta(seconds=30))
    assert polled.requests == 5
    assert "it goes on after" in (polled.left or "")


def test_what_is_scheduled(endless: World) -> None:
    endless.enqueue(send_at=START + timedelta(hours=2))
    assert endless.step() == "submitted"
    compared = receipts.compare_scheduled(endless.account)
    assert compared is not None
    assert compared.missing == 0
    assert "it goes on after" in (compared.left or "")


def test_opt_outs(endless: World) -> None:
    synced = suppression.sync(endless.account)
    assert (synced.seen, synced.added) == (5, 1)
    assert "it goes on after" in (synced.left or "")


def test_people_with_a_tag(endless: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Runtime:
        def provider(self, name: str) -> Any:
            return endless.provider

    monkeypatch.setattr(orders, "usable", lambda *_, **__: endless.provider)
    monkeypatch.setattr(orders, "take_lookup", lambda *_: None)
    with pytest.raises(InputError, match="it goes on after"):
        orders._tagged(Runtime(), "endless", "vip")  # type: ignore[arg-type]
