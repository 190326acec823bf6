"""Which provider sends a campaign, and which take over from it: the option, and whether all of them can."""

from collections.abc import Callable

import click

from dispatcher import failover, providers
from dispatcher.cli.plain import printable
from dispatcher.errors import UsageError
from dispatcher.planning import Order
from dispatcher.provider import Capabilities
from dispatcher.runtime import Runtime


def who_sends(command: Callable[..., None]) -> Callable[..., None]:
    """Add the option that names the provider, as `provider`, and those that take over, as `fallbacks`."""
    return click.option(
        "--provider",
        required=True,
        callback=_split,
        metavar="NAME[,NAME…]",
        help=f"Who sends it ({', '.join(providers.names())}); others take over while it is down.",
    )(command)


def _split(context: click.Context, _: click.Parameter, value: str) -> str:
    names = [name.strip() for name in value.split(",")]
    for name in names:
        if name not in providers.names():
            raise UsageError(f"there is no provider {printable(name)!r}; there are: {', '.join(providers.names())}")
    if len(set(names)) != len(names):
        raise UsageError(f"--provider {printable(value)}: name each provider once")
    context.params["fallbacks"] = tuple(names[1:])
    return names[0]


def capabilities_of(runtime: Runtime, order: Order) -> Capabilities:
    """Return what all providers of an order can do: what is planned so, any of them can send.

    Raises:
        UsageError: one of those that take over cannot do what the order asks for.
    """
    all_of_them = [runtime.provider(name).capabilities for name in (order.provider, *order.fallbacks)]
    for name, can in zip(order.fallbacks, all_of_them[1:], strict=True):
        if order.sender and not can.sender:
            raise UsageError(f"{name} takes no sender id, so it cannot take over: leave it, or --sender, out")
        for option in order.options.keys() - can.options - failover.FOR_ONE:
            asked = "media" if option.startswith("media") else option.removesuffix("s").replace("_", "-")
            raise UsageError(f"{name} cannot do --{asked}, so it cannot take over: leave it, or that option, out")
    return failover.narrowest(all_of_them)


def tell_missing(runtime: Runtime, order: Order) -> None:
    """Say which settings the workers will need for each provider of an order."""
    for name in (order.provider, *order.fallbacks):
        if missing := runtime.missing(name):
            click.echo(f"note: {name} is not set up here: the workers need {', '.join(missing)}", err=True)
