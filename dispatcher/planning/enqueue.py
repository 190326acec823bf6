"""Enqueues a campaign: plans its recipients into the ledger as a draft, and makes it live in one last commit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

from dispatcher.errors import InputError, UsageError
from dispatcher.hours import LocalHours, Place, from_rules
from dispatcher.ledger import Campaign, ExcludedRow, Ledger, NewCampaign, PlannedBatch, PlanTotals
from dispatcher.planning.cutting import Cutter
from dispatcher.planning.leaving_out import LeftOut, left_out
from dispatcher.planning.plan import Plan
from dispatcher.planning.recipients import Recipients, open_recipients
from dispatcher.planning.zoning import ZonedCutter
from dispatcher.provider import Capabilities
from dispatcher.release import handover, pace
from dispatcher.template import Template, TemplateError, compile_template
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
class Order:
    """What is to be sent: everything about a campaign but its recipients."""

    public_id: str
    name: str
    provider: str
    text: str
    phone_column: str
    country: str | None = None
    sender: str | None = None
    send_at: datetime | None = None
    key: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    rules: Mapping[str, Any] = field(default_factory=dict)  # see Campaign.rules
    brand: str = ""
    fallbacks: Sequence[str] = ()
    priority: int = 0
    expires_at: datetime | None = None
    budget: Decimal | None = None
    segment_price: Decimal | None = None
    retry_of: str | None = None
    variants: Mapping[str, str] = field(default_factory=dict)  # name → text, for some of the recipients


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueued:
    """What came of it. `campaign` is None for a dry run; `again` where the key was known already."""

    campaign: Campaign | None
    totals: PlanTotals
    again: bool = False


def enqueue(
    ledger: Ledger,
    order: Order,
    source: Path | BinaryIO,
    *,
    capabilities: Capabilities,
    who: str,
    clock: Callable[[], datetime],
    dry_run: bool = False,
    progress: Callable[[PlanTotals], None] = lambda _: None,
) -> Enqueued:
    """Plan a recipient list for a provider and make the campaign live, in bounded memory.

    The draft sends nothing until the last commit: killed before it, nothing is sent, and running again is safe.
    The key of a campaign that there is already gives that campaign, and plans nothing.

    Raises:
        InputError: the list or the text cannot be planned; nothing is left of it.
        LedgerError: another enqueue plans the same key at this moment.
    """
    if order.key is not None and (known := ledger.campaigns.with_key(order.key)) is not None:
        return Enqueued(campaign=known, totals=known.totals, again=True)
    check_options(order, capabilities)
    now = clock()
    with open_recipients(source) as recipients:
        gone = left_out(ledger, rules=order.rules, brand=order.brand, send_at=order.send_at, now=now)
        plan = make_plan(order, recipients, capabilities=capabilities, suppressed=gone, now=now)
        if dry_run:
            for _ in located(plan, recipients):
                progress(plan.totals)
            check_not_empty(plan.totals, recipients)
            return Enqueued(campaign=None, totals=plan.totals)
        new = NewCampaign(
            public_id=order.public_id,
            key=order.key,
            name=order.name,
            provider=order.provider,
            sender=order.sender,
            template=order.text,
            personalised=compile_template(order.text).personalised,
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
            created_at=now,
        )
        campaign_id = ledger.plans.begin(new, who=who, now=now)
        try:
            _write(ledger, campaign_id, plan, recipients, clock=clock, progress=progress)
            check_not_empty(plan.totals, recipients)
        except BaseException:
            # Also on Ctrl-C. A kill leaves a draft that never sends, and that the next enqueue or worker removes.
            ledger.plans.discard(campaign_id)
            raise
        start = clock() if order.send_at is None else max(clock(), order.send_at)
        pace(ledger, campaign_id, rules=order.rules, batches=plan.totals.batches, start=start)
        ledger.plans.finish(campaign_id, plan.totals, who=who, now=clock())
    return Enqueued(campaign=ledger.campaigns.get(order.public_id), totals=plan.totals)


def make_plan(
    order: Order,
    recipients: Recipients,
    *,
    capabilities: Capabilities,
    suppressed: LeftOut,
    now: datetime,
) -> Plan:
    """Return the plan of an order, ready to run over its recipients.

    Raises:
        InputError: the text or the header cannot be used.
    """
    try:
        template = compile_template(order.text)
    except TemplateError as error:
        raise InputError(f"the text, {error}") from None
    return Plan(
        header=recipients.header,
        template=template,
        phone_column=order.phone_column,
        country=order.country,
        provider=order.provider,
        capabilities=capabilities,
        suppressed=suppressed,
        due_at=handover(order.send_at, capabilities, now=now).due_at,
        send_at=order.send_at,
        sender=order.sender,
        cutter=_zoned_cutter(order, template, capabilities, now=now),
    )


def _zoned_cutter(
    order: Order, template: Template, capabilities: Capabilities, *, now: datetime
) -> ZonedCutter | None:
    """Return what cuts by time zone, where the campaign keeps to hours of local time."""
    hours = from_rules(order.rules)
    if hours is None:
        return None

    def make(place: Place) -> Cutter:
        local = LocalHours(hours=hours, place=place)
        way = handover(order.send_at, capabilities, now=now, hours=local)
        opening = None if order.send_at is None else local.stretch(max(now, order.send_at))
        send_at = None if opening is None else opening.begin
        return Cutter(template, capabilities, due_at=way.due_at, send_at=send_at, zone=str(place))

    return ZonedCutter(Places(by_country=hours.skip_holidays, now=now), make)


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
    recipients: Recipients,
    *,
    clock: Callable[[], datetime],
    progress: Callable[[PlanTotals], None],
) -> None:
    batches: list[PlannedBatch] = []
    excluded: list[ExcludedRow] = []
    written = 0

    def flush() -> None:
        nonlocal written
        ledger.plans.append(campaign_id, first_number=written + 1, batches=batches, excluded=excluded, now=clock())
        written += len(batches)
        batches.clear()
        excluded.clear()
        progress(plan.totals)

    waiting = 0
    for step in located(plan, recipients):
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
