"""What stands before a campaign's first message, through the installed command: the preflight, on every provider."""

import pytest

from dispatcher import providers
from tests.e2e.conftest import Home

pytestmark = pytest.mark.e2e

NUMBERS = ["+12125550130", "+12125550131", "+12125550132"]


def people(home: Home, name: str, *rows: str) -> str:
    path = home.folder / f"{name}.csv"
    path.write_text("phone,first_name,lang\n" + "".join(f"{row}\n" for row in rows))
    return str(path)


def test_every_provider_is_shown_before_it_sends(running: Home) -> None:
    path = people(running, "shown", f"{NUMBERS[0]},Ann,en", f"{NUMBERS[1]},Zoë,de", f"{NUMBERS[1]},Zoë,de", "none,,")
    before = len(running.sends())
    for name in providers.names():
        found = running.json("enqueue", path, "--provider", name, "--text", "Hi {first_name}", "--dry-run")
        assert (found["messages"], found["duplicates"], found["invalid"]) == (2, 1, 1)
        told = found["preflight"]
        assert told["encodings"]["ucs-2"] == {"messages": 1, "segments": 1}
        assert [one["text"] for one in told["samples"]] == ["Hi Ann", "Hi Zoë"]
    told = running.json("enqueue", path, "--provider", "bsg", "--text", "Hi", "--dry-run")["preflight"]
    assert (told["price"], told["currency"], told["requests_priced"]) == (2, "USD", 1)
    estimated = running.json("estimate", path, "--provider", "bsg", "--text", "Hi")
    assert [told[key] for key in ("price", "seconds")] == [estimated[key] for key in ("price", "seconds")]
    assert len(running.sends()) == before


def test_a_test_goes_first_on_every_provider(running: Home) -> None:
    path = people(running, "tried", f"{NUMBERS[0]},Ann,en", f"{NUMBERS[1]},Bob,de")
    own = "+12125550139"
    for name in providers.names():
        text = f"tried at {name}, {{first_name}}"
        args = ("enqueue", path, "--provider", name, "--text", text, "--test", own, "--test-row", "2", "--yes")
        found = running.json(*args)
        assert found["test"]["outcome"] in ("submitted", "delivered")
        running.wait(found["campaign"])
        accepted = [one for one in running.sandbox.record.messages if one.text.startswith(f"tried at {name}")]
        assert (accepted[0].number.lstrip("+"), accepted[0].text) == (own[1:], f"tried at {name}, Bob")
        assert sorted(one.number.lstrip("+") for one in accepted[1:]) == [number[1:] for number in NUMBERS[:2]]
        assert running.status(found["test"]["campaign"])["name"] == "test of tried"


def test_each_gets_the_text_of_their_language_in_look_alikes_on_every_provider(running: Home) -> None:
    rows = [f"{NUMBERS[0]},Ann,en", f"{NUMBERS[1]},Łucja,de", f"{NUMBERS[2]},,de"]
    running.run("texts", "add", "de", "--text", "„Hallo {first_name}“… {lang}")
    campaigns = {}
    for name in providers.names():
        path = people(running, "languages", *(f"{row}@{name}" for row in rows))
        texts = ("--text", "Hi {first_name} {lang}", "--text-by", "lang", "--text-for", f"de@{name}=saved:de")
        found = running.json("enqueue", path, "--provider", name, *texts, "--missing", "skip", "--gsm7")
        assert (found["messages"], found["invalid"]) == (2, 1)
        campaigns[name] = found["campaign"]
    for name, campaign in campaigns.items():
        running.wait(campaign)
        messages = [one for one in running.sandbox.record.messages if one.text.endswith(f"@{name}")]
        assert {one.number.lstrip("+"): one.text for one in messages} == {
            NUMBERS[0][1:]: f"Hi Ann en@{name}",
            NUMBERS[1][1:]: f'"Hallo Lucja"... de@{name}',
        }
        assert running.ledger is not None
        line = running.ledger.reports.line(running.ledger.campaigns.get(campaign), 3)
        assert line is not None
        assert line.reason == "invalid: no first_name"
