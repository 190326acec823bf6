"""The short cut for phone numbers: the tables of `phonenumbers`, as one regular expression a country."""

import re
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import cache

import msgspec
import phonenumbers
from phonenumbers import PhoneMetadata
from phonenumbers.phonemetadata import PhoneNumberDesc

# What may stand between digits without a meaning.
_PUNCTUATION = str.maketrans("", "", " -().\u00a0")
_MAY_BE_DECIMAL = re.compile(r"^.*\.[^1-9\n]*$", re.MULTILINE)  # then the zeros are a spreadsheet's, not the number's
_GROUP = re.compile(r"(?<!\\)\((?!\?)")
_WORTH_A_PASS = 32
_SAMPLE = 64


def read_plain(numbers: Sequence[str], country: str | None) -> tuple[list[int | str], Sequence[int]]:
    """Return the E.164 digits of every number, and the positions of those that are not plainly valid.

    Those that many have in common are read together, by one regular expression over the whole column. What stands
    in the result for a number that is not plainly valid means nothing: `phonenumbers` is to be asked.
    """
    results: list[int | str] = [0] * len(numbers)
    left: Sequence[int] = range(len(numbers))
    home = _home(country) if country is not None else None
    lines = _plain_lines(numbers)
    tried: set[str] = set()
    shape = home.lines if home is not None else _commonest(lines, tried, named=home is not None)
    while shape is not None and len(left) >= _WORTH_A_PASS:
        found = shape.pattern.findall("\n".join(lines))
        # A line that is no such number comes out as the country code alone.
        read = msgspec.json.decode(f"[{shape.code}{f',{shape.code}'.join(found)}]", type=list[int | str])
        if len(left) == len(numbers):
            results = read
        else:
            for position, number in zip(left, read, strict=True):
                results[position] = number
        missed = [] if all(found) else [index for index, national in enumerate(found) if not national]
        left, lines = [left[index] for index in missed], [lines[index] for index in missed]
        tried.add(shape.code)
        shape = _commonest(lines, tried, named=home is not None)
    doubtful: list[int] = []
    for position, line in zip(left, lines, strict=True):
        alone = _read_alone(numbers[position], home) if line else None
        if alone is None:
            doubtful.append(position)
        else:
            results[position] = alone
    return results, doubtful


def _read_alone(number: str, home: "_Home | None") -> int | None:
    digits = number.lstrip("'").removeprefix("tel:").translate(_PUNCTUATION)
    if not digits.isascii():
        return None
    if digits[:1] == "+":
        return _international(digits[1:])
    if home is not None:
        return home.read(digits)
    if digits[:2] == "00":
        return _international(digits[2:])
    return _international(digits) if 11 <= len(digits) <= 15 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lines:
    """How the numbers of one calling code are found in a column; group 1 is the national number, or empty."""

    code: str
    pattern: re.Pattern[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Home:
    """How numbers are written within one country; `read` returns None for whatever is not plain."""

    lines: _Lines  # also its numbers with a plus
    abroad: re.Pattern[str]  # what is dialled before a country code
    prefix: re.Pattern[str]

    def read(self, digits: str) -> int | None:
        if not digits.isdigit():
            return None
        if digits[:2] == "00":
            return self._read_abroad(digits)
        found = self.lines.pattern.fullmatch(digits)
        return int(self.lines.code + found[1]) if found is not None and found[1] else None

    def _read_abroad(self, digits: str) -> int | None:
        """Read 00 as a plus, unless this country may understand something else by it."""
        dialled = self.abroad.match(digits)
        if dialled is not None:
            return _international(digits[2:]) if dialled.end() == 2 else None
        valid = _valid_under(self.lines.code)
        if self.prefix.match(digits) or (valid is not None and valid.match(digits)):
            return None
        return _international(digits[2:])


_ONE_DIGIT_CODES = frozenset("17")
_TWO_DIGIT_CODES = frozenset(str(code) for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE if 9 < code < 100)


def _plain_lines(numbers: Sequence[str]) -> list[str]:
    """Return the numbers without punctuation; empty where something must be looked at more closely."""
    if not numbers:
        return []
    text = "\n".join(numbers)
    if "." in text:
        text = _MAY_BE_DECIMAL.sub("", text)
    lines = text.translate(_PUNCTUATION).split("\n")
    return lines if len(lines) == len(numbers) else _plain_lines(["" if "\n" in cell else cell for cell in numbers])


def _commonest(lines: Sequence[str], tried: Set[str], *, named: bool) -> _Lines | None:
    """Return how to find the numbers of the calling code that most have, if it is many."""
    codes: Counter[str] = Counter()
    sample = lines[:: len(lines) // _SAMPLE + 1]
    for line in sample:
        if line[:1] == "+":
            codes[_code_of(line[1:])] += 1
        elif not named:
            codes[_code_of(line[2:] if line[:2] == "00" else line)] += 1
    for code, many in codes.most_common():
        if 8 * many < len(sample):
            break
        if code not in tried and (found := _lines_of(code, named=named)) is not None:
            return found
    return None


def _code_of(digits: str) -> str:
    """Return the calling code with which the digits after a plus begin, if they begin with one."""
    return digits[: 1 if digits[:1] in _ONE_DIGIT_CODES else 2 if digits[:2] in _TWO_DIGIT_CODES else 3]


def _international(digits: str) -> int | None:
    """Return the digits after a plus as a number if they are a valid one without further ado."""
    if not digits.isdigit():
        return None
    code = _code_of(digits)
    valid = _valid_under(code)
    return int(digits) if valid is not None and valid.match(digits, len(code)) else None


@cache
def _lines_of(code: str, *, named: bool) -> _Lines | None:
    """Return how to find numbers with a calling code: after a plus, or without a country also after 00 or nothing."""
    valid = _valid_source(code)
    if valid is None:
        return None
    before = r"\+" if named else r"(?:\+|00|(?=\d{11,15}$))"
    return _Lines(code=code, pattern=_column(f"{before}{code}(?={valid})"))


@cache
def _home(country: str) -> _Home | None:
    table = PhoneMetadata.metadata_for_region(country)
    code = "" if table is None else str(table.country_code)
    valid_under = _valid_source(code)
    if table is None or table.general_desc is None or valid_under is None:
        return None
    prefix = table.national_prefix_for_parsing
    plain = prefix is not None and prefix.isdigit() and not table.national_prefix_transform_rule
    stripped, abroad = _or_nothing(prefix), _or_nothing(table.international_prefix)
    possible = _or_nothing(table.general_desc.national_number_pattern)
    ways = [f"(?!{possible}$){code}"]
    ways += [f"(?!{code}){prefix}", f"(?!{code}|{prefix})"] if plain else [f"(?!{code})"]
    within = rf"(?!\+|00|{abroad})(?:{'|'.join(ways)})(?!{stripped})"
    main = phonenumbers.region_code_for_country_code(int(code)) == country
    if (
        main and not table.leading_digits
    ):  # what is valid here is valid under the calling code, which others may share
        before = rf"(?:\+{code}(?!{stripped})|{within})(?={_valid(table)})"
    else:
        before = rf"(?:\+{code}|{within}(?={_valid(table)}))(?={valid_under})"
    return _Home(
        lines=_Lines(code=code, pattern=_column(before)),
        abroad=re.compile(abroad, re.ASCII),
        prefix=re.compile(stripped, re.ASCII),
    )


@cache
def _valid_under(code: str) -> re.Pattern[str] | None:
    source = _valid_source(code)
    return None if source is None else re.compile(source, re.ASCII)


@cache
def _valid_source(code: str) -> str | None:
    """Return what matches a national number under a calling code, as `phonenumbers.is_valid_number` decides it.

    One that begins with a national prefix, which would be stripped, is not for the short cut.
    """
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(code), ()) if code.isdigit() else ()
    tables = [PhoneMetadata.metadata_for_region(region) for region in regions]
    if code[:1] == "0" or not tables or None in tables:
        return None  # unknown, or one of the codes that belong to no country
    found = [table for table in tables if table is not None]
    source = "(?!)"
    for table in reversed(found):
        if table.leading_digits:  # whatever begins so belongs to that region, valid or not
            leads = _or_nothing(table.leading_digits)
            source = f"(?:(?={leads}){_valid(table)}|(?!{leads}){source})"
        else:
            source = f"(?:{_valid(table)}|{source})"
    return f"(?!{_or_nothing(found[0].national_prefix_for_parsing)}){source}"


def _column(before: str) -> re.Pattern[str]:
    """Return what finds in each line the digits after `before`, and in every other line an empty string."""
    return re.compile(rf"^{before}(\d+)$|^.*$", re.MULTILINE | re.ASCII)


def _or_nothing(source: str | None) -> str:
    """Return a pattern of the tables as one without groups of its own."""
    return f"(?:{_GROUP.sub('(?:', source)})" if source else "(?!)"


def _valid(table: PhoneMetadata) -> str:
    """Return what matches, to their end, the national numbers of every type in a region."""
    general = table.general_desc
    if general is None:
        return "(?!)"
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
    described = [kind for kind in kinds if kind is not None and kind.national_number_pattern]
    # Measured once, where what one type may be in length the region may be too.
    within = all(set(kind.possible_length) <= set(general.possible_length) for kind in described)
    whole = _or_nothing(general.national_number_pattern) if within else _described(general)
    return f"(?:(?={whole}$)(?:{'|'.join(map(_described, described))})$)" if described else "(?!)"


def _described(description: PhoneNumberDesc) -> str:
    lengths = set(description.possible_length)
    runs = [
        rf"\d{{{first},{next(end for end in range(first, first + len(lengths) + 1) if end + 1 not in lengths)}}}"
        for first in sorted(lengths)
        if first - 1 not in lengths
    ]
    return f"(?=(?:{'|'.join(runs) or '.*'})$){_or_nothing(description.national_number_pattern)}"
