"""The shapes and words of NetSapiens: what its requests look like, how it refuses one, and its tokens.

Marks, as in the stand-in: K the vendor's document says so, I inferred, U unknown (the stricter choice was made).
"""

import binascii
import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

DOMAIN = "sandbox.example"
USER = "1000"
NUMBER = "12025550100"
"""The user whose key or password any is taken for, its domain, and its SMS number."""

HOST = "core1.sandbox.example"
VERSION = "45.0"
WORDS = {  # U, except 202
    202: "Accepted",
    400: "Bad Request",
    401: "Authentication Required",
    402: "Payment Required",
    403: "Forbidden",
    404: "Record not found",
    405: "Method not allowed",
    409: "Subscription ID already Exists or matching set of parameters already exists",
    429: "Too many requests",
    500: "Internal server error",
    503: "Service unavailable",
}

_NUMBER = re.compile("[1-9][0-9]{7,14}")
_SESSION = re.compile("[A-Za-z0-9_]{32,}")  # K
_DOMAIN = re.compile(r"[A-Za-z0-9._-]{1,64}|~|\*")  # K
_ACCESS, _REFRESH = "nsa", "nsr"
_REFRESH_SECONDS = 30 * 86400.0  # U


class Refused(Exception):
    """A request is refused, with a status and the words for it."""

    def __init__(self, status: int, words: str = "") -> None:
        super().__init__(words)
        self.status = status
        self.words = words or WORDS.get(status, "Refused")


# --- Requests ---------------------------------------------------------------------------------------------------------


def _kebab(name: str) -> str:
    return name.replace("_", "-")


def _is_phone_number(value: str) -> str:
    if not _NUMBER.fullmatch(value):
        raise ValueError("not a phone number")
    return value


class _Strict(BaseModel):
    # Forbidding what the vendor does not know is stricter than it says it is (U): such a field would be lost.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


_PhoneNumber = Annotated[str, AfterValidator(_is_phone_number)]
_Word = Annotated[str, Field(min_length=1)]


class Send(_Strict):
    """A text or a file to one number, or to the several of one group conversation."""

    model_config = ConfigDict(alias_generator=_kebab)

    type: Literal["sms", "mms"]  # K: chats between users as well, which are no business of this stand-in
    message: str
    destination: _PhoneNumber | Annotated[list[_PhoneNumber], Field(min_length=1)]
    from_number: _PhoneNumber  # K: "used only for SMS"; U: whether it may be absent then
    data: str | None = None
    mime_type: str | None = Field(default=None, pattern="^[a-z]+/[a-z0-9.+-]+$")
    size: int | None = None

    @model_validator(mode="after")
    def _carries_something(self) -> "Send":
        media = (self.data, self.mime_type, self.size)
        if self.type == "sms" and (not self.message or media != (None, None, None)):
            raise ValueError("an sms has a message, and no media")  # K: media are "used only for media chat or MMS"
        if self.type == "mms":
            if self.data is None or self.mime_type is None:
                raise ValueError("an mms has data and a mime-type")
            try:
                content = binascii.a2b_base64(self.data, strict_mode=True)
            except binascii.Error:
                raise ValueError("data is no base64") from None
            if self.size not in (None, len(content)):
                raise ValueError("size is not that of the data")
        return self

    @property
    def numbers(self) -> list[str]:
        """Whom it goes to."""
        return [self.destination] if isinstance(self.destination, str) else self.destination


class Grant(_Strict):
    """A login, or what follows one."""

    grant_type: Literal["password", "refresh_token"]  # K: and mfa, which nobody has here
    client_id: _Word
    client_secret: _Word
    username: str = ""
    password: str = ""
    refresh_token: str = ""


class Participants(_Strict):
    """The final list of the users in a chat, with commas between (K)."""

    participants: _Word


class NewNumber(_Strict):
    """A number to be used for SMS."""

    number: _PhoneNumber
    application: Literal["user", "callqueue", "available"]
    dest: str = ""
    carrier: str = ""


class Subscription(BaseModel):
    """A new event subscription; what is not known is let pass, as in the vendor's own example."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, alias_generator=_kebab)

    model: Literal[
        "agent",
        "auditlog",
        "auditlog_lite",
        "call",
        "call_origid",
        "cdr",
        "message",
        "messagesession",
        "subscriber",
        "presence",
        "voicemail",
    ]
    post_url: str = Field(pattern="^https?://[^/ ]+")
    subscription_geo_support: Literal["yes", "no"] = "yes"
    reseller: str = "*"
    domain: str = "*"
    user: str = "*"
    subscription_expires_datetime: str = ""
    preferred_server: str = HOST


class Changes(BaseModel):
    """What is to change of a subscription."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, alias_generator=_kebab)

    model: Literal["message", "messagesession"] | None = None
    post_url: str | None = Field(default=None, pattern="^https?://[^/ ]+")
    subscription_geo_support: Literal["yes", "no"] | None = None
    subscription_expires_datetime: str | None = None
    preferred_server: str | None = None
    error_count: Literal[0] | None = None  # K: it can only be set back
    posts_count: Literal[0] | None = None


class Unsubscribe(_Strict):
    """What the body of a deletion repeats (K)."""

    subscription_id: _Word
    domain: str = ""


_Model = TypeVar("_Model", bound=BaseModel)


def parse(model: type[_Model], body: bytes) -> _Model:
    """Return the body as a model, or refuse it with 400 and the field that is wrong."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part != "function-after")
    raise Refused(400, f"{where or 'body'}: {first['msg']}")


def check_names(domain: str, user: str) -> tuple[str, str]:
    """Return the domain and the user that the names of a path mean."""
    if not _DOMAIN.fullmatch(domain) or not 1 <= len(user) <= 16:
        raise Refused(404)
    return DOMAIN if domain == "~" else domain, USER if user == "~" else user


def check_session(session: str) -> str:
    """Return the name of a session that a message may be sent in."""
    if not _SESSION.fullmatch(session):
        raise Refused(400, "messagesession: at least 32 letters, digits and underscores")
    return session


def limit(query: Mapping[str, str]) -> int:
    """Return how many items a list is to have: 1..1000, 100 where it does not say (K)."""
    value = query.get("limit", "100")
    if not value.isdecimal() or not 1 <= int(value) <= 1000:
        raise Refused(400, "limit: a number from 1 to 1000")
    return int(value)


def epoch(text: str) -> float:
    """Return a time as epoch seconds."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(400, "subscription-expires-datetime: YYYY-MM-DD HH:MM:SS") from None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()


# --- Tokens: nothing is kept of them, so that they outlive a restart ----------------------------------------------


def issue(now: float, seconds: float, *, refresh: bool = False) -> str:
    """Return a token for so many seconds, or the one that it is refreshed with."""
    kind, life = (_REFRESH, _REFRESH_SECONDS) if refresh else (_ACCESS, seconds)
    claim = f"{kind}-{int((now + life) * 1000)}"
    return f"{claim}-{_seal(claim)}"


def is_good(token: str, now: float, *, refresh: bool = False) -> bool:
    """Whether a token was issued here and has not expired; any other word is an API key, which does not expire."""
    parts = token.split("-")
    if len(parts) != 3 or parts[0] not in (_ACCESS, _REFRESH):
        return not refresh and bool(token) and not token.startswith("bad")
    kind, until, seal = parts
    sealed = seal == _seal(f"{kind}-{until}") and until.isdecimal()
    return sealed and kind == (_REFRESH if refresh else _ACCESS) and now * 1000 < int(until)


def expiry(token: str, now: float) -> float:
    """Return when what hangs on a token ends: with it, or in 20 years for an API key (K)."""
    parts = token.split("-")
    return int(parts[1]) / 1000 if len(parts) == 3 and parts[0] == _ACCESS else now + 20 * 365 * 86400


def _seal(claim: str) -> str:
    return hashlib.blake2b(claim.encode(), digest_size=12, key=b"sandbox").hexdigest()


def granted(grant: Grant, now: float, seconds: float) -> dict[str, Any]:
    """Return the answer to a login (K: the fields)."""
    return {
        "username": grant.username or f"{USER}@{DOMAIN}",
        "user": USER,
        "territory": "sandbox",
        "domain": DOMAIN,
        "site": "",
        "group": "",
        "department": "",
        "uid": f"{USER}@{DOMAIN}",
        "login": f"{USER}@{DOMAIN}",
        "scope": "Office Manager",
        "user_email": "",
        "displayName": "Sandbox",
        "access_token": issue(now, seconds),
        "expires_in": int(seconds),
        "token_type": "Bearer",
        "refresh_token": issue(now, seconds, refresh=True),
        "client_id": grant.client_id,
        "apiversion": VERSION,
    }
