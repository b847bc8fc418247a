"""Runs one program once, as a process of its own, and returns what it measured."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .model import Batch, Measure, Program, Server, Traced, parse_measures

#: Seconds after which a process is taken for stuck. The longest workload without a limit of its own needs a fifth of it.
TIMEOUT = 30.0
#: Seconds for what a program started to end after it.
GRACE = 5.0


class Failed(Exception):
    """A candidate did not finish its workload; the message says why, in one line."""


def measure(program: Program, load_generator: Sequence[str]) -> list[Measure]:
    """One round of one candidate. Raises `Failed`; never leaves a process behind."""
    if isinstance(program, Traced):
        return _measure_traced(program, load_generator)
    if isinstance(program, Batch):
        return _measures_of(program.argv, program.env, program.timeout)
    return _measure_server(program, load_generator)


@contextlib.contextmanager
def _started(argv: Sequence[str], env: Mapping[str, str] | None) -> Iterator[subprocess.Popen[str]]:
    """A process in a session of its own, so that it is ended with all that it started."""
    try:
        process = subprocess.Popen(
            argv,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    except OSError as error:
        raise Failed(f"cannot be started: {error}") from error
    try:
        yield process
    finally:
        # First the program alone: a tracer beside it writes its counts when the program has ended.
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=GRACE)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _measures_of(
    argv: Sequence[str], env: Mapping[str, str] | None = None, timeout: float | None = None
) -> list[Measure]:
    limit = timeout or TIMEOUT
    with _started(argv, env) as process:
        try:
            output, errors = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired as error:
            raise Failed(f"no end within {limit:g} s") from error
        if process.returncode != 0:
            raise Failed(f"exit status {process.returncode}: {_last_line(errors)}")
    measures = parse_measures(output)
    if not measures:
        raise Failed("printed no result")
    return measures


def _measure_server(server: Server, load_generator: Sequence[str]) -> list[Measure]:
    with _started(server.argv, server.env) as process:
        limit = server.timeout or TIMEOUT
        port = _listening_port(process, limit)
        argv = [*load_generator, "--port", str(port), "--pid", str(process.pid), *server.load]
        return _measures_of(argv, timeout=limit)


def _listening_port(process: subprocess.Popen[str], limit: float) -> int:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], limit)
    line = process.stdout.readline() if ready else ""
    if not line.startswith("listening "):
        process.kill()
        _, errors = process.communicate()
        raise Failed(f"the server did not start listening: {_last_line(line + errors)}")
    return int(line.rpartition(":")[2])


def can_trace() -> bool:
    """Whether strace is there and may trace."""
    try:
        return not subprocess.run(["strace", "-c", "-f", "true"], capture_output=True, timeout=TIMEOUT).returncode
    except (OSError, subprocess.TimeoutExpired):
        return False


def _measure_traced(traced: Traced, load_generator: Sequence[str]) -> list[Measure]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "calls"
        # With -D the tracer is the grandchild and the program itself is the process that is started, and killed.
        strace = ("strace", "-D", "-q", "-c", "-f", "-o", str(out))
        program = traced.program
        if isinstance(program, Batch):
            measures = _measures_of((*strace, *program.argv), program.env, program.timeout)
        else:
            server = Server((*strace, *program.argv), program.load, program.env, program.timeout)
            measures = _measure_server(server, load_generator)
        calls = _calls_in(out)
    operations = next((measure.value for measure in measures if measure.metric == traced.per), 0)
    if not operations:
        raise Failed(f"no {traced.per} to divide the system calls by")
    return [*measures, *(Measure(name, count / operations, "per op") for name, count in calls.items())]


def _calls_in(out: Path) -> dict[str, int]:
    """The counts that strace writes when the last process that it traces has ended."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        counts = parse_calls(out.read_text()) if out.exists() else {}
        if counts:
            return counts
        time.sleep(0.02)
    raise Failed("strace wrote no counts")


#: Counted even if never called; others appear only where they occur.
CALLS = ("futex", "epoll_ctl", "epoll_wait", "write", "read", "madvise", "mmap")


def parse_calls(table: str) -> dict[str, int]:
    """`strace -c`'s table: calls by name, and `syscalls` in all; empty as long as the table is not complete."""
    counts: dict[str, int] = {}
    for line in table.splitlines():
        fields = line.split()
        if len(fields) < 5 or not fields[3].isdigit():
            continue
        if fields[-1] == "total":
            return {**dict.fromkeys(CALLS, 0), **counts, "syscalls": int(fields[3])}
        # The variants of one call (epoll_pwait2, clock_nanosleep) are kept apart, but one wait is one wait.
        name = "epoll_wait" if fields[-1].startswith("epoll_pwait") else fields[-1]
        counts[name] = counts.get(name, 0) + int(fields[3])
    return {}


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "(no message)"
