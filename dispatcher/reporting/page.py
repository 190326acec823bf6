"""Writes the page of a campaign: one HTML file with its figures and plots, which loads nothing from anywhere."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from dispatcher.errors import UsageError
from dispatcher.message import MessageState
from dispatcher.reporting.drawing import meter, shares
from dispatcher.reporting.plots import Limits, delivery, latency, pace, seconds_in_words, to_delivery
from dispatcher.reporting.style import STYLE
from dispatcher.reporting.summary import NETWORK, Summary, delivered_share

_GROUPS = 12
_REASONS = 15
_BEST = MessageState.DELIVERED.value


def write_page(summary: Summary, file: Path, *, limits: Limits, now: datetime) -> None:
    """Write the page, with the limits of each provider drawn beside the pace.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        file.write_text(_page(summary, limits=limits, now=now), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from None


def _page(summary: Summary, *, limits: Limits, now: datetime) -> str:
    campaign = summary.campaign
    name = escape(f"{campaign['name']}")
    parts = [
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{name}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # Nothing is loaded and nothing runs, whatever a name or a provider's word may hold.
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<style>{STYLE}</style></head><body>",
        f"<header><h1>{name}</h1><p>{escape(campaign['state'])} · {escape(campaign['provider'])} ·"
        f" campaign {escape(campaign['campaign'])} · as of {_moment(now)}</p>{_times(campaign)}",
        f'<p class="why">{escape(campaign["reason"])}</p>' if campaign["reason"] else "",
        "</header>",
        _cards(summary),
        _states(campaign),
        _section("Delivery over time", delivery(summary), wide=True),
        _section("Throughput against the limit", pace(summary, limits), wide=True),
        '<div class="two">',
        _section("How long requests took", latency(summary)),
        _section("From submission to delivery", to_delivery(summary)),
        _section("By country of the number", _groups(summary.by_country)),
        _section("By network of the number", _groups(summary.by_network), note=NETWORK),
        "</div>",
        _section("Reasons", _reasons(summary), wide=True),
        "<footer>All times are UTC. Delivered shares are of what the provider took. The page holds no phone numbers"
        " and no texts, and loads nothing.</footer></body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _section(title: str, inside: str, *, wide: bool = False, note: str = "") -> str:
    if not inside:
        return ""
    told = f'<p class="soft">{escape(note)}</p>' if note else ""
    return f"<section{' class=wide' if wide else ''}><h2>{escape(title)}</h2>{told}{inside}</section>"


def _cards(summary: Summary) -> str:
    campaign = summary.campaign
    states = Counter(campaign["messages"])
    share = delivered_share(states)
    half = summary.percentile(50)
    cards = [
        (
            "delivered so far" if summary.waiting else "delivered",
            "–" if share is None else _percent(share),
            f"{states['delivered']:,} messages",
        ),
        ("messages", f"{states.total():,}", f"of {campaign['rows']:,} rows"),
        ("waiting", f"{summary.waiting:,}", "to be sent, or for a receipt") if summary.waiting else None,
        (
            "half of them within",
            "–" if half is None else seconds_in_words(half),
            "of being sent" + (", at most" if summary.coarse else ""),
        )
        if half
        else None,
        ("cost", *_cost(campaign)),
        ("requests", f"{len(summary.attempts):,}", f"for {campaign['segments_submitted']:,} segments"),
    ]
    drawn = (
        f"<div><span>{escape(name)}</span><b>{escape(value)}</b><span>{escape(more)}</span></div>"
        for name, value, more in (card for card in cards if card)
    )
    return f'<div class="cards">{"".join(drawn)}</div>'


def _cost(campaign: dict[str, Any]) -> tuple[str, str]:
    if not campaign["cost"] and campaign["segments_submitted"]:
        return "–", f"{campaign['provider']} told none"
    refunded = f"{campaign['refunded']:,} refunded" if campaign["refunded"] else "in the provider's unit"
    return f"{campaign['cost']:,}", refunded


def _states(campaign: dict[str, Any]) -> str:
    places = {**campaign["messages"], **campaign["excluded"]}
    parts = [(state, many) for state, many in sorted(places.items(), key=lambda one: one[0] != _BEST) if many]
    total = campaign["rows"] or 1
    rows = [
        (f'<i class="fill-{escape(state)}"></i>{escape(state)}', f"{many:,}", _percent(many / total))
        for state, many in parts
    ]
    rows.append(("<b>all rows</b>", f"<b>{campaign['rows']:,}</b>", ""))
    table = _table(("", "rows", "share"), rows)
    return f"<section class=wide><h2>What became of the rows</h2>{shares(parts, title='states')}{table}</section>"


def _times(campaign: dict[str, Any]) -> str:
    known = [("began", campaign["started_at"]), ("ended", campaign["finished_at"])]
    told = [f"{what} {_moment(datetime.fromisoformat(at))}" for what, at in known if at]
    return f"<p>{escape(', '.join(told))}</p>" if told else ""


def _groups(groups: dict[str, Counter[str]]) -> str:
    if not groups:
        return ""
    chosen = sorted(groups.items(), key=lambda group: -group[1].total())
    rows = []
    for name, states in chosen[:_GROUPS]:
        share = delivered_share(states)
        shown = "–" if share is None else f"{_percent(share)}{meter(share)}"
        rows.append((escape(name), f"{states.total():,}", shown))
    if len(chosen) > _GROUPS:
        rest = sum((states for _, states in chosen[_GROUPS:]), Counter[str]())
        rows.append((f"{len(chosen) - _GROUPS} more", f"{rest.total():,}", ""))
    return _table(("", "messages", "delivered"), rows)


def _reasons(summary: Summary) -> str:
    rows = [
        (f'<span class="w"><i class="fill-{escape(state)}"></i>{escape(state)}</span>', escape(reason), f"{many:,}")
        for (state, reason), many in summary.reasons.most_common(_REASONS)
    ]
    if len(summary.reasons) > _REASONS:
        rest = summary.reasons.total() - sum(many for _, many in summary.reasons.most_common(_REASONS))
        rows.append((f"{len(summary.reasons) - _REASONS} more", "", f"{rest:,}"))
    return _table(("", "reason", "rows"), rows, numbers_from=2) if rows else ""


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, numbers_from: int = 1) -> str:
    def line(tag: str, cells: Sequence[str]) -> str:
        drawn = (
            f"<{tag}{' class=n' if index >= numbers_from else ''}>{cell}</{tag}>" for index, cell in enumerate(cells)
        )
        return f"<tr>{''.join(drawn)}</tr>"

    head = line("th", headings) if any(headings) else ""
    return f"<table>{head}{''.join(line('td', row) for row in rows)}</table>"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if 0 < share < 1 else f"{100 * share:.0f} %"


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
