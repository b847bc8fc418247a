"""Making, running and closing loops; what they leave behind."""

import asyncio
import gc
import subprocess
import sys
import textwrap
import threading
import weakref
from typing import Any

import pytest

import libruntime
from conftest import descriptors, turn


def test_run_returns_the_result() -> None:
    async def main() -> int:
        assert type(asyncio.get_running_loop()) is libruntime.EventLoop
        await asyncio.sleep(0)
        return 42

    assert libruntime.run(main()) == 42


def test_run_raises_what_main_raises() -> None:
    async def main() -> None:
        raise LookupError("from main")

    with pytest.raises(LookupError, match="from main"):
        libruntime.run(main())


def test_run_cancels_what_is_left_and_shuts_down() -> None:
    seen: list[str] = []

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cancelled")

    async def generator() -> Any:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            seen.append("closed")

    async def main() -> None:
        seen.append(await asyncio.get_running_loop().run_in_executor(None, str, "executor"))
        main.task = asyncio.ensure_future(endless())  # type: ignore[attr-defined]
        main.generator = generator()  # type: ignore[attr-defined]
        await main.generator.__anext__()  # type: ignore[attr-defined]

    libruntime.run(main())
    assert seen == ["executor", "cancelled", "closed"]


def test_run_with_debug() -> None:
    async def main() -> bool:
        return asyncio.get_running_loop().get_debug()

    assert libruntime.run(main(), debug=True) is True
    assert libruntime.run(main(), debug=False) is False


def test_run_inside_a_running_loop_is_refused() -> None:
    async def inner() -> None: ...

    async def main() -> None:
        with pytest.raises(RuntimeError, match="cannot be called from a running event loop"):
            libruntime.run(inner())

    libruntime.run(main())


@pytest.mark.parametrize("main", [None, 1, print])
def test_run_refuses_what_is_no_coroutine(main: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        libruntime.run(main)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.Runner came with 3.11")
def test_runner_takes_the_class_and_the_function_as_factory() -> None:
    async def main() -> type:
        return type(asyncio.get_running_loop())

    for factory in (libruntime.EventLoop, libruntime.new_event_loop):
        with asyncio.Runner(loop_factory=factory) as runner:
            assert runner.run(main()) is libruntime.EventLoop


def test_nested_runs_are_refused(loop: libruntime.EventLoop) -> None:
    errors: list[str] = []
    other = libruntime.EventLoop()

    def nested() -> None:
        for again in (loop.run_forever, other.run_forever, loop.close, loop._run):
            try:
                again()
            except RuntimeError as exc:
                errors.append(str(exc))

    loop.call_soon(nested)
    turn(loop)
    other.close()
    assert errors == [
        "This event loop is already running",
        "Cannot run the event loop while another loop is running",
        "Cannot close a running event loop",
        "This event loop is already running",
    ]


def test_run_until_complete_in_a_callback_is_refused(loop: libruntime.EventLoop) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="already running"):
            loop.run_until_complete(asyncio.sleep(0))

    with pytest.warns(RuntimeWarning, match="never awaited"):
        loop.run_until_complete(main())
        gc.collect()


def test_everything_is_refused_after_close(loop: libruntime.EventLoop) -> None:
    loop.close()
    loop.close()
    assert loop.is_closed() and "closed=True" in repr(loop)

    async def coroutine() -> None: ...

    unstarted = coroutine()
    calls: list[Any] = [
        lambda: loop.call_soon(print),
        lambda: loop.call_soon_threadsafe(print),
        lambda: loop.call_later(1, print),
        lambda: loop.call_at(1, print),
        lambda: loop.add_reader(0, print),
        lambda: loop.add_writer(0, print),
        lambda: loop.create_task(unstarted),
        lambda: loop.run_forever(),
        lambda: loop.run_until_complete(loop.create_future()),
        lambda: loop.run_in_executor(None, print),
        lambda: loop.add_signal_handler(2, print),
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match=r"closed|shutdown"):
            call()
    unstarted.close()
    assert loop.remove_reader(0) is False and loop.remove_writer(0) is False
    loop.stop()


def test_unclosed_loop_warns_and_frees_its_descriptors() -> None:
    before = descriptors()
    loop = libruntime.EventLoop()
    loop.call_soon(print)
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        del loop
        gc.collect()
    assert descriptors() == before


def test_loops_and_what_they_hold_are_collected() -> None:
    class Thing:
        def method(self) -> None: ...

    loop = libruntime.EventLoop()
    thing: Any = Thing()
    thing.loop = loop
    thing.soon = loop.call_soon(thing.method)
    thing.later = loop.call_later(1000, thing.method)
    alive, thing_alive = weakref.ref(loop), weakref.ref(thing)
    with pytest.warns(ResourceWarning):
        del loop, thing
        gc.collect()
    assert alive() is None and thing_alive() is None


def test_closed_loop_is_freed_without_the_collector() -> None:
    gc.disable()
    try:
        loop = libruntime.EventLoop()
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        alive = weakref.ref(loop)
        del loop
        assert alive() is None
    finally:
        gc.enable()


def test_many_loops_leave_no_descriptors() -> None:
    before = descriptors()
    for _ in range(300):
        loop = libruntime.EventLoop()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    assert descriptors() == before


def test_two_loops_in_two_threads() -> None:
    results: list[int] = []

    async def work() -> int:
        total = 0
        for i in range(200):
            await asyncio.sleep(0)
            total += i
        return total

    threads = [
        threading.Thread(target=lambda: results.append(libruntime.run(work()))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [19900, 19900]


def test_loop_made_here_may_run_elsewhere(loop: libruntime.EventLoop) -> None:
    import socket

    pairs = [socket.socketpair() for _ in range(2)]
    received: list[bytes] = []

    def receive(sock: socket.socket) -> None:
        received.append(sock.recv(10))
        loop.stop()

    loop.add_reader(pairs[0][0], receive, pairs[0][0])
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    pairs[0][1].send(b"there")
    thread.join()
    # And here again, where the loop is used first and run after.
    loop.add_reader(pairs[1][0], receive, pairs[1][0])
    pairs[1][1].send(b"here")
    loop.run_forever()
    assert received == [b"there", b"here"]
    for ours, theirs in pairs:
        assert loop.remove_reader(ours)
        ours.close()
        theirs.close()


def test_subclass_and_attributes() -> None:
    class Mine(libruntime.EventLoop):
        def __init__(self) -> None:
            super().__init__()
            self.extra = 1

    loop = Mine()
    try:
        assert isinstance(loop, asyncio.AbstractEventLoop)
        assert loop.extra == 1 and weakref.ref(loop)() is loop
        assert loop.run_until_complete(asyncio.sleep(0, "done")) == "done"
    finally:
        loop.close()


def test_new_loop_in_a_forked_child() -> None:
    program = """
        import asyncio, os, libruntime

        async def work():
            await asyncio.sleep(0.001)
            return 7

        async def main():
            pid = os.fork()
            if pid == 0:
                asyncio._set_running_loop(None)
                os._exit(libruntime.run(work()))
            _, status = os.waitpid(pid, 0)
            # The parent's loop is as it was.
            await asyncio.sleep(0.001)
            return os.waitstatus_to_exitcode(status)

        print(libruntime.run(main()))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True
    )
    assert done.stdout == "7\n", done.stderr


@pytest.mark.parametrize("work", ["asyncio.sleep(1000)", "busy()"])
def test_a_daemon_threads_loop_does_not_disturb_the_exit(work: str) -> None:
    """The interpreter ends threads that want the GIL back, in the middle of whatever they do."""
    program = f"""
        import asyncio, threading, libruntime

        running = threading.Event()

        async def busy():
            while True:
                await asyncio.sleep(0)

        async def main():
            running.set()
            await {work}

        for _ in range(3):
            running.clear()
            threading.Thread(target=lambda: libruntime.run(main()), daemon=True).start()
            running.wait()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_no_descriptor_left_for_a_loop_is_an_os_error() -> None:
    program = """
        import resource, libruntime

        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
        try:
            libruntime.EventLoop()
        except OSError as exc:
            print(type(exc).__name__, exc.errno)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True
    )
    assert done.stdout == "OSError 24\n", done.stderr


def test_task_factory(loop: libruntime.EventLoop) -> None:
    made: list[Any] = []

    def factory(the_loop: Any, coro: Any, **kwargs: Any) -> Any:
        made.append(coro)
        return asyncio.Task(coro, loop=the_loop, **kwargs)

    loop.set_task_factory(factory)
    assert loop.get_task_factory() is factory
    loop.run_until_complete(asyncio.sleep(0))
    assert len(made) == 1
    loop.set_task_factory(None)
    assert loop.get_task_factory() is None
    loop.run_until_complete(asyncio.sleep(0))
    assert len(made) == 1
    with pytest.raises(TypeError):
        loop.set_task_factory(3)  # type: ignore[arg-type]


def test_create_task_passes_name_and_context_on(loop: libruntime.EventLoop) -> None:
    async def main() -> str:
        task = asyncio.create_task(asyncio.sleep(0), name="mine")
        await task
        return task.get_name()

    assert loop.run_until_complete(main()) == "mine"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_eager_tasks(loop: libruntime.EventLoop) -> None:
    async def immediate() -> int:
        return 1

    async def main() -> bool:
        return asyncio.create_task(immediate()).done()

    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[arg-type,attr-defined,unused-ignore]
    assert loop.run_until_complete(main()) is True


def test_exception_handler_can_be_set_and_taken_back(loop: libruntime.EventLoop) -> None:
    seen: list[Any] = []
    loop.set_exception_handler(lambda _, context: seen.append(context["message"]))
    loop.call_exception_handler({"message": "hello"})
    assert seen == ["hello"]
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None
    with pytest.raises(TypeError):
        loop.set_exception_handler(3)  # type: ignore[arg-type]


def test_executor_results_and_errors(loop: libruntime.EventLoop) -> None:
    async def main() -> None:
        assert await loop.run_in_executor(None, divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, divmod, 7, 0)

    loop.run_until_complete(main())


def test_names_resolve_and_wrong_ones_fail(loop: libruntime.EventLoop) -> None:
    import socket

    async def main() -> None:
        found = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        assert found[0][4] == ("127.0.0.1", 80)
        found = await loop.getaddrinfo("::1", 80, type=socket.SOCK_STREAM)
        assert found[0][4][0] == "::1"
        assert await loop.getaddrinfo("localhost", None)
        assert await loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST) == (
            "127.0.0.1",
            await asyncio.to_thread(lambda: socket.getnameinfo(("127.0.0.1", 80), 1)[1]),
        )
        with pytest.raises(socket.gaierror):
            await loop.getaddrinfo("no-such-host.invalid", 80)

    loop.run_until_complete(main())


def test_a_panic_free_repr(loop: libruntime.EventLoop) -> None:
    assert repr(loop) == "<EventLoop running=False closed=False debug=False>"
