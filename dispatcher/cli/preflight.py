"""Shows what a campaign would do before it does anything, and asks whether it should."""

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from dispatcher import reporting
from dispatcher.cli.accounts import take_lookup, usable
from dispatcher.cli.output import duration, many
from dispatcher.cli.plain import printable, say
from dispatcher.cli.watching import held_in_words
from dispatcher.errors import DispatcherError, InputError
from dispatcher.ledger import ExcludedRow, PlanTotals
from dispatcher.msisdn import e164, mask
from dispatcher.planning import Ask, Asks, Order, Preflight, Quote, quoted, seconds_to_send
from dispatcher.provider import EstimatesPrice, OutgoingBatch, Price
from dispatcher.runtime import Runtime
from dispatcher.segments import Encoding

_SIGNS_SHOWN = 8
_WAITS_SHOWN = 6
_REASONS_SHOWN = 8
_STANDARD_INPUT = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """The options that say what is shown and asked first, as they were given."""

    yes: bool
    full: bool
    rejects: Path | None

    @classmethod
    def taken(cls, asked: dict[str, Any]) -> "Before":
        """Take them out of what was given to the command."""
        return cls(**{name: asked.pop(name) for name in cls.__slots__})


def what_is_shown_first(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that `Before` holds."""
    for add in reversed(
        (
            click.option("--yes", is_flag=True, help="Do not show and ask first, on a terminal; for scripts."),
            click.option("--full", is_flag=True, help="Show whole numbers, where they are masked."),
            click.option(
                "--rejects",
                type=click.Path(path_type=Path),
                metavar="CSV",
                help="Write the rows that become no message there: row, number, kind, reason.",
            ),
        )
    ):
        command = add(command)
    return command


def asks(before: Before, *, source: object, as_json: bool) -> bool:
    """Return whether there is somebody to ask."""
    here = sys.stdin.isatty() and sys.stdout.isatty()
    return here and not (before.yes or as_json or source is sys.stdin.buffer)


@contextmanager
def rejects_into(path: Path | None) -> Iterator[Callable[[Sequence[ExcludedRow]], None]]:
    """Give what writes the rows that become no message, as CSV; without a path, nowhere.

    Raises:
        InputError: the file cannot be written.
    """
    if path is None:
        yield lambda _: None
        return
    try:
        with path.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(("row", "number", "kind", "reason"))

            def write(rows: Sequence[ExcludedRow]) -> None:
                writer.writerows(
                    (one.row, reporting.harmless_number(one.number), one.kind.value, reporting.harmless(one.reason))
                    for one in rows
                )

            yield write
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None


# --- The price ----------------------------------------------------------------------------------------------


def asking(runtime: Runtime, names: Iterable[str]) -> Asks:
    """Return what asks providers for a price, of those that have such a call and are set up; the same batch is asked once."""
    return {
        name: _asking(runtime, name)
        for name in names
        if isinstance(runtime.provider(name), EstimatesPrice) and not runtime.missing(name)
    }


def _asking(runtime: Runtime, name: str) -> Ask:
    provider: Any = usable(runtime, name, lookup=False)
    known: dict[str, Price] = {}

    def ask(batch: OutgoingBatch) -> Price:
        if batch.reference not in known:
            take_lookup(runtime, name)
            known[batch.reference] = provider.price(batch)
        return known[batch.reference]

    return ask


def quote(order: Order, found: Preflight, totals: PlanTotals, asks: Asks) -> Quote:
    """Return the price that the provider tells for the first requests, reckoned for all; else that of the settings."""
    if order.provider not in asks:
        return Quote(amount=found.price)
    told = quoted(order, found.batches, asks[order.provider])
    if told.amount is None:
        return replace(told, amount=found.price)
    if told.asked < totals.batches and told.segments:
        return replace(told, amount=round(told.amount * totals.segments / told.segments, 2))
    return told


# --- Shown --------------------------------------------------------------------------------------------------


def as_data(
    runtime: Runtime, order: Order, found: Preflight, totals: PlanTotals, price: Quote, *, full: bool
) -> dict[str, Any]:
    """Return all of it for programs."""
    return {
        "excluded": [
            {
                "kind": one.kind.value,
                "reason": one.reason,
                "rows": one.rows,
                "examples": [
                    {"row": each.row, each.unit: each.line, "number": _number(each.number, full=full)}
                    for each in one.examples
                ],
            }
            for one in found.reasons
        ],
        "encodings": {
            encoding.value: {"messages": share.messages, "segments": share.segments}
            for encoding, share in found.shares.items()
        },
        "texts": dict(found.texts),
        "ucs2_characters": [
            {"character": sign, "messages": many, "look_alike": sign not in dict(found.left)}
            for sign, many in found.signs
        ],
        "gsm7_would_save": found.saved,
        "price": None if price.amount is None else reporting.amount(price.amount),
        "currency": price.currency,
        "requests_priced": price.asked,
        "within_budget": None if price.amount is None or order.budget is None else price.amount <= order.budget,
        "seconds": _seconds(runtime, order, totals),
        "waits": [reporting.waiting(one) for one in found.waits],
        "samples": [
            {"row": one.row, "number": e164(one.number) if full else mask(one.number), "text": one.text}
            for one in found.samples
        ],
    }


def show(runtime: Runtime, order: Order, found: Preflight, totals: PlanTotals, price: Quote, *, full: bool) -> None:
    """Print all of it but the totals."""
    for one in found.reasons[:_REASONS_SHOWN]:
        rows = ", ".join(
            f"row {each.row}" + ("" if at else f" ({each.unit} {each.line})") for at, each in enumerate(one.examples)
        )
        more = ", …" if one.rows > len(one.examples) else ""
        say(f"left out: {one.rows:,} {printable(one.reason)}: {rows}{more}", hang=10)
    if found.texts:
        shares = (f"{printable(name) or 'all others'} {many:,}" for name, many in found.texts.most_common())
        say(f"texts: {', '.join(shares)}", hang=7)
    _show_encodings(found)
    _show_price(order, price, totals)
    seconds = _seconds(runtime, order, totals)
    click.echo("time to send: " + ("at once: no limit is set" if seconds is None else f"about {duration(seconds)}"))
    _show_waits(found)
    for sample in found.samples:
        number = e164(sample.number) if full else mask(sample.number)
        click.echo(f"row {sample.row}, {number}: {printable(sample.text)}")


def confirm(totals: PlanTotals, provider: str) -> None:
    """Ask whether it should go.

    Raises:
        DispatcherError: it should not.
    """
    if not click.confirm(
        f"send {'this' if totals.messages == 1 else 'these'} {many(totals.messages, 'message')} through {provider}?"
    ):
        raise DispatcherError("nothing was enqueued")


def _show_encodings(found: Preflight) -> None:
    costly = found.shares[Encoding.UCS_2]
    if not costly.messages:
        click.echo("encoding: all GSM-7")
        return
    plain = found.shares[Encoding.GSM_7]
    share = 100 * costly.messages / (plain.messages + costly.messages)
    click.echo(
        f"encoding: {share:.3g} % of the messages are UCS-2 ({costly.messages:,}, with {costly.segments:,} segments)"
    )
    signs = [f"{_sign(sign)} ({many:,})" for sign, many in found.signs[:_SIGNS_SHOWN]]
    click.echo(f"          because of {', '.join(signs)}{', …' if len(found.signs) > _SIGNS_SHOWN else ''}")
    if found.saved:
        click.echo(f"          --gsm7 puts look-alikes there, and saves {found.saved:,} segments")
    if found.left:
        left = ", ".join(_sign(sign) for sign, _ in found.left[:_SIGNS_SHOWN])
        click.echo(f"          there is no look-alike for {left}{', …' if len(found.left) > _SIGNS_SHOWN else ''}")


def _show_price(order: Order, price: Quote, totals: PlanTotals) -> None:
    if price.why is not None:
        say(f"price: {order.provider} did not tell it ({printable(price.why)})", hang=7)
    if price.amount is None:
        say(f"price: not known; DISPATCHER_{order.provider.upper()}__PRICE says what a segment costs")
        return
    some = 0 < price.asked < totals.batches
    about = some or not price.exact
    shown = f"{price.amount.normalize() if about else price.amount:f} {printable(price.currency or '')}".rstrip()
    source = f", by the first {price.asked} of {totals.batches:,} requests" if some else ""
    click.echo(f"price: {'about ' if about else ''}{shown}{source}")
    if order.budget is not None and price.amount > order.budget:
        click.echo(f"budget: {order.budget:,f} is less than that: it will pause on the way")


def _show_waits(found: Preflight) -> None:
    waits = found.waits
    for one in waits[:_WAITS_SHOWN]:
        click.echo(f"waits: {held_in_words(reporting.waiting(one))}")
    if more := sum(one.messages for one in waits[_WAITS_SHOWN:]):
        click.echo(f"waits: {more:,} messages more, until {len(waits) - _WAITS_SHOWN} later hours")


def _seconds(runtime: Runtime, order: Order, totals: PlanTotals) -> float | None:
    """Return how long it takes at the limits, or at the pace that is asked for where that is longer."""
    at_limits = seconds_to_send(totals, runtime.limits(order.provider))
    pace = order.rules.get("spread")
    return at_limits if pace is None else max(pace, at_limits or 0)


def _number(number: str, *, full: bool) -> str:
    return number if full else mask(number)


def _sign(sign: str) -> str:
    return sign if sign.isprintable() and not sign.isspace() else f"U+{ord(sign):04X}"
