"""What a campaign may spend: the option of `enqueue`, and the command that shows and sets it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any

import click

from dispatcher import reporting, spending
from dispatcher.cli.opening import WHO, opened
from dispatcher.cli.output import console, json_option, print_json, table
from dispatcher.cli.plain import printable
from dispatcher.errors import UsageError
from dispatcher.planning import Asks, Order, Tariff
from dispatcher.runtime import Runtime

_NO_BUDGET = "none"
_LARGEST = Decimal(1_000_000_000)


def amount_of(text: str) -> Decimal:
    """Return an amount of money in the provider's unit, of up to six decimals.

    Raises:
        UsageError: it is none.
    """
    try:
        found = Decimal(text.replace(",", ""))
    except InvalidOperation:
        found = Decimal("NaN")
    if not (found.is_finite() and 0 < found <= _LARGEST and found == round(found, 6)):
        raise UsageError(f"budget {printable(text)}: write an amount such as 5000 or 49.50")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """The options that say what a campaign may spend."""

    budget: Decimal | None

    @classmethod
    def taken(cls, asked: dict[str, Any]) -> "Spending":
        """Take them out of what was given to the command."""
        return cls(budget=asked.pop("budget"))


def what_may_be_spent(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that `Spending` holds."""
    return click.option(
        "--budget", type=amount_of, metavar="5000", help="What it may cost, in the provider's unit; then it pauses."
    )(command)


def with_prices(
    runtime: Runtime,
    order: Order,
    *,
    budget: Decimal | None = None,
    estimating: bool = False,
    asks: Asks = MappingProxyType({}),
) -> Order:
    """Return the order with what the settings say of prices, and with a budget.

    Raises:
        UsageError: a budget is to be held, no price is set, and the provider is none that `asks` can ask.
    """
    names = (order.provider, *order.fallbacks)
    sections = {name: runtime.settings.section(name) for name in names}
    tariffs = {name: Tariff(flat=one.price, by_country=one.prices) for name, one in sections.items()}
    capped = budget is not None or any(one.budget_per_day is not None for one in sections.values())
    capped = capped and not estimating
    for name in names:
        needed = budget is not None or sections[name].budget_per_day is not None
        if needed and not estimating and not tariffs[name].known and name not in asks:
            variable = f"DISPATCHER_{name.upper()}__PRICE"
            raise UsageError(
                f"a budget cannot be held without a price of {name}: set {variable} to what a segment costs,"
                f' or {variable}S by country, such as {{"ZA": 0.25, "US": 0.04}}'
            )
    flat = {name: str(tariff.flat) for name, tariff in tariffs.items() if tariff.flat is not None}
    rules = {**order.rules, "price_drift": runtime.settings.price_drift} if capped else dict(order.rules)
    return replace(
        order,
        budget=budget,
        segment_price=tariffs[order.provider].flat,
        tariffs=tariffs,
        price_needed=capped,
        rules=rules | {"prices": flat} if flat else rules,
    )


@click.command()
@click.argument("campaign")
@click.argument("amount", required=False)
@json_option
def budget(campaign: str, amount: str | None, *, as_json: bool) -> None:
    """Show what CAMPAIGN may spend, has spent or reserved; or set it to AMOUNT, or to none.

    A campaign that its budget has paused goes on after `dispatcher resume`.
    """
    with opened() as runtime:
        found = runtime.ledger.campaigns.get(campaign)
        if amount is not None:
            runtime.ledger.spending.set_budget(
                found,
                None if amount == _NO_BUDGET else amount_of(amount),
                price=runtime.settings.section(found.provider).price,
                who=WHO,
                now=runtime.clock(),
            )
            found = runtime.ledger.campaigns.get(found.public_id)
        told = spending.described(runtime.ledger, found)
        reason = reporting.status(runtime.ledger, found)["reason"]
    if as_json:
        print_json({"campaign": found.public_id, "state": found.state.value, "reason": reason, **told})
        return
    facts = [
        ("campaign", found.public_id),
        ("state", found.state.value + (f": {printable(reason)}" if reason else "")),
        ("budget", _NO_BUDGET if told["budget"] is None else f"{told['budget']:,}"),
        ("spent or reserved", f"{told['committed']:,}"),
        ("left", None if told["left"] is None else f"{told['left']:,}"),
        ("price of a segment", None if told["segment_price"] is None else f"{told['segment_price']:,}"),
    ]
    shown = table([("", False), ("", False)], [(name, value) for name, value in facts if value is not None])
    shown.show_header = False
    console().print(shown, end="")
