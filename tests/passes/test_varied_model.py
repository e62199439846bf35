"""Passes on a model whose layers differ: trained, cut, trimmed, rounded, exported, and asked in llama.cpp."""

from __future__ import annotations

import torch
from test_export import exported
from test_trim_vocab import ANSWERS, CHOOSE
from tiny import tiny_varied

from lightbulb.core.artifact import Artifact
from lightbulb.core.progress import Silent
from lightbulb.models.loading import load_model, save_model
from lightbulb.models.vocabulary import add_answers
from lightbulb.passes.adapt import Adapt
from lightbulb.passes.base import Context
from lightbulb.passes.prune_depth import PruneDepth
from lightbulb.passes.quantize import Quantize
from lightbulb.passes.trim_vocab import TrimVocab
from lightbulb.runtimes.llamacpp import LlamaCpp
from lightbulb.runtimes.torch import Torch
from lightbulb.train.loop import Schedule


def test_every_pass_takes_it(tmp_path):
    folder, out = tiny_varied(tmp_path / "m"), tmp_path / "formatted"
    model = load_model(folder)
    ids = add_answers(folder, out, model, ANSWERS)
    save_model(model, out)
    artifact = Artifact(path=out, kind="model", key="k", made_by="format-task", facts={"answer_ids": ids})
    schedule = Schedule(epochs=8, batch_size=2, learning_rate=1e-2)
    lora = Schedule(epochs=1, batch_size=2, learning_rate=1e-3)
    steps = (
        Adapt(schedule=schedule),
        Adapt(schedule=lora, method="lora"),
        PruneDepth(layers=3),
        TrimVocab(size=None),
        Quantize(recover=schedule),
    )
    for number, step in enumerate(steps):
        path = tmp_path / f"{number}"
        path.mkdir()
        facts = step.apply(artifact, path, Context(CHOOSE, 0, Silent(), tmp_path / f"scratch-{number}"))
        artifact = Artifact(path=path, kind="model", key=step.name, made_by=step.name, facts=artifact.facts | facts)
    last = load_model(artifact.path)
    assert len(last.spec.layers) == 3 and last.spec.vocabulary == last.config.vocab_size < model.config.vocab_size
    gguf, facts = exported(artifact, tmp_path, CHOOSE, quant_type="q4_0", embedding="q8_0")
    assert facts["architecture"] == "deci" and facts["parameters"] == last.spec.parameters()
    prompts = [e.prompt for e in (*CHOOSE.train, *CHOOSE.validation)]
    runtime = LlamaCpp(gguf, threads=1)
    texts = runtime.answer([runtime.render([{"role": "user", "content": p}]) for p in prompts], ANSWERS).texts
    runtime.close()
    folder_runtime = Torch(artifact)
    rendered = [folder_runtime.render([{"role": "user", "content": p}]) for p in prompts]
    assert texts == folder_runtime.answer(rendered, ANSWERS).texts
    assert texts[:2] == [e.completion for e in CHOOSE.train]
    assert torch.isfinite(last(torch.tensor([[1, 2, 3]])).logits).all()
