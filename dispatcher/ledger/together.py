"""Does in one transaction what several threads ask for at the same time."""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from dispatcher.errors import LedgerError
from dispatcher.ledger.transaction import Transaction

log = logging.getLogger(__name__)

_MOST = 32

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


def _held() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(slots=True)
class _Place(Generic[Asked, Answer]):
    """One thread in the queue. It sleeps on `woken`, and then has its answer, or leads the next lot, or is alone."""

    asked: Asked
    woken: threading.Lock = field(default_factory=_held)
    answer: list[Answer] = field(default_factory=list)  # empty until there is one
    alone: bool = False


class Together(Generic[Asked, Answer]):
    """A queue whose first thread serves all that have come by the time it may write; the next one in it then leads.

    A lot stands or falls as one transaction. Where it falls, each of its threads tries for itself. `serve` answers the
    first, and as many as it can of those behind; the others wait on.
    """

    def __init__(
        self,
        write: Callable[[], AbstractContextManager[Transaction]],
        serve: Callable[[Transaction, Sequence[Asked]], Sequence[Answer]],
    ) -> None:
        self._write = write
        self._serve = serve
        self._lock = threading.Lock()
        self._led = False
        self._waiting: list[_Place[Asked, Answer]] = []

    def ask(self, asked: Asked) -> Answer:
        """Return the answer to what is asked, once it is committed.

        Raises:
            LedgerError: it could not be done, neither together with what others asked nor alone.
        """
        place: _Place[Asked, Answer] = _Place(asked)
        with self._lock:
            leads, self._led = not self._led, True
            if not leads:
                self._waiting.append(place)
        if not leads:
            place.woken.acquire()
        if place.answer:
            return place.answer[0]
        return self._alone(asked) if place.alone else self._lead(place)

    def _lead(self, place: _Place[Asked, Answer]) -> Answer:
        lot = [place]
        try:
            with self._write() as tx:
                with self._lock:
                    lot += self._waiting[: _MOST - 1]
                    del self._waiting[: _MOST - 1]
                answers = self._serve(tx, [one.asked for one in lot])
            for one, answer in zip(lot, answers, strict=False):
                one.answer.append(answer)
            with self._lock:
                self._waiting[:0] = lot[len(answers) :]
            del lot[len(answers) :]
        except Exception as error:
            if len(lot) == 1:
                raise
            # Whose fault it is finds out alone, and is told. What the others ask for, answers among it, is not lost with it.
            if not isinstance(error, LedgerError):
                log.exception("together.failed many=%d", len(lot))
        finally:
            self._pass_on(lot)
        return place.answer[0] if place.answer else self._alone(place.asked)

    def _pass_on(self, lot: Sequence[_Place[Asked, Answer]]) -> None:
        for one in lot[1:]:
            one.alone = not one.answer
            one.woken.release()
        with self._lock:
            if self._waiting:
                self._waiting.pop(0).woken.release()
            else:
                self._led = False

    def _alone(self, asked: Asked) -> Answer:
        with self._write() as tx:
            return self._serve(tx, [asked])[0]
