"""Money and care end to end, on every provider: budgets, a budget a day, the breaker, the canary."""

from collections.abc import Iterator

import pytest

from dispatcher import providers
from tests.e2e.conftest import Home, made_home, until

pytestmark = pytest.mark.e2e

# Provider → people, and what the first requests of them cost that the budget allows.
BUDGETS = {"bsg": (60, 45, 40), "netsapiens": (16, 10.5, 10), "sakari": (60, 45, 40), "winsms": (2000, 1200, 1000)}
SENDS = {"bsg": "/campaigns", "netsapiens": "/messages", "sakari": "/messages"}


@pytest.fixture(scope="module")
def priced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A stack that knows prices, with small requests where that can be set; BSG tells its own."""
    with made_home(tmp_path_factory.mktemp("priced")) as made:
        made.environment |= {f"DISPATCHER_{name.upper()}__PRICE": "1" for name in providers.names() if name != "bsg"}
        made.environment |= {
            "DISPATCHER_BSG__MESSAGES_PER_REQUEST": "20",
            "DISPATCHER_SAKARI__MESSAGES_PER_REQUEST": "20",
            "DISPATCHER_SAKARI__BUDGET_PER_DAY": "250",
            # One request after the other, so that what the first ones tell is known before the next.
            "DISPATCHER_WINSMS__REQUESTS_PER_SECOND": "1",
            "DISPATCHER_BSG__REQUESTS_PER_SECOND": "4",
            "DISPATCHER_SAKARI__REQUESTS_PER_SECOND": "4",
        }
        made.up()
        yield made
        made.down()


@pytest.fixture(autouse=True)
def _no_faults_are_left(priced: Home) -> Iterator[None]:
    yield
    priced.sandbox.faults.put([], replace=True)


def enqueue(home: Home, provider: str, many: int, *args: str, text: str | None = None) -> str:
    people = home.people(many, name=f"{provider}{many}.csv")
    found = home.json("enqueue", str(people), "--provider", provider, "--text", text or "Hi {first_name}", *args)
    return str(found["campaign"])


def test_a_budget_pauses_and_a_raised_one_goes_on_at_each_provider(priced: Home) -> None:
    begun = {
        name: enqueue(priced, name, many, "--budget", str(budget), text=f"{name} {{first_name}}")
        for name, (many, budget, _) in BUDGETS.items()
    }
    for name, campaign in begun.items():
        many, budget, sent = BUDGETS[name]
        status = priced.wait(campaign, "paused")
        assert status["reason"].startswith(f"budget of {budget:,} reached: {sent:,} are spent or reserved; ")
        assert f"raise it with `dispatcher budget {campaign} " in status["reason"]
        assert status["money"]["committed"] == sent
        until(lambda name=name, sent=sent: len(priced.texts(f"{name} ")) == sent, "what is in flight arrives")
        assert priced.json("budget", campaign, str(many))["left"] == many - sent
        priced.run("resume", campaign)
    for name, campaign in begun.items():
        many = BUDGETS[name][0]
        status = priced.wait(campaign)
        assert status["money"]["committed"] == many
        assert len(priced.texts(f"{name} ")) == many
    assert priced.sandbox.record.duplicates() == []


def test_a_provider_that_tells_its_price_needs_none_in_the_settings(priced: Home) -> None:
    people = str(priced.people(60, name="told.csv"))
    args = ("enqueue", people, "--provider", "bsg", "--text", "Hi {first_name}", "--at", "2099-01-01T00:00Z")
    assert priced.json("estimate", people, "--provider", "bsg", "--text", "Hi {first_name}")["price"] == 60
    dry = priced.json(*args, "--budget", "50", "--dry-run")
    assert (dry["preflight"]["price"], dry["preflight"]["requests_priced"]) == (60, 3)
    assert dry["preflight"]["within_budget"] is False
    assert dry["notes"] == ["bsg tells a price of 1 USD a segment: the budget is held by it"]
    found = priced.json(*args, "--budget", "50")
    assert found["notes"] == dry["notes"]
    assert priced.status(found["campaign"])["money"]["segment_price"] == 1
    priced.sandbox.fault("500", provider="bsg", path_contains="price")
    why = priced.run(*args, "--budget", "50", code=2).stderr
    assert "a budget cannot be held: bsg did not tell its price (" in why
    assert "set DISPATCHER_BSG__PRICE to what a segment costs" in why


def test_the_breaker_stops_what_goes_wrong_at_each_provider(priced: Home) -> None:
    refused = priced.folder / "refused.csv"
    areas = [201, 202, 203, 205, 206, 207, 208, 209, 210, 212, 213, 214, 215, 216, 217, 218, 219, 224, 225, 228]
    wrong = [f"+1{area}55501{line}" for area in areas for line in (98, 94)]
    right = [f"+1{area}55501{line}" for area in areas for line in range(10, 90)]
    refused.write_text("\n".join(["phone", *wrong, *right]) + "\n")
    for name, path in SENDS.items():
        priced.sandbox.fault("500", provider=name, path_contains=path)
    args = ("--provider", "winsms", "--text", "Hi", "--breaker", "2%")
    found = {
        "winsms": priced.json("enqueue", str(refused), *args)["campaign"],
        "bsg": enqueue(priced, "bsg", 300),
        "netsapiens": enqueue(priced, "netsapiens", 300),
        "sakari": enqueue(priced, "sakari", 180),
    }
    for name, campaign in found.items():
        status = priced.wait(campaign, "paused")
        assert status["reason"].startswith("breaker: "), (name, status["reason"])
        assert "mend the cause, then resume" in status["reason"]
        assert status["messages"]["queued"] > 0, name
    priced.sandbox.faults.put([], replace=True)
    assert "4 % of 1,000 messages tried" in priced.status(found["winsms"])["reason"]
    # Resumed, it counts anew.
    priced.run("resume", found["winsms"])
    priced.wait(found["winsms"])
    for name in SENDS:
        priced.run("cancel", found[name])


def test_a_budget_a_day_holds_and_pauses_nothing(priced: Home) -> None:
    campaign = enqueue(priced, "sakari", 300)

    def held() -> bool:
        return "for 20" in str(priced.status(campaign)["reason"])

    until(held, "the day's budget is used up")
    status = priced.status(campaign)
    assert status["state"] == "running"
    assert "it goes on by itself at 00:00 UTC" in status["reason"]
    # What the breaker's test left unknown is reserved still.
    day = status["money"]["day"]["committed"]
    assert 230 < day <= 250
    priced.run("cancel", campaign)


def test_a_canary_goes_first_and_decides(priced: Home) -> None:
    asked = ("--canary", "1%", "--canary-wait", "20s", "--canary-delivered", "90%")
    good = enqueue(priced, "winsms", 1500, *asked, text="Good {first_name}")
    people = priced.folder / "silent.csv"
    silent = [f"+1{area}55501{line}" for area in (201, 202, 203) for line in (96, 97)]
    people.write_text("\n".join(["phone", *silent, *(f"+120555501{line}" for line in range(10, 60))]) + "\n")
    args = ("--provider", "netsapiens", "--text", "Bad", "--canary", "6", "--canary-wait", "3s")
    bad = priced.json("enqueue", str(people), *args)["campaign"]
    status = priced.wait(bad, "paused")
    assert status["reason"].startswith("canary: 0 % of 6 messages were delivered within 3 s, below 80 %")
    assert (status["care"]["canary"]["state"], len(priced.texts("Bad"))) == ("failed", 6)
    status = priced.wait(good)
    assert (status["care"]["canary"]["state"], status["care"]["canary"]["messages"]) == ("passed", 15)
    # The first request had the canary's messages and no more.
    first = [one for one in priced.sandbox.record.messages if one.text.startswith("Good")]
    assert len(first) == 1500
    assert len({one.request for one in first[:15]}) == 1
    assert first[15].request != first[14].request
    assert "15 messages, passed" in priced.run("status", good).stdout
    priced.run("resume", bad)
    until(lambda: len(priced.texts("Bad")) == 56, "a person sends the rest all the same")
