"""Every error that crosses a module boundary, split by what the caller must do next."""


class DispatcherError(Exception):
    """An error with a message for a person: what happened, where, what to do."""


class UsageError(DispatcherError):
    """The command, the settings or the input are wrong; nothing was changed (exit code 2)."""


class InputError(UsageError):
    """The recipient file or the text cannot be planned; the message names file, line and remedy."""


class SettingsError(UsageError):
    """A setting is missing or wrong; the message names the setting, never its value."""


class CampaignNotFound(UsageError):
    """No campaign has this id or name."""


class MoveNotAllowed(DispatcherError):
    """A state machine has no such move (resuming a cancelled campaign, say)."""


class LedgerError(DispatcherError):
    """The ledger cannot be opened, is of another version, or refused a change."""


class ThroughputUnavailable(DispatcherError):
    """Redis cannot be asked for throughput, so nothing may be sent."""


# --- A provider call, by what is known of it afterwards -----------------------------------------------------


class ProviderError(DispatcherError):
    """A provider call did not give a usable answer.

    Messages carry a method, a path, a status and the provider's own error words; never a text, a full number
    or a credential.
    """


class NotSubmitted(ProviderError):
    """Certainly nothing was carried out: the same messages may be submitted later."""


class Unreachable(NotSubmitted):
    """No connection could be made, or none was tried because the deadline had passed."""


class Throttled(NotSubmitted):
    """The provider asked for a pause (HTTP 429). `retry_after` is in seconds, None where it did not say."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OutcomeUnknown(ProviderError):
    """The request may have been carried out: reconcile it, never resend it blindly."""


class Refused(ProviderError):
    """The provider answered and refused the whole request: nothing of it was accepted."""


class AuthenticationFailed(Refused):
    """The credentials were refused (401, 403): pause until a person has mended them."""


class InsufficientCredit(Refused):
    """The account cannot pay for the request: pause until it is topped up."""


class InvalidRequest(Refused):
    """The provider calls the request malformed: a fault of ours."""


class Misconfigured(InvalidRequest):
    """The settings do not lead to the provider (a wrong base URL, an unusable key): nothing was carried out."""
