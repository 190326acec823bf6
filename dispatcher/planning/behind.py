"""Lets a second thread write what is planned while the next is planned."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

_AHEAD = 2


class Behind:
    """Does one thing after another in a thread of its own. An error in one ends all, and comes out here.

    When the block ends, everything is done; when it is left by an exception, what has not begun is dropped, and what
    has begun is waited for.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="behind")
        self._waiting: deque[Future[None]] = deque()
        self._failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while error is None and self._waiting:
                self._waiting.popleft().result()
        finally:
            self._thread.shutdown(cancel_futures=True)

    def do(self, act: Callable[[], None]) -> None:
        """Have something done, after what came before. Waits while two things are not done yet.

        Raises:
            Whatever was raised by something that was to be done before; nothing is done after it.
        """
        while len(self._waiting) >= _AHEAD or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(self._run, act))

    def _run(self, act: Callable[[], None]) -> None:
        if self._failed:
            return
        self._failed = True  # unless it ends well
        act()
        self._failed = False
