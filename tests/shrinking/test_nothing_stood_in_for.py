"""The main job on a tiny model with nothing stood in for: its own rates, plan, windows, costs and refusals."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import text_rows, write_rows
from scipy import stats
from tiny import tiny_model

STOCK = ("f16", "q8_0", "q4_0")


def lightbulb(*words: str | Path) -> subprocess.CompletedProcess:
    """The command, in a process of its own."""
    return subprocess.run([sys.executable, "-m", "lightbulb", *words], capture_output=True, text=True)


def shrink(folder: Path, out: Path, *asked: str) -> subprocess.CompletedProcess:
    done = lightbulb(
        *("shrink", folder / "model", "--task", folder / "task.jsonl", "--out", out),
        *("--max-time", "8m", "--threads", "1", *asked),
    )
    if "takes longer than" in done.stderr:
        pytest.skip("this machine is too busy to plan a real job of 8 minutes")
    return done


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a model, a task and the run `out`: on an idle machine a minute, most of it for measuring."""
    folder = tmp_path_factory.mktemp("job")
    tiny_model(folder / "model", layers=4)
    write_rows(folder / "task.jsonl", text_rows(40))
    done = shrink(folder, folder / "out", "--keep", "0.9")
    assert done.returncode == 0, done.stderr
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
    asked = lightbulb("ask", out, "Turn the kitchen lights", "--max-tokens", "3", "--json")
    assert asked.returncode == 0 and json.loads(asked.stdout)["output_tokens"] <= 3, asked.stderr


@pytest.mark.slow
def test_what_nothing_reaches_is_refused(finished, tmp_path):
    """The steps of the same run, with a floor that no file of it holds: exit 1, one error, no model. The plan is left
    its boldest student, so that nothing is to be measured anew."""
    out = shutil.copytree(finished / "out", tmp_path / "out")
    plan = json.loads((out / "plan.json").read_text())
    plan["space"] |= {name: plan["space"][name][:1] for name in ("depths", "quant_types")}
    (out / "plan.json").write_text(json.dumps(plan))
    for name in ("model.gguf", "result.json", "goal.json", "clock.json"):
        (out / name).unlink(missing_ok=True)
    done = shrink(finished, out, "--at-least", "0.2")
    assert done.returncode == 1 and done.stdout.startswith("Not kept"), done.stderr
    assert done.stderr.count("error: ") == 1 and "Nothing that was made does what was asked" in done.stderr
    assert not (out / "model.gguf").exists() and json.loads((out / "result.json").read_text())["verdict"] == "not-kept"
