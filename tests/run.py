"""Runs every test and check of the project and adds up what the runners themselves counted (`make test`).

`run.py [GROUP ...] [--only TEXT]`: groups are rust, loom, c, python, node, project, lint; all of them without
arguments. Everything has to be built already: the Makefile sees to it. The last line is `N passed, N failed`; the exit
status is 1 if anything failed, a runner that could not run included.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = ROOT / "build" / "venv" / "bin"
PYTHON = str(BIN / "python")
LOOM = {"RUSTFLAGS": "--cfg loom", "LOOM_MAX_PREEMPTIONS": "2"}


@dataclass(frozen=True)
class Counts:
    passed: int
    failed: int


Counter = Callable[[str], Counts | None]


def total(passed: str, failed: str) -> Counter:
    """Counts by the sum of all matches of two patterns; None where the first one matches nowhere."""

    def count(output: str) -> Counts | None:
        wins, losses = re.findall(passed, output, re.MULTILINE), re.findall(failed, output, re.MULTILINE)
        return Counts(sum(map(int, wins)), sum(map(int, losses))) if wins or losses else None

    return count


CARGO = total(r"^test result: \w+\. (\d+) passed", r"^test result: .* (\d+) failed")
PYTEST = total(r"^(?:=+ )?.*?\b(\d+) passed\b.* in [\d.]+s", r"^(?:=+ )?.*?\b(\d+) (?:failed|errors?)\b.* in [\d.]+s")
# Node prints "# pass 3" as TAP and an information sign instead of # for people.
NODE = total(r"^(?:#|\u2139) pass (\d+)", r"^(?:#|\u2139) fail (\d+)")
PLAIN = total(r"^(?:.*: )?(\d+) passed, \d+ failed", r"^(?:.*: )?\d+ passed, (\d+) failed")


@dataclass(frozen=True)
class Part:
    """One command. Without a counter the command is one check, passed if it ends with status 0."""

    group: str
    name: str
    argv: tuple[str, ...]
    counter: Counter | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    folder: str = "."
    #: Seconds after which it is ended, and has failed. The longest part, from nothing, takes a few minutes.
    limit: float = 1800


def cargo(*arguments: str) -> tuple[str, ...]:
    return ("cargo", *arguments)


def tool(name: str, *arguments: str) -> tuple[str, ...]:
    return (str(BIN / name), *arguments)


PARTS = (
    Part("rust", "core and C API", cargo("test", "--locked", "-p", "libruntime-core", "-p", "libruntime"), CARGO),
    Part("rust", "hyper, rustls, codecs", cargo("test", "--locked", "-p", "libruntime-ecosystem"), CARGO),
    Part(
        "loom",
        "loom models, short form",
        cargo(
            "test", "--locked", "-p", "libruntime-core", "--lib", "--release", "--target-dir", "target/loom", "loom_"
        ),
        CARGO,
        LOOM,
    ),
    Part("loom", "no loom model is left out", (PYTHON, "tests/loom_orphans.py"), PLAIN, LOOM),
    Part("c", "C programs", (PYTHON, "tests/c/run.py"), PLAIN),
    Part("c", "C programs, AddressSanitizer", (PYTHON, "tests/c/run.py", "--mode", "asan"), PLAIN),
    *(
        (Part("c", "C programs, valgrind", (PYTHON, "tests/c/run.py", "--mode", "valgrind"), PLAIN),)
        if shutil.which("valgrind")
        else ()
    ),
    Part("python", "Python package", tool("python", "-m", "pytest", "-q"), PYTEST, folder="bindings/python"),
    # npm test begins with eslint and the check of the type declarations.
    Part("node", "Node package", ("npm", "test", "--silent"), NODE, folder="bindings/node"),
    Part("project", "bench harness", tool("python", "-m", "pytest", "-q"), PYTEST, folder="benches"),
    Part("project", "README, Makefile, examples", tool("python", "-m", "pytest", "-q", "tests/project"), PYTEST),
    Part("project", "the demonstration", (PYTHON, "tests/demo/demo.py")),
    Part("lint", "cargo fmt", cargo("fmt", "--all", "--check")),
    Part("lint", "clippy", cargo("clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings")),
    Part("lint", "ruff", tool("ruff", "check", "benches", "tests", "bindings/python", "examples/python")),
    Part(
        "lint",
        "ruff format",
        tool("ruff", "format", "--check", "benches", "tests", "bindings/python", "examples/python"),
    ),
    Part("lint", "mypy, harness", tool("mypy"), folder="benches"),
    Part(
        "lint",
        "mypy, tests",
        tool(
            "mypy",
            "--strict",
            "tests/run.py",
            "tests/loom_orphans.py",
            "tests/demo/demo.py",
            "tests/sanitize/sanitize.py",
        ),
    ),
    Part("lint", "mypy, Python package", tool("mypy"), folder="bindings/python"),
)


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs tests and checks; see `make test`.")
    parser.add_argument("groups", nargs="*", help="rust, loom, c, python, node, project, lint (default: all)")
    parser.add_argument("--only", default="", help="only parts whose name contains this text")
    options = parser.parse_args()
    unknown = set(options.groups) - {part.group for part in PARTS}
    if unknown:
        parser.error(f"no such group: {', '.join(sorted(unknown))}")

    rows = []
    for part in PARTS:
        if (not options.groups or part.group in options.groups) and options.only in part.name:
            print(f"\n==== {part.group}: {part.name}", flush=True)
            began = time.monotonic()
            rows.append((part, run(part), time.monotonic() - began))

    print(f"\n{'part':42} {'passed':>7} {'failed':>7} {'seconds':>8}")
    for part, counts, seconds in rows:
        print(f"{part.group + ': ' + part.name:42} {counts.passed:7} {counts.failed:7} {seconds:8.1f}")
    failed = sum(counts.failed for _, counts, _ in rows)
    print(f"{sum(counts.passed for _, counts, _ in rows)} passed, {failed} failed")
    return 1 if failed else 0


def run(part: Part) -> Counts:
    """Runs a part, shows its output as it comes, and counts. A bad end without a counted failure counts as one."""
    status, output = stream(part)
    if part.counter is None:
        return Counts(int(status == 0), int(status != 0))
    counts = part.counter(output)
    if counts is None:
        print(f"{part.name}: the runner printed no totals (exit status {status})", flush=True)
        return Counts(0, 1)
    return Counts(counts.passed, max(counts.failed, int(status != 0)))


def stream(part: Part) -> tuple[int, str]:
    environment = {
        **os.environ,
        **part.env,
        "PYTHONDONTWRITEBYTECODE": "1",
        "CARGO_TERM_COLOR": "never",
        "NO_COLOR": "1",
    }
    lines = []
    try:
        process = subprocess.Popen(
            part.argv,
            cwd=ROOT / part.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        print(error)
        return 127, ""

    def out_of_time() -> None:
        print(f"{part.name}: still running after {part.limit:.0f} s", flush=True)
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(part.limit, out_of_time)
    timer.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            sys.stdout.write(line)
            sys.stdout.flush()
        return process.wait(), "".join(lines)
    except BaseException:
        # It has a session of its own, and hears of no Ctrl-C.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    finally:
        timer.cancel()


if __name__ == "__main__":
    sys.exit(main())
