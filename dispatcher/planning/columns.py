"""Finds the columns of a recipient list that a campaign uses, by the names that people give them."""

import difflib
import re
import unicodedata
from collections.abc import Callable, Sequence

from dispatcher.errors import InputError
from dispatcher.planning.reading.rows import Chunk
from dispatcher.template import Template, TemplateError, fold, match_field

_NUMBER_WORDS = ("phone", "mobile", "cell", "msisdn", "tel", "number", "sms")
USUAL = "phone"
"""What the column of the numbers is called; another is said to the person who did not name it."""

# Words that say: here are numbers; one of the first kind is enough, those of the second must be all there is.
_SURE = re.compile(
    r"(?:cell|mobile|phone|tele?phone|tel|msisdn|sms|gsm|whatsapp|handy|mobil|telefono?|telefon|telefone|celular|movil)"
    r"(?:phone|telefon|number|nummer|numero|num|no|nr)?s?"
)
_MAYBE = re.compile(r"(?:number|num|no|nr|nummer|numero|contact|to|recipient)s?")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_LOOKED_AT = 500
_SHARE = 0.5  # of the values there are: below it, a column of that name is one of remarks about numbers


def choose_phone_column(header: Sequence[str], first: Callable[[], Chunk]) -> str:
    """Return the header's name of the column with the numbers, where nobody says which it is.

    That is `phone`, else the one column whose name says so and whose values look like it; `first` gives some rows.

    Raises:
        InputError: there is no such column, or there are several.
    """
    if (usual := _match(USUAL, header)) is not None:
        return usual
    columns = first().columns
    for is_named in (_is_surely_of_numbers, _may_be_of_numbers):
        found = [name for name in header if is_named(_words(name)) and _looks_like_numbers(columns[name])]
        if len(found) > 1:
            raise InputError(f"the numbers may be in any of {', '.join(found)}: say which with --phone-column")
        if found:
            return found[0]
    hint = next((f"; is it {name}?" for name in header if _looks_like_numbers(columns[name])), ".")
    raise InputError(
        f"no column is surely that of the numbers: say which with --phone-column{hint} Its columns: {', '.join(header)}"
    )


def find_column(wanted: str, header: Sequence[str]) -> str:
    """Return the header's name of a column that was named.

    Raises:
        InputError: there is none of that name, or several.
    """
    found = _match(wanted, header)
    if found is None:
        likely = _closest(wanted, header)
        hint = f"; did you mean {likely}?" if likely else "."
        raise InputError(f"the list has no column {wanted}{hint} Its columns: {', '.join(header)}")
    return found


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


def _words(name: str) -> list[str]:
    """Return the words of a name, however they are put together, in small letters without accents."""
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", name) if not unicodedata.combining(sign))
    return [word.lower() for word in _WORD.findall(plain)]


def _is_surely_of_numbers(words: Sequence[str]) -> bool:
    return any(_SURE.fullmatch(word) for word in (*words, "".join(words)))


def _may_be_of_numbers(words: Sequence[str]) -> bool:
    return bool(words) and all(_MAYBE.fullmatch(word) for word in words)


def _looks_like_numbers(values: Sequence[str]) -> bool:
    """Return whether most of the values are long enough for numbers and have no words in them."""
    some = [value for value in values if value.strip()][:_LOOKED_AT]
    like = sum(
        7 <= sum(map(str.isdigit, value)) <= 17 and not any(map(str.isalpha, _NUMBER_LETTERS.sub("", value)))
        for value in some
    )
    return like > _SHARE * len(some)


_NUMBER_LETTERS = re.compile(r"^\s*tel:|(?<=\d)[eE](?=[+\d])", re.IGNORECASE)
