"""The one clock of the program, and the one that is wrong on purpose."""

from datetime import timedelta

from dispatcher.runtime import clock_off_by, now


def test_a_clock_can_be_off_for_a_test_of_machines_that_do_not_agree() -> None:
    before = now()
    assert timedelta(seconds=-2) <= clock_off_by(-2.0)() - before < timedelta(seconds=8)
    assert clock_off_by(0.0) is now
