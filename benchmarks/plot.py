"""Draws the figures that are kept: each beside its bar, and the cost of a row as lists grow."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

_COLOURS = {"sqlite": "#2a6f97", "postgresql": "#e07a5f", "": "#555555"}
_AT = "µs/row at "


def draw(folder: Path) -> None:
    """Make results.svg of results.json; the same figures give the same file."""
    kept = json.loads((folder / "results.json").read_text(encoding="utf-8"))["figures"]
    barred = [one for one in kept if one["bar"] and one["median"] > 0]
    grown = [one for one in kept if any(name.startswith(_AT) for name in one["details"])]
    mpl.rcParams["svg.hashsalt"] = "benchmarks"  # else its ids differ each time
    canvas = Canvas(figsize=(13, max(4.0, 0.3 * len(barred) + 1.5)), layout="constrained")
    left, right = canvas.subplots(1, 2, width_ratios=(3, 2))
    _beside_bars(left, barred)
    _by_size(right, grown)
    canvas.savefig(folder / "results.svg", metadata={"Date": None})


def _beside_bars(axes: Axes, figures: Sequence[dict[str, Any]]) -> None:
    """Draw how far each figure is above its bar (right of 1) or below it."""
    labels = []
    for at, one in enumerate(reversed(figures)):
        ratio = one["median"] / one["bar"] if one["more_is_better"] else one["bar"] / one["median"]
        axes.barh(at, ratio - 1, left=1, color=_COLOURS[one["engine"]], height=0.7)
        labels.append(f"{one['benchmark']}: {one['what']}")
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("figure ÷ bar; right of the line is better than the bar")
    for engine in ("sqlite", "postgresql"):
        axes.plot([], [], color=_COLOURS[engine], linewidth=6, label=engine)
    axes.legend(loc="lower right")


def _by_size(axes: Axes, figures: Sequence[dict[str, Any]]) -> None:
    """Draw what a row costs by the number of rows."""
    for one in figures:
        points = [(int(name[len(_AT) :].replace(",", "")), cost) for name, cost in one["details"].items()]
        dashed = "--" if "processor" in one["what"] else "-"
        label = f"{one['what'].partition(' a row')[0]}, {one['engine']}"
        mark = "o" if one["what"].startswith("plan") else "s"
        axes.plot(*zip(*points, strict=True), dashed, marker=mark, color=_COLOURS[one["engine"]], label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("rows")
    axes.set_ylabel("µs a row")
    if figures:
        axes.legend(fontsize=7)
