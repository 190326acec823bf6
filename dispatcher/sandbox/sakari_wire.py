"""The shapes and words of Sakari: what its requests look like, its tokens, its templates, and how it refuses.

Marks, as in the stand-in: K the vendor's document says so, I inferred, U unknown (the stricter choice was made).
"""

import base64
import binascii
import csv
import hashlib
import hmac
import html
import io
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import phonenumbers
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.alias_generators import to_camel

MOST_ROWS = 100  # K: of a page
MOST_CHARACTERS = 1600  # U: of a text

ERRORS: Mapping[int, tuple[str, str]] = {  # U: the codes but for the last two; K: the shape
    400: ("REQ-001", "Invalid request"),
    401: ("AUTH-001", "Invalid or expired token"),
    402: ("ACCT-006", "Insufficient credit"),
    403: ("AUTH-002", "Access denied"),
    404: ("REQ-004", "Not found"),
    405: ("REQ-005", "Method not allowed"),
    413: ("REQ-006", "Request too large"),
    415: ("REQ-007", "Unsupported content type"),
    429: ("REQ-008", "Too many requests"),
    500: ("SYS-001", "An unexpected error has occurred"),
}


class Refused(Exception):
    """A whole request is refused, with a status, a code and the words for it."""

    def __init__(self, status: int, words: str | None = None, code: str | None = None) -> None:
        known = ERRORS.get(status, ("REQ-000", "The request was refused"))
        self.status, self.code, self.words = status, code or known[0], words or known[1]
        super().__init__(self.words)


# --- Bodies. K: "the server will ignore any extra query parameters and request body properties" -----------------------


class _Wire(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, alias_generator=to_camel)


class Credentials(BaseModel):
    """What a token is asked for with (K)."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    grant_type: Literal["client_credentials"]
    client_id: str = Field(min_length=1)
    client_secret: str = Field(min_length=1)


class Mobile(_Wire):
    """A number, judged apart (CONT-001)."""

    number: str = ""
    country: str = ""


class Tag(_Wire):
    """A tag of a contact."""

    tag: str = Field(min_length=1)
    visible: bool = True


class ContactBody(_Wire):
    """A contact as it is created, changed or sent to."""

    id: str | None = None
    mobile: Mobile | None = None
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    attributes: dict[str, Any] | None = None
    tags: list[Tag] | None = None


class AttributeFilter(_Wire):
    """A condition on an attribute; K: the comparators."""

    name: str = ""
    value: str = ""
    comparator: Literal["=", "<", "<=", ">", ">=", "!="] = "="


class SendFilters(_Wire):
    """Whom of the account's contacts to send to."""

    tags: list[str] = []
    attributes: list[AttributeFilter] = []


class Media(_Wire):
    """Something to send along."""

    url: str = Field(pattern="^https?://")


class Group(_Wire):
    """A group of the account's numbers."""

    id: str = Field(min_length=1)


class NumberFilter(_Wire):
    """From which numbers to send."""

    group: Group


class Send(_Wire):
    """`POST messages`."""

    contacts: list[ContactBody] = []
    conversations: list[str] = []
    filters: SendFilters | None = None
    template: str = ""
    type: Literal["SMS", "MMS"] = "SMS"
    media: list[Media] = []
    phone_number_filter: NumberFilter | None = None
    conversation_strategy: str | None = None


class Trigger(_Wire):
    """What starts a campaign: a person, a time, an upload."""

    code: Literal["M", "S", "FU"]


class CampaignFilters(_Wire):
    """Whom a campaign is for."""

    contacts: list[str] = []
    tags: list[str] = []
    attributes: list[str] = []


class CampaignBody(_Wire):
    """`POST campaigns`."""

    name: str = ""
    trigger: Trigger
    filters: CampaignFilters = CampaignFilters()
    template: str = Field(min_length=1)


class TemplateBody(_Wire):
    """`POST templates`."""

    name: str = Field(min_length=1)
    type: Literal["SMS", "Web"] = "SMS"
    template: str = Field(min_length=1)


EventType = Literal[
    "contact-created",
    "contact-updated",
    "contact-removed",
    "message-received",
    "message-sent",
    "message-status",
    "conversation-started",
    "contact-opt-out",
    "contact-opt-in",
    "list-opt-out",
    "list-opt-in",
]


class WebhookBody(_Wire):
    """`POST webhooks` (K: the event types)."""

    url: str  # K: a URI
    event_types: list[EventType] = []

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("no URL")
        return value


_Model = TypeVar("_Model", bound=BaseModel)


def parse(model: type[_Model], body: bytes) -> _Model:
    """Return the body as a model; refuse with 400, naming the field, never what is in it."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        words = "Invalid JSON" if first["type"] == "json_invalid" else f"Invalid {where or 'body'}"
    raise Refused(400, words)


def page(query: Mapping[str, str]) -> tuple[int, int]:
    """Return offset (from 0) and limit (1..100; U: 10 where absent)."""
    offset, limit = query.get("offset", "0"), query.get("limit", "10")
    if not offset.isdecimal():
        raise Refused(400, "Invalid offset")
    if not limit.isdecimal() or not 1 <= int(limit) <= MOST_ROWS:
        raise Refused(400, "Invalid limit")
    return int(offset), int(limit)


def uploaded(body: bytes) -> list[ContactBody]:
    """Return the contacts of a CSV upload: K the columns of the vendor's example; I tags with bars, attributes."""
    try:
        rows = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error):
        raise Refused(400, "Invalid CSV") from None
    names = [name.strip() for name in rows[0]] if rows else []
    if "mobile" not in names or "country" not in names:
        raise Refused(400, "The columns mobile and country are required")
    found = []
    for row in filter(None, rows[1:]):
        if len(row) != len(names):
            raise Refused(400, "Invalid CSV: a row has another number of columns")
        values = dict(zip(names, row, strict=True))
        number, country = values.pop("mobile"), values.pop("country")
        tags = [Tag(tag=tag.strip()) for tag in values.pop("tags", "").split("|") if tag.strip()]
        core = {name: values.pop(name) or None for name in ("firstName", "lastName", "email") if name in values}
        found.append(
            ContactBody.model_validate(
                {**core, "mobile": Mobile(number=number, country=country), "tags": tags, "attributes": values}
            )
        )
    return found


def number_of(mobile: Mobile | None) -> str | None:
    """Return a mobile number in E.164 without the plus, None if it is none.

    An international one is taken as it is; a national one (K: "123-456-7890" is the vendor's example) needs its country.
    """
    if mobile is None:
        return None
    if mobile.country and not re.fullmatch("[A-Za-z]{2}", mobile.country):
        return None
    text = mobile.number.strip()
    digits = re.sub(r"[\s().-]", "", text)
    if digits.startswith("+"):
        return digits[1:] if re.fullmatch(r"\+[1-9][0-9]{7,14}", digits) else None
    try:
        parsed = phonenumbers.parse(text, mobile.country.upper() or "US")  # I: where it has no country
    except phonenumbers.NumberParseException:
        return None
    found = f"{parsed.country_code}{phonenumbers.national_significant_number(parsed)}"
    return found if re.fullmatch("[1-9][0-9]{7,14}", found) else None


# --- Templates: mustache, in which three braces leave a value as it is and two escape it for HTML (I) -----------------

_TAG = re.compile(r"\{\{\{(.*?)\}\}\}|\{\{(.*?)\}\}", re.DOTALL)
_PATH = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*")


@lru_cache(maxsize=1024)
def compiled(template: str) -> Callable[[Mapping[str, Any]], str]:
    """Return what renders a template for a contact; refuse one that is malformed, or has more than fields in it (U)."""
    parts: list[str | tuple[str, bool]] = []
    end = 0
    for tag in _TAG.finditer(template):
        parts.append(template[end : tag.start()])
        raw = tag[1] is not None
        inside = (tag[1] if raw else tag[2]).strip()
        if not raw and inside.startswith("&"):
            raw, inside = True, inside[1:].strip()
        if not _PATH.fullmatch(inside):
            raise Refused(400, "Invalid template")
        parts.append((inside, raw))
        end = tag.end()
    parts.append(template[end:])
    if any(isinstance(part, str) and "{{" in part for part in parts):
        raise Refused(400, "Invalid template")

    def render(contact: Mapping[str, Any]) -> str:
        context = {**contact, "contact": contact}
        return "".join(part if isinstance(part, str) else _value(context, *part) for part in parts)

    return render


def _value(context: Mapping[str, Any], path: str, raw: bool) -> str:
    found: Any = context
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    text = "" if found is None or isinstance(found, Mapping | list) else str(found)
    return text if raw else html.escape(text)


# --- Tokens: JWTs (K), signed with a key of the stand-in's own --------------------------------------------------------

_KEY = b"the stand-in of Sakari"


def new_token(client_id: str, now: float, seconds: float) -> str:
    """Return an access token that ends after so many seconds."""
    head = _encoded({"alg": "HS256", "typ": "JWT"})
    claims = _encoded({"sub": client_id, "iat": now, "exp": now + seconds, "scope": "messages:send"})
    return f"{head}.{claims}.{_signature(f'{head}.{claims}')}"


def is_good(token: str, now: float) -> bool:
    """Whether a token is one of ours and has not ended."""
    signed, _, signature = token.rpartition(".")
    if not hmac.compare_digest(signature.encode(), _signature(signed).encode()):
        return False
    try:
        claims = json.loads(base64.urlsafe_b64decode(signed.partition(".")[2] + "=="))
    except (binascii.Error, ValueError):
        return False
    return bool(now < claims["exp"])


def _encoded(content: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def _signature(signed: str) -> str:
    return base64.urlsafe_b64encode(hmac.new(_KEY, signed.encode(), hashlib.sha256).digest()).decode().rstrip("=")


def stamp(at: float) -> str:
    """Return epoch seconds as the vendor writes times (K: date-time)."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
