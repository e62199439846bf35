"""The main job on a tiny model with nothing stood in for: its own rates, plan, windows, costs and refusals."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import text_rows, write_rows
from scipy import stats
from tiny import tiny_model

from lightbulb.cli import main

STOCK = ("f16", "q8_0", "q4_0")


def shrink(folder: Path, out: Path, *asked: str) -> int:
    data, model = folder / "task.jsonl", folder / "model"
    return main(
        ["shrink", str(model), "--task", str(data), "--out", str(out), "--max-time", "3m", "--threads", "1", *asked]
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a model, a task and the run `out`; most of its minute goes into measuring."""
    folder = tmp_path_factory.mktemp("job")
    tiny_model(folder / "model", layers=4)
    write_rows(folder / "task.jsonl", text_rows(40))
    assert shrink(folder, folder / "out", "--keep", "0.9") == 0
    return folder


def least_saving(out: Path, role: str, quantity: str) -> float:
    """The lower end of stock / student, from the windows as they were written down: Student's t over blocks of two,
    with a floor of 5% for what no invocation sees of itself."""
    (measured,) = out.glob("steps/costs-*/trials.json")
    series = json.loads(measured.read_text())
    before, after = (np.array(series[r]["series"][quantity])[:, 0] for r in (role, "student"))
    blocks = np.log(before / after).reshape(-1, 2).mean(axis=1)
    half = math.hypot(stats.t.ppf(0.975, len(blocks) - 1) * stats.sem(blocks), 1.959964 * 0.05)
    return math.exp(blocks.mean() - half)


def does(model: dict[str, Any], result: dict[str, Any]) -> bool:
    return model["score"]["value"] <= result["floor"]  # bits per byte


@pytest.mark.slow
def test_the_verdict_is_what_the_windows_say(finished):
    """A student is handed out only where every window that was measured lets it; else the cheapest stock file is."""
    out = finished / "out"
    result = json.loads((out / "result.json").read_text())
    student = result["best_student"] or result["student"]
    stock = [result["teacher"], *result["baselines"]]
    counted = student["joules_per_answer"]["source"] == "measured"
    quantity = "joules_per_answer" if counted else "cpu_seconds_per_answer"
    able = [role for role, model in zip(STOCK, stock, strict=True) if does(model, result)]
    shown = all(least_saving(out, f"teacher-{role}", quantity) > 1 for role in able)
    handed_out = result["student"]["kind"] == "decoder"
    assert handed_out == (does(student, result) and shown)
    assert (result["verdict"] in ("kept", "within-noise")) == handed_out and bool(result["reason"]) != handed_out
    if not handed_out:
        cheapest = min((m for m in stock if does(m, result)), key=lambda m: m[quantity]["value"])
        assert (out / "model.gguf").read_bytes() == (out / cheapest["path"]).read_bytes()
        assert result["ratios"] == [] and result["break_even_answers"]["value"] is None
    assert main(["ask", str(out), "Turn the kitchen lights", "--max-tokens", "3"]) == 0


@pytest.mark.slow
def test_what_nothing_reaches_is_refused(finished, tmp_path, capsys):
    """The steps of the same run, with a floor that no file of it holds: exit 1, one error, no model."""
    out = shutil.copytree(finished / "out", tmp_path / "out")
    for name in ("model.gguf", "result.json", "goal.json", "clock.json"):
        (out / name).unlink(missing_ok=True)
    capsys.readouterr()
    assert shrink(finished, out, "--at-least", "0.2") == 1
    err = capsys.readouterr().err
    assert err.count("error: ") == 1 and "Nothing that was made does what was asked" in err
    assert not (out / "model.gguf").exists() and json.loads((out / "result.json").read_text())["verdict"] == "not-kept"
