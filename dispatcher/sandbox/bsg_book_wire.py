"""The shapes of what else the BSG stand-in keeps, and its lists page by page (K, I, U as in `bsg_wire`)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from dispatcher.sandbox.app import Reply, Request, json_reply
from dispatcher.sandbox.bsg_wire import Id, PhoneInt, Wire, choice, page

_StopListType = Literal["sms", "viber", "rcs", "whatsapp"]


class Attach(Wire):
    """What `POST /api/stoplist/attach` takes."""

    phones: list[PhoneInt] = Field(max_length=1000)
    types: list[_StopListType]


class Detach(Wire):
    """What `POST /api/stoplist/detach` takes."""

    ids: list[Id] = Field(max_length=200)
    types: list[_StopListType]


class ContactValue(Wire):
    """The value of one field of a contact."""

    id: Id
    value: str


class Contact(Wire):
    """What creates or changes a contact. Lists are named by id, or by objects with one (K: both are in examples)."""

    phone: PhoneInt
    groups: list[Id | dict[str, Any]] = Field(default_factory=list, max_length=100)
    fields: list[ContactValue] = Field(default_factory=list)


class ContactField(Wire):
    """What creates a field of contacts."""

    name: str = Field(min_length=1, max_length=30)
    type: Literal["text", "date", "number"]
    description: str = Field(default="", max_length=255)
    is_visible: bool = True


class FieldChange(Wire):
    """What changes a field of contacts."""

    name: str | None = Field(default=None, min_length=1, max_length=30)
    description: str | None = Field(default=None, min_length=1, max_length=255)
    is_visible: bool | None = None


class Ids(Wire):
    """Up to 30 ids."""

    ids: list[Id] = Field(min_length=1, max_length=30)


class Group(Wire):
    """What creates or changes a list of contacts."""

    name: str = Field(min_length=3, max_length=50)
    description: str | None = Field(default=None, min_length=1, max_length=255)
    default: bool | None = False


class Members(Wire):
    """What puts contacts on lists, or takes them off."""

    contacts: list[Id] = Field(min_length=1, max_length=200)
    groups: list[Id] = Field(min_length=1, max_length=100)


def paged(
    rows: Sequence[Mapping[str, Any]],
    request: Request,
    *,
    least: int = 15,
    default: int = 50,
    total_at_top: bool = False,
    search: Mapping[str, str] | None = None,
) -> Reply:
    """Return the page of a list that was asked for."""
    offset, limit = page(request.query, least, default)
    content: dict[str, Any] = {"data": rows[offset : offset + limit]}
    if total_at_top:  # K: the lists write it there, the searches in meta
        return json_reply(200, {**content, "total": len(rows)})
    meta: dict[str, Any] = {"page": {"total": len(rows), "limit": limit, "offset": offset}}
    return json_reply(200, {**content, "meta": meta if search is None else {**meta, "search": search}})


def searched(rows: Sequence[Mapping[str, Any]], request: Request) -> Reply:
    """Return the page of the rows that fit a search."""
    query = request.query
    name, value = query.get("search[field]", "id"), query.get("search[value]", "")
    operator = choice(query, "search[operator]", ("like", "=", ">=", ">", "<", "<="), "=")
    fits: Mapping[str, Callable[[Any, Any], bool]] = {
        "like": lambda left, right: str(right).strip("%") in str(left),
        "=": lambda left, right: left == right,
        ">=": lambda left, right: left >= right,
        ">": lambda left, right: left > right,
        "<": lambda left, right: left < right,
        "<=": lambda left, right: left <= right,
    }
    found = []
    for row in rows:
        left = row.get(name)
        right: Any = int(value) if isinstance(left, int) and value.isdecimal() else value
        alike = operator == "like" or type(left) is type(right)
        if left is not None and alike and fits[operator](left, right):
            found.append(row)
    return paged(found, request, search={"field": name, "operator": operator, "value": value})
