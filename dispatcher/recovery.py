"""Settles what dead workers left behind, and moves campaigns on: the pump runs it again and again."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from dispatcher.campaign import CampaignState
from dispatcher.ledger import Ledger

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one sweep found and settled."""

    expired: int = 0
    cancelled: int = 0
    closed: int = 0
    drafts: int = 0
    moved: tuple[tuple[str, CampaignState], ...] = ()


def sweep(ledger: Ledger, *, receipt_windows: Mapping[str, timedelta], who: str, now: datetime) -> Swept:
    """Settle ended leases, write down cancels, close receipt windows, remove dead drafts, start and complete.

    Any number of processes may sweep at once.
    """
    expired = ledger.batches.settle_expired(now=now, receipt_windows=receipt_windows)
    cancelled = ledger.campaigns.settle_cancelled(who=who, now=now)
    closed = ledger.receipts.close_windows(who=who, now=now)
    drafts = ledger.plans.discard_abandoned(now=now)
    moved = ledger.campaigns.advance(who=who, now=now)
    if expired:
        log.warning("leases.expired batches=%d", expired)
    for campaign, state in moved:
        log.info("campaign.%s campaign=%s", state.value, campaign)
    return Swept(expired=expired, cancelled=cancelled, closed=closed, drafts=drafts, moved=tuple(moved))
