"""Numbers that a spreadsheet mangled, countries by row, and which column the numbers are in."""

import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.errors import InputError
from dispatcher.msisdn import InvalidNumber, normalise, normalise_column
from dispatcher.planning import Chunk, find_phone_column, open_recipients
from dispatcher.planning.columns import choose_phone_column
from dispatcher.planning.numbers import Numbers
from dispatcher.planning.repair import Repair

US, GB, AU = 12025550123, 442079460958, 61491570156
LOST = "a spreadsheet cut it, as in 2.78E+10, and its digits are lost: export it again, with the column as text"
AMBIGUOUS = "may be a number of US with a digit too many, or one from abroad without its plus: write the plus"


def read(numbers: Numbers, *texts: str, countries: list[str] | None = None) -> list[int | str]:
    columns = {"phone": list(texts)} | ({} if countries is None else {"land": countries})
    return numbers.read(Chunk(rows=list(range(len(texts))), lines=[], columns=columns))


@pytest.mark.parametrize(
    ("text", "country", "number", "repair"),
    [
        ("12025550123.0", None, US, Repair.DECIMALS),
        ("12025550123,00", None, US, Repair.DECIMALS),
        ("+12025550123.0", None, US, Repair.DECIMALS),
        (" '12025550123.00 ", None, US, Repair.DECIMALS),
        ("12,025,550,123", None, US, Repair.DECIMALS),
        ("2,025,550,123.00", "US", US, Repair.DECIMALS),
        ("2079460958.0", "GB", GB, Repair.DECIMALS),
        ("1.2025550123E+10", None, US, Repair.SCIENTIFIC),
        ("1,2025550123e10", "US", US, Repair.SCIENTIFIC),
        ("1.20255501230E+10", None, US, Repair.SCIENTIFIC),
        ("+1.2025550123E+10", "AU", US, Repair.SCIENTIFIC),
        ("4.91570156E+08", "AU", AU, Repair.SCIENTIFIC),
        ("491570156", "AU", AU, Repair.ZERO),
        ("2079460958", "GB", GB, Repair.ZERO),
        ("12025550123", "AU", US, Repair.PLUS),
        ("12025550123", "FR", US, Repair.PLUS),
        ("442079460958.0", "AU", GB, Repair.PLUS),
        ("442079460958", "US", GB, Repair.PLUS),
    ],
)
def test_a_certain_repair_is_made_and_counted(text: str, country: str | None, number: int, repair: Repair) -> None:
    numbers = Numbers(phone_column="phone", country=country)
    assert read(numbers, text) == [number]
    assert numbers.repaired == {repair: 1}
    assert numbers.notes == [f"1 number repaired: {repair} (1)"]


@pytest.mark.parametrize(
    ("text", "country", "reason"),
    [
        ("2.78E+10", "ZA", LOST),
        ("2,78201E+10", None, LOST),
        ("1.202555012E+10", None, LOST),
        ("-1.2025550123E+10", None, LOST),
        ("1E+10", "US", LOST),
        ("4.4770089e+11", None, LOST),
        ("1.20255501235E+10", None, "a number with a fraction"),
        ("12025550123.5", "US", "a number with a fraction"),
        ("12025550123,25", "US", "a number with a fraction"),
        ("2025550123.123", "US", "a number with a fraction"),
        # A number of the country with one digit too many is not somebody's in Egypt or Australia.
        ("20255501234", "US", AMBIGUOUS),
        ("61491570156", "US", AMBIGUOUS),
        ("491570156", None, "no country code: give --country"),
        ("491570156.0", None, "no country code: give --country"),
        ("4915701567890123", "AU", "too long for AU"),
        ("", "US", "empty"),
        ("n/a", "US", "not a number"),
    ],
)
def test_what_is_not_certain_is_refused_with_the_reason(text: str, country: str | None, reason: str) -> None:
    numbers = Numbers(phone_column="phone", country=country)
    assert read(numbers, text) == [reason]
    assert numbers.notes == []


@pytest.mark.parametrize(
    ("text", "country"),
    [
        ("+12025550123", "AU"),
        ("12025550123", None),
        ("12025550123", "US"),
        ("202.555.0123", "US"),
        ("2025550123", "US"),
        ("0491570156", "AU"),
        ("61491570156", "AU"),
        ("0491 570 156", "AU"),
        ("491 570 156", "AU"),
    ],
)
def test_what_is_a_notation_is_no_repair(text: str, country: str | None) -> None:
    numbers = Numbers(phone_column="phone", country=country)
    assert read(numbers, text) in ([US], [AU])
    assert numbers.many_repaired == 0


@given(st.integers(7, 15).flatmap(lambda many: st.text("0123456789", min_size=many, max_size=many)))
def test_whatever_is_repaired_is_the_number_with_a_plus_or_a_zero_before_it(digits: str) -> None:
    numbers = Numbers(phone_column="phone", country="AU")
    [found] = read(numbers, digits)
    if isinstance(found, int):
        assert found in normalise_column([f"+{digits}", f"0{digits}", digits], "AU")
    try:
        assert normalise(digits, "AU") == found
    except InvalidNumber:
        assert isinstance(found, str) or numbers.many_repaired == 1


# --- Countries by row ---------------------------------------------------------------------------------------


def test_each_row_is_read_by_its_own_country() -> None:
    numbers = Numbers(phone_column="phone", country_column="land")
    texts = ["2025550123", "0491570156", "020 7946 0958", "020 7946 0959", "0491570157", "+12025550124", "2025550125"]
    found = read(numbers, *texts, countries=["US", " au ", "GB", "uk", "", "XX", "XX"])
    assert found == [
        US,
        AU,
        GB,
        GB + 1,
        "no country code, and land is empty: fill it in, or give --country",
        US + 1,
        "no country code, and land has none that is known: write two letters, such as ZA",
    ]
    assert numbers.notes == ["2 rows have an unknown country (XX): only numbers with a plus are read there"]


def test_a_row_without_a_country_is_read_by_that_of_the_list() -> None:
    numbers = Numbers(phone_column="phone", country="AU", country_column="land")
    assert read(numbers, "0491570156", "0491570157", "2025550123", countries=["", "Oz", "US"]) == [AU, AU + 1, US]
    assert numbers.notes == ["1 row has an unknown country (Oz): read as AU"]


def test_a_column_that_is_no_countrys_takes_no_memory() -> None:
    numbers = Numbers(phone_column="phone", country_column="land")
    read(numbers, *["+12025550123"] * 500, countries=[f"x{at}" for at in range(500)])
    assert sum(numbers.unknown.values()) == 500
    assert len(numbers.unknown) <= 101


# --- The column of the numbers ------------------------------------------------------------------------------

GOOD = ["+12025550123", "", "(202) 555-0124", "2.0255E+09"]


def choosing(**columns: list[str]) -> tuple[list[str], Callable[[], Chunk]]:
    return list(columns), lambda: Chunk(rows=[], lines=[], columns=columns)


@pytest.mark.parametrize(
    "name",
    [
        *("Mobile", "mobile", "MOBILE", "Cell", "cell_no", "CellNumber", "cell phone", "Phone Number", "phone2"),
        *("MSISDN", "Telephone", "Tel", "tel.", "Téléphone", "teléfono", "Customer mobile", "PhoneNo", "WhatsApp"),
        *("Number", "Contact number", "Handynummer", "SMS"),
    ],
)
def test_the_one_obvious_column_is_found(name: str) -> None:
    header, first = choosing(id=["1"] * 4, **{name: GOOD}, account_number=GOOD, email=["a@example.com"] * 4)
    assert choose_phone_column(header, first) == name


def test_phone_comes_first_and_is_not_looked_at() -> None:
    header = ["Mobile", "Phone"]
    assert choose_phone_column(header, lambda: pytest.fail("not needed")) == "Phone"
    assert choose_phone_column(["phone", "Phone"], lambda: pytest.fail("not needed")) == "phone"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"mobile": GOOD, "cell": GOOD}, "the numbers may be in any of mobile, cell: say which with --phone-column"),
        ({"Home phone": GOOD, "Work phone": ["", "", "", GOOD[0]]}, "any of Home phone, Work phone"),
        ({"number": GOOD, "contact": GOOD}, "any of number, contact"),
        (
            {"a": ["x"], "mobile": ["yes"]},
            "no column is surely that of the numbers: say which with --phone-column. Its",
        ),
        ({"account number": GOOD}, "is it account number"),
        ({"hotel": GOOD, "excellent": GOOD, "cancelled": GOOD}, "is it hotel"),
        ({"mobile": ["", ""]}, "no column is surely"),
    ],
)
def test_it_is_never_guessed_between_two(columns: dict[str, list[str]], message: str) -> None:
    header, first = choosing(**columns)
    with pytest.raises(InputError) as error:
        choose_phone_column(header, first)
    assert message in str(error.value)
    assert find_phone_column(header[0], header) == header[0]


def test_a_column_of_remarks_about_numbers_is_none_of_numbers() -> None:
    header, first = choosing(
        mobile=GOOD, mobile_network=["blue"] * 4, phone_type=["cell"] * 4, sms=["1", "0", "", "1"]
    )
    assert choose_phone_column(header, first) == "mobile"


def test_looking_at_the_first_rows_leaves_them_to_be_read() -> None:
    with open_recipients(io.BytesIO(b"a,b\n1,2\n3,4\n")) as opened:
        assert opened.first() is opened.first()
        [chunk] = list(opened)
        assert chunk.columns == {"a": ["1", "3"], "b": ["2", "4"]}
