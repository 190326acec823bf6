"""The options that say how a text is worded."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import click

from dispatcher.planning import Order, worded


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """The options, as they were given."""

    gsm7: bool

    @classmethod
    def taken(cls, asked: dict[str, Any]) -> "Wording":
        """Take them out of what was given to the command."""
        return cls(gsm7=asked.pop("gsm7"))


def how_it_is_worded(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that `Wording` holds."""
    return click.option(
        "--gsm7",
        is_flag=True,
        help='Put look-alikes for characters that make texts longer: “ … é á become " ... é a.',
    )(command)


def with_wording(order: Order, wording: Wording) -> Order:
    """Return the order with its texts worded so."""
    rules = {"gsm7": True} if wording.gsm7 else {}
    return worded(replace(order, rules={**order.rules, **rules}))
