"""Goes on from an earlier campaign: its order, and its recipients as a list, to send to some of them again."""

import hashlib
from collections.abc import Collection, Iterator, Sequence

from dispatcher.errors import InputError, UsageError
from dispatcher.ledger import Campaign, Ledger
from dispatcher.message import MessageState
from dispatcher.planning.order import Order
from dispatcher.planning.reading.rows import Chunk
from dispatcher.template import compile_template, unpack_fields

_PHONE = "phone"


def as_ordered(ledger: Ledger, campaign: Campaign, *, public_id: str) -> Order:
    """Return the order that a campaign came of, under a new id and without its list, its time and its budget."""
    return Order(
        public_id=public_id,
        name=campaign.name,
        provider=campaign.provider,
        fallbacks=campaign.fallbacks,
        text=campaign.template,
        variants=ledger.texts.of_campaign(campaign),
        sender=campaign.sender,
        options=campaign.options,
        rules=campaign.rules,
        brand=campaign.brand,
        priority=campaign.priority,
        segment_price=campaign.segment_price,
    )


class SentBefore:
    """Those messages of a campaign that are in one of some states, and were not sent again yet.

    Their rows are those of the first campaign: so an input row can be followed through all of its campaigns.
    """

    def __init__(self, ledger: Ledger, campaign: Campaign, states: Collection[MessageState]) -> None:
        """Prepare to read; nothing is read before `chunks`.

        Raises:
            UsageError: its texts and numbers were erased.
        """
        if campaign.erased_at is not None:
            raise UsageError(f"campaign {campaign.public_id} was erased: nobody is left to send to again")
        self._ledger, self._campaign, self._states = ledger, campaign, states
        self.variants = ledger.texts.of_campaign(campaign)
        texts = (campaign.template, *self.variants.values())
        self._fields = tuple(dict.fromkeys(field for text in texts for field in compile_template(text).fields))
        self.text_by = "(text)"
        """The column that names each row's text; no field is called so."""
        while self.text_by in self._fields:
            self.text_by += "'"
        self._digest = hashlib.sha256()
        self.name = f"campaign {campaign.public_id}"
        self.header = (_PHONE, *self._fields, self.text_by)
        self.notes: Sequence[str] = ()
        self.guess = ""

    def chunks(self) -> Iterator[Chunk]:
        """Yield the rows, batch by batch.

        Raises:
            InputError: there is nobody to send to again.
        """
        already = self._ledger.reports.retried(self._campaign)
        passed = given = 0
        for some in self._ledger.reports.sent_to(self._campaign, self._states):
            chosen = [
                at for at, row in enumerate(some.rows) if row not in already and some.numbers[at] > 0
            ]  # who was forgotten has no number any more
            passed += len(some.rows) - len(chosen)
            if not chosen:
                continue
            stored = {} if some.fields is None else unpack_fields(some.fields)
            given += len(chosen)
            rows = [some.rows[at] for at in chosen]
            columns = {_PHONE: [f"+{some.numbers[at]}" for at in chosen]}
            for field in self._fields:
                columns[field] = [stored[field][some.positions[at]] for at in chosen]
            columns[self.text_by] = [some.variant or ""] * len(chosen)
            self._digest.update(repr(rows).encode())
            yield Chunk(rows=rows, lines=rows, columns=columns, unit="row")
        told = f"{passed:,} rows were passed over: they were sent to again before, or erased" if passed else ""
        if not given:
            raise InputError(
                f"{self.name} has nobody to send to again in these states" + (f"; {told}" if told else "")
            )
        self.notes = (told,) if told else ()

    def digest(self) -> str:
        """Return the sha256 of the rows chosen."""
        return self._digest.hexdigest()
