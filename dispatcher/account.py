"""One provider account in one process's hands: what every operation that calls a provider needs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from dispatcher.ledger import Ledger
from dispatcher.provider import Provider
from dispatcher.throughput import Limits, Permit, Throughput

MOST_PAGES = 10_000
"""Pages of one question; a provider that has more of them has no end of them."""

ENDLESS = f"it goes on after {MOST_PAGES:,} pages"

PATIENCE = 60.0
"""Seconds that the second and later pages of a question wait for throughput."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The provider, its limits, the ledger and the throughput; time is passed in."""

    provider: Provider
    limits: Limits
    timeout: float  # seconds that one request may take
    lease_margin: float  # seconds by which a lease outlives the request made under it
    ledger: Ledger
    throughput: Throughput
    who: str  # in the audit trail
    clock: Callable[[], datetime]
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    @property
    def name(self) -> str:
        """The provider's name."""
        return self.provider.name

    def reserve(self, *, segments: int, max_wait: float, lead: float = 0.0) -> Permit:
        """Reserve the throughput of one submission that needs `lead` seconds before it can leave."""
        limited = self.limits.requests_per_second or self.limits.segments_per_second
        return self.throughput.reserve(
            self.name, self.limits, segments=segments, max_wait=max_wait, lead=lead if limited else 0.0
        )

    def sleep_until(self, instant: float) -> None:
        """Sleep until a monotonic instant."""
        wait = instant - self.monotonic()
        if wait > 0:
            self.sleep(wait)

    def wait_to_look_up(self, *, max_wait: float) -> bool:
        """Reserve the throughput of one look-up and wait for it; False where there is none within `max_wait`."""
        until = self.monotonic() + max_wait
        while True:
            left = max(0.0, until - self.monotonic())
            permit = self.throughput.reserve(self.name, self.limits, lookup=True, max_wait=left)
            if not permit.granted and permit.send_at() > until:
                return False
            self.sleep_until(permit.send_at())
            if permit.granted and not permit.late(self.monotonic()):
                return True

    def throttled(self, retry_after: float | None) -> None:
        """Tell every worker that the provider asked for a pause of `retry_after` seconds, None where unsaid."""
        self.throughput.throttled(self.name, retry_after=retry_after)
