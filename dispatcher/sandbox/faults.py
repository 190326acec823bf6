"""The faults that the stand-ins can be told to show: what networks, proxies and providers do to a client."""

import json
import threading
from collections.abc import Iterator, Sequence
from enum import StrEnum
from random import Random
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Kind(StrEnum):
    """What goes wrong. "Before" and "after" are of the request being carried out."""

    DROP_BEFORE = "drop_before"  # reset, nothing carried out
    DROP_AFTER = "drop_after"  # carried out, then reset without an answer
    HANG_BEFORE = "hang_before"  # `seconds` of silence, then closed, nothing carried out
    HANG_AFTER = "hang_after"  # carried out, then `seconds` of silence, then closed
    THROTTLED = "429"  # nothing carried out
    THROTTLED_RETRY_AFTER = "429_retry_after"  # nothing carried out; Retry-After says `retry_after` seconds
    ERROR = "500"  # nothing carried out
    ERROR_AFTER = "500_after"  # carried out, yet 500
    REFUSED = "refused"  # nothing carried out; answered with `status`
    HTML = "html"  # carried out; 200 with a page of HTML
    CUT_JSON = "cut_json"  # carried out; a whole answer whose JSON is cut off
    CUT_BODY = "cut_body"  # carried out; closed in the middle of the body
    EMPTY = "empty"  # carried out; 200 with an empty body
    SLOW = "slow"  # carried out; the answer drips in over `seconds`
    MISSING_ROWS = "missing_rows"  # carried out; some rows of the answer are absent


NOT_CARRIED_OUT = frozenset(
    {
        Kind.DROP_BEFORE,
        Kind.HANG_BEFORE,
        Kind.THROTTLED,
        Kind.THROTTLED_RETRY_AFTER,
        Kind.ERROR,
        Kind.REFUSED,
    }
)


class Fault(BaseModel):
    """One fault: what happens, to which requests, how often."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    provider: str | None = Field(default=None, description="Only to this provider; None is to any.")
    path_contains: str = Field(default="", description="Only where the path has this in it.")
    share: float = Field(default=1.0, ge=0, le=1, description="To which share of those requests.")
    count: int | None = Field(default=None, ge=0, description="How many times in all; None is without end.")
    seconds: float = Field(default=30.0, ge=0, le=86_400, description="How long to hang or to drip.")
    retry_after: int = Field(default=1, ge=0, description="Seconds, for 429_retry_after.")
    status: int = Field(default=403, ge=400, le=599, description="The status, for refused.")


class Faults:
    """The faults in force; the first that matches a request and whose share falls to it is shown."""

    def __init__(self, seed: int) -> None:
        self._lock = threading.Lock()
        self._random = Random(seed)
        self._faults: list[tuple[Fault, list[int]]] = []

    def put(self, faults: Sequence[Fault], *, replace: bool) -> None:
        """Add faults behind those in force, or put them in their place."""
        with self._lock:
            kept = [] if replace else self._faults
            self._faults = [*kept, *((fault, [0]) for fault in faults)]

    def pick(self, provider: str, path: str) -> Fault | None:
        """Return the fault that a request is to meet, counting it; None for none."""
        if not self._faults:
            return None
        with self._lock:
            for fault, shown in self._faults:
                if fault.provider not in (None, provider) or fault.path_contains not in path:
                    continue
                if fault.count is not None and shown[0] >= fault.count:
                    continue
                if fault.share < 1 and self._random.random() >= fault.share:
                    continue
                shown[0] += 1
                return fault
        return None

    def listing(self) -> list[dict[str, Any]]:
        """Return the faults in force, each with `shown`: how many times it was."""
        with self._lock:
            return [{**fault.model_dump(), "shown": shown[0]} for fault, shown in self._faults]

    def without_rows(self, body: bytes) -> bytes:
        """Return a JSON answer without a third, at least one, of the rows of its innermost lists of objects."""
        content = json.loads(body)
        lists = list(_innermost(content))
        rows = [(at, row) for at, found in enumerate(lists) for row in range(len(found))]
        with self._lock:
            absent = set(self._random.sample(rows, -(-len(rows) // 3)))
        for at, found in enumerate(lists):
            found[:] = [row for index, row in enumerate(found) if (at, index) not in absent]
        return json.dumps(content).encode()


def _innermost(content: Any) -> Iterator[list[Any]]:
    """Yield the lists of objects that have no such list in their objects."""
    if isinstance(content, dict):
        for value in content.values():
            yield from _innermost(value)
    elif isinstance(content, list) and content and isinstance(content[0], dict):
        deeper = [found for row in content for found in _innermost(row)]
        yield from deeper or [content]
