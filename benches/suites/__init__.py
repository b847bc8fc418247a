"""The suites, a module for those that run together. A module has `suites(settings) -> tuple[Suite, ...]`; programs are named
by paths below the root."""

from __future__ import annotations

import importlib
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.model import Suite

BENCHES = Path(__file__).resolve().parent.parent
ROOT = BENCHES.parent
BUILT = ROOT / "build" / "bench"
#: What a whole run consists of, and what is only run when named: it takes long, and its last results are kept.
NAMES = ("core", "c", "python", "node")
APART = ("growth",)


@dataclass(frozen=True)
class Settings:
    """What a whole run has in common. Quick windows are too short to mean anything."""

    quick: bool = False

    def load(self, connections: int, size: int, *, churn: bool = False, warmup: str = "0.15") -> tuple[str, ...]:
        """The load generator's options."""
        seconds, warmup = ("0.15", "0.05") if self.quick else ("0.7", warmup)
        options = ("--connections", str(connections), "--size", str(size), "--seconds", seconds, "--warmup", warmup)
        return (*options, "--churn") if churn else options


def load_suites(chosen: Sequence[str], settings: Settings) -> dict[str, tuple[Suite, ...]]:
    """The suites by module, those of a whole run if none is named."""
    unknown = set(chosen) - {*NAMES, *APART}
    if unknown:
        raise SystemExit(f"no such suite: {', '.join(sorted(unknown))} (there are {', '.join(NAMES + APART)})")
    return {name: importlib.import_module(f"suites.{name}").suites(settings) for name in chosen or NAMES}


def own_version() -> str:
    """The workspace's version, and the commit if there is one."""
    found = re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    version = found[1] if found else "?"
    commit = output_of(["git", "-C", str(ROOT), "rev-parse", "--short=9", "HEAD"])
    return f"{version} ({commit})" if commit else version


def locked_version(crate: str) -> str:
    """The version of a crate that Cargo.lock names."""
    found = re.search(
        rf'^name = "{re.escape(crate)}"\nversion = "(.+)"', (ROOT / "Cargo.lock").read_text(), re.MULTILINE
    )
    return found[1] if found else "?"


def output_of(argv: Sequence[str]) -> str:
    """The trimmed output of a command, empty if it cannot run or fails."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
