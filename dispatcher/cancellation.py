"""Stops campaigns: pause, resume, cancel; and takes back what a provider holds to send later."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from dispatcher import failover
from dispatcher.account import Account
from dispatcher.campaign import CampaignState
from dispatcher.errors import MoveNotAllowed, ProviderError, Throttled
from dispatcher.ledger import Campaign, Ledger
from dispatcher.provider import Schedules, StopsBatches
from dispatcher.release import pace_anew

log = logging.getLogger(__name__)

_CANCEL_SECONDS = 0.4
"""Seconds that a cancel takes for writing down what it means, however large the campaign."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """What came of taking messages back.

    `refused` messages (or whole batches, where a provider stops those) are past taking back; `left` of them are
    still to be asked for, for the reason `why`.
    """

    messages: int = 0
    refused: int = 0
    refunded: Decimal = Decimal(0)
    left: int = 0
    why: str | None = None

    def __add__(self, other: "Recalled") -> "Recalled":
        """Return both as one."""
        return Recalled(
            messages=self.messages + other.messages,
            refused=self.refused + other.refused,
            refunded=self.refunded + other.refunded,
            left=self.left + other.left,
            why=self.why or other.why,
        )


def pause(ledger: Ledger, campaign: Campaign, *, who: str, now: datetime, reason: str) -> bool:
    """Stop new requests of a campaign; what is in flight ends. False where it was paused already."""
    return ledger.campaigns.move(campaign, CampaignState.PAUSED, who=who, now=now, reason=reason)


def resume(ledger: Ledger, campaign: Campaign, *, who: str, now: datetime) -> bool:
    """Let a paused campaign go on. False where it was not paused.

    Raises:
        MoveNotAllowed: it has ended.
    """
    current = ledger.campaigns.get(campaign.public_id)
    if current.state in (CampaignState.RUNNING, CampaignState.SCHEDULED):
        return False
    if current.state is not CampaignState.PAUSED:
        raise MoveNotAllowed(f"campaign {current.public_id} is {current.state.value}: it cannot be resumed")
    ledger.care.restart(current)
    later = current.send_at is not None and current.send_at > now
    state = CampaignState.SCHEDULED if later else CampaignState.RUNNING
    pace_anew(ledger, current, now=now)
    return ledger.campaigns.move(current, state, who=who, now=now)


def cancel(
    ledger: Ledger,
    campaign: Campaign,
    *,
    who: str,
    clock: Callable[[], datetime],
    seconds: float = _CANCEL_SECONDS,
) -> bool:
    """Stop a campaign for good. False where it was cancelled already.

    The first commit is the cancel: no attempt begins after it. The rest writes down, in portions and for about
    `seconds`, what that means for each message; what is left of that is done by the workers' sweep.
    """
    until = clock() + timedelta(seconds=seconds)
    first = ledger.campaigns.move(campaign, CampaignState.CANCELLED, who=who, now=clock(), reason="by hand")
    while ledger.campaigns.settle_cancelled(who=who, now=clock(), campaign_id=campaign.id) and clock() < until:
        pass
    return first


def recall(
    account: Account, *, campaign: Campaign | None = None, max_wait: float = 2.0, seconds: float = 30.0
) -> Recalled:
    """Take back what cancelled campaigns (or one of them) still have scheduled at the provider.

    No request begins after `seconds`; what is left then is told, and the next call goes on with it.
    """
    a = account
    if isinstance(a.provider, StopsBatches):
        return _stop_batches(a, a.provider, campaign=campaign, max_wait=max_wait, until=a.monotonic() + seconds)
    if not isinstance(a.provider, Schedules):
        return Recalled()
    waiting = a.ledger.receipts.to_recall(
        a.name, now=a.clock(), campaign_id=None if campaign is None else campaign.id
    )
    return _take_back(a, a.provider, waiting, why="recalled from the provider", max_wait=max_wait, seconds=seconds)


def recall_opted_out(account: Account, *, max_wait: float = 2.0, seconds: float = 30.0) -> Recalled:
    """Take back what the provider holds for people who opted out after it was handed over.

    A provider that can only stop a whole batch is not asked: the others in it are to be sent to.
    """
    a = account
    if not isinstance(a.provider, Schedules):
        return Recalled()
    waiting = a.ledger.receipts.opted_out(a.name, now=a.clock())
    why = "opted out; recalled from the provider"
    recalled = _take_back(a, a.provider, waiting, why=why, max_wait=max_wait, seconds=seconds)
    if waiting:
        log.info("optouts.recalled provider=%s messages=%d of=%d", a.name, recalled.messages, len(waiting))
    return recalled


def _take_back(
    a: Account, provider: Schedules, waiting: dict[str, int], *, why: str, max_wait: float, seconds: float
) -> Recalled:
    """Take scheduled messages back (the provider's id → ours), and record what the provider confirms."""
    ids = list(waiting)
    done, refused, refunded = 0, 0, Decimal(0)
    most = a.provider.capabilities.messages_per_request
    until = a.monotonic() + seconds
    for start in range(0, len(ids), most):
        left = len(ids) - start
        no_more = _no_more(a, until, max_wait)
        if no_more is not None:
            return Recalled(messages=done, refused=refused, refunded=refunded, left=left, why=no_more)
        try:
            answers = provider.recall(ids[start : start + most])
        except ProviderError as error:
            if isinstance(error, Throttled):
                a.throttled(error.retry_after)
            log.warning("recall.failed provider=%s why=%s", a.name, error)
            return Recalled(messages=done, refused=refused, refunded=refunded, left=left, why=str(error))
        back = {
            waiting[answer.provider_message_id]: answer.refunded
            for answer in answers
            if answer.recalled and answer.provider_message_id in waiting
        }
        done += a.ledger.receipts.record_recalled(back, who=a.who, now=a.clock(), why=why)
        refused += sum(not answer.recalled for answer in answers)
        refunded += sum((amount for amount in back.values() if amount is not None), Decimal(0))
    return Recalled(messages=done, refused=refused, refunded=refunded)


def _no_more(a: Account, until: float, max_wait: float) -> str | None:
    """Wait for the throughput of one more request; return why there is none."""
    if a.monotonic() > until:
        return "there is much to take back"
    return None if a.wait_to_look_up(max_wait=max_wait) else "throughput"


def _stop_batches(
    a: Account, provider: StopsBatches, *, campaign: Campaign | None, max_wait: float, until: float
) -> Recalled:
    """Stop whole batches, for a provider that takes them back so."""
    batches = a.ledger.receipts.to_stop(a.name, campaign_id=None if campaign is None else campaign.id)
    done = refused = left = 0
    refunded = Decimal(0)
    why: str | None = None
    for index, (batch_id, provider_reference) in enumerate(batches.items()):
        no_more = _no_more(a, until, max_wait)
        if no_more is not None:
            left, why = left + len(batches) - index, no_more
            break
        try:
            stopped = provider.stop(provider_reference)
        except ProviderError as error:
            log.warning("stop.failed provider=%s why=%s", a.name, error)
            left, why = left + 1, str(error)
            if isinstance(error, Throttled):
                a.throttled(error.retry_after)
                left += len(batches) - index - 1
                break
            continue  # the others may be stopped all the same
        told = stopped.reason or ("stopped" if stopped.stopped else "not stopped")
        unsent = stopped.stopped and stopped.unsent
        done += a.ledger.receipts.record_stopped(batch_id, unsent=unsent, why=told, who=a.who, now=a.clock())
        refused += not stopped.stopped
        refunded += stopped.refunded or Decimal(0)
    return Recalled(messages=done, refused=refused, refunded=refunded, left=left, why=why)


def to_take_back(ledger: Ledger, campaign: Campaign, *, now: datetime) -> list[str]:
    """Return the providers that may still hold something of a cancelled campaign."""
    return [
        provider
        for provider in failover.providers_of(campaign)
        if ledger.receipts.to_recall(provider, now=now, campaign_id=campaign.id)
        or ledger.receipts.to_stop(provider, campaign_id=campaign.id)
    ]
