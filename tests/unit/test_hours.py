"""Windows of local time, across midnight, holidays and changes of the clock."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dispatcher.hours import (
    Hours,
    LocalHours,
    Place,
    as_rules,
    from_rules,
    parse_days,
    parse_place,
    parse_window,
)

JOHANNESBURG = Place(zones=("Africa/Johannesburg",))
BY_DAY = Hours(opens=9 * 60, closes=19 * 60)
MINUTE = timedelta(minutes=1)

# Around these, clocks are put forward or back: by an hour, at midnight, by half an hour, and by a whole day.
CHANGES = [
    ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    ("Europe/London", datetime(2027, 3, 28, 1, tzinfo=UTC)),
    ("Africa/Cairo", datetime(2026, 4, 23, 22, tzinfo=UTC)),
    ("Asia/Beirut", datetime(2026, 3, 28, 22, tzinfo=UTC)),
    ("America/Santiago", datetime(2026, 9, 6, 4, tzinfo=UTC)),
    ("America/Santiago", datetime(2026, 4, 5, 3, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Africa/Casablanca", datetime(2026, 2, 15, 2, tzinfo=UTC)),
    ("Asia/Kathmandu", datetime(2026, 6, 1, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
]


def hours(hours: Hours, *zones: str, country: str | None = None) -> LocalHours:
    return LocalHours(hours=hours, place=Place(zones=zones, country=country))


def by_the_clock(wanted: Hours, zone: str, at: datetime) -> bool:
    """Whether the window is open, put as plainly as can be; without holidays."""
    local = at.astimezone(ZoneInfo(zone))
    minute = local.hour * 60 + local.minute
    begun = local.date()
    if wanted.opens < wanted.closes:
        inside = wanted.opens <= minute < wanted.closes
    else:
        inside = minute >= wanted.opens or minute < wanted.closes
        if minute < wanted.closes:
            begun -= timedelta(days=1)
    return inside and begun.weekday() in wanted.days


@st.composite
def some_hours(draw: st.DrawFn) -> Hours:
    opens = draw(st.integers(0, 24 * 60 - 1))
    closes = draw(st.integers(1, 24 * 60).filter(lambda minute: minute != opens))
    days = draw(st.frozensets(st.integers(0, 6), min_size=1))
    return Hours(opens=opens, closes=closes, days=days)


@settings(max_examples=150, deadline=None)
@given(wanted=some_hours(), change=st.sampled_from(CHANGES), before=st.integers(0, 30 * 60))
def test_stretches_are_the_minutes_that_the_clock_allows_also_where_it_is_changed(
    wanted: Hours, change: tuple[str, datetime], before: int
) -> None:
    zone, moment = change
    begin = moment - timedelta(minutes=before)
    end = begin + timedelta(hours=40)
    expected = {
        begin + minute * MINUTE for minute in range(40 * 60) if by_the_clock(wanted, zone, begin + minute * MINUTE)
    }
    found: set[datetime] = set()
    for stretch in hours(wanted, zone).stretches(begin):
        assert stretch.begin < stretch.end
        if stretch.begin >= end:
            break
        at = stretch.begin
        assert not found or at > max(found)
        while at < min(stretch.end, end):
            found.add(at)
            at += MINUTE
    assert found == expected


@settings(max_examples=60, deadline=None)
@given(
    wanted=some_hours(),
    zones=st.lists(st.sampled_from([zone for zone, _ in CHANGES[:9]]), min_size=2, max_size=4, unique=True),
    at=st.integers(0, 300 * 24 * 60).map(lambda minutes: datetime(2026, 2, 1, tzinfo=UTC) + minutes * MINUTE),
)
def test_of_several_zones_all_must_be_open_and_no_earlier_moment_would_do(
    wanted: Hours, zones: list[str], at: datetime
) -> None:
    both = hours(wanted, *zones)
    found = both.stretch(at)
    assume(found is None or found.begin - at < timedelta(days=3))
    open_at = found.begin if found is not None else at + timedelta(days=3)
    if found is not None:
        assert all(by_the_clock(wanted, zone, found.begin) for zone in zones)
    minute = at
    while minute < open_at:
        assert not all(by_the_clock(wanted, zone, minute) for zone in zones)
        minute += 7 * MINUTE


@pytest.mark.parametrize(
    ("at", "begins", "ends"),
    [
        ("2026-12-01T06:59:59+00:00", "2026-12-01T07:00:00+00:00", "2026-12-01T17:00:00+00:00"),
        ("2026-12-01T07:00:00+00:00", "2026-12-01T07:00:00+00:00", "2026-12-01T17:00:00+00:00"),
        ("2026-12-01T16:59:59.5+00:00", "2026-12-01T16:59:59.5+00:00", "2026-12-01T17:00:00+00:00"),
        ("2026-12-01T17:00:00+00:00", "2026-12-02T07:00:00+00:00", "2026-12-02T17:00:00+00:00"),
    ],
)
def test_a_window_is_open_from_its_first_moment_to_before_its_last(at: str, begins: str, ends: str) -> None:
    found = LocalHours(hours=BY_DAY, place=JOHANNESBURG).stretch(datetime.fromisoformat(at))
    assert found is not None
    assert (found.begin, found.end) == (datetime.fromisoformat(begins), datetime.fromisoformat(ends))


def test_an_hour_that_the_clock_leaves_out_opens_when_it_has_been_put_forward() -> None:
    night = hours(Hours(opens=2 * 60 + 30, closes=5 * 60), "America/New_York")
    found = night.stretch(datetime(2026, 3, 8, 5, tzinfo=UTC))
    assert found is not None
    assert night.local(found.begin).isoformat() == "2026-03-08T03:00:00-04:00"


def test_saturday_night_belongs_to_saturday_also_after_midnight() -> None:
    evening = hours(Hours(opens=20 * 60, closes=2 * 60, days=parse_days("sat")), "Africa/Johannesburg")
    sunday_one = datetime(2026, 12, 5, 23, tzinfo=UTC)  # 01:00 on Sunday
    assert evening.is_open(sunday_one)
    assert not evening.is_open(sunday_one - timedelta(days=1))
    assert not evening.is_open(sunday_one + timedelta(hours=1))


def test_public_holidays_of_the_country_are_left_out_and_of_no_other() -> None:
    christmas = datetime(2026, 12, 25, 10, tzinfo=UTC)
    quiet = Hours(opens=9 * 60, closes=19 * 60, skip_holidays=True)
    assert not hours(quiet, "Africa/Johannesburg", country="ZA").is_open(christmas)
    assert hours(quiet, "Africa/Johannesburg", country="ZA").is_open(christmas - timedelta(days=1))
    assert hours(quiet, "Asia/Shanghai", country="CN").is_open(christmas.replace(hour=3))
    assert hours(quiet, "Europe/London", country="XX").is_open(christmas), "nobody lists its holidays"
    found = hours(quiet, "Africa/Johannesburg", country="ZA").stretch(christmas)
    assert found is not None
    assert found.begin == datetime(2026, 12, 27, 7, tzinfo=UTC), "Boxing Day is one, too"


def test_at_any_hour_is_always_open() -> None:
    always = hours(Hours(), "America/New_York")
    at = datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC)
    stretches = always.stretches(at)
    for _ in range(5):
        found = next(stretches)
        assert found.begin == at
        at = found.end


def test_zones_without_a_common_hour_never_open() -> None:
    far = hours(BY_DAY, "Europe/Kaliningrad", "Asia/Kamchatka")
    assert far.stretch(datetime(2026, 12, 1, tzinfo=UTC)) is None
    assert list(far.stretches(datetime(2026, 12, 1, tzinfo=UTC))) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("09:00-19:00", (540, 1140)),
        (" 9:30 - 20:15 ", (570, 1215)),
        ("20:00-02:00", (1200, 120)),
        ("00:00-24:00", (0, 1440)),
        ("18:00-00:00", (1080, 1440)),
    ],
)
def test_windows_are_read(text: str, found: tuple[int, int]) -> None:
    assert parse_window(text) == found


@pytest.mark.parametrize("text", ["", "9-19", "09:00", "09:00-25:00", "09:60-10:00", "24:00-09:00", "09:00-09:00"])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="09:00-19:00"):
        parse_window(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [("mon-sat", {0, 1, 2, 3, 4, 5}), ("Mon, WED,friday", {0, 2, 4}), ("fri-mon", {4, 5, 6, 0}), ("sun", {6})],
)
def test_days_are_read(text: str, found: set[int]) -> None:
    assert parse_days(text) == found


@pytest.mark.parametrize("text", ["", "mon-", "weekdays", "mon-xyz", "mon,,tue"])
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="mon-sat"):
        parse_days(text)


@given(wanted=some_hours(), skip=st.booleans())
def test_hours_are_kept_with_a_campaign_and_read_back(wanted: Hours, skip: bool) -> None:
    kept = Hours(opens=wanted.opens, closes=wanted.closes, days=wanted.days, skip_holidays=skip)
    assert from_rules(as_rules(kept)) == kept
    assert from_rules({}) is None


@pytest.mark.parametrize("place", [JOHANNESBURG, Place(zones=("A/B", "C/D"), country="ZA")])
def test_a_place_is_kept_with_a_batch_and_read_back(place: Place) -> None:
    assert parse_place(str(place)) == place
