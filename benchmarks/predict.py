"""The analytic model of energy beside published measurements, each judged by a calibration that has not seen it.

    python benchmarks/predict.py --rows ../shared/reference/energy_reference.csv \\
        ../shared/reference/energy_reference_2.csv benchmarks/energy_rows.csv [--write]

Every row is left out twice: with all rows of its source, and with all rows of its kind (desktops, batches, chips, ...).
Prints each row with what was predicted without its source; and the median absolute error, how many rows lie within
their 90% interval and how wide that is, by table, kind and source. Intervals come from the errors of the other groups.
--nested counts once more with intervals from calibrations and errors that never saw the group at all (minutes).
--write calibrates on all rows and writes src/lightbulb/energy/data/prediction.json, the rows beside which `predict`
puts its figures (published_rows.csv there), docs/predictions.svg and the tables in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path

from energy_rows import read_rows
from predict_plot import interval, picture
from sections import ROOT, put

from lightbulb.core.files import write_json, write_text
from lightbulb.predicting.calibration import WAYS, PublishedRow, Residual, both_ways, judged, nested, shipped
from lightbulb.predicting.coefficients import PRIORS, Calibrated, as_record

DATA = ROOT / "src/lightbulb/energy/data"
COLUMNS = ("source", "name", "kind", "device", "devices", "batch", "runtime", "scope", "read_gb", "joules", "predicted",
           "low", "high")  # fmt: skip
ABOUT = """# Published joules a written token, and what a calibration without its source predicted of each.
# Written by benchmarks/predict.py.
# Taken {day}.
# runtime: class of runtimes. scope: what the joules include. read_gb: 10^9 bytes of weights a token of one sequence.
# joules: measured. predicted, low, high: J and its 90% interval, source left out.
"""


def line(r: Residual) -> str:
    row, joules, speed = r.row, "| | | ", "| | | "
    if row.joules and r.joules_error is not None:
        joules = f"{row.joules:.3g} | {r.joules:.3g} x/{math.exp(r.joules_width):.2f} | {percent(r.joules_error)} | "
        joules += yes(r.joules_inside)
    if row.tokens_per_second and r.speed_error is not None:
        speed = f"{row.tokens_per_second:.4g} | {r.speed:.4g} x/{math.exp(r.speed_width):.2f} | "
        speed += f"{percent(r.speed_error)} | {yes(r.speed_inside)}"
    return f"| {row.source} | {row.name} | {row.scope} | {joules} | {speed} |"


def percent(log_error: float) -> str:
    return f"{100 * math.expm1(log_error):+.0f}%"


def yes(inside: bool | None) -> str:
    return {True: "yes", False: "**no**", None: ""}[inside]


def groups(rows: Sequence[PublishedRow]) -> Iterator[tuple[str, Callable[[PublishedRow], bool]]]:
    """What is counted together: all rows, those of each table, kind and source."""
    yield "all rows", lambda row: True
    for table in dict.fromkeys(row.table for row in rows):
        yield f"table {table}.csv", lambda row, t=table: row.table == t
    both = {"energy_reference", "energy_reference_2"}
    if both < {row.table for row in rows}:
        yield "both tables of references", lambda row: row.table in both
    for name in dict.fromkeys(row.kind for row in rows):
        yield f"kind: {name}", lambda row, n=name: row.kind == n
    for name in dict.fromkeys(row.source for row in rows):
        yield f"source: {name}", lambda row, n=name: row.source == n


def counted(errors: Sequence[tuple[float, float, bool]]) -> str:
    """errors: (log error, half width, inside) of each row."""
    if not errors:
        return "| | | "
    middle = statistics.median(abs(math.expm1(error)) for error, _, _ in errors)
    inside = sum(held for _, _, held in errors)
    width = math.exp(statistics.median(width for _, width, _ in errors))
    return f"{len(errors)} | {100 * middle:.0f}% | {inside} | x/{width:.2f}"


def summary(by: dict[str, list[Residual]]) -> list[str]:
    """Rows, median absolute error, how many inside, median width: of joules by either way of leaving out, and of speed
    by source."""
    found = [
        "| | J: rows | by source: error | inside | width | by kind: error | inside | width "
        "| tokens/s: rows | by source: error | inside | width |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    rows = [r.row for r in by["source"]]
    for name, holds in groups(rows):
        joules = {way: counted([joules_of(r) for r in rs if holds(r.row) and r.row.joules]) for way, rs in by.items()}
        speed = counted([speed_of(r) for r in by["source"] if holds(r.row) and r.row.tokens_per_second])
        kinds = joules["kind"].split(" | ", 1)[1] if joules["kind"][0].isdigit() else "| | "
        found.append(f"| {name} | {joules['source']} | {kinds} | {speed} |")
    return found


def joules_of(r: Residual) -> tuple[float, float, bool]:
    return r.joules_error or 0.0, r.joules_width, bool(r.joules_inside)


def speed_of(r: Residual) -> tuple[float, float, bool]:
    return r.speed_error or 0.0, r.speed_width, bool(r.speed_inside)


def page(by: dict[str, list[Residual]], found: Calibrated, command: str) -> str:
    heading = "| source | row | scope | J/token | predicted | error | inside | tokens/s | predicted | error | inside |"
    rule = "|---|---|---|--:|--:|--:|---|--:|--:|--:|---|"
    parts = ["```", command, "```", "", *summary(by), "", "![predicted against measured](predictions.svg)", ""]
    parts += [heading, rule, *(line(r) for r in by["source"]), "", *coefficients(found)]
    return "\n".join(parts)


def coefficients(found: Calibrated) -> Iterator[str]:
    yield "| coefficient | before | calibrated | spread | meaning |"
    yield "|---|--:|--:|--:|---|"
    for c, variance in zip(PRIORS, found.covariance.diagonal(), strict=True):
        spread = math.exp(variance**0.5)
        yield f"| {c.name} | {c.value:.3g} | {found.values[c.name]:.3g} | x/{spread:.2f} | {c.meaning} |"


def as_table(residuals: Sequence[Residual]) -> str:
    """The rows that ship, with what was predicted of them without their source."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for r in (r for r in residuals if r.row.joules):
        row, (low, high) = r.row, interval(r)
        setting = (row.device.name, row.setting.devices, row.setting.batch, row.setting.runtime, row.scope)
        figures = (row.shape.bytes_read / 1e9, row.joules, r.joules, low, high)
        writer.writerow([row.source, row.name, row.kind, *setting, *(f"{x:.4g}" for x in figures)])
    return ABOUT.format(day=date.today().isoformat()) + text.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, nargs="+", required=True, help="tables such as energy_reference.csv")
    parser.add_argument("--nested", action="store_true", help="intervals without the group's rows anywhere, counted")
    parser.add_argument("--write", action="store_true", help="write what ships, the picture and the tables")
    asked = parser.parse_args()
    rows = read_rows(*asked.rows)
    bare = both_ways(rows)
    by = {way: judged(bare, way) for way in WAYS}
    found = shipped(rows, bare)
    command = f"python benchmarks/predict.py --rows {' '.join(map(str, asked.rows))} --write"
    text = page(by, found, command)
    print(text)
    within = (f"{name} x/{math.exp(x):.2f}" for name, x in (("J", found.joules_scatter), ("s", found.seconds_scatter)))
    print(f"\nrows of one source on one device: {', '.join(within)}")
    if asked.nested:
        print("\nnested:", *summary({way: nested(rows, way) for way in WAYS}), sep="\n")
    if asked.write:
        write_json(DATA / "prediction.json", dict(as_record(found)))
        write_text(DATA / "published_rows.csv", as_table(by["source"]))
        write_text(ROOT / "docs/predictions.svg", picture(by["source"]))
        put("predict", text, "## Predictions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
