"""Phone numbers as people write them, read into E.164; what is not surely one number is refused, with why."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import phonenumbers
from phonenumbers import NumberParseException, PhoneMetadata, PhoneNumber, ValidationResult
from phonenumbers.phonemetadata import PhoneNumberDesc


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
_MAY_BE_DECIMAL = re.compile(r"\.[^1-9]*$")  # then the zeros are a spreadsheet's, not the number's
_PARTS = re.compile(r"[,;/|&]")
# What may stand between digits without a meaning; everything else goes to `normalise`.
_PUNCTUATION = str.maketrans("", "", " -().\u00a0")


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
    results: list[int | str] = []
    append = results.append
    home = _home(country) if country is not None else None
    for number in numbers:
        digits = number.lstrip("'").removeprefix("tel:").translate(_PUNCTUATION)
        found = None
        if digits.isascii() and not ("." in number and _MAY_BE_DECIMAL.search(number)):
            if digits[:1] == "+":
                found = _international(digits[1:])
            elif home is not None:
                found = home.read(digits)
            elif digits[:2] == "00":
                found = _international(digits[2:])
            elif 11 <= len(digits) <= 15:
                found = _international(digits)
        if found is None:
            try:
                found = normalise(number, country)
            except InvalidNumber as error:
                append(error.reason)
                continue
        append(found)
    return results


# --- The long way: phonenumbers -----------------------------------------------------------------------------


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


# --- The short cut: the same tables, one regular expression a region ----------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _CallingCode:
    """What makes a national number valid under a calling code, as `phonenumbers.is_valid_number` decides it."""

    prefix: re.Pattern[str] | None  # a national prefix, which would be stripped: not for the short cut
    regions: tuple[tuple[re.Pattern[str] | None, re.Pattern[str]], ...]  # (leading digits, valid numbers)

    def valid(self, national: str) -> bool:
        if self.prefix is not None and self.prefix.match(national):
            return False
        for leading, pattern in self.regions:
            if leading is None:
                if pattern.fullmatch(national):
                    return True
            elif leading.match(national):
                return pattern.fullmatch(national) is not None
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Home:
    """How numbers are written within one country; `read` returns None for whatever is not plain."""

    code: str
    own: _CallingCode
    settles: bool  # whether a number that is valid here is valid under the calling code, which others may share
    abroad: re.Pattern[str]  # what is dialled before a country code
    prefix: str | None  # the national prefix; None where it is more than a few digits
    prefix_pattern: re.Pattern[str] | None
    possible: re.Pattern[str]
    valid: re.Pattern[str]

    def read(self, digits: str) -> int | None:
        if not digits.isdigit():
            return None
        if digits[:2] == "00":
            return self._read_abroad(digits)
        if digits.startswith(self.code):
            national = digits[len(self.code) :]
            if self.possible.fullmatch(digits):
                return None
        elif self.prefix and digits.startswith(self.prefix):
            national = digits[len(self.prefix) :]
        else:
            national = digits
        if (
            self.abroad.match(digits)
            or (self.prefix_pattern is not None and self.prefix_pattern.match(national))
            or not self.valid.fullmatch(national)
            or not (self.settles or self.own.valid(national))
        ):
            return None
        return int(self.code + national)

    def _read_abroad(self, digits: str) -> int | None:
        """Read 00 as a plus, unless this country may understand something else by it."""
        dialled = self.abroad.match(digits)
        if dialled is not None:
            return _international(digits[2:]) if dialled.end() == 2 else None
        if (self.prefix_pattern is not None and self.prefix_pattern.match(digits)) or self.own.valid(digits):
            return None
        return _international(digits[2:])


_ONE_DIGIT_CODES = frozenset("17")
_TWO_DIGIT_CODES = frozenset(str(code) for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE if 9 < code < 100)


def _international(digits: str) -> int | None:
    """Return the digits after a plus as a number if they are a valid one without further ado."""
    if not digits.isdigit():
        return None
    length = 1 if digits[0] in _ONE_DIGIT_CODES else 2 if digits[:2] in _TWO_DIGIT_CODES else 3
    rules = _calling_code(digits[:length])
    return int(digits) if rules is not None and rules.valid(digits[length:]) else None


@cache
def _calling_code(code: str) -> _CallingCode | None:
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(code), ())
    tables = [PhoneMetadata.metadata_for_region(region) for region in regions]
    if code[0] == "0" or not tables or None in tables:
        return None  # unknown, or one of the codes that belong to no country
    found = [table for table in tables if table is not None]
    return _CallingCode(
        prefix=_pattern(found[0].national_prefix_for_parsing),
        regions=tuple((_pattern(table.leading_digits), _valid_pattern(table)) for table in found),
    )


@cache
def _home(country: str) -> _Home | None:
    table = PhoneMetadata.metadata_for_region(country)
    if table is None or table.general_desc is None:
        return None
    code = str(table.country_code)
    rules = _calling_code(code)
    if rules is None:
        return None
    main = phonenumbers.region_code_for_country_code(int(code)) == country
    prefix = table.national_prefix_for_parsing
    plain = prefix is not None and prefix.isdigit() and not table.national_prefix_transform_rule
    return _Home(
        code=code,
        own=rules,
        settles=main and not table.leading_digits,
        abroad=re.compile(table.international_prefix or r"(?!)"),
        prefix=prefix if plain else None,
        prefix_pattern=_pattern(prefix),
        possible=re.compile(table.general_desc.national_number_pattern or r"(?!)"),
        valid=_valid_pattern(table),
    )


def _pattern(source: str | None) -> re.Pattern[str] | None:
    return re.compile(source) if source else None


def _valid_pattern(table: PhoneMetadata) -> re.Pattern[str]:
    """Return what matches the national numbers of every type in a region."""
    kinds = [
        None if table.same_mobile_and_fixed_line_pattern else table.mobile,
        table.fixed_line,
        table.premium_rate,
        table.toll_free,
        table.shared_cost,
        table.voip,
        table.personal_number,
        table.pager,
        table.uan,
        table.voicemail,
    ]
    general = _described(table.general_desc)
    return re.compile(f"(?={general}$)(?:{'|'.join(_described(kind) for kind in kinds)})")


def _described(description: PhoneNumberDesc | None) -> str:
    if description is None or not description.national_number_pattern:
        return "(?!)"
    lengths = "|".join(rf"\d{{{length}}}" for length in description.possible_length)
    return rf"(?=(?:{lengths or '.*'})$)(?:{description.national_number_pattern})"
