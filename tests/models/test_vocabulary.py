from __future__ import annotations

import json

import pytest
import torch
from tiny import FAMILIES, TEXT, tiny_model

from lightbulb.core.errors import ModelError
from lightbulb.models.families import embedding_of, is_tied
from lightbulb.models.loading import load_model, load_tokenizer, save_model
from lightbulb.models.vocabulary import add_answers, byte_alphabet, trim

ANSWERS = ["card_arrival", "kitchen lights", "e", "Ünknown-thing", "no", "lights"]


def with_answers(tmp_path, family):
    folder = tiny_model(tmp_path / "m", family)
    model = load_model(folder)
    ids = add_answers(folder, tmp_path / "answers", model, ANSWERS)
    save_model(model, tmp_path / "answers")
    return folder, tmp_path / "answers", ids


def test_the_byte_alphabet_is_that_of_the_library():
    from tokenizers.pre_tokenizers import ByteLevel

    assert sorted(byte_alphabet()) == sorted(ByteLevel.alphabet())
    assert byte_alphabet()[ord(" ")] == "Ġ" and byte_alphabet()[ord("\n")] == "Ċ"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_answer_is_one_token_and_prints_verbatim(tmp_path, family):
    folder, answers, ids = with_answers(tmp_path, family)
    old, new, model = load_tokenizer(folder), load_tokenizer(answers), load_model(answers)
    assert len(set(ids)) == len(ANSWERS)
    assert [new.decode([i]) for i in ids] == ANSWERS
    assert embedding_of(model).num_embeddings == model.config.vocab_size == len(new)
    assert model.config.vocab_size % 8 == 0
    assert ids[2] == old.convert_tokens_to_ids("e")
    # other text is cut as before, and where there are merges to leave out the answers' own text too
    assert new(TEXT).input_ids == old(TEXT).input_ids
    if family not in ("mistral", "gemma3_text"):
        for text in (*ANSWERS, "a card_arrival, kitchen lights"):
            assert new(text).input_ids == old(text).input_ids


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_new_rows_are_means_and_old_rows_stay(tmp_path, family):
    folder, answers, ids = with_answers(tmp_path, family)
    before, after, old = load_model(folder), load_model(answers), load_tokenizer(folder)
    pieces = old(" card arrival").input_ids
    for get in (lambda m: embedding_of(m).weight, lambda m: m.lm_head.weight):
        assert torch.equal(get(after)[: len(get(before))], get(before))
        assert torch.allclose(get(after)[ids[0]], get(before)[pieces].mean(0))
    assert is_tied(after) == is_tied(before) == (family == "llama")


def test_answers_that_cannot_be_tokens_are_refused(tmp_path):
    folder = tiny_model(tmp_path / "m")
    for answers in ([""], ["<|im_end|>"], ["yes", "yes"]):
        with pytest.raises(ModelError):
            add_answers(folder, tmp_path / "out", load_model(folder), answers)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [None, 400])
def test_trimming_keeps_the_tokens_and_the_logits_of_the_kept_text(tmp_path, family, size):
    _, answers, ids = with_answers(tmp_path, family)
    texts = [TEXT[:150], "<|im_start|>user\nLock the door!<|im_end|>\n", " naïve\t\n\n  café 🤖"]
    model, old = load_model(answers), load_tokenizer(answers)
    kept = trim(answers, tmp_path / "cut", model, texts, ids, size)
    save_model(model, tmp_path / "cut")
    before, after, new = load_model(answers), load_model(tmp_path / "cut"), load_tokenizer(tmp_path / "cut")
    assert kept == sorted(kept) and set(ids) <= set(kept)
    assert len(kept) <= len(new) == embedding_of(after).num_embeddings == after.config.vocab_size < len(old)
    assert after.config.vocab_size % 8 == 0 and (size is None or after.config.vocab_size >= size)
    new_id = {o: n for n, o in enumerate(kept)}
    for text in texts:
        x, y = old(text).input_ids, new(text).input_ids
        assert [new_id[i] for i in x] == y
        with torch.no_grad():
            a, b = before(torch.tensor([x])).logits, after(torch.tensor([y])).logits
        assert torch.allclose(a[..., kept], b[..., : len(kept)], atol=1e-4)
        assert b.argmax(-1).max() < len(kept)  # an unused row, the mean of all, never wins
    for role in ("bos", "eos", "pad"):
        assert getattr(new, f"{role}_token") == getattr(old, f"{role}_token")
        assert getattr(after.config, f"{role}_token_id") == getattr(new, f"{role}_token_id")
    assert after.generation_config.eos_token_id == new.eos_token_id
    assert new.chat_template == old.chat_template


def test_a_trimmed_tokenizer_still_spells_anything(tmp_path):
    folder = tiny_model(tmp_path / "m")
    trim(folder, tmp_path / "cut", load_model(folder), ["lights"], [], None)
    new = load_tokenizer(tmp_path / "cut")
    text = "Zürich 東京 🤖\x00\r\n\t'S 1234 <|im_end|> ends"
    assert new.decode(new(text).input_ids) == text
    merges = json.loads((tmp_path / "cut" / "tokenizer.json").read_text())["model"]["merges"]
    assert 0 < len(merges) < 20


def test_ids_in_the_post_processor_move_too(tmp_path):
    folder = tiny_model(tmp_path / "m")
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    moved = 511  # a BOS that will change its id
    text = next(t for t, i in tokenizer["model"]["vocab"].items() if i == moved)
    special = {"SpecialToken": {"id": text, "type_id": 0}}
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [special, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [special, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {text: {"id": text, "ids": [moved], "tokens": [text]}},
    }
    file.write_text(json.dumps(tokenizer))
    kept = trim(folder, tmp_path / "cut", load_model(folder), ["lights"], [], None)
    assert load_tokenizer(tmp_path / "cut")("lights").input_ids[0] == kept.index(moved)


def test_the_source_is_not_touched(tmp_path):
    folder = tiny_model(tmp_path / "m")
    before = {f.name: f.read_bytes() for f in folder.iterdir()}
    model = load_model(folder)
    add_answers(folder, tmp_path / "a", model, ["x_y"])
    trim(tmp_path / "a", tmp_path / "b", model, ["lights"], [], None)
    assert {f.name: f.read_bytes() for f in folder.iterdir()} == before
