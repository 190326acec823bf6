"""The command that runs everything on one machine. It runs for months: what it imports it holds."""

import subprocess
import sys

import click

from dispatcher import providers, stack
from dispatcher.cli.plain import printable
from dispatcher.config import load


@click.command()
@click.option("--sandbox", is_flag=True, help="Send to local stand-ins instead of the providers: nobody is texted.")
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes; DISPATCHER_WORKERS or 1 by default.")
@click.option("--sandbox-port", type=click.IntRange(1, 65535), help="The sandbox's port; a free one by default.")
def up(*, sandbox: bool, workers: int | None, sandbox_port: int | None) -> None:
    """Run everything on this machine, in the foreground: Redis, workers, beat, and the sandbox if asked for.

    Each part is watched, and started again if it ends. Ctrl-C or SIGTERM stops it: requests in flight end and
    are recorded first. One `up` runs on a data folder (DISPATCHER_HOME) at a time.

    With --sandbox, every other command on the same data folder talks to the sandbox as well, until `up` ends.
    """
    # An unusable ledger is told now, not by each worker; by another process, since this one stays and needs none.
    ledger = subprocess.run(
        [sys.executable, "-m", "dispatcher", "ledger", "migrate"], stdout=subprocess.DEVNULL, check=False
    )
    if ledger.returncode:
        raise click.exceptions.Exit(ledger.returncode)
    settings = load(providers.settings_models())
    stack.run(
        settings,
        workers=workers or settings.workers,
        sandbox=sandbox,
        sandbox_port=sandbox_port or 0,
        tell=lambda line: click.echo(printable(line), err=True),
    )
