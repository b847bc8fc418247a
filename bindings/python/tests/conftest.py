"""Fixtures: a loop that must leave nothing behind."""

import asyncio
import gc
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

import libruntime
from peers import Run


def descriptors() -> dict[str, str]:
    """The open descriptors of this process and what each one is."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            found[number] = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue
    return found


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Every test gives back the descriptors that it opened, and the threads that it started."""
    gc.collect()
    before = descriptors()
    threads = set(threading.enumerate())
    yield
    gc.collect()
    after = descriptors()
    left = {fd: what for fd, what in after.items() if before.get(fd) != what}
    assert not left
    assert set(threading.enumerate()) <= threads


@pytest.fixture
def loop() -> Iterator[libruntime.EventLoop]:
    """A loop, closed afterwards."""
    made = libruntime.EventLoop()
    yield made
    if not made.is_closed():
        made.run_until_complete(made.shutdown_default_executor())
        made.close()


@pytest.fixture
def reports(loop: libruntime.EventLoop) -> list[dict[str, Any]]:
    """What reaches the loop's exception handler."""
    seen: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: seen.append(context))
    return seen


@pytest.fixture
def run(loop: libruntime.EventLoop) -> Run:
    """Runs an awaitable on the loop, with a time limit."""

    def run(awaitable: Awaitable[Any]) -> Any:
        return loop.run_until_complete(asyncio.wait_for(awaitable, 20))

    return run


def turn(loop: asyncio.AbstractEventLoop) -> None:
    """Run what is ready, once."""
    loop.call_soon(loop.stop)
    loop.run_forever()


def turns_until(loop: asyncio.AbstractEventLoop, done: Callable[[], object]) -> None:
    """Turn the loop until ``done()``: for what takes an unspecified number of turns."""
    while not done():
        turn(loop)
