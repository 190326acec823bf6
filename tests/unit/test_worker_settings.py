"""The Celery application takes the settings of each broker; it is imported anew for each, as a worker does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dispatcher import providers

ASK = """
import json
from workers.app import app
queues = [queue.name for queue in app.amqp.queues.values()]
durable = all(queue.durable for queue in app.amqp.queues.values())
names = ("broker_transport_options", "broker_heartbeat", "worker_enable_remote_control", "worker_send_task_events",
         "task_acks_late", "worker_prefetch_multiplier", "broker_connection_max_retries")
print(json.dumps({name: app.conf[name] for name in names} | {"queues": queues, "durable": durable,
      "transport": app.connection().transport_cls}))
"""

KNOCK = """
import json
from unittest import mock
from workers.app import app
waits = []
def refused(error, interval):
    waits.append(interval)
    if len(waits) == 30:
        raise SystemExit
with mock.patch("kombu.utils.functional.sleep"):
    try:
        app.connection_for_read().ensure_connection(refused, None)
    except SystemExit:
        print(json.dumps({"waits": waits}))
"""


def conf(folder: Path, broker: str, *, ask: str = ASK) -> dict:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DISPATCHER_")}
    environment |= {"DISPATCHER_HOME": str(folder), "DISPATCHER_BROKER_URL": broker}
    done = subprocess.run(
        [sys.executable, "-c", ask], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    found: dict = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("broker", "has", "has_not"),
    [
        (
            "redis://127.0.0.1:6390/0",
            {"socket_timeout", "socket_keepalive", "visibility_timeout"},
            {"confirm_publish"},
        ),
        ("redis+socket:///tmp/no.sock", {"socket_timeout", "visibility_timeout"}, {"socket_keepalive"}),
        (
            "amqp://user:secret@127.0.0.1:5699/dispatcher",
            {"confirm_publish"},
            {"socket_timeout", "visibility_timeout"},
        ),
    ],
)
def test_each_broker_gets_its_own_options(tmp_path: Path, broker: str, has: set[str], has_not: set[str]) -> None:
    found = conf(tmp_path, broker)
    options = set(found["broker_transport_options"])
    assert has <= options
    assert not has_not & options
    assert found["transport"] == broker.partition(":")[0].partition("+")[0]
    # What RabbitMQ 4.3 refuses to declare is never asked for, and no bell is kept in a worker's memory.
    assert found["durable"]
    assert set(found["queues"]) == {"periodic", *(f"submit.{name}" for name in providers.names())}
    assert (found["worker_enable_remote_control"], found["worker_send_task_events"]) == (False, False)
    assert (found["task_acks_late"], found["worker_prefetch_multiplier"]) == (False, 1)
    assert found["broker_connection_max_retries"] is None
    assert found["broker_heartbeat"] == 10


def test_a_broker_that_stays_away_is_still_knocked_at_once_a_second(tmp_path: Path) -> None:
    assert conf(tmp_path, f"redis+socket://{tmp_path}/no.sock", ask=KNOCK)["waits"] == [1] * 30
