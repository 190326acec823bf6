"""Commands about how it runs: poll, doctor."""

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import click

from dispatcher import providers, receipts, recovery, stack
from dispatcher.calm import calm
from dispatcher.cli.accounts import take_lookup
from dispatcher.cli.opening import opened
from dispatcher.cli.output import console, json_option, print_json
from dispatcher.cli.plain import printable
from dispatcher.cli.timing import in_words
from dispatcher.errors import DispatcherError, SettingsError
from dispatcher.provider import ChecksCredentials, FetchesReceipts, TellsBalance
from dispatcher.release import BEAT
from dispatcher.runtime import Runtime

_STALE = timedelta(seconds=30)


@click.command()
@click.option("--provider", type=click.Choice(providers.names()), help="Ask this one only.")
@json_option
def poll(*, provider: str | None, as_json: bool) -> None:
    """Ask the providers for delivery receipts now, instead of when they are next due.

    Workers do this by themselves, every DISPATCHER_POLL_EVERY seconds while messages are young.
    """
    with calm(), opened() as runtime:
        names = [provider] if provider else list(providers.names())
        asked = [name for name in names if isinstance(runtime.provider(name), FetchesReceipts)]
        runtime.ledger.receipts.make_due(now=runtime.clock())
        told = []
        for name in asked:
            if not runtime.missing(name):
                every = timedelta(seconds=runtime.settings.poll_every)
                told.append(receipts.poll(runtime.account(name), every=every, seconds=300, max_wait=10))
                receipts.compare_scheduled(runtime.account(name))
        windows = runtime.receipt_windows()
        recovery.sweep(runtime.ledger, receipt_windows=windows, who=runtime.who, now=runtime.clock())
    if as_json:
        keys = ("provider", "requests", "messages", "settled", "left")
        print_json([{key: getattr(one, key) for key in keys} for one in told])
    else:
        for one in told:
            left = f"; not all: {printable(one.left)}" if one.left else ""
            click.echo(
                f"{one.provider}: {one.messages:,} messages asked for in {one.requests} requests,"
                f" {one.settled:,} settled{left}"
            )
    if any(one.left for one in told):
        raise click.exceptions.Exit(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that `doctor` looked at; `ok` is None where it need not be right."""

    what: str
    ok: bool | None
    found: str
    remedy: str = ""


@click.command()
@json_option
def doctor(*, as_json: bool) -> None:
    """Look at settings, ledger, Redis, workers and credentials: what is right, what is not, how to mend it.

    Credentials are tried by a call that changes nothing, such as asking for the balance. Exit code 1 if something is wrong.
    """
    findings: list[Finding] = []
    with opened() as runtime:
        for look in (_home, _ledger, _redis, _courtesy, _workers, _accounts):
            for finding in look(runtime):
                findings.append(finding)
                if not as_json:
                    _tell(finding)  # at once: a server that hangs is waited for
    if as_json:
        keys = ("what", "ok", "found", "remedy")
        print_json([{key: getattr(finding, key) for key in keys} for finding in findings])
    if any(finding.ok is False for finding in findings):
        raise click.exceptions.Exit(1)


def _tell(finding: Finding) -> None:
    out = console()
    mark, style = {True: ("ok", "green"), False: ("WRONG", "red"), None: ("-", "yellow")}[finding.ok]
    out.print(f"[{style}]{mark:<6}[/]", end="")
    out.print(f"{finding.what}: {printable(finding.found)}", markup=False, soft_wrap=True)
    if finding.remedy:
        out.print(f"      → {printable(finding.remedy)}", markup=False, soft_wrap=True)


def _home(runtime: Runtime) -> Iterator[Finding]:
    runtime.make_home()
    home = runtime.settings.home
    mode = stat.S_IMODE(home.stat().st_mode)
    safe = not mode & 0o077
    yield Finding(
        what="data folder",
        ok=safe,
        found=f"{home}, mode {mode:o}",
        remedy="" if safe else f"others can read people's numbers in it: chmod 700 {home}",
    )


def _ledger(runtime: Runtime) -> Iterator[Finding]:
    def look() -> str:
        return f"{runtime.ledger.database.shown_url}, version {runtime.ledger.version}"

    yield _tried("ledger", look, "check DISPATCHER_LEDGER_URL, and that the server or the disk is there")


def _redis(runtime: Runtime) -> Iterator[Finding]:
    settings = runtime.settings
    if settings.embedded_redis and not settings.redis_socket.exists():
        remedy = "`dispatcher up` starts it; or set DISPATCHER_REDIS_URL to a server of yours"
        yield Finding(what="redis", ok=False, found="the embedded server does not run", remedy=remedy)
    else:
        yield _tried("redis", runtime.throughput.ping)
    if settings.embedded_redis:
        yield _tried("redis-server", stack.find_redis_server)


def _courtesy(runtime: Runtime) -> Iterator[Finding]:
    settings = runtime.settings
    if settings.window or settings.days or settings.skip_holidays or settings.at_most or settings.brand:
        yield _tried("hours and courtesy", lambda: in_words(settings))


def _workers(runtime: Runtime) -> Iterator[Finding]:
    now = runtime.clock()
    try:
        seen = runtime.ledger.leases.workers()
    except DispatcherError:
        return
    recent = [one for one in seen if now - one.seen_at <= _STALE]
    alive = [one for one in recent if one.name != BEAT]
    for worker in seen:
        if worker not in recent and worker.name != BEAT:
            silent = now - worker.seen_at
            yield Finding(
                what="worker",
                ok=None,
                found=f"{worker.name} gave its last sign of life {silent.total_seconds():.0f} s ago",
                remedy="it died or hangs; what it held is settled when its leases end. Start another.",
            )
    yield Finding(
        what="workers",
        ok=bool(alive),
        found=f"{len(alive)} alive" if alive else "none alive",
        remedy="" if alive else "start some: `dispatcher up`, or `celery -A workers.app worker`",
    )
    beats = any(one.name == BEAT for one in recent)
    yield Finding(
        what="beat",
        # A stack that has just started has not had its first tick yet.
        ok=beats or (None if not alive or now - min(one.started_at for one in alive) < _STALE else False),
        found="periodic tasks run"
        if beats
        else "no periodic task has run of late: nobody asks for receipts, nothing is looked up",
        remedy=""
        if beats
        else "see that beat runs (`dispatcher up`, `celery -A workers.app beat`) and that not all workers hang",
    )


def _accounts(runtime: Runtime) -> Iterator[Finding]:
    for name in providers.names():
        try:
            runtime.provider(name)
        except SettingsError as error:
            yield Finding(what=name, ok=False, found=str(error))
            continue
        missing = runtime.missing(name)
        if missing:
            yield Finding(what=name, ok=None, found="not configured", remedy=f"to use it, set {', '.join(missing)}")
            continue
        yield _tried(name, partial(_let_in, runtime, name), f"check the DISPATCHER_{name.upper()}__… settings")


def _let_in(runtime: Runtime, name: str) -> str:
    """Try the credentials by a call that costs nothing."""
    take_lookup(runtime, name, max_wait=1.0)
    provider, base = runtime.provider(name), runtime.settings.section(name).base_url
    if isinstance(provider, ChecksCredentials):
        return f"let in by {base}: {provider.check()}"
    if isinstance(provider, TellsBalance):
        return f"let in by {base}: balance {provider.balance():f}"
    return "configured; it has no call that would try the credentials"


def _tried(what: str, look: Callable[[], str], remedy: str = "") -> Finding:
    try:
        return Finding(what=what, ok=True, found=look())
    except DispatcherError as error:
        return Finding(what=what, ok=False, found=str(error), remedy=remedy)
