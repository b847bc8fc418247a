#!/usr/bin/env python3
"""Builds and runs the C tests and examples against the library.

    tests/c/run.py [--mode plain|asan|valgrind] [--filter TEXT] [--jobs N] [--release]

Each test of each program runs in a process of its own, with a time limit. The last line says how
many passed and failed; the exit status is 1 if any failed.

asan builds the library and the programs with AddressSanitizer and checks for leaks; it first makes
sure that both were really on, by a program that errs. valgrind runs the plain build under memcheck.
"""

import argparse
import concurrent.futures
import functools
import os
import pathlib
import shutil
import subprocess
import sys
import time

import examples

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = "x86_64-unknown-linux-gnu"
WARNINGS = ["-std=c11", "-D_GNU_SOURCE", "-pedantic", "-Wall", "-Wextra", "-Wundef", "-Werror"]
# By mode: the tests that can not be right there, and why.
OWN_LIMIT = "valgrind has a limit of descriptors of its own: it accepts a connection beyond it, and closes it"
NOT_UNDER = {
    "valgrind": {
        "no_descriptors_left_does_not_spin_and_keeps_the_listener": OWN_LIMIT,
        "no_descriptors_left_on_workers_is_told_and_survived": OWN_LIMIT,
    },
}
# By mode: how the library is built, as the Rust tests' are (tests/sanitize/sanitize.py). Where each
# instruction costs as much as a hundred, and each process begins with reading what the debugger would
# need, it has to be small and optimised; assertions stay.
BUILD = {
    "asan": {
        "RUSTC_BOOTSTRAP": "1",
        "RUSTFLAGS": "-Zsanitizer=address -Cunsafe-allow-abi-mismatch=sanitizer --cfg libruntime_plain_alloc",
    },
    "valgrind": {
        "RUSTC_BOOTSTRAP": "1",
        "RUSTFLAGS": "--cfg libruntime_plain_alloc",
        "CARGO_PROFILE_DEV_OPT_LEVEL": "1",
        "CARGO_PROFILE_DEV_DEBUG": "line-tables-only",
    },
}
LIMIT = {"plain": 60, "asan": 120, "valgrind": 300}


def run(command, **options):
    """Runs a step of the build; its output is shown only if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def build_library(mode, release):
    """Builds libruntime.so; returns the folder it is in."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    command = ["cargo", "build", "-q", "-p", "libruntime"] + (["--release"] if release else [])
    profile = "release" if release else "debug"
    if mode == "plain":
        run(command, cwd=ROOT)
        return target / profile
    environment = dict(os.environ, **BUILD[mode], CARGO_TARGET_DIR=str(target / mode))
    run(command + ["--target", TARGET], cwd=ROOT, env=environment)
    return target / mode / TARGET / profile


def flags(mode):
    return ["-g", "-O1"] + (["-fsanitize=address", "-fno-omit-frame-pointer"] if mode == "asan" else [])


def link(folder, built):
    """The library under its names: the one to link, the one to load."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ["libruntime.so", "libruntime.so.0"]:
        path = folder / name
        path.unlink(missing_ok=True)
        path.symlink_to(built / "libruntime.so")


def compile(source, program, mode):
    program.parent.mkdir(parents=True, exist_ok=True)
    run(
        [
            "cc",
            *WARNINGS,
            *flags(mode),
            f"-I{ROOT / 'include'}",
            f"-I{ROOT / 'tests/c'}",
            source,
            f"-L{program.parent}",
            "-lruntime",
            "-pthread",
            "-o",
            program,
        ]
    )


def environment(folder, mode):
    env = dict(os.environ, LD_LIBRARY_PATH=str(folder))
    if mode == "plain":
        # The checkers keep freed memory back, to see who uses it; without them a test can look.
        env["CHECK_NO_GROWTH"] = "1"
    if mode == "asan":
        env["ASAN_OPTIONS"] = "detect_leaks=1:halt_on_error=1:detect_stack_use_after_return=1"
    return env


def wrap(command, mode, folder, name):
    """Makes a command run under the checker, whose reports go to a file of that name."""
    if mode != "valgrind":
        return command
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    for old in logs.glob(f"{name}.*"):
        old.unlink()
    return [
        "valgrind", "-q", "--vgdb=no", "--error-exitcode=99", "--leak-check=full", "--fair-sched=yes",
        "--show-leak-kinds=definite,indirect", "--errors-for-leak-kinds=definite,indirect",
        "--num-callers=20", f"--log-file={logs / name}.%p", *command,
    ]  # fmt: skip


def reports(folder, name):
    """The first lines of what the checker has said about a test."""
    lines = []
    for log in sorted((folder / "logs").glob(f"{name}.*")):
        lines += log.read_text(errors="replace").splitlines()
    return "".join(f"\n{line}" for line in lines[:60])


CANARY = """
#include <libruntime/runtime.h>
#include <stdlib.h>
#include <string.h>
static volatile char *volatile kept;
int main(int argc, char **argv) {
    (void)argc;
    if (strcmp(argv[1], "leak") == 0) { kept = malloc(100); kept[0] = 1; kept = NULL; return rt_handles_live() != 0; }
    kept = malloc(10); free((void *)kept); return kept[3];
}
"""


def canary(folder, mode):
    """A checker that sees nothing proves nothing: it must see these."""
    source = folder / "canary.c"
    source.write_text(CANARY)
    compile(source, folder / "canary", mode)
    for fault in ["leak", "use-after-free"]:
        command = wrap([str(folder / "canary"), fault], mode, folder, "canary")
        done = subprocess.run(command, env=environment(folder, mode), capture_output=True)
        if done.returncode == 0:
            sys.exit(f"{mode} did not notice a {fault}: it is not on")


def one(program, test, folder, mode):
    """Runs one test of a program: (error or None, seconds)."""
    begun = time.monotonic()
    command = wrap([str(program), test], mode, folder, test)
    try:
        done = subprocess.run(
            command, env=environment(folder, mode),
            capture_output=True, text=True, errors="replace", timeout=LIMIT[mode],
        )  # fmt: skip
    except subprocess.TimeoutExpired as late:
        output = late.stderr or b""
        output = output.decode(errors="replace") if isinstance(output, bytes) else output
        return f"still running after {LIMIT[mode]} s\n{output}", LIMIT[mode]
    seconds = time.monotonic() - begun
    if done.returncode == 0:
        return None, seconds
    return f"status {done.returncode}\n{done.stdout}{done.stderr}{reports(folder, test)}".rstrip(), seconds


def example(test, context, name):
    """Runs one test of an example program: (error or None, seconds)."""
    begun = time.monotonic()
    try:
        test(context)
    except Exception as error:  # whatever it is, it is this test's failure
        said = f"{type(error).__name__}: {error}{reports(context.folder, name)}"
        return said, time.monotonic() - begun
    return None, time.monotonic() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mode", choices=["plain", "asan", "valgrind"], default="plain")
    parser.add_argument("--filter", default="", help="only tests whose name contains this")
    parser.add_argument("--jobs", type=int, default=max(2, os.cpu_count() or 2))
    parser.add_argument("--release", action="store_true", help="test the optimised library")
    options = parser.parse_args()
    mode = options.mode
    if mode == "valgrind" and not shutil.which("valgrind"):
        sys.exit("valgrind is not installed")

    built = build_library(mode, options.release)
    folder = ROOT / "build" / "c" / (mode + ("-release" if options.release else ""))
    link(folder, built)
    if mode != "plain":
        canary(folder, mode)
    programs = []
    for source in sorted((ROOT / "tests/c").glob("test_*.c")):
        programs.append(folder / source.stem)
        compile(source, folder / source.stem, mode)
    for source in sorted((ROOT / "examples/c").glob("*.c")):
        compile(source, folder / source.stem, mode)

    tests = []
    for program in programs:
        listed = run([program, "--list"], env=environment(folder, mode))
        tests += [(program, test) for test in listed.split()]
    todo = [(f"{p.name}::{t}", functools.partial(one, p, t, folder, mode)) for p, t in tests]
    for name, test in examples.tests():
        checked = functools.partial(wrap, mode=mode, folder=folder, name=name)
        context = examples.Context(folder, checked, environment(folder, mode))
        todo.append((f"examples::{name}", functools.partial(example, test, context, name)))
    excluded = NOT_UNDER.get(mode, {})
    todo = [(name, test) for name, test in todo if name.partition("::")[2] not in excluded]
    todo = [(name, test) for name, test in todo if options.filter in name]
    failed = []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for (name, _), (error, seconds) in zip(todo, pool.map(lambda t: t[1](), todo), strict=True):
            print(f"{'FAILED' if error else 'ok    '} {name} ({seconds:.2f} s)", flush=True)
            if error:
                failed.append((name, error))
    for name, error in failed:
        print(f"\n--- {name}\n{error}")
    for name, why in excluded.items():
        print(f"not run under {mode}: {name} ({why})")
    print(f"\nC tests ({mode}): {len(todo) - len(failed)} passed, {len(failed)} failed")
    sys.exit(1 if failed or not todo else 0)


if __name__ == "__main__":
    main()
