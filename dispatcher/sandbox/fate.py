"""What becomes of a number at the stand-ins: magic numbers, and a draw by seed and number for the rest."""

from enum import StrEnum
from zlib import crc32


class Magic(StrEnum):
    """What a magic number asks for; each provider says it in its own words."""

    REFUSED_OPTED_OUT = "refused: opted out"
    REFUSED_BAD_NUMBER = "refused: not a number"
    REFUSED_DO_NOT_CONTACT = "refused: on a do-not-contact list"
    NOT_DELIVERED = "accepted, then not delivered"
    NOT_SENT = "accepted, then not sent"
    SILENT = "accepted and sent, but never a receipt"


class Outcome(StrEnum):
    """How an accepted message ends."""

    DELIVERED = "delivered"
    FAILED = "failed"
    NOT_SENT = "not_sent"
    SILENT = "silent"


MAGIC_NUMBERS = {
    "99": Magic.REFUSED_OPTED_OUT,
    "98": Magic.REFUSED_BAD_NUMBER,
    "97": Magic.NOT_DELIVERED,
    "96": Magic.SILENT,
    "95": Magic.NOT_SENT,
    "94": Magic.REFUSED_DO_NOT_CONTACT,
}
"""The last two digits of 1NPA55501XX (United States numbers reserved for fiction), and what they ask for."""

_OUTCOMES = {
    Magic.NOT_DELIVERED: Outcome.FAILED,
    Magic.NOT_SENT: Outcome.NOT_SENT,
    Magic.SILENT: Outcome.SILENT,
}
_DRAWS = 1 << 16


def magic(number: str) -> Magic | None:
    """Return what a number (E.164 without the plus) asks for, None for an ordinary one."""
    if len(number) == 11 and number[0] == "1" and number[4:9] == "55501":
        return MAGIC_NUMBERS.get(number[9:])
    return None


def draw(
    seed: int, number: str, delivery_seconds: tuple[float, float], failing_share: float
) -> tuple[float, Outcome]:
    """Return how many seconds after its sending a message settles, and how: the same for the same arguments."""
    ticket = crc32(number.encode(), seed & 0xFFFFFFFF)
    least, most = delivery_seconds
    delay = least + (most - least) * (ticket >> 16) / _DRAWS
    asked = magic(number)
    if asked in _OUTCOMES:
        return delay, _OUTCOMES[asked]
    failed = (ticket * 2654435761 >> 8) % _DRAWS < failing_share * _DRAWS
    return delay, Outcome.FAILED if failed else Outcome.DELIVERED
