"""Asks Redis for throughput; the only module that knows Redis."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from dispatcher.errors import SettingsError, ThroughputUnavailable
from dispatcher.throughput.permit import MARGIN, Limits, Permit
from dispatcher.throughput.tokens import RedisTokens

LONGEST_PAUSE = 3600.0
"""Seconds; a provider that asks for more is asked again after this."""

_DRIFT = 0.001  # how fast two clocks may part, in seconds a second: twice what NTP may slew
_MOST_UNCERTAIN = 0.25  # one answer that took seconds must not lengthen every window by as much
_SPREAD = 0.9  # the rest lets those who come late catch up within the window
_ASK_ONLY = -1.0
_OPEN_SECONDS = 0.1
"""How long an account without limits that was not paused is taken to be so: only a pause could be missed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ThroughputState:
    """How one account stands.

    `requests` and `segments` are what was reserved for the last second, `wait` is how long a submission of
    one segment would have to wait, `paused_for` what is left of a pause, all in seconds; `factor` is the
    share of the limits in use: below 1 after a 429, until it has climbed back.
    """

    requests: int
    segments: int
    wait: float
    paused_for: float
    factor: float


class _RedisClock:
    """Where Redis's clock stands against ours: bounds that every answer can tighten.

    One answer says that Redis read its clock somewhere between our question and its arrival. Threads that
    wait for the interpreter make that span long at times; the shortest span of late is as true for them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._low, self._high, self._at = -math.inf, math.inf, 0.0
        self.uncertainty = 0.0
        """How far apart the bounds were of late, in seconds; 0 as long as nothing is known."""

    def learn(self, asked: float, answered: float, redis_now: float) -> tuple[float, float]:
        """Take in an answer, and return the least and the most that Redis's clock is ahead of ours."""
        seen_low, seen_high = redis_now - answered, redis_now - asked
        with self._lock:
            drift = _DRIFT * max(0.0, answered - self._at)
            low, high = max(self._low - drift, seen_low), min(self._high + drift, seen_high)
            if low > high:  # one of the clocks was set: all that was known is void
                low, high = seen_low, seen_high
            self._low, self._high, self._at = low, high, answered
            self.uncertainty = min(high - low, _MOST_UNCERTAIN)
        return low, high


class Throughput:
    """The limits of every provider account, held by Redis for all workers of all machines together.

    **What holds.** If everyone sends within its permit (`Permit.send_at`, `Permit.late`), then no rolling
    second holds more than the limit, whatever the mixture of costs and whoever asks: the windows are
    one second and the margin long, and a permit is good for the margin. It needs half a percent of the rate.

    **A request over the limit** (1,000 segments at 100 a second) is granted once its window is empty, is
    alone in every window that holds it, and nothing follows it for cost / limit windows. So the average
    holds, and only that single request is ever above the limit.

    **Look-ups** queue behind everything already booked and take at most their share, so they delay no
    submission that was granted, and the next one by one request. They may be told to wait one window
    longer than `max_wait`; since submissions book no further than theirs, a look-up whose share has room
    is always granted, however long the backlog.

    **An account without limits** is asked after ten times a second and not with each call: a pause that another
    process called for is heeded as much later, which is less than the second for which permits are good anyway.

    **When Redis has lost or may have lost something** (first use, another run of the server, a failover,
    flushed or evicted keys, a clock set back) nothing is granted for a window and the second for which
    permits may still be out. **When Redis cannot be asked** every method raises ThroughputUnavailable.

    Not covered: a clock of Redis that jumps ahead while it runs looks like time that has passed.

    Safe to share between threads. Nothing is connected until the first question.
    """

    def __init__(
        self,
        client: "redis.Redis",
        *,
        server: str,
        monotonic: Callable[[], float] = time.monotonic,
        redis_now: Callable[[], float] | None = None,
        spread: float = 0.0,
    ) -> None:
        """Use `client`; `server` names it in messages. `redis_now` replaces Redis's clock in tests.

        `spread` is how evenly requests go: 0 lets a second's worth go at once, 1 keeps them one part of the window apart.
        """
        self._client = client
        self._server = server
        self._monotonic = monotonic
        self._redis_now = redis_now
        self._spread = spread
        self._clock = _RedisClock()
        self._open_until: dict[str, float] = {}
        source = resources.files(__package__)
        account = source.joinpath("account.lua").read_text(encoding="utf-8")
        self._reserve, self._throttled, self._state = (
            client.register_script(account + source.joinpath(name).read_text(encoding="utf-8"))
            for name in ("reserve.lua", "throttled.lua", "state.lua")
        )

    @classmethod
    def connect(cls, url: str, *, monotonic: Callable[[], float] = time.monotonic) -> "Throughput":
        """Use the server at `url`: redis://, rediss:// or unix:///path?db=0.

        Raises:
            SettingsError: the URL is none of these.
        """
        try:
            parts = urlsplit(url)
            tcp = parts.scheme != "unix"
            # Never the whole URL: it may hold a password, in more than one place.
            where = parts.path if not tcp else f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
            client = redis.Redis.from_url(
                url,
                # Once more at once, because a pooled connection may be a dead one. A time-out is not
                # repeated: five seconds are already long, and it may have booked.
                retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
                socket_connect_timeout=3,
                socket_timeout=5,
                **({"socket_keepalive": True} if tcp else {}),
            )
        except ValueError:
            raise SettingsError(
                "the URL of Redis (DISPATCHER_REDIS_URL) is not redis://host:port/db, rediss://host:port/db "
                "or unix:///path?db=0"
            ) from None
        return cls(client, server=f"{parts.scheme}://{where}", monotonic=monotonic, spread=_SPREAD)

    def __repr__(self) -> str:
        return f"Throughput({self._server})"

    def reserve(
        self,
        account: str,
        limits: Limits,
        *,
        requests: int = 1,
        segments: int = 0,
        lookup: bool = False,
        max_wait: float = 1.0,
        lead: float = 0.0,
    ) -> Permit:
        """Reserve room for one provider call, or nothing if it would have to wait more than `max_wait`.

        `lead` is how long the caller needs before it can send: the permit is for no sooner than that.
        Small requests that book ahead can keep a large one waiting past its `max_wait`, so ask for what
        is at the head of the queue.

        Raises:
            ThroughputUnavailable: Redis cannot be asked; nothing may be sent.
        """
        limited = bool(limits.requests_per_second or limits.segments_per_second)
        if not limited and self._monotonic() < self._open_until.get(account, 0.0):
            return Permit(granted=True, wait=lead, asked_at=self._monotonic(), spare=math.inf)
        permit = self._ask(
            account,
            limits,
            requests=requests,
            segments=segments,
            lookup=lookup,
            max_wait=max(0.0, max_wait),
            lead=lead,
        )
        if not limited and permit.granted and permit.wait <= lead:
            self._open_until[account] = self._monotonic() + _OPEN_SECONDS
        return permit

    def wait(self, account: str, limits: Limits, *, segments: int = 1, lookup: bool = False) -> float:
        """Return how many seconds a call with `segments` would have to wait now; reserve nothing.

        Raises:
            ThroughputUnavailable: Redis cannot be asked.
        """
        segments = 0 if lookup else segments
        answer = self._ask(account, limits, requests=1, segments=segments, lookup=lookup, max_wait=_ASK_ONLY)
        return answer.wait

    def throttled(self, account: str, *, retry_after: float | None) -> None:
        """Take note of a 429: pause the account for everyone, then go on more slowly.

        The pause is `retry_after` seconds, else one that doubles from 1 to 60 s. The limits fall to 0.7 of
        what they were (not below 0.1) and climb back by 0.05 every 10 s. 429s within a pause, or within a
        second of the fall, come of calls already under way: they can prolong the pause and do nothing else.
        Permits already granted stay good: a second's worth may still go out.

        Raises:
            ThroughputUnavailable: Redis cannot be asked.
        """
        pause = ""
        if retry_after is not None and math.isfinite(retry_after):
            pause = _micros(min(max(0.0, retry_after), LONGEST_PAUSE))
        self._open_until.pop(account, None)
        self._run(self._throttled, account, pause)

    def state(self, account: str, limits: Limits) -> ThroughputState:
        """Return how the account stands; reserves nothing.

        Raises:
            ThroughputUnavailable: Redis cannot be asked.
        """
        wait = self.wait(account, limits)
        requests, segments, paused, factor = self._run(self._state, account)
        return ThroughputState(
            requests=requests,
            segments=segments,
            wait=wait,
            paused_for=paused / 1e6,
            factor=float(factor),
        )

    def ping(self) -> str:
        """Return which server answers, for a person: `redis 6.2.14 at unix:///run/redis.sock`.

        Raises:
            ThroughputUnavailable: none answers.
        """
        with self._explained():
            self._client.ping()
            try:
                info: dict[str, Any] = self._client.info("server")
            except redis.ResponseError:  # INFO may be forbidden, and is not needed
                info = {}
        name = "valkey" if "valkey_version" in info else "redis"
        version = info.get(f"{name}_version", "of unknown version")
        return f"{name} {version} at {self._server}"

    def tokens(self) -> RedisTokens:
        """Return the access tokens that all workers share."""
        return RedisTokens(self._client)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(
        self,
        account: str,
        limits: Limits,
        *,
        requests: int,
        segments: int,
        lookup: bool,
        max_wait: float,
        lead: float = 0.0,
    ) -> Permit:
        asked = self._monotonic()
        # What is not known of Redis's clock makes a permit shorter, so ask for a longer one: else a server
        # ten milliseconds away would give none that can be used.
        margin = MARGIN + self._clock.uncertainty
        granted, wait, now = self._run(
            self._reserve,
            account,
            _micros(margin),
            _rate(limits.requests_per_second),
            _rate(limits.segments_per_second),
            repr(limits.lookup_share),
            requests,
            segments,
            int(lookup),
            _micros(max_wait),
            _micros(lead),
            repr(self._spread),
        )
        low, high = self._clock.learn(asked, self._monotonic(), now / 1e6)
        limited = (limits.requests_per_second and requests) or (limits.segments_per_second and segments)
        return Permit(
            granted=bool(granted),
            wait=wait / 1e6,
            asked_at=now / 1e6 - low,
            spare=margin - (high - low) if limited else math.inf,
        )

    def _run(self, script: Any, account: str, *args: str | int) -> Any:
        keys = [f"dispatcher:{{{account}}}:{name}" for name in ("state", "requests", "segments", "lookups")]
        now = "" if self._redis_now is None else _micros(self._redis_now())
        with self._explained():
            return script(keys=keys, args=[now, *args])

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            raise ThroughputUnavailable(
                f"Redis at {self._server} cannot be asked for throughput, so nothing is sent: "
                f"{type(error).__name__}: {str(error).rstrip('.')}. Check that it runs and that DISPATCHER_REDIS_URL is right."
            ) from error


def _micros(seconds: float) -> str:
    return str(round(seconds * 1_000_000))


def _rate(limit: float | None) -> str:
    return "" if limit is None else repr(float(limit))
