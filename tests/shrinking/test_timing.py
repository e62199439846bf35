"""Timing a machine: every figure is there, for every kind of task, and nothing is changed by it."""

from __future__ import annotations

import pytest
import torch
from conftest import bare_run, tiny_task

from lightbulb.core.artifact import Artifact
from lightbulb.core.files import sha256_of_file
from lightbulb.models.loading import load_model
from lightbulb.passes.export import Export
from lightbulb.passes.format_task import FormatTask
from lightbulb.shrinking import timing
from lightbulb.shrinking.timing import Steps, mean_seconds, time_work
from lightbulb.tasks.task import Task


@pytest.fixture(params=["choose", "generate", "text"])
def formatted(request, imported, tmp_path) -> tuple[Task, Artifact, Artifact]:
    task = tiny_task(request.param)
    with bare_run(tmp_path, task) as run:
        model = run.step("formatted", FormatTask(), imported)
        return task, model, run.step("file", Export(quant_type="f16"), model)


def test_every_kind_of_work_is_timed(formatted):
    task, model, file = formatted
    before = sha256_of_file(model.path / "model.safetensors")
    times = time_work(
        model,
        file.gguf,
        task,
        batch_size=8,
        threads=1,
        runtime="llamacpp",
        output_tokens=4.0,
        pass_seconds=0.5,
        max_seconds=60,
    )
    assert times.layers == 3 and times.frozen_layers == 2 and times.pass_seconds == 0.5
    assert [layers for layers, _ in times.student_steps] == [1, 3]
    seconds = [times.full_step, times.frozen_step, times.frozen_again, times.read_example]
    assert all(0 < s < 10 for s in [*seconds, times.answer_folder, times.answer_file, times.student_step(2)])
    assert times.frozen_again <= times.frozen_step <= times.full_step
    assert sha256_of_file(model.path / "model.safetensors") == before


def test_steps_that_are_timed_train_nothing(formatted):
    task, artifact, _ = formatted
    model, same = load_model(artifact.path), load_model(artifact.path)
    Steps(artifact, task, 8, 0.05).step(model, artifact.facts.get("answer_ids"))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))


def test_the_batch_is_a_typical_one(formatted):
    task, artifact, _ = formatted
    steps = Steps(artifact, task, 8, 0.05)
    lengths = [len(item.ids) for item in steps.data]
    typical = sum(lengths[i] for i in steps.batch) / len(steps.batch)
    assert len(steps.batch) == 8 and typical == pytest.approx(sum(lengths) / len(lengths), rel=0.2)


def test_a_long_batch_is_timed_by_a_quarter_and_the_optimizer(formatted, monkeypatch):
    """With a clock on which a token takes a second and the optimizer three."""
    task, artifact, _ = formatted
    now = [0.0]

    def take_step(model, batches, forward, loss, optimizer, parameters):
        now[0] += sum(batch.tokens for batch in batches) + 3

    monkeypatch.setattr(timing, "take_step", take_step)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: now.__setitem__(0, now[0] + 3))
    steps, model = Steps(artifact, task, 8, 1.0), load_model(artifact.path)
    part = steps.batch[::4]
    tokens = sum(len(steps.data[i].ids) - 1 for i in part)
    assert steps.step(model, None) == pytest.approx(3 + tokens * 8 / len(part))
    patient = Steps(artifact, task, 8, 1e6)
    assert patient.step(model, None) == pytest.approx(3 + sum(len(steps.data[i].ids) - 1 for i in steps.batch))


def test_the_mean_counts_whole_repetitions(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    assert mean_seconds(lambda: now.__setitem__(0, now[0] + 0.4), 1.0) == pytest.approx(0.4) and now[0] >= 1.0
    assert mean_seconds(lambda: now.__setitem__(0, now[0] + 7.0), 1.0) == pytest.approx(7.0)
