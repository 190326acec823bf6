"""BSG on the wire besides sending: receipts, stopping, prices, the balance, the stop list, and what it keeps."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from dispatcher.errors import AuthenticationFailed, InvalidRequest, OutcomeUnknown, Refused, Unreachable
from dispatcher.message import MessageState
from dispatcher.provider import Awaited, Price, Receipt, ReceiptPage, Stopped
from dispatcher.providers.bsg import BSG, Settings
from dispatcher.throughput import LocalTokens
from tests.providers.bsg_vendor import BsgVendor, campaign
from tests.providers.rows import batch_of, ordinary

A, B, C = 12025550101, 12025550102, 12025550103
D, E, U, S = MessageState.DELIVERED, MessageState.EXPIRED, MessageState.UNDELIVERED, MessageState.SUBMITTED


def awaited(*numbers: int) -> list[Awaited]:
    return [
        Awaited(
            message_id=at,
            number=number,
            reference=f"ours{at}",
            provider_message_id=None,
            provider_reference="58982653",
        )
        for at, number in enumerate(numbers)
    ]


def row(**fields: Any) -> dict[str, Any]:
    """Return a message as the vendor documents it."""
    found = {
        "id": 4419393338,
        "campaign_id": 58982653,
        "reference_id": "ours0",
        "type": "sms",
        "source": "web",
        "text": "Test",
        "phone": A,
        "validity": 72,
        "status": "delivered",
        "amount": {"value": "0.0100000", "currency": "UAH"},
        "sender": "testsms",
        "created_at": "2025-03-20 05:11:15",
        "sent_at": "2025-03-20 05:11:16",
        "delivered_at": "2025-03-20 05:11:21",
        "country": "UA",
        "parts": 1,
    }
    return {**found, **fields}


def listed(*rows: object, total: int | None = None, offset: int = 0) -> dict[str, Any]:
    page = {"limit": 500, "offset": offset, "total": len(rows) if total is None else total}
    return {"data": list(rows), "meta": {"page": page}}


def receipts(content: object, *numbers: int, **settings: Any) -> Sequence[Receipt]:
    page: ReceiptPage = BsgVendor(content, **settings).ask(lambda p: p.fetch_receipts(awaited(*(numbers or (A,)))))
    return page.receipts


# --- Receipts ---------------------------------------------------------------------------------------------------------


def test_the_list_in_the_vendors_document() -> None:
    vendor = BsgVendor(listed(row()), time_zone="UTC")
    page = vendor.ask(lambda provider: provider.fetch_receipts(awaited(A)))
    assert page == ReceiptPage(
        receipts=[
            Receipt(message_id=0, state=D, at=datetime(2025, 3, 20, 5, 11, 21, tzinfo=UTC), cost=Decimal("0.0100000"))
        ]
    )
    assert vendor.asked() == (
        "GET /api/messages?filter%5Bcampaign_id%5D=58982653&sort=id&way=asc&page%5Boffset%5D=0&page%5Blimit%5D=500",
        b"",
    )


@pytest.mark.parametrize(
    ("fields", "state", "reason"),
    [
        ({}, D, None),
        ({"status": "read"}, D, "read"),
        ({"status": "Delivered"}, D, None),
        ({"status": "expired"}, E, "expired"),
        ({"status": "failed"}, U, "failed"),
        ({"status": "undelivered"}, U, "undelivered"),
        ({"status": "not_viber_user"}, U, "not_viber_user"),
        ({"status": "not_service_user"}, U, "not_service_user"),
        ({"status": "not_rcs_user", "alternative_channels": []}, U, "not_rcs_user"),
        ({"status": "scheduled"}, S, "scheduled"),
        ({"status": "moderation"}, S, "moderation"),
        ({"status": "accepted"}, S, "accepted"),
        ({"status": "sending"}, S, "sending"),
        ({"status": "sent"}, S, "sent"),
        ({"status": "unknown"}, S, "unknown"),
        ({"status": "on_the_moon"}, S, "on_the_moon"),
        ({"status": None}, S, None),
    ],
)
def test_what_a_state_means(fields: dict[str, Any], state: MessageState, reason: str | None) -> None:
    (receipt,) = receipts(listed(row(**fields)))
    assert (receipt.state, receipt.reason) == (state, reason)


@pytest.mark.parametrize(
    ("rows", "states"),
    [
        ([row(reference_id="ours1"), row(reference_id="ours0", status="sent")], {0: S, 1: D}),
        ([row(reference_id=None, phone=B), row(reference_id="", phone=f"+{C}")], {1: D, 2: D}),
        ([row(reference_id="theirs"), row(reference_id=None, phone=12025550177), None], {}),
        ([row(campaign_id=1), row(campaign_id="58982653", reference_id="ours2")], {2: D}),
        ([row(campaign_id=None)], {0: D}),
        # By two channels: one row says where it goes on, another how it ends.
        ([row(status="not_rcs_user", alternative_channels={"sms": {"parts": 1, "id": [7]}})], {}),
        ([row(status="failed"), row(status="sent")], {0: S}),
        ([row(status="sent"), row(status="delivered"), row(status="failed")], {0: D}),
    ],
)
def test_rows_find_their_messages(rows: list[object], states: dict[int, MessageState]) -> None:
    found = receipts(listed(*rows), A, B, C)
    assert {receipt.message_id: receipt.state for receipt in found} == states


def test_a_number_that_is_there_twice_tells_nobody_apart() -> None:
    assert receipts(listed(row(reference_id=None)), A, A) == []


@pytest.mark.parametrize(
    ("fields", "zone", "at"),
    [
        ({}, "Europe/Kyiv", datetime(2025, 3, 20, 3, 11, 21, tzinfo=UTC)),
        ({}, "", None),  # a time without a zone tells nothing
        ({"delivered_at": "2025-03-20T05:11:21+02:00"}, "", datetime(2025, 3, 20, 3, 11, 21, tzinfo=UTC)),
        ({"delivered_at": None}, "UTC", datetime(2025, 3, 20, 5, 11, 16, tzinfo=UTC)),
        ({"delivered_at": "soon", "sent_at": None}, "UTC", None),
        ({"delivered_at": "0001-01-01 00:00:00", "sent_at": None}, "Asia/Tokyo", None),
    ],
)
def test_times_are_the_vendors(fields: dict[str, Any], zone: str, at: datetime | None) -> None:
    (receipt,) = receipts(listed(row(**fields)), time_zone=zone)
    assert receipt.at == at


@pytest.mark.parametrize(
    ("amount", "cost"),
    [
        ({"value": "0.0100000"}, "0.0100000"),
        ({"value": 0.10}, "0.1"),
        ({"value": "NaN"}, None),
        ({"value": None}, None),
        ({}, None),
        (None, None),
    ],
)
def test_costs_are_exact(amount: object, cost: str | None) -> None:
    (receipt,) = receipts(listed(row(amount=amount)))
    assert receipt.cost == (None if cost is None else Decimal(cost))


@pytest.mark.parametrize(
    ("content", "page", "following"),
    [
        (listed(row(), total=501), "500", None),
        (listed(row(), total=502), "500", "501"),
        (listed(total=502), "500", None),
        ({"data": [row()] * 500}, None, "500"),
        ({"data": [row()] * 499}, "500", None),
    ],
)
def test_pages(content: object, page: str | None, following: str | None) -> None:
    vendor = BsgVendor(content)
    assert vendor.ask(lambda provider: provider.fetch_receipts(awaited(A), page)).next_page == following
    assert f"page%5Boffset%5D={page or 0}&" in vendor.asked()[0]


def test_what_has_no_campaign_is_not_asked_for() -> None:
    one = Awaited(message_id=1, number=A, reference="ours", provider_message_id=None, provider_reference=None)
    vendor = BsgVendor({})
    assert vendor.ask(lambda provider: provider.fetch_receipts([one])).receipts == []
    assert vendor.server.connections == 0
    with pytest.raises(Unreachable, match="names no messages"):
        receipts({})


# --- Stopping ---------------------------------------------------------------------------------------------------------

NOW = datetime.now(UTC)


def plain(hours: float) -> str:
    return (NOW + timedelta(hours=hours)).strftime("%Y-%m-%d %H:%M:%S")


@pytest.mark.parametrize(
    ("fields", "zone", "stopped"),
    [
        ({"start_at": plain(1)}, "UTC", Stopped(stopped=True, unsent=True, reason="stopped")),
        ({"start_at": plain(-1)}, "UTC", Stopped(stopped=True, reason="stopped")),
        ({"start_at": plain(1), "real_start_at": plain(0)}, "UTC", Stopped(stopped=True, reason="stopped")),
        # Where the zone is not known, a start must be ahead in any.
        ({"start_at": plain(13)}, "", Stopped(stopped=True, reason="stopped")),
        ({"start_at": plain(15)}, "", Stopped(stopped=True, unsent=True, reason="stopped")),
        (
            {"start_at": (NOW + timedelta(hours=1)).isoformat()},
            "",
            Stopped(stopped=True, unsent=True, reason="stopped"),
        ),
        ({"start_at": None}, "UTC", Stopped(stopped=True, reason="stopped")),
        ({"status": "sending", "start_at": plain(1)}, "UTC", Stopped(stopped=False, reason="sending")),
    ],
)
def test_what_stopping_did(fields: dict[str, Any], zone: str, stopped: Stopped) -> None:
    vendor = BsgVendor(campaign(**{"status": "stopped", **fields}), time_zone=zone)
    assert vendor.ask(lambda provider: provider.stop("53651994")) == stopped
    assert vendor.asked() == ("PATCH /api/campaigns/53651994/stop", b"")


@pytest.mark.parametrize(
    ("answered", "reason"),
    [
        ((422, {"message": "Invalid campaign status: done", "errors": []}), "Invalid campaign status: done"),
        ((422, b""), "HTTP 422"),
        ((404, {"message": "Campaign not found"}), "Campaign not found"),
    ],
)
def test_a_refusal_to_stop_is_told_as_what_it_is(answered: object, reason: str) -> None:
    assert BsgVendor(answered).ask(lambda provider: provider.stop("7")) == Stopped(stopped=False, reason=reason)


def test_stopping_that_is_not_answered_for() -> None:
    for content in ({}, {"data": {"id": 7}}):
        with pytest.raises(OutcomeUnknown):
            BsgVendor(content).ask(lambda provider: provider.stop("7"))
    with pytest.raises(AuthenticationFailed):
        BsgVendor((403, {})).ask(lambda provider: provider.stop("7"))
    with pytest.raises(InvalidRequest):
        BsgVendor((400, {})).ask(lambda provider: provider.stop("7"))
    with pytest.raises(InvalidRequest, match="not sent"):
        BsgVendor({}).ask(lambda provider: provider.stop("../../accounts"))


# --- Prices, the balance, the stop list -------------------------------------------------------------------------------


def test_a_price() -> None:
    vendor = BsgVendor(b'{"price": 0.0527088, "currency": "USD"}', tariff_code=9)
    batch = batch_of([A, 12345678], text="Hi")
    assert vendor.ask(lambda provider: provider.price(batch)) == Price(amount=Decimal("0.0527088"), currency="USD")
    assert vendor.asked() == (
        "POST /api/campaigns/price",
        b'{"sender":"Shop","text":"Hi","messages":[{"phone":12025550101}],"tariff_code":9}',
    )
    unknown = BsgVendor({"price": None}).ask(lambda provider: provider.price(batch))
    assert unknown == Price(amount=None)


def test_what_has_no_price_beforehand_is_not_asked_for() -> None:
    for batch in (batch_of([A], texts=["a"]), batch_of([A], options={"channels": "rcs"})):
        vendor = BsgVendor({}, currency="UAH")
        assert vendor.ask(lambda provider, b=batch: provider.price(b)) == Price(amount=None, currency="UAH")
        assert vendor.server.connections == 0
    with pytest.raises(Refused, match="sender"):
        BsgVendor({}, sender="").ask(lambda provider: provider.price(batch_of([A])))
    with pytest.raises(InvalidRequest, match="10001 messages"):
        BsgVendor({}).ask(lambda provider: provider.price(batch_of(ordinary(10_001))))


def test_the_balance_is_exact() -> None:
    vendor = BsgVendor(b'{"data": {"balance": -50.25, "currency": "USD", "credit": 125}}')
    assert str(vendor.ask(lambda provider: provider.balance())) == "-50.25"
    assert vendor.asked() == ("GET /api/accounts/balance", b"")
    for content in ({}, {"data": None}, {"data": {}}, {"data": {"balance": "?"}}):
        with pytest.raises(Unreachable, match="names no balance"):
            BsgVendor(content).ask(lambda provider: provider.balance())


def test_the_credentials_are_tried_by_a_new_login() -> None:
    vendor = BsgVendor({"bearer": "another"}, {"data": {"balance": 12.5, "currency": "USD"}})
    assert vendor.ask(lambda provider: provider.check()) == "logged in, balance 12.5 USD"
    assert vendor.asked(1, bearer="another")[0] == "GET /api/accounts/balance"


def test_the_stop_list() -> None:
    one = {"id": 1, "phone": A, "created_at": "2025-03-27 09:05:57", "sms_stoplist": True, "viber_stoplist": False}
    vendor = BsgVendor(
        {"data": [one, {**one, "phone": B, "sms_stoplist": False}, None, {"phone": "?"}], "total": 1004},
        time_zone="UTC",
    )
    page = vendor.ask(lambda provider: provider.opt_outs("500"))
    assert vendor.asked()[0] == "GET /api/stoplist?type=sms&page%5Boffset%5D=500&page%5Blimit%5D=500"
    (opt_out,) = page.opt_outs
    assert (opt_out.number, opt_out.reason) == (A, "stop list")
    assert opt_out.at == datetime(2025, 3, 27, 9, 5, 57, tzinfo=UTC)
    assert page.next_page == "504"
    with pytest.raises(Unreachable):
        BsgVendor({"total": 0}).ask(lambda provider: provider.opt_outs())


# --- What it keeps ----------------------------------------------------------------------------------------------------


def resource(provider: BSG, name: str) -> Any:  # a Resource, of which any call may be None
    return next(found for found in provider.resources() if found.name == name)


def test_the_resources_are_named_without_a_call() -> None:
    provider = BSG(Settings(base_url="http://127.0.0.1:1"), LocalTokens())
    assert [found.name for found in provider.resources()] == [
        *("campaigns", "messages", "stoplist", "contacts", "contact-fields", "groups", "group-members"),
        *("senders", "sender-requests", "tariffs"),
    ]


LISTS: list[tuple[str, dict[str, str], str]] = [
    (
        "campaigns",
        {"type": "sms", "from": "2025-01-01", "sender": "Shop"},
        "/api/campaigns?filter%5Btype%5D=sms&filter%5Bfrom%5D=2025-01-01&search%5Bfield%5D=sender"
        "&search%5Bvalue%5D=Shop&P",
    ),
    ("messages", {"reference": "a1"}, "/api/messages?filter%5Breference_id%5D=a1&P"),
    ("stoplist", {}, "/api/stoplist?P"),
    (
        "stoplist",
        {"phone": str(A)},
        f"/api/stoplist/search?search%5Bfield%5D=phone&search%5Bvalue%5D={A}&search%5Boperator%5D=%3D&P",
    ),
    (
        "contacts",
        {"phone": "~1202"},
        "/api/contacts/search?search%5Bfield%5D=phone&search%5Bvalue%5D=1202&search%5Boperator%5D=like&P",
    ),
    ("contacts", {"group": "7"}, "/api/contacts?groups%5B%5D=7&P"),
    ("contact-fields", {}, "/api/contacts/fields"),
    (
        "groups",
        {"items": ">=5"},
        "/api/groups/search?search%5Bfield%5D=items&search%5Bvalue%5D=5&search%5Boperator%5D=%3E%3D&P",
    ),
    ("senders", {}, "/api/senders?type=sms"),
    ("senders", {"type": "viber"}, "/api/senders?type=viber"),
    ("sender-requests", {"status": "new"}, "/api/senders/requests/sms?filter%5Bstatus%5D=new&P"),
    ("tariffs", {}, "/api/accounts/tariff?P"),
]


@pytest.mark.parametrize(("name", "words", "path"), LISTS)
def test_a_list_is_asked_for_page_by_page(name: str, words: dict[str, str], path: str) -> None:
    vendor = BsgVendor({"data": [{"id": 1}, {"id": 2}], "total": 9})
    page = vendor.ask(lambda provider: resource(provider, name).find(words, "5" if "P" in path else None))
    assert [item["id"] for item in page.items] == [1, 2]
    assert page.next_page == ("7" if path.endswith("P") else None)
    assert vendor.asked()[0] == "GET " + path.replace("P", "page%5Boffset%5D=5&page%5Blimit%5D=500")


@pytest.mark.parametrize(
    ("content", "following"),
    [
        ({"data": [{}], "meta": {"page": {"total": 2}}}, "1"),
        ({"data": [{}], "meta": {"page": {"total": 1}}}, None),
        ({"data": [{}] * 500}, "500"),
        ({"data": [{}], "meta": []}, None),
        ({"data": []}, None),
    ],
)
def test_where_a_list_ends(content: object, following: str | None) -> None:
    page = BsgVendor(content).ask(lambda provider: resource(provider, "messages").find({}, None))
    assert page.next_page == following


CALLS: list[tuple[str, Callable[[Any], Any], str, bytes]] = [
    ("campaigns", lambda r: r.show("7"), "GET /api/campaigns/7", b""),
    ("campaigns", lambda r: r.actions["detail"]("7"), "GET /api/campaigns/7/detail", b""),
    ("campaigns", lambda r: r.actions["stop"]("7"), "PATCH /api/campaigns/7/stop", b""),
    ("stoplist", lambda r: r.create({"phones": [A]}), "POST /api/stoplist/attach", b'{"phones":[12025550101]}'),
    (
        "stoplist",
        lambda r: r.delete("7"),
        "POST /api/stoplist/detach",
        b'{"ids":[7],"types":["sms","viber","rcs","whatsapp"]}',
    ),
    ("contacts", lambda r: r.show("7"), "GET /api/contacts/7", b""),
    ("contacts", lambda r: r.create({"phone": A}), "POST /api/contacts", b'{"phone":12025550101}'),
    ("contacts", lambda r: r.update("7", {"phone": A}), "PUT /api/contacts/7", b'{"phone":12025550101}'),
    ("contacts", lambda r: r.delete("7"), "DELETE /api/contacts/7", b""),
    ("contact-fields", lambda r: r.update("7", {"name": "x"}), "PATCH /api/contacts/fields/7", b'{"name":"x"}'),
    ("contact-fields", lambda r: r.delete("7"), "POST /api/contacts/fields/delete", b'{"ids":[7]}'),
    ("groups", lambda r: r.update("7", {"name": "x"}), "PUT /api/groups/7", b'{"name":"x"}'),
    ("groups", lambda r: r.delete("7"), "DELETE /api/groups/7", b""),
    (
        "group-members",
        lambda r: r.create({"contacts": [1], "groups": [2]}),
        "POST /api/groups/attach",
        b'{"contacts":[1],"groups":[2]}',
    ),
    ("group-members", lambda r: r.delete("2:1"), "POST /api/groups/detach", b'{"contacts":[1],"groups":[2]}'),
]


@pytest.mark.parametrize(("name", "call", "path", "body"), CALLS)
def test_a_call_on_one_item(name: str, call: Callable[[Any], Any], path: str, body: bytes) -> None:
    vendor = BsgVendor({"data": {"id": 7}})
    assert vendor.ask(lambda provider: call(resource(provider, name))) == {"id": 7}
    assert vendor.asked() == (path, body)


def test_items_without_data() -> None:
    for content, item in (
        (b"", {}),
        ({"done": True}, {"done": True}),
        ({"data": [1]}, {"data": [1]}),
        ([2], {"data": [2]}),
    ):
        assert BsgVendor(content).ask(lambda p: resource(p, "contacts").delete("7")) == item


def test_what_is_no_filter_or_id_is_not_sent() -> None:
    vendor = BsgVendor({})

    def ask(provider: BSG) -> None:
        groups = resource(provider, "groups")
        for words in ({"colour": "red"}, {"name": "a", "id": "1"}):
            with pytest.raises(InvalidRequest, match="not sent: no such filter"):
                groups.find(words, None)
        with pytest.raises(InvalidRequest, match="ids are numbers"):
            groups.show("../contacts")

    vendor.ask(ask)
    assert vendor.server.connections == 0
    silent = BsgVendor({})
    with pytest.raises(Unreachable, match="names no items"):
        silent.ask(lambda provider: resource(provider, "groups").find({}, None))
