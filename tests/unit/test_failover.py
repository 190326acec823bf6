"""What makes a campaign move on to its next provider, and what it must be to be planned for several."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from dispatcher import failover, providers, submission
from dispatcher.campaign import CampaignState
from dispatcher.errors import (
    AuthenticationFailed,
    InsufficientCredit,
    InvalidRequest,
    Misconfigured,
    OutcomeUnknown,
    Throttled,
    Unreachable,
)
from dispatcher.provider import Answers, Capabilities, OutgoingBatch
from dispatcher.runtime import start
from tests.unit.test_cli import HELLO, Run, people, run
from tests.unit.test_operations import Obedient, World, world

__all__ = ["run", "world"]


def enqueue(world: World, *fallbacks: str, batches: int = 3, options: str = "{}") -> None:
    world.enqueue(batches=batches)
    with world.ledger.database.write() as tx:
        tx.run(
            "UPDATE campaign SET fallbacks = :fallbacks, options = :options",
            fallbacks=",".join(fallbacks),
            options=options,
        )


def step(world: World, provider: Obedient | None = None) -> str:
    account = replace(world.account, provider=provider or world.provider, failover_after=5.0)
    return submission.submit_next(account).outcome


@pytest.mark.parametrize(
    ("error", "moves", "paused"),
    [
        (AuthenticationFailed("401"), True, False),
        (InsufficientCredit("402"), True, False),
        (Misconfigured("404"), True, False),
        (InvalidRequest("400"), False, True),
        (Throttled("429"), False, False),
        (OutcomeUnknown("reset"), False, False),
        (Unreachable("refused"), False, False),
    ],
)
def test_what_makes_the_next_provider_take_over(world: World, error: Exception, moves: bool, paused: bool) -> None:
    enqueue(world, "second")
    world.provider.answers = [error]
    step(world)
    found = world.campaign()
    assert (found.provider == "second", found.state is CampaignState.PAUSED) == (moves, paused)
    if moves:
        assert str(found.reason).startswith("moved from obedient to second: ")
        second = Obedient(name="second")
        assert [step(world, second) for _ in range(4)] == ["submitted"] * 3 + ["idle"]
        assert world.messages() == {"submitted": 9}


def test_an_account_in_trouble_that_took_some_of_a_batch_moves_on(world: World) -> None:
    enqueue(world, "second")
    world.provider.answers = [
        Answers(provider_message_ids=["a", "b", None], costs=[None] * 3, missing=frozenset({2}), pause="no credit")
    ]
    assert step(world) == "submitted"
    assert world.campaign().provider == "second"
    assert world.messages() == {"submitted": 2, "unknown": 1, "queued": 6}


def test_the_last_provider_pauses(world: World) -> None:
    enqueue(world, "second")
    world.provider.answers = [AuthenticationFailed("401")]
    step(world)
    step(world, Obedient(name="second", answers=[InsufficientCredit("402")]))
    found = world.campaign()
    assert (found.provider, found.state) == ("second", CampaignState.PAUSED)
    assert found.reason == "second: 402"


def test_one_that_cannot_be_reached_for_a_while_is_left(world: World) -> None:
    enqueue(world, "second")
    world.provider.answers = [Unreachable("refused")] * 99
    outcomes = []
    while world.campaign().provider == "obedient":
        outcomes.append(step(world))
        world.time.passed += 0.5
        assert len(outcomes) < 40
    assert "not reached for 6 s" in str(world.campaign().reason)
    # One answer in between, and it is counted anew.
    assert world.messages() == {"queued": 9}


def test_an_answer_in_between_counts(world: World) -> None:
    enqueue(world, "second", batches=30)
    for _ in range(10):
        world.provider.answers = [Unreachable("refused")]
        step(world)
        world.time.passed += 3
        assert step(world) == "submitted"
    assert world.campaign().provider == "obedient"


@dataclass
class Keen(Obedient):
    """A provider that can schedule, and so be reconcilable."""

    capabilities: Capabilities = field(
        default_factory=lambda: Capabilities(
            messages_per_request=3, schedule_ahead=timedelta(days=1), options=frozenset({"reconcilable"})
        )
    )


def test_options_that_say_how_to_hand_over_stay_with_whom_they_are_for(world: World) -> None:
    world.provider = Keen()
    enqueue(world, "second", options='{"reconcilable": "1"}')
    step(world)
    world.provider.answers = [AuthenticationFailed("401")]
    step(world)
    second = Obedient(name="second", capabilities=Capabilities(messages_per_request=3, schedule_ahead=timedelta(1)))
    step(world, second)
    first: OutgoingBatch = world.provider.submitted[0]
    assert first.scheduled_for is not None
    assert dict(first.options) == {"reconcilable": "1"}
    assert (second.submitted[0].scheduled_for, dict(second.submitted[0].options)) == (None, {})


def test_the_narrowest_of_all_is_planned_for() -> None:
    wide = Capabilities(messages_per_request=100, bytes_per_request=5000, bytes_per_message=10, characters=900)
    other = Capabilities(
        messages_per_request=500,
        bytes_per_request=None,
        bytes_per_message=30,
        segments=3,
        personalised=False,
        unicode=False,
        sender=False,
        schedule_ahead=timedelta(days=3),
    )
    found = failover.narrowest([wide, other])
    assert (found.messages_per_request, found.bytes_per_request, found.bytes_per_message) == (100, 5000, 30)
    assert (found.characters, found.segments) == (900, 3)
    assert (found.personalised, found.unicode, found.sender, found.schedule_ahead) == (False, False, False, None)
    assert failover.narrowest([wide]) is wide


@pytest.mark.parametrize("first", providers.names())
@pytest.mark.parametrize("second", providers.names())
def test_every_pair_of_providers_has_something_in_common(first: str, second: str, run: Run) -> None:
    runtime = start(who="t")
    both = [runtime.provider(name).capabilities for name in dict.fromkeys((first, second))]
    found = failover.narrowest(both)
    assert found.messages_per_request == min(can.messages_per_request for can in both)
    assert found.options <= both[0].options


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--provider", "winsms,nobody"), "there is no provider 'nobody'"),
        (("--provider", "winsms,winsms"), "name each provider once"),
        (("--provider", "bsg,winsms", "--sender", "Shop"), "winsms takes no sender id, so it cannot take over"),
        (("--provider", "sakari,bsg", "--as-campaign"), "bsg cannot do --as-campaign, so it cannot take over"),
        (("--provider", "winsms,bsg", "--budget", "5"), "without a price of winsms"),
    ],
)
def test_a_chain_that_cannot_be_is_told(run: Run, tmp_path: Path, args: tuple[str, ...], told: str) -> None:
    done = run("enqueue", people(tmp_path), *HELLO[2:], *args)
    assert (done.code, told in done.err) == (2, True), done.err


def test_what_each_of_a_chain_lacks_is_told(run: Run, tmp_path: Path) -> None:
    done = run("enqueue", people(tmp_path), *HELLO[2:], "--provider", "winsms,bsg,netsapiens", "--json")
    assert done.code == 0
    for setting in ("DISPATCHER_WINSMS__API_KEY", "DISPATCHER_BSG__API_KEY", "DISPATCHER_NETSAPIENS__BASE_URL"):
        assert setting in done.err
    assert '"batches": 2' in done.out  # one message a request, as the narrowest of them has it
