"""The driver of the demonstration, with stand-ins for its programs: what fails is named, and the server always ends."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

DRIVER = Path(__file__).resolve().parent.parent / "demo" / "demo.py"
REPORT = '{"language": "x", "requests": 2, "bytes": 9, "seconds": 0.5, "p50_ms": 1.25, "p99_ms": 2.5, "mismatches": %d}'
CLIENT = """
import sys
open(sys.argv[sys.argv.index("--json") + 1], "w").write('{report}')
sys.exit({status})
"""
SERVER = """#!{python}
import os, time
open({pid!r}, "w").write(str(os.getpid()))
print("listening 127.0.0.1:4711", flush=True)
time.sleep(600)
"""


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The driver on a project of two files in which everything works."""
    spec = importlib.util.spec_from_file_location("demo", DRIVER)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["demo"] = module
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "BUILT", tmp_path / "build")
    monkeypatch.setattr(module, "TIMEOUT", 20.0)
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path / "no packages"))
    (tmp_path / "no packages").mkdir()
    monkeypatch.setattr(sys, "argv", ["demo", "--python", sys.executable, "--node", sys.executable])
    for language in ("python", "node"):
        (tmp_path / "examples" / language).mkdir(parents=True)
    program(
        tmp_path / "build" / "c" / "http_files",
        SERVER.format(python=sys.executable, pid=str(tmp_path / "build" / "pid")),
    )
    program(tmp_path / "build" / "c" / "embed_poll", f"#!{sys.executable}\n")
    client(tmp_path, "python/fetch_tree.py")
    client(tmp_path, "node/fetch_tree.js")
    return module


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def client(root: Path, name: str, mismatches: int = 0, status: int = 0) -> None:
    (root / "examples" / name).write_text(CLIENT.format(report=REPORT % mismatches, status=status))


def assert_server_ended(root: Path) -> None:
    assert not Path(f"/proc/{(root / 'build' / 'pid').read_text()}").exists()


def test_a_good_run_prints_a_row_for_each_client(demo: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main() == 0
    printed = capsys.readouterr().out
    assert "serving 2 files" in printed
    rows = [line.split() for line in printed.splitlines() if line.startswith(("Python", "Node"))]
    assert rows == [[name, "2", "9", "4", "1.25", "ms", "2.50", "ms", "0"] for name in ("Python", "Node")]
    assert "C: a poll(2) host embedded a loop" in printed
    assert_server_ended(tmp_path)


@pytest.mark.parametrize("status", [0, 1], ids=["silently", "by its exit status"])
def test_a_mismatch_fails(demo: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int) -> None:
    client(tmp_path, "node/fetch_tree.js", mismatches=1, status=status)
    assert demo.main() == 1
    assert "FAILED Node: 1 files differ" in capsys.readouterr().out
    assert_server_ended(tmp_path)


def test_a_client_that_breaks_is_named_and_the_other_still_runs(
    demo: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "examples" / "python" / "fetch_tree.py").write_text("import sys; sys.exit('no connection')")
    assert demo.main() == 1
    printed = capsys.readouterr().out
    assert "FAILED Python: exit status 1: no connection" in printed
    assert any(line.startswith("Node ") for line in printed.splitlines())
    assert_server_ended(tmp_path)


def test_a_client_that_skips_files_fails(demo: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "third-file").touch()
    assert demo.main() == 1
    assert "FAILED Python: 2 requests for 3 files" in capsys.readouterr().out


def test_a_client_that_hangs_is_ended(
    demo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "TIMEOUT", 0.5)
    (tmp_path / "examples" / "node" / "fetch_tree.js").write_text("import time; time.sleep(60)")
    assert demo.main() == 1
    assert "FAILED Node: no end within" in capsys.readouterr().out
    assert_server_ended(tmp_path)


def test_a_server_that_does_not_start_fails(demo: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program(tmp_path / "build" / "c" / "http_files", "#!/bin/sh\necho no port\n")
    assert demo.main() == 1
    assert "FAILED http_files: did not start listening (said 'no port')" in capsys.readouterr().out


def test_an_embedding_host_that_fails_is_named(demo: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program(tmp_path / "build" / "c" / "embed_poll", "#!/bin/sh\necho the timer did not fire >&2; exit 3\n")
    assert demo.main() == 1
    assert "FAILED embed_poll: exit status 3: the timer did not fire" in capsys.readouterr().out
