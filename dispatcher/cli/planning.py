"""Commands that plan: enqueue, and estimate, which changes nothing."""

import contextlib
from collections.abc import Iterator
from typing import Any

import click

from dispatcher import reporting
from dispatcher.cli import preflight
from dispatcher.cli.care import Care, what_is_minded, with_care
from dispatcher.cli.chain import capabilities_of, tell_missing
from dispatcher.cli.lists import how_it_is_read, show_notes, taken
from dispatcher.cli.opening import WHO, opened
from dispatcher.cli.orders import Asked, put_together, what_is_sent
from dispatcher.cli.output import console, duration, json_option, many, print_json, table
from dispatcher.cli.plain import printable
from dispatcher.cli.preflight import Before, what_is_shown_first
from dispatcher.cli.spending import Spending, what_may_be_spent, with_prices
from dispatcher.cli.texts import Wording, how_it_is_worded, with_wording
from dispatcher.cli.timing import Timing, timing_options
from dispatcher.cli.trial import Trial, try_first, what_is_tried
from dispatcher.ledger import PlanTotals
from dispatcher.planning import Enqueued, Estimate, Preflight, Tariff, left_out
from dispatcher.planning import enqueue as plan_and_enqueue
from dispatcher.planning import estimate as plan_and_estimate


@click.command()
@what_is_sent
@how_it_is_read
@what_may_be_spent
@what_is_minded
@how_it_is_worded
@what_is_shown_first
@what_is_tried
@timing_options
@click.option("--name", help="What to call the campaign; the file's name by default.")
@click.option("--at", "send_at", metavar="TIME", help="Send then, e.g. 2026-12-01T09:00+02:00; at once by default.")
@click.option(
    "--key", help="Your name for this order: the same key again gives the first campaign, and plans nothing."
)
@click.option("--dry-run", is_flag=True, help="Plan, and say what it comes to; change nothing.")
@json_option
def enqueue(
    *,
    name: str | None,
    send_at: str | None,
    key: str | None,
    timing: Timing,
    dry_run: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Plan the recipients in FILE (CSV, XLSX, Parquet or JSON Lines; - for standard input) and enqueue the campaign.

    Numbers are brought to one notation, duplicates and invalid ones are left out and kept account of, and the
    rest is cut into requests of the provider's size. With workers running, sending begins at once; without,
    the campaign waits in the ledger. Killed half-way, it leaves nothing that sends, and may be run again: give
    a --key, and it may be run again at any time.

    \b
    Examples:
      dispatcher enqueue people.csv --provider winsms --text "Hi {first_name|there}!"
      dispatcher enqueue people.csv --provider winsms --text-file offer.txt --key offer-12
      dispatcher enqueue people.csv --provider bsg --text "Hello" --at 2026-12-01T09:00+02:00
      cat people.csv | dispatcher enqueue - --provider winsms --text "Hello" --dry-run
    """
    lists = taken(asked)
    spent, minded = Spending.taken(asked), Care.taken(asked)
    wording, before, trying = Wording.taken(asked), Before.taken(asked), Trial.taken(asked)
    given = Asked(**asked)
    with (
        opened() as runtime,
        preflight.rejects_into(before.rejects) as rejected,
        contextlib.ExitStack() as showing,
    ):
        order, source = put_together(
            runtime, given, lists=lists, name=name, send_at=send_at, key=key, timing=timing, dry_run=dry_run
        )
        asks_prices = preflight.asking(runtime, (order.provider, *order.fallbacks))
        order = with_wording(runtime, with_prices(runtime, order, budget=spent.budget, asks=asks_prices), wording)
        order = with_care(runtime, order, minded, source)
        asks = not dry_run and preflight.asks(before, source=source, as_json=as_json)
        own_number = trying.number(order, dry_run=dry_run)
        looks = dry_run or asks or before.rejects is not None or own_number is not None
        tried: dict[str, Any] = {}
        now = runtime.clock()
        seen = Preflight(
            rules=order.rules,
            tariff=order.tariffs.get(order.provider, Tariff()),
            start=now if order.send_at is None else max(now, order.send_at),
            rejected=rejected,
            row=trying.test_row,
        )

        def settle(planned: Enqueued) -> None:
            showing.close()
            if asks:
                show_totals(planned.totals, given.provider)
                price = preflight.quote(order, seen, planned.totals, asks_prices)
                preflight.show(runtime, order, seen, planned.totals, price, full=before.full)
                show_notes(planned.notes)
            if own_number is not None:
                tried["test"] = try_first(runtime, order, seen, trying, own_number, asks=asks, as_json=as_json)
            if asks:
                preflight.confirm(planned.totals, given.provider)

        done = plan_and_enqueue(
            runtime.ledger,
            order,
            source,
            capabilities=capabilities_of(runtime, order),
            who=WHO,
            clock=runtime.clock,
            dry_run=dry_run,
            progress=showing.enter_context(planning_progress()),
            preflight=seen if looks else None,
            settle=settle if asks or own_number is not None else None,
            asks=asks_prices,
        )
        showing.close()
        price = preflight.quote(order, seen, done.totals, asks_prices) if dry_run else None
        if as_json:
            campaign = None if done.campaign is None else done.campaign.public_id
            told = {"campaign": campaign, **totals_of(done.totals), "again": done.again, **read_as(done), **tried}
            if price is not None and not done.again:
                told["preflight"] = preflight.as_data(runtime, order, seen, done.totals, price, full=before.full)
            print_json(told)
        elif asks and not done.again:
            _show_campaign(done)
        else:
            _show_enqueued(done, given.provider)
            if price is not None and not done.again:
                preflight.show(runtime, order, seen, done.totals, price, full=before.full)
            show_notes(done.notes)
        if not dry_run:
            tell_missing(runtime, order)


def totals_of(totals: PlanTotals) -> dict[str, int]:
    """Return what a plan came to, for programs."""
    return {
        "rows": totals.rows,
        "messages": totals.messages,
        "duplicates": totals.duplicates,
        "invalid": totals.invalid,
        "suppressed": totals.suppressed,
        "batches": totals.batches,
        "segments": totals.segments,
    }


def read_as(done: Enqueued | Estimate) -> dict[str, Any]:
    """Return how the list was read, for programs."""
    return {"repaired": done.repaired, "notes": list(done.notes)}


def _show_enqueued(done: Enqueued, provider: str) -> None:
    if done.campaign is None:
        click.echo("dry run: nothing was changed")
    else:
        again = " (enqueued before with this key; nothing was planned)" if done.again else ""
        click.echo(f"campaign {done.campaign.public_id}{again}")
    show_totals(done.totals, provider)
    _show_how_to_watch(done)


def _show_campaign(done: Enqueued) -> None:
    assert done.campaign is not None
    click.echo(f"campaign {done.campaign.public_id}")
    _show_how_to_watch(done)


def _show_how_to_watch(done: Enqueued) -> None:
    if done.campaign is not None:
        click.echo(f"watch it: dispatcher status {done.campaign.public_id} --watch")


def show_totals(totals: PlanTotals, provider: str) -> None:
    """Print what a plan came to."""
    shown = table([("", False), ("", True)], totals_of(totals).items())
    shown.show_header = False
    console().print(shown, end="")
    if totals.batches:
        average = round(totals.messages / totals.batches)
        click.echo(f"one request to {provider} carries {many(average, 'message')} on average")


@contextlib.contextmanager
def planning_progress() -> Iterator[Any]:
    """Show the rows planned so far, on a terminal."""
    err = console(err=True)
    if not err.is_terminal:
        yield lambda _: None
        return
    with err.status("planning…") as shown:

        def tick(totals: PlanTotals) -> None:
            shown.update(f"planning… {totals.rows:,} rows, {totals.messages:,} messages")

        yield tick


@click.command()
@what_is_sent
@how_it_is_read
@how_it_is_worded
@timing_options
@json_option
def estimate(*, timing: Timing, as_json: bool, **asked: Any) -> None:
    """Say what a campaign to FILE would come to: messages, segments, price, and the time at the provider's limits.

    The price is the provider's own, where it tells one, else that of the settings; nothing is sent and nothing is changed.
    """
    lists = taken(asked)
    wording = Wording.taken(asked)
    given = Asked(**asked)
    with opened() as runtime:
        order, source = put_together(runtime, given, lists=lists, timing=timing, dry_run=True)
        order = with_wording(runtime, with_prices(runtime, order, estimating=True), wording)
        now = runtime.clock()
        found = plan_and_estimate(
            order,
            source,
            capabilities=capabilities_of(runtime, order),
            limits=runtime.limits(given.provider),
            suppressed=left_out(runtime.ledger, rules=order.rules, brand=order.brand, send_at=order.send_at, now=now),
            now=now,
            ask_price=preflight.asking(runtime, [given.provider]).get(given.provider),
        )
    if as_json:
        price = None if found.price is None else reporting.amount(found.price)
        print_json(
            {
                **totals_of(found.totals),
                "price": price,
                "currency": found.currency,
                "seconds": found.seconds,
                **read_as(found),
            }
        )
        return
    show_totals(found.totals, given.provider)
    _show_estimate(found, given.provider)
    show_notes(found.notes)


def _show_estimate(found: Estimate, provider: str) -> None:
    if found.price is not None:
        price = f"{found.price:f}" if found.exact else f"about {found.price.normalize():f}"
        click.echo(f"price: {price} {printable(found.currency or '')}".rstrip())
    else:
        setting = f"DISPATCHER_{provider.upper()}__PRICE"
        click.echo(f"price: {provider} does not tell it before sending, and {setting} is not set")
    took = "at once: no limit is set" if found.seconds is None else f"about {duration(found.seconds)}"
    click.echo(f"time to send at the limits that are set: {took}")
