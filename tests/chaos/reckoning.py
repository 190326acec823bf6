"""Waits until nothing moves any more, and holds the sandbox's own record against the ledger and the lists."""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from dispatcher.errors import LedgerError
from dispatcher.ledger import Ledger
from dispatcher.runtime import now
from dispatcher.sandbox import Accepted, Record, RequestEntry
from tests.chaos.campaigns import CAMPAIGN_OF, resume_what_was_paused
from tests.chaos.world import Sent, World, present

CANCEL_SECONDS = 1.0
JITTER = 2
"""Requests by which a second may seem fuller than it was: arrival is later than sending by more or less, and here much runs at once."""

HASTE = 20
"""By how much the limits are raised at rest: receipts and look-ups have a share of them, and nothing is proven by waiting."""

CERTAIN = ("bsg", "sakari")
"""Those that can always tell what became of a lost batch."""

_CALM_SECONDS = 60.0
_HURRY_EVERY = 5.0
_RUNS_ON = ("submitted", "delivered", "undelivered", "expired")


@dataclass(slots=True, kw_only=True)
class Reckoning:
    """What the run came to; `wrong` is empty where every promise was kept."""

    injected: Counter[str]
    campaigns: int = 0
    cancelled: int = 0
    rows: int = 0
    accepted: int = 0
    requests: int = 0
    duplicates: int = 0
    lost: int = 0
    late: int = 0
    decided: int = 0  # batches that were left to a person, who let them be sent again
    states: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)  # by provider
    peaks: dict[str, int] = field(default_factory=dict)  # most requests in any second, while things were broken
    wrong: list[str] = field(default_factory=list)


def reckon(w: World, *, calm_seconds: float = _CALM_SECONDS, haste: bool = True) -> Reckoning:
    """Let everything come to rest, stop the stack, and reckon."""
    if haste:
        _make_haste(w)
    decided = _come_to_rest(w, calm_seconds)
    w.down()
    w.stop_sandbox()
    with Record(starting_credits=0, file=w.record) as record:
        found = _reckon(w, record, w.ledger)
    found.decided = decided
    return found


def _make_haste(w: World) -> None:
    w.down()
    w.calm_from = time.time()
    for name in w.plan.providers:
        w.environment[f"DISPATCHER_{name.upper()}__REQUESTS_PER_SECOND"] = str(w.plan.limit_of(name) * HASTE)
    w.up()


def _come_to_rest(w: World, calm_seconds: float) -> int:
    """Wait as long as anything moves; return how many batches a person had to decide about."""
    last, moved_at, hurried_at, decided = "", time.monotonic(), time.monotonic(), set[str]()
    while time.monotonic() < moved_at + calm_seconds:
        resume_what_was_paused(w)
        decided |= _decide(w)
        seen = str(w.ask("SELECT state, COUNT(*) FROM message GROUP BY state ORDER BY state")) + str(len(decided))
        if seen != last:
            last, moved_at = seen, time.monotonic()
        elif _at_rest(w):
            break
        elif time.monotonic() > max(moved_at, hurried_at) + _HURRY_EVERY:
            _hurry(w)
            hurried_at = time.monotonic()
        time.sleep(0.5)
    return len(decided)


def _at_rest(w: World) -> bool:
    certain = ", ".join(f"'{name}'" for name in CERTAIN)
    open_ones = w.ask(
        "SELECT (SELECT COUNT(*) FROM message WHERE state IN ('queued', 'submitted'))"
        " + (SELECT COUNT(*) FROM batch WHERE state IN ('pending', 'claimed', 'submitting'))"
        f" + (SELECT COUNT(*) FROM batch WHERE look_up_at IS NOT NULL AND (look_up_at <= :now OR provider IN ({certain})))"
        " AS many",
        now=present(),
    )
    return bool(open_ones) and not open_ones[0].many


def _hurry(w: World) -> None:
    """Let time pass: what is asked for again after a share of its age is asked for now."""
    try:
        w.ledger.receipts.make_due(now=now())
        with w.ledger.database.write() as tx:
            tx.run("UPDATE batch SET look_up_at = :now WHERE look_up_at > :now AND state = 'unknown'", now=present())
    except LedgerError:
        return  # the next turn does


def _decide(w: World) -> set[str]:
    """Be the person: what was lost too often, and was seen to be absent each time, is sent again."""
    rows = w.ask(
        "SELECT c.public_id, b.number, (SELECT e.why FROM event e WHERE e.campaign_id = b.campaign_id"
        " AND e.batch_id = b.id AND e.what = 'looked up' ORDER BY e.id DESC LIMIT 1) AS seen"
        " FROM batch b JOIN campaign c ON c.id = b.campaign_id WHERE b.state = 'unknown'"
    )
    left = [f"{row.public_id}/{row.number}" for row in rows if "so a person decides" in (row.seen or "")]
    return {batch for batch in left if w.run("resolve", batch, "resend", "--yes").code == 0}


def _reckon(w: World, record: Record, ledger: Ledger) -> Reckoning:
    found = Reckoning(injected=w.injected, campaigns=len(w.campaigns))
    accepted: defaultdict[int, Counter[int]] = defaultdict(Counter)
    for message in record.messages:
        if not record.is_recalled(message):
            accepted[campaign_of(message)][int(message.number)] += 1
    for index, sent in enumerate(w.campaigns):
        _reckon_campaign(ledger, sent, accepted[index], found)
    for name in w.plan.providers:
        sends = [one for one in record.requests if one.provider == name and one.sends]
        found.requests += len(sends)
        before = [one.arrived_at for one in sends if w.calm_from is None or one.arrived_at < w.calm_from]
        found.peaks[name] = most = peak(before)
        if most > w.plan.limit_of(name) + JITTER:
            found.wrong.append(f"{name}: {most} requests in a second at a limit of {w.plan.limit_of(name):g}")
    known = {sent.campaign for sent in w.campaigns}
    asked = {row.public_id for row in w.ask("SELECT public_id FROM campaign")}
    found.wrong += [f"unasked campaign {name}" for name in sorted(asked - known)]
    late = _late(w.campaigns, record)
    found.late = len(late)
    found.wrong += late
    return found


def _reckon_campaign(ledger: Ledger, sent: Sent, accepted: Counter[int], found: Reckoning) -> None:
    campaign = ledger.campaigns.get(sent.campaign)
    fates = {int(line.number[1:]): line for line in ledger.reports.lines(campaign)}
    found.rows += len(sent.numbers)
    found.cancelled += sent.cancelled_at is not None
    found.accepted += sum(accepted.values())
    wrong = found.wrong.append
    for number in sent.numbers:
        line, times = fates.get(number), accepted[number]
        if line is None:
            found.lost += 1
            wrong(f"{sent.campaign}: row lost")
            continue
        where = f"{sent.provider} {sent.campaign}/{line.batch}"
        found.states[line.state] += 1
        if times > 1:
            found.duplicates += 1
            wrong(f"{where}: texted {times} times ({line.state})")
        if times == 0 and line.state in _RUNS_ON:
            wrong(f"{where}: {line.state}, but never accepted")
        if times and line.state not in (*_RUNS_ON, "unknown", "unconfirmed"):
            wrong(f"{where}: accepted, but {line.state}")
        if line.state in ("queued", "submitted"):
            found.lost += 1
            wrong(f"{where}: still {line.state} after all came to rest")
        if line.state == "unknown":
            found.unknown[sent.provider] += 1
            if sent.provider in CERTAIN:
                wrong(f"{where}: unknown, though {sent.provider} can tell")
    if len(fates) != len(sent.numbers):
        wrong(f"{sent.campaign}: {len(fates)} rows in the report, {len(sent.numbers)} in the list")
    found.wrong += [f"{sent.campaign}: {one}" for one in ledger.reports.discrepancies(campaign)]


def _late(campaigns: Sequence[Sent], record: Record) -> list[str]:
    """Return the requests that began too long after the cancel of their campaign."""
    requests: dict[int, RequestEntry] = {request.number: request for request in record.requests}
    late = set[str]()
    for message in record.messages:
        sent = campaigns[campaign_of(message)]
        # A request that was cut off in the middle of its answer has no entry: it is not known when it began.
        request = requests.get(message.request)
        if sent.cancelled_at is not None and request is not None:
            after = request.arrived_at - sent.cancelled_at
            if after > CANCEL_SECONDS:
                late.add(f"{sent.provider} {sent.campaign}: a request {after:.2f} s after its cancel")
    return sorted(late)


def campaign_of(message: Accepted) -> int:
    """Return which campaign of the run a message belongs to, by its text."""
    found = CAMPAIGN_OF.search(message.text)
    assert found is not None
    return int(found[1])


def peak(instants: Sequence[float]) -> int:
    """Return the most of these instants in any second."""
    ordered = sorted(instants)
    most = first = 0
    for last, at in enumerate(ordered):
        while ordered[first] <= at - 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most
