"""What is asked of the throughput and what it answers: limits and permits."""

from dataclasses import dataclass

MARGIN = 0.005
"""Seconds after its instant in which a permit may still be used; every window is longer by as much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one provider account; None means that there is none.

    A limit of 1 or more holds in every rolling second, in whole units (1.5 allows one a second); a smaller
    one means one unit in every 1/limit seconds. `lookup_share` is the most that look-ups and receipt polls
    may take of `requests_per_second`.
    """

    requests_per_second: float | None
    segments_per_second: float | None
    lookup_share: float = 0.2

    def __post_init__(self) -> None:
        for limit in (self.requests_per_second, self.segments_per_second):
            if limit is not None and not 0 < limit < float("inf"):
                raise ValueError(f"a limit is more than 0 a second, or None: not {limit}")
        if not 0 < self.lookup_share <= 1:
            raise ValueError(f"lookup_share is more than 0 and at most 1: not {self.lookup_share}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """The answer to one reservation: send at `send_at()`, unless `late()` by then.

    `asked_at` is the monotonic second at which Redis answered, at the latest it can have been: the answer
    took some time to arrive, and counting from its arrival, or from a little before it when earlier answers
    prove that safe, means that `send_at` is never early by Redis's clock. `spare` is how long after
    `send_at` the permit is still good, counted from the *earliest* instant at which Redis can have answered;
    it is infinite where there is no limit to break.
    """

    granted: bool
    wait: float
    asked_at: float
    spare: float = MARGIN

    def send_at(self) -> float:
        """Return the monotonic instant at which to send; not granted, when it is worth asking again."""
        return self.asked_at + self.wait

    def late(self, now_monotonic: float) -> bool:
        """Whether it is too late to send: drop the permit and ask again, or the limit may be exceeded."""
        return now_monotonic > self.send_at() + self.spare
