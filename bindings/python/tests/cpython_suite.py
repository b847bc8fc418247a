"""Runs CPython's own asyncio tests on libruntime's loop.

    python cpython_suite.py [--loop asyncio|libruntime] [--verbose] [NAME ...]

The tests come with the interpreter (``test.test_asyncio``); nothing of them is kept here. Two kinds
are run: the mixins that ask for a loop through ``create_event_loop`` or ``new_loop``, and whole
modules that take their loop from the policy. Prints one line of JSON for each group, with the
names of the tests that did not pass. With NAMEs only tests whose id contains one of them run.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import io
import json
import sys
import unittest
import warnings
from collections.abc import Callable
from typing import Any

#: module, mixin, method that makes the loop
MIXINS = [
    ("test_events", "EventLoopTestsMixin+SubprocessTestsMixin", "create_event_loop"),
    ("test_sock_lowlevel", "BaseSockTestsMixin", "create_event_loop"),
    ("test_server", "BaseStartServer", "new_loop"),
    ("test_buffered_proto", "BaseTestBufferedProtocol", "new_loop"),
    ("test_sendfile", "SendfileTestsBase", "create_event_loop"),
    ("test_sslproto", "BaseStartTLS", "new_loop"),
    ("test_subprocess", "SubprocessMixin", ""),
]

MODULES = [
    "test_streams",
    "test_ssl",
    "test_sslproto",
    "test_server",
    "test_taskgroups",
    "test_timeouts",
    "test_waitfor",
    "test_locks",
    "test_queues",
    "test_context",
    "test_threads",
    "test_futures2",
    "test_runners",
]

#: Tests of asyncio's own classes, whatever loop is set.
NOT_ABOUT_LOOPS = ("Proactor", "SelectorEventLoop", "SelectorStart", "SelectorTests")


def factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "asyncio":
        return asyncio.SelectorEventLoop
    import libruntime

    return libruntime.new_event_loop


def load(module: str) -> Any:
    return importlib.import_module(f"test.test_asyncio.{module}")


def mixin_case(
    module: str, mixin: str, method: str, make: Callable[[], asyncio.AbstractEventLoop]
) -> type[unittest.TestCase] | None:
    mixins: list[Any] = [getattr(load(module), name, None) for name in mixin.split("+")]
    if None in mixins:
        return None
    utils = importlib.import_module("test.test_asyncio.utils")
    body: dict[str, Any] = {}
    made: list[Any] = []
    if method:
        body[method] = lambda self: make()
    else:

        def set_up(self: Any) -> None:
            super(made[0], self).setUp()
            self.loop = make()
            self.set_event_loop(self.loop)

        body["setUp"] = set_up
    bases = tuple(mixins)
    if not any(issubclass(base, unittest.TestCase) for base in bases):
        bases += (utils.TestCase,)
    case = type(mixin, bases, body)
    made.append(case)
    return case


def select(suite: unittest.TestSuite, names: list[str]) -> list[unittest.TestCase]:
    found: list[unittest.TestCase] = []
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            found += select(test, names)
        elif any(part in test.id() for part in NOT_ABOUT_LOOPS):
            continue
        elif not names or any(name in test.id() for name in names):
            found.append(test)
    return found


def use_loop(make: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Make ``make`` the source of every loop that is not asked for by name."""
    if sys.version_info >= (3, 14):
        asyncio.new_event_loop = make
        asyncio.events.new_event_loop = make
        return

    class Policy(asyncio.DefaultEventLoopPolicy):
        _loop_factory = staticmethod(make)

    asyncio.set_event_loop_policy(Policy())


def run(label: str, tests: list[unittest.TestCase], verbose: bool) -> dict[str, Any]:
    output: Any = sys.stderr if verbose else io.StringIO()
    result = unittest.TextTestRunner(output, verbosity=2).run(unittest.TestSuite(tests))
    bad = sorted({test.id().split(".")[-1] for test, _ in result.failures + result.errors})
    return {
        "group": label,
        "run": result.testsRun,
        "passed": result.testsRun - len(bad) - len(result.skipped),
        "skipped": len(result.skipped),
        "bad": bad,
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--loop", default="libruntime")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--mixins-only", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    make = factory(options.loop)
    # Children and servers of the tests' own making need the loop of the policy, too.
    use_loop(make)
    load_case = unittest.defaultTestLoader.loadTestsFromTestCase
    groups = []
    for module, mixin, method in MIXINS:
        case = mixin_case(module, mixin, method, make)
        if case is not None:
            tests = select(load_case(case), options.names)
            groups.append(run(mixin, tests, options.verbose))
    for module in [] if options.mixins_only else MODULES:
        try:
            loaded = load(module)
        except (ImportError, unittest.SkipTest):
            continue
        tests = select(unittest.defaultTestLoader.loadTestsFromModule(loaded), options.names)
        groups.append(run(module, tests, options.verbose))
    for group in groups:
        if group["run"]:
            print(json.dumps(group), flush=True)
    total = {
        "group": "all",
        "loop": options.loop,
        "python": sys.version.split()[0],
        **{key: sum(g[key] for g in groups) for key in ("run", "passed", "skipped")},
        "bad": sorted(f"{g['group']}.{name}" for g in groups for name in g["bad"]),
    }
    print(json.dumps(total), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
