"""Sakari's tokens: fetched once for all, kept for as long as they say, and dropped when they are refused."""

import json
import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from dispatcher.errors import AuthenticationFailed, OutcomeUnknown, ProviderError, Throttled, Unreachable
from dispatcher.providers.sakari import Sakari, Settings, connect
from dispatcher.providers.sakari.login import Login
from dispatcher.sandbox import Sandbox
from dispatcher.throughput import LocalTokens
from dispatcher.transport import Transport
from tests.misbehaving import Server
from tests.providers.rows import ROWS, batch_of, ordinary
from tests.providers.rows import connect as connect_any
from tests.providers.sakari_vendor import CREDENTIALS, TOKEN, jwt, raw

NOW = 1_767_225_600.0


def connect_to(sandbox: Sandbox, **fields: Any) -> Sakari:
    return cast("Sakari", connect_any("sakari", sandbox, **fields))


class Kept(LocalTokens):
    """Tokens that tell what was done with them."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.seconds: list[float] = []

    def keep(self, name: str, token: str, *, seconds: float) -> None:
        self.names.append(name)
        self.seconds.append(seconds)
        super().keep(name, token, seconds=seconds)


def logged_in(token: object, **credentials: str) -> tuple[Kept, Server]:
    kept = Kept()
    with Server(raw({"access_token": token, "token_type": "Bearer"})) as server:
        transport = Transport(base_url=server.url, timeout=5, headers={})
        arguments = {"client_id": "our-client", "client_secret": "the-secret", **credentials}
        try:
            Login(transport=transport, tokens=kept, now=lambda: NOW, **arguments).renew()
        finally:
            transport.close()
    return kept, server


def paths(sandbox: Sandbox) -> list[str]:
    return [entry.path.rpartition("/")[2] for entry in sandbox.record.requests]


# --- Logging in -------------------------------------------------------------------------------------------------------


def test_what_a_token_is_asked_for_with() -> None:
    _, server = logged_in("a-token")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /oauth2/token HTTP/1.1\r\n")
    assert b"Authorization" not in head
    assert json.loads(body) == {
        "grant_type": "client_credentials",
        "client_id": "our-client",
        "client_secret": "the-secret",
    }


@pytest.mark.parametrize(
    ("token", "seconds"),
    [
        ("opaque", 3540),
        ("a.b.c", 3540),
        ("a.!!!!.c", 3540),
        (jwt(sub="x"), 3540),
        (jwt(exp=NOW + 600), 540),
        (jwt(exp=NOW + 9600, iat=NOW + 9000), 540),  # their clock is ahead of ours
        (jwt(exp=NOW + 80), 40),
        (jwt(exp=NOW - 100), 0.001),
        (jwt(exp="soon"), 3540),
    ],
)
def test_a_token_is_kept_for_as_long_as_it_says(token: str, seconds: float) -> None:
    kept, _ = logged_in(token)
    assert kept.seconds == [seconds]
    assert kept.get(kept.names[0]) in (token, None)


def test_the_name_of_a_token_tells_nothing() -> None:
    names = [
        logged_in("t", client_id=who, client_secret=secret)[0].names[0]
        for who, secret in (("one", "s"), ("two", "s"), ("one", "other"))
    ]
    assert len(set(names)) == 3
    assert all(name.startswith("sakari.") and len(name) == 39 for name in names)
    assert logged_in("t", client_id="one", client_secret="s")[0].names == names[:1]


@pytest.mark.parametrize("token", [None, "", "two words", "line\nbreak", "é", 5])
def test_an_answer_without_a_usable_token(token: object) -> None:
    with pytest.raises(Unreachable):
        logged_in(token)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, AuthenticationFailed),
        (401, AuthenticationFailed),
        (403, AuthenticationFailed),
        (404, AuthenticationFailed),
        (429, Throttled),
        (500, Unreachable),
    ],
)
def test_a_login_that_fails(status: int, error: type[ProviderError]) -> None:
    echo = {"success": False, "error": {"code": "AUTH-1", "message": "no client our-client with the-secret-of-ours"}}
    with Server(raw(echo, status)) as server:
        provider = connect(Settings(base_url=server.url, **CREDENTIALS), LocalTokens())
        with pytest.raises(ProviderError) as caught:
            provider.submit(batch_of(ordinary(2)))
        provider._calls.close()
    assert type(caught.value) is error
    assert "our-client" not in str(caught.value)
    assert "the-secret" not in str(caught.value)
    assert len(server.requests) == 1


# --- Sharing it -------------------------------------------------------------------------------------------------------


def test_one_login_serves_all_workers(sandbox: Sandbox) -> None:
    tokens = LocalTokens()
    for _ in range(3):
        connect_to(sandbox, tokens=tokens).submit(batch_of(ordinary(1)))
    assert paths(sandbox) == ["token", "messages", "messages", "messages"]


def test_threads_wait_for_the_one_that_logs_in(sandbox: Sandbox) -> None:
    provider = connect_to(sandbox)
    threads = [threading.Thread(target=provider.submit, args=[batch_of([number])]) for number in ordinary(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(paths(sandbox)) == ["messages"] * 6 + ["token"]


def test_while_another_worker_logs_in_nothing_is_sent(sandbox: Sandbox) -> None:
    class Elsewhere(LocalTokens):
        def first(self, name: str, *, seconds: float) -> bool:
            return False

    with pytest.raises(Unreachable, match="another worker is logging in"):
        connect_to(sandbox, tokens=Elsewhere()).submit(batch_of(ordinary(1)))
    assert paths(sandbox) == []


# --- Losing it --------------------------------------------------------------------------------------------------------

QUESTIONS: dict[str, Callable[[Any], object]] = {
    "submit": lambda provider: provider.submit(batch_of(ordinary(1))),
    "look up": lambda provider: provider.incoming(),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_token_that_has_ended_is_replaced_by_the_next_call(sandbox: Sandbox, question: str) -> None:
    tokens = LocalTokens()
    connect_to(sandbox, tokens=tokens).incoming()
    provider = connect_to(sandbox, tokens=tokens)
    sandbox.fault("refused", provider="sakari", status=401, count=1)
    with pytest.raises(Unreachable, match="the token expired; try again"):
        QUESTIONS[question](provider)
    assert not sandbox.record.messages
    before = len(sandbox.record.requests)
    QUESTIONS[question](provider)
    assert paths(sandbox)[before] == "token"
    assert len(sandbox.record.requests) == before + 2


def test_a_fresh_token_that_is_refused_is_the_accounts_fault(sandbox: Sandbox) -> None:
    sandbox.fault("refused", provider="sakari", path_contains="/messages", status=401)
    provider = connect_to(sandbox)
    for _ in range(2):  # it is not kept: each call logs in anew
        with pytest.raises(AuthenticationFailed):
            provider.submit(batch_of(ordinary(1)))
    assert paths(sandbox) == ["token", "messages"] * 2


def test_another_account_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(AuthenticationFailed, match="HTTP 403"):
        connect_to(sandbox, account_id="other").submit(batch_of(ordinary(1)))


def test_a_token_outlives_what_happens_to_a_request() -> None:
    with Server(TOKEN, raw({}, 500), raw({"data": []})) as server:
        provider = connect(Settings(base_url=server.url, **CREDENTIALS), LocalTokens())
        with pytest.raises(OutcomeUnknown):
            provider.submit(batch_of(ordinary(1)))
        assert provider.incoming().messages == []
        provider._calls.close()
    assert len(server.requests) == 3


def test_the_check_logs_in_anew(sandbox: Sandbox) -> None:
    tokens = LocalTokens()
    provider = connect_to(sandbox, tokens=tokens)
    assert provider.check() == "account 5e0f00000000000000000001 with 0 contacts"
    assert provider.check()
    assert paths(sandbox) == ["token", "contacts"] * 2
    wrong = connect_to(sandbox, tokens=tokens, **ROWS["sakari"].refused_settings)
    with pytest.raises(AuthenticationFailed):
        wrong.check()
