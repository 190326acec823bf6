"""How a campaign takes care of itself, and which goes first: options of `enqueue`, and a command."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any

import click

from dispatcher import care, config
from dispatcher.cli.opening import WHO, opened
from dispatcher.cli.orders import Source
from dispatcher.cli.output import json_option, print_json
from dispatcher.cli.plain import printable
from dispatcher.errors import UsageError
from dispatcher.planning import Order, count_rows
from dispatcher.runtime import Runtime

_HIGHEST = 1000
_SPAN = re.compile(r"(\d{1,5}(?:\.\d+)?)(s|m|h)")
_UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1)}


def share_of(text: str) -> float:
    """Return a share, as 20% or 0.2, as a number from 0 to 1.

    Raises:
        BadParameter: it is none.
    """
    try:
        found = config.share(text)
    except ValueError:
        raise click.BadParameter(f"{printable(text)} is no share: write 20% or 0.2") from None
    assert isinstance(found, float)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """The options that say how a campaign takes care of itself."""

    breaker: float | None
    canary: str | None
    canary_wait: timedelta
    canary_delivered: float
    priority: int

    @classmethod
    def taken(cls, asked: dict[str, Any]) -> "Care":
        """Take them out of what was given to the command."""
        return cls(**{field.name: asked.pop(field.name) for field in fields(cls)})


def what_is_minded(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that `Care` holds."""
    for add in reversed(
        (
            click.option(
                "--breaker", type=share_of, metavar="30%", help="Pause if more is refused or unknown; 0: never."
            ),
            click.option("--canary", metavar="1%", help="Send so many first (a share, or a number), and see."),
            click.option(
                "--canary-wait", type=span_of, default="15m", show_default=True, help="For so long, at most."
            ),
            click.option(
                "--canary-delivered", type=share_of, default="80%", show_default=True, help="What must arrive of it."
            ),
            click.option(
                "--priority",
                type=click.IntRange(-_HIGHEST, _HIGHEST),
                default=0,
                show_default=True,
                help="The higher goes first.",
            ),
        )
    ):
        command = add(command)
    return command


def with_care(runtime: Runtime, order: Order, asked: Care, source: Source) -> Order:
    """Return the order with its rules.

    Raises:
        UsageError: the canary is no share and no number, or a share of a list whose length nobody knows.
    """
    rules = care.rules(
        breaker=runtime.settings.breaker if asked.breaker is None else asked.breaker,
        canary=None if asked.canary is None else _canary(asked.canary, source),
        wait=asked.canary_wait,
        delivered=asked.canary_delivered,
    )
    return replace(order, priority=asked.priority, rules={**order.rules, **rules})


def _canary(text: str, source: Source) -> int:
    if text.isdigit() and int(text):
        return int(text)
    try:
        share = share_of(text) if text.endswith("%") else 0
    except click.BadParameter:
        share = 0
    if not 0 < share < 1:
        raise UsageError(f"--canary {printable(text)}: write a share such as 1%, or a number of messages")
    rows = count_rows(source)
    if rows is None:
        raise UsageError("--canary: the length of standard input is not known beforehand: write a number of messages")
    return max(1, math.ceil(rows * share))


def span_of(text: str) -> timedelta:
    """Return a length of time, written as 90s, 15m or 2h.

    Raises:
        BadParameter: it is none.
    """
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise click.BadParameter(f"{printable(text)} is no length of time: write 90s, 15m or 2h")
    return float(found[1]) * _UNITS[found[2]]


@click.command()
@click.argument("campaign")
@click.argument("number", type=click.IntRange(-_HIGHEST, _HIGHEST), required=False)
@json_option
def priority(campaign: str, number: int | None, *, as_json: bool) -> None:
    """Show the priority of CAMPAIGN, or set it to NUMBER (0 for most; less than that: write -- before it).

    Of the campaigns of one provider the highest priority goes first, and those of one priority take turns. It
    counts from the next request on.
    """
    with opened() as runtime:
        found = runtime.ledger.campaigns.get(campaign)
        if number is not None:
            runtime.ledger.care.set_priority(found, number, who=WHO, now=runtime.clock())
            found = runtime.ledger.campaigns.get(found.public_id)
    if as_json:
        print_json({"campaign": found.public_id, "priority": found.priority})
    else:
        click.echo(f"campaign {found.public_id}: priority {found.priority}")
