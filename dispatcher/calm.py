"""Sets the interpreter up for work by the thousand: few searches for cycles, quick turns for a writing thread."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

ALLOCATIONS = 50_000
"""Containers made, and not yet gone, before there is a search. A chunk of a list, or a batch, has some thousands."""

TURN_SECONDS = 0.001
"""How long a writing thread waits at most for the interpreter; it does so with the ledger's lock in its hands."""


@contextmanager
def calm() -> Iterator[None]:
    """Let the block run so, and everything be as before when it ends."""
    threshold, turn = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(max(ALLOCATIONS, threshold[0]), *threshold[1:])
    sys.setswitchinterval(min(TURN_SECONDS, turn))
    try:
        yield
    finally:
        gc.set_threshold(*threshold)
        sys.setswitchinterval(turn)
