"""Mends numbers that a spreadsheet mangled, where what they were is certain; else says what happened to them."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from phonenumbers import PhoneMetadata

from dispatcher.msisdn import normalise_column


class Repair(StrEnum):
    """What had happened to a number."""

    DECIMALS = "written as an amount"
    SCIENTIFIC = "written with an exponent"
    ZERO = "leading 0 lost"
    PLUS = "plus lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """A number in E.164, and what was repaired in it."""

    number: int
    repair: Repair


LOST_DIGITS = (
    "a spreadsheet cut it, as in 2.78E+10, and its digits are lost: export it again, with the column as text"
)
NOT_WHOLE = "a number with a fraction"
AMBIGUOUS = "may be a number of {country} with a digit too many, or one from abroad without its plus: write the plus"

_EXPONENT = re.compile(r"([+-]?)(\d)(?:[.,](\d+))?[eE]\+?(\d{1,3})")
_WHOLE = re.compile(r"(\+?\d{7,})[.,]0+")
_GROUPED = re.compile(r"\+?\d{1,3}(?:,\d{3}){2,}(?:\.0+)?")
_FRACTION = re.compile(r"\+?(?:\d{7,}[.,]\d{1,2}|\d{10,}[.,]\d+)")
_PUNCTUATION = str.maketrans("", "", " -().\u00a0")
_SHORTEST_ABROAD = 10
"""Digits, with the country code, below which nothing is taken for a number from abroad that lost its plus."""


def repair(text: str, reason: str, country: str | None) -> Repaired | str:
    """Return what a number was that could not be read, or why it stays unread: `reason`, or a better one.

    `text` is what stands in the list; `reason` and `country` as of `normalise_column`.
    """
    text = _bare(text)
    if exponent := _EXPONENT.fullmatch(text):
        return _expand(*exponent.groups(), country=country)
    digits, was = text, None
    if whole := _WHOLE.fullmatch(text):
        digits, was = whole[1], Repair.DECIMALS
    elif _GROUPED.fullmatch(text):
        digits, was = text.partition(".")[0].replace(",", ""), Repair.DECIMALS
    elif _FRACTION.fullmatch(text):
        return NOT_WHOLE
    if was is not None and (found := _valid(digits, country)) is not None:
        return Repaired(number=found, repair=was)
    digits = digits.translate(_PUNCTUATION)
    if country is None or not (digits.isascii() and digits.isdigit()) or digits[0] == "0":
        return reason
    return _without_zero_or_plus(digits, reason, country)


def recheck(texts: Sequence[str], numbers: list[int | str], country: str | None) -> Counter[Repair]:
    """Look again at what `normalise_column` read, in place: refuse fractions, and count the repairs that it implies.

    A dot is mere punctuation to it; and it takes a national number without its 0 as it comes.
    """
    counted: Counter[Repair] = Counter()
    if "." in "\n".join(texts):
        for at, text in enumerate(texts):
            if "." in text and isinstance(numbers[at], int) and _FRACTION.fullmatch(plain := _bare(text)):
                if _WHOLE.fullmatch(plain):
                    counted[Repair.DECIMALS] += 1
                else:
                    numbers[at] = NOT_WHOLE
    if country is not None and _writes_zeros(country):
        counted[Repair.ZERO] = sum(
            text.isdecimal() and text[0] != "0" and isinstance(number, int) and number != int(text)
            for text, number in zip(texts, numbers, strict=True)
        )
    return +counted


def _bare(text: str) -> str:
    return text.strip().lstrip("'").strip()


def _expand(sign: str, first: str, fraction: str | None, exponent: str, *, country: str | None) -> Repaired | str:
    """Read a number with an exponent: certain only where its digits reach to the last place."""
    places = int(exponent)
    decimals = fraction or ""
    if sign == "-" or len(decimals) < places:
        return LOST_DIGITS
    if decimals[places:].strip("0"):
        return NOT_WHOLE
    digits = first + decimals[:places]
    number = _valid(f"+{digits}" if sign else digits, country)
    if number is None:
        [read] = normalise_column([digits], country)
        reason = read if isinstance(read, str) else LOST_DIGITS
        found = repair(digits, reason, country)
        return Repaired(number=found.number, repair=Repair.SCIENTIFIC) if isinstance(found, Repaired) else found
    return Repaired(number=number, repair=Repair.SCIENTIFIC)


def _without_zero_or_plus(digits: str, reason: str, country: str) -> Repaired | str:
    """Read digits that are no number as they stand: with a leading 0, or with a plus, if not with both."""
    at_home = _valid(f"0{digits}", country) if _has_zeros(country) and _may_be_national(digits, country) else None
    abroad = _valid(f"+{digits}", None) if len(digits) >= _SHORTEST_ABROAD else None
    if abroad is None:
        return reason if at_home is None else Repaired(number=at_home, repair=Repair.ZERO)
    if at_home is None and not _slip_of_a_number_at_home(digits, country):
        return Repaired(number=abroad, repair=Repair.PLUS)
    return AMBIGUOUS.format(country=country)


def _slip_of_a_number_at_home(digits: str, country: str) -> bool:
    """Return whether they are a number of the country and one digit more: then they are hardly one from abroad."""
    shorter = {digits[:at] + digits[at + 1 :] for at in range(len(digits))}
    candidates = sorted(one for one in shorter if _may_be_national(one, country))
    return any(isinstance(read, int) for read in normalise_column(candidates, country))


def _may_be_national(digits: str, country: str) -> bool:
    """Return whether their count allows for a number of the country, with or without its calling code."""
    table = PhoneMetadata.metadata_for_region(country)
    if table is None or table.general_desc is None:
        return False
    counts, code = table.general_desc.possible_length, str(table.country_code)
    return len(digits) in counts or (digits.startswith(code) and len(digits) - len(code) in counts)


def _valid(number: str, country: str | None) -> int | None:
    [found] = normalise_column([number], country)
    return found if isinstance(found, int) else None


def _has_zeros(country: str) -> bool:
    """Return whether a 0 is dialled before a number within the country."""
    table = PhoneMetadata.metadata_for_region(country)
    return table is not None and table.national_prefix == "0"


@cache
def _writes_zeros(country: str) -> bool:
    """Return whether everybody there writes that 0: then a number without it has lost it."""
    table = PhoneMetadata.metadata_for_region(country)
    forms = [] if table is None else table.number_format
    return _has_zeros(country) and not any(form.national_prefix_optional_when_formatting for form in forms)
