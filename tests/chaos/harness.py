"""The harness: a stack in a home of its own, a sandbox that records, faults drawn by seed, and the reckoning."""

import csv
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from dispatcher.batch import BatchState
from dispatcher.ledger import Campaign, Ledger, open_ledger
from dispatcher.message import MessageState
from dispatcher.sandbox import Sandbox, Settings, client_settings

COMMAND = Path(sys.executable).parent / "dispatcher"
LEASE_MARGIN = 2
TIMEOUT = 3
_AREAS = [201, 202, 203, 205, 206, 207, 208, 209, 210, 212, 213, 214, 215, 216, 217, 218, 219, 224, 225, 228]
_CALM_SECONDS = 60.0
_CANCEL_SECONDS = 1.0

NETWORK_FAULTS = ("drop_before", "drop_after", "hang_after", "429", "500", "500_after", "html", "cut_json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to break, for how long, and with which dice."""

    seed: int
    seconds: float
    providers: tuple[str, ...]
    per_campaign: int = 60
    limit: int = 20  # requests a second, each provider
    fault_share: float = 0.15
    workers: int = 2


@dataclass(slots=True, kw_only=True)
class Sent:
    """One campaign of the run, as it was enqueued."""

    campaign: str
    provider: str
    text: str
    numbers: list[int]
    cancelled_at: float | None = None


@dataclass(slots=True, kw_only=True)
class World:
    """The stack under test."""

    folder: Path
    sandbox: Sandbox
    environment: dict[str, str]
    chance: random.Random
    stack: subprocess.Popen[str] | None = None
    injected: Counter[str] = field(default_factory=Counter)
    campaigns: list[Sent] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.folder / "up.log"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def run(self, *args: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *args],
            env=self.environment,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=120,
            check=False,
        )

    def up(self, workers: int) -> None:
        with self.log.open("a") as out:
            out.write("--- up ---\n")
            out.flush()
            self.stack = subprocess.Popen(
                [COMMAND, "up", "--workers", str(workers)], env=self.environment, stderr=out, text=True
            )
        wait_for(lambda: "up: data in" in self.log.read_text().rpartition("--- up ---")[2], "the stack is up")

    def pids(self, part: str) -> list[int]:
        """Return the processes of a part that run now."""
        text = self.log.read_text().rpartition("--- up ---")[2]
        found = [int(pid) for pid in re.findall(rf"{part}\S* started \(pid (\d+)\)", text)]
        return [pid for pid in found if alive(pid)]

    def down(self) -> None:
        if self.stack is not None and self.stack.poll() is None:
            self.stack.send_signal(signal.SIGTERM)
            self.stack.wait(timeout=90)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for(true: Callable[[], Any], what: str, seconds: float = 60.0) -> None:
    """Wait for something that will come true."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


@contextmanager
def world(plan: Plan) -> Iterator[World]:
    """Give a world with its stack running, and leave no process behind."""
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as name,
        Sandbox(settings=Settings(delivery_seconds=0.2, failing_share=0)) as sandbox,
    ):
        folder = Path(name)
        (folder / "home").mkdir(mode=0o700)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("DISPATCHER_")}
        for provider, settings in client_settings(sandbox.url).items():
            prefix = f"DISPATCHER_{provider.upper()}__"
            environment |= {prefix + key.upper(): value for key, value in settings.items()}
            environment |= {prefix + "TIMEOUT": str(TIMEOUT), prefix + "REQUESTS_PER_SECOND": str(plan.limit)}
        environment |= {
            "DISPATCHER_HOME": str(folder / "home"),
            "DISPATCHER_POLL_EVERY": "1",
            "DISPATCHER_LEASE_MARGIN": str(LEASE_MARGIN),
            "DISPATCHER_DRAIN_SECONDS": "5",
            # Here a share of everything goes wrong on purpose.
            "DISPATCHER_BREAKER": "0",
        }
        made = World(folder=folder, sandbox=sandbox, environment=environment, chance=random.Random(plan.seed))
        made.up(plan.workers)
        try:
            yield made
        finally:
            with suppress(subprocess.TimeoutExpired):
                made.down()
            if made.stack is not None and made.stack.poll() is None:
                made.stack.kill()
                made.stack.wait()


# --- What can happen ------------------------------------------------------------------------------------------------


def enqueue(w: World, plan: Plan) -> None:
    """Enqueue one more campaign; killing the command in the middle is one of the things that happen."""
    index = len(w.campaigns)
    provider = plan.providers[index % len(plan.providers)]
    text = f"Run {plan.seed}, campaign {index}: hello"
    # Numbers that the numbering plan keeps for fiction: +1 NPA 555 01XX.
    pool = [10_000_000_000 + area * 10_000_000 + 5_550_100 + at for area in _AREAS for at in range(90)]
    numbers = w.chance.sample(pool, plan.per_campaign)
    lines = "phone,n\n" + "".join(f"+{number},{at}\n" for at, number in enumerate(numbers))
    personal = index % 3 == 0
    body = text + " {n}" if personal else text
    path = w.folder / f"c{index}.csv"
    path.write_text(lines)
    key = f"k{plan.seed}-{index}"
    args = ("enqueue", str(path), "--provider", provider, "--text", body, "--key", key, "--json")
    if w.chance.random() < 0.1:
        process = subprocess.Popen(
            [COMMAND, *args], env=w.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(w.chance.uniform(0.3, 1.2))
        process.kill()
        process.wait()
        w.injected["enqueue killed"] += 1
    for _ in range(40):  # the ledger may be locked, or held by the draft of the one that was killed
        done = w.run(*args)
        if done.returncode == 0:
            break
        if "another enqueue is planning it" in done.stderr:
            with sqlite3.connect(w.home / "ledger.db", timeout=20) as ledger:
                ledger.execute("UPDATE campaign SET planner_until = 0 WHERE state = 'draft'")
            ledger.close()
        time.sleep(0.3)
    else:
        raise AssertionError(f"enqueue failed: {done.stderr}")
    campaign = re.search(r'"campaign": "(\w+)"', done.stdout)
    assert campaign is not None
    w.campaigns.append(Sent(campaign=campaign[1], provider=provider, text=text, numbers=numbers))


def kill(part: str) -> Callable[[World, Plan], None]:
    """Return a fault that kills one process of a part."""

    def fault(w: World, plan: Plan) -> None:
        del plan
        pids = w.pids(part)
        if pids:
            with suppress(ProcessLookupError):
                os.kill(w.chance.choice(pids), signal.SIGKILL)

    return fault


def kill_stack(w: World, plan: Plan) -> None:
    """Kill the supervisor: everything ends with it, and is started again."""
    assert w.stack is not None
    parts = [pid for part in ("redis", "worker", "beat") for pid in w.pids(part)]
    w.stack.kill()
    w.stack.wait()
    wait_for(lambda: not any(alive(pid) for pid in parts), "all parts have ended", 30)
    w.up(plan.workers)


def flush(w: World, plan: Plan) -> None:
    """Let Redis forget everything."""
    del plan
    with suppress(redis.RedisError), redis.Redis(unix_socket_path=str(w.home / "redis" / "redis.sock")) as client:
        client.flushall()


def lock_ledger(w: World, plan: Plan) -> None:
    """Hold the ledger's write lock for a while, as another program might."""
    del plan
    connection = sqlite3.connect(w.home / "ledger.db", timeout=20, isolation_level=None)
    with suppress(sqlite3.OperationalError):
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(w.chance.uniform(0.5, 2.5))
        connection.execute("ROLLBACK")
    connection.close()


def freeze(w: World, plan: Plan) -> None:
    """Stop a worker past its lease, and wake it again."""
    del plan
    pids = w.pids("worker")
    if not pids:
        return
    pid = w.chance.choice(pids)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(TIMEOUT + 1 + LEASE_MARGIN + 1.5)
        os.kill(pid, signal.SIGCONT)


def trouble(w: World, plan: Plan) -> None:
    """Let a share of the provider calls go wrong, in one way after another."""
    kind = w.chance.choice(NETWORK_FAULTS)
    w.sandbox.faults.put([], replace=True)
    w.sandbox.fault(kind, share=plan.fault_share, seconds=TIMEOUT + 2)
    w.injected[f"calls: {kind}"] += 1


def pause_and_resume(w: World, plan: Plan) -> None:
    """Pause a campaign for a moment."""
    del plan
    open_ones = [sent for sent in w.campaigns[-4:] if sent.cancelled_at is None]
    if open_ones:
        chosen = w.chance.choice(open_ones).campaign
        w.run("pause", chosen)
        time.sleep(w.chance.uniform(0, 1))
        w.run("resume", chosen)


def cancel(w: World, plan: Plan) -> None:
    """Cancel a campaign in mid-flight."""
    del plan
    open_ones = [sent for sent in w.campaigns[-3:] if sent.cancelled_at is None]
    if open_ones:
        chosen = w.chance.choice(open_ones)
        if w.run("cancel", chosen.campaign).returncode == 0:
            chosen.cancelled_at = time.time()


FAULTS: dict[str, tuple[int, Callable[[World, Plan], None]]] = {
    "worker killed": (10, kill("worker")),
    "beat killed": (2, kill("beat")),
    "redis killed": (3, kill("redis")),
    "stack killed": (2, kill_stack),
    "redis flushed": (3, flush),
    "ledger locked": (2, lock_ledger),
    "worker frozen past its lease": (2, freeze),
    "calls": (6, trouble),
    "paused and resumed": (3, pause_and_resume),
    "cancelled": (2, cancel),
}
"""What can happen, and how often beside the others."""


def wreck(w: World, plan: Plan) -> None:
    """Enqueue and break, until the time is over; then let everything come to rest."""
    end = time.monotonic() + plan.seconds
    names, weights = list(FAULTS), [weight for weight, _ in FAULTS.values()]
    while time.monotonic() < end:
        enqueue(w, plan)
        for _ in range(w.chance.randint(1, 3)):
            [name] = w.chance.choices(names, weights)
            if name != "calls":
                w.injected[name] += 1
            FAULTS[name][1](w, plan)
            time.sleep(w.chance.uniform(0.05, 0.8))
    w.sandbox.faults.put([], replace=True)
    resume_what_was_paused(w)


def resume_what_was_paused(w: World) -> None:
    """Resume what a fault of the provider paused: an operator would."""
    ledger = open_ledger(f"sqlite:///{w.home / 'ledger.db'}")
    for campaign in ledger.campaigns.latest():
        if campaign.state == "paused":
            w.run("resume", campaign.public_id)
    ledger.close()


# --- The reckoning --------------------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Reckoning:
    """What the run came to; `wrong` is empty where every promise was kept."""

    injected: Counter[str]
    campaigns: int = 0
    rows: int = 0
    accepted: int = 0
    states: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def reckon(w: World, plan: Plan, *, calm_seconds: float = _CALM_SECONDS) -> Reckoning:
    """Wait until nothing moves any more, and hold the sandbox's record against the ledger and the lists."""
    ledger = open_ledger(f"sqlite:///{w.home / 'ledger.db'}")
    try:
        # As long as receipts trickle in, all is well: only what does not move any more is stuck.
        last, moved_at = "", time.monotonic()
        while not _at_rest(ledger) and time.monotonic() < moved_at + calm_seconds:
            resume_what_was_paused(w)
            time.sleep(1)
            seen = str([ledger.campaigns.counts(campaign).messages for campaign in ledger.campaigns.latest()])
            if seen != last:
                last, moved_at = seen, time.monotonic()
        w.down()
        return _reckon(w, plan, ledger)
    finally:
        ledger.close()


def _at_rest(ledger: Ledger) -> bool:
    for campaign in ledger.campaigns.latest():
        counts = ledger.campaigns.counts(campaign)
        if counts.messages[MessageState.QUEUED] or counts.messages[MessageState.SUBMITTED]:
            return False
        if any(counts.batches[state] for state in (BatchState.PENDING, BatchState.CLAIMED, BatchState.SUBMITTING)):
            return False
    return True


def _reckon(w: World, plan: Plan, ledger: Ledger) -> Reckoning:
    found = Reckoning(injected=w.injected, campaigns=len(w.campaigns))
    record = w.sandbox.record
    accepted: dict[str, Counter[int]] = {sent.text: Counter() for sent in w.campaigns}
    for message in record.messages:
        if not record.is_recalled(message):
            text = next(sent.text for sent in w.campaigns if message.text.startswith(sent.text))
            accepted[text][int(message.number)] += 1
    for sent in w.campaigns:
        _reckon_campaign(ledger, sent, accepted[sent.text], found)
    for name in plan.providers:
        peak = record.summary(time.time()).get(name, {}).get("peak_requests", 0)
        if peak > plan.limit + 1:
            found.wrong.append(f"{name}: {peak} requests in a second at a limit of {plan.limit}")
    known = {sent.campaign for sent in w.campaigns}
    found.wrong += [
        f"unasked campaign {one.public_id}" for one in ledger.campaigns.latest() if one.public_id not in known
    ]
    return found


def _reckon_campaign(ledger: Ledger, sent: Sent, accepted: Counter[int], found: Reckoning) -> None:
    campaign: Campaign = ledger.campaigns.get(sent.campaign)
    fates = {int(line.number[1:]): line for line in ledger.reports.lines(campaign)}
    found.rows += len(sent.numbers)
    found.accepted += sum(accepted.values())
    wrong = found.wrong.append
    for number in sent.numbers:
        line, times = fates.get(number), accepted[number]
        if line is None:
            wrong(f"{sent.campaign}: row lost")
            continue
        found.states[line.state] += 1
        if times > 1:
            wrong(f"{sent.campaign} batch {line.batch}: texted {times} times ({line.state})")
        if times == 0 and line.state in ("submitted", "delivered", "undelivered"):
            wrong(f"{sent.campaign} batch {line.batch}: {line.state}, but never accepted")
        if times == 1 and line.state not in ("submitted", "delivered", "unknown", "unconfirmed"):
            wrong(f"{sent.campaign} batch {line.batch}: accepted, but {line.state}")
        if line.state in ("queued", "submitted"):
            wrong(f"{sent.campaign} batch {line.batch}: still {line.state} after all came to rest")
    found.wrong += [f"{sent.campaign}: {one}" for one in ledger.reports.discrepancies(campaign)]


def late_requests(w: World) -> list[str]:
    """Return the requests that began too long after the cancel of their campaign."""
    late = []
    requests = {request.number: request for request in w.sandbox.record.requests}
    for message in w.sandbox.record.messages:
        for sent in w.campaigns:
            if sent.cancelled_at is not None and message.text.startswith(sent.text):
                after = requests[message.request].arrived_at - sent.cancelled_at
                if after > _CANCEL_SECONDS:
                    late.append(f"{sent.campaign}: a request {after:.2f} s after its cancel")
    return sorted(set(late))


def write_table(found: Reckoning, path: Path) -> None:
    """Write what was injected and what came of it as CSV."""
    with path.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(("what", "how often"))
        writer.writerows(sorted(found.injected.items()))
