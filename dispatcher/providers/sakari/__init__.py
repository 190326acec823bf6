"""Sakari (sakari.io): a text each for many people in one request, MMS, and much that an account keeps with them.

Marks in this file: K the vendor's document (v1.0.1) says so, I inferred, U unknown (and then a setting with a cautious
default). Sakari takes neither a send time, nor a sender, nor a reference of ours, and has no call that stops messages.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from msgspec import Struct

from dispatcher.errors import InvalidRequest
from dispatcher.provider import (
    Answers,
    Awaited,
    Capabilities,
    ContactPage,
    IncomingMessage,
    IncomingPage,
    LookUp,
    OutgoingBatch,
    ReceiptPage,
    Resource,
    Stopped,
    Tokens,
)
from dispatcher.providers.sakari import campaign, contacts, media, message, mustache, receipts, resources, wire
from dispatcher.providers.sakari import lost as finding
from dispatcher.providers.sakari.login import Calls, Login, answered_at
from dispatcher.providers.sakari.settings import Settings, shown
from dispatcher.transport import Transport

__all__ = ["Sakari", "Settings", "connect"]


def connect(settings: Settings, tokens: Tokens) -> "Sakari":
    """Return the account that the settings name; nothing is sent yet.

    Raises:
        SettingsError: the base URL is none.
    """
    return Sakari(settings, tokens)


class _Kept(Struct):
    template: str | None = None


class _TemplateAnswer(Struct):
    data: _Kept | None = None


class Sakari:
    """One Sakari account.

    A send whose answer was lost is known again by what it says to whom: there is no reference of ours in it.
    """

    name = "sakari"

    def __init__(
        self, settings: Settings, tokens: Tokens, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        grace = settings.lookup_grace_seconds
        self._clock = clock
        self._reading: finding.Reading | None = None
        self.capabilities = Capabilities(
            messages_per_request=settings.messages_per_request,
            characters=settings.characters,
            sender=False,  # K: no field for it; a group of numbers at most
            schedule_ahead=None,  # K: no field for it
            ids_per_receipt_request=settings.messages_per_request,
            lookup_grace=None if grace is None else timedelta(seconds=settings.timeout + grace),
            receipt_window=timedelta(hours=72),  # U
            options=frozenset({"media_url", "as_campaign"}),
            currency=None,  # U: prices come without one
            requests_per_second=settings.requests_per_second,
            segments_per_second=settings.segments_per_second,
        )
        self._settings = settings
        self._field = wire.Field(path=settings.text_field)
        transport = Transport(base_url=settings.base_url, timeout=settings.timeout, headers={})
        login = Login(
            transport=transport,
            client_id=shown(settings.client_id),
            client_secret=shown(settings.client_secret),
            tokens=tokens,
        )
        self._calls = Calls(
            transport=transport, login=login, account_id=settings.account_id.strip(), missing=settings.missing()
        )

    # --- Sending ------------------------------------------------------------------------------------------------------

    def prepare(self, batch: OutgoingBatch, /) -> None:
        """Put the people of a batch that is to be a campaign at Sakari under a tag of their own; else do nothing.

        Raises:
            NotSubmitted: there is no answer; prepare again later.
            Refused: Sakari refused the upload, or all that is in it.
        """
        if campaign.wanted(batch):
            campaign.prepare(self._calls, batch, self._field)

    def submit(self, batch: OutgoingBatch, /) -> Answers:
        """Send a batch in one request, or create a campaign of it at Sakari (option `as_campaign`), after a login.

        A batch of which every recipient was refused for the account's sake raises, since all of it may go later. A
        campaign at Sakari waits until a person starts it there: no call of the API does (K).

        Raises:
            NotSubmitted: certainly nothing was sent; also if a token had expired.
            OutcomeUnknown: it may have been carried out.
            Refused: Sakari refused the whole batch, or it exceeds a limit and was not sent.
        """
        if campaign.wanted(batch):
            return campaign.create(self._calls, batch, self._field, most=self._settings.messages_per_request)
        request = wire.encoded(
            batch,
            self._field,
            most=self._settings.messages_per_request,
            number_group=self._settings.number_group.strip() or None,
            conversation_strategy=self._settings.conversation_strategy.strip() or None,
        )
        reply = self._calls.submit("POST", "/messages", body=request.body, deadline=batch.deadline)
        data = reply.json(wire.SendAnswer).data
        if data is None:
            raise reply.unclear("it tells of no messages")
        job = message.word(data.job_id) or "-"
        answers = wire.answers(
            batch,
            data,
            name=wire.reference("job", job, since=answered_at(reply), template=request.template),
            echo=request.texts if self._settings.check_texts else None,
        )
        if len(answers.missing) == len(batch):
            raise reply.unclear(f"it answers for none of {len(batch)} messages")
        return answers

    def stop(self, provider_reference: str, /) -> Stopped:
        """Remove a campaign from Sakari; messages that were sent directly cannot be stopped (K: no call does).

        A person may have started it before, and Sakari does not tell: so it is never certain that nothing went out.

        Raises:
            NotSubmitted: certainly nothing was carried out.
            OutcomeUnknown: it may have been removed.
            Refused: Sakari refused the request.
        """
        return campaign.stop(self._calls, provider_reference)

    # --- What became of it --------------------------------------------------------------------------------------------

    def find(self, lost: OutgoingBatch, attempted_at: datetime, wait: Callable[[], None], /) -> LookUp:
        """Look for a batch whose answer was lost in the list of messages, or (`as_campaign`) for its campaign.

        Of a batch that is found in part, the rest may be found later; see `lost`, also for the danger.

        Raises:
            NotSubmitted: there is no answer; ask again later.
            Refused: Sakari refused the request, or it is no batch that could have been sent.
        """
        since, pages = attempted_at - finding.SKEW, self._settings.receipt_pages
        if campaign.wanted(lost):
            return campaign.find(self._calls, lost, self._field, since, pages=pages, wait=wait)
        kept, now = self._reading, self._clock()
        over = timedelta(seconds=self._settings.timeout)
        if kept is not None and kept.tells_of(attempted_at, over=over, now=now):
            return replace(finding.judge(lost, since, kept.listing, self._field), seen_at=kept.began)
        listing = finding.read(self._messages, since, pages=pages, wait=wait)
        self._reading = finding.Reading(listing=listing, since=since, began=now)
        return finding.judge(lost, since, listing, self._field)

    def fetch_receipts(self, awaited: Sequence[Awaited], page: str | None = None, /) -> ReceiptPage:
        """Ask for a page of Sakari's messages, or for one of them; see `receipts`. Costs are as Sakari gives them (K).

        A message that has no id of Sakari's is known again by its number, its text and when its batch was answered.

        Raises:
            NotSubmitted: there is no answer; ask again later.
            Refused: Sakari refused the request.
        """
        question = receipts.Question.of(
            awaited, pages=self._settings.receipt_pages, singles=self._settings.receipts_by_id
        )
        cursor = question.begin() if page is None else receipts.Cursor.parse(page)
        if cursor is None or (cursor.kind == "one" and cursor.at >= len(awaited)):
            return ReceiptPage(receipts=[])
        if cursor.kind == "one":
            found, seen = question.receipts(self._message(awaited[cursor.at]), cursor.seen)
            after = question.one_by_one(seen, after=cursor.at, left=cursor.left)
        else:
            answer = self._messages(cursor.at)
            found, seen = question.receipts([row for row in answer.data or () if row is not None], cursor.seen)
            after = question.after(cursor, seen, answer)
        return ReceiptPage(receipts=found, next_page=None if after is None else str(after))

    def _message(self, entry: Awaited) -> list[message.Message]:
        theirs = entry.provider_message_id or ""
        try:
            reply = self._calls.look_up("GET", f"/messages/{quote(theirs, safe='')}")
        except InvalidRequest as error:
            if ": HTTP 404" not in str(error):
                raise
            return []  # not known, or not any more; the end of the receipt window settles it
        data = reply.json(message.MessageAnswer).data
        if data is None:
            raise reply.unclear("it tells of no message")
        return [data] if message.word(data.id) == theirs else []

    def _messages(self, offset: int) -> message.MessagesAnswer:
        reply = self._calls.look_up("GET", "/messages", params={"offset": offset, "limit": receipts.PAGE})
        answer = reply.json(message.MessagesAnswer)
        if answer.data is None:
            raise reply.unclear("it is no list of messages")
        return answer

    def incoming(self, page: str | None = None, /) -> IncomingPage:
        """Ask for a page of Sakari's messages, of which the incoming ones are told; so a page may be empty (K).

        Raises:
            NotSubmitted: there is no answer; ask again later.
            Refused: Sakari refused the request.
        """
        offset = resources.page_offset(page)
        answer = self._messages(offset)
        rows = answer.data or []
        found = []
        for row in rows:
            number = None if row is None else message.number_of(row.contact)
            if row is None or number is None or message.flag(row.outgoing) is not False:
                continue
            found.append(
                IncomingMessage(
                    number=number,
                    text=row.message or "",
                    at=message.moment(row.created),
                    provider_message_id=message.word(row.id) or None,
                    answers_to=(message.word(row.conversation.id) if row.conversation else "") or None,
                )
            )
        after = message.next_offset(answer.pagination, offset, len(rows), receipts.PAGE)
        return IncomingPage(messages=found, next_page=None if after is None else str(after))

    # --- What the account has -----------------------------------------------------------------------------------------

    def check(self) -> str:
        """Log in anew, and ask for the number of contacts.

        Raises:
            NotSubmitted: there is no answer; ask again later.
            Refused: the credentials or the account were refused.
        """
        self._calls.require_credentials()
        self._calls.login.renew()
        reply = self._calls.look_up("GET", "/contacts", params={"offset": 0, "limit": 1})
        paging = reply.json(contacts.ContactsAnswer).pagination
        many = "" if paging is None or paging.total_count is None else f" with {paging.total_count} contacts"
        return f"account {self._settings.account_id.strip()}{many}"

    def share(self, name: str, media_type: str, data: bytes, /) -> str:
        """Upload a file, which Sakari hosts for a time (K: `expires`; U: how long), and return its link.

        Raises:
            NotSubmitted: there is no answer; try again later.
            Refused: Sakari refused the file.
        """
        kind, body = media.form(name, media_type, data)
        reply = self._calls.look_up(
            "POST", "/v1/tools/sharefile", body=body, headers={"Content-Type": kind}, opaque=True
        )
        return media.link(reply)

    def template_text(self, template_id: str, /) -> str:
        """Return one of the account's templates with our {field} placeholders; see `mustache`.

        Raises:
            NotSubmitted: there is no answer; ask again later.
            Refused: Sakari refused the request.
            InputError: the template has what cannot be expressed here.
        """
        reply = self._calls.look_up("GET", f"/templates/{quote(template_id, safe='')}")
        data = reply.json(_TemplateAnswer).data
        if data is None or data.template is None:
            raise reply.unclear("it tells of no template")
        return mustache.placeholders(data.template)

    def contacts_with_tag(self, tag: str, page: str | None = None, /) -> ContactPage:
        """Ask for a page of the contacts with a tag, as rows with their attributes, phone, first_name and so on.

        U whether Sakari's filter is for the whole tag; who is told to have other tags only is left out.

        Raises:
            NotSubmitted: there is no answer; ask again later.
            Refused: Sakari refused the request.
        """
        offset = resources.page_offset(page)
        reply = self._calls.look_up(
            "GET", "/contacts", params={"tags": tag, "offset": offset, "limit": resources.PAGE}
        )
        answer = reply.json(contacts.ContactsAnswer)
        if answer.data is None:
            raise reply.unclear("it is no list of contacts")
        found = [row for row in answer.data if row is not None]
        rows: list[Mapping[str, str]] = [
            contacts.row(row) for row in found if tag in contacts.tags_of(row) or not contacts.tags_of(row)
        ]
        after = message.next_offset(answer.pagination, offset, len(answer.data), resources.PAGE)
        return ContactPage(rows=rows, next_page=None if after is None else str(after))

    def resources(self) -> Sequence[Resource]:
        """Return the documented calls on contacts, templates, campaigns, conversations, messages and webhooks."""
        return resources.resources(self._calls)
