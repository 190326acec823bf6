"""Runs the command in a process of its own, forked from one that has imported it: its start costs a second, the fork none."""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

_warm = multiprocessing.get_context("forkserver")
# Not polars: its threads do not survive a fork.
_warm.set_forkserver_preload(
    ["__main__", __name__, "dispatcher.cli", "dispatcher.ledger.versioning", "alembic.command"]
)


def run(args: list[str], *, environment: Mapping[str, str], stdin: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, for at most a minute."""
    with tempfile.TemporaryDirectory(prefix="command-") as folder:
        files = [Path(folder) / name for name in ("stdin", "stdout", "stderr")]
        files[0].write_text(stdin)
        process = _warm.Process(target=_main, args=(args, dict(environment), [str(file) for file in files]))
        process.start()
        process.join(60)
        if process.exitcode is None:
            process.kill()
            process.join()
        code = process.exitcode
        process.close()
        assert code is not None
        return subprocess.CompletedProcess(["dispatcher", *args], code, files[1].read_text(), files[2].read_text())


def _main(args: list[str], environment: dict[str, str], files: list[str]) -> None:
    from dispatcher.cli import main  # noqa: PLC0415 - the warm process has it, and pytest need not

    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate(files):
        opened = os.open(file, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process; ours was another one
    sys.argv = ["dispatcher", *args]
    main()
