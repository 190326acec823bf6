"""Erases what need not be kept: finished campaigns after their time, and people who ask to be forgotten."""

import logging
from datetime import datetime, timedelta

from dispatcher.ledger import Forgotten, Ledger
from dispatcher.msisdn import normalise_column

log = logging.getLogger(__name__)

_ENDING = 6  # digits of a number that every way of writing it has in common, and few others


def erase_finished(ledger: Ledger, *, keep: timedelta, who: str, now: datetime) -> list[str]:
    """Erase the texts, fields and numbers of all campaigns that ended longer than `keep` ago; return which."""
    erased = ledger.privacy.erasable(finished_before=now - keep)
    for campaign in erased:
        messages = ledger.privacy.erase(campaign, who=who, now=now)
        log.info("campaign.erased campaign=%s messages=%d", campaign, messages)
    return erased


def forget(ledger: Ledger, number: int, *, country: str | None, who: str, now: datetime) -> Forgotten:
    """Erase one person (E.164 without the plus) everywhere, and never text them again.

    `country` is that of numbers in files whose campaign names none. What is on its way stays until it is settled:
    then this is to be called again.
    """
    excluded = [
        (campaign_id, row)
        for campaign_id, row, text, where in ledger.privacy.excluded_like(str(number)[-_ENDING:])
        if normalise_column([text], where or country) == [number]
    ]
    return ledger.privacy.forget(number, excluded=excluded, who=who, now=now)
