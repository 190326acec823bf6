"""Phone numbers as people write them, read into E.164; what is not surely one number is refused, with why."""

import re
import unicodedata
from collections.abc import Sequence

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumber, ValidationResult

from dispatcher.msisdn.plain import read_plain


class InvalidNumber(ValueError):
    """This is not the number of anybody; `reason` says why in a few words, without the number."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


NO_COUNTRY = "no country code: give --country"

_WIDE_PLUS = "\N{FULLWIDTH PLUS SIGN}"
_APOSTROPHES = "'\u2019`"
_SCIENTIFIC = re.compile(r"[\d.,]+e\+?\d+", re.IGNORECASE)
_DECIMAL = re.compile(r"(\+?\d{8,})\.0+")
_PARTS = re.compile(r"[,;/|&]")


def is_country(country: str) -> bool:
    """Return whether `country` is a region that numbers can be read for: two capital letters, such as ZA."""
    return country in phonenumbers.SUPPORTED_REGIONS


def e164(number: int) -> str:
    """Return the number as it is written for machines: a plus and its digits."""
    return f"+{number}"


def mask(number: int | str) -> str:
    """Return the number as it may be shown and logged: its beginning and its end, such as +1202•••0123.

    A string is masked as it stands in a file, whether it is a number or not.
    """
    digits = str(number) if isinstance(number, int) else "".join(filter(str.isdigit, number))
    plus = "+" if isinstance(number, int) or number.lstrip().startswith("+") else ""
    if len(digits) < 6:
        return plus + "•••"
    shown = 4 if len(digits) >= 11 else 2
    return f"{plus}{digits[:shown]}•••{digits[-shown:]}"


def normalise(number: str, country: str | None) -> int:
    """Return the E.164 digits of a number in any notation, as an int without the plus.

    `country` (two capital letters) is where a number without a country code is at home; a number of that
    country may also carry its country code without a plus. Without a country, 11 to 15 digits that do not begin
    with 0 are read as international if that is a valid number; so give the country where the list is of one.
    Accepted is whatever `phonenumbers` calls valid, fixed lines too; letters and extensions are not.

    Raises:
        InvalidNumber: it is empty, no number, two numbers, too short or long, not valid, of no country.
    """
    text = _clean(number)
    if not text:
        raise InvalidNumber("empty")
    digits = phonenumbers.normalize_digits_only(text)
    if _SCIENTIFIC.fullmatch(text):
        raise InvalidNumber("spoilt by a spreadsheet: format the column as text")
    if not digits or "*" in text:  # phonenumbers drops the stars of a masked number, and reads what is left
        raise InvalidNumber("not a number")
    if sum(len(phonenumbers.normalize_digits_only(part)) >= 7 for part in _PARTS.split(text)) > 1:
        raise InvalidNumber("more than one number")

    if "+" in text or _WIDE_PLUS in text:
        return _read(text, None)
    if country is not None:
        try:
            return _read(text, country)
        except InvalidNumber:
            # Where 00 is not how one dials abroad, it still is how people write a plus.
            if not digits.startswith("00") or (found := _try_international(digits[2:])) is None:
                raise
            return found
    if not _lacks_only_a_plus(text, digits):
        return _read(text, None)
    international = digits.removeprefix("00")
    if international == digits and not (11 <= len(digits) <= 15 and digits[0] != "0"):
        raise InvalidNumber(NO_COUNTRY)
    if (found := _try_international(international)) is None:
        if international == digits:
            raise InvalidNumber(NO_COUNTRY)
        return _read("+" + international, None)
    return found


def normalise_column(numbers: Sequence[str], country: str | None) -> list[int | str]:
    """Return for every number its E.164 digits as an int, or the reason why it is none as a str.

    It agrees with `normalise`: only valid numbers in everyday notation take a short cut.
    """
    results, left = read_plain(numbers, country)
    for position in left:
        try:
            results[position] = normalise(numbers[position], country)
        except InvalidNumber as error:
            results[position] = error.reason
    return results


def _clean(number: str) -> str:
    """Drop what spreadsheets and web pages leave around a number: apostrophes, tel:, zero-width characters."""
    if not number.isascii():
        number = "".join(character for character in number if unicodedata.category(character) != "Cf")
    text = " ".join(number.split()).lstrip(_APOSTROPHES).strip()
    if text[:4].lower() == "tel:":
        text = text[4:].strip()
    decimal = _DECIMAL.fullmatch(text)
    return decimal[1] if decimal else text


def _lacks_only_a_plus(text: str, digits: str) -> bool:
    return len(digits) >= 3 and not any(character.isalpha() or character in "#,;*" for character in text)


def _try_international(digits: str) -> int | None:
    try:
        return _read("+" + digits, None)
    except InvalidNumber:
        return None


def _read(text: str, country: str | None) -> int:
    try:
        parsed = phonenumbers.parse(text, country)
    except NumberParseException as error:
        raise InvalidNumber(_PARSE_REASONS.get(error.error_type, "not a number")) from None
    if parsed.extension:
        raise InvalidNumber("has an extension")
    # phonenumbers reads letters as on a keypad; in a list they are a slip, and make somebody else's number.
    if any(character.isalpha() for character in text):
        raise InvalidNumber("has letters in it")
    if not phonenumbers.is_valid_number(parsed):
        raise InvalidNumber(_why_not_valid(parsed, country))
    return int(phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)[1:])


_PARSE_REASONS = {
    NumberParseException.INVALID_COUNTRY_CODE: "unknown country code",
    NumberParseException.NOT_A_NUMBER: "not a number",
    NumberParseException.TOO_SHORT_AFTER_IDD: "too short",
    NumberParseException.TOO_SHORT_NSN: "too short",
    NumberParseException.TOO_LONG: "too long",
}


def _why_not_valid(parsed: PhoneNumber, country: str | None) -> str:
    code = parsed.country_code
    place = country if country and phonenumbers.country_code_for_region(country) == code else f"+{code}"
    match phonenumbers.is_possible_number_with_reason(parsed):
        case ValidationResult.TOO_SHORT | ValidationResult.IS_POSSIBLE_LOCAL_ONLY:
            return f"too short for {place}"
        case ValidationResult.TOO_LONG:
            return f"too long for {place}"
    return f"not a valid number for {place}"
