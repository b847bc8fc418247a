"""`python -m harness [SUITE ...] [--rounds N] [--filter TEXT] [--quick] [--out DIR]`: runs suites, writes the report.

Without --publish results and report go to the output folder only. A quick, filtered or partial run is never published.
What is published includes the last whole run of the suites that are only run when named.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from suites import APART, BENCHES, BUILT, NAMES, Settings, load_suites

from .model import Result, Suite
from .process import measure
from .report import write_report
from .run import names, run_suite
from .stats import Collected


def main() -> int:
    parser = argparse.ArgumentParser(prog="harness", description="Runs bench suites and writes their report.")
    parser.add_argument("suites", nargs="*", help="core, c, python, node, growth (default: all but growth)")
    parser.add_argument("--rounds", type=int, help="processes for each candidate and workload (default 5, quick 2)")
    parser.add_argument("--filter", default="", help="only workloads whose suite/name contains this text")
    parser.add_argument("--quick", action="store_true", help="short windows: to see that it works, not to measure")
    parser.add_argument("--list", action="store_true", help="name the chosen workloads and end")
    parser.add_argument("--out", type=Path, default=BUILT, help="folder for results and report")
    parser.add_argument("--publish", action="store_true", help="write benches/RESULTS.md and benches/plots/ as well")
    options = parser.parse_args()

    settings = Settings(quick=options.quick)
    modules = load_suites(options.suites, settings)
    suites = [suite for of_module in modules.values() for suite in of_module]
    chosen = names(suites, options.filter)
    if options.list:
        print("\n".join(chosen))
        return 0
    if not chosen:
        parser.error(f"no workload's name contains {options.filter!r}")
    whole = not (options.quick or options.filter)
    if options.publish and not (whole and set(modules) >= set(NAMES)):
        parser.error("only a full run (all suites, no filter, not quick) is published")

    rounds: int = options.rounds or (2 if options.quick else 5)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    collected = Collected()
    for module, of_module in modules.items():
        # A partial run must not take the place of a whole one, which may be published later.
        with (out / (f"{module}.jsonl" if whole else "partial.jsonl")).open("w") as file:
            run_module(of_module, rounds, options.filter, collected, file)

    write_report(suites, collected, out / "RESULTS.md", out / "plots")
    print((out / "RESULTS.md").read_text())
    if options.publish:
        kept = load_suites([name for name in APART if name not in modules], settings)
        for module, of_module in kept.items():
            suites += of_module
            for result in results_in(out / f"{module}.jsonl"):
                collected.add(result)
        write_report(suites, collected, BENCHES / "RESULTS.md", BENCHES / "plots")
    print(f"{len(chosen)} workloads, {rounds} rounds, {time.monotonic() - started:.0f} s; results in {out}")
    return 1 if collected.failures else 0


def run_module(suites: Sequence[Suite], rounds: int, pattern: str, collected: Collected, file: TextIO) -> None:
    """Runs the suites of a module and keeps every result at once, in memory and in the file."""
    load_generator = [str(BUILT / "load")]
    for suite in suites:
        headline = {workload.name: workload.metrics[0] for workload in suite.workloads}
        for result in run_suite(suite, rounds, pattern, lambda program: measure(program, load_generator)):
            collected.add(result)
            file.write(result.to_json() + "\n")
            file.flush()
            where = f"  {result.suite}/{result.workload}: {result.candidate}"
            if result.value is None:
                print(f"{where} failed: {result.error}", file=sys.stderr)
            elif result.round == 0 and result.metric == headline[result.workload]:
                print(f"{where} {result.value:.4g} {result.unit}", flush=True)


def results_in(file: Path) -> list[Result]:
    """The results that a run left behind, none if there was no run."""
    return [Result.from_json(line) for line in file.read_text().splitlines()] if file.exists() else []


if __name__ == "__main__":
    sys.exit(main())
