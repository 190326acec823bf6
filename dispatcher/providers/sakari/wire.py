"""What goes over the wire to Sakari with a submission: requests as the vendor specifies them, answers read leniently.

Marks in this file: K the vendor's document says so, I inferred, U unknown.

A `template` is a mustache text (K): fields of the contact stand in it as {{{firstName}}} or {{ firstName }} (K: both
are in the vendor's examples, and {{{contact.firstName}}} too); I: two braces escape for HTML, as everywhere in
mustache, three do not. A rendered text must never be read as a template again, so:
- one text for all without "{{" is the template itself: nothing in it is mustache, and it arrives as it is;
- any other text is the value of one attribute of its contact, and the template is nothing but that attribute in three
  braces. Mustache does not render a value again (I). By which name a template reaches an attribute is U: hence the
  setting `text_field`, and the comparison of what Sakari says it will send with what it was given.
"""

import re
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import msgspec
import phonenumbers
from msgspec import UNSET, Struct, UnsetType

from dispatcher.errors import AuthenticationFailed, InsufficientCredit, InvalidRequest
from dispatcher.provider import Answers, OutgoingBatch, Refusal
from dispatcher.providers.sakari.message import Contact, Error, Loose, Message, decimal, digest, number_of, word

NO_CREDIT = "ACCT-006"  # K
OPTED_OUT = "CONT-010"  # K

# --- What is sent: exactly as the vendor specifies -------------------------------------------------------------------


class _Mobile(Struct):
    number: str  # K: "in an international format"
    country: str | UnsetType = UNSET  # two letters; K: in the vendor's examples; I: optional, its quickstart lacks it


class _Recipient(Struct, rename="camel"):
    mobile: _Mobile
    first_name: str | UnsetType = UNSET
    last_name: str | UnsetType = UNSET
    attributes: dict[str, str] | UnsetType = UNSET


class _Media(Struct):
    url: str


class _Group(Struct):
    id: str


class _NumberFilter(Struct):
    group: _Group


class _Send(Struct, rename="camel"):
    contacts: list[_Recipient]
    template: str
    type: str  # K: SMS or MMS
    media: list[_Media] | UnsetType = UNSET
    phone_number_filter: _NumberFilter | UnsetType = UNSET
    conversation_strategy: str | UnsetType = UNSET  # K: a word; U: which


class _Trigger(Struct):
    code: str  # K: M is started by hand


class _Filters(Struct):
    tags: list[str]


class _Campaign(Struct):
    name: str  # K: in the vendor's example only
    trigger: _Trigger
    filters: _Filters
    template: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Where in a contact a text is carried, and how a template names that place."""

    path: str  # attributes.dispatcherText

    @property
    def name(self) -> str:
        """The field itself: dispatcherText."""
        return self.path.rpartition(".")[2]

    @property
    def tag(self) -> str:
        """The field in a template, unescaped."""
        return f"{{{{{{{self.path}}}}}}}"

    @property
    def core(self) -> bool:
        """Whether it is the contact's first or last name rather than an attribute."""
        return self.path.removeprefix("contact.") in ("firstName", "lastName")

    def own(self, reference: str) -> "Field":
        """Return a field that only the batch of this reference uses."""
        return Field(path=f"{'attributes.dispatcherText' if self.core else self.path}_{reference[:12]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The body that sends a batch, its template, and the texts that its contacts carry, if they do."""

    body: bytes
    template: str
    texts: Sequence[str] | None


def template_of(batch: OutgoingBatch, field: Field) -> tuple[str, Sequence[str] | None]:
    """Return the template of a batch, and the texts that its contacts carry, None where the template is the text.

    Raises:
        InvalidRequest: there is no text, or one is not Unicode.
    """
    texts = batch.texts
    if texts is None and "{{" in (batch.text or ""):
        texts = [batch.text or ""] * len(batch)
    if not all(texts if texts is not None else [batch.text]):
        raise InvalidRequest("sakari: not sent: there is no text")
    try:
        for text in texts if texts is not None else [batch.text or ""]:
            text.encode()
    except UnicodeEncodeError:
        pass
    else:
        return (batch.text or "", None) if texts is None else (field.tag, texts)
    raise InvalidRequest("sakari: not sent: a text is not Unicode")


def encoded(
    batch: OutgoingBatch,
    field: Field,
    *,
    most: int,
    number_group: str | None = None,
    conversation_strategy: str | None = None,
) -> Request:
    """Return the request that sends a batch.

    Raises:
        InvalidRequest: it exceeds a limit, or cannot be written down.
    """
    if not 1 <= len(batch) <= most:
        raise InvalidRequest(f"sakari: not sent: a batch of {len(batch)} messages, not of 1 to {most}")
    if batch.scheduled_for is not None or batch.sender is not None:
        raise InvalidRequest("sakari: not sent: it takes neither a send time nor a sender")
    template, texts = template_of(batch, field)
    media = batch.options.get("media_url")
    contacts = [_Recipient(_Mobile(f"+{number}", country_of(number) or UNSET)) for number in batch.numbers]
    if texts is not None:
        for contact, text in zip(contacts, texts, strict=True):
            if not field.core:
                contact.attributes = {field.name: text}
            elif field.name == "firstName":
                contact.first_name = text
            else:
                contact.last_name = text
    content = _Send(
        contacts=contacts,
        template=template,
        type="MMS" if media else "SMS",
        media=[_Media(media)] if media else UNSET,
        phone_number_filter=_NumberFilter(_Group(number_group)) if number_group else UNSET,
        conversation_strategy=conversation_strategy or UNSET,
    )
    return Request(body=msgspec.json.encode(content), template=template, texts=texts)


def campaign(name: str, tag: str, template: str) -> bytes:
    """Return the body of the request that creates a campaign over a tag, to be started by hand."""
    return msgspec.json.encode(_Campaign(name, _Trigger("M"), _Filters([tag]), template))


def country_of(number: int) -> str | None:
    """Return the country (two letters) of a number in E.164 without the plus, None for one of none."""
    try:
        parsed = phonenumbers.parse(f"+{number}")
    except phonenumbers.NumberParseException:
        return None
    country = phonenumbers.region_code_for_number(parsed)
    country = country or phonenumbers.region_code_for_country_code(parsed.country_code or 0)
    return country if country is not None and country.isalpha() and country != "ZZ" else None


# --- How a batch is named afterwards ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Sakari's id of what a batch became, and what its messages can be told by: when, and from which template."""

    kind: str  # job, campaign
    id: str
    since: int  # epoch seconds
    template: str  # its digest

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}:{self.since}:{self.template}"

    @classmethod
    def parse(cls, text: str | None) -> "Reference | None":
        """Return what `str` has written, None for anything else."""
        found = re.fullmatch(r"(job|campaign):(.+):([0-9]{1,12}):([0-9a-f]{16})", text or "")
        if found is None:
            return None
        return cls(kind=found[1], id=found[2], since=int(found[3]), template=found[4])


def reference(kind: str, provider_id: str, *, since: int, template: str) -> str:
    """Return the name of a batch."""
    return str(Reference(kind=kind, id=provider_id, since=since, template=digest(template)))


# --- What is answered ------------------------------------------------------------------------------------------------


class SendData(Struct, rename="camel"):
    """What became of a submission."""

    job_id: Loose = None
    messages: list[Message | None] | None = None
    requested: int | None = None
    valid: int | None = None
    queued: int | None = None  # K: in place of `valid`, in an older copy of the vendor's document
    invalid: list[Contact | None] | None = None


class SendAnswer(Struct):
    """The answer of `POST messages`."""

    data: SendData | None = None


class CampaignData(Struct):
    """A campaign."""

    id: Loose = None


class CampaignAnswer(Struct):
    """The answer of `POST campaigns`."""

    data: CampaignData | None = None


def answers(batch: OutgoingBatch, data: SendData, *, name: str, echo: Sequence[str] | None) -> Answers:
    """Return one answer per message of the batch, in its order, `name` being that of the batch.

    I: the list of messages may be incomplete for a large job. Who is in neither list is accepted, without an id, if
    the counts of the answer leave room for nothing else; otherwise nobody knows. `echo` are the texts that Sakari was
    to render: where it says that it sends another one, the campaign is paused.

    Raises:
        InsufficientCredit: every recipient was refused for want of credit.
        AuthenticationFailed: every recipient was refused for another reason of the account's.
    """
    open_positions: defaultdict[int, deque[int]] = defaultdict(deque)
    for at, number in enumerate(batch.numbers):
        open_positions[number].append(at)
    ids: list[str | None] = [None] * len(batch)
    costs: list[Decimal | None] = [None] * len(batch)
    refused: dict[int, Refusal] = {}
    accepted: set[int] = set()
    strangers = 0
    altered = False
    # First those with a message: if one number is in both lists, what may have gone out counts.
    for message in filter(None, data.messages or ()):
        position = _take(open_positions, message.contact)
        if position is None:
            continue
        if message.refused:
            refused[position] = _refusal(message.error)
            continue
        accepted.add(position)
        ids[position] = word(message.id) or None
        costs[position] = decimal(message.price)
        altered = altered or (echo is not None and _altered(echo[position], message))
    for contact in filter(None, data.invalid or ()):
        position = _take(open_positions, contact)
        if position is None:
            strangers += 1
        else:
            refused[position] = _refusal(contact.error)
    absent = set(range(len(batch))).difference(accepted, refused)
    valid = data.queued if data.valid is None else data.valid
    told = valid == len(batch) - len(data.invalid or ()) and data.requested in (None, len(batch))
    missing = absent if strangers or not told else set()
    account = [refusal.reason for refusal in refused.values() if refusal.reason.startswith("ACCT-")]
    if len(account) == len(batch):
        kind = InsufficientCredit if set(account) == {NO_CREDIT} else AuthenticationFailed
        raise kind(f"sakari: every recipient was refused: {account[0]}")
    pause = f"recipients were refused for the account's sake: {account[0]}" if account else None
    if altered:
        pause = pause or (
            "Sakari says that it sends other texts than it was given: see that DISPATCHER_SAKARI__TEXT_FIELD names "
            "the attribute as Sakari's templates do"
        )
    return Answers(
        provider_message_ids=ids,
        costs=costs,
        refused=refused,
        missing=frozenset(missing),
        provider_reference=name,
        pause=pause,
    )


def _take(open_positions: defaultdict[int, deque[int]], contact: Contact | None) -> int | None:
    number = number_of(contact)
    positions = open_positions.get(number) if number is not None else None
    return positions.popleft() if positions else None


def _refusal(error: Error | str | None) -> Refusal:
    code = word(error.code if isinstance(error, Error) else error)
    return Refusal(reason=code or "no reason given", opted_out=code.upper() == OPTED_OUT)


def _altered(text: str, message: Message) -> bool:
    """Whether a message is told to read otherwise; added words are Sakari's own, such as how to opt out."""
    said = message.message
    if said is None or "{{" in said:  # not rendered yet
        return False
    return " ".join(text.split()) not in " ".join(said.split())
