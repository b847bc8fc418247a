#!/usr/bin/env python3
"""Runs the Rust tests under a tool that finds what tests alone do not (`make sanitize`).

    tests/sanitize/sanitize.py asan|tsan|valgrind [ARGUMENT OF CARGO TEST ...]

asan: AddressSanitizer with LeakSanitizer over core and the C API. tsan: ThreadSanitizer over core; tsan.supp names what
it gets wrong. valgrind: memcheck over core. Each first shows on a program that errs that it is really on. The totals
are cargo's own; the exit status is 1 if anything failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
# Without doc tests; and without the C programs of the header's tests, which tests/c/run.py runs under these tools.
CORE = ("-p", "libruntime-core", "--lib", "--tests")
C_API = ("-p", "libruntime", "--lib", "--test", "event_loop", "--test", "panics")
TARGET = "x86_64-unknown-linux-gnu"
MEMCHECK = "valgrind -q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite --fair-sched=yes"


@dataclass(frozen=True)
class Tool:
    """A way to run the tests: flags of rustc, what cargo tests, variables, and a program that it must catch."""

    flags: str
    runs: tuple[tuple[str, ...], ...]
    env: dict[str, str]
    bait: str
    says: str
    prefix: tuple[str, ...] = ()
    #: Tests that count descriptors of the process or run out of them.
    skips: tuple[str, ...] = ()


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
        runs=(CORE, C_API),
        env={"ASAN_OPTIONS": "detect_leaks=1"},
        bait=FREED,
        says="heap-use-after-free",
    ),
    "tsan": Tool(
        flags="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer --cfg libruntime_tsan",
        runs=(CORE,),
        env={"TSAN_OPTIONS": f"suppressions={HERE / 'tsan.supp'} report_signal_unsafe=0"},
        bait=RACE,
        says="data race",
        # The symbolizer, which suppressions by name need, holds descriptors of its own.
        skips=("descriptors_are_accounted_for", "runtime_leaves_no_thread_and_no_descriptor"),
    ),
    "valgrind": Tool(
        flags="--cfg libruntime_plain_alloc",
        runs=(CORE,),
        env={f"CARGO_TARGET_{TARGET.upper().replace('-', '_')}_RUNNER": MEMCHECK},
        bait=FREED,
        says="Invalid read",
        prefix=tuple(MEMCHECK.split()),
        # valgrind keeps descriptors for itself, and lets no program lower their limit below them.
        skips=("descriptors_are_accounted_for",),
    ),
}


def environment(tool: Tool) -> dict[str, str]:
    return {**os.environ, "RUSTC_BOOTSTRAP": "1", "RUSTFLAGS": tool.flags, **tool.env}


def catches(tool: Tool) -> bool:
    """Whether the tool reports a program that errs."""
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "bait.rs"), Path(folder, "bait")
        source.write_text(tool.bait)
        subprocess.run(
            ["rustc", "--edition=2024", "-Aunsafe_op_in_unsafe_fn", "-Astatic_mut_refs", "-g", "--target", TARGET]
            + [*tool.flags.split(), str(source), "-o", str(program)],
            check=True,
            env=environment(tool),
        )
        done = subprocess.run([*tool.prefix, str(program)], capture_output=True, text=True, env=environment(tool))
    return done.returncode != 0 and tool.says in done.stderr


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", choices=TOOLS)
    options, more = parser.parse_known_args()
    tool = TOOLS[options.tool]
    if not catches(tool):
        print(f"{options.tool} does not report a program that errs: nothing that it says counts", file=sys.stderr)
        return 1
    # Each tool has a build of its own: their flags differ.
    command = ["cargo", "test", "--locked", "--no-fail-fast", "--target", TARGET]
    command += ["--target-dir", str(ROOT / "target" / options.tool)]
    skips = [word for name in tool.skips for word in ("--skip", name)]
    status = [
        subprocess.run([*command, *run, *more, "--", *skips], cwd=ROOT, env=environment(tool)).returncode
        for run in tool.runs
    ]
    return int(any(status))


if __name__ == "__main__":
    sys.exit(main())
