"""Keeps a draft alive while a person makes up their mind about it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from threading import Event, Thread

from dispatcher.errors import LedgerError
from dispatcher.ledger import Ledger

_EVERY_SECONDS = 60.0


@contextmanager
def kept(
    ledger: Ledger, campaign_id: int, *, clock: Callable[[], datetime], every: float = _EVERY_SECONDS
) -> Iterator[None]:
    """Let nobody take the draft's planner for dead while the block runs, however long that is."""
    over = Event()

    def keep() -> None:
        while not over.wait(every):
            try:
                ledger.plans.append(campaign_id, first_number=1, batches=[], excluded=[], now=clock())
            except LedgerError:
                return  # whoever makes the draft live finds it gone, or the ledger, and says so

    thread = Thread(target=keep, name="kept", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
