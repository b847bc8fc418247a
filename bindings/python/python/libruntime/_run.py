"""``run``: the entry point of a program."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from ._loop import EventLoop

_T = TypeVar("_T")


def run(main: Coroutine[Any, Any, _T], *, debug: bool | None = None) -> _T:
    """Run ``main`` on a new ``EventLoop`` and return its result, as ``asyncio.run`` does.

    Tasks that are left are cancelled, asynchronous generators and the default executor are shut
    down, and the loop is closed. Raises ``RuntimeError`` if a loop is running in this thread and
    ``ValueError`` (``TypeError`` from Python 3.14) if ``main`` is not a coroutine.
    """
    if sys.version_info >= (3, 11):
        if asyncio._get_running_loop() is not None:
            _close_unstarted(main)
            raise RuntimeError("libruntime.run() cannot be called from a running event loop")
        with asyncio.Runner(debug=debug, loop_factory=EventLoop) as runner:
            return runner.run(main)
    else:
        return _run_3_10(main, debug)


def _close_unstarted(main: object) -> None:
    """Spare the caller a second complaint: the coroutine was never awaited."""
    if asyncio.iscoroutine(main):
        main.close()


def _run_3_10(main: Coroutine[Any, Any, _T], debug: bool | None) -> _T:
    if asyncio._get_running_loop() is not None:
        _close_unstarted(main)
        raise RuntimeError("libruntime.run() cannot be called from a running event loop")
    if not asyncio.iscoroutine(main):
        raise ValueError(f"a coroutine was expected, got {main!r}")
    loop = EventLoop()
    try:
        asyncio.set_event_loop(loop)
        if debug is not None:
            loop.set_debug(debug)
        return loop.run_until_complete(main)
    finally:
        try:
            _cancel_all(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def _cancel_all(loop: EventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    if not tasks:
        return
    for task in tasks:
        task.cancel()

    async def gathered() -> None:
        await asyncio.gather(*tasks, return_exceptions=True)

    loop.run_until_complete(gathered())
    for task in tasks:
        if not task.cancelled() and (exception := task.exception()) is not None:
            loop.call_exception_handler(
                {
                    "message": "unhandled exception during run() shutdown",
                    "exception": exception,
                    "task": task,
                }
            )
