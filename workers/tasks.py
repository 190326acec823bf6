"""The tasks: each gets its account and calls one operation."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from dispatcher import cancellation, privacy, providers, receipts, recovery, submission, suppression
from dispatcher.account import Account
from dispatcher.errors import LedgerError, ProviderError, ThroughputUnavailable
from dispatcher.provider import RenewsSubscriptions
from dispatcher.release import BEAT
from workers import pump
from workers.app import PERIODIC, app
from workers.process import runtime

log = logging.getLogger(__name__)

SLICE_SECONDS = 1.5
_POLL_SECONDS = 20.0
_RENEW_AHEAD = timedelta(hours=1)


@app.task(name="submit")
def submit(provider: str) -> None:
    """Submit what is due for a provider, for a second or two."""
    pump.busy.add(threading.get_ident())
    try:
        steps = submission.work(
            runtime.account(provider), slices=pump.slices(), seconds=SLICE_SECONDS, stopping=pump.stopping.is_set
        )
    except (LedgerError, ThroughputUnavailable) as error:
        # Nothing is lost: the pump rings again, and what was under way is settled when its lease ends.
        log.warning("submit.interrupted provider=%s why=%s", provider, error)
        return
    finally:
        pump.busy.discard(threading.get_ident())
    if any(step.messages for step in steps):
        pump.worked()
    if steps and steps[-1].go_on and not pump.stopping.is_set():
        pump.ring(app, provider)  # there is more: the pump need not find that out first


@app.task(name="periodic")
def ring_periodic(every: float) -> None:
    """Leave a sign that beat is alive (nothing else would tell), and ring for the receipts and look-ups that are due."""
    now = runtime.clock()
    try:
        runtime.ledger.leases.beat(BEAT, started_at=now, worked_at=None, now=now)
        due = {name: runtime.ledger.agenda.due(name, now=now) for name in providers.names()}
    except LedgerError as error:
        log.warning("periodic.interrupted why=%s", error)
        return
    for name, one in due.items():
        for task, wanted in ((poll_receipts, one.receipts), (reconcile, one.look_ups)):
            if wanted and not runtime.missing(name):
                pump.send(app, task.name, name, queue=PERIODIC, expires=every)


@app.task(name="retention")
def erase_finished() -> None:
    """Erase the campaigns that ended longer ago than the settings keep them."""
    days = runtime.settings.keep_days
    if days is None:
        return
    try:
        privacy.erase_finished(runtime.ledger, keep=timedelta(days=days), who=runtime.who, now=runtime.clock())
    except LedgerError as error:
        log.warning("retention.interrupted why=%s", error)


@app.task(name="receipts")
def poll_receipts(provider: str) -> None:
    """Ask a provider for the receipts that are due."""
    every = timedelta(seconds=runtime.settings.poll_every)
    with _alone("receipts", provider) as account:
        if account is not None:
            polled = receipts.poll(account, every=every, seconds=_POLL_SECONDS)
            if polled.messages:
                log.info("receipts.polled provider=%s asked=%d settled=%d", provider, polled.messages, polled.settled)
                pump.worked()


@app.task(name="reconcile")
def reconcile(provider: str) -> None:
    """Look up what is unknown at a provider."""
    with _alone("reconcile", provider) as account:
        if account is not None:
            recovery.reconcile(account)


@app.task(name="scheduled")
def scheduled(provider: str) -> None:
    """Take back what was cancelled or opted out of, and compare what a provider holds to send later with the ledger."""
    with _alone("scheduled", provider) as account:
        if account is not None:
            cancellation.recall(account)
            cancellation.recall_opted_out(account)
            receipts.compare_scheduled(account)


@app.task(name="optouts")
def sync_optouts(provider: str) -> None:
    """Suppress everyone who opted out at a provider."""
    with _alone("optouts", provider) as account:
        if account is not None:
            suppression.sync(account)


@app.task(name="subscriptions")
def renew_subscriptions(provider: str) -> None:
    """Renew event subscriptions before they expire."""
    with _alone("subscriptions", provider) as account:
        if account is None or not isinstance(account.provider, RenewsSubscriptions):
            return
        if account.wait_to_look_up(max_wait=2.0):
            account.provider.renew_subscriptions(now=account.clock(), ahead=_RENEW_AHEAD)


@contextmanager
def _alone(task: str, provider: str) -> Iterator[Account | None]:
    """Give the account to one process at a time; None where it is another's turn, or the provider is not set up.

    What interrupts a periodic task is told: its next turn makes up for it.
    """
    if runtime.missing(provider):
        yield None
        return
    name, length = f"{task}.{provider}", _POLL_SECONDS + runtime.settings.section(provider).timeout + 30
    owner = f"{runtime.who}/{threading.get_ident()}"  # one of this process's threads, too, is one alone
    try:
        held = runtime.ledger.leases.acquire(name, owner=owner, now=runtime.clock(), length=timedelta(seconds=length))
    except LedgerError as error:
        log.warning("%s.interrupted provider=%s why=%s", task, provider, error)
        yield None
        return
    try:
        try:
            yield runtime.account(provider) if held else None
        finally:
            if held:
                runtime.ledger.leases.release(name, owner=owner)
    except (LedgerError, ThroughputUnavailable, ProviderError) as error:
        log.warning("%s.interrupted provider=%s why=%s", task, provider, error)
