"""BSG's login: one for all workers, a token that expires on the way, and nothing of key or token to be seen."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from dispatcher.errors import AuthenticationFailed, NotSubmitted, ProviderError, Throttled, Unreachable
from dispatcher.providers.bsg import BSG, Settings
from dispatcher.providers.bsg.login import ASSUMED_SECONDS, usable_seconds
from dispatcher.sandbox import Sandbox
from dispatcher.sandbox import Settings as SandboxSettings
from dispatcher.throughput import LocalTokens
from tests.providers.bsg_vendor import KEPT, BsgVendor, campaign, token
from tests.providers.rows import batch_of, ordinary

BATCH = batch_of(ordinary(2))
FRESH = token(iat=1000, exp=4600)


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def raised(
    vendor: BsgVendor, question: Callable[[BSG], Any] = lambda provider: provider.submit(BATCH)
) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        vendor.ask(question)
    for secret in ("the-key-of-ours", KEPT, FRESH):
        assert secret not in f"{caught.value!r} {caught.value.__context__!r} {caught.value.__dict__}"
    return caught.value


def test_the_first_call_logs_in_and_the_second_does_not() -> None:
    vendor = BsgVendor({"bearer": FRESH}, campaign(), campaign(), kept=None)

    def twice(provider: BSG) -> None:
        provider.submit(BATCH)
        provider.submit(BATCH)

    vendor.ask(twice)
    assert vendor.asked(0, bearer=None) == ("POST /api/auth/login", b'{"api_key":"the-key-of-ours"}')
    assert vendor.asked(1, bearer=FRESH)[0] == vendor.asked(2, bearer=FRESH)[0] == "POST /api/campaigns/send"
    assert len(vendor.server.requests) == 3
    assert vendor.tokens.get(vendor.name) == FRESH


def test_a_token_that_was_in_use_is_dropped_when_refused_and_the_next_submission_logs_in() -> None:
    expired = (401, {"code": 401, "message": "Expired JWT Token"})
    vendor = BsgVendor(expired, {"bearer": FRESH}, campaign())

    def again(provider: BSG) -> None:
        with pytest.raises(Unreachable, match="Expired JWT Token: the token is dropped"):
            provider.submit(BATCH)
        assert len(vendor.server.requests) == 1
        assert vendor.tokens.get(vendor.name) is None
        provider.submit(BATCH)

    vendor.ask(again)
    assert vendor.asked(0)[0] == vendor.asked(2, bearer=FRESH)[0] == "POST /api/campaigns/send"
    assert isinstance(Unreachable(""), NotSubmitted)


def test_a_token_fresh_from_the_login_that_is_refused_is_the_accounts_trouble() -> None:
    vendor = BsgVendor({"bearer": FRESH}, (401, {"message": "Invalid JWT Token"}), kept=None)
    assert type(raised(vendor)) is AuthenticationFailed
    assert len(vendor.server.requests) == 2
    assert vendor.tokens.get(vendor.name) is None


def test_what_the_account_may_not_do_is_no_fault_of_the_token() -> None:
    vendor = BsgVendor((403, {"message": "Access Denied."}))
    assert type(raised(vendor)) is AuthenticationFailed
    assert vendor.tokens.get(vendor.name) == KEPT


def test_a_token_that_another_worker_has_replaced_is_left_alone() -> None:
    vendor = BsgVendor((401, {"message": "Expired JWT Token"}))
    tokens = vendor.tokens

    class Replaced(LocalTokens):
        def get(self, name: str) -> str | None:
            return tokens.get(name)

        def forget(self, name: str, token: str) -> None:
            tokens.keep(name, FRESH, seconds=60)
            tokens.forget(name, token)

    vendor.provider._session._tokens = Replaced()
    assert type(raised(vendor)) is Unreachable
    assert tokens.get(vendor.name) == FRESH


@pytest.mark.parametrize(
    ("answered", "error"),
    [
        ((401, {"message": "Invalid credentials."}), AuthenticationFailed),
        ((422, {"message": "Unknown api_key the-key-of-ours"}), AuthenticationFailed),
        ((404, {"message": "Not found"}), AuthenticationFailed),
        ((429, {"message": "Too many duplicate request detected"}), Throttled),
        ((500, {}), Unreachable),
        ((200, {}), Unreachable),
        ((200, {"bearer": ""}), Unreachable),
        ((200, {"bearer": "two words\r\nof it"}), Unreachable),
        ((200, b"<html>"), Unreachable),
    ],
)
def test_a_login_that_fails_submits_nothing(answered: tuple[int, object], error: type[ProviderError]) -> None:
    vendor = BsgVendor(answered, kept=None)
    assert type(raised(vendor)) is error
    assert len(vendor.server.requests) == 1


def test_only_one_logs_in_and_the_others_try_again_later() -> None:
    vendor = BsgVendor(campaign(), kept=None)
    assert vendor.tokens.first(vendor.name, seconds=60)  # another worker's turn
    error = raised(vendor)
    assert type(error) is Unreachable
    assert "another worker logs in" in str(error)
    assert vendor.server.connections == 0


def test_the_threads_of_a_process_wait_for_the_one_that_logs_in() -> None:
    with Sandbox(settings=SandboxSettings(latency_seconds=0.05)) as sandbox:
        provider = BSG(Settings(base_url=sandbox.url, api_key="k-5f3a90", sender="Dispatcher"), LocalTokens())
        errors: list[ProviderError] = []

        def send(start: int) -> None:
            try:
                provider.submit(batch_of([start + at for at in range(3)]))
            except ProviderError as error:
                errors.append(error)

        threads = [threading.Thread(target=send, args=(27820000000 + 10 * at,)) for at in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        paths = [entry.path for entry in sandbox.record.requests]
    assert not errors
    assert paths.count("/api/auth/login") == 1
    assert len(paths) == 9


def test_a_campaign_outlives_its_token() -> None:
    clock = Clock()
    with Sandbox(clock=clock, settings=SandboxSettings(token_seconds=60)) as sandbox:
        settings = Settings(base_url=sandbox.url, api_key="k-5f3a90", sender="Dispatcher")
        provider = BSG(settings, LocalTokens(monotonic=time.monotonic))  # its clock stands still beside the vendor's
        provider.submit(batch_of(ordinary(1)))
        clock.now += 61
        with pytest.raises(Unreachable, match="Expired JWT Token"):
            provider.submit(batch_of(ordinary(2)[1:]))
        provider.submit(batch_of(ordinary(2)[1:]))
        assert [entry.path.rpartition("/")[2] for entry in sandbox.record.requests] == (
            ["login", "send", "send", "login", "send"]
        )
        assert len(sandbox.record.messages) == 2


def test_a_token_is_replaced_before_it_expires() -> None:
    monotonic = Clock()
    with Sandbox(settings=SandboxSettings(token_seconds=1000)) as sandbox:
        provider = BSG(
            Settings(base_url=sandbox.url, api_key="k-5f3a90", sender="Dispatcher"), LocalTokens(monotonic=monotonic)
        )
        for seconds in (0, 899, 2):
            monotonic.now += seconds
            provider.balance()
        paths = [entry.path.rpartition("/")[2] for entry in sandbox.record.requests]
    assert paths == ["login", "balance", "balance", "login", "balance"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (token(iat=1000, exp=1000 + 2_592_000), 2_592_000 - 300),
        (token(iat=1000, exp=1100), 90),
        (token(exp=1100), 90),  # now is 1000
        (token(iat="1000", exp="1100"), 90),
        (token(iat=1000, exp=1001), 1),
        (token(iat=1000, exp=10**12), 30 * 86_400 - 300),
        (token(iat=1000), ASSUMED_SECONDS - 300),
        (token(iat=1000, exp=900), ASSUMED_SECONDS - 300),
        (token(exp=None), ASSUMED_SECONDS - 300),
        (token(exp="soon"), ASSUMED_SECONDS - 300),
        ("opaque", ASSUMED_SECONDS - 300),
        ("a.b.c", ASSUMED_SECONDS - 300),
        ("a.ÿ.c", ASSUMED_SECONDS - 300),
        ("a.W10.c", ASSUMED_SECONDS - 300),
    ],
)
def test_how_long_a_token_is_used(text: str, seconds: float) -> None:
    assert usable_seconds(text, now=1000) == seconds


def test_neither_key_nor_token_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    vendor = BsgVendor({"bearer": FRESH}, campaign(), (422, {"message": f"no: {FRESH} the-key-of-ours"}), kept=None)

    def twice(provider: BSG) -> str:
        provider.submit(BATCH)
        with pytest.raises(ProviderError) as caught:
            provider.submit(BATCH)
        return f"{caught.value!r}"

    shown = vendor.ask(twice) + f"{vendor.provider!r} {vendor.provider._session!r} {vendor.name} {caplog.text}"
    assert FRESH not in shown
    assert "the-key-of-ours" not in vendor.name + caplog.text + repr(vendor.provider._session)


def test_accounts_have_tokens_of_their_own() -> None:
    names = {
        BSG(Settings(base_url=url, api_key=key), LocalTokens())._session.name
        for url in ("http://127.0.0.1:1", "http://127.0.0.1:2/")
        for key in ("one-key-of-ours", "two-key-of-ours")
    }
    assert len(names) == 4
    same = BSG(Settings(base_url="http://127.0.0.1:2", api_key=" one-key-of-ours"), LocalTokens())._session.name
    assert same in names
