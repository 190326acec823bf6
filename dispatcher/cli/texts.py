"""Texts: how they are worded, which one each recipient gets, and those that are kept under a name."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from dispatcher import reporting
from dispatcher.cli.files import read_text
from dispatcher.cli.opening import opened
from dispatcher.cli.output import console, json_option, print_json, table
from dispatcher.cli.plain import printable
from dispatcher.errors import InputError, UsageError
from dispatcher.planning import Missing, Order, fold_value, worded
from dispatcher.runtime import Runtime
from dispatcher.segments import measure, what_needs_ucs2
from dispatcher.template import TemplateError, compile_template

_FILE, _SAVED = "@", "saved:"
_LONGEST_NAME = 64
_BEGINNING = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """The options, as they were given."""

    missing: str
    text_by: str | None
    text_for: tuple[str, ...]
    gsm7: bool

    @classmethod
    def taken(cls, asked: dict[str, Any]) -> "Wording":
        """Take them out of what was given to the command."""
        return cls(**{name: asked.pop(name) for name in cls.__slots__})


def how_it_is_worded(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that `Wording` holds."""
    for add in reversed(
        (
            click.option(
                "--missing",
                type=click.Choice([policy.value for policy in Missing]),
                default=Missing.REFUSE.value,
                show_default=True,
                help="A row without a value that the text needs: refuse the list, skip the row, or leave it empty.",
            ),
            click.option("--text-by", metavar="COLUMN", help="This column says which --text-for a row gets."),
            click.option(
                "--text-for",
                multiple=True,
                metavar="VALUE=TEXT",
                help="The text of rows with VALUE there; or VALUE=@FILE, VALUE=saved:NAME. --text is for all others.",
            ),
            click.option(
                "--gsm7",
                is_flag=True,
                help="Put look-alikes for characters that make texts longer: curly quotes, dashes, most accents.",
            ),
        )
    ):
        command = add(command)
    return command


def with_wording(runtime: Runtime, order: Order, wording: Wording) -> Order:
    """Return the order with its texts worded so, and those for some of the recipients.

    Raises:
        UsageError: a text cannot be read, or it is not said by which column it is chosen.
    """
    if (wording.text_by is None) != (not wording.text_for):
        raise UsageError("--text-by COLUMN and --text-for VALUE=TEXT go together: give both, or neither")
    rules: dict[str, Any] = {"gsm7": True} if wording.gsm7 else {}
    if wording.missing != Missing.REFUSE:
        rules["missing"] = wording.missing
    if wording.text_by is not None:
        rules["text_by"] = wording.text_by
    variants: dict[str, str] = {}
    for given in wording.text_for:
        value, equals, text = given.partition("=")
        value = value.strip()
        if not equals or not value:
            raise UsageError(f"--text-for {printable(given[:_BEGINNING])}: write it as VALUE=TEXT, such as de=Hallo")
        if fold_value(value) in map(fold_value, variants):
            raise UsageError(f"--text-for {printable(value)}: there are two texts for it: leave one out")
        variants[value] = _text(runtime, text)
    return worded(replace(order, variants=variants, rules={**order.rules, **rules}))


def _text(runtime: Runtime, given: str) -> str:
    """Return the text that is meant: itself, @FILE or saved:NAME; @@ stands for an @ at its beginning."""
    if given.startswith(_SAVED):
        return runtime.ledger.texts.get(given.removeprefix(_SAVED)).template
    if given.startswith(_FILE * 2):
        return given[1:]
    return read_text(Path(given[1:])) if given.startswith(_FILE) else given


# --- Kept under a name --------------------------------------------------------------------------------------


@click.group()
def texts() -> None:
    """Texts kept under a name, for `enqueue --use NAME` and `--text-for VALUE=saved:NAME`."""


@texts.command()
@click.argument("name")
@click.option("--text", help="The text; {column} stands for a value, {column|default} has a fallback.")
@click.option("--text-file", type=click.Path(path_type=Path), help="Read the text from a file (UTF-8).")
@click.option("--replace", is_flag=True, help="In the place of the text that has this name.")
@json_option
def add(name: str, *, text: str | None, text_file: Path | None, replace: bool, as_json: bool) -> None:
    """Keep a text under NAME. What was enqueued with an earlier text of that name goes on saying that."""
    if (text is None) == (text_file is None):
        raise UsageError("give the text once: as --text or --text-file")
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise UsageError(f"{printable(name[:_LONGEST_NAME])}: a name is of 1 to {_LONGEST_NAME} printable characters")
    found = read_text(text_file) if text is None and text_file is not None else text or ""
    try:
        compile_template(found)
    except TemplateError as error:
        raise InputError(f"the text, {error}") from None
    with opened() as runtime:
        if not runtime.ledger.texts.save(name, found, replace=replace, now=runtime.clock()):
            raise UsageError(f"there is a text {name} already: give it another name, or --replace it")
    if as_json:
        print_json({"saved": name})
    else:
        click.echo(f"saved {name}")


@texts.command(name="list")
@json_option
def list_texts(*, as_json: bool) -> None:
    """List the texts; with --json, one whole entry a line."""
    with opened() as runtime:
        found = runtime.ledger.texts.all()
    if as_json:
        for one in found:
            print_json({"name": one.name, "text": one.template, "saved_at": reporting.moment(one.saved_at)})
        return
    rows = [
        (one.name, f"{one.saved_at:%Y-%m-%d}", one.template[:_BEGINNING] + "…" * (len(one.template) > _BEGINNING))
        for one in found
    ]
    console().print(table([("name", False), ("saved", False), ("begins", False)], rows), end="")


@texts.command()
@click.argument("name")
@json_option
def show(name: str, *, as_json: bool) -> None:
    """Show the text NAME, the columns that it needs, and what its own words come to."""
    with opened() as runtime:
        found = runtime.ledger.texts.get(name)
    template = compile_template(found.template)
    words = "".join(part for part in template.parts if isinstance(part, str))
    own = measure(words)
    if as_json:
        print_json(
            {
                "name": found.name,
                "text": found.template,
                "saved_at": reporting.moment(found.saved_at),
                "fields": list(template.fields),
                "required": list(template.required),
                "encoding": own.encoding.value,
                "segments": own.segments,
            }
        )
        return
    click.echo(printable(found.template))
    fields = ", ".join(name if name in template.required else f"{name} (has a default)" for name in template.fields)
    click.echo(f"columns: {printable(fields) or 'none'}")
    because = f", because of {printable(what_needs_ucs2(words))}" if what_needs_ucs2(words) else ""
    noun = "segment" if own.segments == 1 else "segments"
    click.echo(f"without them: {own.segments} {noun}, {own.encoding.value.upper()}{because}")


@texts.command()
@click.argument("name")
@json_option
def remove(name: str, *, as_json: bool) -> None:
    """Forget the text NAME; campaigns that use it keep theirs."""
    with opened() as runtime:
        if not runtime.ledger.texts.remove(name):
            raise UsageError(f"there is no saved text {name}: `dispatcher texts list` tells which there are")
    if as_json:
        print_json({"removed": name})
    else:
        click.echo(f"removed {printable(name)}")
