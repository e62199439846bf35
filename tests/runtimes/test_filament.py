"""filament as a runtime of lightbulb: the same tokens, templates and answers as the others give."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stories import stories260k
from tiny import FAMILIES, TEXT, tiny_model

pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")

from lightbulb.errors import ModelError, UserError
from lightbulb.formats.gguf import write_gguf
from lightbulb.models.form import render
from lightbulb.models.loading import load_tokenizer
from lightbulb.runtimes.filament import Filament
from lightbulb.runtimes.llamacpp import LlamaCpp

RUNS = tuple(f for f in FAMILIES if not f.startswith("gemma"))


@pytest.fixture(scope="module", params=RUNS)
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


def test_what_it_cannot_run_is_one_clear_error(tmp_path):
    folder = tiny_model(tmp_path / "m", "gemma3_text")
    write_gguf(folder, tmp_path / "m.gguf", "f32")
    with pytest.raises(ModelError, match="filament cannot run this file: .*gemma3") as e:
        Filament(tmp_path / "m.gguf")
    assert e.value.mend == "--runtime llamacpp"


def test_without_filament_it_says_what_to_type(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "lightbulb_filament", None)
    with pytest.raises(UserError, match="filament is not installed"):
        Filament(tmp_path / "m.gguf")
