"""A figure, its bar, and where figures are kept: results.json, and a table made of it."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One thing that was measured, once or several times."""

    benchmark: str
    what: str
    unit: str
    values: Sequence[float]  # one a repeat
    engine: str = ""
    rows: int = 0
    bar: float | None = None
    more_is_better: bool = True
    details: dict[str, float | int | str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str, int]:
        """What a later measurement of the same replaces."""
        return self.benchmark, self.what, self.engine, self.rows

    @property
    def median(self) -> float:
        """The middle one of the repeats."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the bar is met by the median; None where there is no bar."""
        if self.bar is None:
            return None
        return self.median >= self.bar if self.more_is_better else self.median <= self.bar


def shown(value: float) -> str:
    """Return a number as a person reads it: three significant digits and no more."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value == int(value) and abs(value) >= 10 else f"{value:.3g}"


def line(figure: Figure) -> str:
    """Return a figure as one line."""
    bar = ""
    if figure.bar is not None:
        sign = "≥" if figure.more_is_better else "≤"
        bar = f"   bar {sign}{shown(figure.bar)}: {'met' if figure.met else 'NOT MET'}"
    spread = f" ({shown(min(figure.values))}…{shown(max(figure.values))})" if len(figure.values) > 1 else ""
    where = " ".join(filter(None, [figure.engine, f"{figure.rows:,} rows" if figure.rows else ""]))
    details = ", ".join(
        f"{name} {shown(value) if not isinstance(value, str) else value}" for name, value in figure.details.items()
    )
    return (
        f"{figure.benchmark:<11} {figure.what:<44} {where:<26} {shown(figure.median):>10} {figure.unit}{spread}{bar}"
        + (f"\n{'':<12}{details}" if details else "")
    )


def keep(
    figures: Sequence[Figure], taken: dict[str, Any], machine: dict[str, Any], *, folder: Path = RESULTS
) -> None:
    """Put figures in the place of earlier ones of the same, and write results.json and results.md anew."""
    folder.mkdir(exist_ok=True)
    path = folder / "results.json"
    kept: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["figures"] if path.exists() else []
    new = {figure.key for figure in figures}
    kept = [one for one in kept if (one["benchmark"], one["what"], one["engine"], one["rows"]) not in new]
    kept += [
        asdict(figure) | {"values": list(figure.values), "median": figure.median, "met": figure.met, "taken": taken}
        for figure in figures
    ]
    path.write_text(
        json.dumps({"machine": machine, "figures": kept}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    (folder / "results.md").write_text(_page(kept, machine), encoding="utf-8")


def _page(kept: Sequence[dict[str, Any]], machine: dict[str, Any]) -> str:
    lines = ["# Figures", "", "Made by `make bench`; how and against what: [benchmarks](../README.md).", ""]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    lines += [
        "",
        "| what | engine | rows | figure | min … max | bar | met | load | details |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in kept:
        bar = "" if one["bar"] is None else ("≥ " if one["more_is_better"] else "≤ ") + shown(one["bar"])
        met = {None: "", True: "yes", False: "**no**"}[one["met"]]
        values = one["values"]
        spread = f"{shown(min(values))} … {shown(max(values))}" if len(values) > 1 else ""
        details = ", ".join(
            f"{name} {shown(value) if not isinstance(value, str) else value}"
            for name, value in one["details"].items()
        )
        rows = f"{one['rows']:,}" if one["rows"] else ""
        lines.append(
            f"| {one['benchmark']}: {one['what']} | {one['engine']} | {rows} |"
            + f" {shown(one['median'])} {one['unit']} | {spread} | {bar} | {met} | {one['taken']['load']} | {details} |"
        )
    lines += ["", "Commands and seeds of each are in `results.json`.", ""]
    return "\n".join(lines)
