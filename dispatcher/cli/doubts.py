"""Commands about what is unknown: unknown lists it, resolve lets a person decide."""

from typing import Any

import click

from dispatcher import recovery, reporting
from dispatcher.cli.opening import WHO, opened
from dispatcher.cli.output import console, json_option, local, print_json, table
from dispatcher.cli.plain import make_sure, printable
from dispatcher.errors import UsageError
from dispatcher.ledger import Doubt
from dispatcher.runtime import Runtime

_DECISIONS = ("submitted", "resend", "give-up")


@click.command()
@click.argument("campaign", required=False)
@json_option
def unknown(campaign: str | None, *, as_json: bool) -> None:
    """List the batches whose answer was lost, of CAMPAIGN or of all, with what is known of them.

    Workers look them up by themselves where the provider gives a means to. What is still here after a while
    waits for `dispatcher resolve`; when the receipt window closes, it ends as unconfirmed.
    """
    with opened() as runtime:
        chosen = None if campaign is None else runtime.ledger.campaigns.get(campaign).id
        found = runtime.ledger.doubts.listed(campaign_id=chosen)
        told = [_described(runtime, doubt) for doubt in found]
    if as_json:
        print_json(told)
        return
    if not told:
        click.echo("nothing is unknown")
        return
    rows = [
        (
            one["batch"],
            one["provider"],
            one["messages"],
            local(one["attempted_at"]),
            printable(one["seen"] or one["reason"]),
        )
        for one in told
    ]
    headings = [("batch", False), ("provider", False), ("messages", True), ("attempted", False)]
    console().print(table([*headings, ("what is known", False)], rows), end="")
    click.echo("decide on one: dispatcher resolve BATCH submitted|resend|give-up")


def _described(runtime: Runtime, doubt: Doubt) -> dict[str, Any]:
    seen = runtime.ledger.doubts.last_seen(doubt)
    return {
        "batch": f"{doubt.campaign}/{doubt.number}",
        "campaign": doubt.campaign,
        "provider": doubt.provider,
        "attempt": doubt.attempt,
        "messages": doubt.messages,
        "whole": doubt.whole,
        "attempted_at": reporting.moment(doubt.attempted_at),
        "scheduled_for": reporting.moment(doubt.scheduled_for),
        "reason": doubt.reason,
        "seen": seen,
    }


@click.command()
@click.argument("batch", metavar="BATCH")
@click.argument("decision", type=click.Choice(_DECISIONS))
@click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
@json_option
def resolve(batch: str, decision: str, *, yes: bool, as_json: bool) -> None:
    """Decide on BATCH, as `dispatcher unknown` names it.

    \b
      submitted  the provider has it: its messages are followed to their receipts, where that is possible
      resend     send it again. If the provider did accept it, everyone in it gets the text twice
      give-up    neither: its messages end as unconfirmed, and are never sent again
    """
    campaign, slash, number = batch.rpartition("/")
    if not slash or not number.isdigit():
        raise UsageError(
            f"{printable(batch)} names no batch: write CAMPAIGN/NUMBER, as `dispatcher unknown` shows it"
        )
    with opened() as runtime:
        found = runtime.ledger.campaigns.get(campaign)
        doubts = [
            doubt for doubt in runtime.ledger.doubts.listed(campaign_id=found.id) if doubt.number == int(number)
        ]
        if not doubts:
            raise UsageError(f"batch {printable(batch)} is not unknown; `dispatcher unknown` lists those that are")
        doubt = doubts[0]
        if decision == "resend":
            if not doubt.whole:
                raise UsageError(
                    f"of batch {printable(batch)} a part was accepted: it cannot be sent again as a whole."
                    " Choose submitted or give-up"
                )
            if not yes:
                make_sure(
                    f"If {doubt.provider} did accept it, {doubt.messages:,} people get this text twice. Send it again?",
                    "nothing was decided",
                    err=True,
                )
        done = recovery.decide(runtime.ledger, doubt, decision, who=WHO, now=runtime.clock(),
                               receipt_window=runtime.provider(doubt.provider).capabilities.receipt_window)  # fmt: skip
    if as_json:
        print_json({"batch": batch, "decision": decision, "messages": doubt.messages, "done": done})
    elif done:
        click.echo(f"batch {printable(batch)}: {decision}, {doubt.messages:,} messages")
    if not done:
        raise UsageError(f"batch {printable(batch)} was settled meanwhile; see `dispatcher unknown`")
