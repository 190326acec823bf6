"""Commands about campaigns: enqueue, status, list, pause, resume, cancel, report."""

import contextlib
import secrets
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import click

from dispatcher import cancellation, providers, reporting
from dispatcher.cli import watching
from dispatcher.cli.output import console, json_option, local, print_json, printable, table
from dispatcher.errors import InputError, ProviderError, ThroughputUnavailable, UsageError
from dispatcher.ledger import PlanTotals
from dispatcher.msisdn import is_country
from dispatcher.planning import Enqueued, Order
from dispatcher.planning import enqueue as plan_and_enqueue
from dispatcher.runtime import Runtime, start

WHO = "cli"
_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"  # none that is easily taken for another
_LONGEST_TEXT_FILE = 100_000


@contextlib.contextmanager
def opened() -> Iterator[Runtime]:
    """Give a runtime for one command."""
    runtime = start(who=WHO)
    try:
        yield runtime
    finally:
        runtime.close()


@click.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--provider", required=True, type=click.Choice(providers.names()), help="Who sends it.")
@click.option("--text", help="The text; {column} stands for a value of the row, {column|default} has a fallback.")
@click.option("--text-file", type=click.Path(path_type=Path), help="Read the text from a file (UTF-8).")
@click.option("--name", help="What to call the campaign; the file's name by default.")
@click.option("--sender", help="The sender id, where the provider takes one.")
@click.option("--at", "send_at", metavar="TIME", help="Send then, e.g. 2026-12-01T09:00+02:00; at once by default.")
@click.option("--phone-column", default="phone", show_default=True, help="The column that holds the numbers.")
@click.option("--country", metavar="ZA", help="The country of numbers that do not say theirs.")
@click.option(
    "--key", help="Your name for this order: the same key again gives the first campaign, and plans nothing."
)
@click.option("--dry-run", is_flag=True, help="Plan, and say what it comes to; change nothing.")
@json_option
def enqueue(
    file: Path,
    *,
    provider: str,
    text: str | None,
    text_file: Path | None,
    name: str | None,
    sender: str | None,
    send_at: str | None,
    phone_column: str,
    country: str | None,
    key: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Plan the recipients in FILE (CSV with a header; - for standard input) and enqueue the campaign.

    Numbers are brought to one notation, duplicates and invalid ones are left out and kept account of, and the
    rest is cut into requests of the provider's size. With workers running, sending begins at once; without,
    the campaign waits in the ledger. Killed half-way, it leaves nothing that sends, and may be run again: give
    a --key, and it may be run again at any time.

    \b
    Examples:
      dispatcher enqueue people.csv --provider winsms --text "Hi {first_name|there}, we open at 9."
      dispatcher enqueue people.csv --provider winsms --text-file offer.txt --country ZA --key offer-12
      cat people.csv | dispatcher enqueue - --provider winsms --text "Hello" --dry-run
    """
    with opened() as runtime:
        country = country or runtime.settings.country
        if country is not None and not is_country(country.upper()):
            raise UsageError(f"--country {printable(country)}: give two letters, such as ZA")
        stdin = str(file) == "-"
        order = Order(
            public_id="c" + "".join(secrets.choice(_ALPHABET) for _ in range(9)),
            name=name or ("standard input" if stdin else file.stem),
            provider=provider,
            text=_text(text, text_file),
            phone_column=phone_column,
            country=None if country is None else country.upper(),
            sender=sender,
            send_at=None if send_at is None else _moment(send_at, now=runtime.clock()),
            key=key,
        )
        source: Path | BinaryIO = sys.stdin.buffer if stdin else file
        with _planning_progress() as tick:
            done = plan_and_enqueue(
                runtime.ledger,
                order,
                source,
                capabilities=runtime.provider(provider).capabilities,
                who=WHO,
                clock=runtime.clock,
                dry_run=dry_run,
                progress=tick,
            )
        if as_json:
            print_json(_enqueued_json(done))
        else:
            _show_enqueued(done, provider)
        missing = runtime.missing(provider)
        if missing and not dry_run:
            click.echo(f"note: {provider} is not configured here: set {', '.join(missing)} for the workers", err=True)


def _enqueued_json(done: Enqueued) -> dict[str, Any]:
    totals = done.totals
    return {
        "campaign": None if done.campaign is None else done.campaign.public_id,
        "rows": totals.rows,
        "messages": totals.messages,
        "duplicates": totals.duplicates,
        "invalid": totals.invalid,
        "suppressed": totals.suppressed,
        "batches": totals.batches,
        "segments": totals.segments,
        "again": done.again,
    }


def _show_enqueued(done: Enqueued, provider: str) -> None:
    totals = done.totals
    out = console()
    if done.campaign is None:
        out.print("dry run: nothing was changed")
    else:
        again = " (enqueued before with this key; nothing was planned)" if done.again else ""
        click.echo(f"campaign {done.campaign.public_id}{again}")
    rows = [
        ("rows", totals.rows),
        ("messages", totals.messages),
        ("duplicates", totals.duplicates),
        ("invalid", totals.invalid),
        ("suppressed", totals.suppressed),
        (f"batches for {provider}", totals.batches),
        ("segments", totals.segments),
    ]
    out.print(table([("", False), ("", True)], rows), end="")
    if done.campaign is not None:
        click.echo(f"watch it: dispatcher status {done.campaign.public_id} --watch")


def _text(text: str | None, text_file: Path | None) -> str:
    if (text is None) == (text_file is None):
        raise UsageError("give the text, either as --text or as --text-file")
    if text_file is None:
        assert text is not None
        return text
    try:
        found = text_file.read_bytes()
        if len(found) > _LONGEST_TEXT_FILE:
            raise InputError(f"{text_file} is {len(found):,} bytes long: a text message is shorter")
        return found.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        line = found[: error.start].count(b"\n") + 1
        raise InputError(f"{text_file}, line {line}: not UTF-8: save the text as UTF-8") from None
    except OSError as error:
        raise InputError(f"{text_file} cannot be read: {error.strerror}") from None


def _moment(text: str, *, now: datetime) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--at {printable(text)}: write it as 2026-12-01T09:00+02:00") from None
    if found.tzinfo is None:
        raise UsageError(f"--at {printable(text)}: add the time zone, as in {printable(text)}+02:00 or …Z")
    if found < now - timedelta(minutes=1):
        raise UsageError(f"--at {printable(text)} has passed: leave --at out to send at once")
    return found


@contextlib.contextmanager
def _planning_progress() -> Iterator[Any]:
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
@click.argument("campaign")
@click.option("--watch", is_flag=True, help="Keep showing it until it has ended.")
@json_option
def status(campaign: str, *, watch: bool, as_json: bool) -> None:
    """Show what has become of CAMPAIGN (its id, or its name if that is unique): every message in its state.

    With --watch and --json, one JSON document a second is printed until the campaign has ended.
    """
    with opened() as runtime:
        if watch:
            watching.watch(runtime, campaign, as_json=as_json)
            return
        found = reporting.status(runtime.ledger, runtime.ledger.campaigns.get(campaign))
        if as_json:
            print_json(found)
        else:
            watching.show(found)


@click.command(name="list")
@json_option
def list_campaigns(*, as_json: bool) -> None:
    """List the campaigns, the newest first."""
    with opened() as runtime:
        found = [reporting.summary(campaign) for campaign in runtime.ledger.campaigns.latest()]
    if as_json:
        print_json(found)
        return
    if not found:
        click.echo("no campaigns yet; `dispatcher enqueue --help` tells how to make one")
        return
    rows = [
        (one["campaign"], one["name"][:24], one["provider"], one["state"], one["rows"], local(one["created_at"]))
        for one in found
    ]
    headings = [("campaign", False), ("name", False), ("provider", False), ("state", False), ("rows", True)]
    console().print(table([*headings, ("enqueued", False)], rows), end="")


@click.command()
@click.argument("campaign")
@click.option("--reason", default="by hand", show_default=True, help="Kept with the campaign, and shown.")
@json_option
def pause(campaign: str, *, reason: str, as_json: bool) -> None:
    """Pause CAMPAIGN: no new request starts; what is in flight ends.

    What a provider already holds to send later goes all the same: `dispatcher cancel` takes that back.
    """
    with opened() as runtime:
        found = runtime.ledger.campaigns.get(campaign)
        moved = cancellation.pause(runtime.ledger, found, who=WHO, now=runtime.clock(), reason=reason)
        _show_moved(runtime, found.public_id, "paused" if moved else "was paused already", as_json=as_json)


@click.command()
@click.argument("campaign")
@json_option
def resume(campaign: str, *, as_json: bool) -> None:
    """Let a paused CAMPAIGN go on."""
    with opened() as runtime:
        found = runtime.ledger.campaigns.get(campaign)
        moved = cancellation.resume(runtime.ledger, found, who=WHO, now=runtime.clock())
        _show_moved(runtime, found.public_id, "resumed" if moved else "was not paused", as_json=as_json)


@click.command()
@click.argument("campaign")
@json_option
def cancel(campaign: str, *, as_json: bool) -> None:
    """Cancel CAMPAIGN for good: what has not been sent never will be.

    Messages that the provider holds to send later are taken back there, and what it refunds is recorded.
    There is no way back from this one; to stop for a while, use `dispatcher pause`.
    """
    with opened() as runtime:
        found = runtime.ledger.campaigns.get(campaign)
        first = cancellation.cancel(runtime.ledger, found, who=WHO, clock=runtime.clock)
        recalled = cancellation.Recalled()
        if runtime.ledger.receipts.to_recall(found.provider, now=runtime.clock(), campaign_id=found.id):
            try:
                recalled = cancellation.recall(runtime.account(found.provider), campaign=found)
            except (ThroughputUnavailable, ProviderError) as error:
                recalled = cancellation.Recalled(left=1, why=str(error))
        status = reporting.status(runtime.ledger, runtime.ledger.campaigns.get(found.public_id))
        if as_json:
            told = {"messages": recalled.messages, "refused": recalled.refused, "left": recalled.left}
            print_json({**status, "recalled": {**told, "refunded": reporting.amount(recalled.refunded)}})
            return
        click.echo(f"campaign {found.public_id} {'cancelled' if first else 'was cancelled already'}")
        if recalled.messages or recalled.refused:
            click.echo(
                f"{recalled.messages:,} messages taken back from {found.provider},"
                f" {reporting.amount(recalled.refunded)} credits refunded; {recalled.refused:,} were too late"
            )
        if recalled.left:
            click.echo(
                f"note: not everything is taken back yet ({recalled.why}); the workers go on with it", err=True
            )
        watching.show(status)


def _show_moved(runtime: Runtime, campaign: str, how: str, *, as_json: bool) -> None:
    status = reporting.status(runtime.ledger, runtime.ledger.campaigns.get(campaign))
    if as_json:
        print_json(status)
        return
    click.echo(f"campaign {campaign} {how}")
    watching.show(status)


@click.command()
@click.argument("campaign")
@click.option("--format", "form", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to a file; standard output by default.")
def report(campaign: str, *, form: str, output: Path | None) -> None:
    """Write one line for every input row of CAMPAIGN: its number, state, reason, ids, times, segments and cost.

    Rows that became no message are there too, as duplicate, invalid or suppressed, each with its reason.
    """
    with opened() as runtime:
        lines = runtime.ledger.reports.lines(runtime.ledger.campaigns.get(campaign))
        if output is None:
            sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
            reporting.write_report(lines, form=form, out=sys.stdout)
            return
        try:
            with output.open("w", encoding="utf-8", newline="") as out:
                many = reporting.write_report(lines, form=form, out=out)
        except OSError as error:
            raise UsageError(f"{output} cannot be written: {error.strerror}") from None
        click.echo(f"{many:,} rows written to {output}", err=True)
