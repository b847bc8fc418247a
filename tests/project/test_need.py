"""A missing or old tool: one line that says what to install, before anything is built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
#: What the check and make themselves are made of.
BASICS = ("sh", "make", "cut", "find", "echo", "rm", "mkdir", "touch", "uname")
TOOLS = ("cargo", "rustc", "cc", "python3", "node", "npm")


def folder_of_tools(folder: Path, without: str) -> Path:
    """A folder for PATH that holds every tool but one."""
    folder.mkdir()
    for name in (*BASICS, *TOOLS):
        # Not by name: the python3 of a version manager is a script that needs more than BASICS.
        found = sys.executable if name == "python3" else shutil.which(name)
        if name != without and found:
            script = folder / name
            script.write_text(f'#!/bin/sh\nexec "{found}" "$@"\n')
            script.chmod(0o755)
    return folder


def make(goal: str, path: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")} | {"PATH": str(path)}
    return subprocess.run(["make", "-n", goal], cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("tool", "advice"),
    [
        ("cargo", "install Rust 1.88 or newer"),
        ("cc", "install a C compiler"),
        ("python3", "install Python 3.10 or newer"),
        ("node", "install Node.js 18 or newer"),
        ("npm", "install npm"),
    ],
)
@pytest.mark.parametrize("goal", ["demo", "test"])
def test_a_missing_tool_gives_one_line(goal: str, tool: str, advice: str, tmp_path: Path) -> None:
    done = make(goal, folder_of_tools(tmp_path / "bin", without=tool))
    assert done.returncode != 0
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert advice in done.stderr


def test_with_all_tools_nothing_is_said(tmp_path: Path) -> None:
    done = make("demo", folder_of_tools(tmp_path / "bin", without="nothing"))
    assert "install" not in done.stderr


def test_an_old_interpreter_is_named_with_its_version(tmp_path: Path) -> None:
    old = tmp_path / "python-old"
    old.write_text("#!/bin/sh\necho 3.9\n")
    old.chmod(0o755)
    said = subprocess.run(["sh", "tests/need.sh", str(old), "python"], cwd=ROOT, capture_output=True, text=True).stdout
    assert said.startswith("please install Python 3.10 or newer") and said.endswith("found 3.9\n")


def test_cleaning_needs_no_tool(tmp_path: Path) -> None:
    done = make("clean", folder_of_tools(tmp_path / "bin", without="cargo"))
    assert done.returncode == 0
