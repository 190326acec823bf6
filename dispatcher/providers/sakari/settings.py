"""Where Sakari is, who we are there, and what its document leaves open (U: unknown; each has a cautious default)."""

from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from dispatcher.config import ProviderSettings, Rate


class Settings(ProviderSettings):
    """Where Sakari is, who we are, and what its document leaves open."""

    base_url: str = "https://api.sakari.io"
    client_id: SecretStr | None = None
    client_secret: SecretStr | None = None
    account_id: str = ""
    requests_per_second: Rate = 2.0  # U: "limits on the frequency", without a number
    messages_per_request: int = Field(default=500, ge=1, le=10_000, description="Recipients of one request (U).")
    characters: int = Field(default=1600, ge=1, description="Characters of one text (U).")
    text_field: str = Field(
        default="attributes.dispatcherText",
        pattern=r"^([A-Za-z]\w*\.)*[A-Za-z]\w*$",
        description=(
            "Where a contact carries a text of its own, as a Sakari template names it (U how it names attributes). "
            "firstName is named so in Sakari's document, but may then replace the names that Sakari keeps. Sakari may "
            "want an attribute to be set up in its own pages first."
        ),
    )
    check_texts: bool = Field(
        default=True,
        description="Pause a campaign if Sakari says that it sends another text than the one that it was given.",
    )
    number_group: str = Field(default="", description="The group of Sakari's numbers to send from, by its id.")
    conversation_strategy: str = Field(default="", description="Handed over as it is; Sakari's words for it are U.")
    lookup_grace_seconds: Annotated[float | None, BeforeValidator(lambda value: None if value == "" else value)] = (
        Field(
            default=900,
            ge=1,
            description=(
                "For how long after its time-out a message may be absent from Sakari's list although it was accepted"
                " (U): a batch whose answer was lost, and that is still absent then, is sent again. Empty: never."
            ),
        )
    )
    receipt_pages: int = Field(
        default=20, ge=1, le=1000, description="Pages of messages read for a set of receipts, or for a lost batch."
    )
    receipts_by_id: int = Field(default=10, ge=1, le=1000, description="Receipts asked for one by one at most.")

    @field_validator("text_field")
    @classmethod
    def _is_free(cls, value: str) -> str:
        if value.rpartition(".")[2] in {"attributes", "contact", "email", "id", "mobile", "tags"}:
            raise ValueError("a template would find something else there")
        return value

    def missing(self) -> list[str]:
        """Return the names of the settings without which Sakari cannot be called."""
        known = {
            "CLIENT_ID": shown(self.client_id),
            "CLIENT_SECRET": shown(self.client_secret),
            "ACCOUNT_ID": self.account_id.strip(),
        }
        return [f"DISPATCHER_SAKARI__{name}" for name, value in known.items() if not value]


def shown(secret: SecretStr | None) -> str:
    """Return a credential as it is sent, "" where there is none."""
    return "" if secret is None else secret.get_secret_value().strip()
