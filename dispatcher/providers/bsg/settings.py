"""What BSG needs to be told, and what its document leaves open.

Marks in this package: K the vendor's document says so, I inferred, U unknown (and then a setting with a cautious
default).
"""

from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from dispatcher.config import ProviderSettings, Rate

MOST_MESSAGES = 10_000  # K: recipients of a campaign


class Settings(ProviderSettings):
    """Where BSG is, what it takes to be let in, and what its document leaves open."""

    base_url: str = "https://one-api.bsg.world"
    api_key: SecretStr | None = None
    sender: str = Field(
        default="", description="The sender where a campaign names none; BSG has no text without (K)."
    )
    rcs_sender: str = Field(default="", description="The RCS agent, if its name is not that of the sender.")
    # U: the vendor gives no number; an identical body in short succession is answered with 429 (K).
    requests_per_second: Rate = 2.0
    messages_per_request: int = Field(
        default=MOST_MESSAGES, ge=1, le=MOST_MESSAGES, description="At most; RCS and WhatsApp take 5000 (K)."
    )
    bytes_per_request: int = Field(
        default=8_000_000, ge=100_000, le=30_000_000, description="Of a body, at most (U)."
    )
    lookup_grace_seconds: Annotated[float | None, BeforeValidator(lambda value: None if value == "" else value)] = (
        Field(
            default=120,
            ge=1,
            description=(
                "For how long after its time-out a message may be unknown by its reference although it was accepted"
                " (U): a batch whose answer was lost, and that is still absent then, is sent again. Empty: never."
            ),
        )
    )
    validity_hours: int | None = Field(default=None, ge=1, le=72, description="How long it is tried; BSG's own: 72.")
    tariff_code: int | None = Field(default=None, description="The tariff, where the account has several.")
    add_to_contact_book: bool = Field(
        default=False, description="Whether recipients are added to the account's contacts; BSG's own default is yes."
    )
    currency: str | None = Field(default=None, description="The account's currency, ISO 4217: amounts are in it.")
    send_time: Literal["rfc3339", "plain"] = Field(
        default="rfc3339",
        description="How a send time is written. The vendor's schema says RFC 3339, its examples are plain, without a"
        " zone (U): with an offset it is either understood or refused.",
    )
    time_zone: str = Field(
        default="",
        description="The zone of the times that BSG writes without one (U). Where it is not set, such times are not"
        " relied upon; `send_time=plain` needs it.",
    )

    @field_validator("time_zone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            return value and ZoneInfo(value).key
        except (ValueError, KeyError, OSError):
            raise ValueError("not the name of a time zone, like UTC or Europe/Kyiv") from None

    @model_validator(mode="after")
    def _plain_times_have_a_zone(self) -> Self:
        if self.send_time == "plain" and not self.time_zone:
            raise ValueError("a plain send_time needs time_zone")
        return self

    @property
    def zone(self) -> ZoneInfo | None:
        """The zone of the times that BSG writes without one, None where it is not known."""
        return ZoneInfo(self.time_zone) if self.time_zone else None

    def missing(self) -> list[str]:
        """Return the names of the settings without which BSG cannot be called."""
        return [] if self.key() else ["DISPATCHER_BSG__API_KEY"]

    def key(self) -> str:
        """Return the API key, "" if there is none."""
        return "" if self.api_key is None else self.api_key.get_secret_value().strip()
