"""Where a task meets a model: what is too long is counted, and the model's own marks come off, before any training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import tiny_task
from samples import beside

from lightbulb.core.errors import TaskError
from lightbulb.models.loading import load_tokenizer
from lightbulb.tasks.load import load_task
from lightbulb.tasks.task import Example, Message, Task
from lightbulb.train.data import MAX_LENGTH, encode_split
from lightbulb.train.prepare import own_marks, prepared, too_long

CONTEXT = 512  # of the tiny model


def generate(*examples: Example) -> Task:
    return Task("t", "generate", "exact-match", examples, examples[:1], examples[:1])


def choose(prompts: list[str], messages: bool = False) -> Task:
    examples = tuple(Example(p, "red", (Message("user", p),) if messages else ()) for p in prompts)
    return Task("t", "choose", "accuracy", examples, (), (), ("blue", "red"))


@pytest.fixture(scope="module")
def tokenizer(tiny_folder):
    return load_tokenizer(tiny_folder)


def words(tokens: int, tokenizer) -> str:
    """A text of so many tokens."""
    ids = tokenizer("lamp " * tokens).input_ids[:tokens]
    text = tokenizer.decode(ids)
    assert len(tokenizer(text).input_ids) == tokens
    return text


@pytest.mark.parametrize("context", [CONTEXT, 2048])
def test_prompts_are_counted_as_they_are_cut(tokenizer, context):
    """Against what the encoder really cuts: a prompt that keeps all its tokens and the template's end."""
    longest = min(context, MAX_LENGTH)
    sizes = [longest - 3, longest - 2, longest - 1, longest, longest + 700, 5]
    task = choose([words(n, tokenizer) for n in sizes])
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}"
    encoded = encode_split(task, "train", tokenizer, [7, 8], context)
    cut = sum(len(e.ids) < n + 2 for e, n in zip(encoded, sizes, strict=True))
    assert 0 < cut < len(sizes)
    (found,) = too_long(task, tokenizer, context)
    assert found.startswith(f"{cut:,} of 6 prompts are longer than the {longest - 1:,} tokens")
    assert f"the longest has {longest + 701:,}" in found and "lose their beginning" in found
    assert ("in training and in every answer" in found) == (context == CONTEXT)


def test_nothing_is_said_of_what_fits(tokenizer, tasks):
    for task in tasks.values():
        assert too_long(task, tokenizer, CONTEXT) == []


def test_conversations_are_counted_with_their_template(tiny_folder):
    tokenizer = load_tokenizer(tiny_folder)
    task = choose([words(CONTEXT - 4, tokenizer), "short"], messages=True)
    (found,) = too_long(task, tokenizer, CONTEXT)
    assert found.startswith("1 of 2 prompts is longer than")


def test_long_completions_and_documents_are_counted(tokenizer):
    long, short = Example("a", words(CONTEXT // 2, tokenizer)), Example("b", words(CONTEXT // 2 - 1, tokenizer))
    (found,) = too_long(generate(long, short), tokenizer, CONTEXT)
    assert found.startswith("3 of 4 completions are longer than the 255 tokens") and "lose their end" in found
    pages = tuple(Example("", words(n, tokenizer)) for n in (20, CONTEXT, CONTEXT + 1, CONTEXT + 2))
    (found,) = too_long(Task("t", "text", "bits-per-byte", pages, (), ()), tokenizer, CONTEXT)
    assert found.startswith("2 of 4 documents are longer than 512 tokens")


def with_end(folder: Path, to: Path, end: str) -> Path:
    """The model with an EOS that nobody has heard of."""
    shutil.copytree(folder, to)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (to / name).write_text((to / name).read_text().replace("<|im_end|>", end))
    return to


def test_the_model_s_own_end_comes_off(tiny_folder, tmp_path):
    folder = with_end(tiny_folder, tmp_path / "model", "<<fin>>")
    assert load_tokenizer(folder).eos_token == "<<fin>>"
    for kind in ("choose", "generate"):
        plain = tiny_task(kind)
        ended = [Example(e.prompt, e.completion + " <<fin>>") for e in (*plain.train, *plain.validation, *plain.test)]
        a, b = len(plain.train), len(plain.train) + len(plain.validation)
        answers = tuple(sorted(answer + " <<fin>>" for answer in plain.answers))
        task = Task(plain.name, kind, plain.metric, tuple(ended[:a]), tuple(ended[a:b]), tuple(ended[b:]), answers)
        assert task.fingerprint != plain.fingerprint
        fitting = prepared(task, folder)
        assert fitting.fingerprint == plain.fingerprint
        assert any("60 completions with this model's own end" in f and "taken off" in f for f in fitting.findings)
        assert prepared(plain, folder).findings == plain.findings
    with pytest.raises(TaskError, match="nothing but '<<fin>>'"):
        prepared(generate(Example("a", "<<fin>>"), Example("b", "x")), folder)


def test_special_tokens_within_are_told(tokenizer):
    task = generate(Example("a <|endoftext|> b", "c"), Example("d", "e <|im_end|> f"))
    (found,) = own_marks(task, tokenizer)  # those of templates in prompts are told when the data are read
    assert found.startswith("1 completion with special tokens of this model (<|im_end|>)")


def test_a_dry_run_says_it(tiny_folder, tmp_path, capsys):
    from lightbulb.cli import main

    rows = [{"prompt": f"red{i} " + "lamp " * 600, "completion": "ab"[i % 2]} for i in range(40)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["shrink", str(tiny_folder), "--task", str(tmp_path / "t.jsonl"), "--max-time", "10m", "--threads", "1"]
    assert main([*command, "--dry-run"]) == 0
    assert "task: 40 of 40 prompts are longer than the 511 tokens" in capsys.readouterr().err
    assert main([*command, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["findings"][-1].startswith("40 of 40 prompts are longer")


def test_the_reported_file(tokenizer):
    (found,) = too_long(load_task(str(beside("cases/long.jsonl"))), tokenizer, CONTEXT)
    assert found.startswith("60 of 60 prompts are longer than the 511 tokens")
