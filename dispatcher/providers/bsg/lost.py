"""Finds a batch whose answer was lost by our references, which BSG keeps with its messages.

A batch is one request and becomes one campaign (K), so that one of its messages tells of all. That a message is not
listed yet proves nothing for a while (U how long: `lookup_grace_seconds`, counted from the end of the request's
time-out). To submit a batch again after that cannot text anyone twice: a reference that BSG knows is rejected (K).
That rejection is an unknown outcome in its turn, and ends here as well, with the campaign of the earlier attempt.
"""

from collections.abc import Callable

from dispatcher.provider import Answers, LookUp, OutgoingBatch, Verdict
from dispatcher.providers.bsg import reading, wire
from dispatcher.providers.bsg.login import Session

_FEWEST_A_PAGE = 15  # K


def find(session: Session, lost: OutgoingBatch, wait: Callable[[], None]) -> LookUp:
    """Ask for the first message of a batch, then for the last and one in the middle, until one of them is there.

    Raises:
        NotSubmitted: there is no answer; ask again later.
        Refused: BSG refused the request.
    """
    refused = wire.left_out(lost.numbers)
    sent = [at for at in range(len(lost)) if at not in refused]
    if not sent:
        return LookUp(verdict=Verdict.ABSENT, evidence="none of its numbers is one that BSG takes")
    asked = strange = 0
    for at in dict.fromkeys((sent[0], sent[-1], sent[len(sent) // 2])):
        wait()
        asked += 1
        reference = lost.references[at]
        reply = session.look_up(
            "GET",
            "/api/messages",
            params={"filter[reference_id]": reference, "page[offset]": 0, "page[limit]": _FEWEST_A_PAGE},
        )
        rows = reply.json(reading.MessageList).data
        if rows is None:
            raise reply.unclear("it names no messages")
        ours = [row for row in rows if row is not None and reading.word(row.reference_id) == reference]
        strange += len(rows) - len(ours)  # is it not filtered, or does it tell no references?
        if not ours:
            continue
        campaigns = {reading.word(row.campaign_id) for row in ours}
        if len(campaigns) > 1 or "" in campaigns:
            return LookUp(verdict=Verdict.UNCLEAR, evidence="a message is listed under several campaigns, or none")
        (campaign,) = campaigns
        answers = Answers(
            provider_message_ids=[None] * len(lost),
            costs=[None] * len(lost),
            refused=refused,
            provider_reference=campaign,
        )
        evidence = f"campaign {campaign} has message {at + 1} of {len(lost)} under our reference"
        return LookUp(verdict=Verdict.FOUND, evidence=evidence, answers=answers)
    if strange:
        return LookUp(verdict=Verdict.UNCLEAR, evidence=f"{strange} messages are listed under other references")
    return LookUp(verdict=Verdict.ABSENT, evidence=f"nothing under {asked} references of {len(lost)} messages")
