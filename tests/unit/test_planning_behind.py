import gc
import sys
import threading
from functools import partial

import pytest

from dispatcher.calm import calm
from dispatcher.planning.behind import Behind


def test_everything_is_done_in_its_order_by_another_thread() -> None:
    done: list[int] = []
    threads = set()

    def act(number: int) -> None:
        threads.add(threading.get_ident())
        done.append(number)

    with Behind() as behind:
        for number in range(50):
            behind.do(partial(act, number))
    assert done == list(range(50))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_no_more_than_two_things_wait() -> None:
    go, third = threading.Event(), threading.Event()
    with Behind() as behind:

        def plan() -> None:
            behind.do(go.wait)  # type: ignore[arg-type]
            behind.do(lambda: None)
            behind.do(lambda: None)
            third.set()

        planner = threading.Thread(target=plan)
        planner.start()
        assert not third.wait(0.05)
        go.set()
        assert third.wait(10)
        planner.join()


def test_an_error_comes_out_and_nothing_is_done_after_it() -> None:
    done: list[str] = []
    together = threading.Barrier(2)

    def fail() -> None:
        together.wait(10)
        raise OSError("the disk is full")

    def all_of_it() -> None:
        with Behind() as behind:
            behind.do(fail)
            behind.do(partial(done.append, "after"))
            together.wait(10)

    with pytest.raises(OSError, match="disk is full"):
        all_of_it()
    assert done == []


def test_an_error_of_the_last_thing_comes_out_at_the_end() -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"), Behind() as behind:
        behind.do(fail)


def test_left_by_an_exception_what_has_begun_is_waited_for_and_the_rest_dropped() -> None:
    done: list[str] = []
    begun, go = threading.Event(), threading.Event()

    def first() -> None:
        begun.set()
        go.wait(10)
        done.append("first")

    def broken_off() -> None:
        with Behind() as behind:
            behind.do(first)
            behind.do(partial(done.append, "second"))
            assert begun.wait(10)
            threading.Timer(0.02, go.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    assert done == ["first"]


def test_the_interpreter_is_as_before() -> None:
    before = gc.get_threshold(), sys.getswitchinterval()

    def broken_off() -> None:
        with calm():
            assert gc.get_threshold()[0] > before[0][0]
            assert sys.getswitchinterval() < before[1]
            raise KeyError

    with pytest.raises(KeyError):
        broken_off()
    assert (gc.get_threshold(), sys.getswitchinterval()) == before
