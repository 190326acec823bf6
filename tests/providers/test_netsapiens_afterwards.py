"""NetSapiens after a submission: statuses, what came in, subscriptions, and what it keeps."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dispatcher.errors import (
    AuthenticationFailed,
    InvalidRequest,
    NotSubmitted,
    OutcomeUnknown,
    ProviderError,
    Unreachable,
)
from dispatcher.message import MessageState
from dispatcher.provider import (
    Awaited,
    ChecksCredentials,
    FetchesReceipts,
    FindsLost,
    HasResources,
    LookUp,
    Receipt,
    ReceivesMessages,
    RenewsSubscriptions,
    Resource,
    Schedules,
    TellsBalance,
    Verdict,
)
from dispatcher.providers.netsapiens import NetSapiens, wire
from dispatcher.sandbox import Sandbox, Settings
from tests.misbehaving import Server
from tests.providers.rows import batch_of, let_in
from tests.providers.test_netsapiens import SESSION, A, account, asked, vendor

D, U, S = MessageState.DELIVERED, MessageState.UNDELIVERED, MessageState.SUBMITTED
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def asking(question: Callable[[NetSapiens], Any], *contents: object, **settings: Any) -> tuple[Any, Server]:
    with vendor(*contents) as server:
        return question(account(server, **settings)), server


def message(**fields: object) -> dict[str, object]:
    """Return a row of a session as the vendor documents it."""
    row = {
        "id": "m-652697db42351",
        "timestamp": "2026-03-01 11:59:00",
        "type": "sms",
        "domain": "portal",
        "direction": "term",
        "dialed": str(A),
        "text": "hello",
        "status": "sending",
        "from-number": 12025550100,
        "from-user-id": "1000@portal",
        "terminating-number": str(A),
        "messagesession-id": SESSION,
    }
    return {**row, **{name.replace("_", "-"): value for name, value in fields.items()}}


def test_the_abilities_are_those_that_there_are() -> None:
    with vendor({}) as server:
        provider = account(server)
    abilities = (FindsLost, FetchesReceipts, ChecksCredentials, ReceivesMessages, RenewsSubscriptions, HasResources)
    assert all(isinstance(provider, ability) for ability in abilities)
    assert not isinstance(provider, Schedules | TellsBalance)


# --- Receipts ---------------------------------------------------------------------------------------------------------

AWAITED = Awaited(message_id=7, number=A, reference=SESSION, provider_message_id=SESSION, provider_reference=None)


def receipt(*rows: dict[str, object], **settings: Any) -> Receipt:
    page, server = asking(lambda provider: provider.fetch_receipts([AWAITED]), list(rows), **settings)
    path = f"GET /ns-api/v2/domains/~/users/~/messagesessions/{SESSION}/messages?limit=1000"
    assert asked(server) == (path, None)
    assert page.next_page is None
    (found,) = page.receipts
    assert found.message_id == 7
    result: Receipt = found
    return result


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [
        ("delivered", D, None),
        ("Delivered", D, None),
        (" DELIVERED ", D, None),
        ("sent", S, "sent"),
        ("sending", S, "sending"),
        ("read", S, "read"),
        ("delivered?no", S, "delivered?no"),
        ("", S, None),
        (None, S, None),
        (5, S, "5"),
        ("failed", U, "failed"),
        ("Delivery-Failed", U, "Delivery-Failed"),
        ("not_delivered", U, "not_delivered"),
        ("rejected", U, "rejected"),
    ],
)
def test_what_a_status_means(status: object, state: MessageState, reason: str | None) -> None:
    found = receipt(message(status=status))
    assert (found.state, found.reason) == (state, reason)


def test_the_words_are_settings() -> None:
    assert receipt(message(status="Handed Over"), delivered_words="handed over, read").state is D
    assert receipt(message(status="delivered"), delivered_words="read").state is S
    assert receipt(message(status="GONE"), failed_words="gone").state is U
    assert receipt(message(status=""), delivered_words=" , ").state is S


@pytest.mark.parametrize(
    ("timestamp", "zone", "at"),
    [
        ("2026-03-01T11:59:00.25Z", "UTC", datetime(2026, 3, 1, 11, 59, 0, 250_000, tzinfo=UTC)),
        ("2026-03-01T11:59:00-05:00", "UTC", datetime(2026, 3, 1, 16, 59, tzinfo=UTC)),
        ("2026-03-01 11:59:00", "America/Los_Angeles", datetime(2026, 3, 1, 19, 59, tzinfo=UTC)),
        ("YYYY-MM-DDTHH:MM:SS.ssZ", "UTC", None),
        (None, "UTC", None),
        (1772366340, "UTC", None),
    ],
)
def test_times_are_the_servers(timestamp: object, zone: str, at: datetime | None) -> None:
    assert wire.moment(timestamp, ZoneInfo(zone)) == at


def test_the_time_of_a_message_is_not_that_of_its_delivery() -> None:
    assert receipt(message(status="delivered")).at is None


def test_nothing_in_the_session_yet_is_under_way() -> None:
    assert receipt() == Receipt(message_id=7, state=S)
    assert receipt(message(direction="orig", status="delivered")) == Receipt(message_id=7, state=S)
    page, _ = asking(lambda provider: provider.fetch_receipts([AWAITED]), (404, {"code": 404, "message": "none"}))
    assert page.receipts == [Receipt(message_id=7, state=S)]


def test_ours_is_the_oldest_outbound_message() -> None:
    answered = message(timestamp="2026-03-01 12:30:00", text="by hand", status="failed")
    ours = message(status="delivered")
    reply = message(timestamp="2026-03-01T11:00:00.00Z", direction="orig", status="failed")
    assert receipt(answered, ours, reply).state is D
    assert receipt(message(timestamp="2026-03-01T13:00:00.00Z", text="by hand", status="delivered"), ours).state is D
    assert receipt(message(timestamp=None, text="by hand", status="delivered"), message(timestamp=None)).state is S


def test_of_a_message_that_was_sent_twice_the_better_fate_counts() -> None:
    later = {"timestamp": "2026-03-01 12:30:00"}
    assert receipt(message(status="delivered", **later), message(status="failed")).state is D
    assert receipt(message(status="sent", **later), message(status="failed")).reason == "sent"
    assert receipt(message(status="failed", **later), message(status="rejected")).reason == "rejected"


def test_a_message_without_an_answer_is_found_by_our_reference() -> None:
    lost = Awaited(message_id=7, number=A, reference="ab" * 16, provider_message_id=None, provider_reference=None)
    page, server = asking(lambda provider: provider.fetch_receipts([lost]), [message(status="sent")])
    assert page.receipts[0].reason == "sent"
    assert "/messagesessions/" + "ab" * 16 + "/messages" in asked(server)[0]


def test_questions_that_make_no_sense() -> None:
    with vendor([]) as server:
        provider = account(server)
        assert provider.fetch_receipts([]).receipts == []
        nobody = Awaited(message_id=7, number=A, reference="", provider_message_id="../..", provider_reference=None)
        assert provider.fetch_receipts([nobody]).receipts == []
        with pytest.raises(InvalidRequest):
            provider.fetch_receipts([AWAITED, AWAITED])
    assert server.connections == 0


@pytest.mark.parametrize("content", [{}, {"code": 200}, "none", None, (200, b""), (200, b"<html>"), (500, [])])
def test_an_answer_that_cannot_be_read_is_not_an_empty_session(content: object) -> None:
    with pytest.raises(Unreachable):
        asking(lambda provider: provider.fetch_receipts([AWAITED]), content)


# --- Lost answers -----------------------------------------------------------------------------------------------------


def looked_up(*contents: object, **settings: Any) -> tuple[LookUp, list[str]]:
    asked_for: list[str] = []
    found, server = asking(
        lambda provider: provider.find(batch_of([A]), NOW, lambda: asked_for.append("throughput")),
        *contents,
        **settings,
    )
    assert len(asked_for) == len(server.requests) == 1
    return found, [asked(server)[0]]


def test_a_message_in_its_session_was_sent() -> None:
    found, paths = looked_up([message(direction="orig", status=""), message(status="sent")])
    assert paths == [f"GET /ns-api/v2/domains/~/users/~/messagesessions/{SESSION}/messages?limit=1000"]
    assert found.verdict is Verdict.FOUND
    assert found.evidence == "1 outbound in the session of its reference, status sent"
    assert found.answers is not None
    assert (found.answers.provider_message_ids, found.answers.costs) == ([SESSION], [None])
    assert (found.answers.missing, found.answers.note) == (frozenset(), None)
    found, _ = looked_up([message(status=""), message()])
    assert found.answers is not None
    assert found.answers.note


@pytest.mark.parametrize("content", [[], [message(direction="orig")], (404, {"code": 404, "message": "none"})])
def test_a_session_without_it_says_that_it_is_absent_so_far(content: object) -> None:
    found, _ = looked_up(content)
    assert (found.verdict, found.answers) == (Verdict.ABSENT, None)


def test_how_long_absence_says_nothing_is_a_setting() -> None:
    with vendor([]) as server:
        assert account(server).capabilities.lookup_grace is None
        assert account(server, lookup_grace_minutes="").capabilities.lookup_grace is None
        assert account(server, lookup_grace_minutes=90).capabilities.lookup_grace == timedelta(minutes=90)


@pytest.mark.parametrize("content", [{}, (200, b""), (500, []), (429, [])])
def test_a_session_that_cannot_be_read_proves_nothing(content: object) -> None:
    with pytest.raises(NotSubmitted):
        looked_up(content)


# --- Credentials ------------------------------------------------------------------------------------------------------


def test_the_credentials_are_tried() -> None:
    told, server = asking(lambda provider: provider.check(), [])
    assert told == "user its own of domain its own, let in by an API key"
    assert asked(server)[0] == "GET /ns-api/v2/domains/~/users/~/messagesessions?limit=1"
    with pytest.raises(AuthenticationFailed):
        asking(lambda provider: provider.check(), (401, {"code": 401, "message": "no"}))


# --- What came in -----------------------------------------------------------------------------------------------------


def session(theirs: str, last: object) -> dict[str, object]:
    return {"messagesession-id": theirs, "messagesession-last-sender": last, "messagesession-remote": A}


def test_what_came_in_is_read_session_by_session() -> None:
    sessions = [
        session("a" * 32, "12025550111"),
        session("b" * 32, "1000@portal"),
        session("c" * 32, 12025550112),
        session("", "12025550111"),
    ]
    first = [
        message(),
        message(id=20202178326, direction="orig", from_number=12025550111, text=5, status=""),
        message(direction="orig", from_number="+12025550111", text='Yes "please" ✓'),
        message(direction="orig", from_number="", text="a chat"),
        message(direction="orig", from_number=12025550111, text=None),
        message(direction="orig", from_number=12025550111, text=1.50),
    ]

    def read(provider: NetSapiens) -> list[Any]:
        listed = provider.incoming()
        assert listed.messages == []
        page = provider.incoming(listed.next_page)
        last = provider.incoming(page.next_page)
        assert last.next_page is None
        return [*page.messages, *last.messages]

    found, server = asking(read, sessions, first, (404, {"code": 404, "message": "gone"}), incoming_sessions=50)
    assert [(one.number, one.text) for one in found] == [
        (12025550111, "5"),
        (12025550111, 'Yes "please" ✓'),
        (12025550111, ""),
        (12025550111, "1.5"),
    ]
    assert (found[0].provider_message_id, found[0].answers_to) == ("20202178326", "a" * 32)
    assert found[0].at == datetime(2026, 3, 1, 11, 59, tzinfo=UTC)
    paths = [asked(server, at)[0].removeprefix("GET /ns-api/v2/domains/~/users/~/messagesessions") for at in range(3)]
    assert paths == ["?limit=50", f"/{'a' * 32}/messages?limit=1000", f"/{'c' * 32}/messages?limit=1000"]


def test_nothing_came_in() -> None:
    page, _ = asking(lambda provider: provider.incoming(), [session("b" * 32, "1000@portal")])
    assert (page.messages, page.next_page) == ([], None)


# --- Subscriptions ----------------------------------------------------------------------------------------------------


def subscription(theirs: str, expires: object, **fields: object) -> dict[str, object]:
    found = {
        "id": theirs,
        "model": "message",
        "post-url": "https://us.example/hook",
        "domain": "portal",
        "subscription-expires-datetime": expires,
    }
    return {**found, **{name.replace("_", "-"): value for name, value in fields.items()}}


LISTED = [
    subscription("soon", "2026-03-01 13:00:00"),
    subscription("later", "2026-03-09 13:00:00"),
    subscription("past", "2026-03-01T11:00:00.00Z"),
    subscription("calls", "2026-03-01 13:00:00", model="call"),
    subscription("theirs", "2026-03-01 13:00:00", post_url="https://them.example/hook", domain="other"),
    subscription("never", None),
    subscription("", "2026-03-01 13:00:00"),
]
ACCEPTED = (202, {"code": 202, "message": "Accepted"})


@pytest.mark.parametrize(
    ("settings", "renewed"),
    [
        ({}, ["soon", "past", "theirs"]),
        ({"events_url": "https://us.example/"}, ["soon", "past"]),
        ({"domain": "portal"}, ["soon", "past"]),
        ({"time_zone": "Europe/Berlin"}, ["soon", "past", "theirs"]),
    ],
)
def test_subscriptions_are_renewed_before_they_expire(settings: dict[str, Any], renewed: list[str]) -> None:
    found, server = asking(
        lambda provider: provider.renew_subscriptions(now=NOW, ahead=timedelta(hours=6)), LISTED, ACCEPTED, **settings
    )
    assert found == renewed
    until = "2026-03-31 14:00:00+02:00" if settings.get("time_zone") else "2026-03-31 12:00:00+00:00"
    assert [asked(server, at) for at in range(1, len(renewed) + 1)] == [
        (f"PUT /ns-api/v2/subscriptions/{name}", {"subscription-expires-datetime": until}) for name in renewed
    ]


def test_one_renewal_that_fails_does_not_keep_the_others_from_it() -> None:
    def renew(provider: NetSapiens) -> Any:
        return provider.renew_subscriptions(now=NOW, ahead=timedelta(hours=6))

    found, _ = asking(renew, LISTED, (404, {"code": 404, "message": "gone"}), ACCEPTED)
    assert found == ["past", "theirs"]
    with pytest.raises(ProviderError):
        asking(renew, LISTED, (500, {}))


# --- What it keeps ----------------------------------------------------------------------------------------------------


def kept(provider: NetSapiens, name: str) -> Resource:
    return next(resource for resource in provider.resources() if resource.name == name)


CALLS: list[tuple[str, Callable[[Resource], Any], object, str, object]] = [
    ("sessions", lambda r: r.find({}, None), [], "GET /domains/~/users/~/messagesessions?limit=100", None),
    ("sessions", lambda r: r.find({"scope": "domain", "limit": "7"}, None), [], "GET /domains/~/messagesessions?limit=7", None),
    ("sessions", lambda r: r.show("s/1"), [{"user": "1"}], "GET /domains/~/users/~/messagesessions/s%2F1", None),
    ("sessions", lambda r: r.update("s", {"participants": "1,2"}), ACCEPTED, "PUT /domains/~/users/~/messagesessions/s", {"participants": "1,2"}),
    ("sessions", lambda r: r.delete("s"), ACCEPTED, "DELETE /domains/~/users/~/messagesessions/s", None),
    ("sessions", lambda r: r.actions["leave"]("s"), ACCEPTED, "PUT /domains/~/users/~/messagesessions/s/leave", None),
    ("sessions", lambda r: r.actions["messages"]("s"), [], "GET /domains/~/users/~/messagesessions/s/messages?limit=100", None),
    ("subscriptions", lambda r: r.find({}, None), [], "GET /subscriptions", None),
    ("subscriptions", lambda r: r.show("x"), {"id": "x"}, "GET /subscriptions/x", None),
    ("subscriptions", lambda r: r.create({"model": "message"}), {"id": "x"}, "POST /subscriptions", {"model": "message"}),
    ("subscriptions", lambda r: r.update("x", {"error-count": 0}), ACCEPTED, "PUT /subscriptions/x", {"error-count": 0}),
    ("subscriptions", lambda r: r.delete("x"), ACCEPTED, "DELETE /subscriptions/x", {"subscription_id": "x"}),
    ("smsnumbers", lambda r: r.find({}, None), [], "GET /domains/~/users/~/smsnumbers", None),
    ("smsnumbers", lambda r: r.find({"scope": "domain"}, None), [], "GET /domains/~/smsnumbers", None),
    ("smsnumbers", lambda r: r.find({"scope": "system"}, None), [], "GET /smsnumbers", None),
    ("smsnumbers", lambda r: r.create({"number": "1"}), ACCEPTED, "POST /domains/~/smsnumbers", {"number": "1"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "call", "content", "request_line", "body"), CALLS)
def test_the_documented_calls(
    name: str, call: Callable[[Resource], Any], content: object, request_line: str, body: object
) -> None:
    _, server = asking(lambda provider: call(kept(provider, name)), content)
    assert len(server.requests) == 1
    line, sent = asked(server)
    assert (line.replace("/ns-api/v2", ""), sent) == (request_line, body)


def test_who_is_no_administrator_names_the_domain_when_unsubscribing() -> None:
    def unsubscribe(provider: NetSapiens) -> Any:
        remove = kept(provider, "subscriptions").delete
        assert remove is not None
        return remove("x")

    found, server = asking(unsubscribe, ACCEPTED, domain="portal")
    assert found == {"code": 202, "message": "Accepted"}
    assert asked(server)[1] == {"subscription_id": "x", "domain": "portal"}


@pytest.mark.parametrize("key", ["", ".", ".."])
def test_a_key_that_would_be_another_path_is_not_asked(key: str) -> None:
    with vendor([]) as server:
        provider = account(server)
        sessions = kept(provider, "sessions")
        assert sessions.delete is not None
        assert sessions.find is not None
        with pytest.raises(InvalidRequest):
            sessions.delete(key)
        for filters in ({"scope": "everyone"}, {"limit": "0"}, {"limit": "1001"}, {"limit": "x"}):
            with pytest.raises(InvalidRequest):
                sessions.find(filters, None)
    assert server.connections == 0


def test_answers_that_say_nothing() -> None:
    def show(provider: NetSapiens) -> Any:
        call = kept(provider, "sessions").show
        assert call is not None
        return call("s")

    def create(provider: NetSapiens) -> Any:
        call = kept(provider, "subscriptions").create
        assert call is not None
        return call({})

    with pytest.raises(InvalidRequest, match="there is none"):
        asking(show, [])
    with pytest.raises(Unreachable):
        asking(show, ["s"])
    with pytest.raises(OutcomeUnknown):
        asking(create, (200, b""))


# --- At the sandbox ---------------------------------------------------------------------------------------------------


def test_the_whole_of_it_at_the_sandbox() -> None:
    with Sandbox(settings=Settings(delivery_seconds=0, failing_share=0)) as sandbox:
        provider = let_in("netsapiens", sandbox)
        assert isinstance(provider, NetSapiens)
        sandbox.fault("drop_after", count=1)
        with pytest.raises(OutcomeUnknown):
            provider.submit(batch_of([A], text="42"))
        assert provider.find(batch_of([A], text="42"), datetime.now(UTC), lambda: None).verdict is Verdict.FOUND
        assert provider.find(batch_of([A + 1]), datetime.now(UTC), lambda: None).verdict is Verdict.ABSENT
        assert provider.fetch_receipts([AWAITED]).receipts[0].state is D
        sandbox.record.receive(str(A), "17", sandbox.around.clock(), "netsapiens")
        listed = provider.incoming()
        (reply,) = provider.incoming(listed.next_page).messages
        assert (reply.number, reply.text, reply.answers_to) == (A, "17", SESSION)
        subscriptions = kept(provider, "subscriptions")
        assert subscriptions.create is not None
        assert subscriptions.delete is not None
        now = datetime.now(UTC)
        made = subscriptions.create(
            {
                "model": "message",
                "post-url": "https://us.example/hook",
                "subscription-expires-datetime": f"{now + timedelta(hours=1):%Y-%m-%d %H:%M:%S}",
            }
        )
        assert provider.renew_subscriptions(now=now, ahead=timedelta(hours=6)) == [made["id"]]
        assert provider.renew_subscriptions(now=now, ahead=timedelta(hours=6)) == []
        assert subscriptions.delete(made["id"])["code"] == 202
