"""measure: classifiers in bulk, and what their figures say of it."""

from __future__ import annotations

import pytest

pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")

from conftest import tiny_task
from random_classifiers import random_model, write_file

from lightbulb.core.artifact import Artifact
from lightbulb.core.progress import Silent
from lightbulb.passes.base import Context
from lightbulb.passes.measure import Measure, costs_of


def test_a_classifier_is_measured_in_bulk(tmp_path):
    """Two files, so that the cheaper one's costs are seen to be its own."""
    task, files = tiny_task("choose"), {}
    for name, width in (("small", 16), ("large", 4000)):
        folder = tmp_path / name
        folder.mkdir()
        model = random_model(1, answers=len(task.answers), width=width, rows=200)
        fields = model.fields() | {"lightbulb.answers": list(task.answers)}
        write_file(folder / "model.gguf", "lightbulb-ngrams", fields, model.tensors())
        files[name] = Artifact(path=folder, kind="gguf", key=name, made_by="")
    out = tmp_path / "out"
    out.mkdir()
    context = Context(task, 0, Silent(), tmp_path / "scratch", {"large": files["large"]}, threads=1)
    made = Measure(trials=8, window_seconds=0.05).apply(files["small"], out, context)
    for role in ("student", "large"):
        cost = made[role]["cpu_seconds_per_answer"]
        assert f"{len(task.test)} prompts in a call" in cost["method"]
        assert 0 < cost["value"] < 1e-3
    assert made["student"]["cpu_seconds_per_answer"]["high"] < made["large"]["cpu_seconds_per_answer"]["low"]
    written = Artifact(path=out, kind="figures", key="f", made_by="")
    assert set(costs_of(written)) == {"student", "large"}
