"""A batch as a campaign at Sakari, which waits there until a person starts it.

Marks in this file: K the vendor's document says so, I inferred, U unknown. A campaign is a template over the contacts
with a tag; one with the trigger M is started by hand, in Sakari's own pages: no call of the API starts it (K).
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from msgspec import Struct

from dispatcher.errors import InvalidRequest
from dispatcher.provider import Answers, LookUp, OutgoingBatch, Stopped, Verdict
from dispatcher.providers.sakari import contacts, wire
from dispatcher.providers.sakari.login import Calls, answered_at
from dispatcher.providers.sakari.message import Loose, Pagination, next_offset, word

_PAGE = 100  # K


class _Kept(Struct):
    id: Loose = None
    name: Loose = None
    filters: Any = None


class _CampaignsAnswer(Struct):
    data: list[_Kept | None] | None = None
    pagination: Pagination | None = None


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
    return _created(batch, campaign, since=answered_at(reply), template=template)


def _created(batch: OutgoingBatch, campaign: str, *, since: int, template: str, again: bool = False) -> Answers:
    note = f"waits to be started at Sakari: {contacts.tag_of(batch.reference)}"
    return Answers(
        provider_message_ids=[None] * len(batch),
        costs=[None] * len(batch),
        provider_reference=wire.reference("campaign", campaign, since=since, template=template),
        note=f"{note}; it is there more than once: start one, remove the others" if again else note,
    )


def find(
    calls: Calls, batch: OutgoingBatch, field: wire.Field, since: datetime, *, pages: int, wait: Callable[[], None]
) -> LookUp:
    """Look for the campaign of a batch whose answer was lost, by its name or its tag: both are the batch's own.

    Raises:
        NotSubmitted: there is no answer; ask again later.
        Refused: Sakari refused the request.
    """
    template, _, _ = _text(batch, field)
    tag = contacts.tag_of(batch.reference)
    found: dict[str, None] = {}
    offset: int | None = 0
    listed = total = 0
    for _ in range(pages):
        if offset is None:
            break
        wait()
        reply = calls.look_up("GET", "/campaigns", params={"name": tag, "offset": offset, "limit": _PAGE})
        answer = reply.json(_CampaignsAnswer)
        if answer.data is None:
            raise reply.unclear("it is no list of campaigns")
        rows = [row for row in answer.data if row is not None]
        found |= {word(row.id): None for row in rows if word(row.id) and tag in (word(row.name), *_tags(row))}
        listed = offset + len(rows)
        total = -1 if answer.pagination is None else answer.pagination.total_count or 0
        offset = next_offset(answer.pagination, offset, len(answer.data), _PAGE)
    if found:
        campaign, *others = found
        answers = _created(batch, campaign, since=int(since.timestamp()), template=template, again=bool(others))
        evidence = f"{len(found)} campaigns are named {tag}"
        return LookUp(verdict=Verdict.FOUND, evidence=evidence, answers=answers)
    if offset is not None or listed != total:
        return LookUp(verdict=Verdict.UNCLEAR, evidence=f"none of the first {listed} campaigns is named {tag}")
    return LookUp(verdict=Verdict.ABSENT, evidence=f"none of {listed} campaigns is named {tag}")


def _tags(row: _Kept) -> list[object]:
    tags = row.filters.get("tags") if isinstance(row.filters, dict) else None
    return tags if isinstance(tags, list) else []


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
