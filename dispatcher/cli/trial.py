"""Sends a campaign's text to one's own number first, and says what came of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import click

from dispatcher import cancellation
from dispatcher.cli.care import span_of
from dispatcher.cli.chain import capabilities_of
from dispatcher.cli.opening import WHO
from dispatcher.cli.orders import new_public_id
from dispatcher.cli.output import duration
from dispatcher.cli.plain import printable
from dispatcher.errors import DispatcherError, InputError, UsageError
from dispatcher.ledger import Campaign
from dispatcher.message import MessageState
from dispatcher.msisdn import mask, normalise_column
from dispatcher.planning import Order, Preflight, enqueue
from dispatcher.planning.trial import GOOD, Outcome, outcome, trial
from dispatcher.provider import FetchesReceipts
from dispatcher.runtime import Runtime

_WORDS = {
    MessageState.QUEUED: "waits",
    MessageState.SUBMITTED: "accepted",
    MessageState.UNKNOWN: "unknown: the answer was lost",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The options, as they were given."""

    test: str | None
    test_row: int | None
    test_wait: timedelta

    @classmethod
    def taken(cls, asked: dict[str, Any]) -> "Trial":
        """Take them out of what was given to the command."""
        return cls(**{name: asked.pop(name) for name in cls.__slots__})

    def number(self, order: Order, *, dry_run: bool) -> int | None:
        """Return the number to try it on; None: it is not to be tried.

        Raises:
            UsageError: it is no number, or the options contradict each other.
        """
        if self.test is None:
            if self.test_row is not None:
                raise UsageError("--test-row says whose text is tried: say with --test to which number it goes")
            return None
        if dry_run:
            raise UsageError("--test sends a message, and --dry-run sends nothing: leave one of them out")
        [found] = normalise_column([self.test], order.country)
        if isinstance(found, str):
            raise UsageError(f"--test {printable(self.test)}: {found}: write your own number as +27…")
        return found


def what_is_tried(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that `Trial` holds."""
    for add in reversed(
        (
            click.option("--test", metavar="+27…", help="Send one row's text to this number of your own first."),
            click.option(
                "--test-row", type=click.IntRange(1), metavar="N", help="Which row's; the first by default."
            ),
            click.option(
                "--test-wait", type=span_of, default="60s", show_default=True, help="For its outcome, at most."
            ),
        )
    ):
        command = add(command)
    return command


def try_first(
    runtime: Runtime, order: Order, seen: Preflight, trying: Trial, number: int, *, asks: bool, as_json: bool
) -> dict[str, Any]:
    """Send one row's text to `number`, wait, say what came of it, and return that for programs.

    Raises:
        DispatcherError: it was refused; or it is not known to be accepted, and there is nobody to ask.
    """
    sample = seen.wanted
    if sample is None:
        raise InputError(f"row {trying.test_row} becomes no message, so its text cannot be tried: name another row")
    made, people = trial(order, sample, number, public_id=new_public_id())
    done = enqueue(
        runtime.ledger, made, people, capabilities=capabilities_of(runtime, made), who=WHO, clock=runtime.clock
    )
    assert done.campaign is not None
    name = done.campaign.public_id

    def tell(found: Outcome) -> None:
        click.echo(f"test {name} to {mask(number)}, row {sample.row}: {_in_words(found)}", err=as_json)

    tell(Outcome(state=MessageState.QUEUED))
    to_the_end = asks and isinstance(runtime.provider(order.provider), FetchesReceipts)
    if asks:
        what = "delivered" if to_the_end else "accepted"
        click.echo(f"waiting until it is {what}, for {duration(trying.test_wait.total_seconds())} at most")
    found = outcome(
        runtime.ledger,
        done.campaign,
        seconds=trying.test_wait.total_seconds(),
        to_the_end=to_the_end,
        monotonic=time.monotonic,
        sleep=time.sleep,
        told=tell,
    )
    if found.state not in GOOD:
        _go_on_all_the_same(runtime, done.campaign, found, asks=asks)
    return {"campaign": name, "row": sample.row, "outcome": found.state.value, "reason": found.reason}


def _go_on_all_the_same(runtime: Runtime, campaign: Campaign, found: Outcome, *, asks: bool) -> None:
    """Ask whether to, where nothing speaks against it but that nobody knows."""
    name = campaign.public_id
    if found.state is MessageState.QUEUED:
        # It must not come when nobody expects it any more.
        cancellation.cancel(runtime.ledger, campaign, who=WHO, clock=runtime.clock)
        why = found.reason or "no worker came to it in time; are workers running? (dispatcher doctor)"
        problem = f"the test {name} was not sent: {printable(why)}"
    else:
        problem = f"the test {name} is {_in_words(found)}"
    nobody_knows = found.state in (MessageState.QUEUED, MessageState.UNKNOWN) and not found.stopped
    if asks and nobody_knows and click.confirm(f"{problem}. Go on all the same?"):
        return
    raise DispatcherError(f"{problem}; nothing else was enqueued")


def _in_words(found: Outcome) -> str:
    words = _WORDS.get(found.state, found.state.value)
    return words if found.reason is None else f"{words} ({printable(found.reason)})"
