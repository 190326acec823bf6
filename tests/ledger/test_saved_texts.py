"""Texts under a name, and those of a campaign, on both databases."""

from datetime import timedelta

import pytest

from dispatcher.errors import UsageError
from dispatcher.ledger import Ledger, NewCampaign, SavedText
from tests.ledger.conftest import NOW

LATER = NOW + timedelta(hours=1)


def test_a_name_has_one_text_until_it_is_replaced_or_removed(ledger: Ledger) -> None:
    texts = ledger.texts
    assert texts.save("b", "first", replace=False, now=NOW)
    assert not texts.save("b", "second", replace=False, now=LATER)
    assert texts.get("b") == SavedText(name="b", template="first", saved_at=NOW)
    assert texts.save("b", "third", replace=True, now=LATER)
    assert texts.save("a", "x", replace=True, now=NOW)
    assert [(one.name, one.template) for one in texts.all()] == [("a", "x"), ("b", "third")]
    assert texts.remove("b")
    assert not texts.remove("b")
    with pytest.raises(UsageError, match="no saved text b"):
        texts.get("b")


def test_a_campaigns_texts_are_its_own(ledger: Ledger) -> None:
    for name, variants in (("c1", {"de": "Hallo", "fr": "Bonjour"}), ("c2", {})):
        new = NewCampaign(
            public_id=name,
            name=name,
            provider="winsms",
            template="Hi",
            personalised=False,
            created_at=NOW,
            variants=variants,
        )
        ledger.plans.begin(new, who="t", now=NOW)
        found = ledger.texts.of_campaign(ledger.campaigns.get(name))
        assert found == variants
