"""What people sent to us through WinSMS: replies, and opt-outs."""

from collections.abc import Sequence

from msgspec import Struct

from dispatcher.provider import IncomingMessage, OptOut
from dispatcher.providers.winsms.wire import Loose, digits, moment, word


class IncomingRow(Struct, rename="camel"):
    """One message that came in, or one opt-out."""

    incoming_api_message_id: Loose = None
    outgoing_api_message_id: Loose = None
    mobile_number: Loose = None
    message_text: Loose = None
    receive_time: Loose = None


class IncomingAnswer(Struct, rename="camel"):
    """One page of what came in."""

    incoming_messages: list[IncomingRow | None] | None = None
    results_total_available: int | None = None


class OptOutAnswer(Struct, rename="camel"):
    """All opt-outs there are: this call has no pages (K)."""

    incoming_optout_messages: list[IncomingRow | None] | None = None


def messages(rows: Sequence[IncomingRow | None]) -> list[IncomingMessage]:
    """Return the messages in `rows`; one without a number says nothing of anyone, and is left out."""
    return [
        IncomingMessage(
            number=int(number),
            text=word(row.message_text),
            at=moment(row.receive_time),
            provider_message_id=word(row.incoming_api_message_id) or None,
            answers_to=word(row.outgoing_api_message_id) or None,
        )
        for row in rows
        if row is not None and (number := digits(row.mobile_number))
    ]


def opt_outs(rows: Sequence[IncomingRow | None]) -> list[OptOut]:
    """Return who opted out, by message or by hand (K); the text is the person's own and is not kept."""
    return [
        OptOut(number=int(number), reason="opted out", at=moment(row.receive_time))
        for row in rows
        if row is not None and (number := digits(row.mobile_number))
    ]
