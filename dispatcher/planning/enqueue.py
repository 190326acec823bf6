"""Enqueues a campaign: plans its recipients into the ledger as a draft, and makes it live in one last commit."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from dispatcher.calm import calm
from dispatcher.errors import InputError, UsageError
from dispatcher.hours import LocalHours, Place, from_rules
from dispatcher.ledger import Campaign, ExcludedRow, Ledger, NewCampaign, PlannedBatch, PlanTotals
from dispatcher.planning.behind import Behind
from dispatcher.planning.columns import USUAL, choose_phone_column, find_column
from dispatcher.planning.cutting import Cutter
from dispatcher.planning.guard import Guard
from dispatcher.planning.keeping import kept
from dispatcher.planning.leaving_out import LeftOut, left_out
from dispatcher.planning.order import Order
from dispatcher.planning.plan import Plan, Seen
from dispatcher.planning.preflight import Preflight
from dispatcher.planning.quoting import Asks
from dispatcher.planning.reading.rows import Reader
from dispatcher.planning.recipients import Recipients, open_recipients
from dispatcher.planning.variants import Missing, Variants
from dispatcher.planning.zoning import Times, ZonedCutter
from dispatcher.provider import Capabilities
from dispatcher.release import handover, pace
from dispatcher.template import Template, TemplateError, compile_template, fold
from dispatcher.zones import Places

_MESSAGES_PER_COMMIT = 20_000
_ASKED_BY = {
    "media_url": "--media",
    "media_data": "--media",
    "media_type": "--media",
    "media_size": "--media",
    "as_campaign": "--as-campaign",
    "channels": "--channel",
    "reconcilable": "--reconcilable",
}
"""Which option of the command a campaign option comes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueued:
    """What came of it. `campaign` is None for a dry run; `again` where the key was known already."""

    campaign: Campaign | None
    totals: PlanTotals
    again: bool = False
    repaired: int = 0  # of the messages' and duplicates' numbers, those that a spreadsheet had mangled
    notes: Sequence[str] = ()  # what was guessed, repaired or passed over in the list


def enqueue(
    ledger: Ledger,
    order: Order,
    source: Path | BinaryIO | Reader,
    *,
    capabilities: Capabilities,
    who: str,
    clock: Callable[[], datetime],
    dry_run: bool = False,
    progress: Callable[[PlanTotals], None] = lambda _: None,
    preflight: Preflight | None = None,
    settle: Callable[[Enqueued], None] | None = None,
    asks: Asks = MappingProxyType({}),
) -> Enqueued:
    """Plan a recipient list for a provider and make the campaign live, in bounded memory.

    The draft sends nothing until the last commit: killed before it, nothing is sent, and running again is safe.
    The key of a campaign that there is already gives that campaign, and plans nothing. `preflight` looks on. `settle`
    is called when all is planned and nothing is live yet, however long it takes: what it raises leaves nothing behind.
    Where a budget is to be held, providers that tell their prices are asked by `asks`.

    Raises:
        InputError: the list or the text cannot be planned; nothing is left of it.
        LedgerError: another enqueue plans the same key at this moment.
    """
    if order.key is not None and (known := ledger.campaigns.with_key(order.key)) is not None:
        return Enqueued(campaign=known, totals=known.totals, again=True)
    check_options(order, capabilities)
    now = clock()
    into = order.adds_to
    after = 0 if into is None else into.totals.rows
    with calm(), open_recipients(source, order.reading, after=after) as recipients:
        gone = left_out(ledger, rules=order.rules, brand=order.brand, send_at=order.send_at, now=now)
        plan = make_plan(
            order,
            recipients,
            capabilities=capabilities,
            suppressed=gone,
            now=now,
            watch=None if preflight is None else preflight.see,
        )
        if into is not None:
            plan.know(ledger.reports.rows_by_number(into))
        guard = Guard(order, asks=asks)
        steps = guard.steps(located(plan, recipients))
        if preflight is not None:
            steps = preflight.steps(steps)

        def planned(campaign: Campaign | None = None) -> Enqueued:
            return Enqueued(
                campaign=campaign,
                totals=guard.totals(plan.totals),
                repaired=plan.numbers.many_repaired,
                notes=[*told(order, plan, recipients), *guard.notes],
            )

        if dry_run:
            for _ in steps:
                progress(plan.totals)
            check_not_empty(plan.totals, recipients)
            guard.find_prices()
            return planned()
        new = NewCampaign(
            public_id=order.public_id,
            key=order.key,
            name=order.name,
            provider=order.provider,
            sender=order.sender,
            template=order.text,
            personalised=plan.variants.together.personalised,
            send_at=order.send_at,
            country=order.country,
            options=order.options,
            rules=order.rules,
            brand=order.brand,
            fallbacks=order.fallbacks,
            priority=order.priority,
            expires_at=order.expires_at,
            budget=order.budget,
            segment_price=order.segment_price,
            retry_of=order.retry_of,
            variants=order.variants,
            adds_to=None if into is None else into.id,
            created_at=now,
        )
        campaign_id = ledger.plans.begin(new, who=who, now=now)
        try:
            _write(ledger, campaign_id, plan, steps, clock=clock, progress=progress)
            check_not_empty(plan.totals, recipients)
            with kept(ledger, campaign_id, clock=clock):
                guard.find_prices()
                guard.write(ledger, campaign_id)
                if settle is not None:
                    settle(planned())
        except BaseException:
            # Also on Ctrl-C. A kill leaves a draft that never sends, and that the next enqueue or worker removes.
            ledger.plans.discard(campaign_id)
            raise
        totals = guard.totals(plan.totals)
        if into is None:
            start = clock() if order.send_at is None else max(clock(), order.send_at)
            pace(ledger, campaign_id, rules=order.rules, batches=totals.batches, start=start)
            ledger.plans.finish(campaign_id, totals, who=who, now=clock())
        else:
            ledger.plans.add(campaign_id, into, totals, who=who, now=clock())
        return planned(ledger.campaigns.get(order.public_id if into is None else into.public_id))


def make_plan(
    order: Order,
    recipients: Recipients,
    *,
    capabilities: Capabilities,
    suppressed: LeftOut,
    now: datetime,
    watch: Callable[[Seen], None] | None = None,
) -> Plan:
    """Return the plan of an order, ready to run over its recipients.

    Raises:
        InputError: the text or the header cannot be used.
    """
    column = order.text_by or order.rules.get("text_by")
    variants = Variants(
        _compiled(order.text, "the text"),
        {name: _compiled(text, f"the text for {name}") for name, text in order.variants.items()},
        None if column is None or not order.variants else find_column(column, recipients.header),
    )
    return Plan(
        header=recipients.header,
        template=variants,
        phone_column=order.phone_column or choose_phone_column(recipients.header, recipients.first),
        country=order.country,
        country_column=order.country_column,
        provider=",".join((order.provider, *order.fallbacks)),
        capabilities=capabilities,
        suppressed=suppressed,
        due_at=handover(order.send_at, capabilities, now=now).due_at,
        send_at=order.send_at,
        sender=order.sender,
        cutter=_zoned_cutter(order, variants.together, capabilities, now=now),
        missing=Missing(order.rules.get("missing", Missing.REFUSE)),
        gsm7=bool(order.rules.get("gsm7")),
        watch=watch,
    )


def _compiled(text: str, which: str) -> Template:
    try:
        return compile_template(text)
    except TemplateError as error:
        raise InputError(f"{which}, {error}") from None


def _zoned_cutter(
    order: Order, template: Template, capabilities: Capabilities, *, now: datetime
) -> ZonedCutter | None:
    """Return what cuts by time zone, where the campaign keeps to hours of local time."""
    hours = from_rules(order.rules)
    if hours is None:
        return None

    def times(place: Place) -> Times:
        local = LocalHours(hours=hours, place=place)
        way = handover(order.send_at, capabilities, now=now, hours=local)
        opening = None if order.send_at is None else local.stretch(max(now, order.send_at))
        return way.due_at, None if opening is None else opening.begin

    cutter = Cutter(template, capabilities, due_at=now, send_at=None)
    return ZonedCutter(cutter, Places(by_country=hours.skip_holidays, now=now), times)


def check_options(order: Order, capabilities: Capabilities) -> None:
    """Refuse what the provider cannot express, before anything is planned.

    Raises:
        UsageError: the provider has no such option.
    """
    for option in order.options:
        if option not in capabilities.options:
            asked = _ASKED_BY.get(option, option)
            raise UsageError(f"{order.provider} cannot do {asked}: leave it out, or choose another provider")


def _write(
    ledger: Ledger,
    campaign_id: int,
    plan: Plan,
    steps: Iterator[PlannedBatch | list[ExcludedRow]],
    *,
    clock: Callable[[], datetime],
    progress: Callable[[PlanTotals], None],
) -> None:
    batches: list[PlannedBatch] = []
    excluded: list[ExcludedRow] = []
    written = 0

    def flush() -> None:
        nonlocal batches, excluded, written
        append = partial(
            ledger.plans.append,
            campaign_id,
            first_number=written + 1,
            batches=batches,
            excluded=excluded,
            now=clock(),
        )
        behind.do(append)
        written += len(batches)
        batches, excluded = [], []
        progress(plan.totals)

    waiting = 0
    with Behind() as behind:
        for step in steps:
            if isinstance(step, PlannedBatch):
                batches.append(step)
                waiting += len(step.numbers)
            else:
                excluded += step
                waiting += len(step)
            if waiting >= _MESSAGES_PER_COMMIT:
                flush()
                waiting = 0
        flush()


def located(plan: Plan, recipients: Recipients) -> Iterator[PlannedBatch | list[ExcludedRow]]:
    """Run the plan; what it finds wrong with a line is told with the name of the file."""
    try:
        yield from plan.steps(recipients)
    except InputError as error:
        if recipients.name in str(error):
            raise
        raise InputError(f"{recipients.name}, {error}") from None


def told(order: Order, plan: Plan, recipients: Recipients) -> list[str]:
    """Return what a person should know of how the list was read, a sentence each; once all of it has been."""
    column = plan.numbers.phone_column
    guessed = order.phone_column is None and fold(column) != USUAL
    return [
        *([f"numbers from column {column}"] if guessed else []),
        *recipients.notes,
        *plan.numbers.notes,
        *(f"nobody gets the text for {name}: no row that becomes a message says so" for name in plan.variants.unused),
    ]


def check_not_empty(totals: PlanTotals, recipients: Recipients) -> None:
    """Refuse a list of which nobody can be sent to.

    Raises:
        InputError: there is no message in the plan.
    """
    if totals.messages == 0:
        left_out = "they opted out, or this campaign leaves them out" if totals.suppressed else ""
        raise InputError(
            f"{recipients.name}: none of its {totals.rows} rows can be sent to"
            f" ({totals.invalid} invalid, {totals.duplicates} duplicates, {totals.suppressed} suppressed):"
            f" {left_out or 'check the phone column and the country'}"
        )
