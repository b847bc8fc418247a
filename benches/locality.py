"""What one operation of the core workloads touches, by a simulated cache (`valgrind --tool=cachegrind`).

    benches/locality.py [--program PATH] [--workers N] [--workload NAME ...] [--runtime NAME ...]

Each workload runs twice with `bench-core --count`, with FEW and with MANY batches; the difference is free of what
starts and ends the program. Instructions, data references and misses are for one operation, and are those of the whole
process. The simulated caches are those of a common core, whatever the machine has: 32 KiB with 8 ways for data, 1 MiB
with 16 ways behind it. The simulator has one core, on which the threads take turns: so it shows what is touched, and not
what several cores take from each other.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHES = ("--I1=32768,8,64", "--D1=32768,8,64", "--LL=1048576,16,64")
FEW, MANY = 2, 6
WORKLOADS = ("yield", "spawn-join", "channel", "ping-pong")
RUNTIMES = ("libruntime", "tokio", "smol")
#: Of the summary's lines, by their names there: instructions, data references, misses of the first and last level.
LINES = ("I   refs", "D   refs", "D1  misses", "LLd misses")


def run(program: str, runtime: str, workload: str, workers: int, batches: int) -> tuple[float, list[int]]:
    """Operations, and the summary's figures."""
    command = ["valgrind", "--tool=cachegrind", "--cache-sim=yes", "--cachegrind-out-file=/dev/null", *CACHES]
    command += [program, "--runtime", runtime, "--workload", workload, "--workers", str(workers)]
    command += ["--count", "--batches", str(batches)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    operations = next(row["value"] for row in rows if row["metric"] == "operations")
    figures = []
    for line in LINES:
        found = re.search(rf"{line}:\s+([\d,]+)", done.stderr)
        if not found:
            raise SystemExit(f"no {line!r} in what cachegrind says:\n{done.stderr}")
        figures.append(int(found[1].replace(",", "")))
    return operations, figures


def main() -> None:
    parser = argparse.ArgumentParser(description="Cache misses of one operation; see the source.")
    parser.add_argument("--program", default=str(ROOT / "target" / "release" / "bench-core"))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--workload", nargs="+", default=WORKLOADS)
    parser.add_argument("--runtime", nargs="+", default=RUNTIMES)
    options = parser.parse_args()
    print("| workload | runtime | instructions | data references | D1 misses | LL misses |")
    print("|---|---|---|---|---|---|")
    for workload in options.workload:
        for runtime in options.runtime:
            few, base = run(options.program, runtime, workload, options.workers, FEW)
            many, all_of_it = run(options.program, runtime, workload, options.workers, MANY)
            of_one = [(now - before) / (many - few) for now, before in zip(all_of_it, base, strict=True)]
            print(
                f"| {workload} | {runtime} | {of_one[0]:.0f} | {of_one[1]:.0f} | {of_one[2]:.3f} | {of_one[3]:.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
