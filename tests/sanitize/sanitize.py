#!/usr/bin/env python3
"""Runs the Rust tests under a tool that finds what tests alone do not (`make sanitize`).

    tests/sanitize/sanitize.py asan|tsan|valgrind [--only TEXT] [--limit SECONDS] [TEST ...]

asan: AddressSanitizer with LeakSanitizer. tsan: ThreadSanitizer; tsan.supp names what it gets wrong. valgrind:
memcheck. Each runs the tests of core, of the C API and of the ecosystem's crates over core, and first shows on a program
that errs that it is really on. Each test program has a time limit. The last lines say what was excluded, and why, and
how many tests passed and failed; the exit status is 1 if any failed.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
TARGET = "x86_64-unknown-linux-gnu"
# Where each access costs as much as a hundred, code that is not optimised takes hours. Assertions stay.
OPTIMISED = {"CARGO_PROFILE_DEV_OPT_LEVEL": "1", "CARGO_PROFILE_DEV_DEBUG": "line-tables-only"}
# Without doc tests; and without the header's tests, whose C programs tests/c/run.py runs under these tools.
TESTS = (
    ("-p", "libruntime-core", "--lib", "--tests"),
    ("-p", "libruntime", "--lib", "--test", "event_loop", "--test", "panics"),
    ("-p", "libruntime-ecosystem", "--tests"),
)
MEMCHECK = (
    # Without a debugger's door, for which a process that has become another user lacks the rights.
    "valgrind -q --vgdb=no --error-exitcode=99 --fair-sched=yes --leak-check=full"
    " --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect"
)

ENVIRONMENT = {
    "RUSTC_BOOTSTRAP": "1",
    # A panic on purpose need not tell where it came from: that takes minutes where all is slow.
    "RUST_BACKTRACE": "0",
    # Of random programs, as many as there is time for.
    "LIBRUNTIME_SECONDS": "30",
}


@dataclass(frozen=True)
class Tool:
    """A way to run the tests: flags of rustc, variables, and a program that it must catch."""

    flags: str
    env: Mapping[str, str]
    bait: str
    says: str
    prefix: tuple[str, ...] = ()
    #: The standard library is compiled with the flags too.
    with_std: bool = False
    #: Tests that can not be right here, by the end of their name, and why.
    skips: Mapping[str, str] = field(default_factory=dict)
    #: Test programs that are run with another option at the end of the prefix, and why.
    options: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    #: Test programs that are not run, and why.
    without: Mapping[str, str] = field(default_factory=dict)


RACE = """
static mut SHARED: u64 = 0;
fn main() {
    let other = std::thread::spawn(|| unsafe { SHARED += 1 });
    unsafe { SHARED += 1 };
    other.join().unwrap();
}
"""
# Freed memory is read: no tool for memory may miss it.
FREED = """
fn main() {
    let block = Box::into_raw(Box::new(std::hint::black_box(7_u64)));
    unsafe {
        drop(Box::from_raw(block));
        std::process::exit((std::ptr::read_volatile(block) == 1) as i32);
    }
}
"""

TOOLS = {
    "asan": Tool(
        flags="-Zsanitizer=address -Cunsafe-allow-abi-mismatch=sanitizer --cfg libruntime_plain_alloc",
        env={"ASAN_OPTIONS": "detect_leaks=1"},
        bait=FREED,
        says="heap-use-after-free",
    ),
    "tsan": Tool(
        flags="-Zsanitizer=thread --cfg libruntime_tsan",
        env={
            **OPTIMISED,
            "TSAN_OPTIONS": f"suppressions={HERE / 'tsan.supp'} print_suppressions=1 report_signal_unsafe=0",
        },
        bait=RACE,
        says="data race",
        # Its locks and channels order threads: without them there would be races everywhere.
        with_std=True,
        skips={
            "descriptors_are_accounted_for": "the symbolizer, which suppressions need, has descriptors of this process",
            "runtime_leaves_no_thread_and_no_descriptor": "as above",
            "children_leave_nothing_behind": "the symbolizer is a child of this process",
        },
    ),
    "valgrind": Tool(
        flags="--cfg libruntime_plain_alloc",
        env=OPTIMISED,
        bait=FREED,
        says="Invalid read",
        prefix=tuple(MEMCHECK.split()),
        skips={
            "descriptors_are_accounted_for": "valgrind keeps descriptors, and lets nobody lower their limit below them",
            "failure_to_start_says_why": "valgrind makes vfork a fork: posix_spawn does not hear why exec failed",
            "children_leave_nothing_behind": "as above",
            "wait_ends_with_an_error_when_its_runtime_does": "valgrind 3.19 knows no pidfd; the waits in their place go on",
        },
        options={
            "core::fork": ("--leak-check=no", "a forked child has no threads to give back what the parent's held"),
            "ecosystem::tls": ("--undef-value-errors=no", "what the cipher's assembly wrote counts as never written"),
        },
        without={
            "core::signal": "after a signal was handled on a thread its own frames count as memory that nobody has",
        },
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs the Rust tests under a tool; see `make sanitize`.")
    parser.add_argument("tool", choices=TOOLS)
    parser.add_argument("tests", nargs="*", help="only tests whose name contains one of these")
    parser.add_argument("--only", default="", help="only test programs whose name contains this")
    parser.add_argument("--limit", type=float, default=900, help="seconds for a test program (default: 900)")
    options = parser.parse_args()
    tool = TOOLS[options.tool]
    environment = {**os.environ, **ENVIRONMENT, "RUSTFLAGS": tool.flags, **tool.env}
    if tool.with_std:
        environment |= with_source_of_std()
    if not catches(tool, environment):
        print(f"{options.tool} does not report a program that errs: nothing that it says counts", file=sys.stderr)
        return 1
    began = time.monotonic()
    totals = Totals()
    for program in build(options.tool, environment):
        if options.only in program.name and program.name not in tool.without:
            totals.add(program, *run(tool, program, environment, options.tests, options.limit))
    for name, why in (*tool.without.items(), *tool.skips.items()):
        print(f"not run under {options.tool}: {name} ({why})")
    for name, (option, why) in tool.options.items():
        print(f"run with {option}: {name} ({why})")
    for name, hits in totals.suppressed.items():
        print(f"suppressed {hits} times: {name}")
    print(
        f"{options.tool}: {totals.passed} passed, {totals.failed} failed, {totals.filtered} excluded, "
        f"in {time.monotonic() - began:.0f} s"
    )
    return int(totals.failed > 0 or totals.passed == 0)


def catches(tool: Tool, environment: dict[str, str]) -> bool:
    """Whether the tool reports a program that errs."""
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "bait.rs"), Path(folder, "bait")
        source.write_text(tool.bait)
        # Against the standard library as it comes, whatever it was compiled with.
        flags = [*tool.flags.split(), "-Cunsafe-allow-abi-mismatch=sanitizer"]
        subprocess.run(
            ["rustc", "--edition=2024", "-Aunsafe_op_in_unsafe_fn", "-Astatic_mut_refs", "-g", "--target", TARGET]
            + [*flags, str(source), "-o", str(program)],
            check=True,
            env=environment,
        )
        done = subprocess.run([*tool.prefix, str(program)], capture_output=True, text=True, env=environment)
    return done.returncode != 0 and tool.says in done.stderr


def with_source_of_std() -> dict[str, str]:
    """Variables for a toolchain of this version that has rust-src: the one in use, or another one below build/."""

    def asked(*command: str) -> str:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    if Path(asked("rustc", "--print", "sysroot"), "lib/rustlib/src/rust/library/Cargo.lock").exists():
        return {}
    version = asked("rustc", "--version").split()[1]
    home = ROOT / "build" / "rustup"
    private = {"RUSTUP_HOME": str(home), "RUSTUP_TOOLCHAIN": version}
    if any(home.glob(f"toolchains/{version}-*/lib/rustlib/src")):
        return private
    print(
        f"the source of the standard library is not installed: taking it, with its toolchain, into {home}", flush=True
    )
    command = ["rustup", "toolchain", "install", version, "--profile", "minimal", "--component", "rust-src"]
    try:
        subprocess.run([*command, "--no-self-update"], cwd=ROOT, check=True, env={**os.environ, **private})
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"{error}\nwhat is needed is the source of the standard library: rustup component add rust-src")
    return private


@dataclass(frozen=True)
class Program:
    name: str
    path: str
    folder: str


def build(name: str, environment: dict[str, str]) -> list[Program]:
    """Builds the tests. Each tool has a build of its own: their flags differ."""
    command = ["cargo", "test", "--locked", "--no-run", "--target", TARGET, "--message-format=json-render-diagnostics"]
    command += ["--target-dir", str(ROOT / "target" / name)]
    if TOOLS[name].with_std:
        command.append("-Zbuild-std")
    programs = []
    for tests in TESTS:
        done = subprocess.run([*command, *tests], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(done.returncode)
        for line in done.stdout.splitlines():
            message = json.loads(line)
            if message.get("executable") and message["profile"]["test"]:
                folder = Path(message["manifest_path"]).parent
                target = message["target"]
                kind = "lib" if "lib" in target["kind"] else target["name"]
                programs.append(Program(f"{folder.name}::{kind}", message["executable"], str(folder)))
    return programs


@dataclass
class Totals:
    passed: int = 0
    failed: int = 0
    filtered: int = 0
    suppressed: collections.Counter[str] = field(default_factory=collections.Counter)

    def add(self, program: Program, status: int | None, output: str, seconds: float) -> None:
        """Counts and shows what a test program did; `None` for its status says that it ran out of time."""

        def counted(what: str) -> int:
            return sum(map(int, re.findall(rf"^test result: .* (\d+) {what}", output, re.MULTILINE)))

        bad = max(counted("failed"), int(status != 0))
        self.passed += counted("passed")
        self.failed += bad
        self.filtered += counted("filtered out")
        for hits, name in re.findall(r"^(\d+) ((?:race|mutex|deadlock|thread|signal)\S*:.*)", output, re.MULTILINE):
            self.suppressed[name] += int(hits)
        end = "" if status is not None else ", and did not end"
        print(
            f"{'FAILED' if bad else 'ok    '} {program.name}: {counted('passed')} passed ({seconds:.1f} s){end}",
            flush=True,
        )
        if bad:
            print(output, flush=True)


def run(
    tool: Tool, program: Program, environment: dict[str, str], tests: list[str], limit: float
) -> tuple[int | None, str, float]:
    """Runs a test program: its status, what it said, and the seconds that it took."""
    skips = [word for name in tool.skips for word in ("--skip", name)]
    own = tool.options[program.name][:1] if program.name in tool.options else ()
    environment = {**environment, "CARGO_MANIFEST_DIR": program.folder}
    began = time.monotonic()
    with tempfile.TemporaryFile(mode="w+", errors="replace") as output:
        process = subprocess.Popen(
            [*tool.prefix, *own, program.path, *tests, *skips],
            cwd=program.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        status: int | None
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        return status, output.read(), time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
