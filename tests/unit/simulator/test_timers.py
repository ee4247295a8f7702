"""What is due is done, in order, and once."""

import math
from functools import partial

from simulator.timers import Timers


def test_what_is_due_is_called_in_order_and_once() -> None:
    timers, called = Timers(), list[str]()
    assert timers.due_s == math.inf
    timers.run(math.inf)
    for due_s, name in ((3.0, "c"), (1.0, "a"), (3.0, "d"), (2.0, "b")):
        timers.add(due_s, partial(called.append, name))
    timers.run(0.9)
    assert (called, timers.due_s) == ([], 1.0)
    timers.run(3.0)
    timers.run(9.0)
    assert called == ["a", "b", "c", "d"]
    assert timers.due_s == math.inf


def test_what_is_added_meanwhile_is_called_as_well() -> None:
    timers, called = Timers(), list[int]()
    timers.add(1.0, lambda: timers.add(1.5, lambda: called.append(1)))
    timers.run(2.0)
    assert called == [1]
