"""Submits the best due batch: permit → claim → attempt recorded → one request → outcome recorded.

This is the only module that calls `Provider.submit`, and it does so at one place, between two commits.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from dispatcher import care, failover, spending
from dispatcher.account import Account
from dispatcher.batch import SMALL_BATCH
from dispatcher.campaign import CampaignState
from dispatcher.errors import (
    InvalidRequest,
    LedgerError,
    Misconfigured,
    MoveNotAllowed,
    NotSubmitted,
    OutcomeUnknown,
    ProviderError,
    Refused,
    Throttled,
    ThroughputUnavailable,
)
from dispatcher.failpoints import reach
from dispatcher.ledger import Answered, BatchContent, Claim, Head
from dispatcher.provider import Answers, OutgoingBatch, Prepares
from dispatcher.release import MAX_WAIT, SLICE, handover, local_hours
from dispatcher.rendering import render_content
from dispatcher.throughput import Permit

log = logging.getLogger(__name__)

_COMMIT_LEAD = 0.03
"""Seconds before the permit's instant at which claim and attempt are committed, so that the request leaves in time."""

_AT_ONCE = 0.02
"""Seconds for which an answer may wait to be recorded with the next claim."""

_CLAIM_SECONDS = 5.0
"""Seconds that a claim is held beyond the margin; what comes before the attempt takes far less."""

_TOO_LATE = "its hours, or its campaign's time, ended before the request"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step did: the batch it settled, if any, and whether it is worth going on at once."""

    outcome: str
    go_on: bool
    messages: int = 0


def work(account: Account, *, slices: int, seconds: float, stopping: Callable[[], bool]) -> list[Step]:
    """Submit batch after batch for about `seconds`, as one of at most `slices` that do so for the provider."""
    name = account.name
    length = timedelta(seconds=seconds + account.timeout + account.lease_margin)
    lease = account.ledger.leases.acquire_one(
        f"{SLICE}.{name}", slices, owner=account.who, now=account.clock(), length=length
    )
    if lease is None:
        return []
    steps: list[Step] = []
    last = Last()
    began = account.monotonic()
    until = began + seconds
    try:
        try:
            while account.monotonic() < until and not stopping():
                step = submit_next(account, last)
                steps.append(step)
                if not step.go_on:
                    break
        finally:
            last.record(account)
    finally:
        account.ledger.leases.release(lease, owner=account.who)
        if submitted := [step.messages for step in steps if step.outcome == "submitted"]:
            log.info(
                "slice.submitted provider=%s batches=%d messages=%d seconds=%.1f",
                name,
                len(submitted),
                sum(submitted),
                account.monotonic() - began,
            )
    return steps


@dataclass(slots=True)
class Last:
    """What came of a slice's last request, while it waits to be recorded with the next claim, in one transaction."""

    answered: Answered | None = None

    def record(self, a: Account) -> None:
        """Record it now, if it waits."""
        answered, self.answered = self.answered, None
        if answered is not None:
            _recording(a, lambda: a.ledger.outcomes.answered(answered))


def submit_next(account: Account, last: Last | None = None) -> Step:
    """Take the best due batch through one attempt, or find that there is nothing to do.

    With `last`, what comes of it may be left there, where the next claim follows at once: batches are small, and nothing
    limits how many go.

    Raises:
        ThroughputUnavailable: Redis is away; nothing was sent.
        LedgerError: the ledger is away; what was under way is settled when the lease ends.
    """
    a = account
    reach("before_claim")
    if spending.rests(a.ledger, a.name, a.allowance, now=a.clock()):
        return Step(outcome="no_budget", go_on=False)
    segments, lead = 1, 0.0
    small = a.provider.capabilities.messages_per_request <= SMALL_BATCH
    limited = bool(a.limits.requests_per_second or a.limits.segments_per_second)
    last = last if small and not limited and not a.allowance.per_day else None
    if limited:
        head = a.ledger.batches.head(a.name, now=a.clock())
        if head is None:
            return Step(outcome="idle", go_on=False)
        if head.options and isinstance(a.provider, Prepares):
            return _prepare_next(a, head)
        segments, lead = head.segments, _COMMIT_LEAD
    permit = a.reserve(segments=segments, max_wait=MAX_WAIT, lead=lead)
    if not permit.granted:
        return Step(outcome="waiting", go_on=False)
    if last is not None and permit.send_at() > a.monotonic() + _AT_ONCE:
        last.record(a)
    a.sleep_until(permit.send_at() - lead)
    reach("after_permit")
    held = _Held(permit=permit, segments=segments)
    # The lease runs from the commit; the request must be over, or never begin, before it ends.
    deadline, lease = _deadline(a), _lease(a)

    def ready(claim: Claim, content: BatchContent) -> bool:
        reach("after_claim")
        return _plain(claim, content) and held.covers(content.segments, a)

    taken = a.ledger.batches.claim_and_begin(
        a.name,
        owner=a.who,
        now=a.clock(),
        lease=lease,
        ready=ready,
        allowance=a.allowance,
        small=small,
        before=None if last is None else last.answered,
    )
    if last is not None:
        last.answered = None
    if taken is None:
        return Step(outcome="idle", go_on=False)
    claim, content, begun = taken
    if not begun:
        return _submit_claimed(a, claim, content, held)
    reach("after_attempt")
    batch = render_content(claim.campaign, claim.number, content, scheduled_for=None)
    return _send(a, claim, content, batch, permit, until=None, deadline=deadline, last=last)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """A permit that was reserved for so many segments, before it was known for which batch."""

    permit: Permit
    segments: int

    def covers(self, segments: Sequence[int], a: Account) -> bool:
        return a.limits.segments_per_second is None or sum(segments) <= self.segments


def _deadline(a: Account) -> float:
    return a.monotonic() + a.timeout + MAX_WAIT


def _lease(a: Account) -> timedelta:
    return timedelta(seconds=a.timeout + MAX_WAIT + a.lease_margin)


def _plain(claim: Claim, content: BatchContent) -> bool:
    """Whether a claimed batch needs no more than its request: it has no time of its own, and nothing to prepare."""
    timed = claim.send_at is not None or claim.zone is not None or claim.expires_at is not None
    return bool(content.positions) and not timed and not content.options


def _prepare_next(a: Account, head: Head) -> Step:
    """Claim what needs calls beforehand: these take their time, so the permit comes after them."""
    # Asked first, so that a claim is not taken and handed back again and again while throughput is short.
    if a.throughput.wait(a.name, a.limits, segments=head.segments) > MAX_WAIT:
        return Step(outcome="waiting", go_on=False)
    lease = timedelta(seconds=_CLAIM_SECONDS + a.timeout + a.lease_margin)
    claim = a.ledger.batches.claim(a.name, owner=a.who, now=a.clock(), lease=lease, allowance=a.allowance)
    if claim is None:
        return Step(outcome="idle", go_on=False)
    reach("after_claim")
    return _submit_claimed(a, claim, a.ledger.batches.content(claim), None)


def _submit_claimed(a: Account, claim: Claim, content: BatchContent, held: _Held | None) -> Step:
    """Take a claimed batch through its attempt, or hand it back."""
    content = _expressible(a, content)
    if not content.positions:
        a.ledger.outcomes.hand_back(claim, now=a.clock(), why="nobody left to send to")
        return Step(outcome="empty", go_on=True)
    now, hours = a.clock(), local_hours(claim.rules, claim.zone)
    careful = bool(content.options.get("reconcilable"))
    way = handover(
        claim.send_at,
        a.provider.capabilities,
        now=now,
        hours=hours,
        reconcilable=careful,
        expires_at=claim.expires_at,
    )
    if way.due_at > now:
        a.ledger.outcomes.hand_back(claim, now=now, why=way.why, due_at=way.due_at)
        if hours is not None:
            a.ledger.timing.hold(claim, until=way.due_at, why=way.why, now=now)
        return Step(outcome="held", go_on=True)
    batch = render_content(claim.campaign, claim.number, content, scheduled_for=way.scheduled_for)
    if batch.options and not _prepared(a, claim, batch):
        return Step(outcome="not_prepared", go_on=False)
    ends = [end for end in (way.until, claim.expires_at) if end is not None]
    return _attempt(a, claim, content, batch, held, until=min(ends, default=None))


def _attempt(
    a: Account,
    claim: Claim,
    content: BatchContent,
    batch: OutgoingBatch,
    held: _Held | None,
    *,
    until: datetime | None,
) -> Step:
    """Record the attempt of a claimed batch just before its permit's instant, and send it."""
    segments = sum(batch.segments)
    if held is not None and held.covers(batch.segments, a) and not held.permit.late(a.monotonic()):
        permit = held.permit
    else:
        try:
            permit = a.reserve(segments=segments, max_wait=MAX_WAIT, lead=_COMMIT_LEAD)
        except ThroughputUnavailable as error:
            a.ledger.outcomes.hand_back(claim, now=a.clock(), why=str(error))
            raise
        if not permit.granted:
            a.ledger.outcomes.hand_back(claim, now=a.clock(), why="throughput")
            return Step(outcome="waiting", go_on=False)
        reach("after_permit")
    a.sleep_until(permit.send_at() - _COMMIT_LEAD)
    if until is not None and a.clock() >= until:
        a.ledger.outcomes.hand_back(claim, now=a.clock(), why=_TOO_LATE)
        return Step(outcome="withdrawn", go_on=True)
    deadline, lease = _deadline(a), _lease(a)
    if not a.ledger.batches.begin_attempt(claim, now=a.clock(), lease=lease, scheduled_for=batch.scheduled_for):
        short = spending.stop_if_short(a.ledger, claim, who=a.who, now=a.clock())
        a.ledger.outcomes.hand_back(
            claim, now=a.clock(), why=short or "not attempted: paused, cancelled, expired, or lease ended"
        )
        return Step(outcome="withdrawn", go_on=True)
    reach("after_attempt")
    return _send(a, claim, content, batch, permit, until=until, deadline=deadline)


def _send(
    a: Account,
    claim: Claim,
    content: BatchContent,
    batch: OutgoingBatch,
    permit: Permit,
    *,
    until: datetime | None,
    deadline: float,
    last: Last | None = None,
) -> Step:
    """Make the request of a recorded attempt at the permit's instant; a permit missed is replaced by another."""
    try:
        a.sleep_until(permit.send_at())
        while permit.late(a.monotonic()):
            permit = a.reserve(segments=sum(batch.segments), max_wait=MAX_WAIT)
            if not permit.granted or permit.send_at() > deadline - a.timeout:
                a.ledger.outcomes.not_submitted(claim, now=a.clock(), why="its permit came too late")
                return Step(outcome="waiting", go_on=False)
            a.sleep_until(permit.send_at())
    except ThroughputUnavailable as error:
        a.ledger.outcomes.not_submitted(claim, now=a.clock(), why=str(error))
        raise
    if until is not None and a.clock() >= until:  # the ledger may have kept the attempt waiting
        a.ledger.outcomes.not_submitted(claim, now=a.clock(), why=_TOO_LATE)
        return Step(outcome="withdrawn", go_on=True)
    return _request(a, claim, content, batch, deadline=deadline, last=last)


def _prepared(a: Account, claim: Claim, batch: OutgoingBatch) -> bool:
    """Make the idempotent calls that the batch needs beforehand, if any; hand it back where they fail."""
    if not isinstance(a.provider, Prepares):
        return True
    try:
        if a.wait_to_look_up(max_wait=MAX_WAIT):
            a.provider.prepare(batch)
            return True
        why, seconds = "throughput", 1.0
    except ProviderError as error:
        # The number of the claim, since no attempt is made before this has succeeded.
        why, seconds = str(error), min(60.0, 2.0 ** min(claim.attempt, 6))
        if isinstance(error, Throttled):
            a.throttled(error.retry_after)
        if isinstance(error, Refused):
            _stop(a, claim, why, account=_is_account(error))
        elif not isinstance(error, Throttled):
            _not_reached(a, claim, why)
    a.ledger.outcomes.hand_back(claim, now=a.clock(), why=why, due_at=a.clock() + timedelta(seconds=seconds))
    return False


def _request(
    a: Account, claim: Claim, content: BatchContent, batch: OutgoingBatch, *, deadline: float, last: Last | None
) -> Step:
    """Make the one request, and record what came of it."""
    began = a.monotonic()
    outcomes = a.ledger.outcomes
    window = a.provider.capabilities.receipt_window
    try:
        answers = a.provider.submit(replace(batch, deadline=deadline))
    except Throttled as error:
        why = str(error)
        _recording(a, lambda: outcomes.not_submitted(claim, now=a.clock(), why=why))
        a.throttled(error.retry_after)
        return _told(a, claim, "throttled", began, go_on=False, why=why)
    except NotSubmitted as error:
        why = str(error)
        due_at = a.clock() + timedelta(seconds=min(60, 2 ** min(claim.tried + 1, 6)))
        _recording(a, lambda: outcomes.not_submitted(claim, now=a.clock(), why=why, due_at=due_at))
        _not_reached(a, claim, why)
        return _told(a, claim, "not_submitted", began, go_on=False, why=why)
    except OutcomeUnknown as error:
        why = str(error)
        _recording(a, lambda: outcomes.unknown(claim, now=a.clock(), why=why, receipt_window=window))
        care.judge(a.ledger, who=a.who, now=a.clock(), campaign=claim.campaign)
        return _told(a, claim, "unknown", began, go_on=True, why=why)
    except Refused as error:
        why = str(error)
        if _is_account(error):
            # Settings, credentials or credit: nothing is wrong with the batch, so it waits for a person to mend them.
            _recording(a, lambda: outcomes.not_submitted(claim, now=a.clock(), why=why))
            _stop(a, claim, why, account=True)
        else:
            _recording(a, lambda: outcomes.refused(claim, now=a.clock(), why=why))
            _stop(a, claim, f"refused as malformed: {why}", account=False)
        return _told(a, claim, "not_submitted" if _is_account(error) else "refused", began, go_on=True, why=why)
    reach("after_answer")
    answered = Answered(claim=claim, content=content, answers=answers, now=a.clock(), receipt_window=window)
    if last is not None and answered.plain:
        last.answered = answered
    else:
        _recording(a, lambda: outcomes.answered(answered))
        reach("after_outcome")
    _suppress_opted_out(a, batch, answers)
    failover.reached(a.ledger, claim)
    if answers.pause is not None:
        _stop(a, claim, answers.pause, account=True)
    elif answers.refused or answers.missing:
        care.judge(a.ledger, who=a.who, now=a.clock(), campaign=claim.campaign)
    return _told(a, claim, "submitted", began, go_on=True)


def _recording(a: Account, record: Callable[[], bool]) -> None:
    """Record an outcome, however long the ledger is away, until the lease's margin is used up.

    What cannot be recorded is settled as unknown when the lease ends: the outcome is lost, never the doubt.
    """
    until = a.monotonic() + a.lease_margin * 0.8
    while True:
        try:
            record()
        except LedgerError:
            if a.monotonic() > until:
                raise
            a.sleep(0.25)
        else:
            return


def _expressible(a: Account, content: BatchContent) -> BatchContent:
    """Leave out the options that were meant for another provider of the campaign, and that mean nothing here."""
    can = a.provider.capabilities.options
    options = {name: value for name, value in content.options.items() if name in can or name not in failover.FOR_ONE}
    return content if len(options) == len(content.options) else replace(content, options=options)


def _is_account(error: Refused) -> bool:
    """Whether the account was refused, and not what was asked of it."""
    return isinstance(error, Misconfigured) or not isinstance(error, InvalidRequest)


def _not_reached(a: Account, claim: Claim, why: str) -> None:
    after = timedelta(seconds=a.failover_after)
    failover.not_reached(a.ledger, claim, why, after=after, who=a.who, now=a.clock())


def _stop(a: Account, claim: Claim, why: str, *, account: bool) -> None:
    """Stop a campaign at this provider: another one takes over where the account is in trouble, else it is paused."""
    if account and failover.leave(a.ledger, claim.campaign, a.name, why, who=a.who, now=a.clock()):
        return
    reason = why if why.startswith(a.name) else f"{a.name}: {why}"
    campaign = a.ledger.campaigns.get(claim.campaign)
    try:
        a.ledger.campaigns.move(campaign, CampaignState.PAUSED, who=a.who, now=a.clock(), reason=reason)
    except MoveNotAllowed:
        return  # cancelled or completed meanwhile: there is nothing left to pause
    log.warning("campaign.paused campaign=%s reason=%s", claim.campaign, reason)


def _suppress_opted_out(a: Account, batch: OutgoingBatch, answers: Answers) -> None:
    opted_out = {
        batch.numbers[index]: f"{a.name}: {refusal.reason}"
        for index, refusal in answers.refused.items()
        if refusal.opted_out
    }
    if opted_out:
        a.ledger.suppressions.add(opted_out, source=a.name, now=a.clock())


def _told(a: Account, claim: Claim, outcome: str, began: float, *, go_on: bool, why: str = "") -> Step:
    # A line for each of a million messages that went well would hide the rest; their slice has one, the ledger has all.
    well = logging.DEBUG if claim.messages <= SMALL_BATCH else logging.INFO
    log.log(
        well if outcome == "submitted" else logging.WARNING,
        "batch.%s campaign=%s batch=%d attempt=%d messages=%d segments=%d seconds=%.3f%s",
        outcome,
        claim.campaign,
        claim.number,
        claim.attempt,
        claim.messages,
        claim.segments,
        a.monotonic() - began,
        f" why={why}" if why else "",
    )
    return Step(outcome=outcome, go_on=go_on, messages=claim.messages)
