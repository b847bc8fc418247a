"""The README shows what is in the repository, and what it shows works."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text()
#: `<!-- path -->` and the code block that follows it.
SHOWN = dict(re.findall(r"^<!-- (examples/\S+) -->\n```\w+\n(.*?)^```$", README, re.MULTILINE | re.DOTALL))
RUN = {
    "examples/c/hello.c": [str(ROOT / "build" / "c" / "hello")],
    "examples/python/hello.py": [sys.executable, str(ROOT / "examples" / "python" / "hello.py")],
    "examples/node/hello.js": [shutil.which("node") or "node", str(ROOT / "examples" / "node" / "hello.js")],
}


@pytest.mark.parametrize("path", RUN)
def test_the_readme_shows_the_example_as_it_is(path: str) -> None:
    assert SHOWN[path] == (ROOT / path).read_text()


@pytest.mark.parametrize("path", RUN)
def test_the_example_works(path: str) -> None:
    done = subprocess.run(RUN[path], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    assert "hello" in done.stdout.lower()


@pytest.mark.parametrize(
    "page",
    ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "docs/README.md", "benches/README.md", "benches/LOSSES.md"],
)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    targets = [target for target in re.findall(r"\]\(([^)#\s]+)\)", text) if "://" not in target]
    missing = [target for target in targets if not (ROOT / page).parent.joinpath(target).exists()]
    assert not missing


def test_the_files_that_the_architecture_names_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rows = re.findall(r"^\| `\w+/` \|.*\|(.*)\|$", text, re.MULTILINE)
    named = [path for row in rows for path in re.findall(r"`([\w/]+\.\w+)`", row)]
    assert len(named) >= 9
    assert not [path for path in named if not (ROOT / "core" / "src" / path).exists()]


def test_the_commands_of_the_readme_are_goals_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    commands = re.findall(r"^make (\S+)", README, re.MULTILINE)
    assert {"demo", "test"} <= set(commands)
    for command in commands:
        assert re.search(rf"^{command}\b.*:", makefile, re.MULTILINE), command
