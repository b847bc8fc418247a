"""Writes the report: for each suite a table with the ratio to the named peer first, a plot, versions, failures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from .model import Curve, Suite, Workload
from .plot import Row, curve_plot, dot_plot
from .stats import Collected, Line, geometric_mean, linear_fit

#: What an item may cost among many, measured by what it costs among few.
GROWTH_TARGET = 1.5

INTRODUCTION = """\
# Results

Written by `make bench`; nothing here is edited by hand. Every candidate ran as a process of its own, in turns with its
peers (A B A B), {rounds} rounds; the figures are medians. A ratio says how many times better we are than the peer: above 1 we
are ahead, below 1 (bold) we are behind; in brackets are the least and the greatest ratio of a single round. What a workload
does, and how to run or add one, is in [README.md](README.md).

Machine: {machine}. Date: {date}.
"""


def write_report(suites: Sequence[Suite], collected: Collected, out: Path, plots: Path) -> None:
    """Writes `out` (Markdown) and one SVG for each suite into `plots`."""
    rounds = max(
        (len(r) for by in collected.lines.values() for line in by.values() for r in line.rounds.values()), default=0
    )
    parts = [
        INTRODUCTION.format(
            rounds=rounds, machine="; ".join(sorted(collected.machines)), date=max(collected.dates, default="?")[:10]
        )
    ]
    plots.mkdir(parents=True, exist_ok=True)
    for suite in suites:
        if suite.name not in collected.versions:
            continue
        if suite.curves:
            parts.append(curves_section(suite, collected, plots, out.parent))
            continue
        plot = None
        if suite.plotted and not suite.compact:
            file = plots / f"{suite.name}.svg"
            file.write_text(dot_plot(suite.title, suite.ours, suite.peer, plot_rows(suite, collected)))
            plot = file.relative_to(out.parent).as_posix()
        parts.append(suite_section(suite, collected, plot))
    out.write_text("\n".join(parts))


def suite_section(suite: Suite, collected: Collected, plot: str | None) -> str:
    candidates = _candidates(suite, collected)
    head = ["workload", "metric", f"against {suite.peer}", "against the best peer"]
    if not suite.compact:
        head += candidates
    rows = [row[: len(head)] for workload in suite.workloads for row in _rows(suite, workload, candidates, collected)]
    paragraphs = [_heading(suite, collected)]
    if suite.plotted:
        paragraphs.append(_summary(suite, collected))
    if plot:
        paragraphs.append(f"![Every candidate against {suite.peer}]({plot})")
    paragraphs += [_table(head, rows), *_failures(suite, collected)]
    return "\n\n".join(paragraphs) + "\n"


def curves_section(suite: Suite, collected: Collected, plots: Path, beside: Path) -> str:
    paragraphs = [_heading(suite, collected)]
    for curve in suite.curves:
        tables = []
        for metric in curve.metrics:
            points, unit = curve_points(suite, curve, metric, collected)
            if not points:
                continue
            file = plots / f"{suite.name}-{curve.name}-{metric.replace('_', '-')}.svg"
            title = f"{curve.about}: {metric.replace('_', ' ')}"
            file.write_text(curve_plot(title, curve.axis, unit, suite.ours, suite.peer, points))
            tables.append(f"![{title}]({file.relative_to(beside).as_posix()})")
            tables.append((_fitted_table if curve.linear else _curve_table)(curve, metric, points, unit))
        if tables:
            note = f" {curve.note}" if curve.note else ""
            paragraphs += [f"### {curve.name}", f"{curve.about}, by {curve.axis}.{note}", *tables]
    paragraphs += _failures(suite, collected)
    return "\n\n".join(paragraphs) + "\n"


def curve_points(
    suite: Suite, curve: Curve, metric: str, collected: Collected
) -> tuple[dict[str, dict[int, float]], str]:
    """Each candidate's medians by size, and their unit."""
    points: dict[str, dict[int, float]] = {}
    unit = ""
    for size in curve.sizes:
        line = collected.workload(suite.name, curve.workload(size)).get(metric, Line(""))
        unit = unit or line.unit
        for candidate in _candidates(suite, collected):
            if (median := line.median(candidate)) is not None:
                points.setdefault(candidate, {})[size] = median
    return points, unit


def _curve_table(curve: Curve, metric: str, points: dict[str, dict[int, float]], unit: str) -> str:
    """A line for each candidate. Growth is the cost at the top by the cost at the bottom; above the target it is bold."""
    head = [metric.replace("_", " "), *(f"{size:,}" for size in curve.sizes), "top / bottom"]
    rows = []
    for candidate, by_size in points.items():
        bottom, top = by_size[min(by_size)], by_size[max(by_size)]
        growth = f"{top / bottom:.2f}" if bottom else "-"
        if bottom and top / bottom > GROWTH_TARGET:
            growth = f"**{growth}**"
        cells = [quantity(by_size[size], unit) if size in by_size else "-" for size in curve.sizes]
        rows.append([candidate, *cells, growth])
    return _table(head, rows, left=1)


def _fitted_table(curve: Curve, metric: str, points: dict[str, dict[int, float]], unit: str) -> str:
    """Two lines for each candidate: what was measured, and the line through it."""
    head = [metric.replace("_", " "), *(f"{size:,}" for size in curve.sizes), "each", "and for each unit"]
    rows = []
    for candidate, by_size in points.items():
        rows.append([candidate, *(quantity(by_size[s], unit) if s in by_size else "-" for s in curve.sizes), "", ""])
        if fit := linear_fit(by_size):
            fixed, rate = fit
            line = (quantity(fixed + rate * size, unit) for size in curve.sizes)
            rows.append(["fitted", *line, quantity(fixed, unit), quantity(rate, unit)])
    return _table(head, rows, left=1)


def _candidates(suite: Suite, collected: Collected) -> list[str]:
    return [name for name in suite.versions if name in collected.versions[suite.name]]


def _heading(suite: Suite, collected: Collected) -> str:
    versions = collected.versions[suite.name]
    named = ", ".join(f"{name} {versions[name]}" for name in _candidates(suite, collected))
    return f"## {suite.title}\n\nCandidates: {named}.{' ' + suite.notes if suite.notes else ''}"


def _failures(suite: Suite, collected: Collected) -> list[str]:
    failures = [
        f"- {workload.name}, {candidate}: {reason}"
        for workload in suite.workloads
        for candidate, reason in collected.failures.get((suite.name, workload.name), {}).items()
    ]
    return ["Failed:\n\n" + "\n".join(failures)] if failures else []


def _headlines(suite: Suite, collected: Collected) -> list[tuple[Workload, Line]]:
    return [
        (workload, line)
        for workload in suite.workloads
        if (line := collected.workload(suite.name, workload.name).get(workload.metrics[0])) is not None
    ]


def plot_rows(suite: Suite, collected: Collected) -> list[Row]:
    return [
        Row(
            f"{workload.name} ({workload.metrics[0].replace('_', ' ')})",
            {name: r for name in line.rounds if 0 < (r := line.ratio(name, suite.peer) or 0) < math.inf},
        )
        for workload, line in _headlines(suite, collected)
    ]


def _summary(suite: Suite, collected: Collected) -> str:
    ratios = {
        workload.name: r
        for workload, line in _headlines(suite, collected)
        if (r := line.ratio(suite.ours, suite.peer)) is not None
    }
    mean = geometric_mean(ratios.values())
    if mean is None:
        return f"No workload has a result of both {suite.ours} and {suite.peer}."
    summary = f"Against {suite.peer}, by the first metric of each workload: {_standing(ratios)}."
    others = suite.versions.keys() - {suite.ours, suite.peer, *suite.ceilings}
    if others:
        best = {
            workload.name: r
            for workload, line in _headlines(suite, collected)
            if (peer := line.best_peer({suite.ours, *suite.ceilings})) is not None
            and (r := line.ratio(suite.ours, peer)) is not None
        }
        summary += f" Against the best peer on each line: {_standing(best)}."
    return summary


def _standing(ratios: dict[str, float]) -> str:
    behind = [name for name, r in ratios.items() if r < 1]
    mean = geometric_mean(ratios.values())
    return (
        f"geometric mean {mean or 0:.2f} over {len(ratios)} workloads, "
        f"ahead on {len(ratios) - len(behind)}, behind on {len(behind)}{': ' + ', '.join(behind) if behind else ''}"
    )


def _rows(suite: Suite, workload: Workload, candidates: list[str], collected: Collected) -> list[list[str]]:
    failed = collected.failures.get((suite.name, workload.name), {})
    lines = collected.workload(suite.name, workload.name)
    if not lines and not failed:
        return []
    rows = []
    for metric in workload.metrics[:1] if suite.compact else workload.metrics:
        line = lines.get(metric, Line(""))
        best = line.best_peer({suite.ours, *suite.ceilings})
        cells = [workload.name, metric.replace("_", " "), _ratio(line, suite.ours, suite.peer)]
        cells.append(f"{_times(line.ratio(suite.ours, best))} ({best})" if best else "-")
        for candidate in candidates:
            median = line.median(candidate)
            if median is not None:
                cells.append(quantity(median, line.unit))
            else:
                cells.append("failed" if candidate in failed else "-")
        rows.append(cells)
    return rows


def _times(value: float | None) -> str:
    if value is None:
        return "-"
    shown = "∞" if value == math.inf else f"{value:.2f}"
    return f"**{shown}**" if value < 1 else shown


def _ratio(line: Line, ours: str, peer: str) -> str:
    span = line.ratio_range(ours, peer)
    if span is None or span[0] == span[1] or span[1] == math.inf:
        return _times(line.ratio(ours, peer))
    return _times(line.ratio(ours, peer)) + f" ({span[0]:.2f} to {span[1]:.2f})"


def quantity(value: float, unit: str) -> str:
    """Three significant digits and the unit; thousands are grouped."""
    if value >= 1000:
        return f"{value:,.0f} {unit}"
    return f"{value:.3g} {unit}"


def _table(head: list[str], rows: list[list[str]], left: int = 2) -> str:
    """The first columns are words, the others figures."""
    rules = ["---"] * left + ["---:"] * (len(head) - left)
    lines = ["| " + " | ".join(cells) + " |" for cells in [head, rules, *rows]]
    return "\n".join(lines)
