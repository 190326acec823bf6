"""Calls with the token that all workers share: one login for all, kept until shortly before it expires.

A token is refused with 401, before anything is carried out (I). One that had been kept is then dropped, and the call
is one that did not reach BSG: the next logs in anew. One that was refused fresh from the login means that the
account is not let in. Neither the key nor a token is ever in a message.
"""

import base64
import hashlib
import re
import threading
import time
from collections.abc import Callable, Mapping

import msgspec

from dispatcher.errors import AuthenticationFailed, InvalidRequest, Unreachable
from dispatcher.provider import Tokens
from dispatcher.providers.bsg.settings import Settings
from dispatcher.transport import Reply, Transport

ASSUMED_SECONDS = 3600.0
"""How long a token is taken to last that does not say it (U)."""

_LONGEST_SECONDS = 30 * 86_400.0
_LEAD_SECONDS = 300.0  # it is replaced so long before it expires, or after nine tenths of its time
_LOGIN_SECONDS = 10.0  # a login takes less, or is given up; until then nobody else tries
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")  # what a header can hold


class _Bearer(msgspec.Struct):
    bearer: str | None = None


class _Claims(msgspec.Struct):
    exp: float | None = None
    iat: float | None = None


class Session:
    """Makes single calls to one BSG account, with the token of all its workers."""

    def __init__(self, settings: Settings, tokens: Tokens, *, epoch: Callable[[], float] = time.time) -> None:
        self._key = settings.key()
        self._tokens = tokens
        self._epoch = epoch
        self._turn = threading.Lock()  # the threads of a process wait for the one that logs in
        self.transport = Transport(base_url=settings.base_url, timeout=settings.timeout, headers={})
        account = f"{settings.base_url.rstrip('/')}\n{self._key}".encode()
        self.name = f"bsg.{hashlib.blake2b(account, digest_size=12, person=b'bsg.token').hexdigest()}"

    def submit(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        params: Mapping[str, str | int] | None = None,
        deadline: float | None = None,
    ) -> Reply:
        """Make one call that may have effects, after a login where there is no token.

        Raises:
            NotSubmitted: certainly nothing of it reached BSG, or was taken by it.
            OutcomeUnknown: it may have been carried out.
            Refused: BSG refused it, or lets the account in no more.
        """
        token, fresh = self._token(deadline)
        try:
            return self.transport.submit(
                method, path, body=body, params=params, headers=_bearing(token), deadline=deadline
            )
        except AuthenticationFailed as error:
            refused = error
        raise self._refused(refused, token, fresh=fresh)

    def look_up(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        params: Mapping[str, str | int] | None = None,
    ) -> Reply:
        """Make one call that is harmless to repeat: as `submit`, but what is unclear raises Unreachable."""
        token, fresh = self._token(None)
        try:
            return self.transport.look_up(method, path, body=body, params=params, headers=_bearing(token))
        except AuthenticationFailed as error:
            refused = error
        raise self._refused(refused, token, fresh=fresh)

    def log_in(self, deadline: float | None = None) -> str:
        """Trade the key for a token, keep it for all workers, and return it. Nothing else is changed by it.

        Raises:
            NotSubmitted: there is no answer; try again later.
            Refused: the key is not taken.
        """
        self.require_key()
        until = time.monotonic() + _LOGIN_SECONDS
        try:
            reply = self.transport.look_up(
                "POST",
                "/api/auth/login",
                body=msgspec.json.encode({"api_key": self._key}),
                deadline=until if deadline is None else min(deadline, until),
            )
            refused = None
        except InvalidRequest as error:  # U: which status a wrong key has; in no case is it the batch that is wrong
            refused = AuthenticationFailed(str(error))
        if refused is not None:
            raise refused
        token = (reply.json(_Bearer).bearer or "").strip()
        if not _TOKEN.fullmatch(token):
            raise reply.unclear("it names no token")
        self._tokens.keep(self.name, token, seconds=usable_seconds(token, now=self._epoch()))
        return token

    def require_key(self) -> None:
        """Check that there is a key to log in with.

        Raises:
            AuthenticationFailed: there is none; nothing was sent.
        """
        if not self._key:
            raise AuthenticationFailed("bsg: not sent: DISPATCHER_BSG__API_KEY is not set")

    def _token(self, deadline: float | None) -> tuple[str, bool]:
        """Return a token, and whether it is fresh from the login."""
        self.require_key()
        token = self._tokens.get(self.name)
        if token is None:
            with self._turn:
                token = self._tokens.get(self.name)
                if token is None:
                    if not self._tokens.first(self.name, seconds=_LOGIN_SECONDS):
                        raise Unreachable("bsg: not sent: another worker logs in, or has just failed to")
                    return self.log_in(deadline), True
        return token, False

    def _refused(self, error: AuthenticationFailed, token: str, *, fresh: bool) -> AuthenticationFailed | Unreachable:
        if status_of(error) != 401:  # the account may not do this; another token would not help
            return error
        self._tokens.forget(self.name, token)
        return error if fresh else Unreachable(f"{error}: the token is dropped, and the next call logs in anew")


def _bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def status_of(error: Exception) -> int | None:
    """Return the HTTP status that an error of the transport tells of."""
    found = re.search(r": HTTP (\d{3})(?!\d)", str(error))
    return int(found[1]) if found else None


def usable_seconds(token: str, *, now: float) -> float:
    """Return for how long a token is to be used: by its own word, read without a check, or for an hour (U).

    Its length counts from its own time of issue, so that a clock that is off does no harm.
    """
    lasts = ASSUMED_SECONDS
    try:
        part = token.split(".")[1]
        text = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
        claims = msgspec.json.decode(text, type=_Claims, strict=False)
    except (IndexError, ValueError, RecursionError, msgspec.MsgspecError):
        claims = _Claims()
    if claims.exp is not None and claims.exp > (issued := now if claims.iat is None else claims.iat):
        lasts = min(claims.exp - issued, _LONGEST_SECONDS)
    return max(lasts - min(_LEAD_SECONDS, lasts / 10), 1.0)
