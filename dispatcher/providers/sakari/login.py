"""Calls to one Sakari account, with an OAuth access token that all workers share."""

import base64
import email.utils
import hashlib
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct

from dispatcher.errors import (
    AuthenticationFailed,
    InsufficientCredit,
    InvalidRequest,
    ProviderError,
    Throttled,
    Unreachable,
)
from dispatcher.provider import Tokens
from dispatcher.transport import Reply, Transport

LIFETIME = 3600.0  # I: seconds, of a token that does not say
EARLY = 60.0  # seconds before its end that a token is no longer used
_LONGEST_SECONDS = 7 * 86_400.0  # whatever it says of itself
LOGIN_SECONDS = 10.0  # that a login may take at most
TURN = 15.0  # seconds for which the others leave a login to one worker

_PATH = "/oauth2/token"  # K
_CODE = re.compile(r"\b[A-Z]{2,6}-[0-9]{3}\b")
_NO_CREDIT = "ACCT-006"  # K the code; U with which status it comes


class _TokenAnswer(Struct):
    access_token: str | None = None  # K


class _Claims(Struct):
    exp: float | None = None
    iat: float | None = None


class Login:
    """Fetches access tokens for a client id and secret (K: client credentials, as JSON), and shares them."""

    def __init__(
        self,
        *,
        transport: Transport,
        client_id: str,
        client_secret: str,
        tokens: Tokens,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._transport = transport
        self._credentials = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": client_secret,
        }
        # Keyed with the secret, so that the name tells nothing and new credentials do not find the old token.
        key = hashlib.sha256(client_secret.encode()).digest()
        self._name = f"sakari.{hashlib.blake2b(client_id.encode(), key=key, digest_size=16).hexdigest()}"
        self._tokens = tokens
        self._now = now
        self._lock = threading.Lock()

    def token(self, deadline: float | None) -> tuple[str, bool]:
        """Return a token, and whether it is fresh from a login of this call.

        Raises:
            NotSubmitted: there is no answer, or another worker is logging in; try again later.
            AuthenticationFailed: the credentials were refused.
        """
        known = self._tokens.get(self._name)
        if known is None:
            with self._lock:
                known = self._tokens.get(self._name)
                if known is None:
                    if not self._tokens.first(self._name, seconds=TURN):
                        raise Unreachable("sakari: not sent: another worker is logging in; try again")
                    return self.renew(deadline), True
        return known, False

    def renew(self, deadline: float | None = None) -> str:
        """Log in, whatever token there is, and share the new one.

        Raises:
            NotSubmitted: there is no answer; try again later.
            AuthenticationFailed: the credentials were refused.
        """
        until = time.monotonic() + LOGIN_SECONDS
        until = until if deadline is None else min(until, deadline)
        try:
            reply = self._transport.look_up("POST", _PATH, json=self._credentials, deadline=until)
        except InvalidRequest as error:
            # U: the status for wrong credentials; 400 is usual with OAuth, and nothing else can be wrong with it.
            raise AuthenticationFailed(str(error)) from None
        token = reply.json(_TokenAnswer).access_token or ""
        if not re.fullmatch(r"[!-~]+", token):  # it goes into a header
            raise reply.unclear("it names no token")
        self._tokens.keep(self._name, token, seconds=self._seconds(token))
        return token

    def forget(self, token: str) -> None:
        """Drop a token that was refused."""
        self._tokens.forget(self._name, token)

    def _seconds(self, token: str) -> float:
        """Return for how long a token may be used: K it is a JWT; I: which says when it ends."""
        claims = _claims(token)
        begins = self._now() if claims.iat is None else claims.iat  # by their clock alone, where they tell both
        lifetime = LIFETIME if claims.exp is None else claims.exp - begins
        return min(max(lifetime - EARLY, lifetime / 2, 0.001), _LONGEST_SECONDS)


def _claims(token: str) -> _Claims:
    parts = token.split(".")
    if len(parts) != 3:
        return _Claims()
    try:
        payload = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return msgspec.json.decode(payload, type=_Claims)
    except (ValueError, RecursionError, msgspec.MsgspecError):
        return _Claims()


class Calls:
    """Makes single requests to one account. A path that does not begin with /v1/ is one of the account's own.

    A token that was refused is dropped; nothing was carried out then, so that the same may be tried again. `opaque`
    is for a body that is not JSON: of an error answer, only the vendor's code is repeated.
    """

    def __init__(self, *, transport: Transport, login: Login, account_id: str, missing: list[str]) -> None:
        self._transport = transport
        self._base = f"/v1/accounts/{quote(account_id, safe='')}"
        self._missing = missing
        self.login = login

    def submit(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        body: bytes | None = None,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        deadline: float | None = None,
        opaque: bool = False,
    ) -> Reply:
        """Make one request that may have effects, after a login where one is needed.

        Raises:
            NotSubmitted: certainly nothing was carried out.
            OutcomeUnknown: it may have been carried out.
            Refused: Sakari refused the request, or the credentials.
        """
        content = {"json": json, "body": body, "params": params, "deadline": deadline}
        return self._make(self._transport.submit, method, path, headers or {}, content, opaque=opaque)

    def look_up(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        body: bytes | None = None,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        opaque: bool = False,
    ) -> Reply:
        """Make one request that is harmless to repeat: as `submit`, but what is unclear raises Unreachable."""
        content = {"json": json, "body": body, "params": params, "deadline": None}
        return self._make(self._transport.look_up, method, path, headers or {}, content, opaque=opaque)

    def require_credentials(self) -> None:
        """Raise AuthenticationFailed where a setting is missing."""
        if self._missing:
            raise AuthenticationFailed(f"sakari: not sent: not set: {', '.join(self._missing)}")

    def close(self) -> None:
        """Close this thread's connections."""
        self._transport.close()

    def _make(
        self,
        make: Callable[..., Reply],
        method: str,
        path: str,
        headers: Mapping[str, str],
        content: Mapping[str, Any],
        *,
        opaque: bool,
    ) -> Reply:
        self.require_credentials()
        token, fresh = self.login.token(content["deadline"])
        sent = {"Authorization": f"Bearer {token}", **headers}
        try:
            return make(method, path if path.startswith("/v1/") else self._base + path, headers=sent, **content)
        except ProviderError as error:
            failure = _reduced(error) if opaque else error
        if isinstance(failure, AuthenticationFailed) and ": HTTP 401" in str(failure):
            self.login.forget(token)
            if not fresh:
                raise Unreachable(f"{failure}: the token expired; try again")
        if isinstance(failure, InvalidRequest) and _NO_CREDIT in str(failure):
            raise InsufficientCredit(str(failure))
        raise failure


def _reduced(error: ProviderError) -> ProviderError:
    found = re.match(r"\S+ \S+: HTTP [0-9]{3}", str(error))
    if found is None:  # not from an answer
        return error
    code = _CODE.search(str(error), found.end())
    words = found[0] + (f": {code[0]}" if code else "")
    if isinstance(error, Throttled):
        return Throttled(words, error.retry_after)
    return type(error)(words)


def answered_at(reply: Reply) -> int:
    """Return when an answer was given, in epoch seconds: by Sakari's clock, or by ours where it does not say."""
    try:
        return int(email.utils.parsedate_to_datetime(reply.headers.get("Date", "")).timestamp())
    except (ValueError, TypeError, OverflowError):
        return int(time.time())
