"""score-blocks and prune-layers: what the first says of a part is the loss of the model that the second makes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import RecipeError
from lightbulb.core.progress import Silent
from lightbulb.models.loading import load_model, load_tokenizer
from lightbulb.ops.losses import cross_entropy
from lightbulb.passes.base import Context
from lightbulb.passes.format_task import FormatTask
from lightbulb.passes.prune_layers import PruneLayers
from lightbulb.passes.quantize import Quantize
from lightbulb.passes.score_blocks import ScoreBlocks
from lightbulb.tasks.task import Task
from lightbulb.train.block_scores import BlockScores, read_orders
from lightbulb.train.data import Batch, encode_split, within
from lightbulb.train.forward import target_logits
from lightbulb.train.tracing import batches_of

TOKENS = 400


def made(pass_, source: Artifact, folder: Path, task: Task, **inputs: Artifact) -> Artifact:
    out = folder / f"{pass_.name}-{len(list(folder.iterdir()))}"
    out.mkdir()
    context = Context(task=task, seed=0, progress=Silent(), scratch=folder, inputs=inputs, threads=1)
    facts = dict(pass_.apply(source, out, context))
    if "answer_ids" in source.facts:
        facts.setdefault("answer_ids", source.facts["answer_ids"])
    return Artifact(path=out, kind=pass_.makes, key=out.name, parent=source.key, made_by=pass_.name, facts=facts)


@pytest.fixture(scope="module")
def scored(imported, tasks, tmp_path_factory):
    """(folder, task, model, scores of its blocks)"""
    folder, task = tmp_path_factory.mktemp("blocks"), tasks["choose"]
    model = made(FormatTask(), imported, folder, task)
    pass_ = ScoreBlocks(feed_forward=(0.5,), groups=(0.5,), types=("q4_0", "q8_0"), tokens=TOKENS)
    return folder, task, model, made(pass_, model, folder, task)


def batches(model: Artifact, task: Task) -> list[Batch]:
    """The items that `score-blocks` reads."""
    data = encode_split(task, "validation", load_tokenizer(model.path), model.answer_ids, 512)
    return batches_of(within([data[i] for i in task.spread("validation")], TOKENS))


def loss_of(artifact: Artifact, task: Task) -> float:
    """On these items, by the model's own forward pass."""
    model, read = load_model(artifact.path), batches(artifact, task)
    with torch.no_grad():
        losses = [cross_entropy(target_logits(model, b), b.targets).item() * len(b.targets) for b in read]
    return sum(losses) / sum(len(b.targets) for b in read)


def test_scores_are_losses_of_models_that_were_really_cut(scored):
    folder, task, model, scores = scored
    facts = scores.facts
    assert facts["loss"] == pytest.approx(loss_of(model, task), abs=1e-4)
    cuts = [
        (PruneLayers(layers=(0, 2)), facts["without"][1]),
        (PruneLayers(layers=(0, 1, 2), feed_forward=(1, 1, 0.5)), facts["feed_forward"]["0.5"][2]),
        (PruneLayers(layers=(0, 1, 2), groups=(0.5, 1, 1)), facts["groups"]["0.5"][0]),
        (Quantize(quant_type="q8_0", roles={"feed_forward": "q4_0"}), None),
    ]
    rises = []
    for cut, rise in cuts:
        inputs = {"scores": scores} if isinstance(cut, PruneLayers) else {}
        rises.append(loss_of(made(cut, model, folder, task, **inputs), task) - facts["loss"])
        assert rise is None or rises[-1] == pytest.approx(rise, abs=1e-4), cut
    assert len({round(rise, 4) for rise in rises}) == 4  # each changes something


def test_what_matters_most_is_kept_and_layers_differ(scored):
    folder, task, model, scores = scored
    small = made(PruneLayers(layers=(0, 2), feed_forward=(0.5, 1.0)), model, folder, task, scores=scores)
    assert small.facts["feed_forward"] == [64, 128] and small.facts["kv_heads"] == [2, 2]
    kept = sorted(read_orders(scores.path)["channels.0"][:64].tolist())
    before, after = (load_model(m.path).model.layers[0].mlp.up_proj.weight for m in (model, small))
    assert (after == before[kept]).all()


def test_in_order_the_first_are_kept(scored):
    folder, task, model, _ = scored
    orders = made(ScoreBlocks(importance="order", types=(), tokens=50), model, folder, task)
    small = made(PruneLayers(layers=(1,), feed_forward=(0.5,), groups=(0.5,)), model, folder, task, scores=orders)
    before, after = (load_model(m.path).model.layers for m in (model, small))
    assert (after[0].mlp.up_proj.weight == before[1].mlp.up_proj.weight[:64]).all()
    assert (after[0].self_attn.k_proj.weight == before[1].self_attn.k_proj.weight[:16]).all()
    assert (after[0].self_attn.q_proj.weight == before[1].self_attn.q_proj.weight[:32]).all()


def test_the_model_is_whole_again_after_every_trial(scored):
    _, task, artifact, scores = scored
    model = load_model(artifact.path)
    before = {name: p.clone() for name, p in model.state_dict().items()}
    trials = BlockScores(model, batches(artifact, task), read_orders(scores.path))
    trials.of_layers((0.5,), (0.5,), lambda done, note: None)
    trials.of_types(("q4_0",), lambda done, note: None)
    assert all((p == before[name]).all() for name, p in model.state_dict().items())


def test_layers_that_are_not_there_are_one_error(scored):
    folder, task, model, scores = scored
    with pytest.raises(RecipeError, match="layer 7 of a model with 3"):
        made(PruneLayers(layers=(0, 7)), model, folder, task, scores=scores)


@pytest.mark.parametrize(
    "wrong",
    [{"layers": ()}, {"layers": (1, 0)}, {"layers": (0, 1), "groups": (1.0,)}, {"layers": (0,), "groups": (2,)}],
)
def test_shares_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ValidationError):
        PruneLayers(**wrong)
