"""One HTTP session per thread, and the only mapping from HTTP and socket failures to our errors."""

import http.client
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec
import requests
from urllib3.exceptions import HTTPError

from dispatcher.errors import Misconfigured, ProviderError, SettingsError, Unreachable
from dispatcher.transport.answers import UNREADABLE, refusal, tidy, unclear, words
from dispatcher.transport.deadline import Adapter, Guard, begin

T = TypeVar("T")

LARGEST_ANSWER = 32 * 1024 * 1024
"""Bytes of an answer, after decompression, that are read at most."""

# Its lines carry whole URLs, and with them numbers; what they tell is in our errors.
logging.getLogger("urllib3").setLevel(logging.ERROR)

_NUL, _REPLACED = rb"\u0000", rb"\ufffd"  # as JSON writes them; as it is, a NUL is no JSON

# All that requests, urllib3, http.client, ssl and the socket raise. UnicodeError: from a host name or a header.
_FAILURES = (requests.RequestException, HTTPError, http.client.HTTPException, OSError, UnicodeError)
_MALFORMED = (requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL, UnicodeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer with a 2xx status. Its representation holds nothing of the body."""

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    about: str  # method and path, for messages
    effects: bool  # whether the request may have had effects

    def json(self, type: type[T]) -> T:  # noqa: A002 - msgspec's own word for it
        """Decode the body leniently: unknown fields are ignored, "1" is read as 1 and "true" as true.

        Raises:
            OutcomeUnknown: the answer cannot be read, and the request may have had effects.
            Unreachable: the answer to a look-up cannot be read.
        """
        # No database keeps a NUL, and no word of a provider has one.
        body = self.body.replace(_NUL, _REPLACED) if b"\\" in self.body else self.body
        try:
            return msgspec.json.decode(body, type=type, strict=False)
        except UNREADABLE as error:
            why = _why_unreadable(error)
        raise self.unclear(f"unreadable answer of {len(self.body)} bytes: {why}")

    def unclear(self, why: str) -> ProviderError:
        """Return the error for an answer that does not tell what became of the request."""
        return unclear(f"{self.about}: HTTP {self.status}: {why}", effects=self.effects)


class Transport:
    """Makes single HTTP requests to one base URL, each within one total time; never retries, never logs.

    `headers` (or what it returns when called, once a request) carry the credentials. `timeout` is in seconds and
    covers the whole request, from the name look-up to the last byte of the answer; only a name look-up that the
    operating system does not give up may outlive it, and nothing is sent after that. Construction does no I/O.

    Neither the environment nor a .netrc is consulted, and no cookie kept (that would be the session's part): a .netrc
    entry would replace the Authorization header, and a proxy variable would hand credentials and numbers to a third party.
    """

    def __init__(
        self,
        *,
        base_url: str,
        timeout: float,
        headers: Callable[[], Mapping[str, str]] | Mapping[str, str],
        monotonic: Callable[[], float] = time.monotonic,
        user_agent: str = "dispatcher",
    ) -> None:
        self._base_url = _checked(base_url)
        self._timeout = timeout
        self._headers = headers
        self._monotonic = monotonic
        self._user_agent = user_agent
        self._local = threading.local()

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
    ) -> Reply:
        """Make one request that may have effects. `deadline` is a moment of the monotonic clock.

        Raises:
            NotSubmitted: certainly nothing reached the provider, or it asked for a pause.
            OutcomeUnknown: it may have been carried out.
            Refused: the provider refused the request.
        """
        content = msgspec.json.encode(json) if body is None and json is not None else body
        return self._request(
            method, path, effects=True, content=content, params=params, headers=headers, deadline=deadline
        )

    def look_up(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        body: bytes | None = None,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        deadline: float | None = None,
    ) -> Reply:
        """Make one request that is harmless to repeat: as `submit`, but what is unclear raises Unreachable."""
        content = msgspec.json.encode(json) if body is None and json is not None else body
        return self._request(
            method, path, effects=False, content=content, params=params, headers=headers, deadline=deadline
        )

    def close(self) -> None:
        """Close this thread's connections."""
        known: tuple[int, requests.Session] | None = self._local.__dict__.pop("session", None)
        if known is not None:
            known[1].close()

    def _request(
        self,
        method: str,
        path: str,
        *,
        effects: bool,
        content: bytes | None,
        params: Mapping[str, str | int] | None,
        headers: Mapping[str, str] | None,
        deadline: float | None,
    ) -> Reply:
        about = f"{method} {tidy(path.partition('?')[0])}"
        until = min(self._monotonic() + self._timeout, math.inf if deadline is None else deadline)
        sent = {"Content-Type": "application/json"} if content is not None else {}
        sent |= self._headers() if callable(self._headers) else self._headers
        sent |= headers or {}
        guard = Guard(until, self._monotonic)
        left = guard.remaining()
        if left <= 0:
            raise Unreachable(f"{about}: not sent: its time had passed")
        status, answer = 0, b""
        answered: Mapping[str, str] = {}
        failure: Exception | None = None
        try:
            begin(guard)
            session = self._session()
            # What a session adds (redirects, cookies, settings of the environment) is not wanted, and costs a quarter of
            # the whole: the request goes to the adapter itself.
            request = requests.PreparedRequest()
            every: dict[str, str | bytes] = {**session.headers, **sent}
            request.prepare(method, self._base_url + path, headers=every, data=content, params=params)
            adapter, verify = session.get_adapter(self._base_url), True if session.verify is None else session.verify
            with adapter.send(request, stream=True, timeout=left, verify=verify) as response:
                status, answered = response.status_code, response.headers
                answer = _read(response)
        except _FAILURES as error:
            failure = error
        finally:
            guard.end()
        # Whatever is raised is raised out here: in the handler, an exception that holds the URL or a header would
        # hang on to ours as its context.
        if failure is None and guard.fired:
            failure = TimeoutError()  # what looks like the end of the answer may be our own cut
        if failure is None and 200 <= status < 300:
            return Reply(status=status, body=answer, headers=answered, about=about, effects=effects)
        if status:
            own = words(answer, content, sent)
            about = f"{about}: HTTP {status}" + (f": {own}" if own else "")
            refused = refusal(about, status, answered)
            if refused is not None:
                raise refused
        if failure is None:
            raise unclear(about, effects=effects)
        raise _error(about, failure, guard, effects=effects)

    def _session(self) -> requests.Session:
        # By process as well: a forked child must not write into its parent's connections.
        known: tuple[int, requests.Session] | None = getattr(self._local, "session", None)
        if known is None or known[0] != os.getpid():
            session = requests.Session()
            session.headers.update({"User-Agent": self._user_agent, "Accept": "application/json"})
            session.mount("https://", Adapter(max_retries=0))
            session.mount("http://", Adapter(max_retries=0))
            known = self._local.session = (os.getpid(), session)
        return known[1]


def _why_unreadable(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    # A decoding error names the place, not what was found there; UnicodeError might quote it.
    return tidy(str(error)) if isinstance(error, msgspec.MsgspecError) else "not UTF-8"


def _checked(base_url: str) -> str:
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise SettingsError("a base URL must read like https://host/path")
    if "@" in parts.netloc:
        # requests would make an Authorization header of them, in place of the provider's.
        raise SettingsError("a base URL must carry no user name or password")
    return base_url.rstrip("/")


class _TooLarge(HTTPError):
    """The answer is larger than any that is expected."""


def _read(response: requests.Response) -> bytes:
    parts, size = [], 0
    for part in response.iter_content(65536):
        size += len(part)
        if size > LARGEST_ANSWER:
            raise _TooLarge
        parts.append(part)
    return b"".join(parts)


def _error(about: str, failure: Exception, guard: Guard, *, effects: bool) -> ProviderError:
    if guard.handed_over:
        return unclear(f"{about}: {_why(failure, guard)}", effects=effects)
    if guard.late:
        return Unreachable(f"{about}: not sent: its time had passed")
    if isinstance(failure, _MALFORMED):
        return Misconfigured(f"{about}: not sent: the base URL or a credential holds what a header cannot")
    return Unreachable(f"{about}: no connection: {_why(failure, guard)}")


def _why(failure: BaseException, guard: Guard) -> str:
    """Name the root of a failure without repeating what may hold a URL, a header or what the server sent."""
    if isinstance(failure, _TooLarge):
        return f"answer too large (over {LARGEST_ANSWER} bytes)"
    root = failure
    while (deeper := root.__cause__ or root.__context__) is not None:
        root = deeper
    if guard.fired or guard.late or isinstance(root, TimeoutError):
        return "timed out"
    said = getattr(root, "verify_message", None) or getattr(root, "strerror", None)
    return tidy(said) if isinstance(said, str) else type(root).__name__
