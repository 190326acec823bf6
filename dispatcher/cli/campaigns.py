"""Commands about campaigns: status, list, pause, resume, cancel."""

import click

from dispatcher import cancellation, reporting
from dispatcher.cli import watching
from dispatcher.cli.opening import WHO, opened
from dispatcher.cli.output import console, json_option, local, print_json, table
from dispatcher.cli.plain import printable
from dispatcher.errors import ProviderError, ThroughputUnavailable
from dispatcher.runtime import Runtime


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
        found = reporting.status(runtime.ledger, runtime.ledger.campaigns.get(campaign), now=runtime.clock())
        if as_json:
            print_json(found)
        else:
            watching.show(found)


@click.command(name="list")
@click.option("--watch", is_flag=True, help="Show those under way, all at once, until they have ended.")
@json_option
def list_campaigns(*, watch: bool, as_json: bool) -> None:
    """List the campaigns, the newest first."""
    if watch:
        with opened() as runtime:
            watching.watch_all(runtime)
        return
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
        holding = cancellation.to_take_back(runtime.ledger, found, now=runtime.clock())
        for provider in holding:
            try:
                recalled += cancellation.recall(runtime.account(provider), campaign=found, max_wait=0.5, seconds=0.5)
            except (ThroughputUnavailable, ProviderError) as error:
                recalled += cancellation.Recalled(left=1, why=str(error))
        status = reporting.status(runtime.ledger, runtime.ledger.campaigns.get(found.public_id), now=runtime.clock())
        if as_json:
            told = {"messages": recalled.messages, "refused": recalled.refused, "left": recalled.left}
            print_json({**status, "recalled": {**told, "refunded": reporting.amount(recalled.refunded)}})
            return
        click.echo(f"campaign {found.public_id} {'cancelled' if first else 'was cancelled already'}")
        if recalled.messages or recalled.refused:
            click.echo(
                f"{recalled.messages:,} messages taken back from {', '.join(holding)},"
                f" {reporting.amount(recalled.refunded)} credits refunded; {recalled.refused:,} were too late"
            )
        if recalled.left:
            click.echo(
                f"note: not everything is taken back yet ({printable(recalled.why)}); the workers go on with it",
                err=True,
            )
        if status["messages"]["queued"]:
            click.echo(
                f"note: nothing more will be sent; the workers still write down what this means for"
                f" {status['messages']['queued']:,} messages",
                err=True,
            )
        watching.show(status)


def _show_moved(runtime: Runtime, campaign: str, how: str, *, as_json: bool) -> None:
    status = reporting.status(runtime.ledger, runtime.ledger.campaigns.get(campaign), now=runtime.clock())
    if as_json:
        print_json(status)
        return
    click.echo(f"campaign {campaign} {how}")
    watching.show(status)
