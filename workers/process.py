"""What a worker process has and beat does without: its runtime, with every provider's settings, the ledger, Redis."""

import sys

from dispatcher import failpoints
from dispatcher.runtime import start

runtime = start()
failpoints.arm(runtime.settings.failpoint)
# A thread whose permit comes due waits this long at most for one that computes; the default is the permit's whole margin.
sys.setswitchinterval(0.001)
