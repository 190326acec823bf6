"""Writes recipient lists of any size: distinct, valid numbers, the same for the same seed, never committed.

The ranges that are reserved for fiction hold too few numbers for a million people. These are taken from a South
African mobile range and are only ever sent to the counting server on this machine.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

TEXT = "Hi {first_name}, parcel {code} is at {town|the depot}"
"""A text of each recipient's own, short enough that a thousand fit into one WinSMS request (200 kB)."""

LONGEST_TEXT = 50
FIRST, RANGE = 27_600_000_000, 100_000_000  # +27 6X XXX XXXX: every number of it is a valid mobile number
_STEP = 61_803_399  # odd and no multiple of 5, so that it visits the whole range before it repeats
_NAMES = ("Ann", "Thabo", "Lerato", "Sipho", "Zanele", "Johan", "André", "Naledi", "Pieter", "Mpho", "Ayesha", "Bo")
_TOWNS = (
    "Cape Town",
    "Durban",
    "Soweto",
    "Paarl",
    "",
    "Knysna",
    "Polokwane",
    "Pretoria",
    "Mbombela",
    "George",
    "Upington",
)


def number(index: int, *, seed: int) -> int:
    """Return the number of one person, E.164 without the plus; distinct for the first hundred million."""
    return FIRST + (index * _STEP + seed * 7_919) % RANGE


def row(index: int, *, seed: int, mixed: bool = False) -> tuple[str, str, str, str]:
    """Return one person: phone, first name, town, code. `mixed` writes the number as people do."""
    digits = str(number(index, seed=seed))
    kind = (index * 31 + seed) % 10
    if not mixed or kind < 5:
        phone = f"+{digits}"
    elif kind < 8:
        phone = f"0{digits[2:4]} {digits[4:7]} {digits[7:]}"
    else:
        phone = f"+{digits[:2]} {digits[2:4]} {digits[4:7]} {digits[7:]}"
    pick = index * 17 + seed
    return phone, _NAMES[pick % 12], _TOWNS[pick % 11], f"P{pick % 99_991:05}"


def write(path: Path, many: int, *, seed: int, first: int = 0, mixed: bool = False) -> Path:
    """Write a list of so many people, beginning with the person `first`."""
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("phone", "first_name", "town", "code"))
        writer.writerows(_rows(many, seed=seed, first=first, mixed=mixed))
    return path


def _rows(many: int, *, seed: int, first: int, mixed: bool) -> Iterator[tuple[str, str, str, str]]:
    for index in range(first, first + many):
        yield row(index, seed=seed, mixed=mixed)
