"""The adding up of `make test`: every runner's totals are understood, and nothing that went wrong counts as passed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parent.parent


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, TESTS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


run: Any = load("run")
loom_orphans: Any = load("loom_orphans")


@pytest.mark.parametrize(
    ("runner", "output", "passed", "failed"),
    [
        (
            "CARGO",
            "test result: ok. 3 passed; 0 failed; 0 ignored\ntest result: FAILED. 4 passed; 2 failed; 0 ignored\n",
            7,
            2,
        ),
        ("PYTEST", "...\n12 passed in 0.3s\n", 12, 0),
        ("PYTEST", "= 2 failed, 10 passed, 1 error in 2.31s =\n", 10, 2),
        ("PYTEST", "3 failed in 0.10s\n", 0, 3),
        ("NODE", "# tests 5\n# pass 4\n# fail 1\n", 4, 1),
        ("NODE", "\u2139 tests 5\n\u2139 pass 5\n\u2139 fail 0\n", 5, 0),
        ("PLAIN", "8 passed, 1 failed\n", 8, 1),
        ("PLAIN", "ok test\nC tests (asan): 30 passed, 0 failed\n", 30, 0),
    ],
)
def test_totals_of_every_runner_are_read(runner: str, output: str, passed: int, failed: int) -> None:
    assert getattr(run, runner)(output) == run.Counts(passed, failed)


@pytest.mark.parametrize(
    ("code", "counter", "passed", "failed"),
    [
        ("print('3 passed, 0 failed')", run.PLAIN, 3, 0),
        ("print('3 passed, 0 failed'); raise SystemExit(1)", run.PLAIN, 3, 1),
        ("print('nothing')", run.PLAIN, 0, 1),
        ("pass", None, 1, 0),
        ("raise SystemExit(2)", None, 0, 1),
    ],
    ids=["passes", "bad status", "no totals", "check passes", "check fails"],
)
def test_a_bad_end_never_counts_as_passed(code: str, counter: Any, passed: int, failed: int) -> None:
    part = run.Part("group", "name", (sys.executable, "-c", code), counter)
    assert run.run(part) == run.Counts(passed, failed)


def test_a_command_that_does_not_exist_fails() -> None:
    assert run.run(run.Part("group", "name", ("/nowhere/at/all",))) == run.Counts(0, 1)


def test_loom_models_are_found_in_a_source_file() -> None:
    source = """mod tests {
    #[test]
    fn loom_wake_against_sleep() { loom::model(|| {}); }
    #[test]
    fn bounded() { let mut b = loom::model::Builder::new(); b.check(|| {}); }
    #[test]
    fn ordinary() { assert!(true); }
}
mod helpers {
    fn run() { loom::model(|| {}); }
}
"""
    assert loom_orphans.models(source) == ["loom_wake_against_sleep", "bounded"]
