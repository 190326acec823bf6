"""The messages of one provider request: its states and the moves between them."""

from enum import StrEnum


class BatchState(StrEnum):
    """Where a batch stands; `docs/states.md` draws it."""

    PENDING = "pending"
    CLAIMED = "claimed"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"


SMALL_BATCH = 8
"""Messages of a batch, up to which the ledger does in one go what several threads want of such batches at once."""

_S = BatchState

BATCH_MOVES: dict[BatchState, frozenset[BatchState]] = {
    _S.PENDING: frozenset({_S.CLAIMED, _S.CANCELLED}),
    # Nothing has been sent under a claim: it may be handed back.
    _S.CLAIMED: frozenset({_S.SUBMITTING, _S.PENDING, _S.CANCELLED}),
    # Back to pending only where the transport is certain that nothing reached the provider.
    _S.SUBMITTING: frozenset({_S.SUBMITTED, _S.REFUSED, _S.UNKNOWN, _S.PENDING}),
    # Only by a look-up, by a person, or by the very worker whose
    # lease had ended before its answer came.
    _S.UNKNOWN: frozenset({_S.SUBMITTED, _S.PENDING, _S.REFUSED}),
    _S.SUBMITTED: frozenset(),
    _S.REFUSED: frozenset(),
    _S.CANCELLED: frozenset(),
}
