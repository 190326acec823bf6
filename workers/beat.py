"""What happens periodically, as a table; any number of beats may run."""

import os
import signal
from collections.abc import Iterable
from typing import Any

from celery import signals


def schedule(names: Iterable[str], *, poll_every: float) -> dict[str, dict[str, Any]]:
    """Return Celery's beat schedule. A tick that could not be taken within its period is dropped."""
    often = min(poll_every, 10.0)
    table = [
        # task, seconds between two
        ("scheduled", max(poll_every, 10.0)),
        ("optouts", 600.0),
        ("subscriptions", 600.0),
    ]
    alone = {
        # Rings for receipts and look-ups where they are due, so that nobody is woken to find nothing.
        "periodic": {"task": "periodic", "schedule": often, "args": (often,), "options": {"expires": often}},
        "retention": {"task": "retention", "schedule": 3600.0, "options": {"expires": 3600.0}},
    }
    return alone | {
        f"{task}.{name}": {"task": task, "schedule": every, "args": (name,), "options": {"expires": every}}
        for name in names
        for task, every in table
    }


@signals.beat_init.connect
def _end_when_asked(**_: Any) -> None:
    """Let SIGTERM and SIGINT end beat wherever it is: it has nothing to save, and a bell half rung is no bell.

    Celery's own handler closes the broker's connection under whatever uses it, then raises SystemExit. In mid-request
    the use of what is closed fails, its error takes the place of SystemExit, passes for a bell not rung, and beat lives.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
