"""What a task does while the ledger is away."""

import os
import subprocess
import sys
from pathlib import Path

_RUN = """
import logging
from workers import tasks

logging.basicConfig(level="WARNING")
for task in (tasks.poll_receipts, tasks.reconcile, tasks.scheduled, tasks.sync_optouts, tasks.renew_subscriptions):
    task.run("winsms")
tasks.ring_periodic.run(10.0)
"""


def test_periodic_tasks_without_a_ledger_are_told_and_left_to_their_next_turn(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DISPATCHER_")} | {
        "DISPATCHER_HOME": str(tmp_path),
        "DISPATCHER_LEDGER_URL": "postgresql://nobody@127.0.0.1:1/nothing",  # nobody listens there
        "DISPATCHER_WINSMS__API_KEY": "a-key",
    }
    done = subprocess.run(
        [sys.executable, "-c", _RUN], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("interrupted provider=winsms") == 5
    assert done.stderr.count("periodic.interrupted") == 1
    assert "Traceback" not in done.stderr
