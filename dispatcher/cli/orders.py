"""Puts an order together from the options that say what is to be sent, to whom and by whom."""

import base64
import csv
import io
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import click

from dispatcher.account import ENDLESS, MOST_PAGES
from dispatcher.cli.accounts import take_lookup, usable
from dispatcher.cli.chain import who_sends
from dispatcher.cli.files import media_type, read_file, read_text
from dispatcher.cli.lists import ListOptions
from dispatcher.cli.plain import printable
from dispatcher.cli.timing import Timing, brand, expires_at, rules
from dispatcher.errors import InputError, UsageError
from dispatcher.msisdn import is_country
from dispatcher.planning import Order
from dispatcher.provider import HostsMedia, ReadsContacts, ReadsTemplates
from dispatcher.runtime import Runtime

_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"  # none that is easily taken for another
_LARGEST_MEDIA = 5_000_000
_MEDIA = ("image", "video", "audio", "text/vcard", "text/x-vcard")

Source = Path | BinaryIO


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options that say what is to be sent, as they were given."""

    file: Path | None
    provider: str
    fallbacks: tuple[str, ...]
    text: str | None
    text_file: Path | None
    use: str | None
    template: str | None
    tag: str | None
    sender: str | None
    country: str | None
    channel: str | None
    media: Path | None
    as_campaign: bool
    reconcilable: bool


def what_is_sent(command: Callable[..., None]) -> Callable[..., None]:
    """Add the argument and the options that `Asked` holds."""
    for add in reversed(
        (
            click.argument("file", required=False, type=click.Path(path_type=Path, allow_dash=True)),
            who_sends,
            click.option("--text", help="The text; {column} stands for a value, {column|default} has a fallback."),
            click.option("--text-file", type=click.Path(path_type=Path), help="Read the text from a file (UTF-8)."),
            click.option("--use", metavar="NAME", help="Use a text of `dispatcher texts`."),
            click.option("--template", metavar="ID", help="Use a text that the provider keeps (Sakari)."),
            click.option("--tag", help="Instead of FILE: those whom the provider keeps under a tag (Sakari)."),
            click.option("--sender", help="The sender id (NetSapiens: the from-number)."),
            click.option("--country", metavar="ZA", help="The country of numbers that do not say theirs."),
            click.option("--channel", metavar="sms,rcs", help="The channel, and one to fall back to (BSG)."),
            click.option("--media", type=click.Path(path_type=Path), help="A picture or film to go with it (MMS)."),
            click.option("--as-campaign", is_flag=True, help="Make campaign objects that a person starts (Sakari)."),
            click.option(
                "--reconcilable", is_flag=True, help="Some minutes later, but a lost answer can be found (WinSMS)."
            ),
        )
    ):
        command = add(command)
    return command


def put_together(
    runtime: Runtime,
    asked: Asked,
    *,
    lists: ListOptions,
    name: str | None = None,
    send_at: str | None = None,
    key: str | None = None,
    timing: Timing,
    dry_run: bool,
) -> tuple[Order, Source]:
    """Return the order and where its recipients come from.

    Raises:
        UsageError: options are missing, contradict each other, or ask for what the provider cannot do.
    """
    country = asked.country or runtime.settings.country
    if country is not None and not is_country(country.upper()):
        raise UsageError(f"--country {printable(country)}: give two letters, such as ZA")
    now = runtime.clock()
    starts = None if send_at is None else moment(send_at, now=now)
    asked_rules = rules(timing, runtime.settings)
    source, called = _source(runtime, asked)
    order = Order(
        public_id=new_public_id(),
        name=name or called,
        provider=asked.provider,
        fallbacks=asked.fallbacks,
        text=_text(runtime, asked),
        phone_column=lists.phone_column,
        country=None if country is None else country.upper(),
        country_column=lists.country_column,
        reading=lists.reading,
        sender=asked.sender,
        send_at=starts,
        key=key,
        options=_options(runtime, asked, dry_run=dry_run),
        rules=asked_rules,
        expires_at=expires_at(timing, max(now, starts or now)),
        brand=brand(timing, runtime.settings),
    )
    return order, source


def new_public_id() -> str:
    """Return an id for a new campaign, fit to be read out on a telephone."""
    return "c" + "".join(secrets.choice(_ALPHABET) for _ in range(9))


def moment(text: str, *, now: datetime) -> datetime:
    """Return the moment that --at names.

    Raises:
        UsageError: it is none, has no time zone, or has passed.
    """
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            found = found.astimezone(UTC)  # what lies beyond the last year of the calendar fails here
    except (ValueError, OverflowError):
        raise UsageError(f"--at {printable(text)}: write it as 2026-12-01T09:00+02:00") from None
    if found.tzinfo is None:
        raise UsageError(f"--at {printable(text)}: add the time zone, as in {printable(text)}+02:00 or …Z")
    if found < now - timedelta(minutes=1):
        raise UsageError(f"--at {printable(text)} has passed: leave --at out to send at once")
    return found


def _source(runtime: Runtime, asked: Asked) -> tuple[Source, str]:
    """Return the recipients, and what to call them."""
    if (asked.file is None) == (asked.tag is None):
        raise UsageError("say to whom: a FILE with column names, - for standard input, or --tag")
    if asked.tag is not None:
        return _tagged(runtime, asked.provider, asked.tag), f"tag {asked.tag}"
    assert asked.file is not None
    return named_source(asked.file)


def named_source(file: Path) -> tuple[Source, str]:
    """Return what FILE means, and what to call it: - is standard input."""
    return (sys.stdin.buffer, "standard input") if str(file) == "-" else (file, file.stem)


def _tagged(runtime: Runtime, name: str, tag: str) -> BinaryIO:
    """Return those whom the provider keeps under a tag as a recipient list, so that each is accounted for."""
    if not isinstance(runtime.provider(name), ReadsContacts):
        raise UsageError(f"{name} keeps no people under tags: name a FILE")
    reader: Any = usable(runtime, name, lookup=False)
    rows: list[dict[str, str]] = []
    page: str | None = None
    for _ in range(MOST_PAGES):
        take_lookup(runtime, name)
        found = reader.contacts_with_tag(tag, page)
        rows += [dict(row) for row in found.rows]
        page = found.next_page
        if page is None:
            break
    else:
        raise InputError(f"{name}, tag {printable(tag)}: {ENDLESS}")
    if not rows:
        raise InputError(f"{name} has nobody with the tag {printable(tag)}")
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return io.BytesIO(text.getvalue().encode())


def _text(runtime: Runtime, asked: Asked) -> str:
    given = [option for option in (asked.text, asked.text_file, asked.use, asked.template) if option is not None]
    if len(given) != 1:
        raise UsageError("give the text once: as --text, --text-file, --use or --template")
    if asked.text is not None:
        return asked.text
    if asked.text_file is not None:
        return read_text(asked.text_file)
    if asked.use is not None:
        return runtime.ledger.texts.get(asked.use).template
    assert asked.template is not None
    if not isinstance(runtime.provider(asked.provider), ReadsTemplates):
        raise UsageError(f"{asked.provider} keeps no templates: give --text or --text-file")
    reader: Any = usable(runtime, asked.provider)
    return str(reader.template_text(asked.template))


def _options(runtime: Runtime, asked: Asked, *, dry_run: bool) -> dict[str, str]:
    """Return the campaign's own options; media is uploaded here where the provider hosts it."""
    can = runtime.provider(asked.provider).capabilities.options
    _refuse(asked, can)
    options: dict[str, str] = {}
    if asked.channel:
        options["channels"] = asked.channel.replace(" ", "")
    if asked.as_campaign:
        options["as_campaign"] = "1"
    by_default = getattr(runtime.settings.section(asked.provider), "reconcilable", False)
    if asked.reconcilable or by_default:
        options["reconcilable"] = "1"
    if asked.media is not None:
        content, kind = read_file(asked.media), media_type(asked.media)
        if kind.partition("/")[0] not in _MEDIA and kind not in _MEDIA:
            raise InputError(f"{asked.media} is {kind} by its name: MMS carries a picture, a film, a sound or a card")
        if not 0 < len(content) <= _LARGEST_MEDIA:
            raise InputError(f"{asked.media} has {len(content):,} bytes: MMS carries 1 to {_LARGEST_MEDIA:,}")
        if "media_data" in can:
            options["media_data"] = base64.b64encode(content).decode()
            options |= {"media_type": kind, "media_size": str(len(content))}
        elif dry_run:
            options["media_url"] = "https://example.invalid/not-uploaded"
        else:
            hosting = usable(runtime, asked.provider)
            assert isinstance(hosting, HostsMedia)
            options["media_url"] = hosting.share(asked.media.name, kind, content)
    return options


def _refuse(asked: Asked, can: frozenset[str]) -> None:
    wanted: Sequence[tuple[str, bool, set[str]]] = (
        ("--channel", bool(asked.channel), {"channels"}),
        ("--reconcilable", asked.reconcilable, {"reconcilable"}),
        ("--as-campaign", asked.as_campaign, {"as_campaign"}),
        ("--media", asked.media is not None, {"media_url", "media_data"}),
    )
    for option, given, needs in wanted:
        if given and not needs & can:
            raise UsageError(f"{asked.provider} has nothing for {option}: leave it out, or choose another provider")
