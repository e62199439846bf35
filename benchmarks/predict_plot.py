"""The picture of predictions: predicted against measured joules a token, with 90% intervals, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from lightbulb.predicting.calibration import Residual

WIDTH, HEIGHT, LEFT, TOP, SIDE = 900, 640, 70, 60, 520  # the square of the plot begins at LEFT, TOP
COLOURS = {
    "batches": "#0969da", "several devices": "#8250df", "desktops": "#bf3989", "eager, one at a time": "#57606a",
    "Apple machines": "#d4a017", "CPUs": "#1a7f37", "boards": "#bc4c00", "chips": "#cf222e",
}  # fmt: skip
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f; } .small { font-size: 12px; fill: #57606a; }
.strong { font-size: 15px; font-weight: 600; } .grid { stroke: #d0d7de; } .equal { stroke: #24292f; }
.back { fill: #ffffff; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .small { fill: #9198a1; } .grid { stroke: #3d444d; } .equal { stroke: #e6edf3; }
  .back { fill: #0d1117; }
}
"""


def picture(residuals: Sequence[Residual]) -> str:
    """The SVG of rows whose joules were published."""
    shown = [r for r in residuals if r.row.joules]
    ends = [x for r in shown for x in (r.row.joules or 1.0, *interval(r))]
    low, high = math.log10(min(ends)) - 0.1, math.log10(max(ends)) + 0.1
    inside = sum(bool(r.joules_inside) for r in shown)

    def place(joules: float) -> float:
        """Of 0 to SIDE."""
        return SIDE * (math.log10(joules) - low) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'role="img" aria-label="Predicted against measured joules a token">',
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{HEIGHT}"/>',
        text(10, 24, "Joules a written token: predicted without the source, against measured", "strong"),
        text(10, 44, f"{len(shown)} published rows; bars are 90% intervals, {inside} hold what was measured", "small"),
        *grid(low, high),
    ]
    for r in shown:
        parts += point(r, place)
    return "\n".join([*parts, *legend(shown), "</svg>\n"])


def interval(r: Residual) -> tuple[float, float]:
    return r.joules * math.exp(-r.joules_width), r.joules * math.exp(r.joules_width)


def grid(low: float, high: float) -> list[str]:
    """Lines at every power of ten, the diagonal, and what the axes are."""
    bottom, found = TOP + SIDE, []
    for power in range(math.ceil(low), math.floor(high) + 1):
        at, label = SIDE * (power - low) / (high - low), f"{10.0**power:g}"
        found += [
            f'<path class="grid" d="M{LEFT + at:.1f} {TOP}v{SIDE}M{LEFT} {bottom - at:.1f}h{SIDE}"/>',
            text(LEFT + at, bottom + 18, label, "small", "middle"),
            text(LEFT - 8, bottom - at + 4, label, "small", "end"),
        ]
    return [
        f'<rect class="grid" fill="none" x="{LEFT}" y="{TOP}" width="{SIDE}" height="{SIDE}"/>',
        *found,
        f'<path class="equal" d="M{LEFT} {bottom}L{LEFT + SIDE} {TOP}"/>',
        text(LEFT + SIDE / 2, bottom + 40, "measured, J", "", "middle"),
        f'<text transform="translate(18 {TOP + SIDE / 2}) rotate(-90)" text-anchor="middle">predicted, J</text>',
    ]


def point(r: Residual, place) -> list[str]:
    x, y = LEFT + place(r.row.joules), TOP + SIDE - place(r.joules)
    low, high = (TOP + SIDE - place(end) for end in interval(r))
    colour = COLOURS[r.row.kind]
    filling = f'fill="{colour}"' if r.joules_inside else f'fill="none" stroke="{colour}" stroke-width="2"'
    return [
        f'<path stroke="{colour}" stroke-opacity="0.45" d="M{x:.1f} {low:.1f}V{high:.1f}"/>',
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" {filling}>'
        f"<title>{escape(f'{r.row.source}: {r.row.name}')}</title></circle>",
    ]


def legend(shown: Sequence[Residual]) -> list[str]:
    """Colours of the kinds that there are, how many rows each has, and what a hollow point is."""
    found, y = [], TOP + 20
    for kind, colour in COLOURS.items():
        rows = [r for r in shown if r.row.kind == kind]
        if rows:
            inside = sum(bool(r.joules_inside) for r in rows)
            found += [
                f'<circle cx="{LEFT + SIDE + 30}" cy="{y - 4}" r="5" fill="{colour}"/>',
                text(LEFT + SIDE + 44, y, f"{kind}: {inside} of {len(rows)}"),
            ]
            y += 24
    return [
        *found,
        text(LEFT + SIDE + 24, y + 8, "n of m: inside their intervals", "small"),
        text(LEFT + SIDE + 24, y + 26, "hollow: outside", "small"),
    ]


def text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{escape(words)}</text>'
