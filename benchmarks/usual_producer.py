"""`python -m benchmarks.usual_producer LIST`: puts a list into the usual design's table and queue."""

import json
import sys
import time
from pathlib import Path

_BEGAN = time.perf_counter()


def main() -> None:
    """Read, insert, and enqueue one task for each row; print what it took to start and to run."""
    from benchmarks.usual_app import SETTINGS, send_one  # noqa: PLC0415 - its import is not the design's cost
    from benchmarks.usual_rows import load  # noqa: PLC0415

    imported, cpu = time.perf_counter(), time.process_time()
    for row in load(SETTINGS["ledger"], Path(sys.argv[1])):
        send_one.delay(row)
    print(json.dumps({"import_seconds": imported - _BEGAN, "cpu": time.process_time() - cpu}))


if __name__ == "__main__":
    main()
