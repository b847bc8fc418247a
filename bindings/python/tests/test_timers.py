"""call_later and call_at."""

import asyncio
import math
import random
import sys
import time
import weakref
from typing import Any

import pytest

import libruntime
from conftest import turn


def test_equal_deadlines_keep_their_order(loop: libruntime.EventLoop) -> None:
    seen: list[int] = []
    when = loop.time() + 0.005
    for i in range(500):
        loop.call_at(when, seen.append, i)
    loop.call_at(when, loop.stop)
    loop.run_forever()
    assert seen == list(range(500))


def test_never_early(loop: libruntime.EventLoop) -> None:
    late: list[float] = []
    delays = [0.0001, 0.0005, 0.001, 0.0023, 0.005]
    for delay in delays:
        when = loop.time() + delay
        loop.call_at(when, lambda when=when: late.append(loop.time() - when))
    loop.call_later(max(delays) + 0.001, loop.stop)
    loop.run_forever()
    assert len(late) == len(delays)
    assert min(late) >= 0


def test_zero_and_negative_delays_run_in_the_next_turn(loop: libruntime.EventLoop) -> None:
    seen: list[str] = []
    loop.call_later(0, seen.append, "zero")
    loop.call_later(-5, seen.append, "negative")
    loop.call_at(-1, seen.append, "past")
    turn(loop)
    assert seen == ["past", "negative", "zero"]


def test_timers_against_a_naive_twin(loop: libruntime.EventLoop) -> None:
    """Random sets and cancels: what fires, and in which order, is what a sorted list says."""
    chance = random.Random(7)
    seen: list[int] = []
    expected: list[tuple[float, int]] = []
    handles: list[tuple[asyncio.TimerHandle, float, int]] = []
    base = loop.time() - 1000
    for i in range(20_000):
        if handles and chance.random() < 0.45:
            handle, _, _ = handles.pop(chance.randrange(len(handles)))
            handle.cancel()
        else:
            when = base + chance.randrange(300)
            handles.append((loop.call_at(when, seen.append, i), when, i))
    expected = sorted((when, i) for _, when, i in handles)
    turn(loop)
    assert seen == [i for _, i in expected]


def test_due_timers_are_not_waited_for_among_many(loop: libruntime.EventLoop) -> None:
    """Waits for timers may be joined where many are pending, but not for those that are due."""
    pending = [loop.call_later(1000, print) for _ in range(100)]
    left = 2000

    def again() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_later(0, again)
        else:
            loop.stop()

    before = loop._turns
    loop.call_soon(again)
    loop.run_forever()
    assert loop._turns - before < 1000
    for handle in pending:
        handle.cancel()


def test_infinite_delay_never_fires(loop: libruntime.EventLoop) -> None:
    handle = loop.call_later(math.inf, pytest.fail, "fired")
    turn(loop)
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    assert handle.when() == math.inf


def test_cancelled_timers_never_fire(loop: libruntime.EventLoop) -> None:
    first = loop.call_later(0.001, pytest.fail, "fired")
    loop.call_later(0.002, loop.stop)
    first.cancel()
    loop.run_forever()
    assert first.cancelled()


def test_cancelled_timers_release_what_they_hold(loop: libruntime.EventLoop) -> None:
    class Thing:
        def method(self) -> None: ...

    things = [Thing() for _ in range(1000)]
    alive = [weakref.ref(thing) for thing in things]
    handles = [loop.call_later(1000 + i, thing.method) for i, thing in enumerate(things)]
    del things
    for handle in handles:
        handle.cancel()
    assert not any(ref() for ref in alive)


def test_many_cancelled_timers_are_compacted(loop: libruntime.EventLoop) -> None:
    loop.call_later(5000, print)
    handles: list[Any] = [loop.call_later(1000 + i, print) for i in range(10_000)]
    for handle in handles:
        handle.cancel()
    assert sum(handle._scheduled for handle in handles) < 200


def test_cancel_after_firing_does_nothing(loop: libruntime.EventLoop) -> None:
    handle: Any = loop.call_later(0, loop.stop)
    loop.run_forever()
    assert not handle._scheduled
    handle.cancel()
    turn(loop)


def test_timer_handles_compare_as_asyncios(loop: libruntime.EventLoop) -> None:
    def callback() -> None: ...

    early, late = loop.call_at(1e9, callback), loop.call_at(2e9, callback)
    twin: Any = loop.call_at(1e9, callback)
    assert isinstance(early, asyncio.TimerHandle) and isinstance(early, asyncio.Handle)
    assert early.when() == 1e9
    assert early < late and early <= late and late > early and late >= early
    assert early == twin and early <= twin and not early.__ne__(twin)
    assert early != late
    assert early != loop.call_at(1e9, print)
    assert hash(early) == hash(1e9)
    assert early != 3
    with pytest.raises(TypeError):
        early < 3  # type: ignore[operator]  # noqa: B015
    twin.cancel()
    assert early != twin
    assert "when=1000000000.0" in repr(early)


def test_time_is_monotonic_time(loop: libruntime.EventLoop) -> None:
    before, now, after = time.monotonic(), loop.time(), time.monotonic()
    assert before <= now <= after


def test_replaced_clock_moves_the_timers(loop: libruntime.EventLoop) -> None:
    now = 1000.0
    loop.time = lambda: now  # type: ignore[method-assign]
    seen: list[str] = []
    handle = loop.call_later(60, seen.append, "late")
    assert handle.when() == 1060.0
    turn(loop)
    assert seen == []
    now = 1060.0
    turn(loop)
    assert seen == ["late"]


def test_subclass_may_have_its_own_clock() -> None:
    class Virtual(libruntime.EventLoop):
        now = 5.0

        def time(self) -> float:
            return self.now

    loop = Virtual()
    try:
        seen: list[int] = []
        loop.call_later(3600, seen.append, 1)
        turn(loop)
        assert seen == []
        loop.now += 3600
        turn(loop)
        assert seen == [1]
    finally:
        loop.close()


def test_delay_may_be_any_real_number(loop: libruntime.EventLoop) -> None:
    from fractions import Fraction

    seen: list[str] = []
    loop.call_later(0, seen.append, "int")
    loop.call_later(Fraction(1, 1000), seen.append, "fraction")  # type: ignore[arg-type]
    loop.call_later(True, print)
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    assert seen == ["int", "fraction"]


def test_timer_may_cancel_others_that_are_due(loop: libruntime.EventLoop) -> None:
    seen: list[str] = []
    others: list[asyncio.TimerHandle] = []

    def first() -> None:
        seen.append("first")
        for other in others:
            other.cancel()

    loop.call_at(1, first)
    others += [loop.call_at(2, seen.append, "other") for _ in range(100)]
    turn(loop)
    assert seen == ["first"]


def test_pending_timers_do_not_keep_a_closed_loop_alive() -> None:
    loop = libruntime.EventLoop()
    argument = object()
    before = sys.getrefcount(argument)
    for i in range(100):
        loop.call_later(i, id, argument)
    assert sys.getrefcount(argument) == before + 100
    loop.close()
    assert sys.getrefcount(argument) == before
