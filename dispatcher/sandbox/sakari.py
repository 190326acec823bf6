"""The stand-in of Sakari: tokens, and messages rendered from templates (K, I, U as in `sakari_wire`).

Contacts and the like are kept in memory (`sakari_kept`); messages are in the record, with the text that arrives.
"""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from dispatcher.sandbox.app import Reply, Request, Surroundings, json_reply
from dispatcher.sandbox.counting import segments
from dispatcher.sandbox.fate import Magic, Outcome, draw, magic
from dispatcher.sandbox.record import Accepted, Incoming
from dispatcher.sandbox.sakari_kept import OF_THE_ACCOUNT, ROUTES, Held, many, one, parsed
from dispatcher.sandbox.sakari_people import OWN_NUMBER, Kept, identifiers
from dispatcher.sandbox.sakari_wire import (
    MOST_CHARACTERS,
    ContactBody,
    Credentials,
    Mobile,
    Refused,
    Send,
    compiled,
    is_good,
    new_token,
    number_of,
    stamp,
)

NAME = "sakari"
ACCOUNT = "5e0f00000000000000000001"
LISTED = 1000  # I: the answer for a larger job lists so many of its messages only (U how many)

_INVALID = {  # K: the codes
    "CONT-001": "Invalid mobile number",
    "CONT-010": "Contact has requested no further communication",
    "MSG-007": "Message is too long",
    "MSG-020": "Number is a landline",
    "ACCT-006": "Insufficient credit",
}
_REFUSALS = {
    Magic.REFUSED_BAD_NUMBER: "CONT-001",
    Magic.REFUSED_OPTED_OUT: "CONT-010",
    Magic.REFUSED_DO_NOT_CONTACT: "MSG-020",
}
_ENDS = {  # K: the statuses and the codes
    Outcome.DELIVERED: ("Delivered", None),
    Outcome.FAILED: ("Undelivered", {"code": "MSG-019", "description": "Message could not be delivered"}),
    Outcome.NOT_SENT: ("Error", {"code": "MSG-008", "description": "Message was blocked as spam"}),
}
_MESSAGES = re.compile(f"{OF_THE_ACCOUNT}/messages(/(?P<key>[^/]+))?")


class Sakari:
    """Sakari at the root, for one account. Any client is let in unless its secret begins with "bad"."""

    name: ClassVar[str] = NAME
    base_path: ClassVar[str] = ""
    client_settings: ClassVar[Mapping[str, str]] = {
        "client_id": "00000000-0000-0000-0000-000000000001",
        "client_secret": "sandbox",
        "account_id": ACCOUNT,
    }

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self._held = Held(around.record.messages)

    def locate(self, path: str) -> str | None:
        """Return the path below the base path, None if it is not this provider's."""
        return path if path == "/oauth2/token" or path.startswith(("/v1/accounts/", "/v1/tools/")) else None

    def sends(self, path: str) -> bool:
        """Whether a POST to a path sends messages."""
        return path.startswith("/v1/accounts/") and path.endswith("/messages")

    def refuse(self, status: int) -> Reply:
        """Return an error in the vendor's shape (K), for 429 too (U)."""
        return _error(Refused(status))

    def answer(self, request: Request) -> Reply:
        """Carry out a request and return its answer."""
        try:
            return self._token(request) if request.path == "/oauth2/token" else self._routed(request)
        except Refused as refused:
            return _error(refused)

    @property
    def held(self) -> Held:
        """What is kept, forgotten when the record is. The caller holds the record's lock."""
        if self._held.source is not self.around.record.messages:
            self._held = Held(self.around.record.messages)
        return self._held

    def _token(self, request: Request) -> Reply:
        if request.method != "POST":
            raise Refused(405)
        credentials, settings = parsed(Credentials, request), self.around.settings
        if credentials.client_secret.startswith("bad") or settings.api_key not in (None, credentials.client_secret):
            raise Refused(401, "Invalid client credentials")
        token = new_token(credentials.client_id, self.around.clock(), settings.token_seconds)
        return json_reply(200, {"access_token": token, "token_type": "Bearer"})

    def _routed(self, request: Request) -> Reply:
        now = self.around.clock()
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not is_good(token, now):
            raise Refused(401)
        account = re.match(OF_THE_ACCOUNT, request.path)
        if self.around.settings.account == "locked" or (account is not None and account["account"] != ACCOUNT):
            raise Refused(403)
        with self.around.record.lock:
            messages = _MESSAGES.fullmatch(request.path)
            if messages is not None:
                return self._messages(request, messages["key"])
            for pattern, methods in ROUTES:
                found = pattern.fullmatch(request.path)
                if found is not None:
                    if request.method not in methods:
                        raise Refused(405)
                    return methods[request.method](self.held, request, found.groupdict().get("key", ""), now)
        raise Refused(404)

    def _messages(self, request: Request, key: str | None) -> Reply:
        if key is not None and request.method == "GET":
            return self.message(key)
        if key is None and request.method in ("GET", "POST"):
            return self.list_messages(request) if request.method == "GET" else self.send(request)
        raise Refused(405)

    # -- sending --------------------------------------------------------------------------------------------

    def send(self, request: Request) -> Reply:
        """Answer `POST messages`: one template to contacts, conversations, and contacts by tag."""
        wanted = parsed(Send, request)
        if not wanted.template and not wanted.media:
            raise Refused(400, "Invalid template")
        if wanted.type == "MMS" and not wanted.media:
            raise Refused(400, "Invalid media")
        people = self.held.people
        recipients = list(wanted.contacts)
        for conversation_id in wanted.conversations:
            if conversation_id not in people.conversations:
                raise Refused(400, "Invalid conversation id", "CONV-001")  # K
            recipients.append(_as_given(people.conversations[conversation_id]["contact"]))
        if wanted.filters is not None:
            recipients += map(_as_given, people.with_tags(wanted.filters.tags))
        if not recipients:
            raise Refused(400, "No contacts")
        rows, invalid, job, asked = self._sent(wanted, recipients, request.number)
        content = {
            "jobId": job,
            "messages": rows[:LISTED],
            "requested": len(recipients),
            "valid": len(rows),
            "invalid": invalid,
            "estimatedPrice": float(sum(row["price"] for row in rows)),
        }
        body = {"success": True, "data": content}
        return json_reply(200, body, recipients=len(recipients), refused=len(invalid), segments=asked)

    def start_campaign(self, campaign_id: str) -> None:
        """Start a campaign, as a person does in Sakari's own pages: no call of the API does (K)."""
        with self.around.record.lock:
            campaign = self.held.campaigns.items[campaign_id]
            people = self.held.people.with_tags(campaign["filters"]["tags"])
            self._sent(Send(template=campaign["template"]), list(map(_as_given, people)), 0)

    def _sent(
        self, wanted: Send, recipients: Sequence[ContactBody], request: int
    ) -> tuple[list[Kept], list[Kept], str, int]:
        """Return the messages, those who got none, the job, and the segments asked for."""
        render, record, now = compiled(wanted.template), self.around.record, self.around.clock()
        job, balance, asked = f"{record.new_id():024x}", record.credits[NAME], 0
        accepted: list[Accepted] = []
        invalid: list[Kept] = []
        for recipient in recipients:
            number = number_of(recipient.mobile)
            error = "CONT-001" if number is None else self._refusal(number)
            if number is None or error is not None:
                asked += 1
                invalid.append(_refused(recipient, error or "CONT-001"))
                continue
            contact, _ = self.held.people.merge(recipient, now)  # I: so that replies find their contact
            text = render(contact)
            parts = segments(text)
            asked += parts
            if len(text) > MOST_CHARACTERS or not (text.strip() or wanted.media):
                invalid.append(_refused(recipient, "MSG-007"))  # U: what an empty text is called
                continue
            if balance < parts:
                invalid.append(_refused(recipient, "ACCT-006"))
                continue
            balance -= parts  # I: a unit a segment
            details = {
                "template": wanted.template,
                "type": wanted.type,
                "job": job,
                "contact": identifiers(contact),
                "conversation": self.held.people.conversation(contact, now),
                "media": [media.url for media in wanted.media],
            }
            delay, outcome = self._draw(number)
            message_id = record.new_id()
            accepted.append(
                Accepted(NAME, message_id, number, text, parts, parts, now, request, None, delay, outcome, details)
            )
        record.accept(accepted)
        return [{**_outgoing(message, now), "status": "New"} for message in accepted], invalid, job, asked

    def _draw(self, number: str) -> tuple[float, Outcome]:
        settings = self.around.settings
        return draw(settings.seed, number, settings.delivery_seconds, settings.failing_share)

    def _refusal(self, number: str) -> str | None:
        if number in self.around.record.optouts:
            return "CONT-010"
        asked = magic(number)
        return None if asked is None else _REFUSALS.get(asked)

    # -- afterwards -----------------------------------------------------------------------------------------

    def list_messages(self, request: Request) -> Reply:
        """Answer `GET messages`: outgoing and incoming, the newest first (U)."""
        record = self.around.record
        found: list[Accepted | Incoming] = [message for message in record.messages if message.provider == NAME]
        found += record.incoming
        found.sort(key=_age, reverse=True)
        contact, conversation = request.query.get("contactId"), request.query.get("conversationId")
        if contact is not None or conversation is not None:
            shown = [(message, self._shown(message)) for message in found]
            found = [
                message
                for message, row in shown
                if contact in (None, row["contact"]["id"]) and conversation in (None, row["conversation"]["id"])
            ]
        return many(request, found, self._shown)

    def message(self, key: str) -> Reply:
        """Answer `GET messages/{id}`."""
        record = self.around.record
        found: Accepted | Incoming | None = record.by_id[NAME].get(int(key)) if key.isdecimal() else None
        if found is None:
            found = next((reply for reply in record.incoming if str(reply.incoming_id) == key), None)
        if found is None:
            raise Refused(404, "Invalid message id")
        return one(self._shown(found))

    def _shown(self, message: Accepted | Incoming) -> Kept:
        if isinstance(message, Accepted):
            return _outgoing(message, self.around.clock())
        body = ContactBody(mobile=Mobile(number=f"+{message.number}"))
        contact, _ = self.held.people.merge(body, message.at)
        return {
            "id": str(message.incoming_id),
            "contact": identifiers(contact),
            "conversation": {"id": self.held.people.conversation(contact, message.at)},
            "message": message.text,
            "outgoing": False,
            "read": False,
            "phoneNumber": OWN_NUMBER,
            "segments": segments(message.text),
            "status": "Received",
            "created": {"at": stamp(message.at)},
            "updated": {"at": stamp(message.at)},
        }


def _error(refused: Refused) -> Reply:
    content = {"success": False, "error": {"code": refused.code, "message": refused.words}}
    return json_reply(refused.status, content)


def _as_given(contact: Mapping[str, Mapping[str, str]]) -> ContactBody:
    return ContactBody(mobile=Mobile(**contact["mobile"]))


def _refused(recipient: ContactBody, code: str) -> Kept:
    given = recipient.model_dump(by_alias=True, exclude_none=True)
    return {**given, "valid": False, "error": {"code": code, "description": _INVALID[code]}}


def _age(message: Accepted | Incoming) -> tuple[float, int]:
    if isinstance(message, Incoming):
        return message.at, message.incoming_id
    return message.accepted_at, int(message.message_id)


def _outgoing(message: Accepted, now: float) -> Kept:
    """Return a message as it stands at a moment."""
    details = message.details or {}
    start, end = message.sent_from, message.sent_from + message.delay
    status, error, at = "Queued", None, start
    if now >= start + message.delay / 4:
        status, at = "Sent", start + message.delay / 4
    if now >= end and message.outcome is not Outcome.SILENT:
        (status, error), at = _ENDS[message.outcome], end
    return {
        "id": str(message.message_id),
        "contact": details["contact"],
        "conversation": {"id": details["conversation"]},
        "message": message.text,
        "template": details["template"],
        "outgoing": True,
        "phoneNumber": OWN_NUMBER,
        "price": message.cost,
        "segments": message.segments,
        "status": status,
        **({"error": error} if error is not None else {}),
        "media": [{"url": url} for url in details["media"]],
        "created": {"at": stamp(message.accepted_at)},
        "updated": {"at": stamp(at)},
    }
