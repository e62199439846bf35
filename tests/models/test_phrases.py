"""Phrases of written answers as tokens of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest import tiny_task
from tiny import tiny_model

from lightbulb.core.artifact import Artifact
from lightbulb.core.progress import Silent
from lightbulb.models.families import embedding_of
from lightbulb.models.loading import load_model, load_tokenizer, save_model
from lightbulb.models.phrases import LEAST, Phrases, add_phrases, learn_phrases, numbers, phrases_for, phrases_of
from lightbulb.models.vocabulary import trim
from lightbulb.passes.base import Context
from lightbulb.passes.format_task import FormatTask
from lightbulb.tasks.task import Example
from lightbulb.train.data import encode_split

ANSWER = "find . -name {} -print"


def with_phrases(tmp_path, family="llama"):
    folder = tiny_model(tmp_path / "m", family)
    examples = tuple(Example(f"files called {n}", ANSWER.format(n)) for n in range(3 * LEAST))
    task = replace(tiny_task("generate"), train=examples)
    model = load_model(folder)
    found = phrases_for(task, folder, 64)
    add_phrases(folder, tmp_path / "phrases", model, found)
    save_model(model, tmp_path / "phrases")
    return folder, tmp_path / "phrases", task, found


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_an_answer_is_fewer_tokens_and_the_same_text(tmp_path, family):
    folder, out, task, found = with_phrases(tmp_path, family)
    old, new = load_tokenizer(folder), load_tokenizer(out)
    before, after = encode_split(task, "train", old, None, 512), encode_split(task, "train", new, None, 512)
    assert found
    for a, b, example in zip(before, after, task.train, strict=True):
        assert a.ids[: a.first_target] == b.ids[: b.first_target], "a prompt is cut as before"
        assert len(b.targets) < len(a.targets) / 2
        assert new.decode(b.targets, skip_special_tokens=True) == example.completion


def test_text_is_never_cut_into_phrases(tmp_path):
    folder, out, task, _ = with_phrases(tmp_path)
    old, new = load_tokenizer(folder), load_tokenizer(out)
    for example in task.train:
        assert new(example.completion).input_ids == old(example.completion).input_ids


def test_new_rows_are_the_means_of_their_pieces(tmp_path):
    folder, out, _, found = with_phrases(tmp_path)
    before, after = embedding_of(load_model(folder)).weight, embedding_of(load_model(out)).weight
    ids = phrases_of(load_tokenizer(out)).ids
    assert set(ids) == set(found)
    for pieces, phrase in ids.items():
        assert torch.allclose(after[phrase], before[list(pieces)].mean(0), atol=1e-6)


def test_a_trimmed_vocabulary_keeps_them(tmp_path):
    _, out, task, found = with_phrases(tmp_path)
    model, tokenizer = load_model(out), load_tokenizer(out)
    texts = [e.completion for e in task.train]
    trim(out, tmp_path / "trimmed", model, texts, list(phrases_of(tokenizer).ids.values()), None)
    kept = load_tokenizer(tmp_path / "trimmed")
    assert len(phrases_of(kept).ids) == len(found) and len(kept) < len(tokenizer)
    for text in texts:
        ids = phrases_of(kept).shorten(kept(text, add_special_tokens=False).input_ids)
        assert kept.decode(ids) == text and len(ids) < len(kept(text).input_ids) / 2


def test_the_longest_phrase_is_taken_from_the_left():
    phrases = Phrases({(1, 2): 10, (1, 2, 3): 11, (3, 4): 12})
    assert phrases.shorten([1, 2, 3, 4, 1, 2, 4]) == [11, 4, 10, 4]
    assert phrases.shorten([]) == [] and Phrases({}).shorten([1, 2]) == [1, 2]


def test_what_is_seldom_used_is_no_phrase():
    often, seldom = [[1, 2, 3, 4, 5]] * LEAST, [[7, 8, 9]] * (LEAST - 1)
    assert learn_phrases([*often, *seldom], 50) == [
        (1, 2, 3, 4, 5)
    ]  # the shorter ones are in it, and used nowhere else
    assert learn_phrases([], 50) == []


def test_no_more_than_were_asked_for():
    answers = [[n, n + 1] for n in range(0, 80, 2)] * LEAST
    assert len(learn_phrases(answers, 8)) == 8
    assert len(numbers(learn_phrases(answers, 100)).ids) == 40


@pytest.mark.parametrize(("family", "kind"), [("mistral", "generate"), ("llama", "choose"), ("llama", "text")])
def test_sentencepiece_and_other_tasks_have_none(tmp_path, family, kind):
    folder = tiny_model(tmp_path / "m", family)
    task = replace(tiny_task(kind), train=tuple(Example("p", ANSWER.format("x")) for _ in range(3 * LEAST)))
    assert phrases_for(task, folder, 64) == []


def test_format_task_makes_them_where_it_is_asked_to(tmp_path):
    folder, _, task, found = with_phrases(tmp_path)
    model = Artifact(path=folder, kind="model", key="m", made_by="test")
    (out := tmp_path / "formatted").mkdir()
    facts = FormatTask(phrases=64).apply(model, out, Context(task, 0, Silent(), tmp_path))
    assert facts["phrases"] == len(found) == len(phrases_of(load_tokenizer(out)).ids)


def test_what_is_copied_from_the_prompt_is_in_no_phrase(tmp_path):
    folder = tiny_model(tmp_path / "m")
    rows = [Example(f"open the {room}", f"open then {room} now and here") for room in ("kitchen", "attic", "hall")]
    task = replace(tiny_task("generate"), train=tuple(rows * LEAST))
    tokenizer = load_tokenizer(folder)
    texts = [tokenizer.decode(list(pieces)) for pieces in phrases_for(task, folder, 64)]
    assert texts and not any(word in text for text in texts for word in ("open", "kitchen", "attic", "hall"))
