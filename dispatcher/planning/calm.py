"""Sets the interpreter up for planning: few searches for unreachable cycles, and quick turns for the writing thread."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_ALLOCATIONS = 50_000
"""Containers made, and not yet gone, before there is a search. A chunk of a list has some thousands."""

_TURN_SECONDS = 0.001
"""How long the writing thread waits at most for the interpreter; it does so with the ledger's lock in its hands."""


@contextmanager
def calm() -> Iterator[None]:
    """Let the block run so, and everything be as before when it ends."""
    threshold, turn = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(max(_ALLOCATIONS, threshold[0]), *threshold[1:])
    sys.setswitchinterval(min(_TURN_SECONDS, turn))
    try:
        yield
    finally:
        gc.set_threshold(*threshold)
        sys.setswitchinterval(turn)
