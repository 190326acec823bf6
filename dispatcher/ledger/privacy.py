"""Erases who was texted and what: finished campaigns after their time, or one person everywhere.

What stays are counts, states, costs, the provider's message ids, and in the place of each number its pseudonym: a
keyed hash, so that rows of one person can still be told to be so, and a suppression still holds.
"""

import hashlib
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from dispatcher.ledger.database import Database, Transaction, micros
from dispatcher.ledger.trail import count, note, shifts
from dispatcher.message import MESSAGES_PER_BATCH, OPEN_MESSAGE_STATES, MessageState
from dispatcher.template import pack_fields, unpack_fields

_KEY = "hash key"
_BATCHES_AT_ONCE = 20
ERASED = "erased"
"""What stands in the place of a number that was left out of a campaign."""


def pseudonym(number: int, key: bytes) -> int:
    """Return the pseudonym of a number: negative, so that it is never taken for one."""
    digest = hashlib.blake2b(str(number).encode(), digest_size=8, key=key).digest()
    return -(int.from_bytes(digest, "big") >> 1) - 1


def shown_number(stored: int) -> str:
    """Return a stored number as it is shown: E.164, or a short form of the pseudonym."""
    return f"+{stored}" if stored > 0 else f"{ERASED}-{-stored:016x}"


def hash_key(tx: Transaction) -> bytes | None:
    """Return the key of this ledger's pseudonyms, None where nothing was ever erased."""
    found = tx.first("SELECT value FROM fact WHERE name = :name", name=_KEY)
    return None if found is None else bytes.fromhex(found.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What forgetting a person came to. `waiting` messages are still on their way and were left as they are."""

    messages: int
    suppressed: int  # of the messages, those that had not been sent yet and now never will be
    excluded: int
    waiting: int


class Privacy:
    """Erases; nothing of it can be undone."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def erasable(self, *, finished_before: datetime) -> list[str]:
        """Return the campaigns that ended before a moment, are settled to the last message, and not erased yet."""
        open_states = ", ".join(f"'message.{state.value}'" for state in OPEN_MESSAGE_STATES)
        with self._database.read() as tx:
            return [
                str(row.public_id)
                for row in tx.rows(
                    "SELECT c.public_id FROM campaign c WHERE c.state IN ('completed', 'cancelled')"
                    " AND c.erased_at IS NULL AND c.finished_at <= :before AND COALESCE((SELECT SUM(n.amount)"
                    f" FROM counter n WHERE n.campaign_id = c.id AND n.name IN ({open_states})), 0) = 0 ORDER BY c.id",
                    before=micros(finished_before),
                )
            ]

    def erase(self, campaign: str, *, who: str, now: datetime) -> int:
        """Erase a finished campaign's texts, fields and numbers; return how many messages there were.

        Portion by portion: interrupted, it goes on where it was.
        """
        key = self._key()
        with self._database.read() as tx:
            campaign_id = int(tx.rows("SELECT id FROM campaign WHERE public_id = :name", name=campaign)[0].id)
            batches = [
                int(row.id)
                for row in tx.rows("SELECT id FROM batch WHERE campaign_id = :id ORDER BY id", id=campaign_id)
            ]
        messages = 0
        for start in range(0, len(batches), _BATCHES_AT_ONCE):
            with self._database.write() as tx:
                for batch in batches[start : start + _BATCHES_AT_ONCE]:
                    messages += _erase_batch(tx, batch, key)
        with self._database.write() as tx:
            tx.run("UPDATE excluded_row SET number = :erased WHERE campaign_id = :id", erased=ERASED, id=campaign_id)
            tx.run("DELETE FROM variant WHERE campaign_id = :id", id=campaign_id)
            tx.run(
                "UPDATE campaign SET template = '', options = '{}', erased_at = :now WHERE id = :id",
                now=micros(now),
                id=campaign_id,
            )
            note(
                tx, at=now, who=who, subject="campaign", what=ERASED, campaign_id=campaign_id,
                why="texts, fields and numbers",
            )  # fmt: skip
        return messages

    def forget(self, number: int, *, excluded: Sequence[tuple[int, int]], who: str, now: datetime) -> Forgotten:
        """Erase one person from all campaigns, and keep of the suppression only its pseudonym.

        `excluded` names the (campaign id, row) of rows left out that were this person's. What is on its way cannot
        be erased yet, since its receipt or its look-up needs the number.
        """
        key = self._key()
        hidden = pseudonym(number, key)
        with self._database.write() as tx:  # first of all, nothing more is sent
            tx.run(
                "INSERT INTO suppression (msisdn, scope, reason, source, since)"
                " VALUES (:number, '', 'asked to be forgotten', :who, :now) ON CONFLICT (msisdn, scope) DO NOTHING",
                number=number,
                who=who,
                now=micros(now),
            )
        with self._database.read() as tx:
            found = [int(row.id) for row in tx.rows("SELECT id FROM message WHERE msisdn = :number", number=number)]
        erased = suppressed = waiting = 0
        for message in found:
            with self._database.write() as tx:
                state = _forget_message(tx, message, hidden, now=now)
            erased += state is not None
            suppressed += state is MessageState.QUEUED
            waiting += state is None
        with self._database.write() as tx:
            for campaign_id, row in excluded:
                tx.run(
                    'UPDATE excluded_row SET number = :erased WHERE campaign_id = :id AND "row" = :line',
                    erased=ERASED,
                    id=campaign_id,
                    line=row,
                )
            if not waiting:
                tx.run("DELETE FROM suppression WHERE msisdn = :hidden", hidden=hidden)
                tx.run("UPDATE suppression SET msisdn = :hidden WHERE msisdn = :number", hidden=hidden, number=number)
            note(tx, at=now, who=who, subject="person", what="forgotten", why=shown_number(hidden))
        return Forgotten(messages=erased, suppressed=suppressed, excluded=len(excluded), waiting=waiting)

    def excluded_like(self, ending: str) -> Iterator[tuple[int, int, str, str | None]]:
        """Yield (campaign id, row, what stood in the file, country) of rows left out whose digits end so."""
        with self._database.read() as tx:
            for row in tx.stream(
                'SELECT e.campaign_id, e."row" AS line, e.number, c.country FROM excluded_row e'
                " JOIN campaign c ON c.id = e.campaign_id"
            ):
                if "".join(filter(str.isdigit, row.number)).endswith(ending):
                    yield int(row.campaign_id), int(row.line), str(row.number), row.country

    def _key(self) -> bytes:
        with self._database.write() as tx:
            key = hash_key(tx)
            if key is None:
                key = secrets.token_bytes(32)
                tx.run("INSERT INTO fact (name, value) VALUES (:name, :value)", name=_KEY, value=key.hex())
            return key


def pseudonyms_among(tx: Transaction, numbers: Iterable[int]) -> dict[int, int]:
    """Return pseudonym → number, where there is a suppression that has only a pseudonym; else nothing."""
    key = hash_key(tx)
    if key is None or tx.first("SELECT 1 FROM suppression WHERE msisdn < 0 LIMIT 1") is None:
        return {}
    return {pseudonym(number, key): number for number in numbers}


def _erase_batch(tx: Transaction, batch: int, key: bytes) -> int:
    first = batch * MESSAGES_PER_BATCH
    rows = tx.rows(
        "SELECT id, msisdn FROM message WHERE id >= :first AND id < :end AND msisdn > 0",
        first=first,
        end=first + MESSAGES_PER_BATCH,
    )
    ids = [int(row.id) for row in rows]
    tx.update("message", {"msisdn": "bigint"}, ids, ([pseudonym(int(row.msisdn), key) for row in rows],))
    tx.run("DELETE FROM payload WHERE batch_id = :id", id=batch)
    return len(ids)


def _forget_message(tx: Transaction, message: int, hidden: int, *, now: datetime) -> MessageState | None:
    """Erase one message's number and fields; return the state it was in, None where it is on its way."""
    batch, position = divmod(message, MESSAGES_PER_BATCH)
    lock = " FOR UPDATE" if tx.postgresql else ""
    row = tx.rows("SELECT state, campaign_id FROM batch WHERE id = :id" + lock, id=batch)[0]
    state = MessageState(tx.rows("SELECT state FROM message WHERE id = :id", id=message)[0].state)
    if row.state in ("claimed", "submitting") or (state in OPEN_MESSAGE_STATES and state is not MessageState.QUEUED):
        return None
    if state is MessageState.QUEUED:
        tx.run(
            "UPDATE message SET state = 'suppressed', reason = 'asked to be forgotten', settled_at = :now"
            " WHERE id = :id",
            now=micros(now),
            id=message,
        )
        changes = shifts("message", [("queued", "suppressed", 1)])
        count(tx, campaign_id=int(row.campaign_id), batch_id=batch, changes=changes)
    tx.run("UPDATE message SET msisdn = :hidden WHERE id = :id", hidden=hidden, id=message)
    payload = tx.first("SELECT fields FROM payload WHERE batch_id = :id", id=batch)
    if payload is not None:
        columns = unpack_fields(bytes(payload.fields))
        for column in columns.values():
            column[position] = ""
        tx.run("UPDATE payload SET fields = :fields WHERE batch_id = :id", fields=pack_fields(columns), id=batch)
    return state
