"""Where the holder of a number may be. All numbers are of ranges that are kept for fiction."""

from datetime import UTC, datetime

import phonenumbers
import pytest

from dispatcher.hours import Place
from dispatcher.zones import Places, available_zones, clock_changes

NOW = datetime(2026, 11, 20, 19, 0, tzinfo=UTC)


def place(number: int, *, by_country: bool = False) -> Place | None:
    return Places(by_country=by_country, now=NOW).of(number)


@pytest.mark.parametrize(
    ("number", "zones"),
    [
        (1_202_555_0100, ("America/New_York",)),
        (1_312_555_0100, ("America/Chicago",)),
        (1_213_555_0100, ("America/Los_Angeles",)),
        (1_808_555_0100, ("Pacific/Honolulu",)),
        (1_671_555_0100, ("Pacific/Guam",)),
        (1_416_555_0100, ("America/Toronto",)),
        (44_20_7946_0100, ("Europe/London",)),
        (353_20_913_1234, ("Europe/Dublin",)),
    ],
)
def test_the_country_or_the_area_code_tells_the_zone(number: int, zones: tuple[str, ...]) -> None:
    assert place(number) == Place(zones=zones)


def test_a_number_that_does_not_tell_its_region_may_be_in_any_zone_of_its_country() -> None:
    australian = place(61_491_570_006)
    assert australian is not None
    assert {"Australia/Perth", "Australia/Sydney", "Australia/Adelaide"} <= set(australian.zones)
    toll_free = place(1_800_555_0100)
    assert toll_free is not None
    assert {"America/New_York", "Pacific/Honolulu"} <= set(toll_free.zones)
    assert "America/Toronto" not in toll_free.zones, "of its country, not of all that share the calling code"


def test_zones_of_one_country_whose_clocks_agree_are_one() -> None:
    places = Places(by_country=False, now=NOW)
    assert places.of(1_202_555_0100) == places.of(1_313_555_0100), "Detroit's clock is New York's"
    assert places.of(1_202_555_0100) != places.of(1_602_555_0100), "Arizona does not put its clock forward"
    assert clock_changes("America/Detroit", NOW) == clock_changes("America/New_York", NOW)


def test_where_holidays_count_countries_are_told_apart() -> None:
    places = Places(by_country=True, now=NOW)
    american, canadian = places.of(1_202_555_0100), places.of(1_416_555_0100)
    assert american == Place(zones=("America/New_York",), country="US")
    assert canadian == Place(zones=("America/Toronto",), country="CA")


def test_a_number_of_no_country_is_nowhere() -> None:
    assert place(870_773_111_632) is None


def test_every_country_has_a_place_and_its_zones_are_known() -> None:
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        number = phonenumbers.example_number(region)
        if number is None:
            continue
        found = place(int(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:]))
        assert found is not None, region
        assert set(found.zones) <= available_zones()
