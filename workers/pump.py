"""The pump: a thread in every worker process; the one that holds the pump's lease sweeps and rings the bells.

It does not need a free task slot, so provider calls that hang cannot stop it.
"""

import importlib
import logging
import os
import threading
import time
from datetime import datetime, timedelta
from typing import Any

from celery import bootsteps
from kombu.exceptions import OperationalError

from dispatcher import failover, providers, recovery, release
from dispatcher.campaign import CampaignState
from dispatcher.errors import DispatcherError, SettingsError, ThroughputUnavailable
from workers.app import SUBMIT
from workers.process import runtime

log = logging.getLogger(__name__)

_EVERY = 0.5
_LEASE = timedelta(seconds=5)
_BELL_SECONDS = 10  # longer than clocks of two machines differ, or bells would be taken for stale ones
_HEARTBEAT = timedelta(seconds=5)
_GREET_EVERY = 5.0  # seconds

stopping = threading.Event()
"""Set when this worker begins to shut down: slices end after the request in flight."""

busy: set[int] = set()
"""The threads that are at work on a slice."""

_last_work: list[datetime] = []


def worked() -> None:
    """Note that this process did some work, for its next sign of life."""
    _last_work[:] = [runtime.clock()]


def slices() -> int:
    """Return how many slices of work may be under way for one provider at once, over all workers."""
    settings = runtime.settings
    return release.slices(runtime.ledger, wanted=settings.slices, threads=settings.threads, now=runtime.clock())


def ring(app: Any, provider: str) -> None:
    """Ring one bell for a provider; one that cannot be rung is rung by the pump later."""
    send(app, "submit", provider, queue=SUBMIT + provider, expires=_BELL_SECONDS)


def send(app: Any, task: str, provider: str, *, queue: str, expires: float) -> None:
    """Send a message that wakes a worker; the broker may be away, and then it is lost."""
    try:
        app.send_task(task, args=(provider,), queue=queue, expires=expires, retry=False)
    except OperationalError as error:
        log.warning("bell.lost task=%s provider=%s why=%s", task, provider, error)


class Pump(bootsteps.StartStopStep):
    """Starts and stops the thread with the worker."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        importlib.import_module("workers.tasks")  # they are tasks of the application from now on
        self._thread: threading.Thread | None = None

    def start(self, worker: Any) -> None:
        """Start the thread."""
        stopping.clear()
        self._thread = threading.Thread(target=_run, args=(worker.app,), name="pump", daemon=True)
        self._thread.start()

    def stop(self, worker: Any) -> None:
        """Let the slices end, and the thread with them."""
        del worker
        stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=10)


def _run(app: Any) -> None:
    started = runtime.clock()
    lead = _Lead(app, runtime)
    seen: datetime | None = None
    while not stopping.wait(_EVERY):
        if _orphaned(runtime.settings.supervisor):
            _end(runtime.settings.drain_seconds)
        try:
            now = runtime.clock()
            if seen is None or now - seen >= _HEARTBEAT:
                worked_at = _last_work[0] if _last_work else None
                runtime.ledger.leases.beat(runtime.who, started_at=started, worked_at=worked_at, now=now)
                seen = now
            lead.tick(now)
        except DispatcherError as error:
            log.warning("pump.interrupted why=%s", error)
        except Exception:  # the pump must outlive whatever the broker's client throws
            log.exception("pump.failed")
    try:
        runtime.ledger.leases.gone(runtime.who)
        lead.give_up()
    except DispatcherError as error:
        log.warning("pump.interrupted why=%s", error)
    if _orphaned(runtime.settings.supervisor):
        _end(runtime.settings.drain_seconds)


def _orphaned(supervisor: int) -> bool:
    """Whether the `dispatcher up` that started this process has died: its Redis has, too."""
    return bool(supervisor) and os.getppid() != supervisor


def _end(seconds: float) -> None:
    """End this process once the requests in flight are recorded; Celery itself would wait for its broker."""
    log.warning("worker.orphaned: the supervisor has died")
    stopping.set()
    until = time.monotonic() + seconds
    while busy and time.monotonic() < until:
        time.sleep(0.1)
    os._exit(1)


class _Lead:
    """The part of the pump that one process does for all."""

    def __init__(self, app: Any, runtime: Any) -> None:
        self._app = app
        self._runtime = runtime
        self._renew_at: float = 0.0
        self._greet_at: float = 0.0
        self._leads = False

    def tick(self, now: datetime) -> None:
        """Sweep and ring, if the lease is ours."""
        runtime = self._runtime
        if time.monotonic() >= self._renew_at:
            self._leads = runtime.ledger.leases.acquire("pump", owner=runtime.who, now=now, length=_LEASE)
            self._renew_at = time.monotonic() + (_LEASE.total_seconds() / 2 if self._leads else _EVERY)
        if not self._leads:
            return
        self._greet()
        todo = runtime.ledger.agenda.open(now=now)
        if not todo.sweep:
            return
        recovery.sweep(runtime.ledger, receipt_windows=runtime.receipt_windows(), who=runtime.who, now=now)
        if not todo.providers:
            return
        many = slices()
        for name in providers.names():
            if name not in todo.providers:
                continue
            try:
                self._ring(name, many, now)
            except ThroughputUnavailable as error:  # it is every provider's, and each would wait for it in vain
                log.warning("pump.interrupted why=%s", error)
                return
            except DispatcherError as error:  # what is wrong with one is no matter of the others
                log.warning("pump.interrupted provider=%s why=%s", name, error)

    def _greet(self) -> None:
        """Ask Redis about each account: one that it does not know, or has forgotten, is held for two seconds from now on.

        Better while nothing waits than when a campaign does.
        """
        if time.monotonic() < self._greet_at:
            return
        self._greet_at = time.monotonic() + _GREET_EVERY
        try:
            for name in providers.names():
                if not self._runtime.missing(name):
                    self._runtime.throughput.wait(name, self._runtime.limits(name))
        except ThroughputUnavailable as error:
            log.warning("pump.interrupted why=%s", error)

    def give_up(self) -> None:
        """Hand the lease on."""
        self._runtime.ledger.leases.release("pump", owner=self._runtime.who)

    def _ring(self, provider: str, slices: int, now: datetime) -> None:
        allowance = self._runtime.allowance(provider)
        wanted = release.bells(self._runtime.ledger, provider, slices=slices, now=now, allowance=allowance)
        if not wanted:
            return
        missing = self._runtime.missing(provider)
        if missing:
            self._pause_all(provider, now, f"{provider} is not configured: set {', '.join(missing)}, then resume")
            return
        try:
            self._runtime.provider(provider)
        except SettingsError as error:
            self._pause_all(provider, now, f"{provider}: {error}; then resume")
            return
        limits = self._runtime.limits(provider)
        for _ in range(release.worth_waking(wanted, limits, wait=self._runtime.throughput.wait(provider, limits))):
            ring(self._app, provider)

    def _pause_all(self, provider: str, now: datetime, reason: str) -> None:
        ledger = self._runtime.ledger
        for campaign in ledger.campaigns.releasing(provider):
            if failover.leave(ledger, campaign.public_id, provider, reason, who=self._runtime.who, now=now):
                continue
            ledger.campaigns.move(campaign, CampaignState.PAUSED, who=self._runtime.who, now=now, reason=reason)
            log.warning("campaign.paused campaign=%s reason=%s", campaign.public_id, reason)
