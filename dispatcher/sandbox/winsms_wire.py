"""The shapes and words of WinSMS: what its requests look like, and how it refuses one that does not.

Marks, as in the stand-in: K the vendor's document says so, I inferred, U unknown (the stricter choice was made).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from pydantic.alias_generators import to_camel

MOST_BYTES = 200_000  # K: "200kb"; I: of 1000 bytes
MOST_RECIPIENTS = 1000  # K: over all messages of a request
MOST_CHARACTERS = 918  # K

ZONE = timezone(timedelta(hours=2))  # I: from the vendor's HTTP pages
WORDS = {  # K, except 403 and 429 (U) and 503 (I)
    400: "Invalid JSON payload received",
    401: ("The 'AUTHORIZATION' header was not found. Set the 'AUTHORIZATION' request header to your WinSMS API Key"),
    403: "Access to the resource is forbidden",
    404: "The resource requested does not exist. Please verify the path, spelling, and capitalisation",
    429: "Too many requests",
    500: "An unknown error has occurred - authorising API Key",
    503: "The service is unavailable",
}


class _Wire(BaseModel):
    # Forbidding what the vendor does not know is stricter than it says it is (U): such a field would be lost.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, alias_generator=to_camel)


class Recipient(_Wire):
    """One recipient, of a number that is judged apart (BADDEST)."""

    mobile_number: str
    client_message_id: str = ""  # what is absent is answered as null


class Message(_Wire):
    """One text to its recipients, as `POST /sms/outgoing/send` takes it."""

    message: str = Field(min_length=1)  # U: an empty text
    recipients: list[Recipient] = Field(min_length=1, max_length=MOST_RECIPIENTS)
    max_segments: int = Field(default=1, ge=1, le=6)
    scheduled_time: str = Field(default="", pattern="^[0-9]{12}$")

    @field_validator("scheduled_time")
    @classmethod
    def _is_a_time(cls, value: str) -> str:
        if epoch(value) is None:
            raise ValueError("no such time")
        return value


class Messages(_Wire):
    """Many texts, as `POST /sms/outgoing/sendmulti` takes them."""

    messages: list[Message] = Field(min_length=1, max_length=MOST_RECIPIENTS)


_IDS = TypeAdapter(
    Annotated[list[Annotated[int, Field(strict=True)]], Field(min_length=1, max_length=MOST_RECIPIENTS)]
)


_Model = TypeVar("_Model", bound=_Wire)


class Refused(Exception):
    """A whole request is refused, with a status and the words for it."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words


def parse(model: type[_Model], body: bytes, wrong_recipients: str) -> _Model:
    """Return the body as a model: 400 if it is no JSON, else 422, with the given words for the recipients."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _refusal_of(error, wrong_recipients) from None


def parse_ids(body: bytes) -> list[int]:
    """Return the 1..1000 message ids that the body is."""
    try:
        return _IDS.validate_json(body)
    except ValidationError as error:
        raise _refusal_of(error, "At least one non-numeric api Id was supplied in the apiIds array.") from None


def _refusal_of(error: ValidationError, general: str) -> Refused:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return Refused(400, WORDS[400])
    names = [part for part in first["loc"] if isinstance(part, str)]
    if first["type"] in ("too_long", "too_short") and (not names or names[-1] in ("recipients", "messages")):
        return Refused(
            422,
            f"There must be 1 to {MOST_RECIPIENTS} items in the '{names[-1] if names else 'apiIds'}' array.",
        )
    if names and "recipients" not in names:
        return Refused(422, f"There is an error in the '{names[-1]}' parameter.")
    return Refused(422, general)


def send_time(scheduled: str) -> float | None:
    """Return when a message is to be sent, in epoch seconds; None for at once."""
    return epoch(scheduled) if scheduled else None


def page(query: Mapping[str, str]) -> tuple[int, int]:
    """Return offset (from 0) and limit (1..1000, 100 where absent)."""
    offset, limit = query.get("offset", "0"), query.get("limit", "100")
    if not offset.isdecimal():
        raise Refused(422, "The offset parameter must be a number greater than or equal to 0.")
    if not limit.isdecimal() or not 1 <= int(limit) <= MOST_RECIPIENTS:
        raise Refused(422, "The limit parameter must be a number between 1 and 1000.")
    return int(offset), int(limit)


def paging(offset: int, limit: int, total: int) -> dict[str, int]:
    """Return the fields of an answer that say which page it is."""
    return {"resultsLimit": limit, "resultsOffset": offset, "resultsTotalAvailable": total}


@lru_cache(maxsize=4096)
def epoch(text: str) -> float | None:
    """Return YYYYMMDDHHmm in the vendor's zone as epoch seconds, None if there is no such time."""
    try:
        return datetime.strptime(text, "%Y%m%d%H%M").replace(tzinfo=ZONE).timestamp()
    except ValueError:
        return None


def minute(at: float) -> str:
    """Return epoch seconds as YYYYMMDDHHmm in the vendor's zone."""
    return _format_minute(int(at // 60))


@lru_cache(maxsize=4096)
def _format_minute(minutes: int) -> str:
    return f"{datetime.fromtimestamp(minutes * 60, ZONE):%Y%m%d%H%M}"
