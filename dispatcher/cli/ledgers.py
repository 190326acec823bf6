"""Commands on the ledger itself: bring its schema up, check it, copy it to PostgreSQL."""

import click

from dispatcher.cli.opening import opened
from dispatcher.cli.output import console, json_option, print_json, table
from dispatcher.ledger import check_database, copy_ledger, open_ledger, stored_version


@click.group()
def ledger() -> None:
    """Look after the ledger, the database that holds everything.

    \b
    Examples:
      dispatcher ledger check
      dispatcher ledger copy postgresql://dispatcher@db/dispatcher
    """


@ledger.command(short_help="Bring the ledger to this program's version.")
@json_option
def migrate(*, as_json: bool) -> None:
    """Bring the schema of the ledger to the version that this program speaks.

    Every command does so when it opens a ledger; run this by itself before a rollout to do it at a time of your
    choosing. Programs of the version before go on working meanwhile and after.
    """
    with opened() as runtime:
        runtime.make_home()
        url = runtime.settings.ledger_url
        before = stored_version(url)
        after = runtime.ledger.version
        shown = runtime.ledger.database.shown_url
    if as_json:
        print_json({"ledger": shown, "before": before, "after": after})
    elif before == after:
        click.echo(f"the ledger at {shown} is of version {after}: nothing to do")
    else:
        click.echo(f"the ledger at {shown} was brought from {before or 'nothing'} to version {after}")


@ledger.command(short_help="Check that the ledger is whole and its sums match.")
@json_option
@click.pass_context
def check(context: click.Context, *, as_json: bool) -> None:
    """Check the ledger: the database itself, and that the sums of every campaign match its rows.

    Exit code 1 where anything is wrong. It reads every row: some seconds for a million messages.
    """
    with opened() as runtime:
        wrong = check_database(runtime.ledger.database)
        campaigns = runtime.ledger.campaigns.latest(most=1_000_000)
        for campaign in campaigns:
            if campaign.state != "draft":
                wrong += [
                    f"campaign {campaign.public_id}: {one}" for one in runtime.ledger.reports.discrepancies(campaign)
                ]
        shown, version = runtime.ledger.database.shown_url, runtime.ledger.version
    if as_json:
        print_json({"ledger": shown, "version": version, "campaigns": len(campaigns), "wrong": wrong})
    else:
        for one in wrong:
            click.echo(f"wrong: {one}", err=True)
        click.echo(
            f"the ledger at {shown}, version {version}: campaigns: {len(campaigns):,}; "
            + ("everything matches" if not wrong else f"{len(wrong)} things are wrong")
        )
    if wrong:
        context.exit(1)


@ledger.command(short_help="Copy a SQLite ledger to PostgreSQL.")
@click.argument("url")
@json_option
def copy(url: str, *, as_json: bool) -> None:
    """Copy the SQLite ledger that is set up here to the empty PostgreSQL database at URL, and go on there.

    Stop the workers first. The old ledger is locked meanwhile and marked in the end: every command then refuses
    it and says where its place is now. Interrupted half-way, nothing has changed.
    """
    with opened() as runtime:
        target = open_ledger(url)
        try:
            err = console(err=True)
            with err.status("copying…") as shown:
                copied = copy_ledger(
                    runtime.ledger.database,
                    target.database,
                    now=runtime.clock(),
                    progress=lambda name, many: shown.update(f"copying… {name}: {many:,} rows"),
                )
            where = target.database.shown_url
        finally:
            target.close()
    if as_json:
        print_json({"ledger": where, "rows": copied})
        return
    listed = table([("table", False), ("rows", True)], [(name, many) for name, many in copied.items() if many])
    console().print(listed, end="")
    click.echo(f"copied to {where}")
    click.echo("now set DISPATCHER_LEDGER_URL to it and start the workers; the old ledger is refused from here on")
