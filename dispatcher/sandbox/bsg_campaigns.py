"""The campaigns and messages of the BSG stand-in: found again in the record, and as the vendor writes them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dispatcher.sandbox.app import Surroundings
from dispatcher.sandbox.bsg_wire import Refused, stamp
from dispatcher.sandbox.fate import Outcome
from dispatcher.sandbox.record import Accepted, Record

NAME = "bsg"
CURRENCY = "USD"
STATUSES = (  # K
    *("delivered", "sent", "scheduled", "moderation", "accepted", "sending", "expired", "failed", "undelivered"),
    *("unknown", "read", "not_viber_user", "not_rcs_user"),
)
_TYPES = ("sms", "viber", "hlr", "rcs", "whatsapp")  # K: those that a campaign and a message may be of
_FINAL = {Outcome.DELIVERED: "delivered", Outcome.FAILED: "undelivered", Outcome.NOT_SENT: "failed"}


@dataclass(slots=True)
class Held:
    """One campaign: its messages, the longest of their delays, and when it was stopped."""

    id: int
    messages: list[Accepted] = field(default_factory=list)
    longest: float = 0.0
    stopped_at: float | None = None


class Campaigns:
    """All campaigns, read from the record as it grows; with a record file they survive a restart."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._forget()

    def _forget(self) -> None:
        self._source: list[Accepted] = self._around.record.messages
        self._seen = 0
        self._held: dict[int, Held] = {}
        self._own: list[Accepted] = []
        self._by_reference: dict[str, list[Accepted]] = {}

    def _read(self) -> None:
        """Take in what the record has got since; the caller holds its lock."""
        record = self._around.record
        if self._source is not record.messages:  # it was emptied
            self._forget()
        new = self._source[self._seen :]
        self._seen += len(new)
        for message in new:
            if message.provider == NAME:
                self._take(message)

    def _take(self, message: Accepted) -> None:
        details = _details(message)
        held = self._held.setdefault(details["campaign"], Held(details["campaign"]))
        held.messages.append(message)
        held.longest = max(held.longest, message.delay)
        held.stopped_at = self._around.record.recalled.get((NAME, message.message_id), held.stopped_at)
        self._own.append(message)
        if details["reference"] is not None:
            self._by_reference.setdefault(details["reference"], []).append(message)

    def references(self) -> Mapping[str, Sequence[Accepted]]:
        """Return the messages under each reference. The caller holds the record's lock."""
        self._read()
        return self._by_reference

    def all(self) -> list[Held]:
        """Return all campaigns, the oldest first."""
        with self._around.record.lock:
            self._read()
            return list(self._held.values())

    def get(self, campaign_id: int) -> Held:
        """Return one campaign; there being none is a refusal (U: 404)."""
        with self._around.record.lock:
            self._read()
            if campaign_id not in self._held:
                raise Refused(404, "Campaign not found")
            return self._held[campaign_id]

    def of(self, messages: Sequence[Accepted]) -> Held:
        """Return the campaign of messages just accepted, or (a dry run) of those that would be."""
        self._read()
        campaign_id = _details(messages[0])["campaign"] if messages else 0
        longest = max((message.delay for message in messages), default=0.0)
        return self._held.get(campaign_id) or Held(campaign_id, list(messages), longest)

    def stop(self, campaign: Held, now: float) -> None:
        """Note that a campaign was stopped."""
        campaign.stopped_at = now

    def messages(
        self, *, campaign: int | None = None, message: int | None = None, reference: str | None = None
    ) -> Sequence[Accepted]:
        """Return the messages that fit, oldest first. The caller holds the record's lock."""
        self._read()
        found: Sequence[Accepted] = self._own
        if reference is not None:
            found = self._by_reference.get(reference, [])
        if campaign is not None:
            held = self._held.get(campaign)
            of_it = [] if held is None else held.messages
            found = of_it if reference is None else [m for m in found if _details(m)["campaign"] == campaign]
        return found if message is None else [m for m in found if m.message_id == message]


def _details(message: Accepted) -> Mapping[str, Any]:
    assert message.details is not None
    return message.details


def status_of(campaign: Held, now: float) -> str:
    """Return the state of a campaign (K: the words; I: their order)."""
    if campaign.stopped_at is not None:
        return "stopped"
    if not campaign.messages:
        return "done"
    first = campaign.messages[0]
    if now < first.sent_from:
        return "scheduled"
    if now >= first.sent_from + campaign.longest / 2:
        return "done"
    return "creation" if first.scheduled_for is None and now == first.accepted_at else "sending"


def campaign_row(campaign: Held, now: float) -> dict[str, Any]:
    """Return a campaign as `GET /api/campaigns/{id}` gives it; its price is told only when it is created (K)."""
    status = status_of(campaign, now)
    first = campaign.messages[0] if campaign.messages else None
    created, start = (0, 0) if first is None else (int(first.accepted_at), int(first.sent_from))
    about = {"type": "sms", "sender": ""} if first is None else _details(first)
    begun = now >= start and (campaign.stopped_at is None or campaign.stopped_at >= start)
    statuses = [] if not begun else [_settled(message, now) for message in campaign.messages]
    return {
        "id": campaign.id,
        "name": f"{str(about['type']).upper()} api campaign / {stamp(created)}",
        "sender": about["sender"],
        "status": status,
        "message_type": about["type"] if about["type"] in _TYPES else "sms",
        "start_at": stamp(start),
        "real_start_at": stamp(start) if begun else None,
        "finished_at": stamp(int(start + campaign.longest)) if status == "done" else None,
        "created_at": stamp(created),
        "statistics": {"delivered": statuses.count("delivered"), "sent": len(statuses)},
        "calculated_price": 0,
        "currency": None,
        "alternative_channels": None,
    }


def detail(campaign: Held, now: float, record: Record) -> dict[str, Any]:
    """Return a campaign as `GET /api/campaigns/{id}/detail` gives it."""
    row = campaign_row(campaign, now)
    counts = Counter(message_status(message, now, record) for message in campaign.messages)
    total = sum(message.cost for message in campaign.messages if not record.is_recalled(message))
    return {
        **{name: row[name] for name in ("id", "name", "sender", "status")},
        "type": row["message_type"],
        "started_at": row["start_at"],
        "actual_start_at": row["real_start_at"],
        "finished_at": row["finished_at"],
        "created_at": row["created_at"],
        "statistics": {status: counts[status] for status in STATUSES},
        "total_messages": sum(message.segments for message in campaign.messages),
        "total_phones": len(campaign.messages),
        "total_price": f"{total:.7f}",
        "currency": CURRENCY,
        "alternative_channels": {},  # K: an object by the schema, an empty list in the example
    }


def _settled(message: Accepted, now: float) -> str:
    """Return the state of a message that was not taken back."""
    start, delay = message.sent_from, message.delay
    if now < start:
        return "scheduled"
    if now < start + delay / 4:
        return "accepted"
    if now < start + delay / 2:
        return "sending"
    if now < start + delay or message.outcome is Outcome.SILENT:
        return "sent"
    return str(_details(message)["status"] or _FINAL[message.outcome])


def message_status(message: Accepted, now: float, record: Record) -> str:
    """Return the state of a message; one whose campaign was stopped before it went out has failed (U)."""
    return "failed" if record.is_recalled(message) else _settled(message, now)


def message_row(message: Accepted, now: float, record: Record) -> dict[str, Any]:
    """Return a message as `GET /api/messages` gives it."""
    about = _details(message)
    status = message_status(message, now, record)
    sent = status in ("sent", "delivered", "undelivered", "expired")
    free = record.is_recalled(message)
    return {
        "id": message.message_id,
        "campaign_id": about["campaign"],
        "reference_id": about["reference"],
        "type": about["type"] if about["type"] in _TYPES else "sms",
        "source": "rest",
        "text": message.text,
        "phone": int(message.number),
        "validity": about["validity"],
        "status": status,
        "amount": {"value": f"{0.0 if free else message.cost:.7f}", "currency": CURRENCY},
        "sender": about["sender"],
        "created_at": stamp(int(message.accepted_at)),
        "sent_at": stamp(int(message.sent_from + message.delay / 4)) if sent else None,
        "delivered_at": stamp(int(message.sent_from + message.delay)) if sent and status != "sent" else None,
        "country": None,
        "parts": message.segments,
    }
