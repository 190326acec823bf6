"""Keeps Python's search for unreachable cycles from looking again and again at what is being planned."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_ALLOCATIONS = 50_000
"""Containers made, and not yet gone, before there is a search. A chunk of a list has some thousands."""


@contextmanager
def calm() -> Iterator[None]:
    """Search seldom while the block runs."""
    before = gc.get_threshold()
    gc.set_threshold(max(_ALLOCATIONS, before[0]), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
