"""call_soon and its sisters, handles, and what callbacks may do."""

import asyncio
import contextvars
import logging
import sys
import threading
import weakref
from typing import Any

import pytest

import libruntime
from conftest import turn

VAR: contextvars.ContextVar[str] = contextvars.ContextVar("VAR", default="unset")


def test_callbacks_run_in_order(loop: libruntime.EventLoop) -> None:
    seen: list[int] = []
    for i in range(1000):
        loop.call_soon(seen.append, i)
    turn(loop)
    assert seen == list(range(1000))


@pytest.mark.parametrize("count", range(8))
def test_any_number_of_arguments_arrives(loop: libruntime.EventLoop, count: int) -> None:
    seen: list[tuple[object, ...]] = []
    args = [object() for _ in range(count)]

    def callback(*given: object) -> None:
        seen.append(given)

    handle = loop.call_soon(callback, *args)
    assert handle._args == tuple(args)  # type: ignore[attr-defined]
    turn(loop)
    assert seen == [tuple(args)]


def test_bound_methods_and_builtins_get_their_arguments(loop: libruntime.EventLoop) -> None:
    class Thing:
        def method(self, *given: object) -> None:
            self.given = given

    thing = Thing()
    loop.call_soon(thing.method, 1, 2, 3, 4, 5)
    turn(loop)
    assert thing.given == (1, 2, 3, 4, 5)


def test_callbacks_of_callbacks_wait_for_the_next_turn(loop: libruntime.EventLoop) -> None:
    seen: list[str] = []

    def first() -> None:
        loop.call_soon(seen.append, "second")
        loop.call_soon(loop.stop)

    loop.call_soon(first)
    loop.call_soon(seen.append, "first")
    loop.run_forever()
    assert seen == ["first", "second"]


def test_stop_lets_the_batch_finish(loop: libruntime.EventLoop) -> None:
    seen: list[int] = []
    loop.call_soon(loop.stop)
    loop.call_soon(seen.append, 1)
    loop.run_forever()
    assert seen == [1]


def test_stop_before_run_makes_one_turn(loop: libruntime.EventLoop) -> None:
    seen: list[int] = []
    loop.call_soon(seen.append, 1)
    loop.stop()
    loop.run_forever()
    assert seen == [1]
    loop.call_soon(seen.append, 2)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [1, 2]


def test_context_is_copied_at_the_call(loop: libruntime.EventLoop) -> None:
    seen: list[str] = []
    VAR.set("at call")
    loop.call_soon(lambda: seen.append(VAR.get()))
    VAR.set("later")
    turn(loop)
    assert seen == ["at call"]
    VAR.set("unset")


def test_given_context_is_entered_itself(loop: libruntime.EventLoop) -> None:
    context = contextvars.copy_context()
    loop.call_soon(VAR.set, "inside", context=context)
    turn(loop)
    assert context[VAR] == "inside"
    assert VAR.get() == "unset"


def test_callback_sees_its_own_changes_only(loop: libruntime.EventLoop) -> None:
    seen: list[str] = []
    loop.call_soon(VAR.set, "one")
    loop.call_soon(lambda: seen.append(VAR.get()))
    turn(loop)
    assert seen == ["unset"]


def test_context_already_entered_is_reported(
    loop: libruntime.EventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    context = contextvars.copy_context()
    loop.call_soon(pytest.fail, "called", context=context)
    context.run(turn, loop)
    assert "cannot enter context" in caplog.text


def test_cancelled_callback_never_runs(loop: libruntime.EventLoop) -> None:
    seen: list[int] = []
    handle = loop.call_soon(seen.append, 1)
    assert not handle.cancelled()
    handle.cancel()
    handle.cancel()
    assert handle.cancelled()
    turn(loop)
    assert seen == []


def test_cancel_releases_the_callback_at_once(loop: libruntime.EventLoop) -> None:
    class Thing:
        def method(self) -> None: ...

    thing = Thing()
    alive = weakref.ref(thing)
    handle = loop.call_soon(thing.method)
    del thing
    assert alive() is not None
    handle.cancel()
    assert alive() is None


def test_cancel_inside_the_callback_keeps_its_arguments_alive(loop: libruntime.EventLoop) -> None:
    """`getattr` borrows its default from the handle while the attribute cancels that handle."""
    seen: list[bool] = []

    class Default: ...

    class Thing:
        def __getattr__(self, name: str) -> object:
            handle.cancel()
            seen.append(alive() is not None)
            raise AttributeError

    default = Default()
    alive = weakref.ref(default)
    handle = loop.call_soon(getattr, Thing(), "anything", default)
    del default
    turn(loop)
    assert seen == [True]
    assert handle.cancelled() and alive() is None


def test_handle_looks_like_asyncios(loop: libruntime.EventLoop) -> None:
    def callback() -> None: ...

    handle: Any = loop.call_soon(callback)
    assert isinstance(handle, asyncio.Handle)
    assert not isinstance(handle, asyncio.TimerHandle)
    assert handle._callback is callback
    assert handle._loop is loop
    assert isinstance(handle.get_context(), contextvars.Context)
    assert repr(handle).startswith("<Handle ") and "callback" in repr(handle)
    handle.cancel()
    assert repr(handle) == "<Handle cancelled>"
    assert handle._callback is None and handle._args is None


def test_debug_mode_keeps_the_text_of_a_cancelled_handle(loop: libruntime.EventLoop) -> None:
    def a_telling_name() -> None: ...

    loop.set_debug(True)
    handle: Any = loop.call_soon(a_telling_name)
    assert handle._source_traceback
    handle.cancel()
    assert "cancelled" in repr(handle) and "a_telling_name" in repr(handle)


def test_handles_cannot_be_made_by_hand() -> None:
    with pytest.raises(TypeError):
        libruntime._native.Handle()
    with pytest.raises(TypeError):
        libruntime._native.TimerHandle()


def test_handles_are_recycled_without_leaking(loop: libruntime.EventLoop) -> None:
    argument = object()
    before = sys.getrefcount(argument)
    blocks = 0
    for i in range(10):
        if i == 1:
            blocks = sys.getallocatedblocks()
        for _ in range(500):
            loop.call_soon(id, argument)
            loop.call_soon(id, argument).cancel()
            loop.call_later(0, id, argument)
            loop.call_later(100, id, argument).cancel()
        turn(loop)
        turn(loop)
    assert sys.getrefcount(argument) == before
    assert sys.getallocatedblocks() - blocks < 1000


def test_a_long_chain_of_handles_is_released(loop: libruntime.EventLoop) -> None:
    """Each is an argument of the next; releasing them one inside the other would end the stack."""
    handle: Any = None
    for i in range(200_000):
        handle = loop.call_soon(id, handle) if i % 2 else loop.call_later(0, id, handle)
    del handle
    turn(loop)
    turn(loop)


def test_exception_goes_to_the_handler(
    loop: libruntime.EventLoop, reports: list[dict[str, Any]]
) -> None:
    seen: list[int] = []

    def fails() -> None:
        raise ValueError("boo")

    handle = loop.call_soon(fails)
    loop.call_soon(seen.append, 1)
    turn(loop)
    assert seen == [1]
    assert [str(report["exception"]) for report in reports] == ["boo"]
    assert reports[0]["handle"] is handle
    assert "fails" in reports[0]["message"]


def test_default_handler_logs(loop: libruntime.EventLoop, caplog: pytest.LogCaptureFixture) -> None:
    loop.call_soon(lambda: 1 / 0)
    turn(loop)
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_fatal_exceptions_leave_the_loop(
    loop: libruntime.EventLoop, kind: type[BaseException]
) -> None:
    seen: list[int] = []

    def fails() -> None:
        raise kind

    loop.call_soon(fails)
    loop.call_soon(seen.append, 1)
    with pytest.raises(kind):
        loop.run_forever()
    assert not loop.is_running()
    # What was ready stays ready.
    turn(loop)
    assert seen == [1]


def test_base_exception_is_reported_like_any_other(
    loop: libruntime.EventLoop, reports: list[dict[str, Any]]
) -> None:
    class Odd(BaseException): ...

    def fails() -> None:
        raise Odd

    loop.call_soon(fails)
    turn(loop)
    assert isinstance(reports[0]["exception"], Odd)


def test_threadsafe_wakes_a_waiting_loop(loop: libruntime.EventLoop) -> None:
    for _ in range(20):
        go = threading.Event()

        def push(go: threading.Event = go) -> None:
            # The loop gives the GIL up when it begins to wait: then this goes on.
            go.wait()
            loop.call_soon_threadsafe(loop.stop)

        thread = threading.Thread(target=push)
        thread.start()
        loop.call_soon(go.set)
        loop.run_forever()
        thread.join()


def test_threadsafe_from_many_threads_loses_nothing(loop: libruntime.EventLoop) -> None:
    each, count = 2000, 4
    seen: list[int] = []

    def note(value: int) -> None:
        seen.append(value)
        if len(seen) == each * count:
            loop.stop()

    def push(start: int) -> None:
        for i in range(each):
            loop.call_soon_threadsafe(note, start + i)

    threads = [threading.Thread(target=push, args=(i * each,)) for i in range(count)]
    for thread in threads:
        thread.start()
    loop.run_forever()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(each * count))
    for i in range(count):
        own = [value for value in seen if value // each == i]
        assert own == sorted(own)


def test_stop_from_another_thread_through_call_soon_threadsafe(loop: libruntime.EventLoop) -> None:
    def later() -> None:
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=later)
    thread.start()
    loop.run_forever()
    thread.join()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda loop: loop.call_soon(), TypeError),
        (lambda loop: loop.call_soon(print, nonsense=1), TypeError),
        (lambda loop: loop.call_soon(print, context=1), TypeError),
        (lambda loop: loop.call_soon_threadsafe(), TypeError),
        (lambda loop: loop.call_later(), TypeError),
        (lambda loop: loop.call_later(1), TypeError),
        (lambda loop: loop.call_later(None, print), TypeError),
        (lambda loop: loop.call_later("1", print), TypeError),
        (lambda loop: loop.call_later(float("nan"), print), ValueError),
        (lambda loop: loop.call_at(None, print), TypeError),
        (lambda loop: loop.call_at(float("nan"), print), ValueError),
        (lambda loop: loop.create_task(), TypeError),
        (lambda loop: loop.create_task(1), TypeError),
    ],
)
def test_bad_arguments_are_refused(
    loop: libruntime.EventLoop, call: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        call(loop)
    turn(loop)


def test_debug_mode_refuses_what_cannot_be_called(loop: libruntime.EventLoop) -> None:
    loop.set_debug(True)
    for call in (loop.call_soon, loop.call_soon_threadsafe):
        with pytest.raises(TypeError, match="a callable object was expected"):
            call(1)  # type: ignore[arg-type]

    async def coroutine() -> None: ...

    with pytest.raises(TypeError, match="coroutines cannot be used"):
        loop.call_later(1, coroutine)


def test_debug_mode_refuses_the_wrong_thread(loop: libruntime.EventLoop) -> None:
    loop.set_debug(True)
    errors: list[BaseException] = []

    def elsewhere() -> None:
        for call in (lambda: loop.call_soon(print), lambda: loop.call_later(1, print)):
            try:
                call()
            except RuntimeError as exc:
                errors.append(exc)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=elsewhere)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    assert ["Non-thread-safe" in str(error) for error in errors] == [True, True]


def test_debug_mode_logs_slow_callbacks(
    loop: libruntime.EventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0

    def slow() -> None: ...

    with caplog.at_level(logging.WARNING, logger="asyncio"):
        loop.call_soon(slow)
        turn(loop)
    assert "slow" in caplog.text and "took" in caplog.text


def test_not_callable_without_debug_is_reported_when_it_runs(
    loop: libruntime.EventLoop, reports: list[dict[str, Any]]
) -> None:
    loop.call_soon(1)  # type: ignore[arg-type]
    turn(loop)
    assert isinstance(reports[0]["exception"], TypeError)


def test_running_a_handle_inside_itself_is_harmless(loop: libruntime.EventLoop) -> None:
    seen: list[int] = []
    handles: list[Any] = []

    def callback() -> None:
        seen.append(1)
        if len(seen) == 1:
            handles[0].cancel()
            handles[0]._run()

    handles.append(loop.call_soon(callback, context=contextvars.copy_context()))
    turn(loop)
    assert seen == [1]


def test_a_busy_loop_still_looks_at_descriptors(loop: libruntime.EventLoop) -> None:
    import socket

    ours, theirs = socket.socketpair()
    stopped = False

    def spin() -> None:
        if not stopped:
            loop.call_soon(spin)

    def ready() -> None:
        nonlocal stopped
        stopped = True
        loop.stop()

    with ours, theirs:
        loop.add_reader(ours, ready)
        loop.call_soon(spin)
        loop.call_soon(theirs.send, b"x")
        loop.run_forever()
        loop.remove_reader(ours)
    assert stopped
