"""One plot for a suite, as SVG without a library: a row for each workload, a dot for each candidate, the peer at 1."""

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
    colours = {ours: OURS, peer: PEER}
    for name in candidates:
        colours.setdefault(name, OTHERS[(len(colours) - 2) % len(OTHERS)])
    values = [ratio for row in rows for ratio in row.ratios.values()] + [0.5, 2.0]
    low, high = math.floor(math.log2(min(values))), math.ceil(math.log2(max(values)))
    height = TOP + ROW * len(rows) + BOTTOM

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
        out.append(f'<text x="{at:.1f}" y="{height - 14}" text-anchor="middle" fill="#555">{2.0**power:g}</text>')
    for i, row in enumerate(rows):
        y = TOP + ROW * i + ROW / 2
        out.append(f'<text x="{LABEL - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(row.label)}</text>')
        # Ours is drawn last, so that it is on top.
        for name in sorted(row.ratios, key=lambda name: name == ours):
            radius = 5.5 if name == ours else 4
            out.append(f'<circle cx="{x(row.ratios[name]):.1f}" cy="{y:.1f}" r="{radius}" fill="{colours[name]}"/>')
    out.append("</svg>\n")
    return "\n".join(out)
