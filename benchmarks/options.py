"""What a run of the benchmarks was asked for."""

from dataclasses import dataclass

from benchmarks.stage import ENGINES


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of the command."""

    rows: int | None = None
    engines: tuple[str, ...] = ENGINES
    quick: bool = False
    repeats: int | None = None
    workers: int = 2
    seed: int = 1

    def size(self, usual: int, *, quick: int = 2_000) -> int:
        """Return how many rows a measurement has."""
        return self.rows or (quick if self.quick else usual)

    def times(self, usual: int) -> int:
        """Return how often something is measured."""
        return self.repeats or (1 if self.quick else usual)

    def bar(self, value: float) -> float | None:
        """Return a bar; a quick run, which shows that all works, has none."""
        return None if self.quick else value
