"""Says what a run came to: one table of 80 columns, and the same as JSON."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from tests.chaos.kills import Deaths
from tests.chaos.reckoning import Reckoning
from tests.chaos.world import Plan

_WIDTH = 80
_MOST_WRONG = 50


def as_data(plan: Plan, found: Reckoning, deaths: Deaths | None) -> dict[str, Any]:
    """Return the run as plain data, with stable names."""
    kills = sum(many for what, many in found.injected.items() if "killed" in what)
    return {
        "seed": plan.seed,
        "engine": plan.engine,
        "providers": list(plan.providers),
        "limits": {name: plan.limit_of(name) for name in plan.providers},
        "kills": {
            "in_all": kills + (0 if deaths is None else deaths.in_all),
            "at_work": {} if deaths is None else dict(sorted(deaths.by_provider.items())),
            "while": {} if deaths is None else dict(sorted(deaths.while_doing.items())),
            "seconds": None if deaths is None else round(deaths.seconds, 1),
        },
        "injected": dict(sorted(found.injected.items())),
        "campaigns": found.campaigns,
        "cancelled": found.cancelled,
        "recipients": found.rows,
        "requests": found.requests,
        "accepted": found.accepted,
        "states": dict(sorted(found.states.items())),
        "decided_by_a_person": found.decided,
        "unknown": dict(sorted(found.unknown.items())),
        "peaks": found.peaks,
        "duplicates": found.duplicates,
        "lost": found.lost,
        "late_requests": found.late,
        "wrong": found.wrong,
        "kept": not found.wrong,
    }


def as_table(data: Mapping[str, Any]) -> str:
    """Return the same for a person."""
    return "\n".join(_lines(data)) + "\n"


def _lines(data: Mapping[str, Any]) -> Iterator[str]:
    kills = data["kills"]
    yield f"chaos: seed {data['seed']}, {data['engine']}, {', '.join(data['providers'])}"
    yield from _section("what was broken", data["injected"])
    at_work = {f"killed at work for {name}": many for name, many in kills["at_work"].items()}
    doing = {f"killed {what}": many for what, many in kills["while"].items()}
    yield from _section("kills", {**at_work, **doing, "processes killed in all": kills["in_all"]})
    names = ("campaigns", "cancelled", "recipients", "requests", "accepted")
    yield from _section("what was sent", {name: data[name] for name in names})
    unknown = {f"unknown at {name}": many for name, many in data["unknown"].items()}
    yield from _section("what became of it", {**data["states"], **unknown})
    peaks = {
        f"most in a second at {name} (limit {data['limits'][name]:g})": many for name, many in data["peaks"].items()
    }
    promises = {
        "texted twice": data["duplicates"],
        "lost": data["lost"],
        "requests more than a second after a cancel": data["late_requests"],
        **peaks,
        "batches that a person decided about": data["decided_by_a_person"],
    }
    yield from _section("what was promised", promises)
    for line in data["wrong"][:_MOST_WRONG]:
        yield textwrap.shorten(f"BROKEN: {line}", _WIDTH, placeholder="…")
    many = len(data["wrong"])
    yield "every promise was kept" if not many else f"{many} promises were broken"


def _section(title: str, rows: Mapping[str, int]) -> Iterator[str]:
    yield ""
    yield title
    for what, many in rows.items():
        yield f"  {many:>9,}  {what}"
