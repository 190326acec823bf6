"""Hours, expiry, pace, contact pressure, brands and late opt-outs: planned and worked off, with a clock that stands."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest

from dispatcher import cancellation, recovery, release, reporting, submission
from dispatcher.account import Account
from dispatcher.campaign import CampaignState
from dispatcher.errors import OutcomeUnknown
from dispatcher.hours import Hours, as_rules, parse_days
from dispatcher.ledger import Campaign, Ledger
from dispatcher.ledger.campaigns import EXPIRED
from dispatcher.message import MessageState
from dispatcher.planning import Enqueued, Order, enqueue
from dispatcher.provider import Capabilities, Recall
from dispatcher.throughput import Limits
from tests.ledger.conftest import NOW
from tests.unit.test_operations import SCHEDULING, Obedient, Roomy, Scheduling, Time

NEW_YORK = [12025550100, 12125550100, 12025550101, 12125550101, 12025550102, 12125550102]  # 04:00 there
HONOLULU = [18085550100, 18085550101]  # 23:00 the day before
GUAM = [16715550100, 16715550101, 16715550102]  # 19:00
BY_DAY = as_rules(Hours(opens=9 * 60, closes=19 * 60))
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
NINE_IN_NEW_YORK = NOW + 5 * HOUR


@dataclass
class Stage:
    """A ledger, an obedient provider and a clock that a test sets."""

    ledger: Ledger
    provider: Any = field(default_factory=lambda: Obedient(capabilities=Capabilities(messages_per_request=2)))
    time: Time = field(default_factory=Time)
    names: Iterator[int] = field(default_factory=lambda: count(1))
    limit: float | None = 10

    @property
    def account(self) -> Account:
        return Account(
            provider=self.provider,
            limits=Limits(requests_per_second=self.limit, segments_per_second=None),
            timeout=10,
            lease_margin=30,
            ledger=self.ledger,
            throughput=Roomy(self.time),  # type: ignore[arg-type]
            who="w1",
            clock=self.time.now,
            monotonic=self.time.monotonic,
            sleep=self.time.sleep,
        )

    def at(self, moment: datetime) -> None:
        self.time.passed = (moment - NOW).total_seconds()

    def plan(self, numbers: Sequence[int], rules: dict[str, Any] | None = None, **more: Any) -> Enqueued:
        name = f"c{next(self.names)}"
        order = Order(
            public_id=name,
            name=name,
            provider=self.provider.name,
            phone_column="phone",
            rules=rules or {},
            **{"text": "Hello", **more},
        )
        people = io.BytesIO(("phone\n" + "".join(f"+{number}\n" for number in numbers)).encode())
        can = self.provider.capabilities
        return enqueue(self.ledger, order, people, capabilities=can, who="t", clock=self.time.now)

    def enqueue(self, numbers: Sequence[int], rules: dict[str, Any] | None = None, **more: Any) -> Campaign:
        done = self.plan(numbers, rules, **more).campaign
        assert done is not None
        return done

    def step(self) -> str:
        return submission.submit_next(self.account).outcome

    def steps(self) -> list[str]:
        """Work until there is nothing to do."""
        return list(iter(self.step, "idle"))

    def sweep(self) -> None:
        recovery.sweep(self.ledger, receipt_windows={}, who="t", now=self.time.now())

    def sent(self) -> list[int]:
        return [number for batch in self.provider.submitted for number in batch.numbers]

    def messages(self, campaign: Campaign) -> dict[str, int]:
        counts = self.ledger.campaigns.counts(campaign)
        return {state.value: many for state, many in counts.messages.items() if many}

    def reasons(self, campaign: Campaign) -> set[tuple[str, str | None]]:
        return {(line.state, line.reason) for line in self.ledger.reports.lines(campaign)}

    def due(self, campaign: Campaign) -> list[tuple[str | None, timedelta]]:
        """Return (zone, how long after NOW) of the pending batches, in their numbers' order."""
        with self.ledger.database.read() as tx:
            rows = tx.rows(
                "SELECT zone, due_at FROM batch WHERE campaign_id = :id AND state = 'pending' ORDER BY number",
                id=campaign.id,
            )
        epoch = datetime.fromtimestamp(0, NOW.tzinfo)
        return [(row.zone, epoch + timedelta(microseconds=row.due_at) - NOW) for row in rows]

    def status(self, campaign: Campaign) -> dict[str, Any]:
        found = self.ledger.campaigns.get(campaign.public_id)
        return reporting.status(self.ledger, found, now=self.time.now())


@pytest.fixture
def stage(ledger: Ledger) -> Stage:
    return Stage(ledger=ledger)


# --- Hours ----------------------------------------------------------------------------------------------------------


def test_each_zone_is_sent_to_within_its_own_hours_and_never_outside_them(stage: Stage) -> None:
    campaign = stage.enqueue([*NEW_YORK[:3], *HONOLULU, *GUAM], BY_DAY)
    assert campaign.totals.batches == 2 + 1 + 2
    assert set(stage.due(campaign)) == {
        ("America/New_York", 5 * HOUR),
        ("Pacific/Honolulu", 10 * HOUR),
        ("Pacific/Guam", 14 * HOUR),
    }
    sent: dict[int, datetime] = {}
    for minutes in range(0, 36 * 60, 10):
        stage.at(NOW + minutes * MINUTE)
        before = len(stage.sent())
        stage.steps()
        sent |= dict.fromkeys(stage.sent()[before:], stage.time.now().replace(second=0, microsecond=0))
    assert {sent[number] for number in NEW_YORK[:3]} == {NOW + 5 * HOUR}
    assert {sent[number] for number in HONOLULU} == {NOW + 10 * HOUR}
    assert {sent[number] for number in GUAM} == {NOW + 14 * HOUR}


def test_without_hours_nothing_is_cut_by_zone(stage: Stage) -> None:
    campaign = stage.enqueue([*NEW_YORK[:3], *HONOLULU, *GUAM])
    assert campaign.totals.batches == 4
    assert stage.due(campaign) == [(None, timedelta(0))] * 4


def test_a_window_that_closes_holds_all_that_is_left_at_the_cost_of_one_claim(stage: Stage) -> None:
    stage.at(NINE_IN_NEW_YORK)
    campaign = stage.enqueue(NEW_YORK, BY_DAY)
    stage.at(NINE_IN_NEW_YORK + 10 * HOUR - timedelta(seconds=1))
    assert stage.step() == "submitted"
    stage.at(NINE_IN_NEW_YORK + 10 * HOUR)
    assert stage.steps() == ["held"]
    assert stage.due(campaign) == [("America/New_York", 29 * HOUR)] * 2
    assert release.bells(stage.ledger, "obedient", slices=8, now=stage.time.now()) == 0
    stage.at(NOW + 29 * HOUR)
    assert stage.steps() == ["submitted"] * 2


def test_without_limits_nothing_goes_outside_its_hours_or_after_its_time_either(stage: Stage) -> None:
    stage.limit = None
    stage.at(NINE_IN_NEW_YORK)
    stage.enqueue(NEW_YORK[:4], BY_DAY)
    assert stage.step() == "submitted"
    stage.at(NINE_IN_NEW_YORK + 10 * HOUR)
    assert stage.steps() == ["held"]
    expired = stage.enqueue(NEW_YORK[:2], expires_at=stage.time.now() + HOUR)
    stage.at(stage.time.now() + HOUR)
    assert stage.steps() == []
    assert stage.messages(expired) == {"queued": 2}


def test_each_recipient_keeps_the_values_of_their_row(stage: Stage) -> None:
    stage.at(NINE_IN_NEW_YORK + 14 * HOUR)
    stage.enqueue([NEW_YORK[0], GUAM[0], NEW_YORK[1], GUAM[1]], as_rules(Hours()), text="For {phone}")
    stage.steps()
    for batch in stage.provider.submitted:
        assert batch.texts == [f"For +{number}" for number in batch.numbers]
    assert sorted(stage.sent()) == sorted([*NEW_YORK[:2], *GUAM[:2]])


def test_a_window_that_closes_while_a_permit_is_waited_for_is_not_missed(stage: Stage) -> None:
    stage.at(NINE_IN_NEW_YORK)
    stage.enqueue(NEW_YORK[:2], BY_DAY)
    stage.at(NINE_IN_NEW_YORK + 10 * HOUR - timedelta(seconds=0.5))
    account = stage.account
    account.throughput.waits = [0.9]  # type: ignore[attr-defined]
    assert submission.submit_next(account).outcome == "held"
    assert stage.sent() == []


def test_a_window_that_closes_while_the_attempt_is_being_recorded_is_not_missed(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.at(NINE_IN_NEW_YORK)
    campaign = stage.enqueue(NEW_YORK[:2], BY_DAY)
    stage.at(NINE_IN_NEW_YORK + 10 * HOUR - timedelta(seconds=0.5))
    begin = stage.ledger.batches.begin_attempt

    def slow(*args: Any, **kwargs: Any) -> bool:
        done = begin(*args, **kwargs)
        stage.at(NINE_IN_NEW_YORK + 10 * HOUR)
        return done

    monkeypatch.setattr(stage.ledger.batches, "begin_attempt", slow)
    assert stage.step() == "withdrawn"
    assert stage.sent() == []
    assert stage.messages(campaign) == {"queued": 2}


def test_what_a_provider_schedules_is_scheduled_within_the_hours(stage: Stage) -> None:
    stage.provider = Obedient(capabilities=SCHEDULING)
    stage.enqueue([*NEW_YORK[:2], *GUAM], BY_DAY, send_at=NOW + 2 * HOUR)
    assert stage.steps() == ["submitted"] * 2
    assert {(batch.numbers[0], batch.scheduled_for) for batch in stage.provider.submitted} == {
        (NEW_YORK[0], NINE_IN_NEW_YORK),
        (GUAM[0], NOW + 14 * HOUR),
    }


def test_what_only_the_hours_hold_stays_here_where_it_can_still_be_stopped(stage: Stage) -> None:
    stage.provider = Obedient(capabilities=SCHEDULING)
    stage.enqueue(NEW_YORK[:2], BY_DAY)
    assert stage.steps() == []
    stage.at(NINE_IN_NEW_YORK)
    assert stage.steps() == ["submitted"]
    assert stage.provider.submitted[0].scheduled_for is None


def test_a_few_minutes_ahead_of_the_end_nothing_is_scheduled_beyond_it(stage: Stage) -> None:
    can = Capabilities(
        messages_per_request=2, schedule_ahead=timedelta(days=30), schedule_least=2 * MINUTE,
        options=frozenset({"reconcilable"}),
    )  # fmt: skip
    stage.provider = Obedient(capabilities=can)
    stage.at(NINE_IN_NEW_YORK + 10 * HOUR - 2 * MINUTE)
    stage.enqueue(NEW_YORK[:2], BY_DAY, options={"reconcilable": "1"})
    assert stage.steps() == ["held"]
    stage.at(NOW + 29 * HOUR)
    assert stage.steps() == ["submitted"]
    assert stage.provider.submitted[0].scheduled_for == NOW + 29 * HOUR + 3 * MINUTE


def test_days_and_holidays_of_the_recipients_country_are_kept(stage: Stage) -> None:
    stage.at(datetime(2026, 12, 24, 20, tzinfo=NOW.tzinfo))  # Thursday; Christmas is a Friday
    rules = as_rules(Hours(opens=540, closes=1140, days=parse_days("mon-fri"), skip_holidays=True))
    campaign = stage.enqueue([NEW_YORK[0]], rules)
    [(zone, _)] = stage.due(campaign)
    assert zone == "US: America/New_York"
    assert stage.step() == "submitted", "15:00 on Christmas Eve"
    stage.at(datetime(2026, 12, 25, 15, tzinfo=NOW.tzinfo))
    later = stage.enqueue([NEW_YORK[0]], rules)
    assert NOW + stage.due(later)[0][1] == datetime(2026, 12, 28, 14, tzinfo=NOW.tzinfo)


def test_whom_no_hour_suits_is_left_out_with_the_reason(stage: Stage) -> None:
    rules = as_rules(Hours(opens=9 * 60, closes=10 * 60))
    done = stage.plan([18005550100, NEW_YORK[0]], rules)  # toll-free: from New York to Honolulu, nobody knows where
    assert (done.totals.messages, done.totals.suppressed) == (1, 1)
    assert done.campaign is not None
    reason = "quiet hours: no hour is open in all time zones that its number may be in"
    assert ("suppressed", reason) in stage.reasons(done.campaign)


def test_status_says_until_when_what_is_held(stage: Stage) -> None:
    campaign = stage.enqueue([*NEW_YORK, *GUAM], BY_DAY)
    assert stage.status(campaign)["held"] == [
        {
            "until": "2026-12-01T14:00:00Z",
            "local": "2026-12-01T09:00-05:00",
            "zones": ["America/New_York"],
            "messages": 6,
        },
        {
            "until": "2026-12-01T23:00:00Z",
            "local": "2026-12-02T09:00+10:00",
            "zones": ["Pacific/Guam"],
            "messages": 3,
        },
    ]
    stage.at(NINE_IN_NEW_YORK)
    assert [one["zones"] for one in stage.status(campaign)["held"]] == [["Pacific/Guam"]]
    cancellation.pause(stage.ledger, campaign, who="t", now=stage.time.now(), reason="x")
    assert stage.status(campaign)["held"] == []


# --- Expiry ---------------------------------------------------------------------------------------------------------


def test_what_has_expired_never_goes_and_the_campaign_completes(stage: Stage) -> None:
    campaign = stage.enqueue(NEW_YORK, expires_at=NOW + 4 * HOUR)
    assert stage.step() == "submitted"
    stage.at(NOW + 4 * HOUR)
    assert stage.step() == "idle"
    assert release.bells(stage.ledger, "obedient", slices=8, now=stage.time.now()) == 0
    stage.sweep()
    assert stage.messages(campaign) == {"submitted": 2, "cancelled": 4}
    assert ("cancelled", EXPIRED) in stage.reasons(campaign)
    assert stage.ledger.reports.discrepancies(campaign) == []
    stage.at(NOW + timedelta(days=4))
    stage.sweep()
    stage.sweep()
    assert stage.ledger.campaigns.get(campaign.public_id).state is CampaignState.COMPLETED


def test_it_expires_also_while_it_is_paused_and_unknown_messages_stay_as_they_are(stage: Stage) -> None:
    campaign = stage.enqueue(NEW_YORK, expires_at=NOW + 4 * HOUR)
    stage.provider.answers = [OutcomeUnknown("lost")]
    assert stage.step() == "unknown"
    cancellation.pause(stage.ledger, campaign, who="t", now=NOW, reason="x")
    stage.at(NOW + 4 * HOUR)
    stage.sweep()
    assert stage.messages(campaign) == {"unknown": 2, "cancelled": 4}


def test_an_attempt_does_not_begin_after_it_has_expired(stage: Stage) -> None:
    stage.enqueue(NEW_YORK[:2], expires_at=NOW + HOUR)
    claim = stage.ledger.batches.claim("obedient", owner="w", now=NOW, lease=4 * HOUR)
    assert claim is not None
    assert not stage.ledger.batches.begin_attempt(claim, now=NOW + HOUR, lease=HOUR)
    assert stage.ledger.batches.begin_attempt(claim, now=NOW + HOUR - MINUTE, lease=HOUR)


def test_a_provider_is_not_asked_to_send_what_has_expired_by_then(stage: Stage) -> None:
    stage.provider = Obedient(capabilities=SCHEDULING)
    campaign = stage.enqueue(NEW_YORK[:2], BY_DAY, send_at=NOW + HOUR, expires_at=NOW + 3 * HOUR)
    assert stage.steps() == ["held"]
    stage.at(NOW + 3 * HOUR)
    assert stage.steps() == []
    stage.sweep()
    assert stage.reasons(campaign) == {("cancelled", EXPIRED)}


# --- Pace -----------------------------------------------------------------------------------------------------------


def test_batches_are_spread_evenly_and_a_pause_moves_what_is_left(stage: Stage) -> None:
    campaign = stage.enqueue(NEW_YORK, {"spread": 7200})
    assert [due for _, due in stage.due(campaign)] == [timedelta(0), 40 * MINUTE, 80 * MINUTE]
    assert stage.steps() == ["submitted"]
    stage.at(NOW + 10 * MINUTE)
    cancellation.pause(stage.ledger, campaign, who="t", now=stage.time.now(), reason="x")
    stage.at(NOW + 10 * HOUR)
    cancellation.resume(stage.ledger, campaign, who="t", now=stage.time.now())
    assert [due for _, due in stage.due(campaign)] == [10 * HOUR + 30 * MINUTE, 11 * HOUR + 10 * MINUTE]
    cancellation.pause(stage.ledger, campaign, who="t", now=stage.time.now(), reason="x")
    stage.at(NOW + 20 * HOUR)
    cancellation.resume(stage.ledger, campaign, who="t", now=stage.time.now())
    assert [due for _, due in stage.due(campaign)] == [20 * HOUR + 30 * MINUTE, 21 * HOUR + 10 * MINUTE]


def test_a_pause_in_closed_hours_costs_the_pace_nothing(stage: Stage) -> None:
    campaign = stage.enqueue(NEW_YORK, BY_DAY | {"spread": 15 * 3600})
    stage.at(NOW + 14 * HOUR)  # an hour before New York closes
    assert stage.steps() == ["submitted"] * 2
    stage.at(NOW + 14 * HOUR)
    cancellation.pause(stage.ledger, campaign, who="t", now=stage.time.now(), reason="x")
    stage.at(NOW + 30 * HOUR)  # an hour after it has opened
    cancellation.resume(stage.ledger, campaign, who="t", now=stage.time.now())
    assert [due for _, due in stage.due(campaign)] == [31 * HOUR]


def test_a_pace_counts_open_hours_only(stage: Stage) -> None:
    campaign = stage.enqueue(NEW_YORK, BY_DAY | {"spread": 15 * 3600})
    assert [due for _, due in stage.due(campaign)] == [5 * HOUR, 10 * HOUR, 29 * HOUR]


def test_each_zone_keeps_the_pace_from_when_it_opens(stage: Stage) -> None:
    campaign = stage.enqueue([*NEW_YORK[:4], *HONOLULU], BY_DAY | {"spread": 3 * 3600})
    assert stage.due(campaign) == [
        ("America/New_York", 5 * HOUR),
        ("America/New_York", 6 * HOUR),
        ("Pacific/Honolulu", 10 * HOUR + 2 * HOUR),
    ]


def test_a_provider_that_schedules_is_given_whole_minutes_of_the_pace(stage: Stage) -> None:
    stage.provider = Obedient(capabilities=SCHEDULING)
    numbers = [12025550100 + at for at in range(21)]
    stage.enqueue(numbers, {"spread": 3600}, send_at=NOW + HOUR)
    assert stage.steps() == ["submitted"] * 7
    times = [batch.scheduled_for for batch in stage.provider.submitted]
    assert times == [NOW + HOUR + minutes * MINUTE for minutes in (0, 8, 17, 25, 34, 42, 51)]


def test_a_provider_without_a_schedule_is_paced_from_the_send_time(stage: Stage) -> None:
    campaign = stage.enqueue(NEW_YORK, {"spread": 100}, send_at=NOW + HOUR)
    step = timedelta(microseconds=33_333_333)
    assert [due for _, due in stage.due(campaign)] == [HOUR, HOUR + step, HOUR + 2 * step]
    stage.at(NOW + HOUR)
    assert stage.steps() == ["submitted"]
    stage.at(NOW + HOUR + step)
    assert stage.steps() == ["submitted"]


# --- Contact pressure -----------------------------------------------------------------------------------------------


def test_who_has_been_texted_enough_is_left_out_with_the_reason(stage: Stage) -> None:
    rules = {"at_most": [2, 7 * 86400]}
    stage.enqueue(NEW_YORK[:4], rules)
    stage.steps()
    stage.enqueue(NEW_YORK[:2], rules)  # not sent yet, and yet it counts
    third = stage.plan(NEW_YORK, rules)
    assert (third.totals.messages, third.totals.suppressed) == (4, 2)
    assert third.campaign is not None
    assert ("suppressed", "contact pressure: 2 in 7 days") in stage.reasons(third.campaign)
    stage.steps()
    stage.at(NOW + timedelta(days=7, seconds=1))
    assert stage.plan(NEW_YORK, rules).totals.messages == 6, "a week later nobody is left out"


@pytest.mark.parametrize(
    ("state", "counts"),
    [
        (MessageState.DELIVERED, True),
        (MessageState.UNCONFIRMED, True),
        (MessageState.UNDELIVERED, False),
        (MessageState.EXPIRED, False),
    ],
)
def test_what_did_not_arrive_pressed_nobody(stage: Stage, state: MessageState, counts: bool) -> None:
    stage.enqueue(NEW_YORK[:1])
    stage.steps()
    with stage.ledger.database.write() as tx:
        tx.run("UPDATE message SET state = :state", state=state.value)
    pressed = stage.ledger.pressure.pressed(at_most=1, since=NOW - HOUR, until=NOW + HOUR)
    assert pressed.among(NEW_YORK) == ({NEW_YORK[0]} if counts else set())


def test_what_is_refused_cancelled_or_far_off_does_not_count_and_what_is_unknown_does(stage: Stage) -> None:
    gone = stage.enqueue(NEW_YORK[:1])
    cancellation.cancel(stage.ledger, gone, who="t", clock=stage.time.now)
    stage.enqueue(NEW_YORK[1:2], send_at=NOW + timedelta(days=60))
    stage.provider.answers = [OutcomeUnknown("lost")]
    stage.enqueue(NEW_YORK[2:3])
    assert stage.steps() == ["unknown"]
    week = timedelta(days=7)
    pressed = stage.ledger.pressure.pressed(at_most=1, since=NOW - week, until=NOW + week)
    assert pressed.among(NEW_YORK) == {NEW_YORK[2]}
    ahead = stage.ledger.pressure.pressed(at_most=1, since=NOW + timedelta(days=55), until=NOW + timedelta(days=69))
    assert pressed.among([]) == set()
    assert NEW_YORK[1] in ahead


# --- Brands and late opt-outs ---------------------------------------------------------------------------------------


def test_a_brands_list_counts_for_the_brand_alone_and_the_global_one_for_all(stage: Stage) -> None:
    suppressions = stage.ledger.suppressions
    assert suppressions.add({NEW_YORK[0]: "x"}, source="t", now=NOW, brand="acme") == 1
    assert suppressions.add({NEW_YORK[1]: "y"}, source="t", now=NOW) == 1
    assert stage.plan(NEW_YORK, brand="acme").totals.suppressed == 2
    assert stage.plan(NEW_YORK, brand="other").totals.suppressed == 1
    assert stage.plan(NEW_YORK).totals.suppressed == 1
    assert [(one.number, one.brand) for one in suppressions.entries()] == [(NEW_YORK[0], "acme"), (NEW_YORK[1], "")]
    assert [one.number for one in suppressions.entries(brand="acme")] == [NEW_YORK[0]]
    assert suppressions.brands(NEW_YORK) == {"", "acme"}
    assert (suppressions.remove(NEW_YORK), suppressions.remove(NEW_YORK, brand="acme")) == (1, 1)
    assert suppressions.count() == 0


def test_a_brands_opt_out_after_planning_counts_at_the_claim_and_before_the_attempt(stage: Stage) -> None:
    campaign = stage.enqueue(NEW_YORK[:2], brand="acme")
    other = stage.enqueue(NEW_YORK[:2], brand="other")
    stage.ledger.suppressions.add({NEW_YORK[0]: "x"}, source="t", now=NOW, brand="acme")
    claim = stage.ledger.batches.claim("obedient", owner="w", now=NOW, lease=HOUR)
    assert claim is not None
    assert claim.campaign == campaign.public_id
    assert stage.messages(campaign) == {"queued": 1, "suppressed": 1}
    stage.ledger.suppressions.add({NEW_YORK[1]: "x"}, source="t", now=NOW, brand="acme")
    assert not stage.ledger.batches.begin_attempt(claim, now=NOW, lease=HOUR)
    stage.ledger.outcomes.hand_back(claim, now=NOW, why="x")
    stage.steps()
    assert stage.messages(campaign) == {"suppressed": 2}
    assert stage.messages(other) == {"submitted": 2}


def test_a_late_opt_out_is_taken_back_at_the_provider_alone_and_refunded(stage: Stage) -> None:
    stage.provider = Scheduling(capabilities=SCHEDULING)
    campaign = stage.enqueue(NEW_YORK, brand="acme", send_at=NOW + HOUR)
    stage.steps()
    assert cancellation.recall_opted_out(stage.account).messages == 0
    stage.ledger.suppressions.add({NEW_YORK[0]: "STOP", 12025550199: "x"}, source="t", now=NOW)
    stage.ledger.suppressions.add({NEW_YORK[1]: "x"}, source="t", now=NOW, brand="other")
    stage.ledger.suppressions.add({NEW_YORK[2]: "x"}, source="t", now=NOW, brand="acme")
    done = cancellation.recall_opted_out(stage.account)
    assert (done.messages, done.refunded) == (2, Decimal("1.0"))
    assert stage.messages(campaign) == {"submitted": 4, "cancelled": 2}
    assert ("cancelled", "opted out; recalled from the provider") in stage.reasons(campaign)
    assert stage.ledger.campaigns.counts(campaign).refunded == Decimal("1.0")
    assert stage.ledger.reports.discrepancies(campaign) == []
    assert cancellation.recall_opted_out(stage.account).messages == 0
    stage.ledger.suppressions.add({NEW_YORK[3]: "STOP"}, source="t", now=NOW)
    stage.at(NOW + HOUR)
    assert stage.ledger.receipts.opted_out("obedient", now=stage.time.now()) == {}, "it has gone"


def test_what_the_provider_will_not_give_back_stays_as_it_is(stage: Stage) -> None:
    stage.provider = Scheduling(capabilities=SCHEDULING)
    campaign = stage.enqueue(NEW_YORK[:2], send_at=NOW + HOUR)
    stage.steps()
    stage.ledger.suppressions.add({NEW_YORK[0]: "STOP"}, source="t", now=NOW)
    [held] = stage.ledger.receipts.opted_out("obedient", now=NOW)
    stage.provider.kept = {held}
    assert cancellation.recall_opted_out(stage.account) == cancellation.Recalled(refused=1)
    assert stage.messages(campaign) == {"submitted": 2}
    assert Recall(provider_message_id="x", recalled=False).refunded is None
