"""What a worker process has and beat does without: its runtime, with every provider's settings, the ledger, Redis."""

import gc
import sys

from dispatcher import failpoints
from dispatcher.calm import ALLOCATIONS, TURN_SECONDS
from dispatcher.runtime import start

runtime = start()
failpoints.arm(runtime.settings.failpoint)
# A thread whose permit comes due waits this long at most for one that computes; the default is the permit's whole margin.
sys.setswitchinterval(TURN_SECONDS)
# What a batch leaves behind goes by itself: to search each 700 containers of it for cycles took 7 % of sending.
gc.set_threshold(ALLOCATIONS, *gc.get_threshold()[1:])
