"""Plots of a campaign: what was sent and delivered over time, the pace beside the limit, how long things took."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from html import escape

from dispatcher.ledger import Attempt
from dispatcher.reporting.drawing import Layer, Tick, columns, curves, rounded
from dispatcher.reporting.summary import Summary

_POINTS = 120
_BINS = 80
_TIME_BINS = 40
_TICKS = 5
Limits = Mapping[str, tuple[float | None, float | None]]
"""Each provider's requests and segments a second; None where it has no such limit."""

_STEPS = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0]
_STEPS += [60 * each for each in _STEPS] + [3600.0 * each for each in (1, 2, 3, 6, 12)]
_STEPS += [86_400.0 * each for each in (1, 2, 5, 10, 30, 90)]
_LEAST_SPAN = 10.0
_DAY = 86_400.0
_OUTCOMES = {"submitted": "answered", "refused": "answered", "unknown": "answer lost", "not submitted": "not sent"}
"""What an attempt's outcome is called in the plot of the pace; without one it is under way."""

_UNDER_WAY = "under way"


def delivery(summary: Summary) -> str:
    """Return how many messages were sent and delivered up to each moment."""
    sent = [
        (one.began_at.timestamp(), one.messages)
        for one in summary.attempts
        if one.outcome in ("submitted", "unknown")
    ]
    delivered = summary.delivered_at
    instants = [at for at, _ in sent] + ([delivered[0], delivered[-1]] if delivered else [])
    if not instants:
        return ""
    first, last = _span(min(instants), max(instants))
    at = [first + (last - first) * index / _POINTS for index in range(_POINTS + 1)]
    begun = [moment for moment, _ in sent]
    sums = [0]
    for _, many in sent:
        sums.append(sums[-1] + many)
    layers = [
        ("handed over", [((one - first) / (last - first), float(sums[bisect_right(begun, one)])) for one in at]),
        ("delivered", [((one - first) / (last - first), float(bisect_right(delivered, one))) for one in at]),
    ]
    if not sent:
        layers = layers[1:]
    drawn = curves(
        layers, ticks=_clock(first, last), title="Delivery over time", unit="messages so far, by time (UTC)"
    )
    if not delivered:
        return drawn + _note("No message is known to be delivered yet.")
    return drawn + _note(summary.coarse_in_words)


def pace(summary: Summary, limits: Limits) -> str:
    """Return the requests a second over time, by what came of them; and the segments, where they have a limit."""
    names = list(dict.fromkeys(one.provider for one in summary.attempts))
    plots = [
        _pace_at(
            [one for one in summary.attempts if one.provider == name], *limits.get(name, (None, None)), name=name
        )
        for name in names
    ]
    return "".join(plots)


def _pace_at(attempts: Sequence[Attempt], limit: float | None, segments_limit: float | None, *, name: str) -> str:
    begun = [one.began_at.timestamp() for one in attempts]
    first, last = _span(begun[0], begun[-1])
    width = rounded(last - first, _STEPS, most=_BINS)
    first -= first % width
    count = int((last - first) / width) + 1
    end = first + count * width
    counts = {outcome: [0.0] * count for outcome in ("answered", "not sent", "answer lost", _UNDER_WAY)}
    segments = [0.0] * count
    for at, one in zip(begun, attempts, strict=True):
        place = int((at - first) / width)
        counts[_OUTCOMES.get(one.outcome or "", _UNDER_WAY)][place] += 1 / width
        segments[place] += one.segments / width
    ticks, label = _clock(first, end), _named(first, width)
    draw = partial(columns, label=label, ticks=ticks, whole=False)
    drawn = draw(
        [Layer(name=outcome, values=values) for outcome, values in counts.items() if any(values)],
        title=f"Requests a second to {name}",
        unit=f"requests a second to {name}, by time (UTC)",
        limit=limit,
    )
    if segments_limit is not None:
        drawn += draw(
            [Layer(name="segments", values=segments)],
            title=f"Segments a second to {name}",
            unit=f"segments a second to {name}, by time (UTC)",
            limit=segments_limit,
        )
    limited = limit is not None or segments_limit is not None
    held = "A limit is as it is set now; workers hold it in every rolling second." if limited else "No limit is set."
    return drawn + _note(f"Each column is the average of {seconds_in_words(width)}. {held}")


def latency(summary: Summary) -> str:
    """Return how the durations of requests are spread."""
    took = sorted(one.seconds for one in summary.attempts if one.seconds is not None)
    return _histogram(took, title="How long requests took", unit="requests", by="time until the answer")


def to_delivery(summary: Summary) -> str:
    """Return how the times from submission to delivery are spread."""
    title = "From submission to delivery"
    drawn = _histogram(summary.to_delivery, title=title, unit="messages", by="time until delivered")
    return drawn + _note(summary.coarse_in_words) if drawn else ""


def seconds_in_words(value: float) -> str:
    """Return a duration, as short as it can be read."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 120:
        return f"{value:.1f} s".replace(".0 s", " s")
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def _histogram(values: Sequence[float], *, title: str, unit: str, by: str) -> str:
    """Return how sorted durations are spread; the last column holds what takes longer than 99 % of them."""
    if not values:
        return ""
    most = values[min(len(values) - 1, len(values) * 99 // 100)] or 1e-3
    factor, scale = (1000.0, "ms") if most < 2 else (1.0, "s") if most < 120 else (1 / 60, "min")
    if most >= 7200:
        factor, scale = 1 / 3600, "h"
    step = rounded(most * factor, _tens(most * factor))
    top = step * max(1, -(-most * factor // step)) * 1.000001
    bins = [0.0] * (_TIME_BINS + 1)
    for value in values:
        bins[min(_TIME_BINS, int(value * factor / top * _TIME_BINS))] += 1
    beyond = bins[-1]
    if not beyond:
        bins.pop()
    ticks = [
        (step * index / top * _TIME_BINS / len(bins), f"{step * index:,g}") for index in range(round(top / step) + 1)
    ]
    if beyond:
        ticks = [*ticks[:-1], (1.0, f"{step * round(top / step):,g}+")]

    def label(index: int) -> str:
        if index == _TIME_BINS:
            return f"more than {top:.3g} {scale}"
        return f"{index * top / _TIME_BINS:.3g}–{(index + 1) * top / _TIME_BINS:.3g} {scale}"

    return columns(
        [Layer(name=unit, values=bins)], label=label, ticks=ticks, title=title, unit=f"{unit}, by {by} ({scale})"
    )


def _tens(top: float) -> list[float]:
    power = 10.0 ** (len(f"{top:.0f}") - 2) if top >= 1 else 0.01
    return [factor * power * ten for ten in (0.1, 1, 10, 100) for factor in (1, 2, 5)]


def _span(first: float, last: float) -> tuple[float, float]:
    """Return the times that a plot runs over, some seconds at least."""
    return (first, last) if last - first >= _LEAST_SPAN else (first, first + _LEAST_SPAN)


def _clock(first: float, last: float) -> list[Tick]:
    """Return round times of day; where another day begins, its date."""
    step = rounded(last - first, _STEPS, most=_TICKS)
    at = -(-first // step) * step
    ticks = []
    while at <= last:
        when = datetime.fromtimestamp(at, UTC)
        form = "%-d %b" if at % _DAY == 0 else "%H:%M:%S" if step < 60 else "%H:%M"
        ticks.append(((at - first) / (last - first), when.strftime(form)))
        at += step
    return ticks


def _named(first: float, width: float) -> Callable[[int], str]:
    def label(index: int) -> str:
        return f"{datetime.fromtimestamp(first + index * width, UTC):%Y-%m-%d %H:%M:%S} UTC"

    return label


def _note(text: str) -> str:
    return f'<p class="soft">{escape(text)}</p>' if text else ""
