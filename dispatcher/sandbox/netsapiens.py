"""The stand-in of NetSapiens: tokens, messages in their sessions, SMS numbers, event subscriptions.

The same request twice is two messages: nothing deduplicates (K). Several numbers in one request are one group
conversation (K), and one message in the record. Marks as in `netsapiens_wire`.
"""

import heapq
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dispatcher.sandbox.app import Reply, Request, Surroundings, json_reply
from dispatcher.sandbox.counting import segments
from dispatcher.sandbox.fate import Magic, Outcome, draw, magic
from dispatcher.sandbox.netsapiens_events import Subscriptions, shown
from dispatcher.sandbox.netsapiens_rows import inbound, last_used, outbound, session, stamp
from dispatcher.sandbox.netsapiens_wire import (
    DOMAIN,
    HOST,
    NUMBER,
    USER,
    VERSION,
    WORDS,
    Changes,
    Grant,
    NewNumber,
    Participants,
    Refused,
    Send,
    Subscription,
    Unsubscribe,
    check_names,
    check_session,
    expiry,
    granted,
    is_good,
    limit,
    parse,
)
from dispatcher.sandbox.record import Accepted, Incoming

NAME = "netsapiens"
BASE_PATH = "/ns-api/v2"

Session = tuple[str, str, str]
"""Domain, user, and the id that the client gave it."""

# K: the answer to a send tells nothing of the recipient; U: how one is refused later. Here: by "failed".
_FAIL_LATER = frozenset({Magic.REFUSED_OPTED_OUT, Magic.REFUSED_BAD_NUMBER, Magic.REFUSED_DO_NOT_CONTACT})


@dataclass(slots=True)
class _Held:
    """What the stand-in knows besides the record, and how far it has read the record."""

    source: list[Accepted]
    seen: int = 0
    heard: int = 0
    sessions: dict[Session, list[Accepted]] = field(default_factory=dict)
    replies: defaultdict[Session, list[Incoming]] = field(default_factory=lambda: defaultdict(list))
    participants: dict[Session, str] = field(default_factory=dict)
    subscriptions: Subscriptions = field(default_factory=Subscriptions)
    numbers: list[dict[str, Any]] = field(default_factory=list)


class NetSapiens:
    """NetSapiens under `/ns-api/v2`. Any key is an API key, and any user may log in, unless it begins with "bad"."""

    name: ClassVar[str] = NAME
    base_path: ClassVar[str] = BASE_PATH
    client_settings: ClassVar[Mapping[str, str]] = {"api_key": "sandbox", "from_number": NUMBER}

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self._held = _Held(around.record.messages)

    def locate(self, path: str) -> str | None:
        """Return the path below the base path, None if it is not this provider's."""
        return path[len(BASE_PATH) :] if path.startswith(BASE_PATH + "/") else None

    def sends(self, path: str) -> bool:
        """Whether a POST to a path sends a message."""
        return path.endswith("/messages")

    def refuse(self, status: int) -> Reply:
        """Return an error in the vendor's shape (K), for 429 too (U)."""
        return self._error(Refused(status))

    def answer(self, request: Request) -> Reply:
        """Carry out a request and return its answer."""
        try:
            for pattern, methods in _ROUTES:
                found = pattern.fullmatch(request.path)
                if found is not None:
                    return self._routed(request, methods, found.groupdict())
        except Refused as refused:
            return self._error(refused)
        return self.refuse(404)

    def _routed(self, request: Request, methods: "Mapping[str, _Endpoint]", names: dict[str, str]) -> Reply:
        if request.method not in methods:
            raise Refused(405)
        open_to_all = request.path in ("/version", "/tokens")  # K
        token = "" if open_to_all else self._token(request)
        if request.body and request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise Refused(400, "Content-Type: application/json")
        if "domain" in names:
            names["domain"], names["user"] = check_names(names["domain"], names.get("user", "~"))
        with self.around.record.lock:
            return methods[request.method](self, request, {**names, "token": token})

    def _token(self, request: Request) -> str:
        settings = self.around.settings
        if settings.account == "locked":  # K: one operator answers so to everything when it blocks a client
            raise Refused(403)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        good = scheme == "Bearer" and is_good(token, self.around.clock())
        if not good or (settings.api_key not in (None, token) and not token.startswith("nsa-")):
            raise Refused(401)
        return token

    @staticmethod
    def _error(refused: Refused) -> Reply:
        return json_reply(refused.status, {"code": refused.status, "message": refused.words})

    @staticmethod
    def _done(status: int = 202, **counts: int) -> Reply:
        return json_reply(status, {"code": status, "message": WORDS[202]}, **counts)

    @property
    def held(self) -> _Held:
        """What is known, brought up to the record. The caller holds the record's lock."""
        record = self.around.record
        if self._held.source is not record.messages:  # everything was forgotten
            self._held = _Held(record.messages)
        held = self._held
        for message in record.messages[held.seen :]:
            if message.provider == NAME:
                held.sessions.setdefault(_session_of(message), []).append(message)
        held.seen = len(record.messages)
        for reply in record.incoming[held.heard :]:
            answered = None if reply.outgoing_id is None else record.by_id[NAME].get(reply.outgoing_id)
            if answered is not None:
                held.replies[_session_of(answered)].append(reply)
                held.subscriptions.tell("message", [inbound(reply, answered)], self.around.clock())
        held.heard = len(record.incoming)
        return held

    # -- being let in ---------------------------------------------------------------------------------------------

    def version(self, _: Request, __: Mapping[str, str]) -> Reply:
        """Answer `GET /version`."""
        now = stamp(self.around.clock())
        return json_reply(200, {"apiversion": VERSION, "hostname": HOST, "current-time": now})

    def grant(self, request: Request, _: Mapping[str, str]) -> Reply:
        """Answer `POST /tokens`: a login, or a refresh."""
        wanted = parse(Grant, request.body)
        now, settings = self.around.clock(), self.around.settings
        if settings.account == "locked":
            raise Refused(403)
        if wanted.grant_type == "refresh_token":
            proof = [wanted.client_id, wanted.client_secret, wanted.refresh_token]
            good = is_good(wanted.refresh_token, now, refresh=True)
        else:
            proof = [wanted.client_id, wanted.client_secret, wanted.username, wanted.password]
            good = True
        if not all(proof):
            raise Refused(400)
        if not good or any(word.startswith("bad") for word in proof):
            raise Refused(401)
        return json_reply(200, granted(wanted, now, settings.token_seconds))

    # -- sending --------------------------------------------------------------------------------------------------

    def send(self, request: Request, names: Mapping[str, str]) -> Reply:
        """Answer a message into a session that the client names: 202, and no id (K)."""
        message = self._accept(request, names, check_session(names["session"]))
        return self._done(recipients=message.number.count(",") + 1, segments=message.segments)

    def start(self, request: Request, names: Mapping[str, str]) -> Reply:
        """Answer a message into a session that the server names: 200, and the message (K)."""
        message = self._accept(request, names, f"{self.around.record.new_id():032x}")
        content = outbound(message, self.around.clock())
        return json_reply(200, content, recipients=message.number.count(",") + 1, segments=message.segments)

    def _accept(self, request: Request, names: Mapping[str, str], session_id: str) -> Accepted:
        wanted = parse(Send, request.body)
        now, settings, record = self.around.clock(), self.around.settings, self.around.record
        number = ",".join(wanted.numbers)
        delay, outcome = draw(settings.seed, number, settings.delivery_seconds, settings.failing_share)
        if magic(number) in _FAIL_LATER or number in record.optouts:
            outcome = Outcome.FAILED
        message = Accepted(
            NAME,
            f"m-{record.new_id():013x}",
            number,
            wanted.message,
            segments(wanted.message),
            0,
            now,
            request.number,
            None,
            delay,
            outcome,
            {
                "domain": names["domain"],
                "user": names["user"],
                "session": session_id,
                "from": wanted.from_number,
                "type": wanted.type,
                "media_type": wanted.mime_type or "",
                "media_size": wanted.size or 0,
            },
        )
        record.accept([message])
        held = self.held
        held.subscriptions.tell("message", [outbound(message, now)], now)
        held.subscriptions.tell("messagesession", [_row_of(held, _session_of(message))], now)
        return message

    # -- sessions -------------------------------------------------------------------------------------------------

    def sessions(self, request: Request, names: Mapping[str, str]) -> Reply:
        """Answer the sessions of a user, or of a domain: the last used first (I)."""
        most = limit(request.query)
        held = self.held
        user = names["user"] if "/users/" in request.path else None
        own = [key for key in held.sessions if key[0] == names["domain"] and user in (None, key[1])]
        latest = heapq.nlargest(most, own, key=lambda key: last_used(held.sessions[key], held.replies[key]))
        return json_reply(200, [_row_of(held, key) for key in latest])

    def session(self, _: Request, names: Mapping[str, str]) -> Reply:
        """Answer one session: a list of one (K)."""
        held = self.held
        return json_reply(200, [_row_of(held, _known(held, names))])

    def messages(self, request: Request, names: Mapping[str, str]) -> Reply:
        """Answer the messages of a session, the newest first (K: so the examples); none where there is none (U)."""
        most, now = limit(request.query), self.around.clock()
        held, key = self.held, (names["domain"], names["user"], names["session"])
        sent = held.sessions.get(key, [])
        rows = [(message.accepted_at, outbound(message, now)) for message in sent]
        if sent:
            rows += [(reply.at, inbound(reply, sent[-1])) for reply in held.replies[key]]
        rows.sort(key=lambda row: row[0])
        return json_reply(200, [row for _, row in reversed(rows)][:most])

    def set_participants(self, request: Request, names: Mapping[str, str]) -> Reply:
        """Answer the participants of a chat; those of a group that is texted stay as they are (K)."""
        held = self.held
        key = _known(held, names)
        participants = parse(Participants, request.body).participants
        if "," in held.sessions[key][0].number:
            raise Refused(400, "a group MMS session keeps its participants: start a new session")
        held.participants[key] = participants
        return self._done()

    def remove_session(self, _: Request, names: Mapping[str, str]) -> Reply:
        """Answer a deletion, and that the user leaves (I: which for this user is the same)."""
        held = self.held
        key = _known(held, names)
        del held.sessions[key]
        held.participants.pop(key, None)
        held.replies.pop(key, None)
        return self._done()

    # -- numbers and subscriptions --------------------------------------------------------------------------------

    def numbers(self, request: Request, names: Mapping[str, str]) -> Reply:
        """Answer the SMS numbers of the user, the domain or the system."""
        own = {
            "number": NUMBER,
            "application": "user",
            "domain": DOMAIN,
            "carrier": "sandbox",
            "dest": USER,
            "mms-capable": True,
            "group-mms-capable": True,
        }
        rows = [own, *self.held.numbers]
        if "domain" in names:
            rows = [row for row in rows if row["domain"] == names["domain"]]
        if "/users/" in request.path:
            rows = [row for row in rows if row["dest"] == names["user"]]
        return json_reply(200, rows)

    def add_number(self, request: Request, names: Mapping[str, str]) -> Reply:
        """Answer a new SMS number."""
        wanted = parse(NewNumber, request.body)
        self.held.numbers.append({**wanted.model_dump(), "domain": names["domain"]})
        return self._done()

    def subscriptions(self, _: Request, names: Mapping[str, str]) -> Reply:
        """Answer the subscriptions, of a domain or all."""
        rows = self.held.subscriptions.all(self.around.clock(), names.get("domain"))
        return json_reply(200, list(map(shown, rows)))

    def subscribe(self, request: Request, names: Mapping[str, str]) -> Reply:
        """Answer a new subscription."""
        now = self.around.clock()
        ends = expiry(names["token"], now)
        wanted = parse(Subscription, request.body)
        return json_reply(200, self.held.subscriptions.create(wanted, now, ends=ends, domain=names.get("domain")))

    def subscription(self, _: Request, names: Mapping[str, str]) -> Reply:
        """Answer one subscription."""
        return json_reply(200, shown(self.held.subscriptions.get(names["id"], self.around.clock())))

    def change_subscription(self, request: Request, names: Mapping[str, str]) -> Reply:
        """Answer a change to a subscription."""
        changes = parse(Changes, request.body)
        self.held.subscriptions.update(names["id"], changes, self.around.clock(), names.get("domain"))
        return self._done()

    def unsubscribe(self, request: Request, names: Mapping[str, str]) -> Reply:
        """Answer the deletion of a subscription; outside a domain its body repeats the id (K)."""
        if "domain" not in names and parse(Unsubscribe, request.body).subscription_id != names["id"]:
            raise Refused(400, "subscription_id: not that of the path")
        self.held.subscriptions.delete(names["id"], self.around.clock(), names.get("domain"))
        return self._done()


def _session_of(message: Accepted) -> Session:
    details = message.details or {}
    return details["domain"], details["user"], details["session"]


def _row_of(held: _Held, key: Session) -> dict[str, Any]:
    return session(held.sessions[key], held.replies[key], held.participants.get(key))


def _known(held: _Held, names: Mapping[str, str]) -> Session:
    key = (names["domain"], names["user"], names["session"])
    if key not in held.sessions:
        raise Refused(404)
    return key


_Endpoint = Callable[[NetSapiens, Request, Mapping[str, str]], Reply]
_OF_DOMAIN = "/domains/(?P<domain>[^/]+)"
_OF_USER = f"{_OF_DOMAIN}/users/(?P<user>[^/]+)"
_OF_SESSION = f"{_OF_USER}/messagesessions/(?P<session>[^/]+)"
_N = NetSapiens
_ROUTES: list[tuple[re.Pattern[str], Mapping[str, _Endpoint]]] = [
    (re.compile(path), methods)
    for path, methods in (
        (f"{_OF_SESSION}/messages", {"GET": _N.messages, "POST": _N.send}),
        (f"{_OF_USER}/messages", {"POST": _N.start}),
        ("/tokens", {"POST": _N.grant}),
        ("/version", {"GET": _N.version}),
        (f"{_OF_DOMAIN}/messagesessions", {"GET": _N.sessions}),
        (f"{_OF_USER}/messagesessions", {"GET": _N.sessions}),
        (_OF_SESSION, {"GET": _N.session, "PUT": _N.set_participants, "DELETE": _N.remove_session}),
        (f"{_OF_SESSION}/leave", {"PUT": _N.remove_session}),
        ("/smsnumbers", {"GET": _N.numbers}),
        (f"{_OF_DOMAIN}/smsnumbers", {"GET": _N.numbers, "POST": _N.add_number}),
        (f"{_OF_USER}/smsnumbers", {"GET": _N.numbers}),
        ("/subscriptions", {"GET": _N.subscriptions, "POST": _N.subscribe}),
        (f"{_OF_DOMAIN}/subscriptions", {"GET": _N.subscriptions, "POST": _N.subscribe}),
        (
            "/subscriptions/(?P<id>[^/]+)",
            {"GET": _N.subscription, "PUT": _N.change_subscription, "DELETE": _N.unsubscribe},
        ),
        (
            f"{_OF_DOMAIN}/subscriptions/(?P<id>[^/]+)",
            {"PUT": _N.change_subscription, "DELETE": _N.unsubscribe},
        ),
    )
]
