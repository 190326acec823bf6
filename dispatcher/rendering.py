"""Renders a batch's numbers and stored fields into what one provider request carries."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from dispatcher.ledger import BatchContent
from dispatcher.message import References, reference
from dispatcher.provider import OutgoingBatch
from dispatcher.template import compile_template, unpack_fields


def render_batch(
    *,
    campaign: str,
    number: int,
    template: str,
    fields: bytes | None,
    positions: Sequence[int],
    numbers: Sequence[int],
    rows: Sequence[int],
    segments: Sequence[int],
    sender: str | None = None,
    scheduled_for: datetime | None = None,
    options: Mapping[str, str] | None = None,
) -> OutgoingBatch:
    """Return batch `number` of a campaign as it goes out. `positions` are those of `numbers` among the stored fields.

    Every reference in it is the same each time that it is rendered.
    """
    compiled = compile_template(template)
    texts: list[str] | None = None
    text: str | None = None
    if fields is None:
        [text] = compiled.render({}, 1)
    else:
        columns = unpack_fields(fields)
        # Most batches go out whole: then the columns are as they should be.
        chosen = {
            name: column if len(column) == len(positions) else [column[position] for position in positions]
            for name, column in columns.items()
        }
        texts = compiled.render(chosen, len(positions))
    return OutgoingBatch(
        reference=reference(campaign, -number),  # rows begin at 1: a batch never shares a message's reference
        numbers=numbers,
        references=References(campaign, rows),
        segments=segments,
        text=text,
        texts=texts,
        sender=sender,
        scheduled_for=scheduled_for,
        options=options or {},
    )


def render_content(
    campaign: str, number: int, content: BatchContent, *, scheduled_for: datetime | None
) -> OutgoingBatch:
    """Return batch `number` of a campaign as it goes out, or went out, to the messages of `content`."""
    return render_batch(
        campaign=campaign,
        number=number,
        template=content.template,
        fields=content.fields,
        positions=content.positions,
        numbers=content.numbers,
        rows=content.rows,
        segments=content.segments,
        sender=content.sender,
        scheduled_for=scheduled_for,
        options=content.options,
    )
