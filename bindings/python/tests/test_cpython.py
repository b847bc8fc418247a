"""CPython's own asyncio tests on this loop; see cpython_suite.py."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

SUITE = Path(__file__).with_name("cpython_suite.py")

#: What does not pass, by the suite's name for it, and why.
KNOWN: dict[str, str] = {}


@pytest.mark.skipif(
    importlib.util.find_spec("test.test_asyncio") is None,
    reason="this Python comes without its tests",
)
def test_cpythons_own_tests_pass() -> None:
    done = subprocess.run(
        [sys.executable, str(SUITE), "--mixins-only"], capture_output=True, text=True, timeout=600
    )
    total = json.loads(done.stdout.splitlines()[-1])
    assert set(total["bad"]) == set(KNOWN)
    assert total["passed"] >= 100
