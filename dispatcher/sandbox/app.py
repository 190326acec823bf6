"""What the server asks of a provider's stand-in and hands to it: a new provider is one file with an `App`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import to_json

from dispatcher.sandbox.record import Record

Clock = Callable[[], float]
"""Epoch seconds."""


def _spread(value: object) -> object:
    return (value, value) if isinstance(value, int | float) else value


Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Settings(BaseModel):
    """How the stand-ins behave; `POST /sandbox/settings` changes it for what is accepted from then on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(default=1, description="Fixes every draw.")
    starting_credits: float = Field(default=1_000_000, description="The balance of each provider at the start.")
    delivery_seconds: Annotated[tuple[Seconds, Seconds], BeforeValidator(_spread)] = Field(
        default=(0.5, 4.0),
        description="Least and most seconds to a receipt; one number is both; 0 is at once.",
    )
    failing_share: float = Field(default=0.02, ge=0, le=1, description="The share that is not delivered.")
    latency_seconds: Seconds = Field(default=0, description="Seconds from carrying out to answering.")
    token_seconds: float = Field(default=3600, gt=0, description="For how long an access token serves.")
    duplicate_body_seconds: Seconds = Field(
        default=0, description="For how long BSG answers an identical body with 429; 0 never does."
    )
    api_key: str | None = Field(default=None, description="The only key taken; None takes any.")
    account: Literal["open", "locked", "trial"] = Field(default="open", description="The account's condition.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as it arrived; `path` is below the provider's base path, header names are lower case."""

    number: int
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    arrived_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer, and what the record says of it: recipients asked for, those refused, segments asked for."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    recipients: int = 0
    refused: int = 0
    segments: int = 0


@dataclass(slots=True, kw_only=True)
class Surroundings:
    """What the stand-ins share: the record, the settings of the moment and the clock."""

    record: Record
    settings: Settings
    clock: Clock


class App(Protocol):
    """The stand-in of one provider."""

    name: ClassVar[str]
    base_path: ClassVar[str]  # as at the provider's own address
    client_settings: ClassVar[
        Mapping[str, str]
    ]  # what a client sets besides its base URL, credentials it is let in with

    def __init__(self, around: Surroundings) -> None: ...

    def locate(self, path: str) -> str | None:
        """Return the path below the provider's base path, None if the path is not this provider's."""
        ...

    def sends(self, path: str) -> bool:
        """Whether a (located) path is one of those that send messages."""
        ...

    def answer(self, request: Request) -> Reply:
        """Carry out a request and return its answer."""
        ...

    def refuse(self, status: int) -> Reply:
        """Return an error answer in the provider's own shape and words, carrying nothing out."""
        ...


def json_reply(status: int, content: Any, *, recipients: int = 0, refused: int = 0, segments: int = 0) -> Reply:
    """Return an answer of JSON, with the counts of it."""
    return Reply(status=status, body=to_json(content), recipients=recipients, refused=refused, segments=segments)
