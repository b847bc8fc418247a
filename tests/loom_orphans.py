"""Checks that every loom model in core is one that the loom run executes.

A model is a test function that is named as one or calls `model` or makes a `model::Builder`. It is left out if its path
does not contain the `loom_` that the run filters by, or if its file belongs to no module. It has to go through `model` of
`core/src/shim`, which bounds it. Run with `--cfg loom` in RUSTFLAGS.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = ("cargo", "test", "--locked", "--quiet", "-p", "libruntime-core", "--lib", "--release")
FOLDER = ("--target-dir", "target/loom")


def models(source: str) -> list[str]:
    """The names of the test functions in a file that run a loom model."""
    # A test ends where the next one begins, or with its module.
    tests = re.findall(r"^\s*#\[test\](.*?)(?=^\s*#\[test\]|^\})", source, re.MULTILINE | re.DOTALL)
    found = []
    for test in tests:
        name = re.search(r"\bfn (\w+)", test)
        if name and (name[1].startswith("loom_") or re.search(r"\bmodel\(|\bmodel::Builder\b", test)):
            found.append(name[1])
    return found


def main() -> int:
    listed = subprocess.run(
        [*LIST, *FOLDER, "loom_", "--", "--list"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    executed = {line.removesuffix(": test").rpartition("::")[2] for line in listed.splitlines()}
    passed = failed = 0
    for path in sorted((ROOT / "core" / "src").rglob("*.rs")):
        source = path.read_text()
        if "loom::model(" in source:
            failed += 1
            print(f"{path.relative_to(ROOT)}: calls loom::model, which has no bound, instead of the shim's")
        for name in models(source):
            if name in executed:
                passed += 1
            else:
                failed += 1
                print(f"{path.relative_to(ROOT)}: {name} is not executed by the loom run")
    if passed + failed == 0:
        print("no loom model found: the search is broken")
        failed = 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
