"""What the stack costs when there is nothing to do."""

import signal
import subprocess
import time
from collections.abc import Iterator

from benchmarks.figures import Figure
from benchmarks.options import Options
from benchmarks.processes import cpu_seconds, family, memory
from benchmarks.stage import COMMAND, Stage, wait_until

_CPU, _MEMORY = 1.0, 200.0


def run(stage: Stage, options: Options) -> Iterator[Figure]:
    """Measure `dispatcher up` with nothing to do, as it comes: one worker, beat, its own Redis."""
    # Beat's first tick comes after ten seconds, and connects: that is not what an idle stack costs.
    seconds, settle = (3.0, 1.0) if options.quick else (30.0, 15.0)
    for engine in options.engines:
        with stage.home(engine) as home:
            log = home.folder / "up.log"
            with log.open("wb") as out:
                stack = subprocess.Popen([COMMAND, "up"], env=home.environment, stderr=out)
            try:
                wait_until(lambda log=log: b"up: data in" in log.read_bytes(), "the stack")  # type: ignore[misc]
                time.sleep(settle)
                pids = family(stack.pid)
                before, database, began = cpu_seconds(pids), home.database_cpu(), time.monotonic()
                time.sleep(seconds)
                took = time.monotonic() - began
                cpu = 100 * (cpu_seconds(pids) - before) / took
                server = 100 * (home.database_cpu() - database) / took
                held = memory(family(stack.pid)) / 1e6
                parts = {
                    f"{part}, MB": memory([pid]) / 1e6
                    for part, pid in zip(("up", "redis", "worker", "beat"), pids[:1] + sorted(pids[1:]), strict=False)
                }
            finally:
                stack.send_signal(signal.SIGTERM)
                stack.wait(timeout=60)
        details: dict[str, float | int | str] = {"processes": len(pids), "seconds": seconds}
        if home.postgresql:
            details["database server, % of a core"] = server
        yield Figure(
            benchmark="idle",
            what="processor of all processes",
            unit="% of a core",
            engine=engine,
            values=[cpu],
            bar=options.bar(_CPU),
            more_is_better=False,
            details=details,
        )
        yield Figure(
            benchmark="idle",
            what="memory of all processes (PSS)",
            unit="MB",
            engine=engine,
            values=[held],
            bar=options.bar(_MEMORY),
            more_is_better=False,
            details=dict(parts),
        )
