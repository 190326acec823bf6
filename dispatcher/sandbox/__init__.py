"""Local stand-ins for the SMS providers: real HTTP on one port, and their own record of what they accepted.

They share no code with the dispatcher's providers, so that a fault of one cannot be mirrored by the other.

In a test:

    with Sandbox(settings=Settings(delivery_seconds=0)) as sandbox:
        base_url = base_urls(sandbox.url)["winsms"]
        sandbox.fault("drop_after", count=1)
        ...
        assert sandbox.record.duplicates() == []

As a program of its own: `run(host, port, ready=print)`, which serves until SIGTERM or SIGINT. It is asked and
steered under `/sandbox/…` (see `dispatcher.sandbox.control`); what can go wrong is in `dispatcher.sandbox.faults`,
the numbers with a fixed fate are in `dispatcher.sandbox.fate`. Recipients and texts are kept, but never logged.
"""

from dispatcher.sandbox.app import Settings
from dispatcher.sandbox.fate import MAGIC_NUMBERS, Magic, Outcome, magic
from dispatcher.sandbox.faults import Fault, Kind
from dispatcher.sandbox.record import Accepted, Record, RequestEntry
from dispatcher.sandbox.server import Sandbox, base_urls, client_settings, run, serve

__all__ = [
    "MAGIC_NUMBERS",
    "Accepted",
    "Fault",
    "Kind",
    "Magic",
    "Outcome",
    "Record",
    "RequestEntry",
    "Sandbox",
    "Settings",
    "base_urls",
    "client_settings",
    "magic",
    "run",
    "serve",
]
