"""`python -m harness [SUITE ...] [--rounds N] [--filter TEXT] [--quick] [--out DIR]`: runs suites, writes the report.

Without --publish results and report go to the output folder only. A quick, filtered or partial run is never published.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from suites import BENCHES, BUILT, Settings, load_suites

from .process import measure
from .report import write_report
from .run import names, run_suite
from .stats import Collected


def main() -> int:
    parser = argparse.ArgumentParser(prog="harness", description="Runs bench suites and writes their report.")
    parser.add_argument("suites", nargs="*", help="core, c, python, node (default: all)")
    parser.add_argument("--rounds", type=int, help="processes for each candidate and workload (default 5, quick 2)")
    parser.add_argument("--filter", default="", help="only workloads whose suite/name contains this text")
    parser.add_argument("--quick", action="store_true", help="short windows: to see that it works, not to measure")
    parser.add_argument("--list", action="store_true", help="name the chosen workloads and end")
    parser.add_argument("--out", type=Path, default=BUILT, help="folder for results and report")
    parser.add_argument("--publish", action="store_true", help="write benches/RESULTS.md and benches/plots/ as well")
    options = parser.parse_args()

    settings = Settings(quick=options.quick)
    suites = load_suites(options.suites, settings)
    chosen = names(suites, options.filter)
    if options.list:
        print("\n".join(chosen))
        return 0
    if not chosen:
        parser.error(f"no workload's name contains {options.filter!r}")
    if options.publish and (options.quick or options.filter or options.suites):
        parser.error("only a full run (all suites, no filter, not quick) is published")

    rounds: int = options.rounds or (2 if options.quick else 5)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    collected = Collected()
    started = time.monotonic()
    load_generator = [str(BUILT / "load")]
    with (out / "results.jsonl").open("w") as file:
        for suite in suites:
            headline = {workload.name: workload.metrics[0] for workload in suite.workloads}
            for result in run_suite(suite, rounds, options.filter, lambda program: measure(program, load_generator)):
                collected.add(result)
                file.write(result.to_json() + "\n")
                file.flush()
                if result.value is None:
                    print(
                        f"  {result.suite}/{result.workload}: {result.candidate} failed: {result.error}",
                        file=sys.stderr,
                    )
                elif result.round == 0 and result.metric == headline[result.workload]:
                    print(
                        f"  {result.suite}/{result.workload}: {result.candidate} {result.value:.4g} {result.unit}",
                        flush=True,
                    )

    write_report(suites, collected, out / "RESULTS.md", out / "plots")
    print((out / "RESULTS.md").read_text())
    if options.publish:
        write_report(suites, collected, BENCHES / "RESULTS.md", BENCHES / "plots")
    print(
        f"{len(chosen)} workloads, {rounds} rounds, {time.monotonic() - started:.0f} s; results in {out / 'results.jsonl'}"
    )
    return 1 if collected.failures else 0


if __name__ == "__main__":
    sys.exit(main())
