"""What the stand-ins were asked and what they accepted: what the dispatcher's own books are held against."""

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

from dispatcher.sandbox.fate import Outcome

MessageId = int | str


class Accepted(NamedTuple):
    """One accepted message. Times are epoch seconds; its fate was settled when it was accepted."""

    provider: str
    message_id: MessageId
    number: str  # E.164 without the plus
    text: str
    segments: int
    cost: float
    accepted_at: float
    request: int
    scheduled_for: float | None
    delay: float  # seconds from sending to the receipt
    outcome: Outcome
    details: Mapping[str, Any] | None = None  # what only this provider needs to know of it

    @property
    def sent_from(self) -> float:
        """When its sending begins."""
        return self.accepted_at if self.scheduled_for is None else self.scheduled_for

    def delivered_by(self, now: float) -> bool:
        """Whether it has reached the handset by now."""
        return self.outcome is Outcome.DELIVERED and self.sent_from + self.delay <= now


@dataclass(slots=True, kw_only=True)
class RequestEntry:
    """One request that arrived. `status` is 0 until it was answered, and for ever if it never was."""

    number: int
    provider: str
    method: str
    path: str
    arrived_at: float
    sends: bool
    status: int = 0
    fault: str | None = None
    recipients: int = 0
    refused: int = 0
    segments: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OptOut:
    """A number that asked for no more, by a reply (`text`) or added by hand (None)."""

    number: str
    at: float
    text: str | None = None
    incoming_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A reply from a handset, and the id of the last message that it had been sent."""

    incoming_id: int
    number: str
    text: str
    at: float
    outgoing_id: MessageId | None


class Record:
    """Everything the stand-ins know, behind one lock (`with record.lock` makes several steps one).

    With a `file` it is also written down as JSON lines, flushed with each request, and read back on start.
    """

    def __init__(self, *, starting_credits: float, file: Path | None = None) -> None:
        self.lock = threading.RLock()
        self.starting_credits = starting_credits
        self._clear()
        self._file: IO[str] | None = None
        if file is not None:
            if file.exists():
                self._replay(file)
            self._file = file.open("a", encoding="utf-8")

    def _clear(self) -> None:
        self.messages: list[Accepted] = []
        self.by_id: defaultdict[str, dict[MessageId, Accepted]] = defaultdict(dict)
        self.waiting: defaultdict[str, dict[MessageId, Accepted]] = defaultdict(dict)
        self.recalled: dict[tuple[str, MessageId], float] = {}
        self.requests: list[RequestEntry] = []
        self.optouts: dict[str, OptOut] = {}
        self.incoming: list[Incoming] = []
        self.credits: defaultdict[str, float] = defaultdict(lambda: self.starting_credits)
        self._last_id = 1000
        self._last_request = 0

    # -- what happens ---------------------------------------------------------------------------------------

    def arrive(self, *, provider: str, method: str, path: str, arrived_at: float, sends: bool) -> RequestEntry:
        """Note a request that has arrived, and give it its number."""
        with self.lock:
            self._last_request += 1
            entry = RequestEntry(
                number=self._last_request,
                provider=provider,
                method=method,
                path=path,
                arrived_at=arrived_at,
                sends=sends,
            )
            self.requests.append(entry)
        return entry

    def answered(self, entry: RequestEntry) -> None:
        """Write down what was answered to a request (nothing: status 0)."""
        self._write("request", _fields(entry))

    def new_id(self) -> int:
        """Return an id that no message or reply has."""
        with self.lock:
            self._last_id += 1
            return self._last_id

    def accept(self, messages: Sequence[Accepted]) -> None:
        """Record messages accepted by one request, and take their cost off the provider's credits."""
        with self.lock:
            self._add(messages)
            if messages and self._file is not None:
                texts = {text: at for at, text in enumerate(dict.fromkeys(message.text for message in messages))}
                rows = [[*row[:3], texts[row.text], *row[4:]] for row in messages]
                self._write("accepted", {"texts": list(texts), "rows": rows})

    def _add(self, messages: Iterable[Accepted]) -> None:
        for message in messages:
            self.messages.append(message)
            provider = message.provider
            self.by_id[provider][message.message_id] = message
            if message.scheduled_for is not None:
                self.waiting[provider][message.message_id] = message
            self.credits[provider] -= message.cost

    def recall(self, messages: Sequence[Accepted], at: float) -> None:
        """Record that scheduled messages were taken back, and refund them."""
        with self.lock:
            for message in messages:
                self._recall(message.provider, message.message_id, at)
            if messages:
                rows = [[message.provider, message.message_id] for message in messages]
                self._write("recalled", {"at": at, "rows": rows})

    def _recall(self, provider: str, message_id: MessageId, at: float) -> None:
        self.recalled[provider, message_id] = at
        message = self.waiting[provider].pop(message_id, None)
        if message is not None:
            self.credits[provider] += message.cost

    def pending(self, provider: str, now: float) -> dict[MessageId, Accepted]:
        """Return the messages that still wait for their time, oldest first. The caller holds the lock."""
        waiting = self.waiting[provider]
        due = [key for key, message in waiting.items() if message.sent_from <= now]
        for key in due:
            del waiting[key]
        return waiting

    def set_credits(self, provider: str, balance: float) -> None:
        """Set what is left on a provider's account."""
        with self.lock:
            self.credits[provider] = balance
            self._write("credits", {"provider": provider, "balance": balance})

    def opt_out(self, number: str, at: float, text: str | None = None, incoming_id: int | None = None) -> None:
        """Record that a number asked for no more; the first time counts."""
        with self.lock:
            optout = OptOut(number=number, at=at, text=text, incoming_id=incoming_id)
            self.optouts.setdefault(number, optout)
            self._write("opt_out", _fields(optout))

    def receive(self, number: str, text: str, at: float, provider: str) -> Incoming:
        """Record a reply; one that says STOP is an opt-out as well."""
        with self.lock:
            last = next(
                (m.message_id for m in reversed(self.messages) if (m.provider, m.number) == (provider, number)),
                None,
            )
            reply = Incoming(incoming_id=self.new_id(), number=number, text=text, at=at, outgoing_id=last)
            self.incoming.append(reply)
            self._write("incoming", _fields(reply))
            if text.strip().upper() == "STOP":
                self.opt_out(number, at, text, reply.incoming_id)
        return reply

    def reset(self) -> None:
        """Forget everything; ids and request numbers start again."""
        with self.lock:
            self._clear()
            self._write("reset", {})

    # -- what was seen --------------------------------------------------------------------------------------

    def is_recalled(self, message: Accepted) -> bool:
        """Whether a message was taken back before it was sent."""
        return (message.provider, message.message_id) in self.recalled

    def duplicates(self, provider: str | None = None) -> list[list[Accepted]]:
        """Return the messages of each number that accepted a text more than once, recalled ones aside."""
        with self.lock:
            kept = [m for m in self.messages if provider in (None, m.provider)]
            if self.recalled:
                kept = [m for m in kept if not self.is_recalled(m)]
        counts = Counter([(m.number, m.text) for m in kept])
        if len(counts) == len(kept):
            return []
        groups: defaultdict[tuple[str, str], list[Accepted]] = defaultdict(list)
        for message in kept:
            if counts[message.number, message.text] > 1:
                groups[message.number, message.text].append(message)
        return list(groups.values())

    def summary(self, now: float) -> dict[str, dict[str, float]]:
        """Return the counts of each provider; see the control endpoint for their names."""
        with self.lock:
            requests, messages = list(self.requests), list(self.messages)
            recalled = Counter(provider for provider, _ in self.recalled)
            settled = Counter(m.provider for m in messages if m.delivered_by(now) and not self.is_recalled(m))
            waiting = {provider: len(self.pending(provider, now)) for provider in list(self.waiting)}
        accepted = Counter(m.provider for m in messages)
        found = {}
        for provider in sorted({r.provider for r in requests} | set(accepted)):
            own = [r for r in requests if r.provider == provider]
            sends = sorted((r.arrived_at, r.segments) for r in own if r.sends)
            found[provider] = {
                "requests": len(own),
                "send_requests": len(sends),
                "accepted": accepted[provider],
                "refused": sum(r.refused for r in own),
                "delivered": settled[provider],
                "recalled": recalled[provider],
                "scheduled": waiting.get(provider, 0),
                "duplicates": len(self.duplicates(provider)),
                "peak_requests": _peak([(at, 1) for at, _ in sends]),
                "peak_segments": _peak(sends),
                "credits": self.credits[provider],
            }
        return found

    # -- the file -------------------------------------------------------------------------------------------

    def _write(self, kind: str, fields: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        line = json.dumps({"kind": kind, **fields}, separators=(",", ":")) + "\n"
        with self.lock:
            if self._file is not None:
                self._file.write(line)
                self._file.flush()

    def _replay(self, file: Path) -> None:
        for kind, fields in _lines(file):
            match kind:
                case "accepted":
                    self._add(_row(row, fields["texts"]) for row in fields["rows"])
                case "recalled":
                    for provider, message_id in fields["rows"]:
                        self._recall(provider, message_id, fields["at"])
                case "request":
                    self.requests.append(RequestEntry(**fields))
                case "credits":
                    self.credits[fields["provider"]] = fields["balance"]
                case "opt_out":
                    self.optouts.setdefault(fields["number"], OptOut(**fields))
                case "incoming":
                    self.incoming.append(Incoming(**fields))
                case "reset":
                    self._clear()
        self._last_request = max([m.request for m in self.messages] + [r.number for r in self.requests], default=0)
        used = [m.message_id for m in self.messages if isinstance(m.message_id, int)]
        self._last_id = max([self._last_id, *used, *(reply.incoming_id for reply in self.incoming)])

    def close(self) -> None:
        """Close the file, if there is one."""
        with self.lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _fields(entry: RequestEntry | OptOut | Incoming) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__slots__}


def _lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    whole = 0
    with file.open("r+b") as lines:
        for line in lines:
            if line.endswith(b"\n"):
                whole += len(line)
                fields = json.loads(line)
                yield fields.pop("kind"), fields
        lines.truncate(whole)  # a last line without an end was cut off by a crash, before anything was answered


def _row(row: Sequence[Any], texts: Sequence[str]) -> Accepted:
    provider, message_id, number, text, *rest = row
    message = Accepted(provider, message_id, number, texts[text], *rest)
    return message._replace(outcome=Outcome(message.outcome))


def _peak(events: Sequence[tuple[float, int]]) -> int:
    """Return the most units in any second; events exactly one second apart are not in the same one."""
    peak = total = first = 0
    for at, units in events:
        total += units
        while events[first][0] <= at - 1.0:
            total -= events[first][1]
            first += 1
        peak = max(peak, total)
    return peak
