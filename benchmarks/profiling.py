"""`python -m benchmarks.profiling plan|send|receipts`: where the time of a step goes, line by line.

Sending is profiled in one process and one thread, without Celery: what a worker's slice does.
"""

import argparse
import pstats
import sys

from benchmarks import journey, people
from benchmarks.measured import PROFILE
from benchmarks.stage import ENGINES, Home, Stage, Taken, counting_server


def main() -> None:
    """Profile one step, and print the lines that take the most time of their own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profiling")
    parser.add_argument("step", choices=journey.STEPS)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--engine", choices=ENGINES, default="sqlite")
    parser.add_argument("--lines", type=int, default=10)
    parser.add_argument("--order", choices=("tottime", "cumtime"), default="tottime")
    parser.add_argument("--out", help="keep the profile in a file, for snakeviz and the like")
    given = parser.parse_args()
    stage = Stage()
    try:
        path = people.write(stage.folder / "people.csv", given.rows, seed=1)
        with counting_server() as server, stage.home(given.engine, server=server) as home:
            out = given.out or str(home.folder / "profile")

            def step(name: str, *args: str) -> Taken:
                return _step(home, out if name == given.step else "", *args)

            taken = step("plan", "enqueue", str(path), "--provider", "winsms", "--text", people.TEXT, "--json")
            if given.step != "plan":
                taken = step("send", "submit", "winsms")
            if given.step == "receipts":
                taken = step("receipts", "poll", "--provider", "winsms", "--json")
            print(f"{given.step}, {given.engine}, {given.rows:,} rows: {taken.seconds:.2f} s under the profiler")
            stats = pstats.Stats(out, stream=sys.stdout)
            stats.strip_dirs().sort_stats(given.order).print_stats(given.lines)
    finally:
        stage.close()


def _step(home: Home, profile: str, *args: str) -> Taken:
    if profile:
        home.environment[PROFILE] = profile
    try:
        return home.measure(*args)
    finally:
        home.environment.pop(PROFILE, None)


if __name__ == "__main__":
    main()
