"""How NetSapiens lets us in: one login for all workers, tokens replaced before their end, and refusals."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dispatcher.errors import (
    AuthenticationFailed,
    NotSubmitted,
    OutcomeUnknown,
    ProviderError,
    Throttled,
    Unreachable,
)
from dispatcher.providers.netsapiens import NetSapiens, Settings, connect
from dispatcher.sandbox import Sandbox
from dispatcher.sandbox import Settings as SandboxSettings
from dispatcher.throughput import LocalTokens
from tests.misbehaving import Server
from tests.providers.rows import batch_of
from tests.providers.test_netsapiens import ACCEPTED, asked, vendor

A = 12025550111
GRANT = {"client_id": "our-client", "client_secret": "s3cret-of-ours", "username": "1000@x", "password": "pa55-word"}
LIFE = 100.0
GRANTED = {"access_token": "access-1", "refresh_token": "refresh-1", "expires_in": LIFE, "token_type": "Bearer"}
AGAIN = {**GRANTED, "access_token": "access-2", "refresh_token": "refresh-2"}
UNAUTHORISED = (401, {"code": 401, "message": "Authentication Required"})


class Clock:
    """The clock of the sandbox and of the tokens."""

    def __init__(self) -> None:
        self.now = 1_770_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every request ask the shared store."""
    monkeypatch.setattr("dispatcher.providers.netsapiens.access._REMEMBERED", -1.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sandbox(clock: Clock) -> Iterator[Sandbox]:
    with Sandbox(clock=clock, settings=SandboxSettings(token_seconds=LIFE)) as running:
        yield running


@pytest.fixture
def tokens(clock: Clock) -> LocalTokens:
    return LocalTokens(monotonic=clock)


def account(base_url: str, tokens: LocalTokens, **settings: Any) -> NetSapiens:
    fields = {**GRANT, "from_number": "12025550100", "timeout": 5, **settings}
    return connect(Settings(base_url=base_url, **fields), tokens)


def send(provider: NetSapiens) -> None:
    provider.submit(batch_of([A]))


def grants(sandbox: Sandbox) -> int:
    return sum(entry.path.endswith("/tokens") for entry in sandbox.record.requests)


def failure(provider: NetSapiens) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        send(provider)
    assert caught.value.__context__ is None
    for secret in ("s3cret-of-ours", "pa55-word", "access-1", "refresh-1"):
        assert secret not in f"{caught.value} {caught.value.__dict__}"
    return caught.value


# --- Logging in and refreshing ----------------------------------------------------------------------------------------


def test_the_grants_on_the_wire(tokens: LocalTokens, clock: Clock) -> None:
    with vendor(GRANTED, (202, ACCEPTED), AGAIN, (202, ACCEPTED)) as server:
        provider = account(server.url, tokens)
        send(provider)
        clock.now += LIFE * 0.8  # a fifth of its life before its end
        send(provider)
    assert asked(server, 0) == ("POST /ns-api/v2/tokens", {**GRANT, "grant_type": "password"})
    assert b"Authorization" not in server.requests[0]
    assert b"\r\nAuthorization: Bearer access-1\r\n" in server.requests[1]
    assert asked(server, 2) == (
        "POST /ns-api/v2/tokens",
        {
            "client_id": "our-client",
            "client_secret": "s3cret-of-ours",
            "refresh_token": "refresh-1",
            "grant_type": "refresh_token",
        },
    )
    assert b"\r\nAuthorization: Bearer access-2\r\n" in server.requests[3]


def test_one_login_serves_every_worker(sandbox: Sandbox, tokens: LocalTokens) -> None:
    workers = [account(sandbox.url, tokens) for _ in range(4)]
    for worker in workers * 3:
        send(worker)
    assert grants(sandbox) == 1
    assert [entry.sends for entry in sandbox.record.requests] == [False, *[True] * 12]


def test_threads_that_start_together_wait_for_one_login(sandbox: Sandbox, tokens: LocalTokens) -> None:
    provider = account(sandbox.url, tokens)
    failures: list[Exception] = []

    def work() -> None:
        try:
            send(provider)
        except NotSubmitted as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert grants(sandbox) == 1
    assert len(sandbox.record.messages) == 12


def test_accounts_do_not_share_tokens(sandbox: Sandbox, tokens: LocalTokens) -> None:
    for username in ("1000@x", "1001@x"):
        send(account(sandbox.url, tokens, username=username))
    assert grants(sandbox) == 2


def test_a_token_is_replaced_before_its_end(sandbox: Sandbox, tokens: LocalTokens, clock: Clock) -> None:
    provider = account(sandbox.url, tokens)
    for _ in range(50):
        send(provider)
        clock.now += 10
    assert 5 <= grants(sandbox) <= 7
    assert {entry.status for entry in sandbox.record.requests} == {200, 202}


def test_the_others_go_on_while_one_replaces_it(sandbox: Sandbox, tokens: LocalTokens, clock: Clock) -> None:
    provider = account(sandbox.url, tokens)
    send(provider)
    clock.now += LIFE * 0.9
    assert tokens.first(provider._access._current, seconds=10)  # another worker is at it
    send(provider)
    with provider._access._lock:  # another thread of this one is
        send(provider)
    assert grants(sandbox) == 1
    clock.now += LIFE * 0.06  # nobody has done it: its last moments are not used
    assert isinstance(failure(provider), Unreachable)
    clock.now += 11  # the other's turn is over
    send(provider)
    assert grants(sandbox) == 2


def test_a_refresh_that_fails_leaves_the_token_that_is_still_good(
    sandbox: Sandbox, tokens: LocalTokens, clock: Clock
) -> None:
    provider = account(sandbox.url, tokens)
    send(provider)
    clock.now += LIFE * 0.9
    sandbox.fault("500", path_contains="/tokens")
    send(provider)
    assert len(sandbox.record.messages) == 2


def test_a_refused_refresh_is_followed_by_a_login(tokens: LocalTokens, clock: Clock) -> None:
    with vendor(GRANTED, (202, ACCEPTED), UNAUTHORISED, AGAIN, (202, ACCEPTED)) as server:
        provider = account(server.url, tokens)
        send(provider)
        clock.now += LIFE
        send(provider)
    assert [asked(server, at)[1].get("grant_type") for at in (0, 2, 3)] == ["password", "refresh_token", "password"]


@pytest.mark.parametrize("life", [None, 0, -5])
def test_a_life_that_is_not_told_is_short(tokens: LocalTokens, clock: Clock, life: object) -> None:
    with vendor({"access_token": "access-1", "expires_in": life}, (202, ACCEPTED)) as server:
        provider = account(server.url, tokens)
        send(provider)
        assert tokens.get(provider._access._current) == "access-1"
        clock.now += 600
        assert tokens.get(provider._access._current) is None


def test_a_token_is_remembered_for_a_moment(
    sandbox: Sandbox, tokens: LocalTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.providers.netsapiens.access._REMEMBERED", 60.0)
    provider = account(sandbox.url, tokens)
    send(provider)
    send(provider)
    monkeypatch.setattr(tokens, "get", lambda name: pytest.fail(f"asked for {name}"))
    send(provider)


# --- Refusals ---------------------------------------------------------------------------------------------------------


def test_a_shared_token_that_is_refused_is_forgotten_and_nothing_was_sent(tokens: LocalTokens) -> None:
    with vendor(GRANTED, (202, ACCEPTED), UNAUTHORISED, AGAIN, (202, ACCEPTED)) as server:
        provider = account(server.url, tokens)
        send(provider)
        error = failure(provider)
        assert type(error) is Unreachable
        assert "try again" in str(error)
        assert tokens.get(provider._access._current) is None
        send(provider)
    assert len(server.requests) == 5  # one send a submission


def test_a_token_fresh_from_a_login_that_is_refused_is_final(tokens: LocalTokens) -> None:
    with vendor(GRANTED, UNAUTHORISED) as server:
        provider = account(server.url, tokens)
        assert type(failure(provider)) is AuthenticationFailed
        assert tokens.get(provider._access._current) is None


def test_a_token_fresh_from_a_refresh_that_is_refused_makes_the_next_a_login(
    tokens: LocalTokens, clock: Clock
) -> None:
    script = [GRANTED, (202, ACCEPTED), AGAIN, UNAUTHORISED, GRANTED, (202, ACCEPTED)]
    with vendor(*script) as server:
        provider = account(server.url, tokens)
        send(provider)
        clock.now += LIFE
        assert type(failure(provider)) is Unreachable
        send(provider)
    assert asked(server, 4)[1]["grant_type"] == "password"


def test_a_token_that_another_worker_has_replaced_is_not_forgotten(tokens: LocalTokens) -> None:
    with vendor(GRANTED, (202, ACCEPTED), UNAUTHORISED) as server:
        provider = account(server.url, tokens)
        send(provider)
        used = provider._access.get()
        tokens.keep(provider._access._current, "access-9", seconds=50)
        provider._access.refused(used, AuthenticationFailed("POST /x: HTTP 401"))
    assert tokens.get(provider._access._current) == "access-9"


def test_403_says_nothing_of_the_token(tokens: LocalTokens) -> None:
    with vendor(GRANTED, (202, ACCEPTED), (403, {"code": 403, "message": "Forbidden"})) as server:
        provider = account(server.url, tokens)
        send(provider)
        assert type(failure(provider)) is AuthenticationFailed
        assert tokens.get(provider._access._current) == "access-1"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (UNAUTHORISED, AuthenticationFailed),
        ((400, {"code": 400, "message": "pa55-word is wrong"}), AuthenticationFailed),
        ((404, {"code": 404, "message": "Record not found"}), AuthenticationFailed),
        ((403, {}), AuthenticationFailed),
        ((200, {"message": "mfa required"}), AuthenticationFailed),
        ((500, {}), Unreachable),
        ((200, b""), Unreachable),
        ((200, b"<html>"), Unreachable),
        ((429, {}), Throttled),
    ],
)
def test_a_login_that_fails_sends_nothing(tokens: LocalTokens, answer: object, error: type[Exception]) -> None:
    with vendor(answer) as server:
        raised = failure(account(server.url, tokens))
    assert type(raised) is error
    assert not isinstance(raised, OutcomeUnknown)
    assert len(server.requests) == 1


def test_after_a_failed_login_the_next_waits_its_turn(tokens: LocalTokens, clock: Clock) -> None:
    with vendor((500, {}), GRANTED, (202, ACCEPTED)) as server:
        provider = account(server.url, tokens)
        assert type(failure(provider)) is Unreachable
        assert "another worker" in str(failure(provider))
        assert len(server.requests) == 1
        clock.now += 10
        send(provider)


def test_wrong_credentials_at_the_sandbox(sandbox: Sandbox, tokens: LocalTokens) -> None:
    assert type(failure(account(sandbox.url, tokens, password="bad-password"))) is AuthenticationFailed
    sandbox.control.configure({"account": "locked"})
    blocked = failure(account(sandbox.url, LocalTokens()))
    assert "blocked this client" in str(blocked)
    assert not sandbox.record.messages


def test_an_api_key_needs_no_login(tokens: LocalTokens) -> None:
    with vendor((202, ACCEPTED)) as server:
        send(account(server.url, tokens, api_key="the-key"))
    assert b"\r\nAuthorization: Bearer the-key\r\n" in server.requests[0]


def test_a_login_keeps_to_the_deadline(tokens: LocalTokens) -> None:
    with Server(lambda connection: connection.recv(1)) as server:
        provider = account(server.url, tokens, timeout=0.2)
        assert type(failure(provider)) is Unreachable
        with provider._access._lock:
            raised = failure(provider)
    assert "another thread" in str(raised)
