"""Draws small plots as HTML with SVG in it, to stand in a page that loads nothing; letters keep their size at any width.

A plot's x runs from 0 to 1 across its width; its y is in the plot's own unit, from 0 up to a round number. A unit is told
as "messages, by what".
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 1000, 100  # of what is drawn; the page stretches it
_TICKS = 4
_BAR = 0.86  # how much of its place a bar fills

Tick = tuple[float, str]
"""Where on the x axis, from 0 to 1, and what stands there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One kind of thing in a plot: `values` are one a place; `name` is for its key and its class."""

    name: str
    values: Sequence[float]


def columns(
    layers: Sequence[Layer],
    *,
    label: Callable[[int], str],
    ticks: Iterable[Tick],
    title: str,
    unit: str,
    limit: float | None = None,
    whole: bool = True,
) -> str:
    """Return a chart of columns, the layers on top of one another; `label` names a column, `limit` is drawn as a line.

    `whole` says that its values are counted, so nothing stands between one and two.
    """
    count = max(1, *(len(layer.values) for layer in layers))
    totals = [sum(layer.values[at] for layer in layers) for at in range(count)] if layers[0].values else [0.0]
    axis = _axis([*totals, limit or 0], whole=whole)
    top = axis[-1]
    width = _WIDTH / count
    drawn = []
    for at in range(len(layers[0].values)):
        base = 0.0
        for layer in layers:
            value = layer.values[at]
            if not value:
                continue
            drawn.append(
                f'<rect class="fill-{_class(layer.name)}" x="{at * width + width * (1 - _BAR) / 2:.2f}"'
                f' y="{_y(base + value, top):.2f}" width="{width * _BAR:.2f}" height="{_y(0, top) - _y(value, top):.2f}">'
                f"<title>{escape(label(at))}: {plain(value)} {escape(unit.partition(',')[0])}{_of(layer, layers)}</title></rect>"
            )
            base += value
    return _framed("".join(drawn), axis, ticks=ticks, title=title, unit=unit, limit=limit, key=_key(layers))


def curves(
    layers: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    *,
    ticks: Iterable[Tick],
    title: str,
    unit: str,
) -> str:
    """Return a chart of lines, each of (x, y) points in the order of x, with the space below them filled."""
    axis = _axis([y for _, points in layers for _, y in points], whole=True)
    top = axis[-1]
    drawn = []
    for name, points in layers:
        if not points:
            continue
        line = " ".join(f"{x * _WIDTH:.1f},{_y(y, top):.2f}" for x, y in points)
        first, last = points[0][0] * _WIDTH, points[-1][0] * _WIDTH
        drawn.append(
            f'<polygon class="fill-{_class(name)} faint" points="{first:.1f},{_HEIGHT} {line} {last:.1f},{_HEIGHT}"/>'
            f'<polyline class="line-{_class(name)}" points="{line}"/>'
        )
    names = [Layer(name=name, values=()) for name, points in layers if points]
    return _framed("".join(drawn), axis, ticks=ticks, title=title, unit=unit, key=_key(names, always=True))


def shares(parts: Sequence[tuple[str, int]], *, title: str) -> str:
    """Return one bar that is divided by (name, amount), each part with its name for a class."""
    total = sum(many for _, many in parts) or 1
    drawn, at = [], 0.0
    for name, many in parts:
        width = many / total * _WIDTH
        drawn.append(
            f'<rect class="fill-{_class(name)}" x="{at:.2f}" y="0" width="{width:.2f}" height="{_HEIGHT}">'
            f"<title>{escape(name)}: {many:,} ({many / total:.1%})</title></rect>"
        )
        at += width
    return f'<div class="shares">{_svg("".join(drawn), title)}</div>'


def meter(share: float) -> str:
    """Return a small bar that is so full, for a cell of a table."""
    return f'<span class="meter"><span style="width:{100 * share:.1f}%"></span></span>'


def rounded(span: float, steps: Sequence[float], *, most: int = _TICKS) -> float:
    """Return the smallest of some steps of which a span has so many at most; the largest where none is enough."""
    return next((step for step in steps if span / step <= most), steps[-1])


def plain(value: float) -> str:
    """Return a number as short as it can be read."""
    return f"{value:,.0f}" if value == round(value) or value >= 100 else f"{value:,.3g}"


def _class(name: str) -> str:
    return escape(name.replace(" ", "-"))


def _of(layer: Layer, layers: Sequence[Layer]) -> str:
    return f", {escape(layer.name)}" if len(layers) > 1 else ""


def _key(layers: Sequence[Layer], *, always: bool = False) -> str:
    shown = [layer for layer in layers if always or any(layer.values)]
    if len(layers) < 2 and not always:
        return ""
    return "".join(f'<span><i class="fill-{_class(layer.name)}"></i>{escape(layer.name)}</span>' for layer in shown)


def _framed(
    inside: str,
    marks: Sequence[float],
    *,
    ticks: Iterable[Tick],
    title: str,
    unit: str,
    key: str,
    limit: float | None = None,
) -> str:
    top = marks[-1]
    grid = "".join(
        f'<line class="grid" x1="0" x2="{_WIDTH}" y1="{_y(mark, top):.2f}" y2="{_y(mark, top):.2f}"/>'
        for mark in marks
    )
    names = "".join(f'<span style="bottom:{100 * mark / top:.2f}%">{plain(mark)}</span>' for mark in marks)
    below = "".join(
        f'<span{_at_the_edge(at)} style="left:{100 * at:.2f}%">{escape(name)}</span>'
        for at, name in ticks
        if 0 <= at <= 1
    )
    line = told = ""
    if limit is not None:
        at = f"{_y(limit, top):.2f}"
        line = f'<line class="limit" x1="0" x2="{_WIDTH}" y1="{at}" y2="{at}"/>'
        told = f'<span class="limit" style="bottom:{100 * limit / top:.2f}%">limit {plain(limit)}</span>'
    return (
        f'<figure><figcaption><span class="unit">{escape(unit)}</span>{key}</figcaption>'
        f'<div class="y">{names}</div><div class="area">{_svg(grid + inside + line, title)}{told}</div>'
        f'<div class="x">{below}</div></figure>'
    )


def _at_the_edge(at: float) -> str:
    return " class=first" if at < 0.02 else " class=last" if at > 0.98 else ""


def _svg(inside: str, title: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{escape(title)}">'
        f"{inside}</svg>"
    )


def _y(value: float, top: float) -> float:
    return _HEIGHT - value / top * _HEIGHT


def _axis(values: Sequence[float], *, whole: bool) -> list[float]:
    """Return the marks of an axis: round numbers from 0 to one that is not below any value, with space above them."""
    most = max([*values, 0]) or 1
    power = math.floor(math.log10(most))
    steps = [factor * 10.0**exponent for exponent in range(power - 1, power + 2) for factor in (1, 2, 5)]
    step = rounded(most, [step for step in steps if step >= 1] or [1.0] if whole else steps)
    return [step * index for index in range(math.ceil(most * 1.02 / step) + 1)]
