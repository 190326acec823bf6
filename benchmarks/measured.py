"""Runs one `dispatcher` command in a process of its own and tells what it took, without the interpreter's start.

`python -m benchmarks.measured RESULT.json ARGUMENT…`; the command's own output goes to standard output. The word
`submit` with a provider, in place of a command, does by itself what workers do until nothing is due: for profiles.
"""

import cProfile
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.processes import peak_memory

PROFILE = "BENCH_PROFILE"
"""The variable that names a file for a profile; one is made only where it is set."""


def main() -> int:
    """Run the command and write down its figures; return its exit code."""
    began = time.perf_counter()
    import click  # noqa: PLC0415 - the imports are measured

    from dispatcher.cli import cli  # noqa: PLC0415

    if sys.argv[2] == "submit":
        from workers import tasks  # noqa: PLC0415, F401
    else:
        # The group imports a command when it is asked for; that is no part of what the command does.
        cli.get_command(click.Context(cli), sys.argv[2])
    imported = time.perf_counter()
    before = os.times()
    profile = cProfile.Profile() if PROFILE in os.environ else None
    if profile is not None:
        profile.enable()
    code: Any = 0
    if sys.argv[2] == "submit":
        _submit(sys.argv[3])
    else:
        code = cli.main(sys.argv[2:], standalone_mode=False)
    ended = time.perf_counter()
    if profile is not None:
        profile.disable()
        profile.dump_stats(os.environ[PROFILE])
    after = os.times()
    taken = {
        "seconds": ended - imported,
        "import_seconds": imported - began,
        # Also of children, should the command have some.
        "cpu": sum(after[:4]) - sum(before[:4]),
        "peak_memory": peak_memory(os.getpid()),
    }
    Path(sys.argv[1]).write_text(json.dumps(taken), encoding="utf-8")
    return code if isinstance(code, int) else 0


def _submit(provider: str) -> None:
    from dispatcher import release  # noqa: PLC0415 - not for a command
    from workers.process import runtime  # noqa: PLC0415
    from workers.tasks import submit  # noqa: PLC0415

    while release.bells(runtime.ledger, provider, slices=8, now=runtime.clock()):
        submit(provider)


if __name__ == "__main__":
    sys.exit(main())
