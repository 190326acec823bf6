"""The answers of NetSapiens: a message, a reply and a session as rows of its lists.

Marks, as in the stand-in: K the vendor's document says so, I inferred, U unknown (the stricter choice was made).
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from dispatcher.sandbox.fate import Outcome
from dispatcher.sandbox.netsapiens_wire import HOST
from dispatcher.sandbox.record import Accepted, Incoming

_FINAL = {Outcome.FAILED: "failed", Outcome.NOT_SENT: "undeliverable", Outcome.DELIVERED: "delivered"}


def outbound(message: Accepted, now: float) -> dict[str, Any]:
    """Return an accepted message as a row of its session."""
    details = message.details or {}
    since = now - message.accepted_at
    if since < message.delay / 4:
        status = "sending"  # K: the one word in the vendor's examples
    elif since < message.delay or message.outcome is Outcome.SILENT:
        status = "sent"
    else:
        status = _FINAL[message.outcome]
    return {
        "id": message.message_id,
        "timestamp": _either(message.accepted_at, message.request),
        "type": details["type"],
        "domain": details["domain"],
        "direction": "term",
        "dialed": message.number,
        "text": message.text,
        "status": status,
        "messagesession-reciever-hostname": HOST,
        "from-number": int(details["from"]),  # K: a number, where it is one
        "from-user-id": f"{details['user']}@{details['domain']}",
        "from-video-attendee-id": None,
        "from-user-agent": "",
        "terminating-user-id": "",
        "terminating-number": message.number,
        "messagesession-id": details["session"],
        "video-instance-id": None,
        "media-type": details["media_type"],
        "media-size": details["media_size"],
        "messagesession-participants": message.number if "," in message.number else None,
    }


def inbound(reply: Incoming, to: Accepted) -> dict[str, Any]:
    """Return a reply as a row of the session whose message it answers."""
    details = to.details or {}
    return {
        **outbound(to, to.accepted_at),
        "id": reply.incoming_id,
        "timestamp": _either(reply.at, reply.incoming_id),
        "type": "sms",
        "direction": "orig",
        "dialed": "",
        "text": _unquoted(reply.text),
        "status": "",
        "from-number": int(reply.number),
        "from-user-id": "",
        "terminating-user-id": f"{details['user']}@{details['domain']}",
        "terminating-number": "",
        "media-type": "",
        "media-size": 0,
    }


def _unquoted(text: str) -> str | int:
    # K: a text of digits is a number in the vendor's examples
    return int(text) if text.isascii() and text.isdecimal() and text == str(int(text)) else text


def session(messages: list[Accepted], replies: list[Incoming], participants: str | None) -> dict[str, Any]:
    """Return the session that has these messages, at least one, and these replies."""
    first, last = messages[0], messages[-1]
    details = last.details or {}
    reply = replies[-1] if replies and replies[-1].at >= last.accepted_at else None
    group = "," in first.number
    return {
        "user": details["user"],
        "domain": details["domain"],
        "messagesession-id": details["session"],
        "messagesession-remote": first.number if group else int(first.number),
        "messagesession-sms-number": int(details["from"]),
        "messagesession-last-datetime": stamp(last.accepted_at if reply is None else reply.at),
        "messagesession-start-datetime": stamp(first.accepted_at),
        "messagesession-last-message": last.text if reply is None else _unquoted(reply.text),
        "messagesession-last-sender": f"{details['user']}@{details['domain']}" if reply is None else reply.number,
        "messagesession-last-status": "read" if reply is None else "unread",
        "messagesession-muted": "no",
        "messagesession-last-email-reminder-datetime": None,
        "messagesession-reciever-hostname": HOST,
        "messagesession-queue-termination": None,
        "messagesession-queue-status": None,
        "messagesession-queue-session-id": None,
        "messagesession-agent-start-datetime": None,
        "messagesession-last-type": details["type"] if reply is None else "sms",
        "messagesession-last-media-type": details["media_type"] if reply is None else "",
        "messagesession-last-media-size": details["media_size"] if reply is None else 0,
        "messagesession-type": "group-sms" if group else "",
        "messagesession-name": "",
        "messagesession-participants": participants or (first.number if group else ""),
    }


def last_used(messages: list[Accepted], replies: list[Incoming]) -> float:
    """Return when something last went through a session."""
    return max(messages[-1].accepted_at, replies[-1].at if replies else 0.0)


def _either(at: float, turn: int) -> str:
    # K: the vendor's schema has YYYY-MM-DDTHH:MM:SS.ssZ, its examples do not. Both occur here, by turns.
    return rfc3339(at) if turn % 2 else stamp(at)


def stamp(at: float) -> str:
    """Return epoch seconds as YYYY-MM-DD HH:MM:SS (K: so the examples); in UTC (U)."""
    return _stamp(int(at))


def rfc3339(at: float) -> str:
    """Return epoch seconds as YYYY-MM-DDTHH:MM:SS.ssZ (K: so the schemas)."""
    return f"{_stamp(int(at)).replace(' ', 'T')}.{int(at * 100) % 100:02d}Z"


@lru_cache(maxsize=4096)
def _stamp(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"
