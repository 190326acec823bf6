"""People at Sakari as rows for planning, and rows for Sakari's file upload.

Marks in this file: K the vendor's document says so, I inferred, U unknown.
"""

import csv
import io
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from dispatcher.provider import OutgoingBatch
from dispatcher.providers.sakari.message import Contact, Pagination, Tag, number_of, word
from dispatcher.providers.sakari.wire import country_of


class ContactsAnswer(Struct):
    """A page of contacts."""

    data: list[Contact | None] | None = None
    pagination: Pagination | None = None


class UploadData(Struct):
    """What became of an upload."""

    submitted: int | None = None  # K
    inserted: int | None = None  # K
    updated: int | None = None  # K
    errors: list[Any] | int | None = None  # K: contacts that failed validation
    contacts: list[Contact | None] | None = None  # K


class UploadAnswer(Struct):
    """The answer of an upload."""

    data: UploadData | list[Any] | None = None


def tag_of(reference: str) -> str:
    """Return the tag that the people of a batch are put under: the same every time."""
    return f"dispatcher-{reference}"


def upload(batch: OutgoingBatch, tag: str, attribute: str, texts: Sequence[str] | None) -> bytes:
    """Return the people of a batch as a file for Sakari, under a tag, each with its text as an attribute if it has one.

    K: the columns country and mobile, and that the rest is the contact's; I: that a column `tags` is its tags (as in
    the vendor's own upload page, a bar between them), and that a column of another name is an attribute.
    """
    file = io.StringIO(newline="")
    rows = csv.writer(file, lineterminator="\r\n")
    rows.writerow(["country", "mobile", "tags", *([] if texts is None else [attribute])])
    for at, number in enumerate(batch.numbers):
        rows.writerow([country_of(number) or "", f"+{number}", tag, *([] if texts is None else [texts[at]])])
    return file.getvalue().encode()


def tags_of(contact: Contact) -> list[str]:
    """Return the tags of a contact."""
    return [word(tag.tag) if isinstance(tag, Tag) else tag for tag in contact.tags or () if tag is not None]


def row(contact: Contact) -> dict[str, str]:
    """Return a contact as a row: its attributes by their names, then phone, first_name, last_name and email.

    A number that cannot be read is left as it is, for planning to say so.
    """
    found = {
        name: _plain(value)
        for name, value in (contact.attributes or {}).items()
        if isinstance(value, str | int | float | bool)
    }
    number = number_of(contact)
    mobile = contact.mobile
    written = mobile if isinstance(mobile, str) else word(mobile.number) if mobile is not None else ""
    return {
        **found,
        "phone": written if number is None else f"+{number}",
        "first_name": word(contact.first_name),
        "last_name": word(contact.last_name),
        "email": word(contact.email),
    }


def _plain(value: str | float) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if float(value).is_integer() else str(value)
