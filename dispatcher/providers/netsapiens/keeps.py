"""What NetSapiens keeps, with the documented calls on it: message sessions, event subscriptions, SMS numbers.

Marks in this file: K the vendor's document says so, I inferred, U unknown.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from dispatcher.errors import InvalidRequest
from dispatcher.provider import Item, Resource, ResourcePage
from dispatcher.providers.netsapiens.access import Calls

_LIMIT = "100"  # K: what a list gives where nothing is said
_Found = list[dict[str, Any]]


class Keeps:
    """The resources of one user of one domain. A list has one page: there is no offset (K)."""

    def __init__(self, calls: Calls, *, domain: str, user: str) -> None:
        self._calls = calls
        self._domain = domain
        self._of_domain = f"/domains/{segment(domain)}"
        self._of_user = f"{self._of_domain}/users/{segment(user)}"

    def all(self) -> list[Resource]:
        """Return the resources."""
        return [
            Resource(
                name="sessions",
                key="the session's id",
                filters=("scope", "limit"),  # scope: user (what is absent means) or domain
                find=self._find_sessions,
                show=self._show_session,
                update=lambda key, item: self._change(
                    "PUT", self._session(key), item
                ),  # {"participants": "1000,1001"}
                delete=lambda key: self._change("DELETE", self._session(key)),
                actions={
                    "messages": self._messages,
                    "leave": lambda key: self._change("PUT", f"{self._session(key)}/leave"),
                },
            ),
            Resource(
                name="subscriptions",
                key="the subscription's id",
                find=lambda _, page: self._list("/subscriptions", {}, page),
                show=lambda key: self._show(f"/subscriptions/{segment(key)}"),
                create=lambda item: self._change("POST", "/subscriptions", item),
                update=lambda key, item: self._change("PUT", f"/subscriptions/{segment(key)}", item),
                delete=self._unsubscribe,
            ),
            Resource(
                name="smsnumbers",
                key="the number",
                filters=("scope",),  # user (what is absent means), domain or system
                find=self._find_numbers,
                create=lambda item: self._change("POST", f"{self._of_domain}/smsnumbers", item),
            ),
        ]

    def _session(self, key: str) -> str:
        return f"{self._of_user}/messagesessions/{segment(key)}"

    def _find_sessions(self, filters: Mapping[str, str], page: str | None) -> ResourcePage:
        of = self._scope(filters, {"user": self._of_user, "domain": self._of_domain})
        return self._list(f"{of}/messagesessions", {"limit": _limit(filters)}, page)

    def _find_numbers(self, filters: Mapping[str, str], page: str | None) -> ResourcePage:
        of = self._scope(filters, {"user": self._of_user, "domain": self._of_domain, "system": ""})
        return self._list(f"{of}/smsnumbers", {}, page)

    def _show_session(self, key: str) -> Item:
        return self._show(self._session(key))

    def _messages(self, key: str) -> Item:
        path = f"{self._session(key)}/messages"
        return {"messages": self._list(path, {"limit": _LIMIT}, None).items}

    def _unsubscribe(self, key: str) -> Item:
        # K: the body repeats the id; the domain is for those who are no administrators.
        domain = {} if self._domain in {"~", "*"} else {"domain": self._domain}
        return self._change("DELETE", f"/subscriptions/{segment(key)}", {"subscription_id": key, **domain})

    @staticmethod
    def _scope(filters: Mapping[str, str], paths: Mapping[str, str]) -> str:
        scope = filters.get("scope", "user")
        if scope not in paths:
            raise InvalidRequest(f"netsapiens: not asked: the scope is one of {', '.join(paths)}")
        return paths[scope]

    def _list(self, path: str, params: Mapping[str, str], page: str | None) -> ResourcePage:
        del page
        return ResourcePage(items=self._calls.look_up("GET", path, params=params).json(_Found))

    def _show(self, path: str) -> Item:
        reply = self._calls.look_up("GET", path)
        found: Any = reply.json(object)
        if found == []:
            raise InvalidRequest(f"{reply.about}: there is none")
        if isinstance(found, list):  # K: one session comes as a list of one
            found = found[0]
        if not isinstance(found, dict):
            raise reply.unclear("it is no object")
        return found

    def _change(self, method: str, path: str, item: Item | None = None) -> Item:
        body = None if item is None else msgspec.json.encode(item)
        return self._calls.submit(method, path, body=body).json(dict[str, Any])


def segment(value: str) -> str:
    """Return a word as one segment of a path.

    Raises:
        InvalidRequest: it cannot be one: an HTTP client would take it for another path.
    """
    if not value or set(value) == {"."}:
        raise InvalidRequest("netsapiens: not asked: an empty name, or one of dots")
    return quote(value, safe="~*")


def _limit(filters: Mapping[str, str]) -> str:
    limit = filters.get("limit", _LIMIT)
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit) <= 1000):
        raise InvalidRequest("netsapiens: not asked: the limit is a number from 1 to 1000")
    return limit
