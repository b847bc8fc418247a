"""Writes the report: for each suite a table with the ratio to the named peer first, a plot, versions, failures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .model import Suite, Workload
from .plot import Row, dot_plot
from .stats import Collected, Line, geometric_mean

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
        plot = plots / f"{suite.name}.svg"
        plot.write_text(dot_plot(suite.title, suite.ours, suite.peer, plot_rows(suite, collected)))
        parts.append(suite_section(suite, collected, plot.relative_to(out.parent).as_posix()))
    out.write_text("\n".join(parts))


def suite_section(suite: Suite, collected: Collected, plot: str) -> str:
    versions = collected.versions[suite.name]
    candidates = [name for name in suite.versions if name in versions]
    head = ["workload", "metric", f"against {suite.peer}", "against the best peer", *candidates]
    rows = [row for workload in suite.workloads for row in _rows(suite, workload, candidates, collected)]
    paragraphs = [
        f"## {suite.title}",
        f"Candidates: {', '.join(f'{name} {versions[name]}' for name in candidates)}.{' ' + suite.notes if suite.notes else ''}",
        _summary(suite, collected),
        f"![Every candidate against {suite.peer}]({plot})",
        _table(head, rows),
    ]
    failures = [
        f"- {workload.name}, {candidate}: {reason}"
        for workload in suite.workloads
        for candidate, reason in collected.failures.get((suite.name, workload.name), {}).items()
    ]
    if failures:
        paragraphs.append("Failed:\n\n" + "\n".join(failures))
    return "\n\n".join(paragraphs) + "\n"


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
            {name: r for name in line.rounds if (r := line.ratio(name, suite.peer)) is not None},
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
    behind = [name for name, r in ratios.items() if r < 1]
    return (
        f"Against {suite.peer}, by the first metric of each workload: geometric mean {mean:.2f} over {len(ratios)} workloads, "
        f"ahead on {len(ratios) - len(behind)}, behind on {len(behind)}{': ' + ', '.join(behind) if behind else ''}."
    )


def _rows(suite: Suite, workload: Workload, candidates: list[str], collected: Collected) -> list[list[str]]:
    failed = collected.failures.get((suite.name, workload.name), {})
    lines = collected.workload(suite.name, workload.name)
    if not lines and not failed:
        return []
    rows = []
    for metric in workload.metrics:
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
    return f"**{value:.2f}**" if value < 1 else f"{value:.2f}"


def _ratio(line: Line, ours: str, peer: str) -> str:
    span = line.ratio_range(ours, peer)
    return _times(line.ratio(ours, peer)) + (f" ({span[0]:.2f} to {span[1]:.2f})" if span else "")


def quantity(value: float, unit: str) -> str:
    """Three significant digits and the unit; thousands are grouped."""
    if value >= 1000:
        return f"{value:,.0f} {unit}"
    return f"{value:.3g} {unit}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * 2 + ["---:"] * (len(head) - 2), *rows]]
    return "\n".join(lines)
