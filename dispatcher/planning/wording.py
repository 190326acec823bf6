"""Says a campaign's texts in the way that its rules ask for, before anything is planned."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dispatcher.errors import InputError
from dispatcher.planning.enqueue import Order
from dispatcher.template import TemplateError, rewrite
from dispatcher.transliteration import transliterate


def worded(order: Order) -> Order:
    """Return the order with its texts as its rules have them: with look-alikes of GSM-7 characters.

    Raises:
        InputError: a text cannot be used.
    """
    return replace(order, text=_worded(order.text, order.rules, "the text"))


def _worded(text: str, rules: Mapping[str, Any], which: str) -> str:
    gsm7 = bool(rules.get("gsm7"))

    def default(given: str | None) -> str | None:
        return transliterate(given) if gsm7 and given is not None else given

    if not gsm7:
        return text
    try:
        return rewrite(text, words=transliterate, default=default)
    except TemplateError as error:
        raise InputError(f"{which}, {error}") from None
