"""Writes the demo's recipient list: as untidy as real ones, with nobody's numbers in it."""

import csv
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dispatcher.msisdn import normalise_column

ROWS = 5_000
HEADER = ("phone", "first_name", "town", "amount", "code")
COUNTRY = "US"
"""The country to plan the list with: half of it has no country code."""

_DUPLICATES = 0.02
_INVALID = 0.01

_FIRST_NAMES = (
    *("Ann", "Bob", "Carla", "Dan", "Ella", "Frank", "Grace", "Henry", "Ivy", "Jack", "Kim", "Lee", "Maya"),
    *("Nina", "Omar", "Pat", "Quinn", "Rosa", "Sam", "Tara", "Uma", "Victor", "Will", "Xena", "Yusuf", "Zoe"),
    *("Renée", "José", "Jürgen", "Noé", "Begoña", "Søren", "Åse", "Chloé"),
    *("D'Arcy", "O'Neil", "Mary Jo", "  Lou ", "Anne-Marie", 'Robert "Bob"', "Smith, Jr.", "Sunny 🌻"),
)
_TOWNS = (
    *("Albany", "Boise", "Dayton", "El Paso", "Fargo", "Gary", "Helena", "Juneau", "Laredo", "Macon", "Provo"),
    *("Washington, DC", "Coeur d'Alene", "Cañon City", "St. Paul", "Winston-Salem", "Truth or Consequences"),
)
_NOTATIONS: tuple[Callable[[str, str], str], ...] = (
    lambda area, line: f"+1{area}555{line}",
    lambda area, line: f"+1 {area} 555 {line}",
    lambda area, line: f"+1-{area}-555-{line}",
    lambda area, line: f"({area}) 555-{line}",
    lambda area, line: f"{area}-555-{line}",
    lambda area, line: f"{area}.555.{line}",
    lambda area, line: f"{area}555{line}",
    lambda area, line: f"1{area}555{line}",
    lambda area, line: f"001 {area} 555 {line}",
    lambda area, line: f" 1 ({area}) 555 {line} ",
    lambda area, line: f"tel:+1-{area}-555-{line}",
    lambda area, line: f"'+1{area}555{line}",
    lambda area, line: f"{area}\u00a0555\u00a0{line}",
)
_INVALID_NUMBERS = (
    *("", "n/a", "none", "555-0142", "12025", "+1 000 555 0100", "2.0255E+09", "202-555-0123 ext. 5"),
    *("202 555 01xx", "+999 202 555 0123", "202-555-0123 / 202-555-0124", "+1 202 555 01234"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was written; `rows` are all rows, with the duplicates and the invalid ones."""

    rows: int
    duplicates: int
    invalid: int


def write_sample(path: Path, *, rows: int = ROWS, seed: int = 1) -> Sample:
    """Write a CSV of so many rows; rows, seed and the tables of `phonenumbers` decide every byte.

    Every number is of the range 555-0100 to 555-0199, which is kept free for fiction in every area code; there are
    about 45,000 of them, so `rows` is at most 40,000.
    """
    if not 0 < rows <= 40_000:
        raise ValueError("a sample has 1 to 40,000 rows")
    chance = random.Random(seed)
    invalid = int(rows * _INVALID)
    duplicates = int(rows * _DUPLICATES)
    fictional = [(area, f"{line:04}") for area in _area_codes() for line in range(100, 196)]
    first = chance.sample(fictional, rows - invalid - duplicates)
    kinds = [*first, *chance.sample(first, duplicates)]
    numbers = [chance.choice(_NOTATIONS)(area, line) for area, line in kinds]
    numbers += [_INVALID_NUMBERS[at % len(_INVALID_NUMBERS)] for at in range(invalid)]
    chance.shuffle(numbers)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(HEADER)
        for number in numbers:
            amount = f"${chance.randrange(500, 25_000) / 100:.2f}"
            code = "".join(chance.choices("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=6))
            writer.writerow((number, chance.choice(_FIRST_NAMES), chance.choice(_TOWNS), amount, code))
    return Sample(rows=rows, duplicates=duplicates, invalid=invalid)


def _area_codes() -> list[str]:
    """Return the area codes in use, by the tables that the numbers are read with."""
    candidates = [str(area) for area in range(200, 1000)]
    read = normalise_column([f"+1{area}5550100" for area in candidates], COUNTRY)
    return [area for area, number in zip(candidates, read, strict=True) if isinstance(number, int)]
