from __future__ import annotations

import pytest
from tiny import tiny_model

from lightbulb.core.artifact import Artifact
from lightbulb.core.progress import Silent
from lightbulb.models.form import render, turns_of
from lightbulb.models.loading import load_model, load_tokenizer, save_model
from lightbulb.models.vocabulary import add_answers
from lightbulb.passes.base import Context
from lightbulb.passes.trim_vocab import TrimVocab
from lightbulb.tasks.task import Example, Task

ANSWERS = ("card_arrival", "lights_off", "weather")
TRAIN = (Example("Turn the kitchen lights off", "lights_off"), Example("My new card?", "card_arrival"))
CHOOSE = Task(
    "tiny",
    "choose",
    "accuracy",
    TRAIN,
    (Example("What's the weather like", "weather"),),
    (Example("Schalte das Licht aus", "lights_off"),),
    ANSWERS,
)
GENERATE = Task("tiny", "generate", "exact", (Example("lights", '{"room": "kitchen"}'),), (), (Example("aus", "x"),))


def formatted(tmp_path, task):
    folder, out = tiny_model(tmp_path / "m"), tmp_path / "formatted"
    model = load_model(folder)
    ids = add_answers(folder, out, model, task.answers)
    save_model(model, out)
    facts = {"answer_ids": ids} if task.kind == "choose" else {}
    return Artifact(path=out, kind="model", key="k", made_by="format-task", facts=facts)


def trimmed(tmp_path, task, size=None, name="out"):
    source = formatted(tmp_path, task)
    context = Context(task=task, seed=0, progress=Silent(), scratch=tmp_path / "scratch")
    out = tmp_path / name
    out.mkdir()
    return source, out, TrimVocab(size=size).apply(source, out, context)


def test_answers_move_and_the_prompts_keep_their_tokens(tmp_path):
    source, out, facts = trimmed(tmp_path, CHOOSE)
    old, new = load_tokenizer(source.path), load_tokenizer(out)
    assert [new.decode([i]) for i in facts["answer_ids"]] == list(ANSWERS)
    for e in (*CHOOSE.train, *CHOOSE.validation):
        a, b = (t(render(t, turns_of(e))).input_ids for t in (old, new))
        assert old.convert_ids_to_tokens(a) == new.convert_ids_to_tokens(b)
    assert facts["unchanged_train_tokens"] == 1.0
    assert facts["rows"] < facts["rows_before"] and facts["bytes"] < facts["bytes_before"] == source.bytes
    assert facts["rows"] == load_model(out).config.vocab_size == len(new)


def test_the_test_split_is_not_looked_at(tmp_path):
    _, out, _ = trimmed(tmp_path, CHOOSE)
    old = load_tokenizer(tmp_path / "m")
    german = set(old.convert_ids_to_tokens(old("Schalte das Licht").input_ids))
    assert german - set(load_tokenizer(out).get_vocab())


def test_written_answers_are_kept_in_a_generate_task(tmp_path):
    source, out, facts = trimmed(tmp_path, GENERATE)
    assert "answer_ids" not in facts
    text = GENERATE.train[0].completion
    old, new = load_tokenizer(source.path), load_tokenizer(out)
    assert old.tokenize(text) == new.tokenize(text)


@pytest.mark.parametrize("size", [None, 400, 100_000])
def test_size_is_a_minimum_and_the_same_run_gives_the_same_bytes(tmp_path, size):
    source, out, facts = trimmed(tmp_path, CHOOSE, size)
    again = tmp_path / "again"
    again.mkdir()
    TrimVocab(size=size).apply(source, again, Context(CHOOSE, 0, Silent(), tmp_path))
    assert {f.name: f.read_bytes() for f in out.iterdir()} == {f.name: f.read_bytes() for f in again.iterdir()}
    assert facts["rows"] >= min(size or 0, facts["rows_before"]) and facts["rows"] % 8 == 0
