"""Access tokens shared by all workers, in the same Redis as the throughput; whatever is lost is fetched again."""

import threading
import time
from collections.abc import Callable

import redis


class LocalTokens:
    """Tokens of this process alone: for tests, and while Redis is away."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[str, float]] = {}
        self._turns: dict[str, float] = {}

    def get(self, name: str) -> str | None:
        """Return the token kept under a name, None where there is none or it has expired."""
        with self._lock:
            token, until = self._kept.get(name, ("", 0.0))
            return token if self._monotonic() < until else None

    def keep(self, name: str, token: str, *, seconds: float) -> None:
        """Keep a token for so long."""
        with self._lock:
            self._kept[name] = (token, self._monotonic() + seconds)
            self._turns.pop(name, None)

    def forget(self, name: str, token: str) -> None:
        """Drop a token that was refused, unless another has taken its place."""
        with self._lock:
            if self._kept.get(name, ("", 0.0))[0] == token:
                del self._kept[name]

    def first(self, name: str, *, seconds: float) -> bool:
        """Whether this caller is the one that should log in now."""
        with self._lock:
            now = self._monotonic()
            if self._turns.get(name, 0.0) > now:
                return False
            self._turns[name] = now + seconds
            return True


_FORGET = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class RedisTokens:
    """Tokens that all workers share. While Redis is away each process keeps its own."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._forget = client.register_script(_FORGET)
        self._local = LocalTokens()

    def get(self, name: str) -> str | None:
        """Return the token kept under a name, None where there is none or it has expired."""
        try:
            found = self._client.get(_key("token", name))
        except redis.RedisError:
            return self._local.get(name)
        return found.decode() if isinstance(found, bytes) else self._local.get(name)

    def keep(self, name: str, token: str, *, seconds: float) -> None:
        """Keep a token for all workers, for so long."""
        self._local.keep(name, token, seconds=seconds)
        try:
            self._client.set(_key("token", name), token, px=max(1, int(seconds * 1000)))
            self._client.delete(_key("login", name))
        except redis.RedisError:
            return  # kept here; the others log in themselves

    def forget(self, name: str, token: str) -> None:
        """Drop a token that was refused, unless another has taken its place."""
        self._local.forget(name, token)
        try:
            self._forget(keys=[_key("token", name)], args=[token])
        except redis.RedisError:
            return  # it is refused again, and forgotten then

    def first(self, name: str, *, seconds: float) -> bool:
        """Whether this caller is the one that should log in now; the others get False for so long."""
        try:
            return bool(self._client.set(_key("login", name), "1", nx=True, px=max(1, int(seconds * 1000))))
        except redis.RedisError:
            return self._local.first(name, seconds=seconds)


def _key(kind: str, name: str) -> str:
    return f"dispatcher:{kind}:{{{name}}}"
