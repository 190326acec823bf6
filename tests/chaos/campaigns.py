"""Enqueues the campaigns of a run, also where the command is killed in the middle; pauses, resumes, cancels them."""

import itertools
import os
import re
import signal
import time
from contextlib import suppress
from random import Random

from dispatcher.errors import LedgerError
from tests.chaos.servers import wait_for
from tests.chaos.world import Sent, World

_KILLED_SHARE = 0.1
_OPEN = 6
"""Of so many campaigns, the latest, one is chosen to be stopped."""

CAMPAIGN_OF = re.compile(r"campaign (\d+):")
"""Finds which campaign of the run a text belongs to."""


def enqueue(w: World, provider: str | None = None) -> Sent:
    """Enqueue one more campaign; killing the command in the middle is one of the things that happen."""
    plan = w.plan
    index = len(w.campaigns)
    chance = plan.chance("campaign", index)
    provider = provider or plan.providers[index % len(plan.providers)]
    text = f"Run {plan.seed}, campaign {index}: hello"
    numbers = list(itertools.islice(w.numbers, plan.size(provider)))
    path = w.folder / f"c{index}.csv"
    path.write_text("phone,n\n" + "".join(f"+{number},{at}\n" for at, number in enumerate(numbers)))
    body = text + " {n}" if index % 3 == 0 else text
    key = f"k{plan.seed}-{index}"
    args = ("enqueue", str(path), "--provider", provider, "--text", body, "--key", key, "--json")
    if chance.random() < _KILLED_SHARE:
        pid, _ = w.nursery.start_command(*args)
        time.sleep(chance.uniform(0, 0.06))
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: w.nursery.listen(0.05) or pid in w.nursery.ended, "the command has ended")
        w.injected["enqueue killed"] += w.nursery.ended.pop(pid) == -signal.SIGKILL
    until = time.monotonic() + 90
    while (done := w.run(*args)).code:  # the ledger may be away, or hold the draft of the one that was killed
        if time.monotonic() > until:
            raise AssertionError(f"enqueue failed: {done.stderr}")
        if "another enqueue is planning it" in done.stderr:
            # Let the five minutes pass after which a draft has lost its planner.
            with suppress(LedgerError), w.ledger.database.write() as tx:
                tx.run("UPDATE campaign SET planner_until = 0 WHERE state = 'draft'")
        w.tend()
        time.sleep(0.1)
    found = re.search(r'"campaign": "(\w+)"', done.stdout)
    assert found is not None
    sent = Sent(campaign=found[1], provider=provider, numbers=numbers)
    w.campaigns.append(sent)
    path.unlink()
    return sent


def pause_and_resume(w: World, chance: Random) -> bool:
    """Pause a campaign for a moment."""
    chosen = _one_of_the_latest(w, chance)
    if chosen is None or w.run("pause", chosen.campaign).code:
        return False
    w.later(chance.uniform(0, 1.5), "paused", lambda: w.run("resume", chosen.campaign))
    return True


def cancel(w: World, chance: Random) -> bool:
    """Cancel a campaign in mid-flight."""
    chosen = _one_of_the_latest(w, chance)
    if chosen is None or w.insist("cancel", chosen.campaign).code:
        return False
    chosen.cancelled_at = time.time()
    return True


def resume_what_was_paused(w: World) -> None:
    """Resume what a fault of the provider paused: an operator would."""
    for row in w.ask("SELECT public_id FROM campaign WHERE state = 'paused'"):
        w.run("resume", row.public_id)


def _one_of_the_latest(w: World, chance: Random) -> Sent | None:
    running = {row.public_id for row in w.ask("SELECT public_id FROM campaign WHERE state IN ('running', 'paused')")}
    latest = [sent for sent in w.campaigns if sent.campaign in running and sent.cancelled_at is None][-_OPEN:]
    at = chance.random()
    return latest[int(at * len(latest))] if latest else None
