"""Beat ends when it is asked to, whatever it is at."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# What reads an answer from Redis does this: something in its `finally` needs the connection to be open.
_RUN = """
import os, signal, sys
from kombu.transport.memory import Channel
from workers.app import app

def put(self, queue, message, **_):
    try:
        os.kill(os.getpid(), int(sys.argv[1]))
        os.write(1, b"not ended")
    finally:
        raise ValueError("I/O operation on closed file.")

Channel._put = put
app.conf.beat_schedule = {"at once": {"task": "beat", "schedule": 0.0}}
app.Beat(quiet=True).run()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_beat_ends_when_asked_even_in_the_middle_of_a_request_to_its_broker(
    tmp_path: Path, number: signal.Signals
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DISPATCHER_")}
    environment |= {"DISPATCHER_HOME": str(tmp_path), "DISPATCHER_BROKER_URL": "memory://"}
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(int(number))],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr[-2000:]
