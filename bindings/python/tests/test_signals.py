"""Signals: the loop's own handlers, and Ctrl-C."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest

import libruntime
from conftest import turn


def test_handler_runs_in_the_loop(loop: libruntime.EventLoop) -> None:
    seen: list[Any] = []

    def handler(*args: Any) -> None:
        seen.append((asyncio.get_running_loop(), args))
        loop.stop()

    loop.add_signal_handler(signal.SIGUSR1, handler, 1, 2)
    loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
    loop.run_forever()
    assert seen == [(loop, (1, 2))]
    assert loop.remove_signal_handler(signal.SIGUSR1) is True
    assert loop.remove_signal_handler(signal.SIGUSR1) is False
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_signal_between_two_runs_is_kept(loop: libruntime.EventLoop) -> None:
    seen: list[int] = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
    turn(loop)
    os.kill(os.getpid(), signal.SIGUSR1)
    turn(loop)
    turn(loop)
    assert seen == [1]


def test_a_signal_wakes_an_idle_loop_for_pythons_own_handler(loop: libruntime.EventLoop) -> None:
    seen: list[int] = []

    def handler(signum: int, frame: object) -> None:
        seen.append(signum)
        loop.call_soon_threadsafe(loop.stop)

    old = signal.signal(signal.SIGUSR1, handler)
    try:
        thread = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGUSR1))
        loop.call_soon(thread.start)
        loop.run_forever()
        thread.join()
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert seen == [signal.SIGUSR1]


def test_keyboard_interrupt_on_an_idle_loop(loop: libruntime.EventLoop) -> None:
    thread = threading.Thread(target=signal.raise_signal, args=(signal.SIGINT,))
    loop.call_soon(thread.start)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    thread.join()
    turn(loop)


def test_ctrl_c_ends_a_program_that_waits() -> None:
    """The main task is cancelled and cleans up; then KeyboardInterrupt ends the program."""
    program = """
        import asyncio, libruntime

        async def main():
            try:
                print("waiting", flush=True)
                await asyncio.Event().wait()
            finally:
                print("cleaned up", flush=True)

        libruntime.run(main())
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "waiting\n"
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=20)
    assert out == "cleaned up\n"
    assert "KeyboardInterrupt" in err
    assert child.returncode != 0


def test_sigchld_is_the_programs(loop: libruntime.EventLoop) -> None:
    seen: list[int] = []
    loop.add_signal_handler(signal.SIGCHLD, seen.append, 1)

    async def main() -> int:
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", "exit(3)")
        return await child.wait()

    assert loop.run_until_complete(main()) == 3
    turn(loop)
    assert seen
    loop.remove_signal_handler(signal.SIGCHLD)


@pytest.mark.parametrize(
    ("sig", "callback", "error"),
    [
        ("2", print, TypeError),
        (0, print, ValueError),
        (10_000, print, ValueError),
        (-1, print, ValueError),
        (signal.SIGKILL, print, RuntimeError),
    ],
)
def test_bad_signals_are_refused(
    loop: libruntime.EventLoop, sig: Any, callback: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        loop.add_signal_handler(sig, callback)
    assert signal.set_wakeup_fd(-1) == -1


def test_coroutines_are_refused(loop: libruntime.EventLoop) -> None:
    async def coroutine() -> None: ...

    with pytest.raises(TypeError, match="coroutines cannot be used"):
        loop.add_signal_handler(signal.SIGUSR1, coroutine)


def test_only_the_main_thread_may_add_handlers() -> None:
    errors: list[BaseException] = []

    async def main() -> None:
        try:
            asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, print)
        except RuntimeError as exc:
            errors.append(exc)

    thread = threading.Thread(target=lambda: libruntime.run(main()))
    thread.start()
    thread.join()
    assert len(errors) == 1


def test_wakeup_descriptor_is_given_back(loop: libruntime.EventLoop) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    old = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        turn(loop)
        assert signal.set_wakeup_fd(-1) == writing
    finally:
        signal.set_wakeup_fd(old)
        os.close(reading)
        os.close(writing)


def test_close_removes_the_handlers() -> None:
    loop = libruntime.EventLoop()
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1
