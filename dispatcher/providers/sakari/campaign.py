"""A batch as a campaign at Sakari, which waits there until a person starts it.

Marks in this file: K the vendor's document says so, I inferred, U unknown. A campaign is a template over the contacts
with a tag; one with the trigger M is started by hand, in Sakari's own pages: no call of the API starts it (K).
"""

from collections.abc import Sequence
from urllib.parse import quote

from dispatcher.errors import InvalidRequest
from dispatcher.provider import Answers, OutgoingBatch, Stopped
from dispatcher.providers.sakari import contacts, wire
from dispatcher.providers.sakari.login import Calls, answered_at
from dispatcher.providers.sakari.message import word


def wanted(batch: OutgoingBatch) -> bool:
    """Whether a batch is to be a campaign at Sakari."""
    return batch.options.get("as_campaign") == "1"


def prepare(calls: Calls, batch: OutgoingBatch, field: wire.Field) -> None:
    """Put the people of a batch under a tag of their own, each with its text if there is more than one.

    One upload that adds to the contacts that are there already (K: mergeStrategy=append), the same every time.

    Raises:
        NotSubmitted: there is no answer; prepare again later.
        Refused: Sakari refused the upload, or all that is in it.
    """
    _, texts, own = _text(batch, field)
    content = contacts.upload(batch, contacts.tag_of(batch.reference), own.name, texts)
    reply = calls.look_up(
        "POST",
        "/contacts",
        body=content,
        params={"mergeStrategy": "append"},
        headers={"Content-Type": "text/csv"},
        opaque=True,
    )
    data = reply.json(contacts.UploadAnswer).data
    if isinstance(data, contacts.UploadData) and data.inserted == 0 and data.updated == 0 and data.errors:
        raise InvalidRequest("sakari: none of the contacts of a batch was taken")


def create(calls: Calls, batch: OutgoingBatch, field: wire.Field, *, most: int) -> Answers:
    """Create the campaign over the tag, in one request; nothing is sent by it.

    Everyone counts as accepted, without an id: whom Sakari would refuse shows when the campaign is started.

    Raises:
        NotSubmitted: certainly nothing was carried out.
        OutcomeUnknown: it may be there.
        Refused: Sakari refused it, or it cannot be expressed there and was not asked for.
    """
    if not 1 <= len(batch) <= most:
        raise InvalidRequest(f"sakari: not sent: a campaign of {len(batch)} people, not of 1 to {most}")
    if "media_url" in batch.options or batch.scheduled_for is not None or batch.sender is not None:
        raise InvalidRequest("sakari: not sent: a campaign at Sakari takes no media, no send time and no sender")
    template, _, _ = _text(batch, field)
    tag = contacts.tag_of(batch.reference)
    reply = calls.submit("POST", "/campaigns", body=wire.campaign(tag, tag, template), deadline=batch.deadline)
    data = reply.json(wire.CampaignAnswer).data
    campaign = "" if data is None else word(data.id)
    if not campaign:
        raise reply.unclear("it names no campaign")
    return Answers(
        provider_message_ids=[None] * len(batch),
        costs=[None] * len(batch),
        provider_reference=wire.reference("campaign", campaign, since=answered_at(reply), template=template),
        note=f"waits to be started at Sakari: {tag}",
    )


def stop(calls: Calls, provider_reference: str) -> Stopped:
    """Remove the campaign that a batch became.

    Its people keep their tag, which no campaign uses any more: taking it off is not documented (U), and
    mergeStrategy=remove takes away everything else that Sakari knows of them (I).

    Raises:
        NotSubmitted: certainly nothing was carried out.
        OutcomeUnknown: it may have been removed.
        Refused: Sakari refused the request.
    """
    batch = wire.Reference.parse(provider_reference)
    if batch is None or batch.kind != "campaign":
        return Stopped(stopped=False, reason="Sakari has no call that stops messages")
    try:
        calls.submit("DELETE", f"/campaigns/{quote(batch.id, safe='')}")
    except InvalidRequest as error:
        if ": HTTP 404" not in str(error):
            raise
        return Stopped(stopped=False, reason="Sakari has no such campaign: a person may have removed it")
    return Stopped(stopped=True, reason="removed; a person may have started it at Sakari before")


def _text(batch: OutgoingBatch, field: wire.Field) -> tuple[str, Sequence[str] | None, wire.Field]:
    # Its own attribute: a campaign is rendered when a person starts it, and another batch may come before that.
    own = field.own(batch.reference)
    template, texts = wire.template_of(batch, own)
    return template, texts, own
