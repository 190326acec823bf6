"""Places where a test may kill this process, to see what a crash at that very moment leads to. Off unless armed."""

import os
import signal

_armed: dict[str, int] = {}

POINTS = (
    "before_claim",
    "after_permit",
    "after_claim",
    "after_attempt",
    "after_answer",
    "in_outcome",
    "after_outcome",
)
"""In the order in which a submission passes them."""


def arm(spec: str) -> None:
    """Arm one point: `name` or `name:n`, to die when it is reached for the n-th time. An empty spec arms none.

    Raises:
        ValueError: there is no such point.
    """
    _armed.clear()
    if not spec:
        return
    name, _, times = spec.partition(":")
    if name not in POINTS:
        raise ValueError(f"there is no fail-point {name}: there are {', '.join(POINTS)}")
    _armed[name] = int(times or 1)


def reach(name: str) -> None:
    """Die here, if this point is armed: as by SIGKILL, with nothing cleaned up."""
    if name not in _armed:
        return
    _armed[name] -= 1
    if _armed[name] <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
