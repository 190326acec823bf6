"""The shapes and words of BSG: what its requests look like, and how it refuses one that does not.

Marks, as in the stand-in: K the vendor's document says so, I inferred, U unknown (the stricter choice was made).
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dispatcher.sandbox.counting import segments

MOST_RECIPIENTS = 10_000  # K
SCHEDULE_SECONDS = 30 * 86_400  # K: start_at is within 30 days
TARIFFS = {9: "Best quality"}  # K: the code of the examples
WORDS = {
    400: "Bad request",
    401: "Invalid JWT Token",  # I: the vendor's tokens look like those of a known library, whose words these are
    402: "Not enough funds",
    403: "Access Denied.",
    404: "Not found",
    405: "Method not allowed",
    413: "Request entity too large",
    422: "The given data was invalid.",  # K
    429: "Too many duplicate request detected",  # K
    500: "Internal server error",
}

_SENDER = r"^([ -~]{3,11}|[0-9]{3,15})$"  # K
_REFERENCE = "^[A-Za-z0-9]{1,32}$"  # K
Channel = Literal["sms", "rcs", "viber", "voice", "telegram", "whatsapp"]
PhoneInt = Annotated[int, Field(ge=100_000_000, le=999_999_999_999_999)]  # K
PhoneText = Annotated[str, Field(pattern=r"^[0-9]{9,15}$")]  # K
Id = Annotated[int, Field(ge=1)]


class Wire(BaseModel):
    """What all requests share."""

    # Forbidding what the vendor does not know is stricter than it says it is (U): such a field would be lost.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Login(Wire):
    """What `POST /api/auth/login` takes."""

    api_key: str = Field(min_length=1)


class Phone(Wire):
    """One recipient of a campaign."""

    number: PhoneText | PhoneInt
    reference_id: str | None = Field(default=None, pattern=_REFERENCE)


class Recipients(Wire):
    """The recipients of a campaign: numbers, or lists of contacts."""

    phones: list[Phone] | None = Field(default=None, min_length=1, max_length=MOST_RECIPIENTS)
    groups: list[Id] | None = Field(default=None, min_length=1, max_length=1000)

    @model_validator(mode="after")
    def _one_of_them(self) -> "Recipients":
        if (self.phones is None) == (self.groups is None):
            raise ValueError("either phones or groups")
        return self


def _fits(text: str) -> str:
    # K: 765 characters of GSM-7 (five segments), 355 of UCS-2
    if len(text) > 355 and segments(text) > 5:
        raise ValueError("This value is too long. It should have 765 characters or less.")
    return text


class Sms(Wire):
    """The content for SMS."""

    sender: str = Field(pattern=_SENDER)
    text: str = Field(min_length=1, max_length=765)
    unsubscribe_caption: str | None = Field(default=None, max_length=50)
    transliterate: bool = False
    short_links: list[dict[str, Any]] | None = None

    _text_fits = field_validator("text")(_fits)


class Rcs(Wire):
    """The content for RCS: a text, or up to ten cards."""

    sender: str = Field(min_length=1, max_length=40)
    text: str | None = Field(default=None, min_length=1, max_length=160)
    cards: list[dict[str, Any]] | None = Field(default=None, min_length=1, max_length=10)

    @model_validator(mode="after")
    def _one_of_them(self) -> "Rcs":
        if (self.text is None) == (self.cards is None):
            raise ValueError("either cards or text must be provided")
        return self


class Viber(Wire):
    """The content for Viber."""

    sender: str = Field(min_length=1, max_length=40)
    text: str = Field(min_length=1, max_length=1000)
    image_url: str | None = Field(default=None, max_length=255)
    button_caption: str | None = Field(default=None, max_length=20)
    link_url: str | None = Field(default=None, max_length=255)


class _Scheduled(Wire):
    tariff_code: int | None = None
    validity: int = Field(default=72, ge=1, le=72)
    start_at: str | None = None

    @field_validator("start_at")
    @classmethod
    def _is_a_time(cls, value: str | int | None) -> str | int | None:
        if isinstance(value, str) and epoch(value) is None:
            raise ValueError("This value is not a valid datetime.")
        return value

    @field_validator("tariff_code")
    @classmethod
    def _is_known(cls, value: int | None) -> int | None:
        if value is not None and value not in TARIFFS:
            raise ValueError("Tariff was not found")
        return value


class Campaign(_Scheduled):
    """What `POST /api/campaigns/send` takes."""

    channels: list[Channel] = Field(min_length=1, max_length=2)
    recipients: Recipients
    sms: Sms | None = None
    rcs: Rcs | None = None
    viber: Viber | None = None
    whatsapp: dict[str, Any] | None = None  # U: the prose names the channel, the schema no content
    voice: dict[str, Any] | None = None
    telegram: dict[str, Any] | None = None
    add_to_contact_book: bool = True
    check_stop_list: bool = True
    dry_run: bool | None = False

    @model_validator(mode="after")
    def _is_whole(self) -> "Campaign":
        for channel in self.channels:
            if getattr(self, channel) is None:
                raise ValueError(f"{channel} is required")
        many = len(self.recipients.phones or ())
        if many > 5000 and {"rcs", "whatsapp"} & set(self.channels):  # K
            raise ValueError("The maximum allowed number of contacts in one campaign is 5000")
        return self


class Message(Wire):
    """One message of `send-individual`."""

    phone: PhoneInt
    text: str = Field(min_length=1, max_length=765)
    sender: str = Field(pattern=_SENDER)
    tariff_code: int | None = None
    reference_id: str | None = Field(default=None, pattern=_REFERENCE)
    transliterate: bool = False

    _text_fits = field_validator("text")(_fits)


class Messages(_Scheduled):
    """What `POST /api/campaigns/sms/send-individual` takes.

    The vendor's own client library writes its `start_at` as hours, by default 72, as if it were `validity`; its
    examples have a time there. Such a number is taken, and does nothing here (U).
    """

    start_at: str | Annotated[int, Field(ge=1, le=72)] | None = None  # type: ignore[assignment]
    messages: list[Message] = Field(min_length=1, max_length=MOST_RECIPIENTS)
    callback_url: str | None = Field(default=None, max_length=100)


class SmsCampaign(_Scheduled):
    """What `POST /api/campaigns/sms/send` takes."""

    phones: list[Phone] = Field(min_length=1, max_length=MOST_RECIPIENTS)
    sender: str = Field(pattern=_SENDER)
    text: str = Field(min_length=1, max_length=765)
    short_links: list[dict[str, Any]] | None = None
    transliterate: bool = False
    callback_url: str | None = Field(default=None, max_length=100)

    _text_fits = field_validator("text")(_fits)


class Recipient(Wire):
    """One recipient of a price estimate."""

    phone: PhoneInt


class Price(Wire):
    """What `POST /api/campaigns/price` takes."""

    sender: str = Field(pattern=_SENDER)
    text: str = Field(min_length=1)
    messages: list[Recipient] | None = Field(default=None, max_length=MOST_RECIPIENTS)
    groups: list[Id] | None = None
    tariff_code: int | None = None


_Model = TypeVar("_Model", bound=Wire)


class Refused(Exception):
    """A whole request is refused: a status, the words for it, and the errors by field."""

    def __init__(self, status: int, words: str = "", errors: Mapping[str, list[str]] | None = None) -> None:
        super().__init__(words or WORDS[status])
        self.status = status
        self.words = words or WORDS[status]
        self.errors = errors


def parse(model: type[_Model], body: bytes) -> _Model:
    """Return the body as a model: 400 if it is no JSON, else 422 with the errors by field (K: the shape)."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
    if details[0]["type"] == "json_invalid":
        raise Refused(400)
    errors: dict[str, list[str]] = {}
    for detail in details[:20]:
        # K: the fields' names are run together with their positions, as in messages0phone.
        errors.setdefault("".join(map(str, detail["loc"])), []).append(detail["msg"].removeprefix("Value error, "))
    raise Refused(422, errors=errors)


def page(query: Mapping[str, str], least: int, default: int = 50) -> tuple[int, int]:
    """Return offset (from 0) and limit (least..500)."""
    offset, limit = query.get("page[offset]", "0"), query.get("page[limit]", str(default))
    if not offset.isdecimal():
        raise Refused(422, errors={"pageoffset": ["This value should be 0 or more."]})
    if not limit.isdecimal() or not least <= int(limit) <= 500:
        raise Refused(422, errors={"pagelimit": [f"This value should be between {least} and 500."]})
    return int(offset), int(limit)


def choice(query: Mapping[str, str], name: str, allowed: tuple[str, ...], default: str = "") -> str:
    """Return a parameter that is one of a few words."""
    value = query.get(name, default)
    if value not in allowed and value != default:
        raise Refused(422, errors={name: ["The value you selected is not a valid choice."]})
    return value


@lru_cache(maxsize=4096)
def epoch(text: str) -> float | None:
    """Return a time as epoch seconds, None if it is none: RFC 3339 with an offset, or plain, which is UTC here (U)."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    plain = len(text) == 19 and text[10] == " "
    if found.tzinfo is None and not plain:
        return None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


@lru_cache(maxsize=65_536)
def stamp(seconds: int) -> str:
    """Return whole epoch seconds as Y-m-d H:i:s (K: the form), in UTC (U)."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def token(issued: float, lasts: float, secret: str) -> str:
    """Return a signed token (K: it is a JWT with `exp`)."""
    claims: dict[str, Any] = {"iat": int(issued), "exp": _whole(int(issued) + lasts), "roles": [], "id": 208}
    head = f"{_part({'typ': 'JWT', 'alg': 'HS256'})}.{_part(claims)}"
    return f"{head}.{_signature(head, secret)}"


def expiry(bearer: str, secret: str) -> float | None:
    """Return when a token of ours expires, None if it is not ours."""
    head, _, signature = bearer.rpartition(".")
    if not hmac.compare_digest(signature.encode(), _signature(head, secret).encode()):
        return None
    part = head.partition(".")[2]
    return float(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["exp"])


def _whole(seconds: float) -> int | float:
    return int(seconds) if float(seconds).is_integer() else seconds


def _part(content: Mapping[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode()).rstrip(b"=").decode()


def _signature(head: str, secret: str) -> str:
    digest = hmac.new(secret.encode(), head.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
