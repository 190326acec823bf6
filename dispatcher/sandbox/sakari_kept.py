"""What an account keeps at the stand-in of Sakari, and the calls on it: contacts, templates, campaigns and so on.

Each call takes what is kept, the request, the key in its path and the time; the caller holds the record's lock.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from dispatcher.sandbox.app import Reply, Request, json_reply
from dispatcher.sandbox.record import Accepted
from dispatcher.sandbox.sakari_people import Kept, People
from dispatcher.sandbox.sakari_wire import (
    CampaignBody,
    ContactBody,
    Refused,
    TemplateBody,
    WebhookBody,
    compiled,
    number_of,
    page,
    parse,
    stamp,
    uploaded,
)

_FILES_LAST = 30 * 86_400  # U: for how long a file is hosted, in seconds
_BAD_NUMBER = {"code": "CONT-001", "description": "Invalid mobile number"}  # K

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(slots=True)
class Shelf:
    """Things that are created, listed, changed and deleted as they are."""

    items: dict[str, Kept] = field(default_factory=dict)
    last: int = 0

    def add(self, content: Kept) -> Kept:
        """Keep something under an id of its own."""
        self.last += 1
        item = {**content, "id": f"a1{self.last:022x}"}
        self.items[item["id"]] = item
        return item


@dataclass(slots=True)
class Held:
    """What the stand-in keeps besides the record that it belongs to."""

    source: list[Accepted]
    people: People = field(default_factory=People)
    templates: Shelf = field(default_factory=Shelf)
    campaigns: Shelf = field(default_factory=Shelf)
    webhooks: dict[str, Kept] = field(default_factory=dict)
    files: int = 0


# --- Requests and answers ---------------------------------------------------------------------------------------------


def body_kind(request: Request, *kinds: str) -> str:
    """Return the content type of a body, which must be one of some."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in kinds:
        raise Refused(415)
    return kind


def parsed(model: type[_Model], request: Request) -> _Model:
    """Return the JSON body of a request as a model."""
    body_kind(request, "application/json")
    return parse(model, request.body)


def one(data: object, status: int = 200) -> Reply:
    """Return the answer that tells of one thing."""
    return json_reply(status, {"success": True, "data": data})


def many(request: Request, rows: Sequence[Any], shown: Callable[[Any], Kept] = dict) -> Reply:
    """Return the page of some rows that the request asks for."""
    offset, limit = page(request.query)
    paging = {"offset": offset, "limit": limit, "totalCount": len(rows)}
    data = [shown(row) for row in rows[offset : offset + limit]]
    return json_reply(200, {"success": True, "pagination": paging, "data": data})


_GONE = json_reply(200, {"success": True})


# --- Contacts ---------------------------------------------------------------------------------------------------------


def create_contacts(held: Held, request: Request, _: str, now: float) -> Reply:
    """Answer `POST contacts`: one as JSON, many as CSV (K), by `mergeStrategy`."""
    strategy = request.query.get("mergeStrategy", "append")  # U: the default
    if strategy not in ("append", "core", "remove"):
        raise Refused(400, "Invalid mergeStrategy")
    if body_kind(request, "application/json", "text/csv") == "application/json":
        body = parse(ContactBody, request.body)
        _judge(body)
        return one([held.people.merge(body, now, strategy)[0]], 201)
    done, errors, new = [], [], 0
    rows = uploaded(request.body)
    for row in rows:
        if number_of(row.mobile) is None:
            errors.append({**row.model_dump(by_alias=True, exclude_none=True), "valid": False, "error": _BAD_NUMBER})
            continue
        contact, added = held.people.merge(row, now, strategy)
        done.append(contact)
        new += added
    counts = {"submitted": len(rows), "success": len(done), "inserted": new, "updated": len(done) - new}
    return one({**counts, "contacts": done, "errors": errors}, 201)


def _judge(body: ContactBody) -> None:
    if number_of(body.mobile) is None:
        raise Refused(400, _BAD_NUMBER["description"], _BAD_NUMBER["code"])


def list_contacts(held: Held, request: Request, _: str, __: float) -> Reply:
    """Answer `GET contacts`, by parts of names, number and email, and by tag."""
    tags = request.query.get("tags")
    rows = list(held.people.contacts.values()) if tags is None else held.people.with_tags(tags.split(","))
    for name in ("firstName", "lastName", "email"):
        part = request.query.get(name, "").lower()
        rows = [row for row in rows if part in str(row.get(name, "")).lower()]
    mobile = re.sub("[^0-9]", "", request.query.get("mobile", ""))
    return many(request, [row for row in rows if mobile in row["mobile"]["number"]])


def contact(held: Held, request: Request, key: str, now: float) -> Reply:
    """Answer `GET`, `PUT` and `DELETE contacts/{id}`."""
    if key not in held.people.contacts:
        raise Refused(404, "Invalid contact id")
    if request.method == "DELETE":
        held.people.remove(key)
        return _GONE
    if request.method == "PUT":
        body = parsed(ContactBody, request)
        if body.mobile is not None:
            _judge(body)
            held.people.renumber(key, body.mobile)
        held.people.change(key, body, now, replace=False)
    return one(held.people.contacts[key])


# --- Templates and campaigns ------------------------------------------------------------------------------------------


def templates(held: Held, request: Request, _: str, __: float) -> Reply:
    """Answer `GET` and `POST templates` (K: a new one comes in a list)."""
    if request.method == "POST":
        return one([held.templates.add(_content(TemplateBody, request))], 201)
    return _named(held.templates, request)


def template(held: Held, request: Request, key: str, _: float) -> Reply:
    """Answer `GET`, `PUT` and `DELETE templates/{id}`."""
    return _item(held.templates, TemplateBody, request, key)


def campaigns(held: Held, request: Request, _: str, __: float) -> Reply:
    """Answer `GET` and `POST campaigns`; none is started by it (K)."""
    if request.method == "POST":
        return one(held.campaigns.add(_content(CampaignBody, request)), 201)
    return _named(held.campaigns, request)


def campaign(held: Held, request: Request, key: str, _: float) -> Reply:
    """Answer `GET`, `PUT` and `DELETE campaigns/{id}`."""
    return _item(held.campaigns, CampaignBody, request, key)


def _named(shelf: Shelf, request: Request) -> Reply:
    part = request.query.get("name", "").lower()
    return many(request, [row for row in shelf.items.values() if part in row["name"].lower()])


def _item(shelf: Shelf, model: type[TemplateBody | CampaignBody], request: Request, key: str) -> Reply:
    if key not in shelf.items:
        raise Refused(404, "Invalid id")
    if request.method == "DELETE":
        del shelf.items[key]
        return _GONE
    if request.method == "PUT":
        shelf.items[key] = {**_content(model, request), "id": key}
    return one(shelf.items[key])


def _content(model: type[TemplateBody | CampaignBody], request: Request) -> Kept:
    body = parsed(model, request)
    compiled(body.template)
    return body.model_dump(by_alias=True)


# --- Conversations, webhooks, files -----------------------------------------------------------------------------------


def conversations(held: Held, request: Request, _: str, __: float) -> Reply:
    """Answer `GET conversations`."""
    return many(request, list(held.people.conversations.values()))


def conversation(held: Held, request: Request, key: str, now: float) -> Reply:
    """Answer `GET conversations/{id}` and `PUT conversations/{id}/close`."""
    if key not in held.people.conversations:
        raise Refused(404, "Invalid conversation id", "CONV-001")  # K
    if request.method == "PUT":
        held.people.close(key, now)
    return one(held.people.conversations[key])


def webhooks(held: Held, request: Request, _: str, __: float) -> Reply:
    """Answer `GET` and `POST webhooks`; the URL is the key (K)."""
    if request.method == "GET":
        return one(list(held.webhooks.values()))
    body = parsed(WebhookBody, request)
    held.webhooks[body.url] = {"url": body.url, "eventTypes": list(body.event_types)}
    return one(held.webhooks[body.url])


def webhook(held: Held, _: Request, key: str, __: float) -> Reply:
    """Answer `DELETE webhooks/{url}` (K: 204)."""
    if held.webhooks.pop(key, None) is None:
        raise Refused(404, "Invalid webhook")
    return Reply(status=204, body=b"")


def share(held: Held, request: Request, _: str, now: float) -> Reply:
    """Answer `POST /v1/tools/sharefile`: a file as it is, or as the field `media` of a form (K)."""
    kind = body_kind(request, "application/octet-stream", "multipart/form-data")
    if not request.body or (kind.startswith("multipart") and b'name="media"' not in request.body):
        raise Refused(400, "Invalid media")
    held.files += 1
    return one({"link": f"https://files.example/{held.files}", "expires": stamp(now + _FILES_LAST)})


Endpoint = Callable[[Held, Request, str, float], Reply]


def _route(path: str, **methods: Endpoint) -> tuple[re.Pattern[str], Mapping[str, Endpoint]]:
    return re.compile(path), methods


OF_THE_ACCOUNT = "/v1/accounts/(?P<account>[^/]+)"
ROUTES = [
    _route(f"{OF_THE_ACCOUNT}/contacts", GET=list_contacts, POST=create_contacts),
    _route(f"{OF_THE_ACCOUNT}/contacts/(?P<key>[^/]+)", GET=contact, PUT=contact, DELETE=contact),
    _route(f"{OF_THE_ACCOUNT}/templates", GET=templates, POST=templates),
    _route(f"{OF_THE_ACCOUNT}/templates/(?P<key>[^/]+)", GET=template, PUT=template, DELETE=template),
    _route(f"{OF_THE_ACCOUNT}/campaigns", GET=campaigns, POST=campaigns),
    _route(f"{OF_THE_ACCOUNT}/campaigns/(?P<key>[^/]+)", GET=campaign, PUT=campaign, DELETE=campaign),
    _route(f"{OF_THE_ACCOUNT}/conversations", GET=conversations),
    _route(f"{OF_THE_ACCOUNT}/conversations/(?P<key>[^/]+)", GET=conversation),
    _route(f"{OF_THE_ACCOUNT}/conversations/(?P<key>[^/]+)/close", PUT=conversation),
    _route(f"{OF_THE_ACCOUNT}/webhooks", GET=webhooks, POST=webhooks),
    _route(f"{OF_THE_ACCOUNT}/webhooks/(?P<key>.+)", DELETE=webhook),
    _route("/v1/tools/sharefile", POST=share),
]
"""Every path but those of tokens and messages."""
