"""Shows a campaign: once as a table, or over and over until it has ended, with a bar, a rate and an estimate."""

import contextlib
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dispatcher import care, failover, reporting
from dispatcher.campaign import FINAL_CAMPAIGN_STATES
from dispatcher.cli.output import console, duration, local, print_json, table
from dispatcher.cli.plain import printable
from dispatcher.runtime import Runtime

_EVERY = 0.5
_JSON_EVERY = 1.0
_LOG_EVERY = 5.0
_RATE_SECONDS = 10.0
_UNSENT = ("queued",)
_REASONS = 4
_HELD_LINES = 6
_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def show(status: dict[str, Any]) -> None:
    """Print a status as a table."""
    console().print(_body(status))


def watch(runtime: Runtime, name: str, *, as_json: bool) -> None:
    """Show a campaign until it has ended: live on a terminal, a line now and then in a log."""
    out = console()
    rates: deque[tuple[float, int, int]] = deque()
    if as_json or not out.is_terminal:
        _log(runtime, name, rates, as_json=as_json)
        return
    with Live(console=out, refresh_per_second=4) as live:
        while True:
            status = _status(runtime, name)
            live.update(Group(*_progress(status, rates), Text(""), _body(status)))
            if _ended(status):
                return
            time.sleep(_EVERY)


def watch_all(runtime: Runtime) -> None:
    """Show all campaigns that have not ended, until they have: live on a terminal, lines now and then in a log."""
    out = console()
    names = [one.public_id for one in runtime.ledger.campaigns.latest() if one.state not in FINAL_CAMPAIGN_STATES]
    names.reverse()
    rates: dict[str, deque[tuple[float, int, int]]] = {name: deque() for name in names}
    if not names:
        click.echo("no campaign is under way")
        return
    told: dict[str, str] = {}
    told_at = 0.0
    with Live(console=out, refresh_per_second=4) if out.is_terminal else contextlib.nullcontext() as live:
        while True:
            found = [_status(runtime, name) for name in names]
            ended = all(_ended(status) for status in found)
            if live is not None:
                live.update(_overview(found, rates))
            elif ended or time.monotonic() - told_at >= _LOG_EVERY:
                for status in found:
                    line = f"{status['provider']:<10} {_line(status, rates[status['campaign']])}"
                    if told.get(status["campaign"]) != line:
                        click.echo(line)
                        told[status["campaign"]] = line
                told_at = time.monotonic()
            if ended:
                return
            time.sleep(_EVERY)


def _overview(found: list[dict[str, Any]], rates: dict[str, deque[tuple[float, int, int]]]) -> RenderableType:
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading, justify in (("campaign", "left"), ("provider", "left"), ("state", "left")):
        grid.add_column(heading, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    grid.add_column("sent", no_wrap=True)
    grid.add_column("final", justify="right", no_wrap=True)
    grid.add_column("of", justify="right", no_wrap=True)
    grid.add_column("rate", justify="right", no_wrap=True)
    for status in found:
        total, sent, ended = _counts(status)
        rate, _ = _rate(status, rates[status["campaign"]])
        bar = ProgressBar(total=max(total, 1), completed=sent if total else 1, width=14)
        facts = (status["campaign"], status["provider"], status["state"])
        final = f"{100 * ended // total if total else 100} %"
        grid.add_row(*facts, bar, final, f"{total:,}", f"{rate:,.0f}/s" if sent < total else "")
    return grid


def _log(runtime: Runtime, name: str, rates: deque[tuple[float, int, int]], *, as_json: bool) -> None:
    last, told_at = "", 0.0
    while True:
        status = _status(runtime, name)
        if as_json:
            print_json(status)
        else:
            line = _line(status, rates)
            if _ended(status) or (line != last and time.monotonic() - told_at >= _LOG_EVERY):
                click.echo(line)
                last, told_at = line, time.monotonic()
        if _ended(status):
            return
        time.sleep(_JSON_EVERY)


def _status(runtime: Runtime, name: str) -> dict[str, Any]:
    return reporting.status(runtime.ledger, runtime.ledger.campaigns.get(name), now=runtime.clock())


def _ended(status: dict[str, Any]) -> bool:
    return status["state"] in FINAL_CAMPAIGN_STATES and not status["messages"]["queued"]


def _counts(status: dict[str, Any]) -> tuple[int, int, int]:
    """Return how many messages there are, have left the queue, and have reached their end."""
    messages = status["messages"]
    total = sum(messages.values())
    return total, total - messages["queued"], total - status["open"]


def _rate(status: dict[str, Any], rates: deque[tuple[float, int, int]]) -> tuple[float, float]:
    """Return (messages sent, messages ended) a second, of late."""
    _, sent, ended = _counts(status)
    now = time.monotonic()
    rates.append((now, sent, ended))
    while rates[0][0] < now - _RATE_SECONDS:
        rates.popleft()
    elapsed = now - rates[0][0]
    if elapsed <= 0:
        return 0.0, 0.0
    return (sent - rates[0][1]) / elapsed, (ended - rates[0][2]) / elapsed


def held_in_words(one: dict[str, Any]) -> str:
    """Return one line on messages that wait for hours to begin, such as: until 09:00 in Africa/Johannesburg."""
    day, _, clock = one["local"].partition("T")
    more = len(one["zones"]) - 1
    others = f" and {more} more zone{'' if more == 1 else 's'}" if more else ""
    soon = datetime.fromisoformat(one["local"]) - datetime.now(UTC) < timedelta(days=1)
    when = clock[:5] if soon else f"{day} {clock[:5]}"
    plural = "" if one["messages"] == 1 else "s"
    return f"until {when} in {one['zones'][0]}{others} ({one['messages']:,} message{plural})"


def _progress(status: dict[str, Any], rates: deque[tuple[float, int, int]]) -> list[RenderableType]:
    total, sent, ended = _counts(status)
    sent_rate, ended_rate = _rate(status, rates)
    grid = Table.grid(padding=(0, 1))
    for label, done, rate in (("sent", sent, sent_rate), ("final", ended, ended_rate)):
        left = (total - done) / rate if rate > 0 else None
        note = (
            "done" if done >= total else (f"{rate:,.0f}/s, {duration(left)} left" if left is not None else "waiting")
        )
        share = 100 * done // total if total else 100
        bar = ProgressBar(total=max(total, 1), completed=done if total else 1, width=30)
        grid.add_row(label, bar, f"{share:3d} %", f"{done:,} of {total:,}", note)
    return [grid]


def _line(status: dict[str, Any], rates: deque[tuple[float, int, int]]) -> str:
    total, sent, ended = _counts(status)
    rate, _ = _rate(status, rates)
    states = " ".join(f"{state}={many}" for state, many in status["messages"].items() if many)
    left = f" eta={duration((total - sent) / rate).replace(' ', '')}" if rate > 0 and sent < total else ""
    share = 100 * sent // total if total else 100
    reason = f" reason={printable(status['reason'])}" if status["reason"] else ""
    held = sum(one["messages"] for one in status["held"])
    waiting = f" held={held}" if held else ""
    return f"{status['state']} sent={share}% final={ended}/{total} rate={rate:.0f}/s{left} {states}{waiting}{reason}"


def _cost(status: dict[str, Any]) -> str:
    if not status["cost"] and status["segments_submitted"]:
        return f"{status['provider']} has told none so far"
    return f"{status['cost']:,}" + (f", {status['refunded']:,} refunded" if status["refunded"] else "")


def _days(days: list[str]) -> str:
    if len(days) == len(_WEEK):
        return "every day"
    first = _WEEK.index(days[0])
    if len(days) > 2 and days == list(_WEEK[first : first + len(days)]):
        return f"{days[0]}-{days[-1]}"
    return ", ".join(days)


def _timing(timing: dict[str, Any]) -> list[tuple[str, str | None]]:
    """Return the rules by which it waits or takes its time, as (name, words)."""
    facts: list[tuple[str, str | None]] = []
    if timing["window"] is not None:
        days = _days(timing["days"].split(","))
        holidays = ", no public holidays" if timing["skip_holidays"] else ""
        facts.append(("hours", f"{timing['window']}, {days}{holidays}, by the recipients' clocks"))
    if timing["spread_seconds"] is not None:
        facts.append(("pace", f"evenly over {duration(timing['spread_seconds'])}"))
    return facts


def _body(status: dict[str, Any]) -> RenderableType:
    batches = ", ".join(f"{many:,} {state}" for state, many in status["batches"].items() if many)
    facts = [
        ("campaign", f"{status['campaign']}  {printable(status['name'])}"),
        ("provider", status["provider"]),
        ("state", status["state"] + (f": {printable(status['reason'])}" if status["reason"] else "")),
        ("send at", local(status["send_at"])),
        ("enqueued", local(status["created_at"])),
        ("segments", f"{status['segments']:,} planned, {status['segments_submitted']:,} submitted"),
        ("batches", batches),
        *(("held", held_in_words(one)) for one in status["held"][:_HELD_LINES]),
        *_timing(status["timing"]),
        ("expires", local(status["expires_at"])),
        ("brand", printable(status["brand"])),
        ("cost", _cost(status)),
    ]
    rules = [*failover.in_words(status["failover"]), *care.in_words(status["care"])]
    facts += [(name, printable(words)) for name, words in rules]
    money = status["money"]
    if money["budget"] is not None:
        facts.append(("budget", f"{money['budget']:,}, {money['committed']:,} spent or reserved"))
    facts += [("note", printable(note)) for note in status["notes"]]
    head = table([("", False), ("", False)], [(name, value) for name, value in facts if value])
    head.show_header = False
    excluded = {kind: many for kind, many in status["excluded"].items() if many}
    why: dict[str, list[str]] = {}
    for one in status["reasons"]:
        why.setdefault(one["state"], []).append(f"{one['messages']:,} {printable(one['reason'])}")
    places = [
        (state, many, ", ".join(why.get(state, [])[:_REASONS])) for state, many in status["messages"].items() if many
    ]
    places += [(kind, many, "no message was made") for kind, many in excluded.items()]
    body = table([("what became of the rows", False), ("rows", True), ("", False)], places)
    body.add_section()
    body.add_row("all rows", f"{status['rows']:,}", "")
    return Group(head, Text(""), body)
