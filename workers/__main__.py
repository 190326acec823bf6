"""`python -m workers worker NAME` or `python -m workers beat`: what `dispatcher up` runs as its children.

Celery's own command starts them as well, with what workers would tell each other unless it is told not to, and holds
12 MB more for what else it can do.
"""

import socket
import sys

from workers.app import app


def main() -> None:
    """Run a worker or beat until it is told to stop."""
    match sys.argv[1:]:
        case ["worker", name]:
            # Nobody listens to what workers would tell each other: their signs of life are in the ledger.
            worker = app.Worker(
                hostname=f"{name}@{socket.gethostname()}",
                quiet=True,
                without_gossip=True,
                without_mingle=True,
                without_heartbeat=True,
            )
            worker.start()
            sys.exit(worker.exitcode)
        case ["beat"]:
            app.Beat(quiet=True).run()
        case _:
            sys.exit("python -m workers worker NAME, or python -m workers beat")


main()
