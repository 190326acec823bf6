"""What a Sakari account keeps: contacts, templates, files, and the documented calls on all of it."""

from collections.abc import Mapping
from typing import Any, cast

import pytest

from dispatcher.errors import AuthenticationFailed, InputError, InvalidRequest, OutcomeUnknown, Unreachable
from dispatcher.provider import (
    HasResources,
    HostsMedia,
    Item,
    Prepares,
    ReadsContacts,
    ReadsTemplates,
    Resource,
    StopsBatches,
)
from dispatcher.providers.sakari import Sakari
from dispatcher.providers.sakari.mustache import placeholders
from dispatcher.sandbox import Sandbox
from dispatcher.template import compile_template
from tests.providers.rows import batch_of, let_in, ordinary
from tests.providers.sakari_vendor import ANN, Vendor, raw, resource


@pytest.fixture
def sakari(sandbox: Sandbox) -> Sakari:
    return cast("Sakari", let_in("sakari", sandbox))


def test_the_abilities(sakari: Sakari) -> None:
    abilities = (Prepares, StopsBatches, HostsMedia, ReadsTemplates, ReadsContacts, HasResources)
    assert all(isinstance(sakari, ability) for ability in abilities)


# --- Contacts, templates, files ---------------------------------------------------------------------------------------


def test_contacts_with_a_tag_are_rows(sakari: Sakari, sandbox: Sandbox) -> None:
    create = resource(sakari, "contacts").create
    assert create is not None
    create(ANN)
    create({"mobile": {"number": "+12025550121"}, "tags": [{"tag": "other"}]})
    page = sakari.contacts_with_tag("vip")
    assert page.next_page is None
    assert page.rows == [
        {
            "code": "7",
            "city": "Zürich",
            "open": "true",
            "rate": "1.5",
            "phone": "+12025550120",
            "first_name": "Ann",
            "last_name": "Other",
            "email": "ann@example.com",
        }
    ]
    assert sakari.contacts_with_tag("nobody").rows == []


def test_pages_of_contacts() -> None:
    rows = [
        {"mobile": {"number": "+12025550110"}, "tags": ["vip"]},
        {"mobile": {"number": "none"}, "attributes": {"phone": "other"}},  # tags are not told
        {"mobile": {"number": "+12025550111"}, "tags": [{"tag": "vip 2"}, None]},
        None,
    ]
    vendor = Vendor({"data": rows, "pagination": {"totalCount": 500}})
    page = vendor.ask(lambda provider: provider.contacts_with_tag("vip", "100"))
    assert [row["phone"] for row in page.rows] == ["+12025550110", "none"]
    assert page.next_page == "104"
    assert vendor.asked()[0][0] == "GET /contacts?tags=vip&offset=100&limit=100"
    with pytest.raises(Unreachable):
        Vendor({"data": None}).ask(lambda provider: provider.contacts_with_tag("vip"))


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Hi {{{firstName}}}. Grab 20% off", "Hi {first_name}. Grab 20% off"),
        ("{{ firstName }} {{lastName}}", "{first_name} {last_name}"),
        ("{{{contact.firstName}}} {{& contact.email}}", "{first_name} {email}"),
        ("{{mobile}} {{contact.mobile.number}}", "{phone} {phone}"),
        ("{{attributes.jobTitle}} {{{contact.attributes.code}}} {{city}}", "{jobTitle} {code} {city}"),
        ("{{attributes.firstName}}", "{firstName}"),
        ("{one} } { {{{x}}}}", "{{one}} }} {{ {x}}}"),
        ("Hi{{! who? }}", "Hi"),
        ("plain", "plain"),
    ],
)
def test_a_template_in_our_words(template: str, text: str) -> None:
    assert placeholders(template) == text
    compile_template(text)


@pytest.mark.parametrize(
    "template",
    [
        "{{#attributes}}x{{/attributes}}",
        "{{^firstName}}you{{/firstName}}",
        "{{> part}}",
        "{{=<% %>=}}",
        "{{upper firstName}}",
        "{{a|b}}",
        "{{}}",
        "{{attributes}}",
        "{{a.b.c}}",
        "Hi {{firstName",
        "Hi {{{firstName}}",
    ],
)
def test_a_template_that_cannot_be_expressed(template: str) -> None:
    with pytest.raises(InputError, match="character"):
        placeholders(template)


def test_a_template_of_the_accounts(sakari: Sakari, sandbox: Sandbox) -> None:
    create = resource(sakari, "templates").create
    assert create is not None
    item = create({"name": "Welcome", "type": "SMS", "template": "Hi {{{firstName}}}, code {{attributes.code}}"})
    assert sakari.template_text(item["id"]) == "Hi {first_name}, code {code}"
    with pytest.raises(InvalidRequest, match="HTTP 404"):
        sakari.template_text("none")
    with pytest.raises(Unreachable, match="no template"):
        Vendor({"data": {"id": "x"}}).ask(lambda provider: provider.template_text("x/y?z"))


def test_a_file_is_hosted(sakari: Sakari, sandbox: Sandbox) -> None:
    link = sakari.share("a photo.png", "image/png", b"\x89PNG\r\n--")
    assert link == "https://files.example/1"
    assert sakari.submit(batch_of(ordinary(1), options={"media_url": link})).provider_message_ids[0]
    details = sandbox.record.messages[0].details or {}
    assert (details["type"], details["media"]) == ("MMS", [link])


def test_how_a_file_is_uploaded() -> None:
    vendor = Vendor({"data": {"link": "https://x.example/1", "expires": "2026-01-01T00:00:00Z"}})
    vendor.ask(lambda provider: provider.share('a "photo"\r\n.png', "image/png", b"data"))
    ((line, body),) = vendor.asked()
    assert line == "POST /v1/tools/sharefile"
    boundary, _, rest = body.partition(b"\r\n")
    assert rest == (
        b'Content-Disposition: form-data; name="media"; filename="aphoto.png"\r\n'
        b"Content-Type: image/png\r\n\r\ndata\r\n" + boundary + b"--\r\n"
    )
    for wrong in ("", "image", "image/png\r\nX: y", "imagé/png"):
        with pytest.raises(InvalidRequest, match="media type"):
            Vendor().ask(lambda provider: provider.share("x", wrong, b""))  # noqa: B023 - called at once
    with pytest.raises(Unreachable, match="no link"):
        Vendor({"data": {}}).ask(lambda provider: provider.share("x", "image/png", b"x"))


# --- The documented calls ---------------------------------------------------------------------------------------------


def calls(found: Resource) -> set[str]:
    named = {name for name in ("find", "show", "create", "update", "delete") if getattr(found, name) is not None}
    return named | set(found.actions) | set(found.uploads)


def test_the_resources(sakari: Sakari) -> None:
    everything = {"find", "show", "create", "update", "delete"}
    assert {found.name: calls(found) for found in sakari.resources()} == {
        "contacts": everything | {"csv"},
        "templates": everything,
        "campaigns": everything,
        "conversations": {"find", "show", "close"},
        "messages": {"find", "show"},
        "webhooks": {"find", "create", "delete"},
    }
    assert all(found.key for found in sakari.resources())


@pytest.mark.parametrize(
    ("name", "item", "change"),
    [
        ("contacts", ANN, {"lastName": "Changed"}),
        ("templates", {"name": "One", "type": "SMS", "template": "x"}, {"name": "Two", "template": "y"}),
        (
            "campaigns",
            {"name": "One", "trigger": {"code": "S"}, "filters": {"tags": ["vip"]}, "template": "x"},
            {"name": "Two", "trigger": {"code": "M"}, "template": "y"},
        ),
    ],
)
def test_what_is_created_can_be_changed_and_removed(
    sakari: Sakari, sandbox: Sandbox, name: str, item: Item, change: Item
) -> None:
    kept = resource(sakari, name)
    assert kept.create is not None
    assert kept.show is not None
    assert kept.find is not None
    assert kept.update is not None
    assert kept.delete is not None
    key = kept.create(item)["id"]
    assert kept.show(key)["id"] == key
    assert [found["id"] for found in kept.find({}, None).items] == [key]
    changed = kept.update(key, change)
    assert {field: changed[field] for field in change} == change
    assert kept.delete(key) == {"success": True}
    assert kept.find({}, None).items == []
    with pytest.raises(InvalidRequest, match="HTTP 404"):
        kept.show(key)


def test_contacts_are_found_and_merged(sakari: Sakari, sandbox: Sandbox) -> None:
    kept = resource(sakari, "contacts")
    assert kept.create is not None
    assert kept.find is not None
    kept.create(ANN)
    merged = kept.create({**ANN, "firstName": "Anna", "tags": [{"tag": "new"}], "mergeStrategy": "core"})
    assert (merged["firstName"], merged["tags"]) == ("Anna", ANN["tags"])
    filters = (
        {"firstName": "ann"},
        {"mobile": "202555"},
        {"tags": "vip"},
        {"email": "@example"},
        {"lastName": "oth"},
    )
    assert [len(kept.find(each, None).items) for each in filters] == [1] * 5
    assert kept.find({"firstName": "Bob"}, None).items == []
    with pytest.raises(InvalidRequest, match="not sent: contacts are not found by phone"):
        kept.find({"phone": "x"}, None)
    with pytest.raises(InvalidRequest, match="mergeStrategy is one of append, core, remove"):
        kept.create({**ANN, "mergeStrategy": "other"})


def test_contacts_are_uploaded(sakari: Sakari, sandbox: Sandbox) -> None:
    upload = resource(sakari, "contacts").uploads["csv"]
    content = b"country,firstName,mobile,jobTitle\r\nUS,Jo,+12025550122,mover\r\nUS,Bad,12,x\r\n"
    done = upload("people.csv", content, {"mergeStrategy": "remove"})
    assert (done["submitted"], done["inserted"], done["updated"], len(done["errors"])) == (2, 1, 0, 1)
    with pytest.raises(InvalidRequest, match="HTTP 400: REQ-001"):
        upload("people.csv", b"name\r\nJo\r\n", {})
    for wrong in ({"mergeStrategy": "other"}, {"delimiter": ";"}):
        with pytest.raises(InvalidRequest, match="not sent"):
            upload("people.csv", content, cast("Mapping[str, str]", wrong))


def test_conversations_and_messages(sakari: Sakari, sandbox: Sandbox) -> None:
    (first, _) = sakari.submit(batch_of(ordinary(2))).provider_message_ids
    conversations, messages = resource(sakari, "conversations"), resource(sakari, "messages")
    assert conversations.find is not None
    assert conversations.show is not None
    assert messages.find is not None
    assert messages.show is not None
    found = conversations.find({}, None).items
    assert len(found) == 2
    key = found[0]["id"]
    assert conversations.actions["close"](key)["closed"] is True
    assert conversations.show(key)["closed"] is True
    of_it = messages.find({"conversationId": key}, None).items
    assert [item["id"] for item in of_it] == [first]
    assert [item["id"] for item in messages.find({"contactId": found[0]["contact"]["id"]}, None).items] == [first]
    assert messages.show(str(first))["status"] == "Delivered"


def test_webhooks_are_named_by_their_url(sakari: Sakari, sandbox: Sandbox) -> None:
    kept = resource(sakari, "webhooks")
    assert kept.find is not None
    assert kept.create is not None
    assert kept.delete is not None
    url = "https://hooks.example/a b/%2F?c=d&e=f#g"
    created = kept.create({"url": url, "eventTypes": ["message-status", "message-received"]})
    assert created["url"] == url
    assert [item["url"] for item in kept.find({}, None).items] == [url]
    assert kept.delete(url) == {}
    assert kept.find({}, None).items == []
    with pytest.raises(InvalidRequest, match="all at once"):
        kept.find({}, "100")


def test_pages_of_a_resource() -> None:
    vendor = Vendor({"data": [{"id": "1"}] * 3, "pagination": {"hasNext": True}})
    page = vendor.ask(lambda provider: _find(provider, "templates", {"name": "a&b"}, "200"))
    assert (len(page.items), page.next_page) == (3, "203")
    assert vendor.asked()[0][0] == "GET /templates?name=a%26b&offset=200&limit=100"
    contents: list[object] = [{}, {"data": {"id": "1"}}, [], b"{"]
    for content in contents:
        with pytest.raises(Unreachable):
            Vendor(raw(content)).ask(lambda provider: _find(provider, "templates", {}, None))


def _find(provider: Sakari, name: str, filters: Mapping[str, str], page: str | None) -> Any:
    find = resource(provider, name).find
    assert find is not None
    return find(filters, page)


@pytest.mark.parametrize("key", ["", ".", ".."])
def test_a_key_that_names_something_else_is_not_sent(key: str) -> None:
    vendor = Vendor()
    delete = vendor.ask(lambda provider: resource(provider, "contacts").delete)
    assert delete is not None
    with pytest.raises(InvalidRequest, match="names no item"):
        delete(key)
    assert vendor.server.requests == []


def test_a_change_whose_answer_is_lost_may_have_been_made() -> None:
    for content in (raw({}, 500), raw(b"<html>")):
        with pytest.raises(OutcomeUnknown):
            Vendor(content).ask(_created)
    with pytest.raises(AuthenticationFailed):
        Vendor(raw({}, 403)).ask(_created)


def _created(provider: Sakari) -> Item:
    create = resource(provider, "templates").create
    assert create is not None
    return create({"name": "x", "template": "y"})
