"""Planning a list whose numbers are written as people write them, some of them without their country."""

from collections.abc import Iterator

from benchmarks import journey, people
from benchmarks.figures import Figure
from benchmarks.options import Options
from benchmarks.stage import Stage


def run(stage: Stage, options: Options) -> Iterator[Figure]:
    """Measure it on each engine; it has no bar of its own."""
    rows = options.size(journey.ROWS)
    path = people.write(stage.folder / "notations.csv", rows, seed=options.seed, mixed=True)
    for engine in options.engines:
        taken = []
        for _ in range(options.times(1)):
            with stage.home(engine) as home:
                taken.append(journey.enqueue(home, path, country="ZA"))
        yield Figure(
            benchmark="notations",
            what="plan: half of the numbers with blanks",
            unit="rows/s",
            engine=engine,
            rows=rows,
            values=[rows / one.seconds for one in taken],
            details={"CPU µs/row": taken[-1].cpu / rows * 1e6},
        )
