"""The options that say how a recipient list is to be read, and what is told of how it was."""

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from dispatcher.cli.plain import printable, say
from dispatcher.planning import Format, Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """The options, as they were given."""

    reading: Reading
    phone_column: str | None
    country_column: str | None


def how_it_is_read(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that `taken` takes."""
    for add in reversed(
        (
            click.option("--phone-column", metavar="NAME", help="The column of the numbers; found if left out."),
            click.option(
                "--country-column",
                metavar="NAME",
                help="The column of each row's country (two letters); --country where it is empty.",
            ),
            click.option(
                "--format",
                "list_format",
                type=click.Choice([form.value for form in Format]),
                help="Of FILE; by its first bytes if left out.",
            ),
            click.option("--encoding", help="Of FILE, if it is text and was taken for another, e.g. windows-1252."),
            click.option("--sheet", metavar="NAME", help="The sheet of a workbook; the first by default."),
        )
    ):
        command = add(command)
    return command


def taken(asked: MutableMapping[str, Any]) -> ListOptions:
    """Take the options of `how_it_is_read` out of those of a command."""
    form = asked.pop("list_format")
    return ListOptions(
        phone_column=asked.pop("phone_column"),
        country_column=asked.pop("country_column"),
        reading=Reading(
            format=None if form is None else Format(form), encoding=asked.pop("encoding"), sheet=asked.pop("sheet")
        ),
    )


def show_notes(notes: Sequence[str]) -> None:
    """Tell what was guessed, repaired or passed over, on standard error."""
    for note in notes:
        say(f"note: {printable(note)}", err=True, hang=6)
