"""How the page of a campaign looks, by day and by night, on a telephone and on a wall."""

_BY_DAY = """--ink: #16212c; --soft: #5d6b78; --line: #dfe5ea; --back: #f5f7f9; --card: #fff; --accent: #2563a8;
  --limit: #b4380d; --delivered: #2f8f5b; --submitted: #5b97d0; --queued: #b4bfc9; --undelivered: #db8327;
  --expired: #b3913d; --refused: #c5402f; --unknown: #8a4fb0; --unconfirmed: #a892c4; --cancelled: #7d8994;
  --suppressed: #55707f; --duplicate: #9db2c0; --invalid: #bb8d80;"""
_BY_NIGHT = """--ink: #e8edf2; --soft: #9dabb8; --line: #2f3b47; --back: #0f151b; --card: #18212a; --accent: #74aeea;
  --limit: #ff9566; --delivered: #46b67c; --submitted: #5f9fdd; --queued: #5a6977; --undelivered: #e59a4a;
  --expired: #c9a754; --refused: #e06454; --unknown: #b07ad6; --unconfirmed: #9c86ba; --cancelled: #8d9aa6;
  --suppressed: #6f8d9e; --duplicate: #7d94a4; --invalid: #c79a8c;"""
_STATES = [
    "delivered",
    "submitted",
    "queued",
    "undelivered",
    "expired",
    "refused",
    "unknown",
    "unconfirmed",
    "cancelled",
    "suppressed",
    "duplicate",
    "invalid",
]
_ALIASES = {
    "requests": "accent",
    "messages": "accent",
    "segments": "accent",
    "handed-over": "submitted",
    "answered": "accent",
    "not-sent": "undelivered",
    "answer-lost": "unknown",
    "under-way": "queued",
}
_COLOURS = "".join(
    f".fill-{name} {{ fill: var(--{colour}); background: var(--{colour}); }}"
    f" .line-{name} {{ stroke: var(--{colour}); }}\n"
    for name, colour in [*((state, state) for state in _STATES), *_ALIASES.items()]
)

STYLE = f"""
:root {{ color-scheme: light dark; {_BY_DAY} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_BY_NIGHT} }} }}
* {{ box-sizing: border-box; }}
body {{ font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  color: var(--ink); background: var(--back); margin: 0 auto; max-width: 62rem; padding: 2rem 1.25rem; }}
h1 {{ font-size: 1.7rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }}
h2 {{ font-size: 1rem; margin: 0 0 .75rem; }}
p {{ margin: .25rem 0; }} header p, .soft, footer {{ color: var(--soft); }} .soft {{ font-size: .85rem; margin: -.5rem 0 .6rem; }}
.why {{ color: var(--ink); border-left: 3px solid var(--limit); padding-left: .75rem; margin-top: .75rem; }}
header {{ margin-bottom: 1.25rem; }} footer {{ font-size: .85rem; margin-top: 1.25rem; }}
section, .cards > div {{ background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1.25rem; }}
section {{ margin-top: 1rem; min-width: 0; }}
.cards {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(8.4rem, 1fr)); gap: .75rem; }}
.cards > div {{ display: flex; flex-direction: column; padding: .8rem 1rem; }} .cards span {{ color: var(--soft); font-size: .85rem; }}
.cards b {{ font-size: 1.6rem; line-height: 1.3; font-weight: 650; font-variant-numeric: tabular-nums; }}
.two {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); column-gap: 1rem; align-items: stretch; }}
table {{ border-collapse: collapse; width: 100%; }} td, th {{ text-align: left; padding: .3rem 1rem .3rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }}
th {{ font-weight: normal; font-size: .85rem; color: var(--soft); }} tr:last-child > td {{ border-bottom: 0; }}
.n {{ text-align: right; padding-right: 0; padding-left: 1rem; white-space: nowrap; font-variant-numeric: tabular-nums; }}
svg {{ display: block; width: 100%; height: 100%; overflow: visible; }}
i {{ display: inline-block; width: .75em; height: .75em; border-radius: 3px; margin-right: .5em; }}
.shares {{ height: 1.6rem; border-radius: 6px; overflow: hidden; margin-bottom: .6rem; }}
.meter {{ display: inline-block; width: 4rem; height: .5rem; margin-left: .6rem; border-radius: 4px; background: var(--line); }}
.meter span {{ display: block; height: 100%; border-radius: 4px; background: var(--delivered); }}
figure {{ display: grid; grid-template-columns: auto minmax(0, 1fr); margin: 0; font-size: .75rem; color: var(--soft);
  font-variant-numeric: tabular-nums; }}
figure + .soft {{ margin: .4rem 0 0; }} figure + figure, .soft + figure {{ margin-top: 1.25rem; }}
figcaption {{ grid-column: 1 / 3; display: flex; flex-wrap: wrap; gap: 0 1rem; margin-bottom: .9rem; }}
figcaption .unit {{ margin-right: auto; }}
.y {{ position: relative; height: 11rem; min-width: 2.6rem; }}
.y span {{ position: absolute; right: .5rem; transform: translateY(50%); }}
.area {{ position: relative; height: 11rem; }}
.x {{ grid-column: 2; position: relative; height: 1.4rem; margin-top: .25rem; }}
.x span {{ position: absolute; transform: translateX(-50%); white-space: nowrap; }}
.x .first {{ transform: none; }} .x .last {{ transform: translateX(-100%); }} .w {{ white-space: nowrap; }}
line, polyline {{ vector-effect: non-scaling-stroke; fill: none; }} polyline {{ stroke-width: 2; }} .faint {{ opacity: .16; }}
.grid {{ stroke: var(--line); stroke-width: 1; }} line.limit {{ stroke: var(--limit); stroke-width: 1.5; stroke-dasharray: 5 4; }}
span.limit {{ position: absolute; right: 0; margin-bottom: 3px; color: var(--limit); background: var(--card); padding: 0 .25rem; border-radius: 3px; }}
{_COLOURS}@media (max-width: 32rem) {{ body {{ padding: 1.25rem .75rem; }} section, .cards > div {{ padding: .8rem .9rem; }}
  .cards {{ gap: .6rem; grid-template-columns: repeat(2, 1fr); }} .cards b {{ font-size: 1.3rem; }} }}
@media print {{ body {{ max-width: none; padding: 0; }} section {{ break-inside: avoid; }} }}
"""
