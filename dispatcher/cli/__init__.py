"""The `dispatcher` command: parse → call an operation → print. No SQL and no HTTP in here."""

import io
import os
import sys
from typing import NoReturn

import click

from dispatcher import __version__
from dispatcher.cli import (
    accounts,
    campaigns,
    care,
    demo,
    doubts,
    events,
    further,
    ledgers,
    optouts,
    planning,
    privacy,
    reports,
    resources,
    running,
    spending,
    texts,
)
from dispatcher.cli.output import printable
from dispatcher.errors import DispatcherError, UsageError

FAILED, WRONG = 1, 2


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="dispatcher")
def cli() -> None:
    """Send SMS campaigns: nobody twice, nobody forgotten, never above a provider's limit.

    \b
    A first campaign, against a sandbox that sends nothing to anyone:
      dispatcher up --sandbox                     (in one terminal)
      dispatcher enqueue people.csv --provider winsms --text "Hi {first_name}!"
      dispatcher status CAMPAIGN --watch

    Settings come from DISPATCHER_… variables and dispatcher.toml; `dispatcher doctor` says what is
    right and what is not. Every command takes --help, and those that print data take --json.

    Exit codes: 0 done, 1 failed, 2 wrong usage, settings or input.
    """


for command in (
    planning.enqueue,
    planning.estimate,
    further.add,
    further.retry,
    campaigns.status,
    campaigns.list_campaigns,
    campaigns.pause,
    campaigns.resume,
    campaigns.cancel,
    spending.budget,
    care.priority,
    reports.report,
    doubts.unknown,
    doubts.resolve,
    running.poll,
    running.doctor,
    running.up,
    running.sandbox,
    demo.demo,
    accounts.list_providers,
    accounts.provider,
    accounts.inbox,
    events.events,
    privacy.forget,
    privacy.erase,
    optouts.optouts,
    texts.texts,
    ledgers.ledger,
    *resources.groups(),
):
    cli.add_command(command)


def main() -> NoReturn:
    """Run the command, and end the process with 0, 1 or 2; a person never sees a traceback of their own making."""
    try:
        _check_arguments(sys.argv[1:])
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        said = io.StringIO()
        error.show(said)
        # It quotes what was typed, or pasted.
        click.echo(printable(said.getvalue().expandtabs(2)), nl=False, err=True)
        sys.exit(WRONG)
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        sys.exit(FAILED)
    except UsageError as error:
        _say(str(error))
        sys.exit(WRONG)
    except DispatcherError as error:
        _say(str(error))
        sys.exit(FAILED)
    except BrokenPipeError:
        # The reader of our output has gone, as `head` does; do not fail again while flushing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    sys.exit(code if isinstance(code, int) else 0)


def _check_arguments(words: list[str]) -> None:
    """Refuse bytes that are no text before they come to where only text can go: names, keys, the ledger."""
    for position, word in enumerate(words, 1):
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"argument {position}, {word}, is not UTF-8: write it in UTF-8"
                " (a list whose name is not can be given as -, on standard input)"
            ) from None


def _say(message: str) -> None:
    click.echo(f"dispatcher: {printable(message)}", err=True)
