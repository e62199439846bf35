"""One training, many students: the model that adapt-elastic makes, and what is cut from it."""

from __future__ import annotations

import pytest
import torch
from conftest import tiny_task
from matmulfree_files import MIXERS, tiny_matmulfree
from tiny import tiny_model

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import RecipeError
from lightbulb.core.progress import Silent
from lightbulb.energy.meter import Meter
from lightbulb.models.families import layers_of
from lightbulb.models.loading import load_model, load_tokenizer
from lightbulb.passes.adapt import Adapt
from lightbulb.passes.adapt_elastic import AdaptElastic
from lightbulb.passes.format_task import FormatTask
from lightbulb.passes.prune_depth import PruneDepth
from lightbulb.passes.prune_width import PruneWidth
from lightbulb.passes.trim_vocab import TrimVocab
from lightbulb.pipeline.recipe import Execution, step
from lightbulb.pipeline.run import Run
from lightbulb.testing import Stop, Stopped, frequent_checkpoints
from lightbulb.train import loop
from lightbulb.train.data import collate, encode_split
from lightbulb.train.engine import Engine
from lightbulb.train.forward import target_logits
from lightbulb.train.importance import task_loss
from lightbulb.train.loop import Schedule

TASK = tiny_task("generate")
SCHEDULE = Schedule(epochs=8, learning_rate=3e-3, batch_size=8)
ELASTIC = AdaptElastic(schedule=SCHEDULE, layers=2, feed_forward=0.5)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(opens a run of a name, the model in the task's form)."""
    base = tmp_path_factory.mktemp("elastic")
    folder = tiny_model(base / "model", layers=5)
    imported = Artifact(path=folder, kind="model", key="imported", made_by="import")

    def opened(name: str, progress=None) -> Run:
        return Run(base / name, TASK, seed=0, progress=progress or Silent(), meter=Meter((), threads=1), threads=1)

    with opened("form") as run:
        return opened, run.step("formatted", FormatTask(), imported)


@pytest.fixture(scope="module")
def elastic(runs):
    opened, formatted = runs
    with opened("elastic") as run:
        return run.step("elastic", ELASTIC, formatted)


def validation_loss(made: Artifact) -> float:
    model = load_model(made.path)
    return task_loss(model, encode_split(TASK, "train", load_tokenizer(made.path), None, 512, 16))


def test_what_is_cut_by_order_is_the_nested_sub_model(runs, elastic):
    """Through a trimmed vocabulary, one layer after the other; the next cut goes on in the same order."""
    opened, _ = runs
    order = elastic.facts["layer_order"]
    assert len(order) == len(set(order)) == 3
    with opened("cuts") as run:
        trimmed = run.step("trimmed", TrimVocab(), elastic)
        four = run.step("four", PruneDepth(layers=4, by="order"), trimmed)
        three = run.step("three", PruneDepth(layers=3, by="order"), four)
        narrow = run.step("narrow", PruneWidth(feed_forward=0.5, importance="order"), three)
        at_once = run.step("at-once", PruneDepth(layers=3, by="order"), elastic)
    kept = [i for i in range(5) if i not in order[:2]]
    assert at_once.facts["kept_layers"] == kept
    assert [at_once.facts["kept_layers"][i] for i in at_once.facts["layer_order"]] == order[2:]
    assert narrow.facts["layer_order"] == three.facts["layer_order"] == at_once.facts["layer_order"]
    whole = Engine(load_model(trimmed.path), dtype=torch.float32)
    data = encode_split(TASK, "train", load_tokenizer(trimmed.path), None, 512, 6)
    batch = collate(data, list(range(6)))
    with torch.no_grad():
        wanted = whole.target_logits(batch, dict.fromkeys(kept, 64))
        assert torch.allclose(target_logits(load_model(narrow.path), batch), wanted, atol=1e-4)


@pytest.mark.parametrize("by", ["influence", "loss"])
def test_its_sub_models_know_the_task_and_those_of_a_plain_teacher_do_not(runs, elastic, by):
    """Cut to any depth and half of the channels, without a training: each is about as good as the whole."""
    opened, formatted = runs
    with opened(by) as run:
        if by == "loss":
            elastic = run.step("elastic", ELASTIC.model_copy(update={"by": "loss"}), formatted)
        plain = run.step("plain", Adapt(schedule=SCHEDULE), formatted)
        whole = validation_loss(elastic)
        for layers in (4, 3, 2):
            cut = run.step(f"elastic-{layers}", PruneDepth(layers=layers, by="order"), elastic)
            narrow = run.step(f"narrow-{layers}", PruneWidth(feed_forward=0.5, importance="order"), cut)
            rival = run.step(f"plain-{layers}", PruneDepth(layers=layers, by=by), plain)
            rival = run.step(f"plain-narrow-{layers}", PruneWidth(feed_forward=0.5), rival)
            assert len(layers_of(load_model(narrow.path))) == layers
            losses = [validation_loss(made) for made in (cut, narrow, rival)]
            assert max(losses[:2]) < 1.5 * whole
            assert losses[2] > 2 * losses[1]


def weights(made: Artifact) -> bytes:
    return (made.path / "model.safetensors").read_bytes()


def test_resumed_in_its_steps_it_ends_with_the_same_bytes(runs, elastic):
    opened, formatted = runs
    with frequent_checkpoints():
        stop = Stop(after=12)
        with pytest.raises(Stopped), opened("killed", stop) as run:
            run.step("elastic", ELASTIC, formatted)
        assert max(stop.reported) > 1
        watch = Stop(after=10**9)
        with opened("killed", watch) as run:
            again = run.step("elastic", ELASTIC, formatted)
    steps = watch.reported[watch.reported.index(42) + 1 :]  # beyond both readings of the 42 examples
    assert len(watch.reported) < elastic.facts["steps"] + 4 and steps
    assert weights(again) == weights(elastic) and again.facts == elastic.facts


def test_the_clock_shortens_it(runs, monkeypatch):
    opened, formatted = runs
    monkeypatch.setattr(loop, "LOOK_SECONDS", 0.0)
    with opened("shortened") as run:
        execution = Execution(run, formatted)
        made = execution.perform(step("elastic", ELASTIC, "model"), seconds=0.0)
        parameters = execution.steps["elastic"].parameters
    assert made.facts["steps"] < 48 and parameters["schedule"]["cuts"]
    with opened("as-performed") as run:
        again = run.step("elastic", AdaptElastic(**parameters), formatted)
    assert again.key == made.key and weights(again) == weights(made)


def test_what_cannot_be_cut_is_refused(runs, elastic, tmp_path):
    opened, formatted = runs
    refusals = [
        (PruneDepth(layers=2, by="order"), formatted, "needs an elastic model"),
        (PruneDepth(layers=1, by="order"), elastic, "were trained down to 2"),
        (PruneWidth(feed_forward=0.5, importance="order"), formatted, "needs an elastic model"),
        (PruneWidth(groups=0.5, importance="order"), elastic, "feed-forward, and nothing else"),
        (PruneWidth(feed_forward=0.5, ranking="global", importance="order"), elastic, "the same share of every layer"),
        (AdaptElastic(layers=6), formatted, "of a model with 5"),
    ]
    for number, (pass_, source, message) in enumerate(refusals):
        with opened(f"refused-{number}") as run, pytest.raises(RecipeError, match=message):
            run.step("cut", pass_, source)
        assert not list((run.folder / "steps").iterdir())
    ternary = tiny_matmulfree(tmp_path / "ternary", MIXERS["hybrid"][1:], width=64)
    source = Artifact(path=ternary, kind="model", key="ternary", made_by="start")
    with opened("refused-ternary") as run, pytest.raises(RecipeError, match="of this matmulfree"):
        run.step("elastic", AdaptElastic(layers=1), source)
