"""The demo: the embedded stack and the sandbox in a folder of their own, one campaign, every row accounted for."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from dispatcher import stack
from dispatcher.cli.output import console, table
from dispatcher.errors import DispatcherError
from dispatcher.planning.sample import COUNTRY, write_sample
from dispatcher.transport import Transport

_TEXT = "Hi {first_name}, your {town} order of {amount} is ready. Show {code} at the desk. Reply STOP to opt out."
_READY_SECONDS = 30.0
_SETTINGS = {
    # A thousand segments a second lets the throughput be seen at work; receipts are asked for every second.
    "DISPATCHER_WINSMS__REQUESTS_PER_SECOND": "10",
    "DISPATCHER_WINSMS__SEGMENTS_PER_SECOND": "1000",
    "DISPATCHER_POLL_EVERY": "1",
}


@click.command(short_help="Send sample campaigns through the sandbox.")
@click.option("--rows", type=click.IntRange(100, 40_000), default=5_000, show_default=True, help="Rows in the list.")
@click.option("--keep", is_flag=True, help="Keep the data folder, to look around in it.")
def demo(*, rows: int, keep: bool) -> None:
    """Send a sample campaign through the sandbox and account for every row; nobody is texted.

    The demo starts the embedded stack in a new folder, makes an untidy list of fictional numbers, enqueues it
    with the same commands that you would use, watches it to its end, and checks the report against the list and
    against the sandbox's own record.
    """
    # Ended from outside, it takes its stack down too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with _folder(keep=keep) as folder:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DISPATCHER_")}
        environment |= {**_SETTINGS, "DISPATCHER_HOME": str(folder / "home")}
        sample = write_sample(folder / "people.csv", rows=rows)
        click.echo(
            f"a list of {sample.rows:,} rows, {sample.duplicates} of them duplicates, {sample.invalid} invalid"
        )
        with _stack(folder, environment) as sandbox_url:
            command = ["enqueue", str(folder / "people.csv"), "--provider", "winsms", "--country", COUNTRY]
            planned = _json(folder, environment, *command, "--name", "demo", "--text", _TEXT)
            _run(folder, environment, "status", planned["campaign"], "--watch")
            _run(folder, environment, "report", planned["campaign"], "-o", str(folder / "report.csv"))
            right = _account(folder / "report.csv", rows=rows, record=_record(sandbox_url))
        if keep:
            click.echo(f"kept: export DISPATCHER_HOME={folder / 'home'}; the report is {folder / 'report.csv'}")
    if not right:
        raise DispatcherError("the rows do not add up: this is a fault of the dispatcher")


@contextlib.contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    if keep:
        yield Path(tempfile.mkdtemp(prefix="dispatcher-demo-"))
        return
    with tempfile.TemporaryDirectory(prefix="dispatcher-demo-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def _stack(folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """Run `dispatcher up --sandbox` as a child, and give the sandbox's address once all of it runs."""
    click.echo("$ dispatcher up --sandbox")
    log = folder / "up.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "dispatcher", "up", "--sandbox"],
            env=dict(environment),
            stdout=out,
            stderr=out,
            cwd=folder,
            start_new_session=True,
            preexec_fn=stack.die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - no threads here
        )
    try:
        until = time.monotonic() + _READY_SECONDS
        while "up: data in" not in log.read_text(encoding="utf-8"):
            if process.poll() is not None or time.monotonic() > until:
                raise DispatcherError(f"the stack did not come up: {log.read_text(encoding='utf-8').strip()}")
            time.sleep(0.05)
        settings = json.loads((folder / "home" / "up.json").read_text(encoding="utf-8"))["settings"]
        yield settings["winsms"]["base_url"].removesuffix("/api/rest/v1")
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait()


def _run(folder: Path, environment: Mapping[str, str], *command: str) -> None:
    _show(folder, command)
    done = subprocess.run(  # noqa: S603 - our own arguments
        [sys.executable, "-m", "dispatcher", *command], env=dict(environment), cwd=folder, check=False
    )
    if done.returncode:
        raise DispatcherError(f"`dispatcher {command[0]}` ended with exit code {done.returncode}")


def _json(folder: Path, environment: Mapping[str, str], *command: str) -> dict[str, Any]:
    _show(folder, command)
    done = subprocess.run(  # noqa: S603 - our own arguments
        [sys.executable, "-m", "dispatcher", *command, "--json"],
        env=dict(environment),
        cwd=folder,
        check=False,
        stdout=subprocess.PIPE,
    )
    if done.returncode:
        raise DispatcherError(f"`dispatcher {command[0]}` ended with exit code {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout)
    click.echo(", ".join(f"{key} {value}" for key, value in found.items() if key != "again"))
    return found


def _show(folder: Path, command: tuple[str, ...]) -> None:
    words = [word.replace(f"{folder}/", "") for word in command]
    click.echo("\n$ dispatcher " + " ".join(f'"{word}"' if " " in word else word for word in words))


def _record(sandbox_url: str) -> dict[str, Any]:
    transport = Transport(base_url=sandbox_url, timeout=10, headers={})
    found: dict[str, dict[str, Any]] = transport.look_up("GET", "/sandbox/summary").json(dict[str, dict[str, Any]])
    return found["winsms"]


def _account(report: Path, *, rows: int, record: Mapping[str, Any]) -> bool:
    """Print where every input row ended; return whether all of them are there, once, and nobody was texted twice."""
    with report.open(encoding="utf-8") as lines:
        next(lines)
        fates = Counter(line.split(",", 3)[2] for line in lines)
    total = sum(fates.values())
    shown = table([("every row", False), ("", True)], sorted(fates.items()))
    shown.add_section()
    shown.add_row("rows in the report", f"{total:,}")
    shown.add_row("rows in the list", f"{rows:,}")
    console().print("\n", shown, sep="", end="")
    click.echo(
        f"\nthe sandbox accepted {record['accepted']:,} messages in {record['send_requests']} requests,"
        f" at most {record['peak_requests']} a second; texted twice: {record['duplicates']}"
    )
    return total == rows and record["duplicates"] == 0
