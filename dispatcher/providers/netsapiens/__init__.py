"""NetSapiens (ns-api v2, at each operator's own address): one text a request, in a session that we name.

Marks in this package: K the vendor's document says so, I inferred, U unknown (and then a setting with a cautious
default).
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from dispatcher.config import ProviderSettings, Rate
from dispatcher.errors import InvalidRequest, ProviderError
from dispatcher.provider import (
    Answers,
    Awaited,
    Capabilities,
    IncomingMessage,
    IncomingPage,
    LookUp,
    OutgoingBatch,
    Receipt,
    ReceiptPage,
    Resource,
    Tokens,
    Verdict,
)
from dispatcher.providers.netsapiens import wire
from dispatcher.providers.netsapiens.access import Access, Calls, Credentials, status_of
from dispatcher.providers.netsapiens.keeps import Keeps, segment
from dispatcher.transport import Transport

_PATH = "/ns-api/v2"  # K
_NOWHERE = "https://netsapiens.invalid"  # never called: without a base URL nothing is let out
_PREFIX = "DISPATCHER_NETSAPIENS__"
_OF_MESSAGES = frozenset({"message", "messagesession"})


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("not a time zone: write it like America/New_York") from None
    return name


class Settings(ProviderSettings):
    """Where the operator's NetSapiens is, who we are there, and what the vendor's document leaves open."""

    base_url: str = Field(default="", description="https://server or https://server/ns-api/v2: there is no default.")
    client_id: str = ""
    client_secret: SecretStr | None = None
    username: str = ""
    password: SecretStr | None = None
    api_key: SecretStr | None = Field(default=None, description="Taken in place of client, user and password.")
    from_number: str = Field(default="", description="One of the user's SMS numbers, where a campaign names none.")
    domain: str = Field(default="~", min_length=1, description="Whose messages they are; ~ is the account's own.")
    user: str = Field(default="~", min_length=1, max_length=16, description="As `domain`: the user's extension.")
    requests_per_second: Rate = 5.0  # U: the vendor gives no number, and an operator may block who makes too many
    characters: int = Field(default=918, ge=1, description="In one text, at most (U).")
    segments: int = Field(default=6, ge=1, description="Of one text, at most (U).")
    delivered_words: str = Field(default="delivered", description="Status words of what has arrived (U).")
    failed_words: str = Field(
        default="failed,delivery failed,undelivered,not delivered,undeliverable,rejected,error,expired,blocked",
        description="Status words of what never will (U); every other word is under way.",
    )
    time_zone: Annotated[str, AfterValidator(_known_zone)] = Field(
        default="UTC", description="The zone of the times that the server writes without one (U)."
    )
    receipt_hours: int = Field(default=72, ge=1, description="For how long a final status is waited for (U).")
    lookup_grace_minutes: Annotated[int | None, BeforeValidator(lambda value: None if value == "" else value)] = (
        Field(
            default=None,
            ge=1,
            description=(
                "For how long a message may be absent from its session although it was accepted (U): when an answer was"
                " lost, one that is still absent then is sent again. Empty: never, a person decides."
            ),
        )
    )
    events_url: str = Field(
        default="",
        description="Subscriptions that post to a URL that begins so are renewed; empty: all on messages that are seen.",
    )
    subscription_days: int = Field(default=30, ge=1, le=3650, description="For how long a subscription is renewed.")
    incoming_sessions: int = Field(
        default=100, ge=1, le=wire.MOST_LISTED, description="How many sessions are looked through for what came in."
    )

    def missing(self) -> list[str]:
        """Return the names of the settings without which NetSapiens cannot be called."""
        needed = [] if self.base_url.strip() else ["BASE_URL"]
        own = self.credentials()
        if not own.api_key:
            grant = {
                "CLIENT_ID": own.client_id,
                "CLIENT_SECRET": own.client_secret,
                "USERNAME": own.username,
                "PASSWORD": own.password,
            }
            absent = [name for name, value in grant.items() if not value]
            needed += absent if len(absent) < len(grant) else [f"API_KEY (or {', '.join(grant)})"]
        return [_PREFIX + name for name in needed]

    def credentials(self) -> Credentials:
        """Return what NetSapiens lets us in with."""
        return Credentials(
            api_key=_revealed(self.api_key),
            client_id=self.client_id.strip(),
            client_secret=_revealed(self.client_secret),
            username=self.username.strip(),
            password="" if self.password is None else self.password.get_secret_value(),
        )

    def root(self) -> str:
        """Return the base URL; a path in it is kept, and the vendor's own is put where there is none."""
        base = self.base_url.strip().rstrip("/") or _NOWHERE
        return base if urlsplit(base).path else base + _PATH


def _revealed(secret: SecretStr | None) -> str:
    return "" if secret is None else secret.get_secret_value().strip()


def connect(settings: Settings, tokens: Tokens) -> "NetSapiens":
    """Return the account that the settings name; nothing is sent yet.

    Raises:
        SettingsError: the base URL is none.
    """
    return NetSapiens(settings, tokens)


class NetSapiens:
    """One user of one domain at an operator's NetSapiens.

    Each message goes into a session of its own, named by our reference: so the session's id, kept as the provider's
    message id, finds it again, also where the answer was lost. A second submission is not told from a first one (K:
    nothing deduplicates).
    """

    name = "netsapiens"

    def __init__(self, settings: Settings, tokens: Tokens) -> None:
        grace = settings.lookup_grace_minutes
        self.capabilities = Capabilities(
            messages_per_request=1,  # K: a list of numbers makes one group conversation of them
            characters=settings.characters,
            segments=settings.segments,
            sender=True,  # the number that it is sent from
            deduplicates=False,
            ids_per_receipt_request=1,
            options=wire.OPTIONS,
            lookup_grace=None if grace is None else timedelta(minutes=grace),
            receipt_window=timedelta(hours=settings.receipt_hours),
            requests_per_second=settings.requests_per_second,
            segments_per_second=settings.segments_per_second,
        )
        self._settings = settings
        self._zone = ZoneInfo(settings.time_zone)
        self._words = wire.Words.of(delivered=settings.delivered_words, failed=settings.failed_words)
        self._from_number = settings.from_number.strip()
        self._sessions = f"/domains/{segment(settings.domain)}/users/{segment(settings.user)}/messagesessions"
        self._transport = Transport(base_url=settings.root(), timeout=settings.timeout, headers={})
        self._access = Access(
            base_url=settings.root(),
            credentials=settings.credentials(),
            missing=settings.missing(),
            timeout=settings.timeout,
            tokens=tokens,
            transport=self._transport,
        )
        self._calls = Calls(self._transport, self._access)

    def submit(self, batch: OutgoingBatch, /) -> Answers:
        """Send one message in one request, after a login if it takes one; the session's id stands for its id.

        An answer without the documented code (K: 202 in the body too) tells nothing: its head may have been cut.

        Raises:
            NotSubmitted: certainly nothing was sent; also when a token that all workers share had expired.
            OutcomeUnknown: it may have been carried out.
            Refused: NetSapiens refused the message, or it exceeds a limit and was not sent.
        """
        self._access.require()
        session, body = wire.encoded(batch, self._from_number)
        path = f"{self._sessions}/{session}/messages"
        reply = self._calls.submit("POST", path, body=body, deadline=batch.deadline)
        code = reply.json(wire.Acknowledged).code
        if code is None or not 200 <= code < 300:
            raise reply.unclear("no code in the answer" if code is None else f"the answer's own code is {code}")
        return Answers(provider_message_ids=(session,), costs=(None,))

    def fetch_receipts(self, awaited: Sequence[Awaited], page: str | None = None, /) -> ReceiptPage:
        """Ask for the status of one message, by its session. None there, or a word not known to be final: under way.

        Raises:
            NotSubmitted: there is no answer; ask again later.
            Refused: NetSapiens refused the request.
        """
        del page
        if len(awaited) > 1:
            raise InvalidRequest("netsapiens: not asked: one message at a time")
        receipts = []
        for entry in awaited:
            session = entry.provider_message_id or entry.reference
            if wire.is_session(session):
                # I: a message's time is that of its sending, so nobody tells when it was delivered.
                state, reason = wire.fate(self._messages(session), self._words, self._zone)
                receipts.append(Receipt(message_id=entry.message_id, state=state, reason=reason))
        return ReceiptPage(receipts=receipts)

    def find(self, lost: OutgoingBatch, attempted_at: datetime, wait: Callable[[], None], /) -> LookUp:
        """Look for a message whose answer was lost in the session that its reference names.

        One there was sent, whenever that was. None there was not accepted so far: how long the server takes is U.

        Raises:
            NotSubmitted: there is no answer; ask again later.
            Refused: NetSapiens refused the request.
        """
        del attempted_at
        seen = []
        for session in lost.references:
            wait()
            seen.append(wire.ours(self._messages(session), self._zone))
        if not any(seen):
            return LookUp(verdict=Verdict.ABSENT, evidence="no outbound message in the session of its reference")
        found = [message for messages in seen for message in messages]
        told = ", ".join(sorted({wire.word(message.status) or "none" for message in found}))
        twice = any(len(messages) > 1 for messages in seen)
        answers = Answers(
            provider_message_ids=[
                session if messages else None for session, messages in zip(lost.references, seen, strict=True)
            ],
            costs=[None] * len(lost),
            missing=frozenset(at for at, messages in enumerate(seen) if not messages),
            note="the session of a lost message has its text more than once" if twice else None,
        )
        evidence = f"{len(found)} outbound in the session of its reference, status {told}"
        return LookUp(verdict=Verdict.FOUND, evidence=evidence, answers=answers)

    def _messages(self, session: str) -> list[wire.Message]:
        path = f"{self._sessions}/{segment(session)}/messages"
        try:
            reply = self._calls.look_up("GET", path, params={"limit": wire.MOST_LISTED})
        except InvalidRequest as error:
            if status_of(error) != 404:
                raise
            return []  # U: how a session that does not exist is answered
        return reply.json(list[wire.Message])

    def check(self) -> str:
        """Try the credentials by asking for our sessions.

        Raises:
            NotSubmitted: there is no answer; ask again later.
            Refused: the credentials were refused, or there are none.
        """
        self._calls.look_up("GET", self._sessions, params={"limit": 1}).json(list[wire.Session])
        by = "an API key" if self._settings.credentials().api_key else "user and password"
        return f"user {_own(self._settings.user)} of domain {_own(self._settings.domain)}, let in by {by}"

    def incoming(self, page: str | None = None, /) -> IncomingPage:
        """Return what came into one session; a page is one request, and the first only lists sessions.

        Looked through are the `incoming_sessions` that the server lists (K: there is no offset) and whose last message
        is not ours: what was answered by one of the domain's users is not told.

        Raises:
            NotSubmitted: there is no answer; ask again later.
            Refused: NetSapiens refused the request.
        """
        if page is None:
            reply = self._calls.look_up("GET", self._sessions, params={"limit": self._settings.incoming_sessions})
            sessions = wire.answered_sessions(reply.json(list[wire.Session]))
            return IncomingPage(messages=[], next_page=",".join(sessions) or None)
        session, _, rest = page.partition(",")
        messages = []
        for message in filter(wire.inbound, self._messages(session)):
            number = wire.number(message.from_number)
            if number is not None:  # a chat has none
                messages.append(
                    IncomingMessage(
                        number=number,
                        text=wire.text_of(message),
                        at=wire.moment(message.timestamp, self._zone),
                        provider_message_id=wire.word(message.id) or None,
                        answers_to=session,
                    )
                )
        return IncomingPage(messages=messages, next_page=rest or None)

    def renew_subscriptions(self, *, now: datetime, ahead: timedelta) -> Sequence[str]:
        """Renew our event subscriptions that expire within `ahead`, for `subscription_days`; return their ids.

        Ours are those on messages, of our domain where it is named, that post to `events_url` where that is set.
        One request for the list, and one for each that is renewed; those who fail are tried again by the next call.

        Raises:
            NotSubmitted: there is no answer, or none of them could be renewed; ask again later.
            Refused: NetSapiens refused the list, or every renewal.
        """
        found = self._calls.look_up("GET", "/subscriptions").json(list[wire.Subscription])
        until = wire.stamp(now + timedelta(days=self._settings.subscription_days), self._zone)
        body = msgspec.json.encode({"subscription-expires-datetime": until})
        renewed = []
        failure: ProviderError | None = None
        for subscription in found:
            expires = wire.moment(subscription.subscription_expires_datetime, self._zone)
            if not self._is_ours(subscription) or expires is None or expires > now + ahead:
                continue
            try:
                self._calls.look_up("PUT", f"/subscriptions/{segment(subscription.id)}", body=body)
            except ProviderError as error:
                failure = error
            else:
                renewed.append(subscription.id)
        if failure is not None and not renewed:
            raise failure
        return renewed

    def _is_ours(self, subscription: wire.Subscription) -> bool:
        return (
            bool(subscription.id)
            and wire.word(subscription.model) in _OF_MESSAGES
            and wire.word(subscription.post_url).startswith(self._settings.events_url)
            and self._settings.domain in {"~", "*", wire.word(subscription.domain)}
        )

    def resources(self) -> Sequence[Resource]:
        """Return what NetSapiens keeps: message sessions, event subscriptions, SMS numbers."""
        return Keeps(self._calls, domain=self._settings.domain, user=self._settings.user).all()


def _own(name: str) -> str:
    return "its own" if name == "~" else name
