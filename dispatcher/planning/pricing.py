"""Prices of segments: one for all, or by the country of the number, so that a campaign's cost is forecast."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import phonenumbers

_MILLIONTH = Decimal("0.000001")
_TELLING = 7
"""The first digits of an international number that tell its country, where countries share a code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """What a segment costs at a provider: `by_country` (such as ZA), else `flat`; None where nobody has said."""

    flat: Decimal | None = None
    by_country: Mapping[str, Decimal] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether any price is known."""
        return self.flat is not None or bool(self.by_country)


class Forecast:
    """Sums up what messages cost by a tariff, as they are planned."""

    def __init__(self, tariff: Tariff) -> None:
        self._tariff = tariff
        self._segments = 0
        self._cost = Decimal(0)
        self._by_prefix: dict[int, Decimal | None] = {}
        self.unpriced: set[str] = set()
        """The countries of numbers for which there is no price; "" where the number has none."""

    @property
    def cost(self) -> Decimal:
        """What all of it costs."""
        return self._cost

    @property
    def price(self) -> Decimal | None:
        """What a segment costs on average, None where nobody has said."""
        if not self._tariff.known:
            return None
        return (self._cost / self._segments).quantize(_MILLIONTH) if self._segments else self._tariff.flat

    def add(self, numbers: Sequence[int], segments: Sequence[int]) -> Decimal | None:
        """Take in some messages, in columns; return what a segment of them costs on average."""
        total = sum(segments)
        if not self._tariff.by_country:
            cost = total * (self._tariff.flat or Decimal(0))
        else:
            cost = sum((self._of(number) * many for number, many in zip(numbers, segments, strict=True)), Decimal(0))
        self._segments += total
        self._cost += cost
        return (cost / total).quantize(_MILLIONTH) if total else None

    def _of(self, number: int) -> Decimal:
        prefix = int(str(number)[:_TELLING])
        try:
            price = self._by_prefix[prefix]
        except KeyError:
            country = country_of(number)
            price = self._tariff.by_country.get(country, self._tariff.flat)
            self._by_prefix[prefix] = price
            if price is None:
                self.unpriced.add(country)
        return price or Decimal(0)


def country_of(number: int) -> str:
    """Return the country of an E.164 number, as two letters, "" where it has none."""
    digits = str(number)
    for length in (1, 2, 3):
        regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(digits[:length]))
        if regions is None:
            continue
        if len(regions) == 1:
            return regions[0] if regions[0].isalpha() else ""
        found = phonenumbers.region_code_for_number(
            phonenumbers.PhoneNumber(country_code=int(digits[:length]), national_number=int(digits[length:] or 0))
        )
        return found or regions[0]
    return ""
