"""The tasks: each gets its account and calls one operation."""

import logging
from datetime import timedelta

from dispatcher import cancellation, receipts, submission
from dispatcher.errors import LedgerError, ThroughputUnavailable
from workers import pump
from workers.app import app, runtime

log = logging.getLogger(__name__)

SLICES = 8
"""Slices of work under way for one provider at once, over all workers."""
SLICE_SECONDS = 1.5
_POLL_SECONDS = 20.0


@app.task(name="submit")
def submit(provider: str) -> None:
    """Submit what is due for a provider, for a second or two."""
    try:
        steps = submission.work(
            runtime.account(provider), slices=SLICES, seconds=SLICE_SECONDS, stopping=pump.stopping.is_set
        )
    except (LedgerError, ThroughputUnavailable) as error:
        # Nothing is lost: the pump rings again, and what was under way is settled when its lease ends.
        log.warning("submit.interrupted provider=%s why=%s", provider, error)
        return
    if any(step.messages for step in steps):
        pump.worked()


@app.task(name="receipts")
def poll_receipts(provider: str) -> None:
    """Ask a provider for the receipts that are due."""
    if not _one_at_a_time("receipts", provider):
        return
    every = timedelta(seconds=runtime.settings.poll_every)
    try:
        polled = receipts.poll(runtime.account(provider), every=every, seconds=_POLL_SECONDS)
    except (LedgerError, ThroughputUnavailable) as error:
        log.warning("receipts.interrupted provider=%s why=%s", provider, error)
        return
    finally:
        runtime.ledger.leases.release(f"receipts.{provider}", owner=runtime.who)
    if polled.messages:
        log.info("receipts.polled provider=%s asked=%d settled=%d", provider, polled.messages, polled.settled)
        pump.worked()


@app.task(name="scheduled")
def scheduled(provider: str) -> None:
    """Compare what a provider holds to send later with the ledger, and take back what was cancelled."""
    if not _one_at_a_time("scheduled", provider):
        return
    try:
        cancellation.recall(runtime.account(provider))
        receipts.compare_scheduled(runtime.account(provider))
    except (LedgerError, ThroughputUnavailable) as error:
        log.warning("scheduled.interrupted provider=%s why=%s", provider, error)
    finally:
        runtime.ledger.leases.release(f"scheduled.{provider}", owner=runtime.who)


def _one_at_a_time(task: str, provider: str) -> bool:
    if runtime.missing(provider):
        return False
    length = timedelta(seconds=_POLL_SECONDS + runtime.settings.section(provider).timeout + 30)
    return runtime.ledger.leases.acquire(f"{task}.{provider}", owner=runtime.who, now=runtime.clock(), length=length)
