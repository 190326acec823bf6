"""Being let in at NetSapiens: an API key, or an access token that one worker fetches for all of them.

Marks in this file: K the vendor's document says so, I inferred, U unknown.
"""

import hashlib
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

import msgspec
from msgspec import Struct

from dispatcher.errors import AuthenticationFailed, InvalidRequest, NotSubmitted, ProviderError, Unreachable
from dispatcher.provider import Tokens
from dispatcher.transport import Reply, Transport

_TURN = 10.0
"""Seconds for which one worker has the login to itself; when it fails, also the pause before the next."""
_REMEMBERED = 1.0
"""Seconds for which a token is used without asking the shared store again."""
_ASSUMED_LIFE = 600.0  # U: where an answer does not say; K: 3600 is usual
_LONGEST_LIFE = 30 * 86_400.0  # whatever it says
_REFRESH_LIFE = 86_400.0  # U: for how long a refresh token serves; one that is refused is followed by a login
_EARLY = (
    300.0  # seconds before its end that a token is replaced at the latest, or a fifth of its life if that is less
)
_STATUS = re.compile(r": HTTP (\d{3})\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What NetSapiens lets a client in with: `api_key`, or else the four others (K)."""

    api_key: str = field(default="", repr=False)
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


class Origin(Enum):
    """Where a token comes from: what a refusal of it means depends on that."""

    KEY = "an API key"
    LOGIN = "a login just now"
    REFRESH = "a refresh just now"
    SHARED = "shared by all workers"


@dataclass(frozen=True, slots=True)
class Pass:
    """What a request is let in with."""

    token: str = field(repr=False)
    origin: Origin
    header: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, token: str, origin: Origin) -> "Pass":
        """Return a token with the header that carries it."""
        return cls(token, origin, {"Authorization": f"Bearer {token}"})


class _Password(Struct):
    client_id: str
    client_secret: str
    username: str
    password: str
    grant_type: str = "password"


class _Refresh(Struct):
    client_id: str
    client_secret: str
    refresh_token: str
    grant_type: str = "refresh_token"


class _Granted(Struct):
    access_token: str = ""
    refresh_token: str = ""
    expires_in: float | None = None


class Access:
    """Hands out passes; logs in, or refreshes, where there is none.

    A token is kept for all workers under two names: under the first until it is due to be replaced, under the second
    until nearly its end, so that all others go on with it while one replaces it.
    """

    def __init__(
        self,
        *,
        base_url: str,
        credentials: Credentials,
        missing: Sequence[str],
        timeout: float,
        tokens: Tokens,
        transport: Transport,
    ) -> None:
        self._credentials = credentials
        self._missing = list(missing)
        self._timeout = timeout
        self._tokens = tokens
        self._transport = transport
        self._key = Pass.of(credentials.api_key, Origin.KEY) if credentials.api_key else None
        account = "\n".join([base_url, credentials.client_id, credentials.username])
        name = f"netsapiens:{hashlib.blake2b(account.encode(), digest_size=8).hexdigest()}"
        self._current, self._spare, self._refresh = f"{name}:access", f"{name}:spare", f"{name}:refresh"
        self._remembered: tuple[Pass, float] | None = None
        self._lock = threading.Lock()

    def get(self, deadline: float | None = None) -> Pass:
        """Return a pass. Up to two requests for a token are made first, over by `deadline` (monotonic seconds).

        Raises:
            AuthenticationFailed: there are no credentials, or they were refused.
            NotSubmitted: there is no token for now.
        """
        self.require()
        if self._key is not None:
            return self._key
        remembered = self._remembered
        if remembered is not None and time.monotonic() < remembered[1]:
            return remembered[0]
        return self._shared(self._current) or self._replaced(deadline)

    def require(self) -> None:
        """Find that there is what it takes to be let in.

        Raises:
            AuthenticationFailed: there is not; nothing was sent.
        """
        if self._missing:
            raise AuthenticationFailed(f"netsapiens: not sent: not set: {', '.join(self._missing)}")

    def refused(self, used: Pass, error: AuthenticationFailed) -> ProviderError:
        """Return what a 401 or a 403 to a request with this pass means; either way nothing was carried out."""
        if status_of(error) != 401 or used.origin is Origin.KEY:
            return explained(error)
        self._remembered = None
        self._tokens.forget(self._current, used.token)
        self._tokens.forget(self._spare, used.token)
        if used.origin is Origin.LOGIN:
            return error
        if used.origin is Origin.REFRESH:  # the refresh token is no good either: the next is a login
            kept = self._tokens.get(self._refresh)
            if kept is not None:
                self._tokens.forget(self._refresh, kept)
        return Unreachable(f"{error}: the access token has expired; try again")

    def _shared(self, name: str) -> Pass | None:
        token = self._tokens.get(name)
        if not token:
            return None
        found = Pass.of(token, Origin.SHARED)
        if name == self._current:
            self._remembered = (found, time.monotonic() + _REMEMBERED)
        return found

    def _replaced(self, deadline: float | None) -> Pass:
        """Return a new token, or the spare one while another replaces it."""
        if not self._lock.acquire(blocking=False):
            spare = self._shared(self._spare)
            if spare is not None:
                return spare
            left = self._timeout if deadline is None else min(self._timeout, deadline - time.monotonic())
            if not self._lock.acquire(timeout=max(0.0, left)):
                raise Unreachable("netsapiens: not sent: its time passed while another thread logged in")
        try:
            found = self._shared(self._current)
            if found is not None:
                return found
            spare = self._shared(self._spare)
            if not self._tokens.first(self._current, seconds=_TURN):
                if spare is not None:
                    return spare
                raise Unreachable(
                    "netsapiens: not sent: another worker logs in, or failed to a moment ago; try again"
                )
            try:
                return self._obtained(deadline)
            except NotSubmitted:
                if spare is None:
                    raise
                return spare
        finally:
            self._lock.release()

    def _obtained(self, deadline: float | None) -> Pass:
        own = self._credentials
        kept = self._tokens.get(self._refresh)
        if kept is not None:
            try:
                granted = self._granted(_Refresh(own.client_id, own.client_secret, kept), deadline)
            except AuthenticationFailed:
                self._tokens.forget(self._refresh, kept)
            else:
                return self._kept(granted, Origin.REFRESH)
        login = _Password(own.client_id, own.client_secret, own.username, own.password)
        return self._kept(self._granted(login, deadline), Origin.LOGIN)

    def _granted(self, grant: _Password | _Refresh, deadline: float | None) -> _Granted:
        try:
            reply = self._transport.look_up("POST", "/tokens", body=msgspec.json.encode(grant), deadline=deadline)
        except AuthenticationFailed as error:
            refusal: ProviderError = explained(error)
        except InvalidRequest as error:
            # K: 400 and 404 are answers to a login. It is the account that is wrong, never the batch.
            refusal = AuthenticationFailed(f"{error}: check the base URL and the client's and the user's credentials")
        else:
            granted = reply.json(_Granted)
            if granted.access_token:
                return granted
            refusal = AuthenticationFailed(
                "netsapiens: POST /tokens: no access token in the answer; one whose login takes a second factor cannot"
                " be used: set an API key"
            )
        raise refusal

    def _kept(self, granted: _Granted, origin: Origin) -> Pass:
        life = granted.expires_in if granted.expires_in is not None and granted.expires_in > 0 else _ASSUMED_LIFE
        life = min(life, _LONGEST_LIFE)
        made = Pass.of(granted.access_token, origin)
        self._tokens.keep(self._spare, made.token, seconds=life * 0.95)
        if granted.refresh_token:
            self._tokens.keep(self._refresh, granted.refresh_token, seconds=_REFRESH_LIFE)
        # The last one: with it the others stop waiting.
        self._tokens.keep(self._current, made.token, seconds=life - min(_EARLY, life * 0.2))
        return made


class Calls:
    """The calls of one account: as the transport's, let in, and with what 401 and 403 mean here."""

    def __init__(self, transport: Transport, access: Access) -> None:
        self._transport = transport
        self._access = access

    def submit(self, method: str, path: str, *, body: bytes | None = None, deadline: float | None = None) -> Reply:
        """Make one request that may have effects, after a login if it takes one.

        Raises:
            NotSubmitted: certainly nothing was carried out; also when a shared token had expired.
            OutcomeUnknown: it may have been carried out.
            Refused: NetSapiens refused the request.
        """
        used = self._access.get(deadline)
        try:
            return self._transport.submit(method, path, body=body, headers=used.header, deadline=deadline)
        except AuthenticationFailed as error:
            refusal = error
        raise self._access.refused(used, refusal)

    def look_up(
        self, method: str, path: str, *, params: Mapping[str, str | int] | None = None, body: bytes | None = None
    ) -> Reply:
        """Make one request that is harmless to repeat.

        Raises:
            NotSubmitted: there is no answer; ask again later.
            Refused: NetSapiens refused the request.
        """
        used = self._access.get()
        try:
            return self._transport.look_up(method, path, params=params, body=body, headers=used.header)
        except AuthenticationFailed as error:
            refusal = error
        raise self._access.refused(used, refusal)


def status_of(error: ProviderError) -> int:
    """Return the HTTP status that an error of the transport tells of, 0 for none."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else 0


def explained(error: AuthenticationFailed) -> AuthenticationFailed:
    """Return a refusal with what a 403 may mean (K: an operator blocks a noisy client so)."""
    if status_of(error) != 403:
        return error
    return AuthenticationFailed(
        f"{error}: either this account may not do that, or the operator has blocked this client for making too many"
        " requests, and then answers 403 to everything: ask the operator, and lower requests_per_second"
    )
