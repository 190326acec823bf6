"""Says a campaign's texts in the way that its rules ask for, before anything is planned."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dispatcher.errors import InputError
from dispatcher.planning.order import Order
from dispatcher.planning.variants import Missing
from dispatcher.template import TemplateError, rewrite
from dispatcher.transliteration import transliterate


def worded(order: Order) -> Order:
    """Return the order with its texts as its rules have them: with look-alikes of GSM-7 characters, and nothing for what is missing.

    Raises:
        InputError: a text cannot be used.
    """
    return replace(
        order,
        text=_worded(order.text, order.rules, "the text"),
        variants={name: _worded(text, order.rules, f"the text for {name}") for name, text in order.variants.items()},
    )


def _worded(text: str, rules: Mapping[str, Any], which: str) -> str:
    gsm7 = bool(rules.get("gsm7"))

    empty = rules.get("missing") == Missing.EMPTY

    def words(given: str) -> str:
        return transliterate(given) if gsm7 else given

    def default(given: str | None) -> str | None:
        if given is None:
            return "" if empty else None
        return words(given)

    if not gsm7 and not empty:
        return text
    try:
        return rewrite(text, words=words, default=default)
    except TemplateError as error:
        raise InputError(f"{which}, {error}") from None
