"""The Celery application. Every setting that differs from Celery's default says why.

A message here is a doorbell: it says that a provider has work, never which. All of them may be lost or doubled.
Beat knows this module and nothing of the rest: what a worker needs, the pump brings in.
"""

import logging
from typing import Any

from celery import Celery, signals
from celery.app.amqp import AMQP
from kombu import Connection, Queue

from dispatcher import providers
from dispatcher.config import load
from workers.beat import schedule


class _Connection(Connection):
    """Knocks at a broker that is away once a second, for as long as it takes. kombu's own steps grow to thirty seconds."""

    def ensure_connection(self, *args: Any, **options: Any) -> Connection:  # type: ignore[override] # one option changes
        """Connect, however long that takes."""
        connected: Connection = super().ensure_connection(
            *args, **{"interval_start": 1, "interval_step": 0} | options
        )
        return connected


class _Broker(AMQP):
    """How the application talks to its broker; Celery has no setting for the connection's class."""

    Connection = _Connection


settings = load({})
app = Celery("dispatcher", broker=settings.broker_url, amqp=_Broker)

SUBMIT = "submit."
PERIODIC = "periodic"

# A half-open connection hung a worker with the default options for more than 90 seconds; with these it is back
# within six. A bell is worth nothing after seconds, so what is unacknowledged is given back soon.
_REDIS_TRANSPORT = {
    "socket_timeout": 5,
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "health_check_interval": 3,
    "visibility_timeout": 60,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
}
# A unix socket knows no connect time-out and no keep-alive.
_SOCKET_TRANSPORT = {
    name: value
    for name, value in _REDIS_TRANSPORT.items()
    if name not in ("socket_connect_timeout", "socket_keepalive")
}


# RabbitMQ: a bell that the broker did not take is an error that the pump sees, not a silence.
_AMQP_TRANSPORT = {"confirm_publish": True}


def _transport(url: str) -> dict[str, Any]:
    if url.startswith(("redis+socket:", "sentinel:")):
        return dict(_SOCKET_TRANSPORT)
    if url.startswith(("amqp:", "amqps:", "pyamqp:")):
        return dict(_AMQP_TRANSPORT)
    return dict(_REDIS_TRANSPORT) if url.startswith(("redis:", "rediss:")) else {}


app.conf.update(
    # Provider calls wait for the network: threads share one process, one ledger pool, one memory.
    worker_pool="threads",
    worker_concurrency=settings.threads,
    # A bell that lies in a worker's memory wakes nobody else.
    worker_prefetch_multiplier=1,
    # Each provider has a queue of its own, so that one that hangs cannot hold up the bells of the others.
    task_queues=[Queue(PERIODIC), *[Queue(SUBMIT + name) for name in providers.names()]],
    task_default_queue=PERIODIC,
    # A bell that is lost with its worker is rung again by the pump; one acknowledged late would be rung twice.
    task_acks_late=False,
    task_ignore_result=True,
    task_store_errors_even_if_ignored=False,
    # The broker may be away for as long as it likes; the ledger waits.
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options=_transport(settings.broker_url),
    broker_pool_limit=4,
    # RabbitMQ alone: a half-open connection is noticed after two of these, in seconds; the default is 120.
    broker_heartbeat=10,
    # Nothing declares these queues, since control and events are off; if a tool does, RabbitMQ 4.3 wants them so.
    control_queue_exclusive=True,
    event_queue_exclusive=True,
    # Nobody steers workers through the broker: pause and cancel are facts in the ledger.
    worker_enable_remote_control=False,
    worker_send_task_events=False,
    # On SIGTERM the slices end after their request in flight; SIGQUIT gives them this long too.
    worker_soft_shutdown_timeout=settings.drain_seconds,
    # Two beats need no schedule file to fight over: every task is idempotent, and leased in the ledger.
    beat_scheduler="celery.beat:Scheduler",
    beat_schedule=schedule(providers.names(), poll_every=settings.poll_every),
    beat_max_loop_interval=5,
    worker_hijack_root_logger=False,
    timezone="UTC",
    enable_utc=True,
)
# By its name: beat, which has no pump, does not load it.
app.steps["worker"].add("workers.pump:Pump")


@signals.setup_logging.connect
def _log(**_: Any) -> None:
    """Log events with ids, one a line; Celery's own chatter only where something is wrong."""
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(message)s")
    for chatty in ("celery", "kombu", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
