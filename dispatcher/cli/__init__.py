"""The `dispatcher` command: parse → call an operation → print. No SQL and no HTTP in here."""

import functools
import importlib
import io
import os
import sys
from typing import NoReturn

import click

from dispatcher import __version__
from dispatcher.cli.plain import printable, say
from dispatcher.errors import DispatcherError, UsageError

FAILED, WRONG = 1, 2


_COMMANDS = {
    "enqueue": ("planning.enqueue", "Plan a list of recipients and enqueue the campaign."),
    "estimate": ("planning.estimate", "Say what a campaign would come to, cost and take; change nothing."),
    "add": ("further.add", "Add recipients to a campaign that has not ended."),
    "retry": ("further.retry", "Send again to those whom a campaign did not reach."),
    "status": ("campaigns.status", "Show what has become of a campaign."),
    "list": ("campaigns.list_campaigns", "List the campaigns, the newest first."),
    "pause": ("campaigns.pause", "Pause a campaign: no new request starts."),
    "resume": ("campaigns.resume", "Let a paused campaign go on."),
    "cancel": ("campaigns.cancel", "Cancel a campaign for good."),
    "budget": ("spending.budget", "Show or set what a campaign may spend."),
    "priority": ("care.priority", "Show or set which campaign goes first."),
    "report": ("reports.report", "Write the fate of every input row, or sum it up."),
    "unknown": ("doubts.unknown", "List the batches whose fate nobody knows."),
    "resolve": ("doubts.resolve", "Decide on a batch whose fate nobody knows."),
    "poll": ("running.poll", "Ask for delivery receipts now."),
    "doctor": ("running.doctor", "Say what is right, what is not, how to mend it."),
    "up": ("up.up", "Run everything on this machine."),
    "sandbox": ("sandbox.sandbox", "Run local stand-ins for the providers."),
    "demo": ("demo.demo", "Send sample campaigns through the sandbox."),
    "providers": ("accounts.list_providers", "List the providers: abilities, limits, configured or not."),
    "provider": ("accounts.provider", "Ask a provider for the balance, or try its credentials."),
    "inbox": ("accounts.inbox", "Show the messages that people sent to us."),
    "events": ("events.events", "Show the audit trail of a campaign or of one message."),
    "forget": ("privacy.forget", "Erase one person everywhere, and never text them again."),
    "erase": ("privacy.erase", "Erase the texts, fields and numbers of a finished campaign."),
    "optouts": ("optouts.optouts", "Keep the suppression list: who is never sent to."),
    "texts": ("texts.texts", "Keep texts under a name, for `enqueue --use NAME`."),
    "ledger": ("ledgers.ledger", "Look after the ledger: migrate, check, copy."),
}
"""Each command: where it is, and what it does in a few words. Planning, drawing and the sandbox are large: a command
imports what it needs when it is asked for, and the others' nothing."""


class _Commands(click.Group):
    """The commands by name, and a group for each provider that keeps something for us."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, without importing a command."""
        del ctx
        return sorted([*_COMMANDS, *_keepers()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self.commands:
            if cmd_name in _COMMANDS:
                module, _, attribute = _COMMANDS[cmd_name][0].partition(".")
                self.add_command(getattr(importlib.import_module(f"dispatcher.cli.{module}"), attribute), cmd_name)
            elif cmd_name in _keepers():
                self.add_command(importlib.import_module("dispatcher.cli.resources").ProviderGroup(cmd_name))
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each command does, without importing a command."""
        del ctx
        told = {name: words for name, (_, words) in _COMMANDS.items()}
        told |= {name: f"What {name} keeps: the calls that it documents." for name in _keepers()}
        with formatter.section("Commands"):
            formatter.write_dl(sorted(told.items()))


@functools.cache
def _keepers() -> list[str]:
    """Return the providers that keep something for us."""
    providers = importlib.import_module("dispatcher.providers")
    return [name for name in providers.names() if hasattr(providers.provider_class(name), "resources")]


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
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
    for line in f"dispatcher: {printable(message)}".splitlines():
        say(line, err=True)
