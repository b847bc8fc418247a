"""The tests that the documentation names exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs" / "promises.md").read_text()
SOURCES = "\n".join(
    path.read_text() for folder in ("core", "capi", "tests") for path in (ROOT / folder).rglob("*.rs") if path.is_file()
)
TESTS = set(re.findall(r"^\s*(?:pub\(crate\) )?(?:async )?fn (\w+)\(", SOURCES, re.MULTILINE))


def test_each_promise_names_a_test_that_exists() -> None:
    rows = re.findall(r"^\| (.+\.) \| (.*) \|$", PAGE, re.MULTILINE)
    tables = PAGE.count("\n|---")
    assert len(rows) == PAGE.count("\n| ") - tables
    unnamed = [promise for promise, tests in rows if not re.findall(r"`(\w+)`", tests)]
    assert not unnamed
    missing = {name for _, tests in rows for name in re.findall(r"`(\w+)`", tests)} - TESTS
    assert not missing
