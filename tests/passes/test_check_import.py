"""What the runtime that ships would read or compute differently is known before anything is trained."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch
from conftest import tiny_task
from safetensors.torch import load_file, save_file
from tiny import tiny_model

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import ModelError
from lightbulb.core.progress import Silent
from lightbulb.models.gguf import write_gguf
from lightbulb.models.gguf_info import read_gguf
from lightbulb.models.importing import import_model
from lightbulb.models.loading import is_tied, load_model
from lightbulb.models.resolve import resolve
from lightbulb.passes.base import Context
from lightbulb.passes.check_import import CheckImport
from lightbulb.passes.format_task import FormatTask
from lightbulb.tasks.task import Example, Message, Task


def formatted(folder, tmp_path, task) -> Artifact:
    """Imported and framed."""
    import_model(resolve(str(folder)), tmp_path / "imported")
    imported = Artifact(path=tmp_path / "imported", kind="model", key="i", made_by="import")
    out = tmp_path / "formatted"
    out.mkdir()
    facts = FormatTask().apply(imported, out, context(task, tmp_path))
    return Artifact(path=out, kind="model", key="f", made_by="format-task", facts=facts)


def context(task: Task, tmp_path) -> Context:
    return Context(task=task, seed=0, progress=Silent(), scratch=tmp_path / "scratch", threads=1)


def checked(artifact: Artifact, task: Task, tmp_path) -> dict:
    out = tmp_path / "check"
    out.mkdir()
    try:
        return CheckImport().apply(artifact, out, context(task, tmp_path))
    finally:
        assert list(out.iterdir()) == [], "the file of the check stays behind"


def chat_task(n: int = 60) -> Task:
    plain = tiny_task("choose", n)

    def turned(examples):
        return tuple(Example("", e.completion, messages=(Message("user", e.prompt),)) for e in examples)

    splits = {name: turned(getattr(plain, name)) for name in ("train", "validation", "test")}
    return replace(plain, **splits)


def with_template(folder, text: str):
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": text}))
    return folder


THINKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def test_a_template_with_a_will_of_its_own_is_frozen_and_both_render_alike(tmp_path):
    task = chat_task()
    model = formatted(with_template(tiny_model(tmp_path / "m", "qwen3"), THINKING), tmp_path, task)
    assert "frozen" in model.facts["findings"][0]
    facts = checked(model, task, tmp_path)
    assert facts["same_tokens"] == facts["same_text"] == facts["same_choice"] == 1


def test_a_template_that_cannot_be_frozen_is_refused_with_both_texts(tmp_path):
    shouting = THINKING.replace("m['content']", "m['content'] | upper")
    task = chat_task()
    model = formatted(with_template(tiny_model(tmp_path / "m", "qwen3"), shouting), tmp_path, task)
    with pytest.raises(ModelError, match="renders .* of .* prompts into another text") as e:
        checked(model, task, tmp_path)
    assert "<think>" in e.value.what and "prompt and completion" in (e.value.hint or "")


def test_tokens_that_differ_are_refused_with_both_lists(tmp_path):
    """A tokenizer that was changed behind the back of the import."""
    task = tiny_task("choose")
    model = formatted(tiny_model(tmp_path / "m", vocabulary=500), tmp_path, task)
    file = model.path / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    for token in ("alpha", "lamp"):
        if token in tokenizer["model"]["vocab"]:
            continue
        index = next(i for t, i in tokenizer["model"]["vocab"].items() if t.startswith("<|unused"))
        tokenizer["model"]["vocab"] = {t: i for t, i in tokenizer["model"]["vocab"].items() if i != index}
        flags = {"single_word": True, "lstrip": True, "rstrip": True, "normalized": False, "special": False}
        tokenizer["added_tokens"].append({"id": index, "content": token, **flags})
        break
    file.write_text(json.dumps(tokenizer, ensure_ascii=False))
    with pytest.raises(ModelError, match="cuts .* prompts into other tokens"):
        checked(model, task, tmp_path)


def test_weights_that_the_export_reads_otherwise_are_refused(tmp_path, monkeypatch):
    """As an architecture that llama.cpp computes in another way would be: here its positions are turned off."""
    from lightbulb.models import gguf

    task = tiny_task("choose")
    model = formatted(tiny_model(tmp_path / "m"), tmp_path, task)
    monkeypatch.setattr(gguf, "interleave", lambda rows, heads: rows)
    with pytest.raises(ModelError, match="does not compute"):
        checked(model, task, tmp_path)


def heads(tmp_path, says_tied: bool, head: str):
    """A model whose config says one thing of its head and whose weights hold another."""
    folder = tiny_model(tmp_path / "m", tied=True)
    state = load_file(folder / "model.safetensors")
    embedding = state["model.embed_tokens.weight"]
    other = {
        "none": {},
        "same": {"lm_head.weight": embedding.clone()},
        "own": {"lm_head.weight": 0.2 * embedding.flip(0)},
    }
    save_file(state | other[head], folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": says_tied}))
    return folder


@pytest.mark.parametrize(
    "says_tied, head, tied, told",
    [
        (True, "own", False, True),
        (True, "same", True, False),
        (True, "none", True, False),
        (False, "none", True, True),
        (False, "own", False, False),
        (False, "same", False, False),
    ],
)
def test_the_head_is_what_the_weights_hold(tmp_path, says_tied, head, tied, told):
    folder, task = heads(tmp_path, says_tied, head), tiny_task("choose")
    model = formatted(folder, tmp_path, task)
    facts = json.loads((tmp_path / "imported" / "config.json").read_text())
    loaded = load_model(tmp_path / "imported")
    assert is_tied(loaded) == facts["tie_word_embeddings"] == tied
    write_gguf(model.path, tmp_path / "model.gguf", "f16")
    rows = read_gguf(tmp_path / "model.gguf").vocabulary
    assert (sum(p.numel() for p in load_model(model.path).parameters()) > 2 * rows * 64) or tied
    assert checked(model, task, tmp_path)["same_choice"] == 1
    if head == "own":
        own = load_file(folder / "model.safetensors")["lm_head.weight"]
        assert torch.equal(loaded.lm_head.weight.detach(), own)
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    assert bool(import_model(resolve(str(again)), tmp_path / "twice")["findings"]) == told
