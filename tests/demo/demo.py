"""The main job, on real input (`make demo`): a C file server, its Python and Node clients, and an embedded loop.

Serves the project's own tree with the C example, lets each client fetch every file over 100 connections and compare
every byte with the disk, then runs the program that embeds a loop in a plain poll(2) host. Prints one table; exit
status 1 if a byte differs or a part fails. The server is ended on every path.

Python's standard library only: the clients bring their own packages.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUILT = ROOT / "build"
CONNECTIONS = 100
#: Seconds for one part. All of them together need less than half of it on two cores.
TIMEOUT = 50.0
#: What is no part of the tree; the clients know the same names.
LEFT_OUT = {".git", "target", "build", "node_modules", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"}


class PartFailed(Exception):
    """A part of the demonstration did not do its job; the message is for the table's foot."""


@dataclass(frozen=True)
class Report:
    """What a client wrote into its --json file."""

    language: str
    requests: int
    bytes: int
    seconds: float
    p50_ms: float
    p99_ms: float
    mismatches: int


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs the demonstration; see `make demo`.")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has libruntime and aiohttp")
    parser.add_argument("--node", default="node")
    options = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so that the server is ended then, too
    reports: list[Report] = []
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="demo-", dir=BUILT) as scratch:
        tree = Path(scratch) / "tree"
        files = plant_tree(tree)
        print(f"serving {files:,} files over HTTP, {CONNECTIONS} connections for each client", flush=True)
        try:
            with file_server(tree) as port:
                for language, argv in clients(options, port, tree):
                    try:
                        reports.append(run_client(language, argv, Path(scratch) / f"{language}.json", files))
                    except PartFailed as failure:
                        failures.append(str(failure))
        except PartFailed as failure:
            failures.append(str(failure))
    embedded = run_embedding(failures)

    print_table(reports)
    if embedded:
        print(f"C: a poll(2) host embedded a loop with a timer, a socket and a wake from another thread ({embedded})")
    failures += [f"{report.language}: {report.mismatches} files differ" for report in reports if report.mismatches]
    for reason in failures:
        print(f"FAILED {reason}")
    return 1 if failures else 0


def plant_tree(tree: Path) -> int:
    """Links every file of the project into `tree`, which has to be on the same file system; returns how many.

    Sources alone are few and small, so the libraries just built and the installed Python packages come with them.
    """
    sources = {path: tree / path.relative_to(ROOT) for path in walk(ROOT)}
    for name in ("libruntime.a", "libruntime.so"):  # not libruntime.so.0, which is a link
        if (library := ROOT / "target" / "release" / name).exists():
            sources[library] = tree / "lib" / name
    packages = Path(sysconfig.get_path("purelib"))
    sources |= {path: tree / "packages" / path.relative_to(packages) for path in walk(packages)}
    for source, target in sources.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)
    return len(sources)


def walk(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.is_symlink() or entry.name in LEFT_OUT:
            continue
        if entry.is_dir():
            yield from walk(entry)
        elif entry.is_file():
            yield entry


def clients(options: argparse.Namespace, port: int, tree: Path) -> list[tuple[str, list[str]]]:
    common = ["--dir", str(tree), "--connections", str(CONNECTIONS)]
    examples = ROOT / "examples"
    python = [options.python, str(examples / "python" / "fetch_tree.py"), "--base", f"http://127.0.0.1:{port}"]
    node = [options.node, str(examples / "node" / "fetch_tree.js"), "--host", "127.0.0.1", "--port", str(port)]
    return [("Python", [*python, *common]), ("Node", [*node, *common])]


@contextmanager
def file_server(tree: Path) -> Iterator[int]:
    """The C server; yields its port. It is killed and waited for however the block is left."""
    argv = [str(BUILT / "c" / "http_files"), str(tree), "--port", "0"]
    try:
        server = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    except OSError as error:
        raise PartFailed(f"http_files: {error}") from error
    try:
        yield listening_port(server)
        if (status := server.poll()) is not None:
            raise PartFailed(f"http_files: ended by itself with status {status}")
    finally:
        server.kill()
        server.wait()


def listening_port(server: subprocess.Popen[str]) -> int:
    assert server.stdout is not None
    ready, _, _ = select.select([server.stdout], [], [], 10)
    line = server.stdout.readline() if ready else ""
    if not line.startswith("listening "):
        raise PartFailed(f"http_files: did not start listening (said {line.strip()!r})")
    return int(line.rpartition(":")[2])


def run(part: str, argv: Sequence[str]) -> str:
    """Runs one part to its end and returns what it printed."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise PartFailed(f"{part}: no end within {TIMEOUT:.0f} s") from error
    except OSError as error:
        raise PartFailed(f"{part}: {error}") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "(nothing)").splitlines()[-1]
        raise PartFailed(f"{part}: exit status {done.returncode}: {said}")
    return done.stdout


def run_client(language: str, argv: list[str], out: Path, files: int) -> Report:
    # A client that finds differences may say so by its exit status as well: its report is read in any case.
    failure: PartFailed | None = None
    try:
        run(language, [*argv, "--json", str(out)])
    except PartFailed as caught:
        failure = caught
    try:
        fields = json.loads(out.read_text())
        report = Report(
            language=language,
            requests=int(fields["requests"]),
            bytes=int(fields["bytes"]),
            seconds=float(fields["seconds"]),
            p50_ms=float(fields["p50_ms"]),
            p99_ms=float(fields["p99_ms"]),
            mismatches=int(fields["mismatches"]),
        )
    except (OSError, ValueError, KeyError) as error:
        raise failure or PartFailed(f"{language}: no readable report ({error!r})") from error
    if failure and not report.mismatches:
        raise failure
    if report.requests < files:
        raise PartFailed(f"{language}: {report.requests} requests for {files} files")
    return report


def run_embedding(failures: list[str]) -> str:
    """Runs the embedding example; returns how long it took, or nothing after a failure."""
    began = time.monotonic()
    try:
        run("embed_poll", [str(BUILT / "c" / "embed_poll")])
    except PartFailed as failure:
        failures.append(str(failure))
        return ""
    return f"{(time.monotonic() - began) * 1e3:.0f} ms"


def print_table(reports: list[Report]) -> None:
    head = ["language", "requests", "bytes checked", "requests/s", "p50", "p99", "mismatches"]
    rows = [
        [
            report.language,
            f"{report.requests:,}",
            f"{report.bytes:,}",
            f"{report.requests / report.seconds:,.0f}",
            f"{report.p50_ms:.2f} ms",
            f"{report.p99_ms:.2f} ms",
            str(report.mismatches),
        ]
        for report in reports
    ]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    print()
    for row in [head, ["-" * width for width in widths], *rows]:
        print(
            "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
            )
        )
    print()


if __name__ == "__main__":
    sys.exit(main())
