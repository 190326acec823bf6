"""Draws small plots as SVG, to stand in a page that loads nothing."""

import math
from collections.abc import Callable, Sequence
from html import escape

WIDTH, HEIGHT = 640, 200
_LEFT, _BOTTOM, _TOP = 56, 26, 10


def columns(
    values: Sequence[float],
    *,
    label: Callable[[int], str],
    title: str,
    limit: float | None = None,
    unit: str = "",
) -> str:
    """Return a column chart of values; `label` names the one at an index, `limit` is drawn as a line."""
    top = _ceiling(max([*values, limit or 0, 1e-9]))
    width = (WIDTH - _LEFT) / max(1, len(values))
    bars = [
        f'<rect class="bar" x="{_LEFT + index * width:.2f}" y="{_y(value, top):.1f}" width="{max(0.6, width - 1):.2f}"'
        f' height="{_y(0, top) - _y(value, top):.1f}"><title>{escape(label(index))}: {value:,.4g} {unit}</title></rect>'
        for index, value in enumerate(values)
        if value
    ]
    names = {0, len(values) // 2, len(values) - 1} if values else set()
    ticks = [
        f'<text x="{_LEFT + (index + 0.5) * width:.1f}" y="{HEIGHT - 8}" text-anchor="{_anchor(index, len(values))}">'
        f"{escape(label(index))}</text>"
        for index in sorted(names)
    ]
    line = ""
    if limit is not None:
        at = _y(limit, top)
        line = (
            f'<line class="limit" x1="{_LEFT}" x2="{WIDTH}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<text class="limit" x="{WIDTH}" y="{at - 4:.1f}" text-anchor="end">limit {limit:,.4g}</text>'
        )
    return _framed(title, _axis(top) + "".join(bars) + line + "".join(ticks))


def shares(parts: Sequence[tuple[str, int]], *, title: str) -> str:
    """Return one bar that is divided by (name, amount), each part with its name for a class."""
    total = sum(many for _, many in parts) or 1
    drawn, at = [], 0.0
    for name, many in parts:
        width = many / total * WIDTH
        drawn.append(
            f'<rect class="state-{escape(name)}" x="{at:.2f}" y="0" width="{width:.2f}" height="28">'
            f"<title>{escape(name)}: {many:,} ({many / total:.1%})</title></rect>"
        )
        at += width
    return (
        f'<svg viewBox="0 0 {WIDTH} 28" role="img" aria-label="{escape(title)}" preserveAspectRatio="none"'
        f' class="shares">{"".join(drawn)}</svg>'
    )


def _axis(top: float) -> str:
    lines = []
    for share in (0, 0.5, 1):
        at = _y(top * share, top)
        lines.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{top * share:,.4g}</text>'
        )
    return "".join(lines)


def _framed(title: str, inside: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{inside}</svg>'


def _y(value: float, top: float) -> float:
    return HEIGHT - _BOTTOM - value / top * (HEIGHT - _BOTTOM - _TOP)


def _anchor(index: int, count: int) -> str:
    if count > 1 and index == 0:
        return "start"
    return "end" if index == count - 1 and count > 1 else "middle"


def _ceiling(value: float) -> float:
    """Return a round number that is not below the value."""
    step = 10.0 ** math.floor(math.log10(value))
    return next(step * factor for factor in (1, 2, 5, 10) if step * factor >= value * 0.999999)
