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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from dispatcher import providers, stack
from dispatcher.cli.output import console, table
from dispatcher.errors import DispatcherError
from dispatcher.planning.sample import COUNTRY, write_sample
from dispatcher.transport import Transport

_TEXT = "Hi {first_name}, your {town} order of {amount} is ready. Show {code} at the desk. Reply STOP to opt out."
_READY_SECONDS = 30.0
_SETTINGS = {
    "DISPATCHER_POLL_EVERY": "1",
    # Each provider at a throughput of its own, low enough to be seen at work.
    "DISPATCHER_WINSMS__REQUESTS_PER_SECOND": "10",
    "DISPATCHER_WINSMS__SEGMENTS_PER_SECOND": "1000",
    "DISPATCHER_BSG__REQUESTS_PER_SECOND": "5",
    "DISPATCHER_BSG__SEGMENTS_PER_SECOND": "2000",
    "DISPATCHER_SAKARI__REQUESTS_PER_SECOND": "20",
    "DISPATCHER_SAKARI__SEGMENTS_PER_SECOND": "500",
    "DISPATCHER_NETSAPIENS__REQUESTS_PER_SECOND": "100",
}
_SHARE = {"netsapiens": 0.05, "sakari": 0.3}
"""How much of the list goes to a provider that takes few messages a request; all of it to the others."""


@click.command()
@click.option("--rows", type=click.IntRange(100, 40_000), default=5_000, show_default=True, help="Rows in the list.")
@click.option("--provider", "chosen", type=click.Choice(providers.names()), help="This one only; all by default.")
@click.option("--keep", is_flag=True, help="Keep the data folder, to look around in it.")
def demo(*, rows: int, chosen: str | None, keep: bool) -> None:
    """Send a sample campaign through each provider's sandbox and account for every row; nobody is texted.

    The demo starts the embedded stack in a new folder, makes untidy lists of fictional numbers, enqueues them with
    the same commands that you would use, watches all campaigns at once to their end, and checks each report
    against its list and against the sandbox's own record.
    """
    # Ended from outside, it takes its stack down too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    names = [chosen] if chosen else list(providers.names())
    with _folder(keep=keep) as folder:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DISPATCHER_")}
        environment |= {**_SETTINGS, "DISPATCHER_HOME": str(folder / "home")}
        with _stack(folder, environment) as sandbox_url:
            campaigns = {}
            for name in names:
                many = int(rows * _SHARE.get(name, 1))
                write_sample(folder / f"{name}.csv", rows=many, seed=many)
                command = ["enqueue", f"{name}.csv", "--provider", name, "--country", COUNTRY]
                planned = _json(folder, environment, *command, "--text", _TEXT)
                campaigns[name] = (planned["campaign"], many)
            _run(folder, environment, "list", "--watch")
            for name, (campaign, _) in campaigns.items():
                _run(folder, environment, "report", campaign, "-o", f"{name}-report.csv")
            wanted = {name: many for name, (_, many) in campaigns.items()}
            right = _account(folder, wanted, record=_record(sandbox_url))
        if keep:
            click.echo(f"kept: the lists and reports are in {folder}; export DISPATCHER_HOME={folder / 'home'}")
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
        yield "{0.scheme}://{0.netloc}".format(urlsplit(settings["winsms"]["base_url"]))
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
    console().print(
        ", ".join(f"{key} {value}" for key, value in found.items() if key not in {"again", "notes"}), markup=False
    )
    return found


def _show(folder: Path, command: tuple[str, ...]) -> None:
    words = [word.replace(f"{folder}/", "") for word in command]
    line = " ".join(f'"{word}"' if " " in word else word for word in words)
    console().print(f"\n$ dispatcher {line}", markup=False)


def _record(sandbox_url: str) -> dict[str, Any]:
    transport = Transport(base_url=sandbox_url, timeout=10, headers={})
    found: dict[str, Any] = transport.look_up("GET", "/sandbox/summary").json(dict[str, dict[str, Any]])
    return found


def _account(folder: Path, wanted: Mapping[str, int], *, record: Mapping[str, Any]) -> bool:
    """Print where every input row ended; return whether all of them are there, once, and nobody was texted twice."""
    fates: dict[str, Counter[str]] = {}
    for name in wanted:
        with (folder / f"{name}-report.csv").open(encoding="utf-8") as lines:
            next(lines)
            fates[name] = Counter(line.split(",", 3)[2] for line in lines)
    states = sorted(set().union(*fates.values()))
    rows: list[Sequence[object]] = [(state, *(counted[state] for counted in fates.values())) for state in states]
    rows.append(("rows in the report", *(sum(counted.values()) for counted in fates.values())))
    rows.append(("rows in the list", *wanted.values()))
    told = (("messages accepted", "accepted"), ("requests", "send_requests"), ("most in a second", "peak_requests"))
    rows += [
        (label, *(record[name][key] for name in wanted)) for label, key in (*told, ("texted twice", "duplicates"))
    ]
    click.echo("")
    console().print(table([("every row", False), *((name, True) for name in wanted)], rows), end="")
    return all(sum(fates[name].values()) == many and record[name]["duplicates"] == 0 for name, many in wanted.items())
