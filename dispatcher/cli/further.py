"""Commands that go on from a campaign: add sends to more people, retry sends again to some."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from dispatcher.campaign import FINAL_CAMPAIGN_STATES
from dispatcher.cli.chain import capabilities_of
from dispatcher.cli.lists import how_it_is_read, show_notes, taken
from dispatcher.cli.opening import WHO, opened
from dispatcher.cli.orders import Source, named_source, new_public_id
from dispatcher.cli.output import json_option, print_json
from dispatcher.cli.plain import make_sure, printable
from dispatcher.cli.planning import planning_progress, read_as, show_totals, totals_of
from dispatcher.errors import UsageError
from dispatcher.ledger import Campaign
from dispatcher.message import MessageState
from dispatcher.planning import Enqueued, Order, SentBefore, as_ordered
from dispatcher.planning import enqueue as plan_and_enqueue
from dispatcher.runtime import Runtime

_RISKY = (MessageState.UNKNOWN, MessageState.UNCONFIRMED)
_AGAIN = {
    MessageState.UNDELIVERED: "Those whom the provider could not deliver to.",
    MessageState.REFUSED: "Those whom the provider refused.",
    MessageState.EXPIRED: "Those whose message expired at the provider.",
    MessageState.CANCELLED: "Those whose message was cancelled.",
    MessageState.UNCONFIRMED: "Those of whom no receipt came: they may have it, and get it twice.",
    MessageState.UNKNOWN: "Those of whom nobody knows: they may have it, and get it twice.",
}


@click.command()
@click.argument("campaign")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@how_it_is_read
@click.option("--dry-run", is_flag=True, help="Plan, and say what it comes to; change nothing.")
@json_option
def add(campaign: str, *, file: Path, dry_run: bool, as_json: bool, **asked: Any) -> None:
    """Add the recipients in FILE to CAMPAIGN, with its text and all that was said of it.

    Whoever has a message in it already is a duplicate and gets none. The new rows are numbered after those that
    there are. All of FILE is added in one step, or nothing is.
    """
    lists = taken(asked)
    with opened() as runtime:
        into = runtime.ledger.campaigns.get(campaign)
        if into.state in FINAL_CAMPAIGN_STATES:
            raise UsageError(f"campaign {into.public_id} has ended: enqueue a new one for them")
        source, _ = named_source(file)
        order = replace(
            as_ordered(runtime.ledger, into, public_id=new_public_id()),
            phone_column=lists.phone_column,
            country_column=lists.country_column,
            reading=lists.reading,
            country=into.country or runtime.settings.country,
            send_at=into.send_at,
            expires_at=into.expires_at,
            adds_to=into,
        )
        done = _plan(runtime, order, source, dry_run=dry_run)
        _show(done, f"added to campaign {into.public_id}", into.provider, as_json=as_json)


def _states(command: Any) -> Any:
    for state, told in reversed(_AGAIN.items()):
        command = click.option(f"--{state.value}", is_flag=True, help=told)(command)
    return command


@click.command()
@click.argument("campaign")
@_states
@click.option("--text", help="Another text, with the same {columns} or fewer; the first campaign's by default.")
@click.option("--sender", help="Another sender id.")
@click.option("--name", help="What to call the new campaign.")
@click.option("--dry-run", is_flag=True, help="Plan, and say what it comes to; change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask where somebody may get the text twice; for scripts.")
@json_option
def retry(
    campaign: str, *, text: str | None, sender: str | None, name: str | None, dry_run: bool, yes: bool, as_json: bool,
    **states: bool,
) -> None:  # fmt: skip
    """Make a new campaign of exactly those messages of CAMPAIGN that are in the states named, and link it to the first.

    A row that was sent again before is passed over: run this as often as you like, and nobody gets it again twice.
    Rows keep their numbers. Whoever opted out meanwhile is left out. Unknown ones come along only if asked for.

    \b
    Examples:
      dispatcher retry c7mhq2k4x --undelivered --refused
      dispatcher retry c7mhq2k4x --expired --text "We are still here for you, {first_name}"
    """
    chosen = [state for state in _AGAIN if states[state.value]]
    if not chosen:
        raise UsageError("say whom to send to again: " + ", ".join(f"--{state.value}" for state in _AGAIN))
    with opened() as runtime:
        first = runtime.ledger.campaigns.get(campaign)
        source = SentBefore(runtime.ledger, first, chosen)
        risky = [state for state in _RISKY if state in chosen]
        if risky and not (yes or dry_run):
            counts = runtime.ledger.campaigns.counts(first).messages
            many = sum(counts[state] for state in risky)
            make_sure(f"{many:,} of them may have it already, and would get it twice: go on?", "nothing was enqueued")
        again = as_ordered(runtime.ledger, first, public_id=new_public_id())
        order = replace(
            again,
            name=name or f"{first.name}, again",
            text=text or again.text,
            variants={} if text else again.variants,
            sender=sender or again.sender,
            phone_column="phone",
            text_by=source.text_by,
            retry_of=first.public_id,
            # Two who run this at once get one campaign between them.
            key=f"retry {runtime.ledger.reports.retries(first) + 1} of {first.public_id}",
        )
        done = _plan(runtime, order, source, dry_run=dry_run)
        made = "" if done.campaign is None else done.campaign.public_id
        _show(
            done, f"campaign {made}, which sends again to some of {first.public_id}", first.provider, as_json=as_json
        )


def _plan(runtime: Runtime, order: Order, source: Source | SentBefore, *, dry_run: bool) -> Enqueued:
    with planning_progress() as tick:
        return plan_and_enqueue(
            runtime.ledger,
            order,
            source,
            capabilities=capabilities_of(runtime, order),
            who=WHO,
            clock=runtime.clock,
            dry_run=dry_run,
            progress=tick,
        )


def _show(done: Enqueued, made: str, provider: str, *, as_json: bool) -> None:
    if as_json:
        campaign: Campaign | None = done.campaign
        print_json(
            {"campaign": None if campaign is None else campaign.public_id, **totals_of(done.totals), **read_as(done)}
        )
        return
    click.echo("dry run: nothing was changed" if done.campaign is None else printable(made))
    show_totals(done.totals, provider)
    show_notes(done.notes)
