"""Input that is unusual and not wrong: the whole job works on it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import choose_rows, write_rows
from tiny import tiny_model

from lightbulb.cli import main
from lightbulb.shrinking import evaluation, final_evaluation, measured_files, steps

pytestmark = pytest.mark.slow
Shrunk = Callable[..., dict[str, Any]]


@pytest.fixture
def shrunk(tmp_path, monkeypatch) -> Shrunk:
    """Shrinks a model to rows of a task; returns the result."""
    monkeypatch.setattr(final_evaluation, "measuring_windows", lambda *_: (8, 0.02))
    monkeypatch.setattr(steps, "TEACHER_RATE", 3e-3)
    for module in (measured_files, evaluation):  # a tiny model learns little from so little: here only the way is tried
        monkeypatch.setattr(module, "at_chance", lambda *_: "")

    def run(model: Path, rows: list[dict], *more: str) -> dict[str, Any]:
        data, out = write_rows(tmp_path / "task.jsonl", rows), tmp_path / "run"
        command = ["shrink", str(model), "--task", str(data), "--out", str(out), "--max-time", "10m", "--threads", "1"]
        command += ["--kinds", "decoder"]
        assert main([*command, *more]) == 0
        return json.loads((out / "result.json").read_text())

    return run


def test_a_width_that_fits_no_blocks_is_exported_as_f16(shrunk, tmp_path):
    result = shrunk(tiny_model(tmp_path / "narrow", layers=2, width=48), choose_rows(150), "--at-least", "0.05")
    assert any(c["chosen"] and c["name"].endswith("f16") for c in result["candidates"])
    assert (tmp_path / "run" / result["student"]["path"]).stat().st_size == result["student"]["bytes"]


def test_a_task_of_ten_examples(tiny_folder, tmp_path, monkeypatch, capsys):
    """One validation example, one test example, which nothing answers rightly: the run ends with the reason."""
    monkeypatch.setattr(final_evaluation, "measuring_windows", lambda *_: (8, 0.02))
    data, out = write_rows(tmp_path / "task.jsonl", choose_rows(10)), tmp_path / "run"
    command = ["shrink", str(tiny_folder), "--task", str(data), "--out", str(out), "--max-time", "10m"]
    assert main([*command, "--kind", "choose", "--kinds", "decoder", "--threads", "1"]) == 1
    assert "learned" in (err := capsys.readouterr().err) and "or guessing gives 0.200" in err
    assert not (out / "model.gguf").exists()


def test_long_prompts_and_long_completions(shrunk, tiny_folder):
    """Longer than a training sequence and than the default context."""
    rows = [
        {"prompt": f"say {i} " + "kitchen lights please " * (150 * (i % 3)), "completion": f"{i} ÄÖÜ ☃ " * (20 + i * 3)}
        for i in range(16)
    ]
    assert shrunk(tiny_folder, rows, "--kind", "generate", "--metric", "chrf")["metric"] == "chrf"


def test_answers_that_end_in_the_model_s_own_end(shrunk, tiny_folder, tmp_path):
    """An end that only its tokenizer knows: learned and scored without it, and the recipe makes the same file."""
    model = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).write_text((model / name).read_text().replace("<|im_end|>", "<<fin>>"))
    rows = [{**row, "completion": row["completion"] + "<<fin>>"} for row in choose_rows(60)]
    result = shrunk(model, rows, "--keep", "0.5")
    assert any("60 completions with this model's own end" in finding for finding in result["findings"])
    assert not any("<<fin>>" in str(e) for e in result["examples"])
    again = tmp_path / "again"
    assert main(["run", str(tmp_path / "run" / "recipe.toml"), "--out", str(again), "--threads", "1"]) == 0
    made = [
        sorted(p.name for p in (folder / "steps").glob("formatted-????????????"))
        for folder in (tmp_path / "run", again)
    ]
    assert made[0] == made[1]


def test_answers_that_are_indented(shrunk, tiny_folder, tmp_path):
    rows = [{"prompt": f"def f{i}(x):", "completion": f"    y = x + {i}\n    return y\n"} for i in range(60)]
    result = shrunk(tiny_folder, rows, "--kind", "generate", "--metric", "chrf")
    assert any("60 completions with an indented beginning: kept" in finding for finding in result["findings"])
