"""The stand-in of WinSMS: its seven SMS endpoints and the balance (K, I, U as in `winsms_wire`)."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, NamedTuple

from dispatcher.sandbox.app import Reply, Request, Settings, Surroundings, json_reply
from dispatcher.sandbox.counting import segments
from dispatcher.sandbox.fate import Magic, Outcome, draw, magic
from dispatcher.sandbox.record import Accepted, MessageId
from dispatcher.sandbox.winsms_wire import (
    MOST_BYTES,
    MOST_CHARACTERS,
    MOST_RECIPIENTS,
    WORDS,
    ZONE,
    Message,
    Messages,
    Refused,
    minute,
    page,
    paging,
    parse,
    parse_ids,
    send_time,
)

NAME = "winsms"
BASE_PATH = "/api/rest/v1"
REMEMBERED = timedelta(days=90).total_seconds()  # K: NOTFOUND from then on

_NUMBER = re.compile("[1-9][0-9]{7,14}")
_REFUSALS = {
    Magic.REFUSED_BAD_NUMBER: "BADDEST",
    Magic.REFUSED_OPTED_OUT: "OPTEDOUT",
    Magic.REFUSED_DO_NOT_CONTACT: "WASPADNC",
}
_ACCOUNTS = {"locked": "ACCOUNTLOCKED", "trial": "TRIALNOT2SELF", "open": None}
_DELIVERED: tuple[str | int, ...] = ("", 0)
_FINAL_CODES = {Outcome.FAILED: "FAILED", Outcome.NOT_SENT: "SENDINGFAILED"}


class _Counts(NamedTuple):
    recipients: int
    refused: int
    segments: int


@dataclass(frozen=True, slots=True)
class WinSms:
    """WinSMS under `/api/rest/v1`, and at the root for a validator in between that serves no base path."""

    name: ClassVar[str] = NAME
    base_path: ClassVar[str] = BASE_PATH
    client_settings: ClassVar[Mapping[str, str]] = {"api_key": "sandbox"}
    around: Surroundings

    def locate(self, path: str) -> str | None:
        """Return the path below the base path, None if it is not this provider's."""
        if path.startswith(BASE_PATH + "/"):
            return path[len(BASE_PATH) :]
        return path if path.startswith(("/sms/", "/credits/")) else None

    def sends(self, path: str) -> bool:
        """Whether a path is one of those that send messages."""
        return path in ("/sms/outgoing/send", "/sms/outgoing/sendmulti")

    def answer(self, request: Request) -> Reply:
        """Carry out a request and return its answer."""
        try:
            method, carry_out = _ROUTES[request.path]
        except KeyError:
            return self.refuse(404)
        try:
            self._check(request, method)
            return carry_out(self, request)
        except Refused as refused:
            return self._error(refused.status, refused.words)

    def refuse(self, status: int) -> Reply:
        """Return an error in the vendor's shape (K), for 429 too (U)."""
        return self._error(status, WORDS.get(status, "The request was refused"))

    def _error(self, status: int, words: str) -> Reply:
        return self._json({"errorMessage": words}, status)

    def _json(self, content: Mapping[str, Any], status: int = 200, counts: _Counts | None = None) -> Reply:
        now = datetime.fromtimestamp(self.around.clock(), ZONE)
        stamp = f"{now:%Y%m%d%H%M%S}{now.microsecond // 1000:03d}"
        content = {**content, "statusCode": status, "timeStamp": stamp, "version": "1.0"}
        return json_reply(status, content, **(counts._asdict() if counts else {}))

    def _check(self, request: Request, method: str) -> None:
        if request.method != method:
            raise Refused(405, f"Request method should be set to '{method}', not '{request.method}'.")
        key = request.headers.get("authorization", "")
        if not key:
            raise Refused(401, WORDS[401])
        wanted = self.around.settings.api_key
        # A key has no blank in it: one that has is a scheme and a key, which the vendor does not take (K).
        if key.startswith("bad") or " " in key or wanted not in (None, key):
            raise Refused(401, "The API Key supplied in the 'AUTHORIZATION' header is not valid")
        if method == "GET":
            return
        if len(request.body) > MOST_BYTES:
            size = -(-len(request.body) // 1000)
            raise Refused(413, f"Request POST data is: {size}kb. The maximum POST size allowed is 200kb.")
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != "application/json":
            raise Refused(415, f"Request content-type should be set to 'application/json', not '{content_type}'.")

    # -- sending --------------------------------------------------------------------------------------------

    def send(self, request: Request) -> Reply:
        """Answer `POST /sms/outgoing/send`: one text to 1..1000 recipients."""
        message = parse(Message, request.body, "There is an error in the 'recipients' array.")
        (rows,), counts = self._submit([message], request)
        return self._json({"recipients": rows}, counts=counts)

    def send_many(self, request: Request) -> Reply:
        """Answer `POST /sms/outgoing/sendmulti`: many texts, 1..1000 recipients over all of them."""
        wrong = "There is an error in the 'recipients' array of one or more messageDetails objects."
        messages = parse(Messages, request.body, wrong).messages
        if sum(len(message.recipients) for message in messages) > MOST_RECIPIENTS:
            raise Refused(422, f"There are more than {MOST_RECIPIENTS} recipients across all messages.")
        answers, counts = self._submit(messages, request)
        rows = [
            {"message": message.message, "recipients": answer}
            for message, answer in zip(messages, answers, strict=True)
        ]
        return self._json({"messages": rows}, counts=counts)

    def _submit(self, messages: Sequence[Message], request: Request) -> tuple[list[list[dict[str, Any]]], _Counts]:
        now, settings, record = self.around.clock(), self.around.settings, self.around.record
        planned = [(message, segments(message.message), send_time(message.scheduled_time)) for message in messages]
        accepted: list[Accepted] = []
        answers = []
        with record.lock:
            balance = record.credits[NAME]
            for message, parts, send_at in planned:
                text = message.message
                too_long = parts > message.max_segments or len(text) > MOST_CHARACTERS
                general = "TOOLONG" if too_long else _ACCOUNTS[settings.account]
                scheduled_for = send_at if send_at is not None and send_at > now else None  # K: past is at once
                rows = []
                for recipient in message.recipients:
                    number = recipient.mobile_number
                    error = general or self._refusal(number)
                    if error is None and balance < parts:
                        error = "INSUFFICIENT CREDITS"
                    message_id = None
                    if error is None:
                        message_id = record.new_id()
                        balance -= parts  # I: a credit a segment; K: it depends on country and length
                        delay, outcome = _draw(settings, number)
                        accepted.append(
                            Accepted(
                                NAME,
                                message_id,
                                number,
                                text,
                                parts,
                                parts,
                                now,
                                request.number,
                                scheduled_for,
                                delay,
                                outcome,
                            )
                        )
                    rows.append(
                        {
                            "acceptError": error or "",
                            "accepted": error is None,
                            "apiMessageId": message_id,
                            "clientMessageId": recipient.client_message_id
                            if "client_message_id" in recipient.model_fields_set
                            else None,
                            # K: the vendor's prose says null for a refusal, its example says 0.
                            "creditCost": parts if error is None else None,
                            "mobileNumber": number,
                            "newCreditBalance": round(balance, 1),
                            "scheduledTime": (message.scheduled_time or None) if error is None else None,
                        }
                    )
                answers.append(rows)
            record.accept(accepted)
        recipients = sum(map(len, answers))
        submitted = sum(parts * len(message.recipients) for message, parts, _ in planned)
        return answers, _Counts(recipients, recipients - len(accepted), submitted)

    def _refusal(self, number: str) -> str | None:
        if not _NUMBER.fullmatch(number):
            return "BADDEST"
        if number in self.around.record.optouts:
            return "OPTEDOUT"
        asked = magic(number)
        return None if asked is None else _REFUSALS.get(asked)

    # -- afterwards -----------------------------------------------------------------------------------------

    def status(self, request: Request) -> Reply:
        """Answer `POST /sms/outgoing/status`: the state of 1..1000 messages by id."""
        ids = parse_ids(request.body)
        now, record = self.around.clock(), self.around.record
        with record.lock:
            known = record.by_id[NAME]
            found = [known.get(message_id) for message_id in ids]
            found = [None if m is None or record.is_recalled(m) else m for m in found]
        rows = [_status_row(message_id, message, now) for message_id, message in zip(ids, found, strict=True)]
        return self._json({"messageStatuses": rows})

    def scheduled(self, request: Request) -> Reply:
        """Answer `GET /sms/scheduled`: what waits for its time."""
        offset, limit = page(request.query)
        record = self.around.record
        with record.lock:
            waiting = list(record.pending(NAME, self.around.clock()).values())
        rows = [
            {
                "apiMessageId": message.message_id,
                "creditCost": message.cost,
                "mobileNumber": message.number,
                "scheduledSendTime": minute(message.sent_from),
                "submitTime": minute(message.accepted_at),
            }
            for message in waiting[offset : offset + limit]
        ]
        return self._json({"scheduledMessages": rows, **paging(offset, limit, len(waiting))})

    def delete_scheduled(self, request: Request) -> Reply:
        """Answer `POST /sms/scheduled/delete`: take scheduled messages back, with a refund."""
        ids = parse_ids(request.body)
        now, record = self.around.clock(), self.around.record
        rows: list[dict[str, Any]] = []
        recalled: dict[MessageId, Accepted] = {}
        with record.lock:
            waiting = record.pending(NAME, now)
            for message_id in ids:
                message = waiting.get(message_id) if message_id not in recalled else None
                known = record.by_id[NAME].get(message_id)
                if message is not None:
                    recalled[message_id] = message
                rows.append(
                    {
                        "apiMessageId": message_id,
                        "creditCost": 0 if message is None else message.cost,
                        "deleteError": "NOTFOUND" if message is None else "",  # I: also for one already sent
                        "deleted": message is not None,
                        "mobileNumber": "" if known is None else known.number,
                    }
                )
            record.recall(list(recalled.values()), now)
        return self._json({"deletedMessageStatuses": rows})

    def incoming(self, request: Request) -> Reply:
        """Answer `GET /sms/incoming`: the replies, oldest first."""
        offset, limit = page(request.query)
        with self.around.record.lock:
            replies = list(self.around.record.incoming)
        rows = [
            {
                "incomingApiMessageId": reply.incoming_id,
                "messageText": reply.text,
                "mobileNumber": reply.number,
                "outgoingApiMessageId": reply.outgoing_id or 0,
                "receiveTime": minute(reply.at),
            }
            for reply in replies[offset : offset + limit]
        ]
        return self._json({"incomingMessages": rows, **paging(offset, limit, len(replies))})

    def optouts(self, _: Request) -> Reply:
        """Answer `GET /sms/incoming/optout`: every opt-out, by a reply or by hand, without pages."""
        with self.around.record.lock:
            optouts = list(self.around.record.optouts.values())
        rows = [
            {
                "incomingApiMessageId": optout.incoming_id,
                "messageText": "* MANUALLY ADDED BY USER *" if optout.text is None else optout.text,
                "mobileNumber": optout.number,
                "receiveTime": minute(optout.at),
            }
            for optout in optouts
        ]
        return self._json({"incomingOptoutMessages": rows})

    def balance(self, _: Request) -> Reply:
        """Answer `GET /credits/balance`: with one decimal (K)."""
        with self.around.record.lock:
            balance = self.around.record.credits[NAME]
        return self._json({"creditBalance": round(float(balance), 1)})


_ROUTES: Mapping[str, tuple[str, Callable[[WinSms, Request], Reply]]] = {
    "/sms/outgoing/send": ("POST", WinSms.send),
    "/sms/outgoing/sendmulti": ("POST", WinSms.send_many),
    "/sms/outgoing/status": ("POST", WinSms.status),
    "/sms/scheduled": ("GET", WinSms.scheduled),
    "/sms/scheduled/delete": ("POST", WinSms.delete_scheduled),
    "/sms/incoming": ("GET", WinSms.incoming),
    "/sms/incoming/optout": ("GET", WinSms.optouts),
    "/credits/balance": ("GET", WinSms.balance),
}


def _draw(settings: Settings, number: str) -> tuple[float, Outcome]:
    return draw(settings.seed, number, settings.delivery_seconds, settings.failing_share)


def _status_row(message_id: int, message: Accepted | None, now: float) -> dict[str, Any]:
    if message is None or message.sent_from + REMEMBERED < now:
        code: str | int = "NOTFOUND"
        cost, number, at = 0.0, "", ""
    else:
        cost, number = message.cost, message.number
        code, at = _state(message, now)
    return {
        "apiMessageId": message_id,
        "creditCost": cost,
        "mobileNumber": number,
        "statusDelivered": code in _DELIVERED,
        "statusErrorCode": code,
        "statusTime": at,
    }


def _state(message: Accepted, now: float) -> tuple[str | int, str]:
    start, delay = message.sent_from, message.delay
    if now < start + delay / 4:
        return "INQUEUE", minute(start if now >= start else message.accepted_at)
    if now < start + delay or message.outcome is Outcome.SILENT:
        return "SENT", minute(start + delay / 4)
    # K: blank in the vendor's prose, the number 0 in its example. Both occur here, by turns.
    delivered = _DELIVERED[isinstance(message.message_id, int) and message.message_id % 2]
    return _FINAL_CODES.get(message.outcome, delivered), minute(start + delay)
