"""Runs suites: for each workload the candidates take turns (A B A B), one process each, round after round."""

from __future__ import annotations

import datetime
import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from .model import Measure, Program, Result, Suite, Workload
from .process import Failed

#: Failures of a candidate after which its further rounds of a workload are left out.
PATIENCE = 2

Measurer = Callable[[Program], list[Measure]]


def interleave(workloads: Iterable[Workload], rounds: int) -> Iterator[tuple[Workload, int, str]]:
    """The order of the processes: a workload's rounds are neighbours, and within a round each candidate runs once."""
    for workload in workloads:
        for number in range(min(rounds, workload.rounds or rounds)):
            for candidate in workload.programs:
                yield workload, number, candidate


def run_suite(suite: Suite, rounds: int, pattern: str, measurer: Measurer) -> Iterator[Result]:
    """Yields every result as it arrives. A failure becomes a result too, so that it shows in the report."""
    machine_name = machine()
    chosen = [workload for workload in suite.workloads if pattern in f"{suite.name}/{workload.name}"]
    failures: Counter[tuple[str, str]] = Counter()
    for workload, number, candidate in interleave(chosen, rounds):
        if failures[workload.name, candidate] == PATIENCE:
            continue
        error = ""
        measures: list[Measure | None]
        try:
            measures = [*measurer(workload.programs[candidate])]
        except Failed as failure:
            measures, error = [None], str(failure)
            failures[workload.name, candidate] += 1
        for measure in measures:
            yield Result(
                suite=suite.name,
                workload=workload.name,
                candidate=candidate,
                version=suite.versions.get(candidate, "?"),
                metric=measure.metric if measure else "failed",
                value=measure.value if measure else None,
                unit=measure.unit if measure else "",
                round=number,
                machine=machine_name,
                date=now(),
                error=error,
            )


def names(suites: Sequence[Suite], pattern: str) -> list[str]:
    """`suite/workload` of everything that the pattern chooses."""
    return [
        name for suite in suites for workload in suite.workloads if pattern in (name := f"{suite.name}/{workload.name}")
    ]


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def machine() -> str:
    """The machine in one line: processor, cores, kernel. Neither names of hosts nor of users."""
    model = platform.machine()
    cores = 0
    try:
        with open("/proc/cpuinfo") as info:
            for line in info:
                key, _, value = line.partition(":")
                if key.strip() == "model name":
                    model = value.strip()
                cores += key.strip() == "processor"
    except OSError:
        pass
    return f"{model}, {cores or '?'} cores, {platform.system()} {platform.release()}"
