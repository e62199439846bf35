"""Ids of llama.cpp equal ids of transformers, on awkward text, for whole and trimmed tokenizers of every kind."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from llama_server import llama_server
from tiny import FAMILIES, SPECIAL, TEXT, tiny_model

from lightbulb.core.errors import ModelError, UnsupportedModel
from lightbulb.formats.gguf.pretokenizers import (
    PRE_TOKENIZERS,
    WHOLE_WORDS_FIRST,
    pre_tokenizer_json,
    pre_tokenizer_name,
)
from lightbulb.formats.gguf.tokenizer import added_ends, tokenizer_fields
from lightbulb.models.gguf import write_gguf
from lightbulb.models.loading import load_model, load_tokenizer, save_model
from lightbulb.models.vocabulary import add_answers, trim

ANSWERS = ["card_arrival", "kitchen lights", "lights", "Ünknown"]
PIECES = st.sampled_from(
    [
        *TEXT.split(" ")[:40],
        *SPECIAL,
        *ANSWERS,
        " ",
        "  ",
        "\n",
        "\n\n",
        "\t",
        "\r\n",
        "'S",
        "'ll",
        "12345",
        "3.14",
        "né",
        "東京",
        "🤖",
        "٣٤",
        "½",
        "_",
        "...",
        "<|",
        "|>",
        "\u3000",
        "e\u0301x",
        "ß",
        "\x01",
        "x" * 9,
    ]
)
AWKWARD = st.one_of(st.lists(PIECES, max_size=12).map("".join), st.text(max_size=24).filter(lambda t: "\x00" not in t))


@pytest.fixture(scope="module", params=[*FAMILIES, "llama-bpe", "tekken", "gpt-2", "trimmed llama", "trimmed mistral"])
def pair(request, tmp_path_factory):
    """(transformers' tokenizer, llama.cpp with the exported one)."""
    top = tmp_path_factory.mktemp("tokenizer")
    family = request.param.removeprefix("trimmed ")
    folder = tiny_with_words(top / "m", family) if family in PRE_TOKENIZERS else tiny_model(top / "m", family)
    if request.param.startswith("trimmed"):
        model = load_model(folder)
        ids = add_answers(folder, top / "a", model, ANSWERS)
        trim(top / "a", top / "b", model, [TEXT[:300]], ids, None)
        save_model(model, top / "b")
        folder = top / "b"
    write_gguf(folder, top / "m.gguf", "f16")
    with llama_server(top / "m.gguf") as server:
        yield load_tokenizer(folder), server


def tiny_with_words(folder, name):
    """A tiny model whose tokenizer cuts words as llama.cpp's `name` does."""
    tiny_model(folder)
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["pre_tokenizer"] = PRE_TOKENIZERS[name]
    tokenizer["model"]["ignore_merges"] = name in WHOLE_WORDS_FIRST
    file.write_text(json.dumps(tokenizer))
    return folder


@given(text=AWKWARD)
@example(text=TEXT)
@example(text="card_arrival kitchen lights Ünknown lightslights")
@example(text="  <|im_start|>  user\n <|im_end|>x")
@settings(max_examples=60, deadline=None, derandomize=True)
def test_llama_cpp_cuts_text_as_transformers_does(pair, text):
    tokenizer, server = pair
    assert server.tokenize(text) == tokenizer(text, add_special_tokens=False).input_ids


def test_names_and_descriptions_of_words_agree():
    for name in PRE_TOKENIZERS:
        described = {"pre_tokenizer": pre_tokenizer_json(name), "model": {"ignore_merges": name in WHOLE_WORDS_FIRST}}
        assert pre_tokenizer_name(described) == name
    with pytest.raises(UnsupportedModel, match="smollm"):
        pre_tokenizer_json("no-such-words")
    with pytest.raises(UnsupportedModel):
        pre_tokenizer_name({"pre_tokenizer": {"type": "Whitespace"}, "model": {}})
    with pytest.raises(UnsupportedModel):  # llama.cpp would look whole words up first, this tokenizer does not
        pre_tokenizer_name({"pre_tokenizer": PRE_TOKENIZERS["llama-bpe"], "model": {"ignore_merges": False}})


def test_a_bos_put_before_every_text_is_told_to_llama_cpp(tmp_path):
    folder = tiny_model(tmp_path / "m")
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    text, bos = {"Sequence": {"id": "A", "type_id": 0}}, SPECIAL[0]
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, text],
        "pair": [text, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {bos: {"id": bos, "ids": [0], "tokens": [bos]}},
    }
    file.write_text(json.dumps(tokenizer))
    assert added_ends(tokenizer) == (True, False)
    write_gguf(folder, tmp_path / "m.gguf", "f16")
    with llama_server(tmp_path / "m.gguf") as server:
        ids = server.post("/tokenize", content="lights", add_special=True)["tokens"]
    assert ids == load_tokenizer(folder)("lights").input_ids and ids[0] == 0


def test_rows_beyond_the_tokenizer_are_filled_and_missing_rows_refused(tmp_path):
    folder = tiny_model(tmp_path / "m")
    fields = tokenizer_fields(folder, 520)
    assert len(fields["tokenizer.ggml.tokens"]) == len(fields["tokenizer.ggml.token_type"]) == 520
    assert fields["tokenizer.ggml.token_type"][-1] == 5
    with pytest.raises(ModelError, match="rows"):
        tokenizer_fields(folder, 300)
    file = folder / "tokenizer.json"
    whole = json.loads(file.read_text())
    file.write_text(json.dumps(whole | {"normalizer": {"type": "Lowercase"}}))
    with pytest.raises(UnsupportedModel, match="Lowercase"):
        tokenizer_fields(folder, 520)
    file.write_text('{"model": {"type": "WordPiece"}}')
    with pytest.raises(UnsupportedModel, match="WordPiece"):
        tokenizer_fields(folder, 520)
