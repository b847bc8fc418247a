"""Runs one program once, as a process of its own, and returns what it measured."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Mapping, Sequence

from .model import Batch, Measure, Program, Server, parse_measures

#: Seconds after which a process is taken for stuck. The longest workload needs less than a tenth of it.
TIMEOUT = 60.0


class Failed(Exception):
    """A candidate did not finish its workload; the message says why, in one line."""


def measure(program: Program, load_generator: Sequence[str]) -> list[Measure]:
    """One round of one candidate. Raises `Failed`; never leaves a process behind."""
    if isinstance(program, Batch):
        return _measures_of(program.argv, program.env)
    return _measure_server(program, load_generator)


def _measures_of(argv: Sequence[str], env: Mapping[str, str] | None = None) -> list[Measure]:
    try:
        done = subprocess.run(argv, env=_environment(env), capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"no end within {TIMEOUT:.0f} s") from error
    except OSError as error:
        raise Failed(f"cannot be started: {error}") from error
    if done.returncode != 0:
        raise Failed(f"exit status {done.returncode}: {_last_line(done.stderr)}")
    measures = parse_measures(done.stdout)
    if not measures:
        raise Failed("printed no result")
    return measures


def _measure_server(server: Server, load_generator: Sequence[str]) -> list[Measure]:
    try:
        process = subprocess.Popen(
            server.argv,
            env=_environment(server.env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    except OSError as error:
        raise Failed(f"cannot be started: {error}") from error
    try:
        port = _listening_port(process)
        return _measures_of([*load_generator, "--port", str(port), "--pid", str(process.pid), *server.load])
    finally:
        process.kill()
        process.communicate()


def _listening_port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], TIMEOUT)
    line = process.stdout.readline() if ready else ""
    if not line.startswith("listening "):
        process.kill()
        _, errors = process.communicate()
        raise Failed(f"the server did not start listening: {_last_line(line + errors)}")
    return int(line.rpartition(":")[2])


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    return {**os.environ, **(extra or {})}


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "(no message)"
