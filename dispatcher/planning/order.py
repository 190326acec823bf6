"""What is to be sent: everything about a campaign but its recipients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from dispatcher.ledger import Campaign
from dispatcher.planning.pricing import Tariff
from dispatcher.planning.recipients import Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be sent: everything about a campaign but its recipients."""

    public_id: str
    name: str
    provider: str
    text: str
    phone_column: str | None = None  # None: to be found in the list
    country: str | None = None
    country_column: str | None = None
    reading: Reading = field(default_factory=Reading)
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
    text_by: str | None = None  # the column that names their text; None: that of the rules
    adds_to: Campaign | None = None  # add to this campaign instead of making one
    tariffs: Mapping[str, Tariff] = field(default_factory=dict)  # what a segment costs, by provider
    price_needed: bool = False  # since a budget is to be held
