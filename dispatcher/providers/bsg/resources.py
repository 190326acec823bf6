"""What BSG keeps besides messages in flight, with the calls that its document names for it.

Left out, since no campaign of texts needs them: e-mail, one-time passwords, short links, statistics jobs, requests
for new senders, the price lists for the vendor's own use. Items are given as BSG gives them. All of this is K.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from dispatcher.errors import InvalidRequest
from dispatcher.provider import Item, Resource, ResourcePage
from dispatcher.providers.bsg.login import Session
from dispatcher.transport import Reply

_MOST_A_PAGE = 500
_OPERATOR = re.compile(r"(>=|<=|=|>|<|~)?(.*)", re.DOTALL)  # before a value that is searched for; ~ is "like"
_TYPES = ("sms", "viber", "rcs", "whatsapp")  # of stop lists


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listing:
    """How a list is asked for: our word for a filter → the vendor's parameter."""

    path: str
    filters: Mapping[str, str]
    defaults: Mapping[str, str]
    pages: bool
    search: Sequence[str]  # fields of which one may be searched
    search_call: bool  # whether that is a call of its own, with operators


def resources(session: Session) -> Sequence[Resource]:
    """Return the resources of an account; nothing is called yet."""
    calls = _Calls(session)
    return [
        Resource(
            name="campaigns",
            key="the campaign's id",
            **calls.listing(
                "/api/campaigns",
                {"sort": "sort", "way": "way", "from": "filter[from]", "to": "filter[to]", "type": "filter[type]"},
                search=("sender", "taskname"),
                search_call=False,
            ),
            show=calls.on_one("GET", "/api/campaigns/{}"),
            actions={
                "detail": calls.on_one("GET", "/api/campaigns/{}/detail"),
                "stop": calls.on_one("PATCH", "/api/campaigns/{}/stop"),
            },
        ),
        Resource(
            name="messages",
            key="the message's id",
            **calls.listing(
                "/api/messages",
                {"sort": "sort", "way": "way", "id": "filter[id]", "campaign": "filter[campaign_id]"}
                | {"reference": "filter[reference_id]", "from": "filter[from]", "to": "filter[to]"},
            ),
        ),
        Resource(
            name="stoplist",
            key="the id of the number on the list, as `list` shows it",
            **calls.listing(
                "/api/stoplist",
                {"type": "type", "sort": "sort", "way": "way", "group": "contact_group_id"},
                search=("id", "phone", "created_at"),
            ),
            create=calls.send("POST", "/api/stoplist/attach"),  # {"phones": [], "types": []}
            delete=calls.take_off_the_stop_lists,
        ),
        Resource(
            name="contacts",
            key="the contact's id",
            **calls.listing(
                "/api/contacts",
                {"group": "groups[]", "sort": "sort", "way": "way"},
                search=("id", "phone", "group_id", "created_at"),
            ),
            show=calls.on_one("GET", "/api/contacts/{}"),
            create=calls.send("POST", "/api/contacts"),
            update=calls.change("PUT", "/api/contacts/{}"),
            delete=calls.on_one("DELETE", "/api/contacts/{}"),
        ),
        Resource(
            name="contact-fields",
            key="the field's id",
            **calls.listing("/api/contacts/fields", {}, pages=False),
            create=calls.send("POST", "/api/contacts/fields"),
            update=calls.change("PATCH", "/api/contacts/fields/{}"),
            delete=calls.delete_field,
        ),
        Resource(
            name="groups",
            key="the id of the contact list",
            **calls.listing(
                "/api/groups",
                {"sort": "sort", "way": "way"},
                search=("id", "name", "items", "created_at", "phone", "description"),
            ),
            show=calls.on_one("GET", "/api/groups/{}"),
            create=calls.send("POST", "/api/groups"),
            update=calls.change("PUT", "/api/groups/{}"),
            delete=calls.on_one("DELETE", "/api/groups/{}"),
        ),
        Resource(
            name="group-members",
            key="GROUP:CONTACT, two ids",
            create=calls.send("POST", "/api/groups/attach"),  # {"contacts": [], "groups": []}
            delete=calls.detach,
        ),
        Resource(
            name="senders",
            key="the sender's id",
            **calls.listing("/api/senders", {"type": "type"}, defaults={"type": "sms"}, pages=False),
        ),
        Resource(
            name="sender-requests",
            key="the request's id",
            **calls.listing(
                "/api/senders/requests/sms",
                {"sort": "sort", "way": "way", "status": "filter[status]", "id": "filter[id]"}
                | {"country": "filter[country_code]", "sender": "filter[sender]"},
            ),
        ),
        Resource(name="tariffs", key="the tariff's id", **calls.listing("/api/accounts/tariff", {})),
    ]


class _Calls:
    """Makes the calls; whatever they raise is what the session raises."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def listing(
        self,
        path: str,
        filters: Mapping[str, str],
        *,
        defaults: Mapping[str, str] | None = None,
        pages: bool = True,
        search: Sequence[str] = (),
        search_call: bool = True,
    ) -> dict[str, Any]:
        """Return the `filters` and the `find` of a resource."""
        asked = _Listing(
            path=path, filters=filters, defaults=defaults or {}, pages=pages, search=search, search_call=search_call
        )
        return {
            "filters": (*filters, *search),
            "find": lambda words, page: self._find(asked, words, page),
        }

    def _find(self, listing: _Listing, words: Mapping[str, str], page: str | None) -> ResourcePage:
        params: dict[str, str | int] = dict(listing.defaults)
        path = listing.path
        searched = [name for name in words if name in listing.search]
        unknown = [name for name in words if name not in listing.filters and name not in listing.search]
        if unknown or len(searched) > 1:
            raise InvalidRequest(f"bsg: not sent: no such filter, or more than one of {', '.join(listing.search)}")
        for name, value in words.items():
            if name in listing.filters:
                params[listing.filters[name]] = value
        for name in searched:
            params |= {"search[field]": name, "search[value]": words[name]}
            if listing.search_call:
                path = f"{listing.path}/search"
                found = _OPERATOR.fullmatch(words[name])
                sign, value = found.groups() if found else (None, "")
                params |= {"search[operator]": "like" if sign == "~" else sign or "=", "search[value]": value}
        offset = int(page or 0)
        if listing.pages:
            params |= {"page[offset]": offset, "page[limit]": _MOST_A_PAGE}
        reply = self._session.look_up("GET", path, params=params)
        content = _content(reply)
        items = content.get("data")
        if not isinstance(items, list):
            raise reply.unclear("it names no items")
        total = content.get("total")
        if total is None and isinstance(meta := content.get("meta"), dict) and isinstance(meta.get("page"), dict):
            total = meta["page"].get("total")
        seen = offset + len(items)
        more = bool(items) and (seen < total if isinstance(total, int) else len(items) == _MOST_A_PAGE)
        return ResourcePage(
            items=[item for item in items if isinstance(item, dict)],
            next_page=str(seen) if more and listing.pages else None,
        )

    def on_one(self, method: str, path: str) -> Callable[[str], Item]:
        """Return the call on one item, by its id."""

        def call(key: str) -> Item:
            ask = self._session.look_up if method == "GET" else self._session.submit
            return _item(ask(method, path.format(_id(key))))

        return call

    def send(self, method: str, path: str) -> Callable[[Item], Item]:
        """Return the call that takes a body."""
        return lambda item: _item(self._session.submit(method, path, body=msgspec.json.encode(item)))

    def change(self, method: str, path: str) -> Callable[[str, Item], Item]:
        """Return the call that takes an id and a body."""
        return lambda key, item: self.send(method, path.format(_id(key)))(item)

    def take_off_the_stop_lists(self, key: str) -> Item:
        """Take one number off all stop lists."""
        return self.send("POST", "/api/stoplist/detach")({"ids": [_id(key)], "types": _TYPES})

    def delete_field(self, key: str) -> Item:
        """Delete one field of the contacts; the call takes a list."""
        return self.send("POST", "/api/contacts/fields/delete")({"ids": [_id(key)]})

    def detach(self, key: str) -> Item:
        """Take one contact off one list."""
        group, _, contact = key.partition(":")
        return self.send("POST", "/api/groups/detach")({"contacts": [_id(contact)], "groups": [_id(group)]})


def _id(key: str) -> int:
    if not (key.isascii() and key.isdecimal() and len(key) <= 18):
        raise InvalidRequest("bsg: not sent: ids are numbers")
    return int(key)


def _content(reply: Reply) -> dict[str, Any]:
    return reply.json(dict[str, Any])


def _item(reply: Reply) -> Item:
    """Return what an answer holds: its `data` where it is one thing, all of it where it is not; {} for none."""
    if not reply.body.strip():
        return {}
    content = reply.json(Any)
    data = content.get("data", content) if isinstance(content, dict) else content
    return data if isinstance(data, dict) else {"data": data}
