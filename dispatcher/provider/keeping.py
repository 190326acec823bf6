"""What a provider keeps or hears for us, as abilities: incoming messages, opt-outs, people, templates, media and its other calls."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingMessage:
    """A message that someone sent to us."""

    number: int
    text: str
    at: datetime | None = None
    provider_message_id: str | None = None
    answers_to: str | None = None  # the provider's id of our message, or of the conversation


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingPage:
    """One page of incoming messages."""

    messages: Sequence[IncomingMessage]
    next_page: str | None = None


@runtime_checkable
class ReceivesMessages(Protocol):
    """Ability: lists the messages that came in."""

    def incoming(self, page: str | None = None, /) -> IncomingPage:
        """Ask for one page, in the provider's order."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OptOut:
    """A number that must not be sent to, as the provider knows it."""

    number: int
    reason: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OptOutPage:
    """One page of opt-outs."""

    opt_outs: Sequence[OptOut]
    next_page: str | None = None


@runtime_checkable
class KnowsOptOuts(Protocol):
    """Ability: lists who has opted out."""

    def opt_outs(self, page: str | None = None, /) -> OptOutPage:
        """Ask for one page."""
        ...


@runtime_checkable
class HostsMedia(Protocol):
    """Ability: hosts a file for MMS and returns where."""

    def share(self, name: str, media_type: str, data: bytes, /) -> str:
        """Upload a file and return its URL."""
        ...


@runtime_checkable
class ReadsTemplates(Protocol):
    """Ability: keeps texts that a campaign can be built from."""

    def template_text(self, template_id: str, /) -> str:
        """Return a template's text with its fields as our {field} placeholders."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactPage:
    """One page of people kept at the provider, as rows for planning: `phone` and whatever else is known."""

    rows: Sequence[Mapping[str, str]]
    next_page: str | None = None


@runtime_checkable
class ReadsContacts(Protocol):
    """Ability: keeps people under tags that a campaign can be sent to."""

    def contacts_with_tag(self, tag: str, page: str | None = None, /) -> ContactPage:
        """Ask for one page of those with a tag."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcePage:
    """One page of a listed resource, each item as the provider gives it."""

    items: Sequence[Mapping[str, Any]]
    next_page: str | None = None


Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Something that a provider keeps, with the documented calls on it; a call that is None does not exist.

    Each call makes one request. `filters` are the words that `find` understands, `key` says what names one item.
    """

    name: str  # on the command line: contacts
    key: str  # "the contact's id"
    filters: Sequence[str] = ()
    find: Callable[[Mapping[str, str], str | None], ResourcePage] | None = None
    show: Callable[[str], Item] | None = None
    create: Callable[[Item], Item] | None = None
    update: Callable[[str, Item], Item] | None = None
    delete: Callable[[str], Item] | None = None
    actions: Mapping[str, Callable[[str], Item]] = field(default_factory=dict)  # close, stop: on one item, by its key
    # upload: (file name, content, options) → what came of it
    uploads: Mapping[str, Callable[[str, bytes, Mapping[str, str]], Item]] = field(default_factory=dict)


@runtime_checkable
class HasResources(Protocol):
    """Ability: offers the documented calls on what it keeps."""

    def resources(self) -> Sequence[Resource]:
        """Return them all; nothing is called yet."""
        ...
