"""The command events: who did what, when and why, to a campaign or to one of its rows."""

from datetime import UTC, datetime
from typing import Any

import click

from dispatcher import reporting
from dispatcher.cli.opening import opened
from dispatcher.cli.output import console, json_option, local, print_json, table
from dispatcher.cli.plain import printable
from dispatcher.errors import UsageError
from dispatcher.ledger import ERASED, Event, ReportLine
from dispatcher.msisdn import mask


@click.command()
@click.argument("subject", metavar="CAMPAIGN[/ROW]")
@click.option("--full", is_flag=True, help="Show whole numbers.")
@json_option
def events(subject: str, *, full: bool, as_json: bool) -> None:
    """Show who did what, when and why: every move of CAMPAIGN and its batches, every attempt, what receipts said.

    \b
    Examples:
      dispatcher events c7mhq2k4x
      dispatcher events c7mhq2k4x/17      the message of input row 17: what was done to its batch, and its fate
    """
    name, slash, row = subject.rpartition("/")
    if not slash:
        name, row = subject, ""
    elif not row.isdecimal():
        raise UsageError("write a message as CAMPAIGN/ROW, with the number of its input row")
    with opened() as runtime:
        campaign = runtime.ledger.campaigns.get(name)
        line = runtime.ledger.reports.line(campaign, int(row)) if row else None
        if row and line is None:
            raise UsageError(f"campaign {campaign.public_id} has no row {row}: its file has {campaign.totals.rows:,}")
        batch = None if line is None else (line.batch or 0)  # a row left out has the campaign's events alone
        found = runtime.ledger.reports.events(campaign, batch=batch)
    if as_json:
        print_json({"message": None if line is None else _message(line), "events": [_event(one) for one in found]})
        return
    rows = [(f"{one.at.astimezone():%Y-%m-%d %H:%M:%S}", one.who, _of(one), _what(one)) for one in found]
    zone = f"{datetime.now(UTC).astimezone():%Z}"
    console().print(table([(name, False) for name in (f"when ({zone})", "who", "of", "what")], rows), end="")
    if line is not None:
        _tell(line, full=full)


def _of(one: Event) -> str:
    # Receipts leave an entry a batch.
    return one.subject if one.batch is None else f"batch {one.batch}"


def _what(one: Event) -> str:
    moved = one.what if one.before is None else f"{one.what}: {one.before} → {one.after}"
    return f"{moved}: {one.why}" if one.why else moved


def _event(one: Event) -> dict[str, Any]:
    return {
        "at": one.at.isoformat(),
        "who": one.who,
        "subject": one.subject,
        "batch": one.batch,
        "what": one.what,
        "before": one.before,
        "after": one.after,
        "why": one.why,
    }


def _message(line: ReportLine) -> dict[str, Any]:
    return {
        "row": line.row,
        "number": line.number,
        "state": line.state,
        "reason": line.reason,
        "batch": line.batch,
        "provider_message_id": line.provider_message_id,
        "submitted_at": reporting.moment(line.submitted_at),
        "settled_at": reporting.moment(line.settled_at),
        "segments": line.segments,
        "cost": None if line.cost is None else reporting.amount(line.cost),
    }


def _tell(line: ReportLine, *, full: bool) -> None:
    number = printable(line.number) if full or line.number.startswith(ERASED) else mask(line.number)
    where = "" if line.batch is None else f", batch {line.batch}"
    known = "" if line.provider_message_id is None else f", the provider's id {line.provider_message_id}"
    click.echo(f"row {line.row}: {number}{where}{known}")
    when = local(reporting.moment(line.settled_at))
    click.echo(
        f"it is {line.state}"
        + (f" since {when}" if when else "")
        + (f": {printable(line.reason)}" if line.reason else "")
    )
