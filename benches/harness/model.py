"""What a suite is made of, and what one result looks like.

A workload is declared once, with a program for each candidate. A program is a process of its own for every
round: either a `Batch`, which prints its results and ends, or a `Server`, which the load generator talks to, or one of the
two `Traced`, whose system calls are counted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Batch:
    """A process that does the work, prints one JSON object for each metric and ends."""

    argv: tuple[str, ...]
    env: Mapping[str, str] | None = None
    timeout: float | None = None


@dataclass(frozen=True)
class Server:
    """A process that prints `listening HOST:PORT` and serves until it is killed; `load` are the generator's options."""

    argv: tuple[str, ...]
    load: tuple[str, ...]
    env: Mapping[str, str] | None = None
    timeout: float | None = None


@dataclass(frozen=True)
class Traced:
    """A program below `strace -c -f`: each kind of system call becomes a metric, divided by the metric `per` of the program
    (or the load generator), which counts operations. Times measured meanwhile mean nothing."""

    program: Batch | Server
    per: str


Program = Batch | Server | Traced


@dataclass(frozen=True)
class Workload:
    """One line of a report: what is done, by whom, and which of the printed metrics count.

    The first metric is the headline: it enters the suite's geometric mean and its plot.
    """

    name: str
    about: str
    metrics: tuple[str, ...]
    programs: Mapping[str, Program]
    #: At most so many rounds; None: as many as the run has.
    rounds: int | None = None


@dataclass(frozen=True)
class Curve:
    """One metric of one item against the number of items. The workload of a size is named `name@size`."""

    name: str
    about: str
    axis: str
    metrics: tuple[str, ...]
    sizes: tuple[int, ...]
    #: What to say of the sizes, if not all were possible.
    note: str = ""
    #: The curve whose workloads this one shows another side of.
    of: str = ""
    #: What an item costs is so much, and so much more for each unit of its size: the report shows the two that fit best, and what
    #: they make of each size beside what was measured.
    linear: bool = False

    def workload(self, size: int) -> str:
        return f"{self.of or self.name}@{size}"


@dataclass(frozen=True)
class Suite:
    """Workloads that share their candidates: ours, the peer that ratios are formed with, and the others.

    Ceilings are shown, but no peers: they say what the machine would allow without a library.
    """

    name: str
    title: str
    ours: str
    peer: str
    versions: Mapping[str, str]
    workloads: tuple[Workload, ...]
    notes: str = ""
    ceilings: frozenset[str] = frozenset()
    #: Ratios of the first metrics only, and no plot: for a second look at workloads that another suite has in full.
    compact: bool = False
    #: Whether the first metrics can be summed up in a mean and a plot.
    plotted: bool = True
    #: If there are any, the report shows the curves instead of a line for each workload.
    curves: tuple[Curve, ...] = ()


@dataclass(frozen=True)
class Measure:
    """One metric as a program printed it. The unit tells the direction (`higher_is_better`)."""

    metric: str
    value: float
    unit: str


def higher_is_better(unit: str) -> bool:
    """Rates are better when higher; times, CPU and bytes when lower."""
    return unit.endswith("/s")


@dataclass(frozen=True)
class Result:
    """One line of the results file: a measure, or the reason why a candidate failed (then `value` is None)."""

    suite: str
    workload: str
    candidate: str
    version: str
    metric: str
    value: float | None
    unit: str
    round: int
    machine: str
    date: str
    error: str = ""

    def to_json(self) -> str:
        fields = asdict(self)
        if not self.error:
            del fields["error"]
        return json.dumps(fields)

    @staticmethod
    def from_json(line: str) -> Result:
        return Result(**json.loads(line))


def parse_measures(output: str) -> list[Measure]:
    """The JSON lines of a program's output; whatever else it printed is passed over."""
    measures = []
    for line in output.splitlines():
        if line.startswith("{"):
            fields: dict[str, Any] = json.loads(line)
            measures.append(Measure(str(fields["metric"]), float(fields["value"]), str(fields["unit"])))
    return measures
