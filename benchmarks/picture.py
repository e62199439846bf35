"""The picture of README.md, drawn from a table in docs/benchmarks.md: what an answer costs before and after.

    python benchmarks/picture.py                 # docs/banking77.svg, from the table that main_job.py put there

One bar a model: CPU time of an answer with its interval; beside it the score on test and the bytes of the file.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path

from sections import PAGE, ROOT, section

SECONDS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}
WIDTH, LEFT, BAR, ROW, TOP = 900, 210, 340, 42, 86
STYLE = """
text { font: 14px system-ui, sans-serif; fill: #24292f; } .small { font-size: 12px; fill: #57606a; }
.strong { font-weight: 600; } .bar { fill: #8c959f; } .ours { fill: #d4a017; } .line { stroke: #24292f; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .small { fill: #9198a1; } .bar { fill: #6e7681; } .line { stroke: #e6edf3; }
}
"""


@dataclass(frozen=True)
class Row:
    """One model of a table. seconds: (value, low, high) of CPU time an answer; the rest is text as it stands there."""

    name: str
    score: str
    size: str
    seconds: tuple[float, float, float]
    handed_out: bool


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="banking77")
    parser.add_argument("--out", type=Path, help="default: docs/TASK.svg")
    asked = parser.parse_args()
    out = asked.out or PAGE.with_name(f"{asked.task}.svg")
    out.write_text(picture(asked.task, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"written: {out.relative_to(ROOT) if out.is_relative_to(ROOT) else out}")
    return 0


def picture(task: str, page: str) -> str:
    """The SVG for the table of `task` on a page of benchmarks. Raises ValueError where the page holds none."""
    told = section(f"main_job {task}", page)
    rows = [row(line) for line in told.splitlines() if line.startswith("| ") and not line.startswith("| |")]
    metric = re.search(r"test score, ([\w-]+)", told)
    items = re.search(r"test items answered: ([\d,]+)", told)
    if not rows or metric is None or items is None:
        raise ValueError(f"the section of {task} holds no table of the main job")
    return draw(f"{task}, {items[1]} test questions", metric[1], rows)


def row(line: str) -> Row:
    """A line of the table: | name | score | bytes | CPU per answer | ..."""
    name, score, size, cpu, *_ = (cell.strip() for cell in line.strip("|").split("|"))
    found = re.match(r"([\d.,]+)\s(\w+) \[([\d.,]+), ([\d.,]+)\]", cpu)
    if found is None:
        raise ValueError(f"no CPU time with an interval: {cpu!r}")
    value, low, high = (float(found[i].replace(",", "")) * SECONDS[found[2]] for i in (1, 3, 4))
    plain = re.sub(r"\*\*|, llama\.cpp| \(.*\)", "", name)
    return Row(plain, re.sub(r" score(?= \[)", "", score), size, (value, low, high), handed_out="**" in name)


def draw(title: str, metric: str, rows: list[Row]) -> str:
    scale = BAR / max(row.seconds[2] for row in rows)
    height = TOP + ROW * len(rows) - 14
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(title)}: CPU time per answer">',
        f"<style>{STYLE}</style>",
        text(10, 26, title, "strong"),
        text(LEFT, 58, "CPU time per answer, one thread", "small"),
        text(LEFT + BAR + 85, 58, metric, "small"),
        text(WIDTH - 10, 58, "file", "small", "end"),
    ]
    for n, one in enumerate(rows):
        parts += bar(one, TOP + ROW * n, scale)
    return "\n".join([*parts, "</svg>\n"])


def bar(row: Row, y: float, scale: float) -> list[str]:
    """The label, the bar with its interval, the time in words, the score and the size; y: the middle of the row."""
    value, low, high = (LEFT + scale * seconds for seconds in row.seconds)
    weight = "strong" if row.handed_out else ""
    return [
        text(LEFT - 12, y + 5, row.name, weight, "end"),
        f'<rect class="{"ours" if row.handed_out else "bar"}" x="{LEFT}" y="{y - 11}" '
        f'width="{value - LEFT:.1f}" height="22" rx="2"/>',
        f'<path class="line" d="M{low:.1f} {y}H{high:.1f}M{low:.1f} {y - 4}v8M{high:.1f} {y - 4}v8"/>',
        text(high + 8, y + 5, f"{row.seconds[0] * 1e3:.3g} ms", weight),
        text(LEFT + BAR + 85, y + 5, row.score, weight),
        text(WIDTH - 10, y + 5, row.size, weight, "end"),
    ]


def text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{kind} text-anchor="{anchor}">{escape(words)}</text>'


if __name__ == "__main__":
    raise SystemExit(main())
