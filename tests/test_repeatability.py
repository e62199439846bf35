"""The arithmetic of benchmarks/repeatability.py, not its minutes."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from repeatability import QUANTITIES, agreement, render

from lightbulb.core.figures import Figure


def ratio(value: float, half: float) -> Figure:
    return Figure(value=value, low=value * (1 - half), high=value * (1 + half), unit="ratio", source="derived")


def test_agreement_is_of_every_interval_with_the_mean_and_of_all_with_each_other():
    close = agreement([ratio(v, 0.02) for v in (1.60, 1.61, 1.59, 1.60, 1.60)])
    assert (
        close.agree and close.mean == pytest.approx(1.6, rel=1e-3) and close.spread == pytest.approx(0.0044, rel=0.05)
    )
    far = agreement([ratio(1.6, 0.02), ratio(1.6, 0.02), ratio(1.9, 0.02)])
    assert not far.agree and not far.shared and far.holds == (False, False, False)
    nothing = agreement([ratio(1.6, 0.02), Figure(value=None, unit="ratio")])
    assert not nothing.agree and math.isnan(nothing.mean)


def test_the_table_has_a_row_for_each_quantity_and_says_who_disturbed():
    machine = {"family": "amd-epyc-gen4", "others_threads": {"value": 0.02}}
    records = [
        {"ratios": {q: ratio(v, 0.02).model_dump() for q in QUANTITIES}, "machine": machine, "output_tokens": 64}
        for v in (1.6, 1.61)
    ]
    asked = argparse.Namespace(model="smollm2-135m", context=128, threads=1, trials=10)
    page = render(records, asked)
    rows = [line for line in page.splitlines() if line.startswith("| ") and " yes |" in line]
    assert len(rows) == len(QUANTITIES) and "1.60 [1.57, 1.63]" in rows[0] and "0.0200, 0.0200" in page
    columns = {line.count("|") for line in page.splitlines() if line.startswith("|")}
    assert len(columns) == 1
