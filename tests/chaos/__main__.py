"""`make chaos`: break everything for some minutes, and print what came of it."""

import argparse
import sys
import time

from dispatcher import providers
from tests.chaos.harness import Plan, late_requests, reckon, world, wreck


def main() -> int:
    """Run the harness by the options given, and return 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5, help="how long to break things (default: 5)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same seed draws the same faults")
    parser.add_argument("--size", type=int, default=60, help="recipients in each campaign (default: 60)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: 2)")
    parser.add_argument("--provider", action="append", choices=providers.names(), help="this one; repeatable")
    asked = parser.parse_args()
    plan = Plan(
        seed=asked.seed,
        seconds=asked.minutes * 60,
        providers=tuple(asked.provider or providers.names()),
        per_campaign=asked.size,
        workers=asked.workers,
    )
    print(f"seed {plan.seed}: breaking things for {asked.minutes:g} minutes", flush=True)
    with world(plan) as w:
        wreck(w, plan)
        late = late_requests(w)
        found = reckon(w, plan)
    for what, times in sorted(found.injected.items()):
        print(f"{times:6,}  {what}")
    kills = sum(times for what, times in found.injected.items() if "killed" in what)
    print(f"{kills:6,}  kills in all")
    print(f"{found.campaigns:6,}  campaigns, {found.rows:,} recipients, {found.accepted:,} accepted by the sandbox")
    for state, many in sorted(found.states.items()):
        print(f"{many:6,}  {state}")
    wrong = found.wrong + late
    for line in wrong[:50]:
        print(f"BROKEN: {line}")
    print("every promise was kept" if not wrong else f"{len(wrong)} promises were broken")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
