"""What to ask Sakari next to learn the fate of messages: pages of its list, then single messages.

Its list can be filtered by contact or conversation only (K), its order is U, and there is no look-up by several ids.
So many messages are looked for in the list, page after page: until all were seen, or the list has come to messages
older than the batches are, or so many pages were read. A list that begins with the oldest is read from its end. The
few that were not seen, or few from the start, are asked for one by one.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from dispatcher.provider import Awaited, Receipt
from dispatcher.providers.sakari.message import Message, MessagesAnswer, digest, fate, flag, moment, number_of, word
from dispatcher.providers.sakari.message import decimal as exact
from dispatcher.providers.sakari.wire import Reference

PAGE = 100  # K: messages on a page at most
SLACK = 300.0  # seconds by which a message may seem older than the answer that told of its job


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """What to ask next. `seen` has a bit for each awaited message that was told of; `left` counts questions."""

    kind: str  # list: the page at `at`; one: the message at position `at` of those awaited
    at: int = 0
    backwards: bool = False
    left: int
    seen: int = 0

    def __str__(self) -> str:
        return f"{self.kind}:{self.at}:{'-' if self.backwards else '+'}:{self.left}:{self.seen:x}"

    @classmethod
    def parse(cls, text: str) -> "Cursor | None":
        """Return what `str` has written, None for anything else."""
        found = re.fullmatch(r"(list|one):([0-9]{1,12}):([+-]):([0-9]{1,6}):([0-9a-f]{1,8192})", text)
        if found is None:
            return None
        return cls(
            kind=found[1], at=int(found[2]), backwards=found[3] == "-", left=int(found[4]), seen=int(found[5], 16)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The messages that are awaited, and how to know them again."""

    awaited: Sequence[Awaited]
    by_id: Mapping[str, int]  # Sakari's id → position
    by_number: Mapping[int, Sequence[tuple[int, Reference]]]  # of those without an id
    pages: int
    singles: int

    @classmethod
    def of(cls, awaited: Sequence[Awaited], *, pages: int, singles: int) -> "Question":
        """Return the question for some messages; those that nothing tells apart are left out."""
        by_id: dict[str, int] = {}
        by_number: dict[int, list[tuple[int, Reference]]] = {}
        for at, entry in enumerate(awaited):
            batch = Reference.parse(entry.provider_reference)
            if entry.provider_message_id:
                by_id[entry.provider_message_id] = at
            elif batch is not None:
                by_number.setdefault(entry.number, []).append((at, batch))
        return cls(awaited=awaited, by_id=by_id, by_number=by_number, pages=pages, singles=singles)

    def begin(self) -> Cursor | None:
        """Return what to ask first, None if nothing can be asked."""
        if self.by_number or len(self.by_id) > self.singles:
            return Cursor(kind="list", left=self.pages)
        return self.one_by_one(0)

    def one_by_one(self, seen: int, *, after: int = -1, left: int | None = None) -> Cursor | None:
        """Return the next single message to ask for, None if there is none."""
        left = self.singles if left is None else left
        for at in self.by_id.values():
            if left and at > after and not seen >> at & 1:
                return Cursor(kind="one", at=at, left=left - 1, seen=seen)
        return None

    def known(self, message: Message) -> int | None:
        """Return the position of a message that Sakari tells of, None if it is none of ours for certain.

        One without an id must be outgoing, to that number, no older than its batch, and of its text or its template;
        if several could be meant, it is none.
        """
        found = self.by_id.get(word(message.id))
        if found is not None:
            return found
        candidates = self.by_number.get(number_of(message.contact) or 0)
        created = moment(message.created)
        if not candidates or created is None or flag(message.outgoing) is not True:
            return None
        told = {digest(text) for text in (message.template, message.message) if text}
        fitting = [
            at for at, batch in candidates if created.timestamp() >= batch.since - SLACK and batch.template in told
        ]
        return fitting[0] if len(fitting) == 1 else None

    def receipts(self, messages: Sequence[Message], seen: int) -> tuple[list[Receipt], int]:
        """Return the receipts in some messages, the first for each, and who has been seen then."""
        receipts = []
        for message in messages:
            at = self.known(message)
            if at is None or seen >> at & 1:
                continue
            seen |= 1 << at
            state, reason = fate(message)
            receipts.append(
                Receipt(
                    message_id=self.awaited[at].message_id,
                    state=state,
                    reason=reason,
                    at=moment(message.updated) or moment(message.created),
                    cost=exact(message.price),
                )
            )
        return receipts, seen

    def after(self, cursor: Cursor, seen: int, answer: MessagesAnswer) -> Cursor | None:
        """Return what to ask after a page of the list."""
        rows = answer.data or []
        unseen = [at for at in range(len(self.awaited)) if not seen >> at & 1 and self._asked(at)]
        if not unseen:
            return None
        then = replace(cursor, left=cursor.left - 1, seen=seen)
        created = [when for row in rows if row is not None and (when := moment(row.created)) is not None]
        rising = bool(created) and created[0] < created[-1]
        total = answer.pagination.total_count if answer.pagination is not None else None
        if not then.left or not rows or self._older(created, unseen, older=cursor.backwards or not rising):
            return self.one_by_one(seen)
        if cursor.backwards:
            then = replace(then, at=max(cursor.at - PAGE, PAGE))
            return then if then.at < cursor.at else self.one_by_one(seen)
        if cursor.at == 0 and rising and total is not None and total > 2 * PAGE:
            return replace(then, at=total - PAGE, backwards=True)
        end = cursor.at + len(rows)
        more = end < total if total is not None else len(rows) >= PAGE
        return replace(then, at=end) if more else self.one_by_one(seen)

    def _asked(self, at: int) -> bool:
        entry = self.awaited[at]
        return bool(entry.provider_message_id) or any(
            at == position for position, _ in self.by_number.get(entry.number, ())
        )

    def _older(self, created: Sequence[datetime], unseen: Sequence[int], *, older: bool) -> bool:
        """Whether the pages to come are all older than the batches of those who were not seen."""
        if not created or not older:
            return False
        since = []
        for at in unseen:
            batch = Reference.parse(self.awaited[at].provider_reference)
            if batch is None:
                return False
            since.append(batch.since)
        return min(created).timestamp() < min(since) - SLACK
