"""The command report: every input row with its fate, or the sums, or a page."""

import sys
from dataclasses import replace
from pathlib import Path

import click

from dispatcher import reporting
from dispatcher.cli.opening import opened
from dispatcher.cli.output import console, duration, json_option, many, print_json, table
from dispatcher.cli.plain import printable, say
from dispatcher.errors import UsageError
from dispatcher.ledger import Campaign, Exclusion, ReportLine
from dispatcher.message import MessageState
from dispatcher.msisdn import mask
from dispatcher.runtime import Runtime

_STATES = [*(state.value for state in MessageState), *(kind.value for kind in Exclusion)]
_BY_SUFFIX = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".xlsx": "xlsx", ".parquet": "parquet"}
_SHOWN = 12


@click.command()
@click.argument("campaign")
@click.option("--format", "form", type=click.Choice(reporting.FORMS), help="By the file's ending, else csv.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to a file; standard output by default.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(_STATES), help="Only rows in this state; repeatable."
)
@click.option("--full", is_flag=True, help="Show whole numbers on a terminal, where they are masked.")
@click.option("--summary", is_flag=True, help="Sum up instead: delivery by country and network, reasons, times.")
@click.option(
    "--html", type=click.Path(path_type=Path), help="Write a page with figures and plots, complete in one file."
)
@json_option
def report(
    campaign: str,
    *,
    form: str | None,
    output: Path | None,
    states: tuple[str, ...],
    full: bool,
    summary: bool,
    html: Path | None,
    as_json: bool,
) -> None:
    """Write one line for every input row of CAMPAIGN: its number, state, reason, ids, times, segments and cost.

    Rows that became no message are there too, as duplicate, invalid or suppressed, each with its reason.

    \b
    Examples:
      dispatcher report c7mhq2k4x -o fates.xlsx
      dispatcher report c7mhq2k4x --state undelivered --state refused -o failed.csv
      dispatcher report c7mhq2k4x --summary
      dispatcher report c7mhq2k4x --html offer.html
    """
    with opened() as runtime:
        found = runtime.ledger.campaigns.get(campaign)
        if html is not None:
            _write_page(runtime, found, html)
        if summary or (as_json and html is None):
            _sum_up(runtime, found, as_json=as_json)
        elif html is None:
            _write_rows(runtime, found, form=form, output=output, states=states, full=full)


def _write_page(runtime: Runtime, campaign: Campaign, file: Path) -> None:
    found = reporting.summarise(runtime.ledger, campaign)
    limits = {name: runtime.limits(name) for name in {one.provider for one in found.attempts}}
    reporting.write_page(
        found,
        file,
        limits={name: (one.requests_per_second, one.segments_per_second) for name, one in limits.items()},
        now=runtime.clock(),
    )
    click.echo(f"the page of campaign {campaign.public_id} is in {printable(file)}", err=True)


def _write_rows(
    runtime: Runtime,
    campaign: Campaign,
    *,
    form: str | None,
    output: Path | None,
    states: tuple[str, ...],
    full: bool,
) -> None:
    known = _BY_SUFFIX.get("" if output is None else output.suffix.lower())
    as_csv = " as CSV" if form is None and known is None else ""  # its name does not say so
    form = form or known or "csv"
    lines = runtime.ledger.reports.lines(campaign)
    if states:
        lines = (line for line in lines if line.state in states)
    if output is None:
        if form in ("xlsx", "parquet") and sys.stdout.isatty():
            raise UsageError(f"{form} is not for a terminal: name a file with -o")
        if sys.stdout.isatty() and not full:
            lines = map(_masked, lines)
        sys.stdout.flush()
        reporting.write_report(lines, form=form, out=sys.stdout.buffer)
        sys.stdout.buffer.flush()
        return
    try:
        with output.open("wb") as out:
            written = reporting.write_report(lines, form=form, out=out)
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror}") from None
    click.echo(f"{many(written, 'row')} written to {printable(output)}{as_csv}", err=True)


def _masked(line: ReportLine) -> ReportLine:
    return replace(line, number=mask(line.number))


def _sum_up(runtime: Runtime, campaign: Campaign, *, as_json: bool) -> None:
    found = reporting.summarise(runtime.ledger, campaign)
    plain = found.plain()
    if as_json:
        print_json(plain)
        return
    out = console()
    delivered = "delivered so far" if found.waiting else "delivered"
    for title, key in (("country", "countries"), ("network", "networks")):
        groups = [
            (one["name"], one["messages"], "" if one["delivered_share"] is None else f"{one['delivered_share']:.1%}")
            for one in plain[key]
        ]
        if groups:
            out.print(table([(title, False), ("messages", True), (delivered, True)], groups[:_SHOWN]))
            if len(groups) > _SHOWN:
                click.echo(f"and {len(groups) - _SHOWN} more; --json has them all")
            if key == "networks":
                say(reporting.NETWORK)
            click.echo()
    if plain["reasons"]:
        reasons = [(one["state"], printable(one["reason"]), one["messages"]) for one in plain["reasons"][:_SHOWN]]
        out.print(table([("state", False), ("reason", False), ("rows", True)], reasons))
        click.echo()
    times = [
        f"{f'{seconds:.1f} s' if seconds < 60 else duration(seconds)} ({name[1:]} %)"
        for name, seconds in plain["seconds_to_delivery"].items()
        if seconds is not None
    ]
    if times:
        click.echo(f"delivered within {', '.join(times)}")
    if found.coarse:
        click.echo(found.coarse_in_words)
    if found.waiting:
        click.echo(f"{many(found.waiting, 'message')} still to be sent, or without a receipt so far")
    click.echo(f"requests: {plain['requests']:,}")
