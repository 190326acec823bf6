"""Finds the columns of a recipient list that a campaign uses, by the names that people give them."""

import difflib
from collections.abc import Sequence

from dispatcher.errors import InputError
from dispatcher.template import Template, TemplateError, fold, match_field

_NUMBER_WORDS = ("phone", "mobile", "cell", "msisdn", "tel", "number", "sms")


def find_phone_column(wanted: str, header: Sequence[str]) -> str:
    """Return the header's name of the column with the numbers.

    Raises:
        InputError: there is none of that name, or several; the message lists what there is.
    """
    found = _match(wanted, header)
    if found is None:
        likely = _closest(wanted, header) or next(
            (name for word in _NUMBER_WORDS for name in header if word in fold(name)), None
        )
        hint = f"; did you mean {likely}?" if likely else "."
        raise InputError(f"the list has no column {wanted}{hint} Its columns: {', '.join(header)}")
    return found


def find_fields(template: Template, header: Sequence[str]) -> dict[str, str]:
    """Return the header's name for each field of the template.

    A default does not excuse a missing column: a slip in the name would send the default to everyone.

    Raises:
        InputError: a placeholder names no column, or may mean several.
    """
    columns: dict[str, str] = {}
    for field in template.fields:
        found = _match(field, header)
        if found is not None:
            columns[field] = found
            continue
        likely = _closest(field, header)
        hint = f"; did you mean {{{likely}}}?" if likely else "."
        raise InputError(
            f"the text has {{{field}}}, but the list has no such column{hint} Its columns: {', '.join(header)}"
        )
    return columns


def _match(wanted: str, header: Sequence[str]) -> str | None:
    try:
        return match_field(wanted, header)
    except TemplateError as error:
        raise InputError(str(error)) from None


def _closest(wanted: str, header: Sequence[str]) -> str | None:
    folded = {fold(name): name for name in header}
    close = difflib.get_close_matches(fold(wanted), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None
