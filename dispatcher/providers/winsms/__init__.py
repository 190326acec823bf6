"""WinSMS (winsms.co.za): up to 1000 texts a request, schedules and recalls them, tells their fate when asked.

Marks in this file: K the vendor's document says so, I inferred, U unknown (and then a setting with a cautious default).
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field, SecretStr

from dispatcher.config import ProviderSettings, Rate
from dispatcher.errors import AuthenticationFailed
from dispatcher.provider import (
    Answers,
    Awaited,
    AwaitedMessages,
    Capabilities,
    IncomingPage,
    LookUp,
    OptOutPage,
    OutgoingBatch,
    Recall,
    ReceiptPage,
    Receipts,
    ScheduledMessage,
    ScheduledPage,
    Tokens,
    Verdict,
)
from dispatcher.providers.winsms import inbox, wire
from dispatcher.providers.winsms import lost as finding
from dispatcher.transport import Transport


class Settings(ProviderSettings):
    """Where WinSMS is, and what its document leaves open."""

    base_url: str = "https://www.winsms.co.za/api/rest/v1"
    api_key: SecretStr | None = None
    requests_per_second: Rate = 5.0  # U: the vendor gives no number
    schedule_days: int = Field(default=30, ge=1, le=366, description="How far ahead it takes a send time (U).")
    reconcilable: bool = Field(
        default=False,
        description="Hand every batch over as scheduled some minutes ahead, so that a lost answer can be found.",
    )
    lookup_grace_seconds: Annotated[float | None, BeforeValidator(lambda value: None if value == "" else value)] = (
        Field(
            default=60,
            ge=1,
            description=(
                "For how long after its time-out a scheduled batch may be absent from WinSMS's list although it was"
                " accepted (U): one whose answer was lost, and that is still absent then, is sent again. Empty: never."
            ),
        )
    )
    unicode: bool = Field(
        default=True,
        description="Whether texts beyond GSM 7-bit are sent; the vendor's document names only that (U).",
    )

    def missing(self) -> list[str]:
        """Return the names of the settings without which WinSMS cannot be called."""
        return [] if self.key() else ["DISPATCHER_WINSMS__API_KEY"]

    def key(self) -> str:
        """Return the API key, "" if there is none."""
        return "" if self.api_key is None else self.api_key.get_secret_value().strip()


def connect(settings: Settings, tokens: Tokens) -> "WinSMS":
    """Return the account that the settings name; nothing is sent yet. It needs no tokens: its key is sent as it is.

    Raises:
        SettingsError: the base URL is none.
    """
    del tokens
    return WinSMS(settings)


class WinSMS:
    """One WinSMS account.

    An immediate send whose answer was lost cannot be found again (K: WinSMS does not keep our ids); a scheduled one
    can, for as long as WinSMS holds it.
    """

    name = "winsms"

    def __init__(self, settings: Settings, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        grace = settings.lookup_grace_seconds
        self.capabilities = Capabilities(
            messages_per_request=wire.MOST_PER_REQUEST,
            bytes_per_request=wire.MOST_BYTES - wire.FRAME,
            bytes_per_message=wire.AROUND_A_TEXT,
            characters=918,  # K
            segments=6,  # K
            unicode=settings.unicode,
            sender=False,  # K: the API has no field for it
            schedule_ahead=timedelta(days=settings.schedule_days),
            schedule_least=timedelta(minutes=2),  # a time that has passed is sent at once (K), and is in minutes
            schedule_step=timedelta(minutes=1),  # K
            options=frozenset({"reconcilable"}),
            deduplicates=False,  # K: clientMessageId is not saved
            ids_per_receipt_request=wire.MOST_PER_REQUEST,  # K
            lookup_grace=None if grace is None else timedelta(seconds=settings.timeout + grace),
            receipt_window=timedelta(hours=72),  # I: they are kept for 90 days (K), but networks give up sooner
            requests_per_second=settings.requests_per_second,
            segments_per_second=settings.segments_per_second,
        )
        self._settings = settings
        self._clock = clock
        self._transport = Transport(base_url=settings.base_url, timeout=settings.timeout, headers=self._credentials)

    def _credentials(self) -> dict[str, str]:
        key = self._settings.key()
        if not key:
            raise AuthenticationFailed("winsms: not sent: DISPATCHER_WINSMS__API_KEY is not set")
        return {"AUTHORIZATION": key}  # K: the key as it is, without a scheme

    def submit(self, batch: OutgoingBatch, /) -> Answers:
        """Send a batch in one request: `send` for one text to all, `sendmulti` for a text each (K).

        A batch of which every recipient was refused for the account's sake raises, since all of it may go later. If
        only some were, `pause` has the reason. Costs are in credits.

        Raises:
            NotSubmitted: certainly nothing reached WinSMS.
            OutcomeUnknown: it may have been carried out.
            Refused: WinSMS refused the whole batch, or it exceeds a limit and was not sent.
        """
        path, body = wire.encoded(batch)
        reply = self._transport.submit("POST", path, body=body, deadline=batch.deadline)
        answers = wire.answers(batch, reply.json(wire.SendAnswer))
        if len(answers.missing) == len(batch):
            raise reply.unclear(f"it answers for none of {len(batch)} messages")
        return answers

    def fetch_receipts(self, awaited: Sequence[Awaited], page: str | None = None, /) -> ReceiptPage:
        """Ask for the state of up to 1000 messages by WinSMS's ids; those that have none are left out.

        A word that is not known to be final is under way, and kept as the reason: also NOTFOUND (K: a wrong id, or
        older than 90 days), which the end of the receipt window settles.

        Raises:
            NotSubmitted: there is no answer; ask again later.
            Refused: WinSMS refused the request.
        """
        del page
        asked = AwaitedMessages.of(awaited)
        positions, theirs = wire.numbered(asked.provider_message_ids)
        if not theirs:
            return ReceiptPage(receipts=[])
        reply = self._transport.look_up("POST", "/sms/outgoing/status", body=wire.named(theirs))
        found = reply.json(wire.StatusAnswer).message_statuses
        if found is None:
            raise reply.unclear("it names no states")
        positions, rows = wire.matched(positions, theirs, [row for row in found if row is not None])
        states, reasons = wire.fates(rows)
        return ReceiptPage(
            receipts=Receipts(
                message_ids=[asked.message_ids[at] for at in positions],
                states=states,
                reasons=reasons,
                ats=wire.moments([row.status_time for row in rows]),
                costs=wire.decimals([row.credit_cost for row in rows]),
            )
        )

    def find(self, lost: OutgoingBatch, attempted_at: datetime, wait: Callable[[], None], /) -> LookUp:
        """Look for a scheduled batch whose answer was lost among what WinSMS holds; see `lost`, also for the danger.

        Nothing is told of one that was sent at once, or whose time has (nearly) come: it is listed no more then.

        Raises:
            NotSubmitted: there is no answer; ask again later.
            Refused: WinSMS refused the request.
        """
        if lost.scheduled_for is None:
            return LookUp(verdict=Verdict.NEVER, evidence="it was sent at once, and only what is scheduled is listed")
        leaves = lost.scheduled_for - finding.LEAVES
        if self._clock() >= leaves:
            return LookUp(verdict=Verdict.NEVER, evidence="the time has passed; they are no longer listed")
        found = finding.judge(lost, attempted_at, finding.read(self._scheduled, wait))
        if found.verdict is Verdict.ABSENT and self._clock() >= leaves:
            return LookUp(
                verdict=Verdict.UNCLEAR, evidence=f"{found.evidence}, but the time passed while it was read"
            )
        return found

    def list_scheduled(self, page: str | None = None, /) -> ScheduledPage:
        """Return up to 1000 scheduled messages; `page` is an offset (K).

        A message that leaves between two calls moves the rest forward, so a page read later may lack as many as left
        meanwhile: `total` then differs from page to page.

        Raises:
            NotSubmitted: there is no answer; ask again later.
            Refused: WinSMS refused the request.
        """
        offset = int(page or 0)
        messages, told = self._scheduled(offset)
        total = max(told or 0, offset + len(messages))
        more = bool(messages) and offset + len(messages) < total
        return ScheduledPage(messages=messages, total=total, next_page=str(offset + len(messages)) if more else None)

    def _scheduled(self, offset: int) -> tuple[list[ScheduledMessage], int | None]:
        params = {"offset": offset, "limit": wire.MOST_PER_REQUEST}
        reply = self._transport.look_up("GET", "/sms/scheduled", params=params)
        answer = reply.json(wire.ScheduledAnswer)
        rows = answer.scheduled_messages
        if rows is None:
            raise reply.unclear("it names no scheduled messages")
        messages = []
        for row in rows:
            provider_message_id, number = wire.word(row.api_message_id), wire.digits(row.mobile_number)
            send_at = wire.moment(row.scheduled_send_time)
            if not wire.is_id(provider_message_id) or not number or send_at is None:
                # To leave it out would say that it is not scheduled, and something might be sent twice for that.
                raise reply.unclear("a scheduled message without an id, a number or a time")
            messages.append(
                ScheduledMessage(
                    provider_message_id=provider_message_id,
                    number=int(number),
                    send_at=send_at,
                    submitted_at=wire.moment(row.submit_time),
                )
            )
        return messages, answer.results_total_available

    def recall(self, provider_message_ids: Sequence[str], /) -> Sequence[Recall]:
        """Delete up to 1000 scheduled messages in one request; their credits come back (K). One answer an id, in order.

        An id that is not answered for counts as not recalled.

        Raises:
            NotSubmitted: certainly nothing reached WinSMS.
            OutcomeUnknown: they may have been deleted.
            Refused: WinSMS refused the request, or it exceeds a limit and was not sent.
        """
        if not provider_message_ids:
            return []
        reply = self._transport.submit("POST", "/sms/scheduled/delete", body=wire.ids(provider_message_ids))
        answered = reply.json(wire.DeleteAnswer).deleted_message_statuses
        if answered is None:
            raise reply.unclear("it names no messages")
        rows = {wire.word(row.api_message_id): row for row in answered}
        recalls = []
        for provider_message_id in provider_message_ids:
            row = rows.get(provider_message_id)
            recalled = row is not None and wire.flag(row.deleted) is True
            reason = "no answer" if row is None else wire.word(row.delete_error) or "no reason given"
            recalls.append(
                Recall(
                    provider_message_id=provider_message_id,
                    recalled=recalled,
                    reason=None if recalled else reason,
                    refunded=wire.decimal(row.credit_cost) if recalled and row is not None else None,
                )
            )
        return recalls

    def incoming(self, page: str | None = None, /) -> IncomingPage:
        """Return up to 1000 messages that came in; `page` is an offset (K).

        Raises:
            NotSubmitted: there is no answer; ask again later.
            Refused: WinSMS refused the request.
        """
        offset = int(page or 0)
        params = {"offset": offset, "limit": wire.MOST_PER_REQUEST}
        reply = self._transport.look_up("GET", "/sms/incoming", params=params)
        answer = reply.json(inbox.IncomingAnswer)
        rows = answer.incoming_messages
        if rows is None:
            raise reply.unclear("it names no incoming messages")
        seen = offset + len(rows)
        more = rows and seen < (answer.results_total_available or 0)
        return IncomingPage(messages=inbox.messages(rows), next_page=str(seen) if more else None)

    def opt_outs(self, page: str | None = None, /) -> OptOutPage:
        """Return everyone who opted out, numbers added by hand among them; there is one page (K).

        Raises:
            NotSubmitted: there is no answer; ask again later.
            Refused: WinSMS refused the request.
        """
        del page
        reply = self._transport.look_up("GET", "/sms/incoming/optout")
        rows = reply.json(inbox.OptOutAnswer).incoming_optout_messages
        if rows is None:
            raise reply.unclear("it names no opt-outs")
        return OptOutPage(opt_outs=inbox.opt_outs(rows))

    def balance(self) -> Decimal:
        """Return the credits that are left on the account.

        Raises:
            NotSubmitted: there is no answer; ask again later.
            Refused: WinSMS refused the request.
        """
        reply = self._transport.look_up("GET", "/credits/balance")
        credit = wire.decimal(reply.json(wire.BalanceAnswer).credit_balance)
        if credit is None:
            raise reply.unclear("it names no balance")
        return credit
