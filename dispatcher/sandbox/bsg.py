"""The stand-in of BSG: logging in, campaigns, messages, prices and the balance (K, I, U as in `bsg_wire`).

The rest of the account, which no campaign needs, is in `bsg_book`.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar
from zlib import crc32

from dispatcher.sandbox.app import Reply, Request, Surroundings, json_reply
from dispatcher.sandbox.bsg_book import Book
from dispatcher.sandbox.bsg_campaigns import (
    CURRENCY,
    NAME,
    Campaigns,
    campaign_row,
    detail,
    message_row,
    status_of,
)
from dispatcher.sandbox.bsg_wire import (
    SCHEDULE_SECONDS,
    TARIFFS,
    WORDS,
    Campaign,
    Login,
    Message,
    Messages,
    Phone,
    Price,
    Refused,
    SmsCampaign,
    choice,
    epoch,
    expiry,
    page,
    parse,
    token,
)
from dispatcher.sandbox.counting import segments
from dispatcher.sandbox.fate import Magic, Outcome, draw, magic
from dispatcher.sandbox.record import Accepted

_HEADS = ("accounts", "auth", "campaigns", "contacts", "groups", "messages", "senders", "stoplist")
_SENDS = frozenset({"/api/campaigns/send", "/api/campaigns/sms/send", "/api/campaigns/sms/send-individual"})
_REFUSALS = {Magic.REFUSED_BAD_NUMBER: "undelivered", Magic.REFUSED_DO_NOT_CONTACT: "failed"}
_ACCOUNTS = {
    "locked": (403, "Account is blocked"),
    "trial": (422, "In the test mode messages are sent to verified contacts only"),
}
Row = tuple[str, str, str | None]
"""A number, its text and its reference."""


class Bsg:
    """BSG at the root, as at its own address."""

    name: ClassVar[str] = NAME
    base_path: ClassVar[str] = ""
    client_settings: ClassVar[Mapping[str, str]] = {
        "api_key": "sandbox",
        "sender": "Dispatcher",
        "time_zone": "UTC",
        "currency": CURRENCY,
    }

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.campaigns = Campaigns(around)
        self.book = Book(around)
        self._bodies: dict[int, float] = {}

    def locate(self, path: str) -> str | None:
        """Return the path, None if it is not this provider's."""
        parts = path.split("/", 3)
        return path if len(parts) > 2 and parts[1] == "api" and parts[2] in _HEADS else None

    def sends(self, path: str) -> bool:
        """Whether a path is one of those that send messages."""
        return path in _SENDS

    def answer(self, request: Request) -> Reply:
        """Carry out a request and return its answer."""
        try:
            if request.path == "/api/auth/login":
                return self.log_in(request)
            self._check(request)
            found = self._route(request)
            return found()
        except Refused as refused:
            return self._error(refused)

    def refuse(self, status: int) -> Reply:
        """Return an error in the vendor's shape (K)."""
        return self._error(Refused(status, WORDS.get(status, "The request was refused")))

    def _error(self, refused: Refused) -> Reply:
        if refused.status == 401:
            return json_reply(401, {"code": 401, "message": refused.words})  # I
        content: dict[str, Any] = {"message": refused.words}
        if refused.status == 422:
            content["errors"] = refused.errors or []  # K: an object of lists, or an empty list
        return json_reply(refused.status, content)

    def _route(self, request: Request) -> Callable[[], Reply]:
        words, keys = [], []
        for part in request.path.removeprefix("/api/").split("/"):
            if part.isdecimal():
                keys.append(int(part))
            words.append("{}" if part.isdecimal() else part)
        path = "/".join(words)
        methods = _ROUTES.get(path) or Book.ROUTES.get(path)
        if methods is None:
            raise Refused(404)
        if request.method not in methods:
            raise Refused(405)
        call = methods[request.method]
        if path in _ROUTES:
            return lambda: call(self, request, *keys)
        return lambda: self.book.answer(call, request, *keys)

    # -- being let in ---------------------------------------------------------------------------------------

    @property
    def _secret(self) -> str:
        return f"bsg-{self.around.settings.seed}"

    def log_in(self, request: Request) -> Reply:
        """Answer `POST /api/auth/login`: a token for a key."""
        if request.method != "POST":
            raise Refused(405)
        key = parse(Login, request.body).api_key
        if key.startswith("bad") or self.around.settings.api_key not in (None, key):
            raise Refused(401, "Invalid credentials.")  # I: the status, U: the words
        return self.refresh(request)

    def refresh(self, _: Request) -> Reply:
        """Answer `POST /api/auth/refresh`: a token for another term."""
        bearer = token(self.around.clock(), self.around.settings.token_seconds, self._secret)
        return json_reply(200, {"bearer": bearer})

    def _check(self, request: Request) -> None:
        header = request.headers.get("authorization", "")
        # K: "Bearer" by the document's scheme, "Bearer:" by its prose
        scheme, _, bearer = header.partition(" ")
        if scheme not in ("Bearer", "Bearer:") or not bearer:
            raise Refused(401, "JWT Token not found")
        expires = expiry(bearer, self._secret)
        if expires is None:
            raise Refused(401)
        if expires <= self.around.clock():
            raise Refused(401, "Expired JWT Token")
        if request.method == "POST":
            self._check_repetition(request)

    def _check_repetition(self, request: Request) -> None:
        window = self.around.settings.duplicate_body_seconds
        if window <= 0:
            return
        now, body = self.around.clock(), crc32(request.path.encode() + b"\n" + request.body)
        last = self._bodies.get(body)
        self._bodies[body] = now
        if last is not None and now - last < window:
            raise Refused(429)

    # -- sending --------------------------------------------------------------------------------------------

    def send(self, request: Request) -> Reply:
        """Answer `POST /api/campaigns/send`: one text to up to 10,000 recipients, by one channel or two."""
        campaign = parse(Campaign, request.body)
        first = campaign.channels[0]
        content = getattr(campaign, first)
        if first in ("sms", "rcs", "viber"):
            sender, text = content.sender, content.text or ""
        else:
            sender, text = str(content.get("sender", "")), str(content.get("text", ""))
        if first == "telegram":
            raise Refused(422, errors={"channels": ["telegram is for OTP messages only"]})
        if campaign.recipients.phones is None:
            groups = campaign.recipients.groups or ()
            rows: list[Row] = [(str(number), text, None) for number in self.book.numbers_of(groups)]
        else:
            rows = _rows(campaign.recipients.phones, text)
        if campaign.add_to_contact_book and not campaign.dry_run:
            self.book.remember(int(number) for number, _, _ in rows)
        return self._send(
            request,
            rows,
            {"type": first, "sender": sender, "validity": campaign.validity},
            start_at=campaign.start_at,
            check_stop_list=campaign.check_stop_list,
            dry_run=bool(campaign.dry_run),
        )

    def send_sms(self, request: Request) -> Reply:
        """Answer `POST /api/campaigns/sms/send`: one text to up to 10,000 recipients."""
        campaign = parse(SmsCampaign, request.body)
        about = {"type": "sms", "sender": campaign.sender, "validity": campaign.validity}
        return self._send(request, _rows(campaign.phones, campaign.text), about, start_at=campaign.start_at)

    def send_individual(self, request: Request) -> Reply:
        """Answer `POST /api/campaigns/sms/send-individual`: a text each."""
        campaign = parse(Messages, request.body)
        messages: Sequence[Message] = campaign.messages
        if len({(m.phone, m.text, m.sender, m.reference_id) for m in messages}) < len(messages):  # K
            raise Refused(422, errors={"messages": ["This collection should contain only unique elements."]})
        about = {"type": "sms", "sender": messages[0].sender, "validity": campaign.validity}
        rows = [(str(message.phone), message.text, message.reference_id) for message in messages]
        start_at = campaign.start_at if isinstance(campaign.start_at, str) else None
        return self._send(request, rows, about, start_at=start_at)

    def _send(
        self,
        request: Request,
        rows: Sequence[Row],
        about: Mapping[str, Any],
        *,
        start_at: str | None,
        check_stop_list: bool = True,
        dry_run: bool = False,
    ) -> Reply:
        now, settings, record = self.around.clock(), self.around.settings, self.around.record
        if settings.account in _ACCOUNTS:
            raise Refused(*_ACCOUNTS[settings.account])
        at = None if start_at is None else epoch(start_at)
        if at is not None and at > now + SCHEDULE_SECONDS:
            raise Refused(422, errors={"start_at": ["This value should be within 30 days."]})
        scheduled_for = at if at is not None and at > now else None  # U: past is at once
        counted = {text: segments(text) for text in {text for _, text, _ in rows}}
        with record.lock:
            self._check_references(rows)
            campaign_id = record.new_id()
            accepted = []
            for number, text, reference in rows:
                status = self._refusal(number, check_stop_list=check_stop_list)
                delay, outcome = draw(settings.seed, number, settings.delivery_seconds, settings.failing_share)
                if magic(number) is None and outcome is Outcome.FAILED and crc32(number.encode()) % 2:
                    status = status or "expired"
                details = {"campaign": campaign_id, "reference": reference, "status": status, **about}
                parts = counted[text]
                free = status is not None and status != "expired"
                accepted.append(
                    Accepted(
                        NAME,
                        record.new_id(),
                        number,
                        text,
                        parts,
                        0.0 if free else float(parts),
                        now,
                        request.number,
                        scheduled_for,
                        0.0 if free else delay,
                        Outcome.NOT_SENT if free else outcome,
                        details,
                    )
                )
            price = sum(message.cost for message in accepted)
            if record.credits[NAME] < price:
                raise Refused(422, WORDS[402])  # U: how want of funds is told
            if not dry_run:
                record.accept(accepted)
            campaign = self.campaigns.of(accepted)
            content = {**campaign_row(campaign, now), "calculated_price": price, "currency": CURRENCY}
        counts = {"recipients": len(rows), "segments": sum(counted[text] for _, text, _ in rows)}
        return json_reply(200, {"data": content}, **counts)

    def _check_references(self, rows: Sequence[Row]) -> None:
        given = [reference for _, _, reference in rows if reference is not None]
        known = self.campaigns.references()
        again = [reference for reference in given if reference in known]
        if not again and len(set(given)) < len(given):
            again = [reference for reference, many in Counter(given).items() if many > 1]
        if again:
            # K: "messages with duplicate reference_id will be rejected". U: how; here the whole request is.
            raise Refused(422, "Duplicate reference_id", {"reference_id": sorted(set(again))[:20]})

    def _refusal(self, number: str, *, check_stop_list: bool) -> str | None:
        asked = magic(number)
        if check_stop_list and (number in self.around.record.optouts or asked is Magic.REFUSED_OPTED_OUT):
            return "failed"  # K: it is not sent; U: the status
        return None if asked is None else _REFUSALS.get(asked)

    def price(self, request: Request) -> Reply:
        """Answer `POST /api/campaigns/price`."""
        asked = parse(Price, request.body)
        if asked.tariff_code is not None and asked.tariff_code not in TARIFFS:
            raise Refused(422, "Tariff was not found")  # K
        many = len(asked.messages or ()) + len(self.book.numbers_of(asked.groups or ()))
        return json_reply(200, {"price": float(many * segments(asked.text)), "currency": CURRENCY})

    # -- afterwards -----------------------------------------------------------------------------------------

    def list_campaigns(self, request: Request) -> Reply:
        """Answer `GET /api/campaigns`."""
        query = request.query
        offset, limit = page(query, 30)
        now = self.around.clock()
        kind = choice(query, "filter[type]", ("sms", "rcs", "whatsapp"))
        rows = [campaign_row(campaign, now) for campaign in self.campaigns.all()]
        rows = [row for row in rows if kind in ("", row["message_type"]) and _within(query, row["created_at"])]
        searched = {"taskname": "name", "sender": "sender"}.get(
            choice(query, "search[field]", ("sender", "taskname")), ""
        )
        rows = [row for row in rows if not searched or query.get("search[value]", "") in row[searched]]
        field = {"type": "message_type", "date": "created_at"}.get(query.get("sort", ""), query.get("sort", "id"))
        choice(query, "sort", ("id", "sender", "type", "date", "status"), "id")
        rows.sort(key=lambda row: row[field], reverse=choice(query, "way", ("asc", "desc"), "asc") == "desc")
        return _page(rows[offset : offset + limit], offset, limit, len(rows))

    def show(self, _: Request, campaign_id: int) -> Reply:
        """Answer `GET /api/campaigns/{id}`."""
        return json_reply(200, {"data": campaign_row(self.campaigns.get(campaign_id), self.around.clock())})

    def show_detail(self, _: Request, campaign_id: int) -> Reply:
        """Answer `GET /api/campaigns/{id}/detail`."""
        campaign = self.campaigns.get(campaign_id)
        return json_reply(200, {"data": detail(campaign, self.around.clock(), self.around.record)})

    def stop(self, _: Request, campaign_id: int) -> Reply:
        """Answer `PATCH /api/campaigns/{id}/stop`: what has not gone out does not."""
        now, record = self.around.clock(), self.around.record
        with record.lock:
            campaign = self.campaigns.get(campaign_id)
            if status_of(campaign, now) not in ("scheduled", "sending", "paused", "moderation"):
                raise Refused(422, "Invalid campaign status")  # K
            waiting = [m for m in campaign.messages if now < m.sent_from + m.delay / 4 or now < m.sent_from]
            record.recall(waiting, now)
            self.campaigns.stop(campaign, now)
            content = campaign_row(campaign, now)
        return json_reply(200, {"data": content})

    def list_messages(self, request: Request) -> Reply:
        """Answer `GET /api/messages`: the messages of a campaign, by reference, by id, or all."""
        query = request.query
        offset, limit = page(query, 15)
        field = choice(query, "sort", ("id", "phone", "delivered"), "id")
        descending = choice(query, "way", ("asc", "desc"), "asc") == "desc"
        now, record = self.around.clock(), self.around.record
        with record.lock:
            found = self.campaigns.messages(
                campaign=_number(query, "filter[campaign_id]"),
                message=_number(query, "filter[id]"),
                reference=query.get("filter[reference_id]"),
            )
            if "filter[from]" in query or "filter[to]" in query:
                found = [m for m in found if _within(query, message_row(m, now, record)["created_at"])]
            if field != "id":
                found = sorted(found, key=lambda m: m.number if field == "phone" else m.sent_from + m.delay)
            if descending:
                found = found[::-1]
            rows = [message_row(message, now, record) for message in found[offset : offset + limit]]
        return _page(rows, offset, limit, len(found))

    def balance(self, _: Request) -> Reply:
        """Answer `GET /api/accounts/balance`."""
        with self.around.record.lock:
            left = self.around.record.credits[NAME]
        return json_reply(200, {"data": {"balance": left, "currency": CURRENCY, "credit": 0}})


_ROUTES: Mapping[str, Mapping[str, Callable[..., Reply]]] = {
    "auth/refresh": {"POST": Bsg.refresh},
    "campaigns/send": {"POST": Bsg.send},
    "campaigns/sms/send": {"POST": Bsg.send_sms},
    "campaigns/sms/send-individual": {"POST": Bsg.send_individual},
    "campaigns/price": {"POST": Bsg.price},
    "campaigns": {"GET": Bsg.list_campaigns},
    "campaigns/{}": {"GET": Bsg.show},
    "campaigns/{}/detail": {"GET": Bsg.show_detail},
    "campaigns/{}/stop": {"PATCH": Bsg.stop},
    "messages": {"GET": Bsg.list_messages},
    "accounts/balance": {"GET": Bsg.balance},
}


def _rows(phones: Sequence[Phone], text: str) -> list[Row]:
    return [(str(phone.number), text, phone.reference_id) for phone in phones]


def _number(query: Mapping[str, str], name: str) -> int | None:
    value = query.get(name)
    if value is not None and not value.isdecimal():
        raise Refused(422, errors={name: ["This value should be of type int."]})
    return None if value is None else int(value)


def _within(query: Mapping[str, str], created_at: str) -> bool:
    return query.get("filter[from]", "") <= created_at <= query.get("filter[to]", "9")


def _page(rows: Sequence[Mapping[str, Any]], offset: int, limit: int, total: int) -> Reply:
    meta = {"page": {"total": total, "limit": limit, "offset": offset}}
    return json_reply(200, {"data": rows, "meta": meta})
