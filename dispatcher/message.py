"""One text to one number: its states, the moves between them, and the reference that names it to a provider."""

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from typing import overload

MESSAGES_PER_BATCH = 16_384
"""Room for messages in one batch: message id = batch id × this + position, so a batch's messages are one range."""


class MessageState(StrEnum):
    """Where a message stands; `docs/states.md` draws it."""

    QUEUED = "queued"
    SUBMITTED = "submitted"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    EXPIRED = "expired"
    UNCONFIRMED = "unconfirmed"
    REFUSED = "refused"
    SUPPRESSED = "suppressed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


_S = MessageState

MESSAGE_MOVES: dict[MessageState, frozenset[MessageState]] = {
    _S.QUEUED: frozenset({_S.SUBMITTED, _S.REFUSED, _S.SUPPRESSED, _S.CANCELLED, _S.UNKNOWN}),
    _S.SUBMITTED: frozenset({_S.DELIVERED, _S.UNDELIVERED, _S.EXPIRED, _S.UNCONFIRMED, _S.CANCELLED}),
    _S.UNKNOWN: frozenset({_S.SUBMITTED, _S.QUEUED, _S.UNCONFIRMED, _S.REFUSED}),
    # A receipt that comes after the window settles it once more.
    _S.UNCONFIRMED: frozenset({_S.DELIVERED, _S.UNDELIVERED, _S.EXPIRED}),
    _S.DELIVERED: frozenset(),
    _S.UNDELIVERED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.REFUSED: frozenset(),
    _S.SUPPRESSED: frozenset(),
    _S.CANCELLED: frozenset(),
}

OPEN_MESSAGE_STATES = frozenset({_S.QUEUED, _S.SUBMITTED, _S.UNKNOWN})
"""States in which something may still happen to a message without a late receipt."""


def message_id(batch_id: int, position: int) -> int:
    """Return the ledger's id of the message at `position` (from 0) of a batch."""
    return batch_id * MESSAGES_PER_BATCH + position


def batch_of(message: int) -> tuple[int, int]:
    """Return (batch id, position) of a message id."""
    return divmod(message, MESSAGES_PER_BATCH)


class References(Sequence[str]):
    """Our names for the messages of some input rows, each made when it is asked for: not every provider takes them."""

    __slots__ = ("campaigns", "rows")

    def __init__(self, campaign: str | Sequence[str], rows: Sequence[int]) -> None:
        """Take the rows of one campaign, or a campaign for each row."""
        self.campaigns = [campaign] * len(rows) if isinstance(campaign, str) else campaign
        self.rows = rows

    @classmethod
    def joined(cls, parts: Sequence["References"]) -> "References":
        """Return several as one, in their order."""
        return cls([one for part in parts for one in part.campaigns], [one for part in parts for one in part.rows])

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> "References": ...

    def __getitem__(self, index: int | slice) -> "str | References":
        if isinstance(index, slice):
            return References(self.campaigns[index], self.rows[index])
        return reference(self.campaigns[index], self.rows[index])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and not isinstance(other, str) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]


def reference(campaign: str, row: int) -> str:
    """Return our name for the message of one input row: 32 hexadecimal characters, the same every time."""
    return hashlib.blake2b(f"{campaign}/{row}".encode(), digest_size=16).hexdigest()
