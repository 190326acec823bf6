"""Writes the page of a campaign: one HTML file with its figures and plots, which loads nothing from anywhere."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from dispatcher.errors import UsageError
from dispatcher.reporting.drawing import columns, shares
from dispatcher.reporting.summary import PERCENTILES, Summary, delivered_share

_BINS = 80
_GROUPS = 12
_REASONS = 15

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --soft: #66727f; --line: #d8dee4; --back: #fff; --bar: #3b76b8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6ebf0; --soft: #9aa6b2; --line: #37424d; --back: #14191f; --bar: #6ea6e4; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back); margin: 2rem auto;
  max-width: 44rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; }
p { margin: .3rem 0; } .soft { color: var(--soft); }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: .15rem .6rem .15rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; } .n { text-align: right; font-variant-numeric: tabular-nums; }
svg { width: 100%; height: auto; display: block; } svg text { font-size: 11px; fill: var(--soft); }
.shares { height: 28px; border-radius: 4px; } .bar { fill: var(--bar); } .grid { stroke: var(--line); }
line.limit { stroke: #c2410c; stroke-dasharray: 4 3; } text.limit { fill: #c2410c; }
.state-delivered { fill: #2e8b57; background: #2e8b57; } .state-submitted { fill: #7fb3e6; background: #7fb3e6; }
.state-queued { fill: #c3ccd5; background: #c3ccd5; } .state-undelivered { fill: #d9822b; background: #d9822b; }
.state-expired { fill: #b5893a; background: #b5893a; } .state-refused { fill: #c0392b; background: #c0392b; }
.state-unknown { fill: #8e44ad; background: #8e44ad; } .state-unconfirmed { fill: #a796b8; background: #a796b8; }
.state-cancelled { fill: #7f8c8d; background: #7f8c8d; } .state-suppressed { fill: #546e7a; background: #546e7a; }
.state-duplicate { fill: #9fb0bd; background: #9fb0bd; } .state-invalid { fill: #b98b82; background: #b98b82; }
i { display: inline-block; width: .8em; height: .8em; border-radius: 2px; margin-right: .5em; }
"""


def write_page(summary: Summary, file: Path, *, limit: float | None, now: datetime) -> None:
    """Write the page. `limit` is the provider's requests a second, drawn beside the pace.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        file.write_text(_page(summary, limit=limit, now=now), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from None


def _page(summary: Summary, *, limit: float | None, now: datetime) -> str:
    campaign = summary.campaign
    name = escape(f"{campaign['name']}")
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # Nothing is loaded and nothing runs, whatever a name or a provider's word may hold.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<style>{_STYLE}</style></head><body>",
        f'<h1>{name}</h1><p class="soft">campaign {escape(campaign["campaign"])} · {escape(campaign["provider"])}',
        f" · as of {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC</p>",
        f"<p>{escape(campaign['state'])}{escape(': ' + campaign['reason'] if campaign['reason'] else '')}</p>",
        _states(campaign),
        _facts(summary),
        _over_time(summary.delivered_at),
        _pace(summary, limit),
        _latency(summary),
        _times_to_delivery(summary),
        _groups("By country", summary.by_country),
        _groups("By network (as numbers were first given out)", summary.by_network),
        _reasons(summary),
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _states(campaign: dict[str, Any]) -> str:
    places = {**campaign["messages"], **campaign["excluded"]}
    parts = [(state, many) for state, many in places.items() if many]
    total = campaign["rows"] or 1
    rows = [
        (f'<i class="state-{escape(state)}"></i>{escape(state)}', f"{many:,}", f"{many / total:.1%}")
        for state, many in parts
    ]
    rows.append(("all rows", f"{campaign['rows']:,}", ""))
    return "<h2>What became of the rows</h2>" + shares(parts, title="states") + _table(("", "rows", "share"), rows)


def _facts(summary: Summary) -> str:
    campaign = summary.campaign
    states = Counter(campaign["messages"])
    share = delivered_share(states)
    facts = [
        ("delivered of what the provider took", "" if share is None else f"{share:.1%}"),
        ("segments submitted", f"{campaign['segments_submitted']:,}"),
        ("cost", f"{campaign['cost']:,}"),
        ("refunded", f"{campaign['refunded']:,}" if campaign["refunded"] else ""),
        ("requests", f"{len(summary.attempts):,}"),
        ("started", escape(campaign["started_at"] or "")),
        ("finished", escape(campaign["finished_at"] or "")),
    ]
    facts += [
        (f"{percent} % delivered within", _seconds(found))
        for percent in PERCENTILES
        if (found := summary.percentile(percent)) is not None
    ]
    return "<h2>In figures</h2>" + _table(("", ""), [fact for fact in facts if fact[1]])


def _over_time(instants: Sequence[float]) -> str:
    if not instants:
        return ""
    counts, width = _bins(instants)
    title, unit = "Delivered over time", "messages"
    drawn = columns(counts, label=_clock(instants[0], width), title=title, unit=unit)
    return f'<h2>{title}</h2><p class="soft">{unit} in each {_seconds(width)}</p>' + drawn


def _pace(summary: Summary, limit: float | None) -> str:
    began = [one.began_at.timestamp() for one in summary.attempts]
    if not began:
        return ""
    counts, width = _bins(began)
    rates = [many / width for many in counts]
    drawn = columns(rates, label=_clock(began[0], width), title="requests a second", limit=limit, unit="requests/s")
    return f"<h2>Requests a second{', and the limit' if limit else ''}</h2>" + drawn


def _bins(instants: Sequence[float]) -> tuple[list[int], float]:
    """Count sorted instants in bins of equal width; return the counts, and the width in seconds."""
    first, last = instants[0], instants[-1]
    width = max((last - first) / _BINS, 1.0)
    counts = [0] * (int((last - first) / width) + 1)
    for instant in instants:
        counts[int((instant - first) / width)] += 1
    return counts, width


def _latency(summary: Summary) -> str:
    took = sorted(one.seconds for one in summary.attempts if one.seconds is not None)
    return _histogram("How long requests took", took, "requests")


def _times_to_delivery(summary: Summary) -> str:
    title = "From submission to delivery"
    values = [summary.longest(value) for value in summary.to_delivery]
    return _histogram(
        title + (", at most: receipts come in whole minutes" if summary.coarse else ""), values, "messages"
    )


def _histogram(title: str, values: Sequence[float], unit: str) -> str:
    if not values:
        return ""
    top = values[min(len(values) - 1, len(values) * 99 // 100)] or 1e-6
    bins = [0.0] * 40
    for value in values:
        bins[min(39, int(value / top * 39))] += 1

    def label(index: int) -> str:
        return _seconds(index * top / 39) + ("+" if index == 39 else "")

    return f"<h2>{escape(title)}</h2>" + columns(bins, label=label, title=title, unit=unit)


def _groups(title: str, groups: dict[str, Counter[str]]) -> str:
    if not groups:
        return ""
    chosen = sorted(groups.items(), key=lambda group: -group[1].total())
    rows = []
    for name, states in chosen[:_GROUPS]:
        share = delivered_share(states)
        rows.append((escape(name), f"{states.total():,}", "" if share is None else f"{share:.1%}"))
    if len(chosen) > _GROUPS:
        rest = sum((states for _, states in chosen[_GROUPS:]), Counter[str]())
        rows.append((f"{len(chosen) - _GROUPS} more", f"{rest.total():,}", ""))
    return f"<h2>{escape(title)}</h2>" + _table(("", "messages", "delivered"), rows)


def _reasons(summary: Summary) -> str:
    if not summary.reasons:
        return ""
    rows = [
        (escape(state), escape(reason), f"{many:,}")
        for (state, reason), many in summary.reasons.most_common(_REASONS)
    ]
    return "<h2>Reasons</h2>" + _table(("state", "reason", "messages"), rows, numbers_from=2)


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, numbers_from: int = 1) -> str:
    def line(tag: str, cells: Sequence[str]) -> str:
        drawn = (
            f"<{tag}{' class=n' if index >= numbers_from else ''}>{cell}</{tag}>" for index, cell in enumerate(cells)
        )
        return f"<tr>{''.join(drawn)}</tr>"

    head = line("th", headings) if any(headings) else ""
    return f"<table>{head}{''.join(line('td', row) for row in rows)}</table>"


def _clock(first: float, width: float) -> Callable[[int], str]:
    def label(index: int) -> str:
        return f"{datetime.fromtimestamp(first + index * width, UTC):%H:%M:%S}"

    return label


def _seconds(value: float) -> str:
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"
