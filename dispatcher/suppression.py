"""Keeps the suppression list: who opted out at a provider is never sent to again, by any provider."""

import csv
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dispatcher.account import ENDLESS, MOST_PAGES, PATIENCE, Account
from dispatcher.errors import ProviderError, Throttled, UsageError
from dispatcher.msisdn import normalise_column
from dispatcher.provider import KnowsOptOuts

log = logging.getLogger(__name__)


_LONGEST_BRAND = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """What one sync brought. `left` tells why it ended before the provider's list did."""

    provider: str
    seen: int = 0
    added: int = 0
    left: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """Numbers read from lines, and what could not be read: (line, reason)."""

    numbers: dict[int, str]
    refused: list[tuple[int, str]]


def sync(account: Account, *, max_wait: float = 5.0) -> Synced:
    """Add everyone who opted out at the provider. Nobody is ever taken off the list by this."""
    a = account
    if not isinstance(a.provider, KnowsOptOuts):
        return Synced(provider=a.name, left="it does not tell who has opted out")
    seen = added = 0
    page: str | None = None
    for _ in range(MOST_PAGES):
        if not a.wait_to_look_up(max_wait=max_wait if page is None else PATIENCE):
            return Synced(provider=a.name, seen=seen, added=added, left="throughput: sending goes first")
        try:
            found = a.provider.opt_outs(page)
        except ProviderError as error:
            if isinstance(error, Throttled):
                a.throttled(error.retry_after)
            log.warning("optouts.failed provider=%s why=%s", a.name, error)
            return Synced(provider=a.name, seen=seen, added=added, left=str(error))
        reasons = {opt_out.number: f"{a.name}: {opt_out.reason}" for opt_out in found.opt_outs}
        seen += len(found.opt_outs)
        added += a.ledger.suppressions.add(reasons, source=a.name, now=a.clock())
        page = found.next_page
        if page is None:
            return Synced(provider=a.name, seen=seen, added=added)
    log.warning("optouts.failed provider=%s why=%s", a.name, ENDLESS)
    return Synced(provider=a.name, seen=seen, added=added, left=ENDLESS)


def brand_name(text: str) -> str:
    """Return the name under which a brand's suppression list is kept: however it is written, it is one list.

    Raises:
        UsageError: it is no name.
    """
    name = " ".join(text.casefold().split())
    if len(name) > _LONGEST_BRAND or not name.isprintable():
        raise UsageError(f"a brand has a name of at most {_LONGEST_BRAND} printable characters")
    return name


def read_numbers(lines: Iterable[str], *, country: str | None, reason: str, header: bool = True) -> Read:
    """Read one number a line (the first cell of a CSV line will do); blank lines are passed over, and a `header`."""
    cells = [line.split(",")[0].strip().strip('"') for line in lines]
    numbers: dict[int, str] = {}
    refused: list[tuple[int, str]] = []
    for line, (cell, number) in enumerate(zip(cells, normalise_column(cells, country), strict=True), 1):
        if isinstance(number, int):
            numbers[number] = reason
        elif not header or (cell and not (line == 1 and not any(map(str.isdigit, cell)))):
            refused.append((line, number))
    return Read(numbers=numbers, refused=refused)


def by_brand(lines: Sequence[str], *, country: str | None, reason: str, brand: str) -> dict[str, dict[int, str]]:
    """Return the numbers of lines that can be read, by the list they belong to: `brand`'s, or that of their column.

    A column `brand` is what an export has; where `brand` is named, all go to its list.
    """
    named = brand_name(brand)
    rows = list(csv.reader(lines))
    header = [cell.strip().casefold() for cell in rows[0]] if rows else []
    if named or "brand" not in header:
        return {named: read_numbers(lines, country=country, reason=reason).numbers}
    column = header.index("brand")
    found: dict[str, list[str]] = {}
    for row in rows[1:]:
        if row:
            found.setdefault(brand_name(row[column].lstrip("'") if column < len(row) else ""), []).append(row[0])
    return {name: read_numbers(cells, country=country, reason=reason).numbers for name, cells in found.items()}
