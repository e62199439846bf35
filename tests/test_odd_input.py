"""Input that is unusual and not wrong: the whole job works on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import choose_rows, write_rows
from tiny import tiny_model

from lightbulb.cli import main
from lightbulb.search import proof, steps

pytestmark = pytest.mark.slow
Shrunk = Callable[..., dict[str, Any]]


@pytest.fixture
def shrunk(tmp_path, monkeypatch) -> Shrunk:
    """Shrinks a model to rows of a task; returns the result."""
    monkeypatch.setattr(proof, "measuring_windows", lambda seconds: (8, 0.02))
    monkeypatch.setattr(steps, "TEACHER_RATE", 3e-3)  # so that a tiny teacher learns its task

    def run(model: Path, rows: list[dict], *more: str) -> dict[str, Any]:
        data, out = write_rows(tmp_path / "task.jsonl", rows), tmp_path / "run"
        command = ["shrink", str(model), "--task", str(data), "--out", str(out), "--max-time", "10m", "--threads", "1"]
        assert main([*command, *more]) == 0
        return json.loads((out / "result.json").read_text())

    return run


def test_a_width_that_fits_no_blocks_is_exported_as_f16(shrunk, tmp_path):
    result = shrunk(tiny_model(tmp_path / "narrow", layers=2, width=48), choose_rows(150), "--at-least", "0.3")
    assert any(c["chosen"] and c["name"].endswith("f16") for c in result["candidates"])
    assert (tmp_path / "run" / result["student"]["path"]).stat().st_size == result["student"]["bytes"]


def test_a_task_of_ten_examples(tiny_folder, tmp_path, monkeypatch, capsys):
    """One validation example, one test example, which nothing answers rightly: the run ends with the reason."""
    monkeypatch.setattr(proof, "measuring_windows", lambda seconds: (8, 0.02))
    data, out = write_rows(tmp_path / "task.jsonl", choose_rows(10)), tmp_path / "run"
    command = ["shrink", str(tiny_folder), "--task", str(data), "--out", str(out), "--max-time", "10m"]
    assert main([*command, "--kind", "choose", "--threads", "1"]) == 1
    assert "learned" in (err := capsys.readouterr().err) and "or guessing gives 0.200" in err
    assert not (out / "model.gguf").exists()


def test_long_prompts_and_long_completions(shrunk, tiny_folder):
    """Longer than a training sequence and than the default context."""
    rows = [
        {"prompt": f"say {i} " + "kitchen lights please " * (150 * (i % 3)), "completion": f"{i} ÄÖÜ ☃ " * (20 + i * 3)}
        for i in range(16)
    ]
    assert shrunk(tiny_folder, rows, "--kind", "generate", "--metric", "chrf")["metric"] == "chrf"
