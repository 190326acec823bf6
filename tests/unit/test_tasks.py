"""What a task does while the ledger is away."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_RUN = """
import logging
from workers import tasks

logging.basicConfig(level="WARNING")
getattr(tasks, {task!r}).run("winsms")
"""


@pytest.mark.parametrize("task", ["poll_receipts", "reconcile", "scheduled", "sync_optouts", "renew_subscriptions"])
def test_a_periodic_task_without_a_ledger_is_told_and_leaves_it_to_its_next_turn(task: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DISPATCHER_")} | {
        "DISPATCHER_HOME": str(tmp_path),
        "DISPATCHER_LEDGER_URL": "postgresql://nobody@127.0.0.1:1/nothing",  # nobody listens there
        "DISPATCHER_WINSMS__API_KEY": "a-key",
    }
    code = _RUN.format(task=task)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "interrupted provider=winsms" in done.stderr
    assert "Traceback" not in done.stderr
