"""Commands that erase: forget one person, erase a finished campaign."""

import click

from dispatcher import privacy
from dispatcher.cli.opening import WHO, opened
from dispatcher.cli.output import json_option, print_json
from dispatcher.cli.plain import make_sure
from dispatcher.errors import UsageError
from dispatcher.msisdn import InvalidNumber, mask, normalise


@click.command()
@click.argument("number")
@click.option("--country", metavar="ZA", help="The country of a number that does not say its own.")
@click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
@json_option
@click.pass_context
def forget(context: click.Context, number: str, *, country: str | None, yes: bool, as_json: bool) -> None:
    """Erase the person with NUMBER from every campaign: the number and what was said to it. There is no way back.

    Counts, states and costs stay. The suppression list keeps a keyed hash of the number, so that it is not texted
    again from some old file. Messages that are on their way cannot be erased yet: exit code 1 says so, and the
    same command erases them once their receipts are in.
    """
    with opened() as runtime:
        home = country or runtime.settings.country
        try:
            wanted = normalise(number, home)
        except InvalidNumber as error:
            raise UsageError(f"{mask(number)}: {error}") from None
        if not yes:
            make_sure(f"erase {mask(wanted)} from every campaign? This cannot be undone", "nobody was forgotten")
        done = privacy.forget(runtime.ledger, wanted, country=home, who=WHO, now=runtime.clock())
    if as_json:
        told = {"messages": done.messages, "suppressed": done.suppressed}
        print_json({**told, "excluded_rows": done.excluded, "waiting": done.waiting})
    else:
        click.echo(
            f"{mask(wanted)} forgotten in {done.messages:,} messages and {done.excluded:,} rows left out;"
            f" {done.suppressed:,} of the messages had not been sent, and never will be"
        )
        if done.waiting:
            click.echo(
                f"note: {done.waiting:,} messages are on their way: run this again when they are settled", err=True
            )
    if done.waiting:
        context.exit(1)


@click.command()
@click.argument("campaign")
@click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
@json_option
def erase(campaign: str, *, yes: bool, as_json: bool) -> None:
    """Erase the texts, fields and numbers of CAMPAIGN, which must have ended. There is no way back.

    With DISPATCHER_KEEP_DAYS the workers do so by themselves, so many days after each campaign's end. Counts,
    states, costs and the provider's message ids stay; a keyed hash takes the place of each number.
    """
    with opened() as runtime:
        found = runtime.ledger.campaigns.get(campaign)
        if found.erased_at is not None:
            raise UsageError(f"campaign {found.public_id} was erased before, at {found.erased_at:%Y-%m-%d %H:%M} UTC")
        if found.public_id not in runtime.ledger.privacy.erasable(finished_before=runtime.clock()):
            raise UsageError(
                f"campaign {found.public_id} is {found.state.value}, and something of it may still happen:"
                " it can be erased when it has ended and no receipt is waited for"
            )
        if not yes:
            make_sure(
                f"erase {found.totals.rows:,} rows of {found.public_id}? This cannot be undone", "nothing was erased"
            )
        messages = runtime.ledger.privacy.erase(found.public_id, who=WHO, now=runtime.clock())
    if as_json:
        print_json({"campaign": found.public_id, "messages": messages})
    else:
        click.echo(f"campaign {found.public_id}: {messages:,} messages erased")
