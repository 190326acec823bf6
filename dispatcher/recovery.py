"""Settles what dead workers and lost answers left behind, and moves campaigns on."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from dispatcher import care
from dispatcher.account import PATIENCE, Account
from dispatcher.campaign import CampaignState
from dispatcher.errors import InvalidRequest, ProviderError, Throttled, Unreachable
from dispatcher.ledger import BatchContent, Doubt, Ledger
from dispatcher.provider import Answers, FindsLost, LookUp, Verdict
from dispatcher.rendering import render_content

log = logging.getLogger(__name__)

_FIRST_LOOK = timedelta(seconds=5)
_LONGEST_PAUSE = timedelta(hours=1)
_MOST_LOSSES = 3
"""Of so many attempts of one batch the answers may be lost; then it is not sent again without a person.

Each time it was seen to be absent, yet nobody knows what ails the provider: it may carry out what it lists much later.
"""


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
    expired = ledger.outcomes.settle_expired(now=now, receipt_windows=receipt_windows)
    cancelled = ledger.campaigns.settle_cancelled(who=who, now=now)
    out_of_time = ledger.campaigns.settle_out_of_time(who=who, now=now)
    closed = ledger.receipts.close_windows(who=who, now=now)
    drafts = ledger.plans.discard_abandoned(now=now)
    care.judge(ledger, who=who, now=now)
    moved = ledger.campaigns.advance(who=who, now=now)
    if expired:
        log.warning("leases.expired batches=%d", expired)
    for campaign, state in moved:
        log.info("campaign.%s campaign=%s", state.value, campaign)
    if out_of_time:
        log.info("campaign.expired batches=%d", out_of_time)
    return Swept(expired=expired, cancelled=cancelled + out_of_time, closed=closed, drafts=drafts, moved=tuple(moved))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """What looking up lost batches came to, in batches. `left` tells why it ended early."""

    adopted: int = 0
    freed: int = 0
    open: int = 0
    left: str | None = None


def reconcile(account: Account, *, seconds: float = 20.0, max_wait: float = 2.0) -> Reconciled:
    """Look up what is unknown by the means that the provider gives, and settle what that proves, for about `seconds`.

    What cannot be proven stays unknown: it is never sent again by hope.
    """
    a = account
    adopted = freed = still = 0
    until = a.monotonic() + seconds
    for doubt in a.ledger.doubts.due(a.name, now=a.clock()):
        if a.monotonic() > until:  # whoever looks up alone does so under a lease, which must not end first
            return Reconciled(adopted=adopted, freed=freed, open=still, left="more is due")
        # What is absent is so at the moment of the question.
        asked_at = a.clock()
        content = a.ledger.doubts.content(doubt)
        try:
            found = _look_up(a, doubt, content, max_wait=max_wait)
        except InvalidRequest as error:
            # Something is wrong with this question alone: the others go on.
            found = LookUp(verdict=Verdict.UNCLEAR, evidence=str(error))
        except ProviderError as error:
            if isinstance(error, Throttled):
                a.throttled(error.retry_after)
            log.warning("lookup.failed provider=%s batch=%s/%d why=%s", a.name, doubt.campaign, doubt.number, error)
            return Reconciled(adopted=adopted, freed=freed, open=still, left=str(error))
        settled = _conclude(a, doubt, content, found, asked_at=found.seen_at or asked_at)
        adopted += settled == "adopted"
        freed += settled == "freed"
        still += settled == "open"
        log.warning(
            "lookup.%s provider=%s batch=%s/%d evidence=%s",
            settled,
            a.name,
            doubt.campaign,
            doubt.number,
            found.evidence,
        )
    return Reconciled(adopted=adopted, freed=freed, open=still)


def decide(
    ledger: Ledger, doubt: Doubt, decision: str, *, who: str, now: datetime, receipt_window: timedelta
) -> bool:
    """Settle a doubt as a person decides: `submitted`, `resend` or `give-up`. False where it was settled meanwhile."""
    if decision == "resend":
        return ledger.doubts.free(doubt, evidence="a person decided to send it again", who=who, now=now)
    if decision == "give-up":
        return bool(ledger.doubts.give_up(doubt, who=who, now=now))
    content = ledger.doubts.content(doubt)
    many = len(content.positions)
    return ledger.doubts.adopt(
        doubt,
        content,
        Answers(provider_message_ids=[None] * many, costs=[None] * many),
        evidence="a person says that it was submitted",
        who=who,
        now=now,
        receipt_window=receipt_window,
    )


def _look_up(a: Account, doubt: Doubt, content: BatchContent, *, max_wait: float) -> LookUp:
    if not isinstance(a.provider, FindsLost):
        return LookUp(verdict=Verdict.NEVER, evidence=f"{a.name} has no means to find a lost batch")
    patience = max_wait

    def wait() -> None:
        nonlocal patience
        if not a.wait_to_look_up(max_wait=patience):
            raise Unreachable("no throughput for look-ups at this moment")
        patience = PATIENCE  # what has begun is waited for: the next look would begin at the first page again

    if not content.positions:
        return LookUp(verdict=Verdict.NEVER, evidence="nothing of it is unknown any more")
    found = a.provider.find(
        render_content(doubt.campaign, doubt.number, content, scheduled_for=doubt.scheduled_for),
        doubt.attempted_at,
        wait,
    )
    return _without_others(a, doubt, content, found)


def _without_others(a: Account, doubt: Doubt, content: BatchContent, found: LookUp) -> LookUp:
    """Leave out what the ledger knows to be messages of other batches: a provider may not tell them from these."""
    answers = found.answers
    if answers is None or not any(answers.provider_message_ids):
        return found
    others = a.ledger.doubts.ids_of_others(doubt, content.numbers)
    theirs = {at for at, one in enumerate(answers.provider_message_ids) if one is not None and one in others}
    if not theirs:
        return found
    missing = answers.missing | theirs
    evidence = f"{found.evidence}, {len(theirs)} of them other batches'"
    if len(missing) + len(answers.refused) == len(content.positions):
        return LookUp(verdict=Verdict.UNCLEAR, evidence=evidence)
    return replace(found, evidence=evidence, answers=replace(answers, missing=missing))


def _conclude(a: Account, doubt: Doubt, content: BatchContent, found: LookUp, *, asked_at: datetime) -> str:
    """Write down what a look-up proves; return adopted, freed or open."""
    doubts, now, evidence = a.ledger.doubts, a.clock(), found.evidence
    can = a.provider.capabilities
    again = now + min(max(_FIRST_LOOK, (now - doubt.attempted_at) / 4), _LONGEST_PAUSE)
    match found.verdict:
        case Verdict.FOUND if found.answers is not None:
            doubts.adopt(
                doubt,
                content,
                found.answers,
                evidence=evidence,
                who=a.who,
                now=now,
                receipt_window=can.receipt_window,
                look_again_at=again,
            )
            return "adopted"
        case Verdict.NEVER:
            doubts.postpone(doubt, until=None, evidence=evidence, who=a.who, now=now)
            return "open"
        case Verdict.ABSENT if can.lookup_grace is not None and doubt.whole:
            ripe_at = doubt.attempted_at + can.lookup_grace
            losses = doubts.losses(doubt)
            if asked_at < ripe_at:
                again = max(now + _FIRST_LOOK, min(again, ripe_at))
            elif losses >= _MOST_LOSSES:
                evidence = f"{evidence}; lost {losses} times, so a person decides"
            elif doubts.free(doubt, evidence=evidence, who=a.who, now=now):
                return "freed"
    doubts.postpone(doubt, until=again, evidence=evidence, who=a.who, now=now)
    return "open"
