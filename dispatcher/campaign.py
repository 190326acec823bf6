"""One text, or one template, to many recipients: its states and the moves between them."""

from enum import StrEnum


class CampaignState(StrEnum):
    """Where a campaign stands. None is `failed`: one in trouble is paused, with a reason."""

    DRAFT = "draft"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


_S = CampaignState

CAMPAIGN_MOVES: dict[CampaignState, frozenset[CampaignState]] = {
    _S.DRAFT: frozenset({_S.SCHEDULED, _S.RUNNING, _S.CANCELLED}),
    _S.SCHEDULED: frozenset({_S.RUNNING, _S.PAUSED, _S.COMPLETED, _S.CANCELLED}),
    _S.RUNNING: frozenset({_S.PAUSED, _S.COMPLETED, _S.CANCELLED}),
    _S.PAUSED: frozenset({_S.SCHEDULED, _S.RUNNING, _S.COMPLETED, _S.CANCELLED}),
    _S.COMPLETED: frozenset(),
    _S.CANCELLED: frozenset(),
}

RELEASING_STATES = frozenset({_S.SCHEDULED, _S.RUNNING})
"""States in which batches that are due may be claimed."""

FINAL_CAMPAIGN_STATES = frozenset({_S.COMPLETED, _S.CANCELLED})
