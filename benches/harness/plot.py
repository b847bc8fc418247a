"""Plots as SVG without a library: for a suite a row for each workload, a dot for each candidate, the peer at 1; for a curve
a line for each candidate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

ROW, LABEL, WIDTH, TOP, BOTTOM = 22, 300, 900, 64, 36
OURS, PEER = "#c0392b", "#555555"
OTHERS = ("#2980b9", "#27ae60", "#8e44ad", "#d68910")


@dataclass(frozen=True)
class Row:
    """A workload and each candidate's ratio to the peer (above 1: better than the peer)."""

    label: str
    ratios: Mapping[str, float]


def dot_plot(title: str, ours: str, peer: str, rows: Sequence[Row]) -> str:
    candidates = list(dict.fromkeys(name for row in rows for name in row.ratios))
    colours = colours_of(candidates, ours, peer)
    values = [ratio for row in rows for ratio in row.ratios.values()] + [0.5, 2.0]
    low, high = math.floor(math.log2(min(values))), math.ceil(math.log2(max(values)))
    height = TOP + ROW * len(rows) + BOTTOM
    # Labels need room: of a wide range only each second or third doubling has one.
    step = math.ceil((high - low) / 14)

    def x(ratio: float) -> float:
        return LABEL + (math.log2(ratio) - low) / (high - low) * (WIDTH - LABEL - 24)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="12" y="22" font-size="15">{escape(title)}: how many times better than {escape(peer)}</text>',
    ]
    for i, name in enumerate(candidates):
        left = 12 + i * 130
        out.append(f'<circle cx="{left + 6}" cy="42" r="5" fill="{colours[name]}"/>')
        out.append(f'<text x="{left + 16}" y="46">{escape(name)}</text>')
    for power in range(low, high + 1):
        at = x(2.0**power)
        strong = power == 0
        out.append(
            f'<line x1="{at:.1f}" y1="{TOP - 6}" x2="{at:.1f}" y2="{height - BOTTOM + 4}" '
            f'stroke="{"#333" if strong else "#ddd"}" stroke-width="{1.5 if strong else 1}"/>'
        )
        if power % step == 0:
            label = f"{2**power:g}" if power >= 0 else f"1/{2**-power:g}"
            out.append(f'<text x="{at:.1f}" y="{height - 14}" text-anchor="middle" fill="#555">{label}</text>')
    for i, row in enumerate(rows):
        y = TOP + ROW * i + ROW / 2
        out.append(f'<text x="{LABEL - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(row.label)}</text>')
        # Ours is drawn last, so that it is on top.
        for name in sorted(row.ratios, key=lambda name: name == ours):
            radius = 5.5 if name == ours else 4
            out.append(f'<circle cx="{x(row.ratios[name]):.1f}" cy="{y:.1f}" r="{radius}" fill="{colours[name]}"/>')
    out.append("</svg>\n")
    return "\n".join(out)


def colours_of(candidates: Sequence[str], ours: str, peer: str) -> dict[str, str]:
    colours = {ours: OURS, peer: PEER}
    for name in candidates:
        colours.setdefault(name, OTHERS[(len(colours) - 2) % len(OTHERS)])
    return colours


def curve_plot(
    title: str, axis: str, unit: str, ours: str, peer: str, points: Mapping[str, Mapping[int, float]]
) -> str:
    """Sizes along the bottom and cost along the side, both by powers; a level line is what everybody hopes for."""
    left, right, top, bottom, height = 76, 24, 64, 52, 380
    sizes = sorted({size for by_size in points.values() for size in by_size})
    values = [value for by_size in points.values() for value in by_size.values() if value > 0]
    colours = colours_of(list(points), ours, peer)
    low, high = math.floor(math.log2(min(values))), math.ceil(math.log2(max(values)))
    # At least four doublings, so that noise does not look like growth.
    spare = max(0, 4 - (high - low))
    low, high = low - spare // 2, high + (spare + 1) // 2
    first, last = math.log(sizes[0]), math.log(sizes[-1])

    def x(size: int) -> float:
        return left + (math.log(size) - first) / (last - first or 1) * (WIDTH - left - right)

    def y(value: float) -> float:
        return height - bottom - (math.log2(value) - low) / (high - low) * (height - top - bottom)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="12" y="22" font-size="15">{escape(title)}, {escape(unit)}</text>',
    ]
    for i, name in enumerate(points):
        at = 12 + i * 130
        out.append(f'<circle cx="{at + 6}" cy="42" r="5" fill="{colours[name]}"/>')
        out.append(f'<text x="{at + 16}" y="46">{escape(name)}</text>')
    for power in range(low, high + 1):
        at_y = y(2.0**power)
        out.append(f'<line x1="{left}" y1="{at_y:.1f}" x2="{WIDTH - right}" y2="{at_y:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{left - 8}" y="{at_y + 4:.1f}" text-anchor="end" fill="#555">{2.0**power:,g}</text>')
    for size in sizes:
        out.append(f'<line x1="{x(size):.1f}" y1="{top}" x2="{x(size):.1f}" y2="{height - bottom}" stroke="#eee"/>')
        anchor = "end" if size == sizes[-1] else "middle"
        out.append(
            f'<text x="{x(size):.1f}" y="{height - bottom + 18}" text-anchor="{anchor}" fill="#555">{size:,}</text>'
        )
    out.append(f'<text x="{WIDTH / 2}" y="{height - 12}" text-anchor="middle">{escape(axis)}</text>')
    # Ours is drawn last, so that it is on top.
    for name in sorted(points, key=lambda name: name == ours):
        path = [(x(size), y(value)) for size, value in sorted(points[name].items()) if value > 0]
        width = 2.5 if name == ours else 1.5
        along = " ".join(f"{px:.1f},{py:.1f}" for px, py in path)
        out.append(f'<polyline points="{along}" fill="none" stroke="{colours[name]}" stroke-width="{width}"/>')
        for px, py in path:
            out.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{width + 1.5}" fill="{colours[name]}"/>')
    out.append("</svg>\n")
    return "\n".join(out)
