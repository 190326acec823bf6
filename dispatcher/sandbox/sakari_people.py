"""The contacts of an account at the stand-in of Sakari, and the conversations with them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dispatcher.sandbox.sakari_wire import ContactBody, Mobile, number_of, stamp

Kept = dict[str, Any]
"""Something as it is answered with."""

OWN_NUMBER = "+12025550100"

_CORE = ("firstName", "lastName", "email")


@dataclass(slots=True)
class People:
    """Contacts by id and by number, and conversations, of which at most one with each is open."""

    contacts: dict[str, Kept] = field(default_factory=dict)
    by_number: dict[str, str] = field(default_factory=dict)
    conversations: dict[str, Kept] = field(default_factory=dict)
    opened: dict[str, str] = field(default_factory=dict)  # contact → conversation
    last: int = 0

    def merge(self, body: ContactBody, now: float, strategy: str = "append") -> tuple[Kept, bool]:
        """Create a contact or merge it into the one with its number; return it, and whether it is new.

        K: the strategies' names. I: append adds tags and attributes, core changes names and email only, remove also
        takes away what the new one has not.
        """
        number = number_of(body.mobile)
        assert number is not None  # judged before
        known = self.by_number.get(number)
        if known is not None:
            if strategy == "core":
                body = body.model_copy(update={"tags": None, "attributes": None})
            return self.change(known, body, now, replace=strategy == "remove"), False
        self.last += 1
        contact_id = f"c1{self.last:022x}"
        self.contacts[contact_id] = {
            "id": contact_id,
            "mobile": {"number": f"+{number}", "country": (body.mobile or Mobile()).country.upper()},
            "tags": [],
            "attributes": {},
            "valid": True,
            "created": {"at": stamp(now)},
        }
        self.by_number[number] = contact_id
        return self.change(contact_id, body, now, replace=False), True

    def change(self, contact_id: str, body: ContactBody, now: float, *, replace: bool) -> Kept:
        """Change a contact by what the body has; `replace` also takes away what the body has not."""
        contact = self.contacts[contact_id]
        given = body.model_dump(by_alias=True, exclude_none=True)
        for name in _CORE:
            if name in given:
                contact[name] = given[name]
            elif replace:
                contact.pop(name, None)
        kept = {"tags": [], "attributes": {}} if replace else contact
        tags = {tag["tag"]: tag for tag in [*kept["tags"], *given.get("tags", ())]}
        contact["tags"] = list(tags.values())
        contact["attributes"] = {**kept["attributes"], **given.get("attributes", {})}
        contact["updated"] = {"at": stamp(now)}
        return contact

    def renumber(self, contact_id: str, mobile: Mobile) -> None:
        """Give a contact another number."""
        number = number_of(mobile)
        assert number is not None  # judged before
        contact = self.contacts[contact_id]
        self.by_number.pop(contact["mobile"]["number"].removeprefix("+"), None)
        contact["mobile"] = {"number": f"+{number}", "country": mobile.country.upper()}
        self.by_number[number] = contact_id

    def remove(self, contact_id: str) -> None:
        """Forget a contact."""
        contact = self.contacts.pop(contact_id)
        self.by_number.pop(contact["mobile"]["number"].removeprefix("+"), None)

    def with_tags(self, tags: Iterable[str]) -> list[Kept]:
        """Return the contacts with any of some tags."""
        wanted = set(tags)
        return [known for known in self.contacts.values() if wanted & {tag["tag"] for tag in known["tags"]}]

    def conversation(self, contact: Kept, now: float) -> str:
        """Return the id of the open conversation with a contact, begun if there is none."""
        known = self.opened.get(contact["id"])
        if known is not None:
            return known
        self.last += 1
        conversation_id = f"d1{self.last:022x}"
        self.opened[contact["id"]] = conversation_id
        self.conversations[conversation_id] = {
            "id": conversation_id,
            "contact": identifiers(contact),
            "closed": False,
            "unread": [],
            "phoneNumber": {"number": OWN_NUMBER, "country": "US", "active": True},
            "created": {"at": stamp(now)},
            "updated": {"at": stamp(now)},
        }
        return conversation_id

    def close(self, conversation_id: str, now: float) -> None:
        """Close a conversation; the next message begins another."""
        known = self.conversations[conversation_id]
        known["closed"] = True
        known["updated"] = {"at": stamp(now)}
        self.opened.pop(known["contact"]["id"], None)


def identifiers(contact: Mapping[str, Any]) -> Kept:
    """Return what a message or a conversation tells of its contact (K)."""
    return {name: contact[name] for name in ("id", *_CORE, "mobile") if name in contact}
