"""What else the BSG stand-in keeps: contacts and their fields and lists, the stop list, senders, tariffs.

All but the stop list is in memory alone, and gone with a restart. Marks as in `bsg_wire`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from dispatcher.sandbox.app import Reply, Request, Surroundings, json_reply
from dispatcher.sandbox.bsg_book_wire import (
    Attach,
    Contact,
    ContactField,
    Detach,
    FieldChange,
    Group,
    Ids,
    Members,
    paged,
    searched,
)
from dispatcher.sandbox.bsg_wire import TARIFFS, Refused, choice, parse, stamp


@dataclass(slots=True, kw_only=True)
class _Contact:
    id: int
    phone: int
    created: float
    fields: dict[str, str] = field(default_factory=dict)
    groups: dict[int, None] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class _Group:
    id: int
    name: str
    created: float
    description: str | None = None
    default: bool = False


class Book:
    """The contact book and what goes with it."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._forget()

    def _forget(self) -> None:
        self._source = self._around.record.messages
        self._contacts: dict[int, _Contact] = {}
        self._groups: dict[int, _Group] = {}
        self._fields: dict[int, dict[str, Any]] = {}
        self._listed: dict[int, set[str]] = {}  # number → the stop lists that it was put on here
        self._stop_ids: dict[int, int] = {}

    def _awake(self) -> None:
        if self._source is not self._around.record.messages:  # the record was emptied, and this goes with it
            self._forget()

    def numbers_of(self, groups: Iterable[int]) -> list[int]:
        """Return the numbers on some lists of contacts."""
        with self._around.record.lock:
            self._awake()
            wanted = set(groups)
            return [contact.phone for contact in self._contacts.values() if wanted & contact.groups.keys()]

    def remember(self, numbers: Iterable[int]) -> None:
        """Add numbers to the contacts, those that are not there yet."""
        with self._around.record.lock:
            self._awake()
            known = {contact.phone for contact in self._contacts.values()}
            for number in numbers:
                if number not in known:
                    known.add(number)
                    self._new_contact(number)

    def _new_contact(self, phone: int) -> _Contact:
        contact = _Contact(id=self._around.record.new_id(), phone=phone, created=self._around.clock())
        self._contacts[contact.id] = contact
        return contact

    # -- contacts -------------------------------------------------------------------------------------------

    def list_contacts(self, request: Request) -> Reply:
        """Answer `GET /api/contacts`."""
        group = request.query.get("groups[]", "")
        found = [c for c in self._contacts.values() if not group or int(group) in c.groups]
        return paged([self._contact_row(contact) for contact in found], request, total_at_top=True)

    def search_contacts(self, request: Request) -> Reply:
        """Answer `GET /api/contacts/search`."""
        return searched([self._contact_row(contact) for contact in self._contacts.values()], request)

    def create_contact(self, request: Request) -> Reply:
        """Answer `POST /api/contacts`."""
        body = parse(Contact, request.body)
        if any(contact.phone == body.phone for contact in self._contacts.values()):
            raise Refused(422, "Phone number is already exist in contact book")  # K
        contact = self._new_contact(body.phone)
        self._write_contact(contact, body)
        return json_reply(201, {"data": self._contact_row(contact)})

    def show_contact(self, _: Request, contact_id: int) -> Reply:
        """Answer `GET /api/contacts/{id}`."""
        return json_reply(200, {"data": self._contact_row(self._contact(contact_id))})

    def update_contact(self, request: Request, contact_id: int) -> Reply:
        """Answer `PUT /api/contacts/{id}`."""
        contact, body = self._contact(contact_id), parse(Contact, request.body)
        if any(other.phone == body.phone and other is not contact for other in self._contacts.values()):
            raise Refused(422, "Phone number is already exist in contact book")  # K
        contact.phone = body.phone
        self._write_contact(contact, body)
        return json_reply(200, {"data": self._contact_row(contact)})

    def delete_contact(self, _: Request, contact_id: int) -> Reply:
        """Answer `DELETE /api/contacts/{id}`."""
        del self._contacts[self._contact(contact_id).id]
        return _NOTHING

    def _contact(self, contact_id: int) -> _Contact:
        if contact_id not in self._contacts:
            raise Refused(422, "Invalid contact id")  # K
        return self._contacts[contact_id]

    def _write_contact(self, contact: _Contact, body: Contact) -> None:
        contact.fields |= {str(value.id): value.value for value in body.fields}
        for group in body.groups:
            found = group if isinstance(group, int) else group.get("id")
            if found not in self._groups:
                raise Refused(422, "Contact group is not found")
            contact.groups[int(found)] = None

    def _contact_row(self, contact: _Contact) -> dict[str, Any]:
        return {
            "id": contact.id,
            "phone": contact.phone,
            "fields": contact.fields or [],  # K: an empty list, else an object
            "groups": [self._group_row(self._groups[group]) for group in contact.groups if group in self._groups],
            "hlr_status": "unknown",
            "hlr_last_check": None,
            "created_at": stamp(int(contact.created)),
        }

    def list_fields(self, _: Request) -> Reply:
        """Answer `GET /api/contacts/fields`."""
        return json_reply(200, {"data": list(self._fields.values())})

    def create_field(self, request: Request) -> Reply:
        """Answer `POST /api/contacts/fields`."""
        row = {"id": self._around.record.new_id(), **parse(ContactField, request.body).model_dump()}
        self._fields[row["id"]] = row
        return json_reply(201, {"data": row})

    def update_field(self, request: Request, field_id: int) -> Reply:
        """Answer `PATCH /api/contacts/fields/{id}`."""
        if field_id not in self._fields:
            raise Refused(404)
        self._fields[field_id] |= parse(FieldChange, request.body).model_dump(exclude_none=True)
        return json_reply(200, {"data": self._fields[field_id]})

    def delete_fields(self, request: Request) -> Reply:
        """Answer `POST /api/contacts/fields/delete`."""
        for field_id in parse(Ids, request.body).ids:
            self._fields.pop(field_id, None)
        return _NOTHING

    # -- lists of contacts ----------------------------------------------------------------------------------

    def list_groups(self, request: Request) -> Reply:
        """Answer `GET /api/groups`."""
        return paged([self._group_row(group) for group in self._groups.values()], request, total_at_top=True)

    def search_groups(self, request: Request) -> Reply:
        """Answer `GET /api/groups/search`."""
        rows = [self._group_row(group) for group in self._groups.values()]
        return searched([{"is_default": row.pop("default"), **row} for row in rows], request)

    def create_group(self, request: Request) -> Reply:
        """Answer `POST /api/groups`."""
        body = parse(Group, request.body)
        group = _Group(id=self._around.record.new_id(), name="", created=self._around.clock())
        self._write_group(group, body)
        self._groups[group.id] = group
        return json_reply(201, {"data": self._group_row(group)})

    def show_group(self, _: Request, group_id: int) -> Reply:
        """Answer `GET /api/groups/{id}`."""
        return json_reply(200, {"data": self._group_row(self._group(group_id))})

    def update_group(self, request: Request, group_id: int) -> Reply:
        """Answer `PUT /api/groups/{id}`."""
        group = self._group(group_id)
        self._write_group(group, parse(Group, request.body))
        return json_reply(200, {"data": self._group_row(group)})

    def delete_group(self, _: Request, group_id: int) -> Reply:
        """Answer `DELETE /api/groups/{id}`: the contacts stay (K)."""
        del self._groups[self._group(group_id).id]
        return _NOTHING

    def attach(self, request: Request) -> Reply:
        """Answer `POST /api/groups/attach`."""
        body = parse(Members, request.body)
        groups = [self._group(group).id for group in body.groups]
        for contact in [self._contact(contact) for contact in body.contacts]:
            contact.groups |= dict.fromkeys(groups)
        return json_reply(200, {})

    def detach(self, request: Request) -> Reply:
        """Answer `POST /api/groups/detach`."""
        body = parse(Members, request.body)
        for contact in [self._contact(contact) for contact in body.contacts]:
            for group in body.groups:
                contact.groups.pop(group, None)
        return json_reply(200, {})

    def _group(self, group_id: int) -> _Group:
        if group_id not in self._groups:
            raise Refused(422, "Contact group is not found")  # K
        return self._groups[group_id]

    def _write_group(self, group: _Group, body: Group) -> None:
        if any(other.name == body.name and other is not group for other in self._groups.values()):
            raise Refused(422, "Contact group is already exists")  # K
        group.name, group.description, group.default = body.name, body.description, bool(body.default)

    def _group_row(self, group: _Group) -> dict[str, Any]:
        phones = [contact.phone for contact in self._contacts.values() if group.id in contact.groups]
        return {
            "id": group.id,
            "name": group.name,
            "description": group.description,
            "default": group.default,
            "created_at": stamp(int(group.created)),
            "items": len(phones),
            "stop_list_count": sum(str(phone) in self._around.record.optouts for phone in phones),
        }

    # -- the stop list --------------------------------------------------------------------------------------

    def stop_list(self, request: Request) -> Reply:
        """Answer `GET /api/stoplist`."""
        kind = choice(request.query, "type", ("sms", "viber", "rcs", "whatsapp"))
        rows = [row for row in self._stop_rows() if kind in ("", "whatsapp") or row[f"{kind}_stoplist"]]
        return paged(rows, request, default=20, total_at_top=True)

    def search_stop_list(self, request: Request) -> Reply:
        """Answer `GET /api/stoplist/search`."""
        return searched(self._stop_rows(), request)

    def put_on_stop_list(self, request: Request) -> Reply:
        """Answer `POST /api/stoplist/attach`; who is on the list for SMS is opted out everywhere in the sandbox."""
        body = parse(Attach, request.body)
        for phone in body.phones:
            self._listed.setdefault(phone, set()).update(body.types)
            if "sms" in body.types:
                self._around.record.opt_out(str(phone), self._around.clock())
        return json_reply(200, {"data": [row for row in self._stop_rows() if row["phone"] in body.phones]})

    def take_off_stop_list(self, request: Request) -> Reply:
        """Answer `POST /api/stoplist/detach`."""
        body = parse(Detach, request.body)
        numbers = {stop_id: number for number, stop_id in self._stop_ids.items()}
        for stop_id in body.ids:
            number = numbers.get(stop_id)
            if number is None:
                continue
            self._listed.setdefault(number, set()).difference_update(body.types)
            if "sms" in body.types:
                self._around.record.optouts.pop(str(number), None)
        return json_reply(200, {})

    def _stop_rows(self) -> list[dict[str, Any]]:
        optouts = self._around.record.optouts
        rows = []
        for number in dict.fromkeys([*map(int, optouts), *self._listed]):
            types = self._listed.get(number, set()) | ({"sms"} if str(number) in optouts else set())
            known = optouts.get(str(number))
            if number not in self._stop_ids:
                self._stop_ids[number] = self._around.record.new_id()
            if types:
                rows.append(
                    {
                        "id": self._stop_ids[number],
                        "phone": number,
                        "created_at": stamp(int(self._around.clock() if known is None else known.at)),
                        **{f"{kind}_stoplist": kind in types for kind in ("sms", "viber", "rcs")},
                    }
                )
        return rows

    # -- the account ----------------------------------------------------------------------------------------

    def senders(self, request: Request) -> Reply:
        """Answer `GET /api/senders`; the type must be named (K)."""
        if "type" not in request.query:
            raise Refused(422, errors={"type": ["This value should not be blank."]})
        kind = choice(request.query, "type", ("sms", "viber"))
        row = {"id": 1, "status": "active", "country": None, "sender": "Dispatcher", "is_default": True}
        rows = [{**row, "created_at": stamp(0)}] if kind == "sms" else []
        return json_reply(200, {"data": rows, "total": len(rows)})

    def sender_requests(self, request: Request) -> Reply:
        """Answer `GET /api/senders/requests/sms`: there are none."""
        return paged([], request, least=30)

    def tariffs(self, request: Request) -> Reply:
        """Answer `GET /api/accounts/tariff`."""
        rows = [
            {"id": 50_000 + code, "name": name, "code": code, "is_active": True, "is_default": True}
            for code, name in TARIFFS.items()
        ]
        return paged(rows, request, total_at_top=True)

    def answer(self, call: Callable[..., Reply], request: Request, *keys: int) -> Reply:
        """Carry out one of the calls, alone."""
        with self._around.record.lock:
            self._awake()
            return call(self, request, *keys)

    ROUTES: ClassVar[Mapping[str, Mapping[str, Callable[..., Reply]]]] = {
        "contacts": {"GET": list_contacts, "POST": create_contact},
        "contacts/search": {"GET": search_contacts},
        "contacts/{}": {"GET": show_contact, "PUT": update_contact, "DELETE": delete_contact},
        "contacts/fields": {"GET": list_fields, "POST": create_field},
        "contacts/fields/{}": {"PATCH": update_field},
        "contacts/fields/delete": {"POST": delete_fields},
        "groups": {"GET": list_groups, "POST": create_group},
        "groups/search": {"GET": search_groups},
        "groups/{}": {"GET": show_group, "PUT": update_group, "DELETE": delete_group},
        "groups/attach": {"POST": attach},
        "groups/detach": {"POST": detach},
        "stoplist": {"GET": stop_list},
        "stoplist/search": {"GET": search_stop_list},
        "stoplist/attach": {"POST": put_on_stop_list},
        "stoplist/detach": {"POST": take_off_stop_list},
        "senders": {"GET": senders},
        "senders/requests/sms": {"GET": sender_requests},
        "accounts/tariff": {"GET": tariffs},
    }


_NOTHING = Reply(status=204, body=b"")
