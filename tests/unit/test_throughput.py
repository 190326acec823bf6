"""The reservation script on a fake Redis and a clock that only tests move."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import fakeredis
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.errors import SettingsError, ThroughputUnavailable
from dispatcher.throughput import MARGIN, Limits, Permit, Throughput
from dispatcher.throughput.client import _RedisClock

HELD = 2 + MARGIN  # what the first use of an account waits: a second of bookings, a window and the margin
EPSILON = 1e-5


@dataclass
class World:
    """One account on one fake Redis."""

    now: float = 1_000_000.0
    redis: fakeredis.FakeRedis = field(default_factory=fakeredis.FakeRedis)
    throughput: Throughput = field(init=False)

    def __post_init__(self) -> None:
        self.throughput = self.worker()

    def worker(self) -> Throughput:
        clock: Callable[[], float] = lambda: self.now  # noqa: E731
        return Throughput(self.redis, server="fake", monotonic=clock, redis_now=clock)

    def settle(self, limits: Limits) -> None:
        """Get the first hold over with."""
        self.throughput.wait("main", limits)
        window = 1 / min(1, limits.requests_per_second or 1, limits.segments_per_second or 1)
        self.now += 1 + 3 * (window + MARGIN)

    def reserve(self, limits: Limits, **asked: float) -> Permit:
        return self.throughput.reserve("main", limits, **asked)  # type: ignore[arg-type]


@pytest.fixture
def world() -> World:
    return World()


def rate(requests: float | None = None, segments: float | None = None, **more: float) -> Limits:
    return Limits(requests_per_second=requests, segments_per_second=segments, **more)


def peak(sends: list[tuple[float, int]], window: float = 1.0) -> int:
    """Return the most units in any half-open window."""
    sends = sorted(sends)
    most = units = first = 0
    for at, cost in sends:
        units += cost
        while sends[first][0] <= at - window + EPSILON:
            units -= sends[first][1]
            first += 1
        most = max(most, units)
    return most


# --- The limit ----------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    requests=st.sampled_from([None, 1, 3, 10, 37.5]),
    segments=st.sampled_from([None, 20, 100, 333]),
    busy=st.sampled_from([0.2, 1, 4]),
)
def test_no_rolling_second_holds_more_than_the_limit(seed, requests, segments, busy):
    world, chance, limits = World(), random.Random(seed), rate(requests, segments)
    sends: list[tuple[float, int]] = []
    texts: list[tuple[float, int]] = []
    booked: list[float] = []
    for _ in range(150):
        world.now += chance.expovariate((requests or 20) * busy)
        lookup = chance.random() < 0.2
        cost = 0 if lookup else chance.randint(1, min(20, segments or 20))
        permit = world.reserve(limits, segments=cost, lookup=lookup, max_wait=chance.choice([0, 0.3, 1]))
        if not permit.granted:
            assert permit.wait > 0
            continue
        assert permit.wait >= 0
        booked.append(permit.send_at())
        late = chance.choice([0, MARGIN, MARGIN * chance.random()])
        assert not permit.late(permit.send_at() + late - EPSILON)
        sends.append((permit.send_at() + late, 1))
        texts.append((permit.send_at() + late, cost))
    if requests:
        assert peak(sends) <= requests
        assert all(later >= earlier - EPSILON for earlier, later in pairwise(booked))
    if segments:
        assert peak(texts) <= segments


@pytest.mark.parametrize("costs", [(1, 1), (1, 20), (7, 33)])
def test_a_backlog_uses_the_whole_limit(world, costs):
    limits, chance = rate(None, 100), random.Random(1)
    world.settle(limits)
    start, used = world.now, 0
    while world.now < start + 10:
        cost = chance.randint(*costs)
        while not (permit := world.reserve(limits, segments=cost)).granted:
            world.now += permit.wait
        used += cost
        world.now = max(world.now, permit.send_at() - 0.5)
    # What cannot be used is the margin, and in each window the room that the next cost does not fit into.
    assert used >= 0.98 * 100 * 10 * (1 - (costs[1] - 1) / 2 / 100)


def test_a_window_is_used_at_once_and_the_next_one_margin_later(world):
    limits = rate(10)
    world.settle(limits)
    waits = [world.reserve(limits, max_wait=3).wait for _ in range(21)]
    assert waits == pytest.approx([0] * 10 + [1 + MARGIN] * 10 + [2 * (1 + MARGIN)])


def test_a_wait_over_the_longest_reserves_nothing(world):
    limits = rate(10, 100)
    world.settle(limits)
    assert world.reserve(limits, requests=9, segments=90).granted
    refused = world.reserve(limits, requests=1, segments=11, max_wait=0.5)
    assert not refused.granted
    assert refused.wait == pytest.approx(1 + MARGIN)
    assert world.reserve(limits, requests=1, segments=10, max_wait=0) == Permit(
        granted=True, wait=0, asked_at=world.now
    )


def test_asking_how_long_reserves_nothing(world):
    limits = rate(1, 100)
    world.settle(limits)
    assert [world.throughput.wait("main", limits, segments=80) for _ in range(3)] == [0, 0, 0]
    world.reserve(limits, segments=80)
    assert world.throughput.wait("main", limits, segments=80) == pytest.approx(1 + MARGIN)


def test_accounts_do_not_share_a_limit(world):
    limits = rate(1)
    for account in ("main", "other"):
        world.throughput.wait(account, limits)
    world.now += 4
    assert world.throughput.reserve("main", limits).wait == 0
    assert world.throughput.reserve("other", limits).wait == 0


def test_workers_share_a_limit(world):
    limits = rate(2)
    world.settle(limits)
    answers = [world.worker().reserve("main", limits, max_wait=0).granted for _ in range(3)]
    assert answers == [True, True, False]


def test_a_new_limit_holds_because_nothing_was_logged_for_it(world):
    world.settle(rate(100))
    assert world.reserve(rate(100)).wait == 0
    assert world.reserve(rate(100, 50), segments=1).wait == pytest.approx(HELD)


def test_no_limits_are_no_wait_and_never_late(world):
    permits = [world.reserve(rate(), segments=50) for _ in range(100)]
    assert {(permit.granted, permit.wait) for permit in permits} == {(True, 0.0)}
    assert not permits[0].late(world.now + 3600)


def test_lead_is_time_to_get_ready(world):
    limits = rate(10)
    world.settle(limits)
    assert world.reserve(limits, lead=0.05).wait == pytest.approx(0.05)
    assert world.reserve(limits).wait == pytest.approx(0.05)


# --- Odd sizes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cost", [150, 1000])
def test_a_cost_over_the_limit_is_paid_off_before_the_next(world, cost):
    limits = rate(None, 100)
    world.settle(limits)
    assert world.reserve(limits, segments=1).wait == 0
    big = world.reserve(limits, segments=cost, max_wait=2)
    assert big.granted
    assert big.wait == pytest.approx(1 + MARGIN)  # alone: nothing within a window before
    world.now = big.send_at()
    assert world.throughput.wait("main", limits) == pytest.approx(cost / 100 + MARGIN)
    world.now += cost / 100 + MARGIN
    assert [world.reserve(limits, segments=50).wait for _ in range(2)] == [0, 0]


def test_costs_over_the_limit_keep_to_it_on_average(world):
    limits, used = rate(None, 100), 0
    world.settle(limits)
    start = world.now
    while world.now < start + 60:
        permit = world.reserve(limits, segments=250)
        world.now += permit.wait
        used += 250 * permit.granted
    assert 0.95 * 6000 <= used <= 6000 + 250


def test_limits_below_one_a_second_are_one_in_a_longer_window(world):
    limits = rate(0.5)
    world.settle(limits)
    times = []
    for _ in range(5):
        while not (permit := world.reserve(limits)).granted:
            world.now += permit.wait
        times.append(permit.send_at())
        world.now = permit.send_at()
    assert [later - earlier for earlier, later in pairwise(times)] == pytest.approx([2 + MARGIN] * 4)


@pytest.mark.parametrize("wrong", [{"requests": 0}, {"segments": -1}, {"lookup_share": 0}, {"lookup_share": 2}])
def test_limits_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="more than 0"):
        rate(**wrong)


# --- Look-ups -----------------------------------------------------------------------------------------------


def backlog(world: World, limits: Limits, until: float) -> int:
    """Book for submissions as far ahead as they may."""
    count = 0
    while world.now <= until and world.reserve(limits, segments=1).granted:
        count += 1
    return count


def test_look_ups_take_no_more_than_their_share(world):
    limits = rate(10, lookup_share=0.2)
    world.settle(limits)
    looks = [world.reserve(limits, lookup=True) for _ in range(4)]
    assert [look.granted for look in looks] == [True, True, False, False]
    assert looks[2].wait == pytest.approx(1 + MARGIN)
    assert backlog(world, limits, world.now) == 8  # and they count in the total


@pytest.mark.parametrize("requests", [1, 2, 10, 100])
def test_look_ups_get_their_share_of_a_backlog_and_submissions_the_rest(world, requests):
    limits = rate(requests, lookup_share=0.2)
    world.settle(limits)
    start, sends, looks = world.now, 0, 0
    seconds = 30 if requests < 100 else 10
    while world.now < start + seconds:
        sends += backlog(world, limits, world.now)
        if (look := world.reserve(limits, lookup=True)).granted:
            looks += 1
        assert look.granted or look.wait > 0
        world.now += min(0.2, 2 / requests)
    # The last of them are booked for up to two seconds after the end.
    assert 0.9 * 0.2 * requests * seconds - 1 <= looks <= 0.2 * requests * (seconds + 2) + 1
    assert sends >= 0.77 * requests * seconds
    assert sends + looks <= requests * (seconds + 2) + 1


def test_one_look_up_is_granted_behind_any_backlog(world):
    limits = rate(10)
    world.settle(limits)
    for _ in range(3):
        backlog(world, limits, world.now)
        world.now += 0.4
    backlog(world, limits, world.now)
    look = world.reserve(limits, lookup=True)
    assert look.granted
    assert look.wait <= 1 + 1 + 2 * MARGIN


def test_look_ups_do_not_wait_for_segments(world):
    limits = rate(10, 10)
    world.settle(limits)
    world.reserve(limits, segments=100)
    assert world.throughput.wait("main", limits) > 9
    assert world.reserve(limits, lookup=True).wait == 0


# --- Throttled ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [rate(10), rate()])
def test_a_429_pauses_everyone(world, limits):
    world.settle(limits)
    world.throughput.throttled("main", retry_after=7)
    for lookup in (False, True):
        permit = world.worker().reserve("main", limits, lookup=lookup)
        assert (permit.granted, permit.wait) == (False, pytest.approx(7))
    assert world.throughput.state("main", limits).paused_for == pytest.approx(7)
    world.now += 7
    assert world.reserve(limits).wait == 0


@pytest.mark.parametrize("unknown", [None, float("nan"), float("inf")])
def test_without_retry_after_the_pause_doubles(world, unknown):
    pauses = []
    for _ in range(8):
        world.throughput.throttled("main", retry_after=unknown)
        pauses.append(world.throughput.state("main", rate()).paused_for)
        world.now += max(1.0, pauses[-1])
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60])
    world.now += 61
    world.throughput.throttled("main", retry_after=None)
    assert world.throughput.state("main", rate()).paused_for == pytest.approx(1)


def test_retry_after_is_believed_up_to_an_hour(world):
    world.throughput.throttled("main", retry_after=1_800_000_000)
    assert world.throughput.state("main", rate()).paused_for == 3600


def test_the_factor_falls_with_each_429_and_climbs_back_in_steps(world):
    limits = rate(100)
    world.settle(limits)

    def factor() -> float:
        return world.throughput.state("main", limits).factor

    world.throughput.throttled("main", retry_after=2)
    for _ in range(15):  # the calls that were under way
        world.throughput.throttled("main", retry_after=2)
    assert factor() == pytest.approx(0.7)
    world.now += 2
    assert backlog(world, limits, world.now) == 70
    world.throughput.throttled("main", retry_after=2)
    assert factor() == pytest.approx(0.49)
    seen = []
    world.now += 2
    for _ in range(12):
        world.now += 10
        seen.append(factor())
    assert seen == pytest.approx([min(1, 0.49 + 0.05 * step) for step in range(1, 13)])
    assert backlog(world, limits, world.now) == 100


def test_the_factor_has_a_floor(world):
    for _ in range(20):
        world.throughput.throttled("main", retry_after=1)
        world.now += 1
    assert world.throughput.state("main", rate()).factor == pytest.approx(0.1)


# --- What Redis may lose ------------------------------------------------------------------------------------


def test_first_use_is_held(world):
    first = world.reserve(rate(10))
    assert (first.granted, first.wait) == (False, pytest.approx(HELD))
    world.now += HELD
    assert world.reserve(rate(10)).wait == 0


def lose_everything(world: World) -> None:
    world.redis.flushall()


def lose_the_log(world: World) -> None:
    world.redis.delete("dispatcher:{main}:requests")


def run_anew(world: World) -> None:
    world.redis.hset("dispatcher:{main}:state", "run", "the run before")


def set_the_clock_back(world: World) -> None:
    world.now -= 3600


@pytest.mark.parametrize("happening", [lose_everything, lose_the_log, run_anew, set_the_clock_back])
def test_what_may_be_lost_is_held_for(world, happening):
    limits = rate(10)
    world.settle(limits)
    backlog(world, limits, world.now)
    happening(world)
    after = world.reserve(limits)
    assert (after.granted, after.wait) == (False, pytest.approx(HELD))
    world.now += HELD
    assert world.reserve(limits).wait == 0


def test_a_pause_outlives_a_restart_and_a_clock_set_back(world):
    world.throughput.throttled("main", retry_after=60)
    world.throughput.wait("main", rate())
    run_anew(world)
    assert world.throughput.wait("main", rate()) == pytest.approx(60)
    set_the_clock_back(world)
    assert world.throughput.wait("main", rate()) == pytest.approx(60)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), requests=st.sampled_from([1, 5, 20]))
def test_permits_still_out_when_redis_loses_all_do_not_break_the_limit(seed, requests):
    world, chance, limits = World(), random.Random(seed), rate(requests)
    world.settle(limits)
    sends = []
    loss = chance.randrange(20, 100)
    for step in range(150):
        if step == loss:
            world.redis.flushall()
        permit = world.reserve(limits, lookup=chance.random() < 0.4)
        if permit.granted:
            sends.append((permit.send_at() + MARGIN * chance.random(), 1))
        else:
            world.now += chance.random() * permit.wait
    assert peak(sends) <= requests


def test_logs_stay_small_and_every_key_expires(world):
    limits = rate(50, 100)
    world.settle(limits)
    for _ in range(400):
        world.now += world.reserve(limits, segments=1, lookup=world.now % 1 < 0.2).wait
    keys = {key.decode() for key in world.redis.scan_iter("*")}
    assert keys == {f"dispatcher:{{main}}:{name}" for name in ("state", "requests", "segments", "lookups")}
    assert all(world.redis.ttl(key) > 24 * 3600 for key in keys)
    assert world.redis.zcard("dispatcher:{main}:requests") <= 2.2 * 50


def test_state_counts_the_last_second(world):
    limits = rate(50, 100)
    world.settle(limits)
    for _ in range(3):
        world.reserve(limits, segments=20)
    world.now += 0.5
    state = world.throughput.state("main", limits)
    assert (state.requests, state.segments, state.wait, state.paused_for, state.factor) == (3, 60, 0, 0, 1)
    world.now += 1
    assert world.throughput.state("main", limits).segments == 0


# --- Clocks and outages -------------------------------------------------------------------------------------


def test_a_slow_answer_never_sends_early_and_shortens_the_permit():
    clock = _RedisClock()
    low, high = clock.learn(asked=10.0, answered=10.002, redis_now=500.001)
    assert (low, high) == pytest.approx((489.999, 490.001), abs=1e-6)
    permit = Permit(granted=True, wait=0.5, asked_at=500.001 - low, spare=MARGIN - (high - low))
    assert permit.send_at() == pytest.approx(10.502)  # counted from the arrival of the answer
    assert not permit.late(10.5 + MARGIN - 0.001)
    assert permit.late(10.5 + MARGIN + 0.001)  # counted from the question


def test_the_quickest_answer_of_late_serves_the_slow_ones():
    clock = _RedisClock()
    clock.learn(asked=10.0, answered=10.0002, redis_now=500.0001)
    low, high = clock.learn(asked=11.0, answered=11.05, redis_now=501.02)
    assert high - low < 0.003
    low, high = clock.learn(asked=12.0, answered=12.001, redis_now=700.0)  # a clock was set
    assert (low, high) == pytest.approx((687.999, 688.0))


def test_a_server_far_away_gets_longer_margins_instead_of_permits_that_are_always_late(world):
    limits = rate(10)
    world.settle(limits)
    far = Throughput(
        world.redis,
        server="far",
        monotonic=iter([0.0, 0.03, 1.0, 1.03]).__next__,
        redis_now=lambda: world.now,
    )
    first, second = far.reserve("main", limits), far.reserve("main", limits)
    assert first.send_at() >= 0.03  # the answer's arrival: Redis cannot have read its clock later
    assert first.late(first.send_at())
    assert not second.late(second.send_at() + MARGIN / 2)


@pytest.mark.parametrize(
    "url", ["redis://me:s3cret@127.0.0.1:1/0", "redis://127.0.0.1:1/0?password=s3cret", "unix://me:s3cret@/nowhere/s"]
)
def test_without_redis_nothing_is_granted_and_no_password_told(url):
    throughput = Throughput.connect(url)
    calls: list[Callable[[], object]] = [
        lambda: throughput.reserve("main", rate(10)),
        lambda: throughput.reserve("main", rate()),
        lambda: throughput.wait("main", rate(10)),
        lambda: throughput.throttled("main", retry_after=1),
        lambda: throughput.state("main", rate(10)),
        throughput.ping,
    ]
    for call in calls:
        with pytest.raises(ThroughputUnavailable) as caught:
            call()
        for text in (str(caught.value), repr(caught.value), repr(throughput), repr(caught.value.__cause__)):
            assert "s3cret" not in text
        assert "nothing is sent" in str(caught.value)
    assert "127.0.0.1:1" in repr(throughput) or "/nowhere/s" in repr(throughput)
    throughput.close()


def test_an_error_of_redis_is_unavailability_too(world):
    world.redis.set("dispatcher:{main}:state", "not a hash")
    with pytest.raises(ThroughputUnavailable, match="WRONGTYPE"):
        world.reserve(rate(10))


@pytest.mark.parametrize("url", ["", "localhost:6379", "http://me:s3cret@host", "redis://:s3/cret@host"])
def test_a_url_that_is_no_redis_is_a_settings_error(url):
    with pytest.raises(SettingsError, match="DISPATCHER_REDIS_URL") as caught:
        Throughput.connect(url)
    assert "s3" not in str(caught.value)


def test_the_timeouts_are_set():
    connection = Throughput.connect("redis://host")._client.connection_pool.make_connection()
    assert (connection.socket_timeout, connection.socket_connect_timeout) == (5, 3)
    assert isinstance(connection, redis.Connection)


def test_a_burst_is_spread_over_its_second_and_uses_all_of_it(world):
    even = Throughput(
        world.redis, server="fake", monotonic=lambda: world.now, redis_now=lambda: world.now, spread=0.9
    )
    limits = rate(10)
    world.settle(limits)
    waits = [even.reserve("main", limits, max_wait=5).wait for _ in range(30)]
    gaps = [later - earlier for earlier, later in pairwise(waits)]
    assert waits[0] == 0
    assert min(gaps) == pytest.approx(0.09, abs=1e-4)
    assert waits[10] == pytest.approx(1 + MARGIN, abs=1e-4)  # the eleventh is a window after the first
    assert waits[20] == pytest.approx(2 * (1 + MARGIN), abs=1e-4)
