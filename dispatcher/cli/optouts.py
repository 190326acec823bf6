"""Commands about the suppression list: who is never sent to."""

import csv
import sys
from pathlib import Path

import click

from dispatcher import providers, reporting, suppression
from dispatcher.cli.opening import WHO, opened
from dispatcher.cli.output import console, json_option, print_json, table
from dispatcher.cli.plain import printable
from dispatcher.errors import InputError, UsageError
from dispatcher.msisdn import e164, mask
from dispatcher.provider import KnowsOptOuts

_brand = click.option("--brand", default="", metavar="NAME", help="The list of this brand; that of all by default.")


@click.group()
def optouts() -> None:
    """Keep the suppression list. A number on it is never sent to, also if it was put there after planning.

    What a provider holds to send later to somebody who opts out is taken back there by the workers, where the
    provider can. A brand's own list (--brand) counts for the campaigns that are enqueued with that --brand.
    """


@optouts.command()
@click.option("--provider", "name", type=click.Choice(providers.names()), help="This one only.")
@json_option
def sync(*, name: str | None, as_json: bool) -> None:
    """Add everyone who opted out at the providers; the workers do it by themselves every ten minutes."""
    with opened() as runtime:
        able = [each for each in providers.names() if isinstance(runtime.provider(each), KnowsOptOuts)]
        if name and name not in able:
            raise UsageError(f"{name} has no call that lists opt-outs; what it refuses is suppressed when it does")
        names = [each for each in ([name] if name else able) if not runtime.missing(each)]
        if not names:
            raise UsageError("no provider that lists opt-outs is configured; see `dispatcher providers`")
        done = [suppression.sync(runtime.account(each)) for each in names]
    if as_json:
        keys = ("provider", "seen", "added", "left")
        print_json([{key: getattr(one, key) for key in keys} for one in done])
    else:
        for one in done:
            left = f"; not all: {printable(one.left)}" if one.left else ""
            click.echo(f"{one.provider}: {one.seen:,} opt-outs, {one.added:,} of them new{left}")
    if any(one.left for one in done):
        raise click.exceptions.Exit(1)


@optouts.command(name="list")
@click.option("--full", is_flag=True, help="Show whole numbers.")
@click.option("--brand", metavar="NAME", help="The list of this brand alone; all lists by default.")
@json_option
def list_optouts(*, full: bool, brand: str | None, as_json: bool) -> None:
    """List the suppressed numbers, masked unless --full; with --json, one whole entry a line."""
    with opened() as runtime:
        entries = runtime.ledger.suppressions.entries(brand=None if brand is None else suppression.brand_name(brand))
        if as_json:
            for entry in entries:
                print_json(
                    {
                        "number": e164(entry.number),
                        "reason": entry.reason,
                        "source": entry.source,
                        "since": reporting.moment(entry.since),
                        "brand": entry.brand,
                    }
                )
            return
        rows = [
            (
                e164(entry.number) if full else mask(entry.number),
                entry.reason,
                entry.source,
                f"{entry.since:%Y-%m-%d}",
                entry.brand,
            )
            for entry in entries
        ]
    headings = [(name, False) for name in ("number", "reason", "source", "since", "brand")]
    console().print(table(headings, rows), end="")
    click.echo(f"{len(rows):,} suppressed")


@optouts.command()
@click.argument("numbers", nargs=-1, required=True)
@click.option("--reason", default="by hand", show_default=True)
@click.option("--country", help="The country of numbers that do not say theirs.")
@_brand
@json_option
def add(numbers: tuple[str, ...], *, reason: str, country: str | None, brand: str, as_json: bool) -> None:
    """Suppress NUMBERS, in the name of one brand or of all."""
    with opened() as runtime:
        read = _read(numbers, country or runtime.settings.country, reason)
        added = runtime.ledger.suppressions.add(
            read.numbers, source=WHO, now=runtime.clock(), brand=suppression.brand_name(brand)
        )
    if as_json:
        print_json({"numbers": len(read.numbers), "added": added})
    else:
        click.echo(f"{added:,} suppressed, {len(read.numbers) - added:,} were already")


@optouts.command()
@click.argument("numbers", nargs=-1, required=True)
@click.option("--country", help="The country of numbers that do not say theirs.")
@_brand
@json_option
def remove(numbers: tuple[str, ...], *, country: str | None, brand: str, as_json: bool) -> None:
    """Lift the suppression of NUMBERS, for people who asked to be sent to again.

    They are taken off one list: of the brand, or the one of all. Where a provider still lists the opt-out, the next sync suppresses the number again: remove it there first.
    """
    with opened() as runtime:
        read = _read(numbers, country or runtime.settings.country, "")
        removed = runtime.ledger.suppressions.remove(list(read.numbers), brand=suppression.brand_name(brand))
        left = runtime.ledger.suppressions.brands(list(read.numbers))
    if as_json:
        print_json({"numbers": len(read.numbers), "removed": removed, "still_on": sorted(left)})
        return
    click.echo(f"{removed:,} no longer suppressed")
    if left:
        lists = ", ".join(printable(f"that of {name}" if name else "that of all") for name in sorted(left))
        click.echo(f"note: some of these numbers are on another list: {lists}", err=True)


def _read(numbers: tuple[str, ...], country: str | None, reason: str) -> suppression.Read:
    read = suppression.read_numbers(numbers, country=country, reason=reason, header=False)
    if read.refused:
        told = "; ".join(f"{mask(numbers[line - 1])}: {why}" for line, why in read.refused)
        raise UsageError(f"nothing was changed: {told}")
    return read


@optouts.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--reason", default="imported", show_default=True)
@click.option("--country", help="The country of numbers that do not say theirs.")
@_brand
@json_option
def import_(file: Path, *, reason: str, country: str | None, brand: str, as_json: bool) -> None:
    """Suppress the numbers in FILE, one a line (or first in each line of a CSV); - for standard input.

    Where FILE is what `export` wrote, each goes back to the list that it was on. All or nothing: if a line cannot be read, it is named and nothing is changed.
    """
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{file}: not UTF-8: save it as UTF-8 and try again") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from None
    with opened() as runtime:
        read = suppression.read_numbers(text.splitlines(), country=country or runtime.settings.country, reason=reason)
        if read.refused:
            first = "; ".join(f"line {line}: {why}" for line, why in read.refused[:5])
            more = f" and {len(read.refused) - 5} more" if len(read.refused) > 5 else ""
            raise InputError(f"{file}: nothing was changed: {first}{more}")
        added = 0
        lists = suppression.by_brand(
            text.splitlines(), country=country or runtime.settings.country, reason=reason, brand=brand
        )
        for name, numbers in lists.items():
            added += runtime.ledger.suppressions.add(numbers, source=WHO, now=runtime.clock(), brand=name)
    many = sum(map(len, lists.values()))
    if as_json:
        print_json({"numbers": many, "added": added})
    else:
        click.echo(f"{added:,} suppressed, {many - added:,} were already")


@optouts.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write to a file; standard output by default.")
def export(*, output: Path | None) -> None:
    """Write all suppression lists as CSV: number, reason, source, since, brand. `import` reads it back."""
    with opened() as runtime:
        try:
            out = sys.stdout if output is None else output.open("w", encoding="utf-8", newline="")
        except OSError as error:
            raise UsageError(f"{output} cannot be written: {error.strerror}") from None
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("number", "reason", "source", "since", "brand"))
        for entry in runtime.ledger.suppressions.entries():
            reason, source = reporting.harmless(entry.reason), reporting.harmless(entry.source)
            row = (e164(entry.number), reason, source, reporting.moment(entry.since))
            writer.writerow((*row, reporting.harmless(entry.brand)))
        if output is not None:
            out.close()
