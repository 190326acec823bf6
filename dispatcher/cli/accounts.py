"""Commands about provider accounts: providers, provider, inbox."""

from collections.abc import Callable
from typing import Any

import click

from dispatcher import providers, reporting
from dispatcher.cli.opening import opened
from dispatcher.cli.output import console, json_option, print_json, table
from dispatcher.cli.plain import printable
from dispatcher.errors import ThroughputUnavailable, UsageError
from dispatcher.provider import (
    ChecksCredentials,
    EstimatesPrice,
    FetchesReceipts,
    FindsLost,
    HasResources,
    HostsMedia,
    KnowsOptOuts,
    Provider,
    ReceivesMessages,
    Schedules,
    StopsBatches,
    TellsBalance,
)
from dispatcher.runtime import Runtime

ABILITIES: dict[str, Callable[[Provider], bool]] = {
    "receipts": lambda provider: isinstance(provider, FetchesReceipts),
    "schedule": lambda provider: provider.capabilities.schedule_ahead is not None,
    "recall": lambda provider: isinstance(provider, Schedules | StopsBatches),
    "lookup": lambda provider: isinstance(provider, FindsLost),
    "price": lambda provider: isinstance(provider, EstimatesPrice),
    "balance": lambda provider: isinstance(provider, TellsBalance),
    "inbox": lambda provider: isinstance(provider, ReceivesMessages),
    "optouts": lambda provider: isinstance(provider, KnowsOptOuts),
    "media": lambda provider: (
        isinstance(provider, HostsMedia) or bool({"media_url", "media_data"} & provider.capabilities.options)
    ),
    "sender": lambda provider: provider.capabilities.sender,
    "resources": lambda provider: isinstance(provider, HasResources),
}
"""What a provider may be able to do, and how one knows."""

_SHORT = {"lookup": "look-up", "optouts": "opt-outs", "resources": "its own"}


@click.command(name="providers")
@json_option
def list_providers(*, as_json: bool) -> None:
    """List the providers: what each can do, its limits, and whether it is configured here."""
    with opened() as runtime:
        found = [_described(runtime, name) for name in providers.names()]
    if as_json:
        print_json(found)
        return
    rows = []
    for one in found:
        limits = one["limits"]
        able = ", ".join(_SHORT.get(ability, ability) for ability, has in one["abilities"].items() if has)
        rate = f"{limits['requests_per_second']:g}/s" if limits["requests_per_second"] else "none"
        configured = "yes" if one["configured"] else "no"
        rows.append((one["provider"], configured, limits["messages_per_request"], rate, able))
    headings = [("provider", False), ("set up", False), ("a request", True), ("requests", True), ("abilities", False)]
    console().print(table(headings, rows), end="")
    for one in found:
        if one["missing"]:
            click.echo(f"to use {one['provider']}, set {', '.join(one['missing'])}")


def _described(runtime: Runtime, name: str) -> dict[str, Any]:
    provider = runtime.provider(name)
    can = provider.capabilities
    missing = runtime.missing(name)
    section = runtime.settings.section(name)
    return {
        "provider": name,
        "configured": not missing,
        "missing": missing,
        "abilities": {ability: has(provider) for ability, has in ABILITIES.items()},
        "options": sorted(can.options),
        "limits": {
            "messages_per_request": can.messages_per_request,
            "bytes_per_request": can.bytes_per_request,
            "characters": can.characters,
            "segments": can.segments,
            "schedule_ahead_days": None if can.schedule_ahead is None else can.schedule_ahead.days,
            "requests_per_second": section.requests_per_second,
            "segments_per_second": section.segments_per_second,
        },
    }


@click.command()
@click.argument("name", type=click.Choice(providers.names()))
@click.argument("what", type=click.Choice(["balance", "check"]))
@json_option
def provider(name: str, what: str, *, as_json: bool) -> None:
    """Ask provider NAME for the balance of the account, or check that it lets us in.

    Both are calls that cost nothing and change nothing.
    """
    with opened() as runtime:
        asked = usable(runtime, name)
        if what == "balance":
            if not isinstance(asked, TellsBalance):
                raise UsageError(f"{name} has no call that tells the balance")
            balance = asked.balance()
            unit = asked.capabilities.currency or "credits"
            if as_json:
                print_json({"provider": name, "balance": reporting.amount(balance), "unit": unit})
            else:
                click.echo(f"{name}: {balance:f} {unit}")
            return
        if isinstance(asked, ChecksCredentials):
            told = asked.check()
        elif isinstance(asked, TellsBalance):
            told = f"credentials accepted, balance {asked.balance():f}"
        else:
            raise UsageError(f"{name} has no call that would try the credentials")
        if as_json:
            print_json({"provider": name, "ok": True, "found": told})
        else:
            click.echo(f"{name}: {printable(told)}")


def usable(runtime: Runtime, name: str, *, lookup: bool = True) -> Provider:
    """Return a provider that is configured, with the throughput of one look-up taken where Redis can be asked.

    Raises:
        UsageError: it is not configured.
    """
    missing = runtime.missing(name)
    if missing:
        raise UsageError(f"{name} is not configured: set {', '.join(missing)}")
    if lookup:
        take_lookup(runtime, name)
    return runtime.provider(name)


def take_lookup(runtime: Runtime, name: str, *, max_wait: float = 10.0) -> None:
    """Wait for the throughput of one call made by hand. While Redis is away nobody sends, so it may go at once."""
    try:
        runtime.account(name).wait_to_look_up(max_wait=max_wait)
    except ThroughputUnavailable:
        return


@click.command()
@click.option("--provider", "name", type=click.Choice(providers.names()), help="This one only.")
@click.option("--most", type=click.IntRange(1, 100_000), default=100, show_default=True, help="From each provider.")
@json_option
def inbox(*, name: str | None, most: int, as_json: bool) -> None:
    """Show incoming messages, as the providers list them; with --json, one object a line."""
    with opened() as runtime:
        names = [name] if name else [each for each in providers.names() if not runtime.missing(each)]
        if not names:
            raise UsageError("no provider is configured; `dispatcher providers` tells what each needs")
        for each in names:
            asked = usable(runtime, each, lookup=False)
            if not isinstance(asked, ReceivesMessages):
                if name:
                    raise UsageError(f"{each} has no call that lists incoming messages")
                continue
            shown, page = 0, None
            while shown < most:
                take_lookup(runtime, each)
                found = asked.incoming(page)
                for message in found.messages[: most - shown]:
                    shown += 1
                    told = {
                        "provider": each,
                        "number": f"+{message.number}",
                        "text": message.text,
                        "at": reporting.moment(message.at),
                        "provider_message_id": message.provider_message_id,
                        "answers_to": message.answers_to,
                    }
                    if as_json:
                        print_json(told)
                    else:
                        click.echo(f"{told['at'] or '':20} {each:10} {told['number']:16} {printable(message.text)}")
                page = found.next_page
                if page is None:
                    break
