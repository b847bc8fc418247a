"""The arithmetic of a report: medians over rounds, ratios to a peer, the geometric mean of ratios."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .model import Result, higher_is_better


@dataclass
class Line:
    """All that is known of one metric of one workload: the values of each round by candidate."""

    unit: str
    rounds: dict[str, dict[int, float]] = field(default_factory=dict)

    def median(self, candidate: str) -> float | None:
        values = self.rounds.get(candidate)
        return statistics.median(values.values()) if values else None

    def ratio(self, candidate: str, peer: str) -> float | None:
        """How many times better the candidate's median is: above 1 the candidate is ahead of the peer."""
        return ratio(self.median(candidate), self.median(peer), self.unit)

    def ratio_range(self, candidate: str, peer: str) -> tuple[float, float] | None:
        """Least and greatest ratio of any one round: the noise of the machine at a glance."""
        ours, theirs = self.rounds.get(candidate, {}), self.rounds.get(peer, {})
        ratios = [r for n in ours if n in theirs and (r := ratio(ours[n], theirs[n], self.unit)) is not None]
        return (min(ratios), max(ratios)) if ratios else None

    def best_peer(self, others_than: Iterable[str]) -> str | None:
        """The best candidate but those named."""
        names = self.rounds.keys() - set(others_than)
        medians = {name: m for name in sorted(names) if (m := self.median(name)) is not None}
        if not medians:
            return None
        choose = max if higher_is_better(self.unit) else min
        return choose(medians, key=lambda name: medians[name])


def ratio(ours: float | None, theirs: float | None, unit: str) -> float | None:
    """Nothing against nothing is level; against nothing, something is infinitely better or worse (0)."""
    if ours is None or theirs is None:
        return None
    best, other = (ours, theirs) if higher_is_better(unit) else (theirs, ours)
    if best == other:
        return 1.0
    return best / other if other else math.inf


def geometric_mean(values: Iterable[float]) -> float | None:
    """Of what has a logarithm: a ratio to or of nothing has none."""
    logs = [math.log(value) for value in values if 0 < value < math.inf]
    return math.exp(sum(logs) / len(logs)) if logs else None


@dataclass
class Collected:
    """Results by (suite, workload): lines by metric, and the failures by candidate."""

    lines: dict[tuple[str, str], dict[str, Line]] = field(default_factory=dict)
    failures: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    machines: set[str] = field(default_factory=set)
    dates: list[str] = field(default_factory=list)

    def workload(self, suite: str, name: str) -> Mapping[str, Line]:
        return self.lines.get((suite, name), {})

    def add(self, result: Result) -> None:
        self.machines.add(result.machine)
        self.dates.append(result.date)
        self.versions.setdefault(result.suite, {})[result.candidate] = result.version
        key = (result.suite, result.workload)
        if result.value is None:
            self.failures.setdefault(key, {})[result.candidate] = result.error
            return
        line = self.lines.setdefault(key, {}).setdefault(result.metric, Line(result.unit))
        line.rounds.setdefault(result.candidate, {})[result.round] = result.value


def collect(results: Iterable[Result]) -> Collected:
    collected = Collected()
    for result in results:
        collected.add(result)
    return collected


def linear_fit(points: Mapping[int, float]) -> tuple[float, float] | None:
    """The `a` and `b` for which `a + b * size` is least wrong, by the sum of the squares of its relative errors; `a` is not below
    zero. None with fewer than two sizes, or if something cost nothing."""
    if len(points) < 2 or min(points.values()) <= 0:
        return None
    # By 1 / cost, every point is to be 1: a plain regression without a constant, in two variables.
    rows = [(1 / cost, size / cost) for size, cost in points.items()]
    aa, ab, bb = (sum(x[i] * x[j] for x in rows) for i, j in ((0, 0), (0, 1), (1, 1)))
    a, b = (sum(x[i] for x in rows) for i in (0, 1))
    fixed = (a * bb - b * ab) / (aa * bb - ab * ab)
    return (fixed, (b * aa - a * ab) / (aa * bb - ab * ab)) if fixed >= 0 else (0.0, b / bb)
