"""Puts the parts together: settings → ledger, throughput, provider accounts, clock."""

import contextlib
import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cached_property

from dispatcher import providers
from dispatcher.account import Account
from dispatcher.config import Settings, load
from dispatcher.errors import LedgerError, SettingsError
from dispatcher.ledger import Ledger, open_ledger
from dispatcher.provider import Provider
from dispatcher.throughput import Limits, Throughput


def now() -> datetime:
    """Return the present moment, aware and in UTC: the one clock of the program."""
    return datetime.now(UTC)


def clock_off_by(seconds: float) -> Callable[[], datetime]:
    """Return a clock that is wrong by so many seconds: for tests of machines that do not agree on the time."""
    return (lambda: now() + timedelta(seconds=seconds)) if seconds else now


def process_name() -> str:
    """Return the name of this process in leases and in the audit trail: host/pid."""
    return f"{socket.gethostname()}/{os.getpid()}"


class Runtime:
    """Everything that a command or a worker may need, each part made when it is first asked for."""

    def __init__(self, settings: Settings, *, who: str, clock: Callable[[], datetime] = now) -> None:
        self.settings = settings
        self.who = who
        self.clock = clock
        self._providers: dict[str, Provider] = {}

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger, open and of the right version."""
        self.make_home()
        return open_ledger(self.settings.ledger_url, pool_size=max(5, self.settings.threads // 2))

    @cached_property
    def throughput(self) -> Throughput:
        """The shared throughput; nothing is connected before it is used."""
        return Throughput.connect(self.settings.redis_url)

    def make_home(self) -> None:
        """Create the data folder, readable by its owner alone."""
        home = self.settings.home
        try:
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise LedgerError(f"the data folder {home} cannot be made: {error.strerror}") from None

    def provider(self, name: str) -> Provider:
        """Return a provider by its name; it does no I/O until it is called."""
        if name not in self._providers:
            self._providers[name] = providers.connect(name, self.settings.section(name), self.throughput.tokens())
        return self._providers[name]

    def missing(self, name: str) -> list[str]:
        """Return the settings without which a provider cannot be called."""
        return self.settings.section(name).missing()

    def account(self, name: str) -> Account:
        """Return one provider account, with its limits."""
        section = self.settings.section(name)
        return Account(
            provider=self.provider(name),
            limits=self.limits(name),
            timeout=section.timeout,
            lease_margin=self.settings.lease_margin,
            ledger=self.ledger,
            throughput=self.throughput,
            who=self.who,
            clock=self.clock,
        )

    def limits(self, name: str) -> Limits:
        """Return the limits of a provider account, as they are set."""
        section = self.settings.section(name)
        return Limits(
            requests_per_second=section.requests_per_second, segments_per_second=section.segments_per_second
        )

    def receipt_windows(self) -> dict[str, timedelta]:
        """Return how long receipts are waited for, by provider."""
        windows = {}
        for name in providers.names():
            # One provider's wrong setting is no matter of the others: whoever uses it is told.
            with contextlib.suppress(SettingsError):
                windows[name] = self.provider(name).capabilities.receipt_window
        return windows

    def close(self) -> None:
        """Close what was opened."""
        for part in ("ledger", "throughput"):
            if part in self.__dict__:
                self.__dict__[part].close()


def start(*, who: str | None = None) -> Runtime:
    """Read the settings and return a runtime of this process.

    Raises:
        SettingsError: a setting is wrong.
    """
    settings = load(providers.settings_models())
    return Runtime(settings, who=who or process_name(), clock=clock_off_by(settings.clock_offset))
