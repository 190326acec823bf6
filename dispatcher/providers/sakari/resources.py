"""The documented calls on what a Sakari account keeps: contacts, templates, campaigns, conversations, messages, webhooks.

Marks in this file: K the vendor's document says so, I inferred, U unknown.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from dispatcher.errors import InvalidRequest
from dispatcher.provider import Item, Resource, ResourcePage
from dispatcher.providers.sakari.login import Calls
from dispatcher.providers.sakari.message import Pagination, next_offset
from dispatcher.transport import Reply

PAGE = 100  # K
STRATEGIES = ("append", "core", "remove")
"""What becomes of a contact that is there already (K: the words). I: append adds what is new, core changes its name
and email only, remove also takes away what it has and the upload has not."""


class _Answer(Struct):
    data: dict[str, Any] | list[dict[str, Any]] | None = None
    pagination: Pagination | None = None
    success: bool | None = None


def resources(calls: Calls) -> list[Resource]:
    """Return them all; nothing is called yet."""
    return [
        Resource(
            name="contacts",
            key="the contact's id",
            filters=("firstName", "lastName", "mobile", "email", "tags"),
            find=partial(_find, calls, "contacts", ("firstName", "lastName", "mobile", "email", "tags")),
            show=partial(_show, calls, "contacts"),
            create=partial(_create_contact, calls),
            update=partial(_update, calls, "contacts"),
            delete=partial(_delete, calls, "contacts"),
            uploads={"csv": partial(_upload, calls)},
        ),
        _kept(calls, "templates", "the template's id"),
        _kept(calls, "campaigns", "the campaign's id"),
        Resource(
            name="conversations",
            key="the conversation's id",
            find=partial(_find, calls, "conversations", ()),
            show=partial(_show, calls, "conversations"),
            actions={"close": partial(_close, calls)},
        ),
        Resource(
            name="messages",
            key="the message's id",
            filters=("contactId", "conversationId"),
            find=partial(_find, calls, "messages", ("contactId", "conversationId")),
            show=partial(_show, calls, "messages"),
        ),
        Resource(
            name="webhooks",
            key="the webhook's URL",
            find=partial(_all_webhooks, calls),
            create=partial(_create, calls, "webhooks"),
            delete=partial(_delete, calls, "webhooks"),
        ),
    ]


def _kept(calls: Calls, name: str, key: str) -> Resource:
    return Resource(
        name=name,
        key=key,
        filters=("name",),
        find=partial(_find, calls, name, ("name",)),
        show=partial(_show, calls, name),
        create=partial(_create, calls, name),
        update=partial(_update, calls, name),
        delete=partial(_delete, calls, name),
    )


def _find(
    calls: Calls, name: str, known: Sequence[str], filters: Mapping[str, str], page: str | None
) -> ResourcePage:
    strange = sorted(set(filters).difference(known))
    if strange:
        raise InvalidRequest(f"sakari: not sent: {name} are not found by {', '.join(strange)}")
    offset = page_offset(page)
    reply = calls.look_up("GET", f"/{name}", params={**filters, "offset": offset, "limit": PAGE})
    answer = reply.json(_Answer)
    items = _items(reply, answer)
    after = next_offset(answer.pagination, offset, len(items), PAGE)
    return ResourcePage(items=items, next_page=None if after is None else str(after))


def page_offset(page: str | None) -> int:
    """Return where a page of a listing begins."""
    if page is not None and not (page.isascii() and page.isdecimal() and len(page) <= 12):
        raise InvalidRequest("sakari: not sent: this is no page of its listing")
    return int(page or 0)


def _all_webhooks(calls: Calls, filters: Mapping[str, str], page: str | None) -> ResourcePage:
    if filters or page:  # K: it takes neither
        raise InvalidRequest("sakari: not sent: webhooks come all at once")
    reply = calls.look_up("GET", "/webhooks")
    return ResourcePage(items=_items(reply, reply.json(_Answer)))


def _show(calls: Calls, name: str, key: str) -> Item:
    return _item(calls.look_up("GET", f"/{name}/{_quoted(key)}"))


def _create(calls: Calls, name: str, item: Item) -> Item:
    return _item(calls.submit("POST", f"/{name}", json=dict(item)))


def _create_contact(calls: Calls, item: Item) -> Item:
    """Create a contact; its `mergeStrategy`, if it has one, says what becomes of one with the same number (K)."""
    content = dict(item)
    params = _strategy(content.pop("mergeStrategy", None))
    return _item(calls.submit("POST", "/contacts", json=content, params=params))


def _upload(calls: Calls, name: str, content: bytes, options: Mapping[str, str]) -> Item:
    """Upload contacts as CSV (K: with a line of names such as country, firstName, lastName, email, mobile)."""
    del name
    strange = sorted(set(options).difference({"mergeStrategy"}))
    if strange:
        raise InvalidRequest(f"sakari: not sent: an upload has no {', '.join(strange)}")
    headers = {"Content-Type": "text/csv"}
    params = _strategy(options.get("mergeStrategy"))
    return _item(calls.submit("POST", "/contacts", body=content, params=params, headers=headers, opaque=True))


def _strategy(strategy: object) -> dict[str, str | int]:
    if strategy is None:
        return {}
    if strategy not in STRATEGIES:
        raise InvalidRequest(f"sakari: not sent: mergeStrategy is one of {', '.join(STRATEGIES)}")
    return {"mergeStrategy": str(strategy)}


def _update(calls: Calls, name: str, key: str, item: Item) -> Item:
    return _item(calls.submit("PUT", f"/{name}/{_quoted(key)}", json=dict(item)))


def _delete(calls: Calls, name: str, key: str) -> Item:
    return _item(calls.submit("DELETE", f"/{name}/{_quoted(key)}"))


def _close(calls: Calls, key: str) -> Item:
    return _item(calls.submit("PUT", f"/conversations/{_quoted(key)}/close"))


def _quoted(key: str) -> str:
    if not key or key in (".", ".."):  # it would name something else
        raise InvalidRequest("sakari: not sent: the key names no item")
    return quote(key, safe="")


def _items(reply: Reply, answer: _Answer) -> list[dict[str, Any]]:
    if not isinstance(answer.data, list):
        raise reply.unclear("it is no list")
    return answer.data


def _item(reply: Reply) -> Item:
    """Return what an answer tells of, {} where there is no body (K: 204 after a webhook's removal)."""
    if not reply.body.strip():
        return {}
    answer = reply.json(_Answer)
    if isinstance(answer.data, list):  # K: a new contact or template comes in a list
        return answer.data[0] if len(answer.data) == 1 else {"items": answer.data}
    if answer.data is not None:
        return answer.data
    return {"success": bool(answer.success)}
