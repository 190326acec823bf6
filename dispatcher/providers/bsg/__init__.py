"""BSG (bsg.world): up to 10,000 texts a request as one campaign, which it schedules, stops and tells the fate of.

Marks in this package: K the vendor's document says so, I inferred, U unknown (and then a setting with a cautious
default).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from dispatcher.errors import InvalidRequest
from dispatcher.message import MessageState
from dispatcher.provider import (
    Answers,
    Awaited,
    Capabilities,
    LookUp,
    OptOut,
    OptOutPage,
    OutgoingBatch,
    Price,
    Receipt,
    ReceiptPage,
    Resource,
    Stopped,
    Tokens,
)
from dispatcher.providers.bsg import lost as finding
from dispatcher.providers.bsg import reading, wire
from dispatcher.providers.bsg.login import Session, status_of
from dispatcher.providers.bsg.resources import resources
from dispatcher.providers.bsg.settings import Settings

_MOST_A_PAGE = 500  # K
_RANK = {  # of two rows about one message, by two channels: delivered counts, then what is under way
    MessageState.DELIVERED: 2,
    MessageState.SUBMITTED: 1,
    MessageState.EXPIRED: 0,
    MessageState.UNDELIVERED: 0,
}


def connect(settings: Settings, tokens: Tokens) -> "BSG":
    """Return the account that the settings name; nothing is sent yet.

    Raises:
        SettingsError: the base URL is none.
    """
    return BSG(settings, tokens)


class BSG:
    """One BSG account.

    A send whose answer was lost can be found again by our references, which BSG keeps, and a second message with one
    of them is rejected (K).
    """

    name = "bsg"

    def __init__(
        self, settings: Settings, tokens: Tokens, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        grace = settings.lookup_grace_seconds
        self.capabilities = Capabilities(
            messages_per_request=settings.messages_per_request,
            bytes_per_request=settings.bytes_per_request - wire.FRAME,
            bytes_per_message=wire.AROUND_A_TEXT,
            characters=wire.MOST_CHARACTERS,
            segments=wire.MOST_SEGMENTS,
            schedule_ahead=timedelta(days=30),  # K
            schedule_least=timedelta(minutes=2),  # U: what becomes of a time that has passed
            schedule_step=timedelta(seconds=1),  # K
            deduplicates=True,  # K
            ids_per_receipt_request=settings.messages_per_request,  # of one campaign, page by page
            receipts_by_batch=True,
            lookup_grace=None if grace is None else timedelta(seconds=settings.timeout + grace),
            options=frozenset({"channels"}),
            currency=settings.currency,
            receipt_window=timedelta(hours=(settings.validity_hours or 72) + 1),  # K: tried for 72 hours at most
            requests_per_second=settings.requests_per_second,
            segments_per_second=settings.segments_per_second,
        )
        self._settings = settings
        self._session = Session(settings, tokens)
        self._clock = clock

    def submit(self, batch: OutgoingBatch, /) -> Answers:
        """Send a batch in one request; it becomes one campaign at BSG, whose id is the provider reference.

        A login may go before it. The answer tells of the campaign, not of single recipients (K). Where a token that
        was in use is refused, nothing was sent, and the next submission goes with a new one. An identical request
        in short succession is throttled (K), which is no sign that the first was carried out: the references tell.

        Raises:
            NotSubmitted: certainly nothing of it reached BSG, or was taken by it.
            OutcomeUnknown: it may have been carried out, now or (a known reference) by an earlier attempt.
            Refused: BSG refused the whole batch, or it exceeds a limit or lacks a sender and was not sent.
        """
        self._session.require_key()
        request = wire.encoded(batch, self._settings)
        if len(request.refused) == len(batch):
            return Answers(
                provider_message_ids=[None] * len(batch), costs=[None] * len(batch), refused=request.refused
            )
        try:
            reply = self._session.submit("POST", request.path, body=request.body, deadline=batch.deadline)
            refused = None
        except InvalidRequest as error:
            refused = wire.judged(error)
        if refused is not None:
            raise refused
        campaign = reply.json(wire.CampaignAnswer).data
        if campaign is None or not reading.word(campaign.id):
            raise reply.unclear("it names no campaign")
        return wire.answers(batch, request, campaign, self._settings)

    def find(self, lost: OutgoingBatch, attempted_at: datetime, wait: Callable[[], None], /) -> LookUp:
        """Look for a batch whose answer was lost by our references, whenever it was sent; see `lost`.

        Raises:
            NotSubmitted: there is no answer; ask again later.
            Refused: BSG refused the request.
        """
        del attempted_at
        return finding.find(self._session, lost, wait)

    def fetch_receipts(self, awaited: Sequence[Awaited], page: str | None = None, /) -> ReceiptPage:
        """Ask for one page (500) of a campaign's messages; `page` is an offset. All of `awaited` are of one batch.

        A row is matched by our reference, else by its number. Costs are in the account's currency.

        Raises:
            NotSubmitted: there is no answer; ask again later.
            Refused: BSG refused the request.
        """
        campaign = next((entry.provider_reference for entry in awaited if entry.provider_reference), None)
        if campaign is None:
            return ReceiptPage(receipts=[])
        offset = int(page or 0)
        params = {"filter[campaign_id]": campaign, "sort": "id", "way": "asc"}
        reply = self._session.look_up("GET", "/api/messages", params=params | _page(offset))
        answer = reply.json(reading.MessageList)
        if answer.data is None:
            raise reply.unclear("it names no messages")
        rows = [row for row in answer.data if row is not None and reading.word(row.campaign_id) in ("", campaign)]
        return ReceiptPage(
            receipts=self._receipts(awaited, rows), next_page=_next(offset, len(answer.data), answer.total)
        )

    def _receipts(self, awaited: Sequence[Awaited], rows: Sequence[reading.MessageRow]) -> list[Receipt]:
        by_reference = {entry.reference: entry for entry in awaited}
        several = {number for number, many in Counter(entry.number for entry in awaited).items() if many > 1}
        by_number = {entry.number: entry for entry in awaited if entry.number not in several}
        zone = self._settings.zone
        receipts: dict[int, Receipt] = {}
        for row in rows:
            reference = reading.word(row.reference_id)
            entry = by_reference.get(reference) if reference else by_number.get(reading.digits(row.phone) or 0)
            told = None if entry is None else reading.fate(row)
            if entry is None or told is None:
                continue
            state, reason = told
            receipt = Receipt(
                message_id=entry.message_id,
                state=state,
                reason=reason,
                at=reading.moment(row.delivered_at, zone) or reading.moment(row.sent_at, zone),
                cost=None if row.amount is None else reading.decimal(row.amount.value),
            )
            known = receipts.get(entry.message_id)
            if known is None or _RANK.get(state, 1) > _RANK.get(known.state, 1):
                receipts[entry.message_id] = receipt
        return list(receipts.values())

    def price(self, batch: OutgoingBatch, /) -> Price:
        """Ask what one text to all would cost as an SMS (K); of other batches BSG tells no price beforehand.

        Raises:
            NotSubmitted: there is no answer; ask again later.
            Refused: BSG refused the request, or it exceeds a limit or lacks a sender and was not sent.
        """
        if batch.texts is not None or wire.channels_of(batch) != ["sms"]:
            return Price(amount=None, currency=self._settings.currency)
        reply = self._session.look_up("POST", "/api/campaigns/price", body=wire.estimate(batch, self._settings))
        answer = reply.json(reading.PriceAnswer)
        return Price(
            amount=reading.decimal(answer.price), currency=reading.word(answer.currency) or self._settings.currency
        )

    def balance(self) -> Decimal:
        """Return what is on the account, in its currency and without its credit limit: less than nothing on credit.

        Raises:
            NotSubmitted: there is no answer; ask again later.
            Refused: BSG refused the request.
        """
        return self._balance()[0]

    def _balance(self) -> tuple[Decimal, str]:
        reply = self._session.look_up("GET", "/api/accounts/balance")
        found = reply.json(reading.BalanceAnswer).data
        amount = None if found is None else reading.decimal(found.balance)
        if found is None or amount is None:
            raise reply.unclear("it names no balance")
        return amount, reading.word(found.currency) or self._settings.currency or ""

    def check(self) -> str:
        """Log in anew and ask for the balance; return what the account is.

        Raises:
            NotSubmitted: there is no answer; try again later.
            Refused: the key is not taken, or the account may not be asked.
        """
        self._session.log_in()
        amount, currency = self._balance()
        return f"logged in, balance {amount:f} {currency}".rstrip()

    def stop(self, provider_reference: str, /) -> Stopped:
        """Stop a campaign that is scheduled, sending, paused or in moderation (K); a refusal is told as what it is.

        It was `unsent` if it had not started and its start is still to come. What becomes of money is U.

        Raises:
            NotSubmitted: certainly nothing reached BSG.
            OutcomeUnknown: it may have been stopped; to ask again does no harm.
            Refused: the account may not do this.
        """
        if not (provider_reference.isascii() and provider_reference.isdecimal()):
            raise InvalidRequest("bsg: not sent: that is not the id of a campaign")
        try:
            reply = self._session.submit("PATCH", f"/api/campaigns/{provider_reference}/stop")
        except InvalidRequest as error:
            if status_of(error) not in {404, 409, 422}:
                raise
            said = str(error).partition(": HTTP ")[2]
            return Stopped(stopped=False, reason=said.partition(": ")[2] or f"HTTP {said}")
        campaign = reply.json(wire.CampaignAnswer).data
        status = "" if campaign is None else reading.word(campaign.status)
        if campaign is None or not status:
            raise reply.unclear("it names no campaign")
        unsent = not reading.word(campaign.real_start_at) and reading.far_ahead(
            campaign.start_at, self._settings.zone, self._clock()
        )
        stopped = status.lower() == "stopped"
        return Stopped(stopped=stopped, unsent=stopped and unsent, reason=status)

    def opt_outs(self, page: str | None = None, /) -> OptOutPage:
        """Ask for one page (500) of the stop list for SMS; `page` is an offset.

        Raises:
            NotSubmitted: there is no answer; ask again later.
            Refused: BSG refused the request.
        """
        offset = int(page or 0)
        reply = self._session.look_up("GET", "/api/stoplist", params={"type": "sms"} | _page(offset))
        answer = reply.json(reading.StopList)
        if answer.data is None:
            raise reply.unclear("it names no stop list")
        found = [
            OptOut(number=number, reason="stop list", at=reading.moment(row.created_at, self._settings.zone))
            for row in answer.data
            if row is not None and row.sms is not False and (number := reading.digits(row.phone))
        ]
        return OptOutPage(opt_outs=found, next_page=_next(offset, len(answer.data), answer.total))

    def resources(self) -> Sequence[Resource]:
        """Return what BSG keeps and the calls on it; nothing is called yet."""
        return resources(self._session)


def _page(offset: int) -> dict[str, str | int]:
    return {"page[offset]": offset, "page[limit]": _MOST_A_PAGE}


def _next(offset: int, rows: int, total: int | None) -> str | None:
    """Return the offset of the next page, None where there is none."""
    more = rows == _MOST_A_PAGE if total is None else 0 < rows < total - offset
    return str(offset + rows) if more else None


__all__ = ["BSG", "Settings", "connect"]
