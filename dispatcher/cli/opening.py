"""Opens a runtime for one command, and names who acts in the audit trail."""

import contextlib
from collections.abc import Iterator

from dispatcher.runtime import Runtime, start

WHO = "cli"


@contextlib.contextmanager
def opened() -> Iterator[Runtime]:
    """Give a runtime for one command."""
    runtime = start(who=WHO)
    try:
        yield runtime
    finally:
        runtime.close()
