"""Prints plain lines, and makes text from outside harmless to a terminal."""

import shutil
import sys
import textwrap

import click

from dispatcher.errors import DispatcherError

_NARROWEST = 40


def printable(text: object) -> str:
    """Return text without anything that a terminal would act on."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "�" for sign in str(text))


def say(text: str, *, err: bool = False, hang: int = 0) -> None:
    """Print one line; on a terminal that is narrower it goes on below, word by word, `hang` columns in."""
    stream = sys.stderr if err else sys.stdout
    if stream.isatty():
        width = max(_NARROWEST, shutil.get_terminal_size().columns)
        text = "\n".join(
            textwrap.wrap(text, width, subsequent_indent=" " * hang, break_long_words=False, break_on_hyphens=False)
        )
    click.echo(text, err=err)


def make_sure(question: str, otherwise: str, *, err: bool = False) -> None:
    """Ask whether to do what cannot be undone.

    Raises:
        DispatcherError: it is not to be; it says `otherwise`.
    """
    if not click.confirm(question, err=err):
        raise DispatcherError(otherwise)
