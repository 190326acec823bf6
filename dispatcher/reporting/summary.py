"""Sums a campaign up: delivery by country and network, reasons of failure, times to delivery, pace."""

import re
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import phonenumbers

from dispatcher.ledger import Attempt, Campaign, Ledger
from dispatcher.message import OPEN_MESSAGE_STATES, MessageState
from dispatcher.reporting.status import status

_COUNTRY_DIGITS = 7  # so many digits tell the country, also within +1, +7 and +44
_NETWORK_DIGITS = 9  # ranges are given to networks by no more
_ID = re.compile(r"\b[0-9a-f]{16,}\b")
"""What names one message or batch in a reason, and so makes each of them look like another."""

_MINUTE = 60.0
_UNKNOWN = "unknown"
PERCENTILES = (50, 90, 99)
NETWORK = "The network to which the number's range was first given: people take their numbers along, so it may be another now."
"""What is known of a network, and what is not."""

_SENT = {
    MessageState.SUBMITTED.value,
    MessageState.DELIVERED.value,
    MessageState.UNDELIVERED.value,
    MessageState.EXPIRED.value,
    MessageState.UNCONFIRMED.value,
}


@dataclass(slots=True, kw_only=True)
class Summary:
    """The figures of one campaign. Counters are of messages; times are in seconds."""

    campaign: dict[str, Any]  # its status
    by_country: dict[str, Counter[str]] = field(default_factory=dict)  # country → state → messages
    by_network: dict[str, Counter[str]] = field(default_factory=dict)  # see NETWORK
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)  # (state, or kind of exclusion, reason) → rows
    to_delivery: Sequence[float] = ()  # sorted: from submission to delivery, at the longest
    delivered_at: Sequence[float] = ()  # sorted: seconds since 1970, at the latest
    coarse: Sequence[str] = ()  # the providers that tell whole minutes: theirs are the longest that it can have been
    attempts: Sequence[Attempt] = ()

    @property
    def waiting(self) -> int:
        """How many messages are still to be sent, or wait for a receipt."""
        return sum(self.campaign["messages"].get(state.value, 0) for state in OPEN_MESSAGE_STATES)

    def percentile(self, percent: int) -> float | None:
        """Return within how many seconds so many percent of what was delivered had been."""
        if not self.to_delivery:
            return None
        return self.to_delivery[min(len(self.to_delivery) - 1, len(self.to_delivery) * percent // 100)]

    @property
    def coarse_in_words(self) -> str:
        """Whose times are the longest that they can have been; "" where nobody's are."""
        names = " and ".join(self.coarse)
        return f"at most: {names} {'tells' if len(self.coarse) == 1 else 'tell'} whole minutes" if names else ""

    def plain(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "campaign": self.campaign,
            "countries": _rates(self.by_country),
            "networks": _rates(self.by_network),
            "networks_are": NETWORK,
            "reasons": [
                {"state": state, "reason": reason, "messages": many}
                for (state, reason), many in self.reasons.most_common()
            ],
            "seconds_to_delivery": {f"p{percent}": self.percentile(percent) for percent in PERCENTILES},
            "whole_minutes": bool(self.coarse),
            "requests": len(self.attempts),
            "waiting": self.waiting,
        }


def summarise(ledger: Ledger, campaign: Campaign) -> Summary:
    """Read a campaign's messages once and sum them up; some seconds for a million."""
    found = Summary(campaign=status(ledger, campaign))
    countries: dict[str, str] = {}
    networks: dict[str, str] = {}
    took: dict[str, array[float]] = {}
    delivered: dict[str, array[float]] = {}
    for line in ledger.reports.fates(campaign):
        digits = str(line.number)
        country = countries.get(digits[:_COUNTRY_DIGITS])
        if country is None:
            country = countries[digits[:_COUNTRY_DIGITS]] = _country(line.number)
        network = networks.get(digits[:_NETWORK_DIGITS])
        if network is None:
            network = networks[digits[:_NETWORK_DIGITS]] = _network(line.number)
        found.by_country.setdefault(country, Counter())[line.state] += 1
        if network:
            found.by_network.setdefault(f"{country} {network}", Counter())[line.state] += 1
        if line.reason:
            found.reasons[line.state, _ID.sub("…", line.reason)] += 1
        if line.state == MessageState.DELIVERED.value and line.settled_at is not None:
            delivered.setdefault(line.provider, array("d")).append(line.settled_at)
            if line.began_at is not None:
                took.setdefault(line.provider, array("d")).append(line.settled_at - line.began_at)
    for (kind, reason), many in ledger.reports.excluded_reasons(campaign).items():
        found.reasons[kind, reason.removeprefix(f"{kind}: ")] += many
    found.coarse = sorted(name for name, ats in delivered.items() if all(at % _MINUTE == 0 for at in ats))
    # A receipt of 11:30 may be of 11:30:59; and two clocks are never quite the same.
    late = dict.fromkeys(found.coarse, _MINUTE)
    found.to_delivery = sorted(
        max(0.0, seconds + late.get(name, 0.0)) for name, times in took.items() for seconds in times
    )
    found.delivered_at = sorted(at + late.get(name, 0.0) for name, ats in delivered.items() for at in ats)
    found.attempts = ledger.reports.attempts(campaign)
    return found


def delivered_share(states: Counter[str]) -> float | None:
    """Return which share of what the provider took was delivered, None where it took nothing."""
    sent = sum(many for state, many in states.items() if state in _SENT)
    return states[MessageState.DELIVERED.value] / sent if sent else None


def _rates(groups: dict[str, Counter[str]]) -> list[dict[str, Any]]:
    return [
        {"name": name, "messages": states.total(), "delivered_share": delivered_share(states), "states": dict(states)}
        for name, states in sorted(groups.items(), key=lambda group: -group[1].total())
    ]


def _country(number: int) -> str:
    if number < 0:
        return "erased"
    return phonenumbers.region_code_for_number(_parsed(number)) or _UNKNOWN


def _network(number: int) -> str:
    from phonenumbers import carrier  # noqa: PLC0415 - its tables take a while to load, which only this needs

    return "" if number < 0 else carrier.name_for_number(_parsed(number), "en")


def _parsed(number: int) -> phonenumbers.PhoneNumber:
    return phonenumbers.parse(f"+{number}")
