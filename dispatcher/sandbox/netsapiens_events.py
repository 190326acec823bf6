"""The event subscriptions of NetSapiens: kept until they expire, and their events posted to whoever asked for them.

Marks, as in the stand-in: K the vendor's document says so, I inferred, U unknown (the stricter choice was made).
"""

import http.client
import ipaddress
import json
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from dispatcher.sandbox.netsapiens_rows import rfc3339, stamp
from dispatcher.sandbox.netsapiens_wire import HOST, Changes, Refused, Subscription, epoch

_SECONDS = 2.0  # that a listener has to answer
_MOST_WAITING = 10_000  # events; more are dropped
_NOT_FOUND = 404

Row = dict[str, Any]


class Subscriptions:
    """The subscriptions there are. The caller holds the record's lock."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self._made = 0
        self._poster = _Poster()

    def all(self, now: float, domain: str | None = None) -> list[Row]:
        """Return those that have not expired, of one domain or of all."""
        # K: an expired one "will be removed after some amount of time": here at once (I).
        for key in [key for key, row in self._rows.items() if epoch(row["subscription-expires-datetime"]) <= now]:
            del self._rows[key]
        return [row for row in self._rows.values() if domain in (None, row["domain"], "*")]

    def get(self, key: str, now: float, domain: str | None = None) -> Row:
        """Return one by its id."""
        found = next((row for row in self.all(now, domain) if row["id"] == key), None)
        if found is None:
            raise Refused(_NOT_FOUND)
        return found

    def create(self, wanted: Subscription, now: float, *, ends: float, domain: str | None = None) -> Row:
        """Add one; it ends with the token where it names no time (K)."""
        same = (wanted.model, wanted.post_url, domain or wanted.domain, wanted.user)
        rows = self.all(now)
        if any((row["model"], row["post-url"], row["domain"], row["user"]) == same for row in rows):
            raise Refused(409)
        until = wanted.subscription_expires_datetime
        ends = epoch(until) if until else ends
        if ends <= now:
            raise Refused(400, "subscription-expires-datetime: it has passed")
        self._made += 1
        key = f"{self._made:032x}"
        self._rows[key] = {
            "id": key,
            "model": wanted.model,
            "post-url": wanted.post_url,
            "subscription-geo-support": wanted.subscription_geo_support,
            "user-scope": "Office Manager",
            "reseller": wanted.reseller,
            "domain": domain or wanted.domain,
            "user": wanted.user,
            "subscription-creation-datetime": stamp(now),
            "subscription-expires-datetime": stamp(ends),
            "preferred-server": wanted.preferred_server,
            "current-active-server": HOST,
            "status": "pending",
            "error-count": 0,
            "posts-count": 0,
        }
        return self._rows[key]

    def update(self, key: str, changes: Changes, now: float, domain: str | None = None) -> None:
        """Change one."""
        row = self.get(key, now, domain)
        wanted = changes.model_dump(by_alias=True, exclude_none=True)
        until = wanted.get("subscription-expires-datetime")
        if until is not None:
            wanted["subscription-expires-datetime"] = stamp(epoch(until))
        row.update(wanted)

    def delete(self, key: str, now: float, domain: str | None = None) -> None:
        """Remove one."""
        del self._rows[self.get(key, now, domain)["id"]]

    def tell(self, model: str, events: Sequence[Row], now: float) -> None:
        """Post events, as an array (K), to those who asked for them; to this machine alone, and without a promise."""
        if not self._rows:
            return
        for row in self.all(now):
            wanted = [
                event
                for event in events
                if row["domain"] in ("*", event["domain"]) and row["user"] in ("*", _user_of(event))
            ]
            if row["model"] == model and wanted and _is_loopback(row["post-url"]):
                self._poster.put(row, json.dumps(wanted).encode())


def shown(row: Row) -> Row:
    """Return one as it is listed: its times as the schema has them, not as the answer to a creation does (K)."""
    times = ("subscription-creation-datetime", "subscription-expires-datetime")
    return {**row, **{name: rfc3339(epoch(row[name])) for name in times}}


class _Poster:
    """Posts one event after the other, on a thread that lives as long as there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Row, bytes]] = deque(maxlen=_MOST_WAITING)
        self._at_work = False

    def put(self, row: Row, body: bytes) -> None:
        with self._lock:
            self._waiting.append((row, body))
            if not self._at_work:
                self._at_work = True
                threading.Thread(target=self._run, name="sandbox-events", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._at_work = False
                    return
                row, body = self._waiting.popleft()
            taken = _post(row, body)
            row["posts-count"] += 1
            row["error-count"] += not taken
            row["status"] = "active" if taken else "error"


def _post(row: Row, body: bytes) -> bool:
    parts = urlsplit(row["post-url"])
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=_SECONDS)
    headers = {"Content-Type": "application/json", "X-Correlation-ID": row["id"]}  # K
    try:
        connection.request("POST", parts.path + (f"?{parts.query}" if parts.query else "") or "/", body, headers)
        return connection.getresponse().status <= 302  # K: an answer "above a 302" is an error
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()


def _is_loopback(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        return parts.scheme == "http" and (host == "localhost" or ipaddress.ip_address(host).is_loopback)
    except ValueError:
        return False


def _user_of(event: Row) -> str:
    return str(event.get("user") or event.get("from-user-id") or "").partition("@")[0]
