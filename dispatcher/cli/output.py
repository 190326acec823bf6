"""How the command prints: JSON for programs, tables and progress for people, nothing raw from outside."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

from dispatcher import reporting
from dispatcher.cli.plain import printable

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs; its keys are stable.")


def print_json(data: Any) -> None:
    """Print one JSON document."""
    click.echo(reporting.as_json(data))


def many(count: int, thing: str) -> str:
    """Return a number of things in words: 1 message, 2,000 messages."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def console(*, err: bool = False) -> Console:
    """Return a console: as wide as the terminal, 80 columns elsewhere; colours only on a terminal."""
    stream = sys.stderr if err else sys.stdout
    return Console(file=stream, highlight=False, width=None if stream.isatty() else 80)


def table(columns: Sequence[tuple[str, bool]], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table of (heading, is a number) columns."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading, numeric in columns:
        made.add_column(heading, justify="right" if numeric else "left", overflow="fold", no_wrap=numeric)
    for row in rows:
        made.add_row(*[Text(_cell(value)) for value in row])
    return made


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return printable(value)


def local(moment: str | None) -> str | None:
    """Return a moment that `reporting` gave, in local time, to the minute."""
    if moment is None:
        return None
    return datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def progress(*columns: ProgressColumn, on: Console) -> Progress:
    """Return a progress bar that leaves its last state on the screen."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(bar_width=None), *columns, console=on, refresh_per_second=5
    )


def duration(seconds: float) -> str:
    """Return a duration in words short enough for a progress line."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    minutes = whole % 3600 // 60
    return f"{whole // 3600} h" + (f" {minutes} min" if minutes else "")
