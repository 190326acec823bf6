import random

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.msisdn import InvalidNumber, e164, is_country, mask, normalise, normalise_column

ZA = 27820001234
US = 12025550123


def read(number: str, country: str | None) -> int | str:
    try:
        return normalise(number, country)
    except InvalidNumber as error:
        return error.reason


@pytest.mark.parametrize(
    ("number", "country", "expected"),
    [
        # notations of one country
        ("0820001234", "ZA", ZA),
        ("082 000 1234", "ZA", ZA),
        ("082-000-1234", "ZA", ZA),
        ("(082) 000.1234", "ZA", ZA),
        ("820001234", "ZA", ZA),
        ("27820001234", "ZA", ZA),
        ("+27 82 000 1234", "ZA", ZA),
        ("+27 (0)82 000 1234", "ZA", ZA),
        ("0027 82 000 1234", "ZA", ZA),
        ("0027 82 000 1234", "US", ZA),  # 00 is not dialled in the US, but it is written
        ("0011 27 82 000 1234", "AU", ZA),
        ("(202) 555-0123", "US", US),
        ("1 202 555 0123", "US", US),
        ("1-202-555-0123", "CA", US),
        ("+1 202 555 0123", "ZA", US),
        # without a country
        ("+27820001234", None, ZA),
        ("(+27) 82 000 1234", None, ZA),
        ("0027820001234", None, ZA),
        ("27820001234", None, ZA),
        ("27 82 000 1234", None, ZA),
        ("12025550123", None, US),
        # what spreadsheets and web pages make of numbers
        ("'0820001234", "ZA", ZA),
        ("\u2019+27820001234", None, ZA),
        ("  0820001234\t", "ZA", ZA),
        ("082\u00a0000\u00a01234", "ZA", ZA),
        ("\ufeff082\u200b0001234", "ZA", ZA),
        ("\u202a+27820001234\u202c", None, ZA),
        ("082\n000 1234", "ZA", ZA),
        ("tel:+27-82-000-1234", None, ZA),
        ("TEL: 082 000 1234", "ZA", ZA),
        ("27820001234.0", None, ZA),
        ("27820001234.00 ", "ZA", ZA),
        ("２７８２０００１２３４", None, ZA),
        ("＋２７８２０００１２３４", None, ZA),
        ("٠٨٢٠٠٠١٢٣٤", "ZA", ZA),
        # an Italian zero stays
        ("+39 06 6982", None, 39066982),
        # refused, and why
        ("", "ZA", "empty"),
        (" \u00a0\ufeff\t", "ZA", "empty"),
        ("'", "ZA", "empty"),
        ("n/a", "ZA", "not a number"),
        ("🎉", "ZA", "not a number"),
        ("+", None, "not a number"),
        ("1", "ZA", "not a number"),
        ("082 000 ****", "ZA", "not a number"),
        ("082 000 1234", None, "no country code: give --country"),
        ("2025550123", None, "no country code: give --country"),
        ("02025550123", None, "no country code: give --country"),
        ("99999999999", None, "no country code: give --country"),
        ("1234567890123456", None, "no country code: give --country"),
        ("+999 123456", None, "unknown country code"),
        ("00999123456", None, "unknown country code"),
        ("555-0142", "US", "too short for US"),
        ("+27 82", None, "too short for +27"),
        ("+27 82 000 1234 5678 90", None, "too long for +27"),
        ("082 000 1234 5678 90", "ZA", "too long for ZA"),
        ("0" * 300, "ZA", "too long"),
        ("000 555 0100", "US", "not a valid number for US"),
        ("+1 000 555 0100", "ZA", "not a valid number for +1"),
        ("082 000 12345", "ZA", "not a valid number for ZA"),
        ("082 000 1234 ext 5", "ZA", "has an extension"),
        ("082 000 1234x5", "ZA", "has an extension"),
        ("082 000 1234 #5", "ZA", "has an extension"),
        ("+1 (202) 555-0123 ext. 5", None, "has an extension"),
        ("082 000 1abc", "ZA", "has letters in it"),
        ("1-800-FLOWERS", "US", "has letters in it"),
        ("Ann 0820001234", "ZA", "has letters in it"),
        ("2.782E+10", "ZA", "spoilt by a spreadsheet: format the column as text"),
        ("2,782e+10", None, "spoilt by a spreadsheet: format the column as text"),
        ("0820001234/0820001235", "ZA", "more than one number"),
        ("0820001234, 0820001235", "ZA", "more than one number"),
        ("082 000 1234; 082 000 1235", "ZA", "more than one number"),
    ],
)
def test_a_number_or_the_reason(number: str, country: str | None, expected: int | str) -> None:
    assert read(number, country) == expected
    assert normalise_column([number], country) == [expected]


def test_a_reason_never_repeats_the_number() -> None:
    for number in ("082 000 1234", "+999 82 000 1234", "082 000 1234 ext 5"):
        assert "1234" not in str(read(number, None))


def test_the_column_keeps_the_order() -> None:
    column = ["+27820001234", "", "082 000 1235", "'+27820001236"]
    assert normalise_column(column, "ZA") == [ZA, "empty", ZA + 1, ZA + 2]
    assert normalise_column([], "ZA") == []


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        (US, "+1202•••0123"),
        (ZA, "+2782•••1234"),
        (2907234, "+29•••34"),
        ("+27 82 000 1234", "+2782•••1234"),
        ("082 000 1234", "08•••34"),
        ("12345", "•••"),
        ("n/a", "•••"),
        ("", "•••"),
    ],
)
def test_mask(number: int | str, masked: str) -> None:
    assert mask(number) == masked


def test_e164() -> None:
    assert e164(US) == "+12025550123"


@pytest.mark.parametrize(
    ("country", "known"), [("ZA", True), ("US", True), ("za", False), ("XX", False), ("", False)]
)
def test_is_country(country: str, known: bool) -> None:
    assert is_country(country) is known


# --- The short cut agrees with the long way -----------------------------------------------------------------

COUNTRIES = sorted(phonenumbers.SUPPORTED_REGIONS)
KINDS = range(11)
MANY = 40  # enough to be read as a column
DIFFERENCES: dict[str, list[str]] = {}
"""By region, where the short cut reads a number of the corpus otherwise than `phonenumbers`: nowhere."""


@st.composite
def nearly_numbers(draw: st.DrawFn) -> tuple[str, str | None]:
    """Something close to a number of some country in some notation, and a country to read it by."""
    region = draw(st.sampled_from(COUNTRIES))
    table = phonenumbers.PhoneMetadata.metadata_for_region(region)
    assert table is not None
    example = phonenumbers.example_number_for_type(region, draw(st.sampled_from(KINDS)))
    national = phonenumbers.national_significant_number(example) if example else "820001234"
    digits = list(national)
    for _ in range(draw(st.integers(0, 3))):
        digits[draw(st.integers(0, len(digits) - 1))] = draw(st.sampled_from("0123456789"))
    national = "".join(digits)[: draw(st.sampled_from([None, None, None, -1]))]
    code = table.country_code
    prefix = draw(
        st.sampled_from(
            [
                *(f"+{code}", f"{code}", f"00{code}", "", "0", "00", table.national_prefix or "", f"+{code} (0)"),
                *(f"011{code}", f"'+{code}", f"tel:+{code}", f"{code}0", f"+{code}{table.national_prefix or ''}"),
            ]
        )
    )
    gap = draw(st.sampled_from(["", " ", "-", ".", "\u00a0", ") "]))
    country = draw(st.sampled_from([region, None, "US", "ZA", draw(st.sampled_from(COUNTRIES))]))
    return f"{prefix}{national[:3]}{gap}{national[3:]}{draw(st.sampled_from(['', '', ' ', '.0', '0']))}", country


@settings(max_examples=1500, deadline=None)
@given(nearly_numbers())
def test_the_short_cut_agrees_near_real_numbers(case: tuple[str, str | None]) -> None:
    number, country = case
    found = read(number, country)
    assert normalise_column([number], country) == [found]
    assert normalise_column([number] * MANY, country) == [found] * MANY


@settings(max_examples=500, deadline=None)
@given(
    st.one_of(st.text(), st.text(alphabet="+0123456789 -().'\u00a0tel:x,/*", max_size=24)),
    st.sampled_from([None, "ZA", "US", "IT", "AR", "GB", "RU", "MX"]),
)
def test_the_short_cut_agrees_on_anything_and_nothing_else_is_raised(number: str, country: str | None) -> None:
    found = read(number, country)
    assert normalise_column([number], country) == [found]
    assert normalise_column([number] * MANY, country) == [found] * MANY
    if isinstance(found, int):
        assert phonenumbers.is_valid_number(phonenumbers.parse(e164(found), None))
    mask(number)


def corpus(region: str, seed: random.Random) -> list[str]:
    """The examples of every type that `phonenumbers` has for a region, right and spoilt, in everyday notations."""
    table = phonenumbers.PhoneMetadata.metadata_for_region(region)
    assert table is not None
    code, prefix = table.country_code, table.national_prefix or ""
    numbers = []
    for kind in KINDS:
        example = phonenumbers.example_number_for_type(region, kind)
        if example is None:
            continue
        right = phonenumbers.national_significant_number(example)
        spoilt = list(right)
        spoilt[seed.randrange(min(5, len(spoilt)))] = str(seed.randrange(10))
        for national in (right, "".join(spoilt), right[:-1], right + "0"):
            numbers += [
                f"{before}{national[:2]}{seed.choice(['', ' ', '-', '.'])}{national[2:]}"
                for before in (f"+{code}", f"+{code} ", f"{code}", f"00{code}", prefix, f"({prefix})", "'0")
            ]
    seed.shuffle(numbers)
    return numbers


@pytest.mark.parametrize("country", ["its own", None, "ZA"])
def test_the_short_cut_agrees_on_columns_of_every_region(country: str | None) -> None:
    differences: dict[str, list[str]] = {}
    for index, region in enumerate(COUNTRIES):
        seed = random.Random(index)
        numbers = corpus(region, seed)
        numbers = seed.sample(numbers, len(numbers) // (2 if country == "its own" else 4))
        home = region if country == "its own" else country
        for number, short in zip(numbers, normalise_column(numbers, home), strict=True):
            long = read(number, home)
            if short != long:
                differences.setdefault(region, []).append(f"{number}: {short} for {long}")
    assert differences == DIFFERENCES


def test_a_column_of_several_countries_and_of_cells_that_are_no_lines() -> None:
    numbers = [f"+2782000{n:04d}" for n in range(100)] + [f"+1202555{n:04d}" for n in range(100, 200)]
    numbers += [f"0044 7700 900{n:03d}" for n in range(50)] + [
        "082\n000 1234",
        "+27820001234\n",
        "\n",
        "27820001234.0",
    ]
    random.Random(1).shuffle(numbers)
    assert len(numbers) > 200
    for country in (None, "ZA", "US"):
        assert normalise_column(numbers, country) == [read(number, country) for number in numbers]
