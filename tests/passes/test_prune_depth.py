"""Layers that go by what the task's loss is without them."""

from __future__ import annotations

import pytest
from conftest import tiny_task
from tiny import FAMILIES, tiny_model, tiny_varied

from lightbulb.core.artifact import Artifact
from lightbulb.core.progress import Silent
from lightbulb.models.families import keep_layers
from lightbulb.models.loading import load_model, load_tokenizer
from lightbulb.passes import prune_depth
from lightbulb.passes.base import Context
from lightbulb.passes.prune_depth import PruneDepth
from lightbulb.train.data import encode_split
from lightbulb.train.importance import task_loss, without_layers

TASK = tiny_task("generate")


def examples(folder, count):
    return encode_split(TASK, "train", load_tokenizer(folder), None, 512, count)


@pytest.mark.parametrize("family", [*FAMILIES, "varied"])
def test_a_layer_that_is_skipped_is_one_that_is_gone(tmp_path, family):
    folder = tiny_varied(tmp_path / "m") if family == "varied" else tiny_model(tmp_path / "m", family, layers=4)
    model, data = load_model(folder), examples(tmp_path / "m", 3)
    whole = task_loss(model, data)
    with without_layers(model, [1, 2]):
        skipped = task_loss(model, data)
    assert task_loss(model, data) == whole != skipped
    keep_layers(model, [0, 3])
    assert task_loss(model, data) == pytest.approx(skipped, rel=1e-3)


def test_the_layer_that_costs_least_goes_first(tmp_path, monkeypatch):
    """Each that went is the one without which the loss was least, as models without it say."""
    monkeypatch.setattr(prune_depth, "SCORED_EXAMPLES", 4)
    folder, out = tiny_model(tmp_path / "m", layers=4), tmp_path / "out"
    out.mkdir()
    source = Artifact(path=folder, kind="model", key="k", made_by="import", facts={})
    facts = PruneDepth(layers=2, by="loss").apply(source, out, Context(TASK, 0, Silent(), tmp_path / "scratch"))
    left, data = [0, 1, 2, 3], examples(folder, 4)
    assert len(facts["losses"]) == 3 and facts["losses"][0] == pytest.approx(task_loss(load_model(folder), data))
    for gone, loss in zip(facts["removed_layers"], facts["losses"][1:], strict=True):
        without = {}
        for layer in left:
            model = load_model(folder)
            keep_layers(model, [i for i in left if i != layer])
            without[layer] = task_loss(model, data)
        assert gone == min(without, key=without.__getitem__) and loss == pytest.approx(without[gone], rel=1e-4)
        left.remove(gone)
    assert facts["kept_layers"] == left and "influence" not in facts
    assert task_loss(load_model(out), data) == pytest.approx(facts["losses"][-1], rel=1e-4)
