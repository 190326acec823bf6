"""Keeps budgets: what a batch may cost is reserved before its attempt, and set right by what it turns out to cost.

What a batch has committed (`batch.reserved`) follows from its messages at any moment: the cost of those whose cost is
known, and the forecast of those that may still cost something. Budgets move by the difference, in the same
transaction. Batches whose money nobody watches (`reserved` is NULL) are passed over.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Row

from dispatcher.batch import BatchState
from dispatcher.campaign import RELEASING_STATES, CampaignState
from dispatcher.errors import LedgerError, UsageError
from dispatcher.ledger.campaigns import move_campaign
from dispatcher.ledger.database import Database, Transaction, millionths, moment, money
from dispatcher.ledger.messages import MESSAGES_OF_BATCH
from dispatcher.ledger.rows import Allowance, Campaign, Claim
from dispatcher.ledger.trail import note

_MAY_COST = "('submitted', 'unknown', 'delivered', 'undelivered', 'expired', 'unconfirmed')"
_DRIFT_NEEDS = 20
"""Segments of a batch whose cost is known, below which it tells nothing of the price."""

_DRIFT = "price"
"""What the event of a new forecast is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an attempt would cost, in millionths, and the price of a segment that this comes from."""

    amount: int = 0
    rate: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """A budget that the next batch would pass. `day` is set where it is a day's; `cost` is None without a price."""

    budget: Decimal
    committed: Decimal
    cost: Decimal | None
    day: str | None = None


def day_of(now: datetime) -> str:
    """Return the day, in UTC, to which a budget a day counts an attempt."""
    return now.strftime("%Y-%m-%d")


def watched(budget: int | None, allowance: Allowance | None) -> Allowance | None:
    """Return the allowance under which a claim's money is watched; None where there is no budget to hold."""
    if budget is None and (allowance is None or allowance.per_day is None):
        return None
    return allowance or Allowance()


def hold(tx: Transaction, claim: Claim) -> None:
    """Lock the campaign's row before anything else, where the claim's money is watched: one order everywhere."""
    if claim.allowance is not None:
        hold_campaign(tx, claim.campaign_id)


def hold_campaign(tx: Transaction, campaign_id: int) -> None:
    """Lock a campaign's row against whoever else reserves or gives back."""
    if tx.postgresql:
        tx.first("SELECT 1 FROM campaign WHERE id = :id FOR NO KEY UPDATE", id=campaign_id)


def affordable(tx: Transaction, claim: Claim, campaign: Row[Any], *, now: datetime) -> Cost | None:
    """Return what the claimed batch would cost where the budgets allow it, None where they do not.

    `campaign` is its row, locked. A budget that was set after the claim is held from the next claim on.
    """
    if claim.allowance is None:
        return Cost() if campaign.budget is None else None
    cost = _cost(tx, claim, campaign.segment_price)
    if cost is None:
        return None
    if campaign.budget is not None and campaign.committed + cost.amount > campaign.budget:
        return None
    per_day = claim.allowance.per_day
    if per_day is None:
        return cost
    key = {"provider": claim.provider, "day": day_of(now)}
    tx.run(
        "INSERT INTO spending (provider, day, amount) VALUES (:provider, :day, 0) ON CONFLICT (provider, day) DO NOTHING",
        **key,
    )
    lock = " FOR UPDATE" if tx.postgresql else ""
    spent = tx.rows("SELECT amount FROM spending WHERE provider = :provider AND day = :day" + lock, **key)[0].amount
    fits = spent + cost.amount <= millionths(per_day)
    tx.run(
        "UPDATE spending SET short = :short, budget = :budget WHERE provider = :provider AND day = :day",
        short=None if fits else cost.amount,
        budget=millionths(per_day),
        **key,
    )
    return cost if fits else None


def reserve(tx: Transaction, claim: Claim, cost: Cost, *, now: datetime) -> None:
    """Reserve what the attempt, just recorded, may cost."""
    if claim.allowance is None:
        return
    tx.run(
        "UPDATE batch SET rate = :rate, reserved = COALESCE(reserved, 0) WHERE id = :id",
        rate=cost.rate,
        id=claim.batch_id,
    )
    recount(tx, [claim.batch_id], who=claim.owner, now=now)


def settle(tx: Transaction, claim: Claim, *, now: datetime) -> None:
    """Set the budgets right by what came of the claim's attempt, where its money is watched."""
    if claim.allowance is not None:
        recount(tx, [claim.batch_id], who=claim.owner, now=now)


def settle_changed(tx: Transaction, changed: Mapping[int, Mapping[str, int]], *, who: str, now: datetime) -> None:
    """Set the budgets right after messages have moved, by the counter changes of each batch."""
    recount(
        tx,
        [
            batch
            for batch, changes in changed.items()
            if changes.get("cost") or "message.cancelled" in changes or "message.refused" in changes
        ],
        who=who,
        now=now,
    )


def recount(tx: Transaction, batches: Iterable[int], *, who: str, now: datetime) -> None:
    """Bring what watched batches have committed in line with their messages, and the budgets with that."""
    ids = list(batches)
    if not ids:
        return
    rows = tx.rows(
        "SELECT b.id, b.campaign_id, b.provider, b.attempted_at, b.reserved, COALESCE(b.rate, 0) AS rate,"
        f" SUM(CASE WHEN m.cost IS NOT NULL THEN m.cost WHEN m.state IN {_MAY_COST}"
        " OR (m.state = 'queued' AND b.state = 'submitting')"
        " THEN m.segments * COALESCE(b.rate, 0) ELSE 0 END) AS amount,"
        " SUM(CASE WHEN m.cost > 0 THEN m.cost ELSE 0 END) AS charged,"
        " SUM(CASE WHEN m.cost > 0 THEN m.segments ELSE 0 END) AS segments"
        f" FROM batch b JOIN message m ON {MESSAGES_OF_BATCH}"
        f" WHERE b.id {tx.in_ids} AND b.reserved IS NOT NULL"
        " GROUP BY b.id, b.campaign_id, b.provider, b.attempted_at, b.reserved, b.rate ORDER BY b.campaign_id, b.id",
        ids=tx.ids(ids),
    )
    campaigns: dict[int, int] = {}
    days: dict[tuple[str, str], int] = {}
    for row in rows:
        more = int(row.amount) - row.reserved
        if not more:
            continue
        tx.run("UPDATE batch SET reserved = :amount WHERE id = :id", amount=int(row.amount), id=row.id)
        attempted = moment(row.attempted_at)
        assert attempted is not None
        campaigns[row.campaign_id] = campaigns.get(row.campaign_id, 0) + more
        key = (str(row.provider), day_of(attempted))
        days[key] = days.get(key, 0) + more
    for campaign_id, more in sorted(campaigns.items()):
        tx.run("UPDATE campaign SET committed = committed + :more WHERE id = :id", more=more, id=campaign_id)
    for (provider, day), more in sorted(days.items()):
        tx.run(
            "INSERT INTO spending (provider, day, amount) VALUES (:provider, :day, :more)"
            " ON CONFLICT (provider, day) DO UPDATE SET amount = spending.amount + excluded.amount",
            provider=provider,
            day=day,
            more=more,
        )
    for row in rows:
        if row.segments >= _DRIFT_NEEDS and row.rate and row.charged != row.segments * row.rate:
            _judge_price(tx, row, who=who, now=now)


def _cost(tx: Transaction, claim: Claim, segment_price: int | None) -> Cost | None:
    """Return what a claimed batch would cost, None where no price is known."""
    row = tx.rows(
        "SELECT b.price, COALESCE(SUM(m.segments), 0) AS segments FROM batch b"
        f" JOIN message m ON {MESSAGES_OF_BATCH} AND m.state = 'queued' WHERE b.id = :id GROUP BY b.id, b.price",
        id=claim.batch_id,
    )
    if not row:
        return Cost()
    rate = row[0].price if row[0].price is not None else segment_price
    if rate is None and claim.allowance is not None and claim.allowance.price is not None:
        rate = millionths(claim.allowance.price)
    return None if rate is None else Cost(amount=int(row[0].segments) * rate, rate=rate)


def _judge_price(tx: Transaction, batch: Row[Any], *, who: str, now: datetime) -> None:
    """Pause the campaign where a batch was charged at quite another price than forecast; reckon with that one then."""
    hold_campaign(tx, batch.campaign_id)
    campaign = tx.rows("SELECT state, rules FROM campaign WHERE id = :id", id=batch.campaign_id)[0]
    share = json.loads(campaign.rules).get("price_drift")
    drift = batch.charged / (batch.segments * batch.rate) - 1
    if not share or abs(drift) <= share or CampaignState(campaign.state) not in RELEASING_STATES:
        return
    newer = tx.first(
        "SELECT 1 FROM event WHERE campaign_id = :id AND what = :what AND at >= :at",
        id=batch.campaign_id,
        what=_DRIFT,
        at=batch.attempted_at,
    )
    if newer is not None:
        return  # it was attempted before the forecast was set right
    asked = money(round(int(batch.charged) / int(batch.segments)))
    tx.run(
        "UPDATE campaign SET segment_price = CAST(ROUND(COALESCE(segment_price, :rate) * :ratio) AS BIGINT) WHERE id = :id",
        rate=batch.rate,
        ratio=1 + drift,
        id=batch.campaign_id,
    )
    tx.run(
        "UPDATE batch SET price = CAST(ROUND(price * :ratio) AS BIGINT)"
        " WHERE campaign_id = :id AND state IN ('pending', 'claimed') AND price IS NOT NULL",
        ratio=1 + drift,
        id=batch.campaign_id,
    )
    told = f"{batch.provider} charges {asked:,f} a segment, {abs(drift):.0%} {'above' if drift > 0 else 'below'}"
    why = f"{told} the {money(batch.rate):,f} forecast; it is reckoned with from now on: see that it is right, resume"
    note(tx, at=now, who=who, subject="campaign", what=_DRIFT, campaign_id=batch.campaign_id, why=why)
    before = CampaignState(campaign.state)
    move_campaign(tx, batch.campaign_id, before, CampaignState.PAUSED, who=who, now=now, reason=why)


def _amount(value: Decimal | None) -> str:
    return "none" if value is None else f"{value:,f}"


class Spending:
    """The way of operations and of the command to the money."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set_budget(
        self, campaign: Campaign, budget: Decimal | None, *, price: Decimal | None, who: str, now: datetime
    ) -> None:
        """Set what a campaign may spend in all, None for no limit; `price` is of a segment, where none is known yet.

        What it has sent already counts.

        Raises:
            UsageError: it has ended, or no price is known.
            LedgerError: it had no budget, and requests of it are in flight at this moment.
        """
        with self._database.write() as tx:
            hold_campaign(tx, campaign.id)
            row = tx.rows("SELECT state, budget, segment_price FROM campaign WHERE id = :id", id=campaign.id)[0]
            if row.state in (CampaignState.COMPLETED, CampaignState.CANCELLED):
                raise UsageError(f"campaign {campaign.public_id} is {row.state}: it spends nothing any more")
            known = (
                row.segment_price if row.segment_price is not None else None if price is None else millionths(price)
            )
            if budget is not None and row.budget is None:
                if known is None:
                    raise UsageError(
                        f"a budget cannot be held without a price of {campaign.provider}:"
                        f" set DISPATCHER_{campaign.provider.upper()}__PRICE to what a segment costs"
                    )
                _begin_to_watch(tx, campaign, known, who=who, now=now)
            tx.run(
                "UPDATE campaign SET budget = :budget, segment_price = :price WHERE id = :id",
                budget=None if budget is None else millionths(budget),
                price=known,
                id=campaign.id,
            )
            before = None if row.budget is None else money(row.budget)
            note(
                tx,
                at=now,
                who=who,
                subject="campaign",
                what="budget",
                campaign_id=campaign.id,
                why=f"{_amount(budget)}, before: {_amount(before)}",
            )

    def set_prices(
        self, campaign_id: int, *, batches: Mapping[int, Decimal], prices: Mapping[str, Decimal], first: str
    ) -> None:
        """Write the forecast of a draft: a segment's price in batches by their numbers, and on average by provider."""
        with self._database.write() as tx:
            tx.run_many(
                "UPDATE batch SET price = :price WHERE campaign_id = :id AND number = :number",
                [
                    {"id": campaign_id, "number": number, "price": millionths(price)}
                    for number, price in batches.items()
                ],
            )
            row = tx.rows("SELECT rules FROM campaign WHERE id = :id", id=campaign_id)[0]
            rules = json.loads(row.rules) | {"prices": {name: str(price) for name, price in prices.items()}}
            tx.run(
                "UPDATE campaign SET segment_price = :price, rules = :rules WHERE id = :id",
                price=millionths(prices[first]),
                rules=json.dumps(rules),
                id=campaign_id,
            )

    def shortage(self, claim: Claim, *, now: datetime) -> Shortage | None:
        """Return the budget for which a claimed batch may not be attempted, None where there is room."""
        if claim.allowance is None:
            return None
        with self._database.read() as tx:
            row = tx.rows(
                "SELECT budget, committed, segment_price FROM campaign WHERE id = :id", id=claim.campaign_id
            )[0]
            cost = _cost(tx, claim, row.segment_price)
        if row.budget is not None and (cost is None or row.committed + cost.amount > row.budget):
            return Shortage(
                budget=money(row.budget),
                committed=money(row.committed),
                cost=None if cost is None else money(cost.amount),
            )
        if cost is None:
            return Shortage(budget=claim.allowance.per_day or Decimal(0), committed=Decimal(0), cost=None)
        return self.held(claim.provider, claim.allowance, now=now)

    def held(self, provider: str, allowance: Allowance, *, now: datetime) -> Shortage | None:
        """Return the day's budget for which nothing more is attempted at a provider, None where there is room."""
        if allowance.per_day is None:
            return None
        with self._database.read() as tx:
            row = tx.first(
                "SELECT day, amount, short FROM spending WHERE provider = :provider AND day = :day AND short IS NOT NULL",
                provider=provider,
                day=day_of(now),
            )
        if row is None or row.amount + row.short <= millionths(allowance.per_day):
            return None
        return Shortage(
            budget=allowance.per_day, committed=money(row.amount), cost=money(row.short), day=str(row.day)
        )

    def latest_day(self, provider: str) -> tuple[str, Decimal, Shortage | None] | None:
        """Return the last day on which money was watched at a provider, what was committed on it, and its shortage."""
        with self._database.read() as tx:
            row = tx.first(
                "SELECT day, amount, short, budget FROM spending WHERE provider = :provider ORDER BY day DESC LIMIT 1",
                provider=provider,
            )
        if row is None:
            return None
        short = None
        if row.short is not None and row.amount + row.short > row.budget:
            budget, cost = money(row.budget), money(row.short)
            short = Shortage(budget=budget, committed=money(row.amount), cost=cost, day=str(row.day))
        return str(row.day), money(row.amount), short


def _begin_to_watch(tx: Transaction, campaign: Campaign, price: int, *, who: str, now: datetime) -> None:
    """Count what a campaign without a budget has sent so far."""
    submitting = BatchState.SUBMITTING.value
    if tx.first(
        "SELECT 1 FROM batch WHERE campaign_id = :id AND state = :state LIMIT 1", id=campaign.id, state=submitting
    ):
        raise LedgerError(
            f"requests of campaign {campaign.public_id} are in flight: `dispatcher pause` it first, and set the budget then"
        )
    sent = tx.rows(
        "SELECT id FROM batch WHERE campaign_id = :id AND attempted_at IS NOT NULL",
        id=campaign.id,
    )
    ids = [int(row.id) for row in sent]
    tx.run(
        f"UPDATE batch SET reserved = COALESCE(reserved, 0), rate = COALESCE(rate, :rate) WHERE id {tx.in_ids}",
        rate=price,
        ids=tx.ids(ids),
    )
    recount(tx, ids, who=who, now=now)
