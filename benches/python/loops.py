"""The event loops under test, by name. As a program: prints the version of one of them."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import platform
import sys
from collections.abc import Callable

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def loop_factory(name: str) -> LoopFactory:
    """asyncio's own loop, or `new_event_loop` of the package of that name."""
    if name == "asyncio":
        return asyncio.new_event_loop
    factory: LoopFactory = importlib.import_module(name).new_event_loop
    return factory


def version(name: str) -> str:
    return platform.python_version() if name == "asyncio" else importlib.metadata.version(name)


if __name__ == "__main__":
    print(version(sys.argv[1]))
