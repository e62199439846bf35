"""BERT classifiers: against float64, against themselves in other ways, and hostile files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_encoders import RANK, SMALL, EncoderShape, Reference, text_of, texts_of_length, write_encoder
from random_models import MADE_UP, WRITTEN, Type, damaged_weights
from scipy.special import softmax

lightbulb_filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: `make filament`")
Classifier = lightbulb_filament.Classifier

FLOATS = (Type.F32, Type.F16, Type.BF16)
LENGTHS = [2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 47, 63, 64, 65, 70]


def text(tokens: list[int]) -> str:
    return text_of(tokens[1:-1])


def log_odds(probability: float) -> float:
    return float(np.log(probability) - np.log1p(-probability))


def compared(path, lengths, kernels: str | None = None) -> tuple[float, int]:
    """(root mean square of the difference of log odds of the likeliest answers, in units of the scores' own spread; how
    many answers differ)."""
    reference, classifier = Reference(path), Classifier(path, kernels=kernels)
    tokens = [t for n in lengths for t in texts_of_length(n, 1)]
    chosen, given = classifier.classify([text(t) for t in tokens])
    scores = np.array([reference.scores(t) / reference.temperature for t in tokens])
    truth, spread = softmax(scores, axis=-1), scores.std()
    differences = [log_odds(p) - log_odds(t[c]) for c, p, t in zip(chosen, given, truth, strict=True)]
    return float(np.sqrt(np.mean(np.square(differences))) / spread), int((np.array(chosen) != truth.argmax(-1)).sum())


@pytest.mark.parametrize("type", [*WRITTEN, *MADE_UP], ids=lambda t: t.name)
@pytest.mark.parametrize("kernels", lightbulb_filament.available())
def test_probabilities_are_those_of_the_weights(tmp_path, type, kernels):
    path = write_encoder(tmp_path / "m.gguf", type)
    difference, others = compared(path, LENGTHS, kernels=kernels)
    # float weights round nothing but sums; the others round activations to 8 bits
    assert difference < (1e-5 if type in FLOATS else 0.03)
    assert others <= (0 if type in FLOATS else 2)


@pytest.mark.parametrize(
    "shape",
    [
        EncoderShape(normalizes=True),
        EncoderShape(pooling=RANK),
        EncoderShape(width=312, heads=12, hidden=1200, layers=1),  # heads of 26, no whole tiles
        EncoderShape(width=60, heads=3, hidden=100, answers=77),
        EncoderShape(width=48, heads=48, hidden=32, answers=2),
        EncoderShape(width=64, heads=1, hidden=64, layers=5, epsilon=1e-5),
    ],
    ids=str,
)
def test_shapes(tmp_path, shape):
    difference, others = compared(write_encoder(tmp_path / "m.gguf", Type.F32, shape), LENGTHS)
    assert difference < 1e-5 and others == 0


@pytest.mark.parametrize("type", [Type.Q8_0, Type.Q4_0, Type.F16], ids=lambda t: t.name)
def test_threads_and_batches_change_nothing(tmp_path, type):
    path = write_encoder(tmp_path / "m.gguf", type)
    texts = [text(t) for n in LENGTHS for t in texts_of_length(n, 2)]
    whole = Classifier(path, threads=1).classify(texts)
    for threads in (2, 3):
        assert Classifier(path, threads=threads).classify(texts) == whole
    alone = [Classifier(path, threads=2).classify([t]) for t in texts[:12]]
    assert ([a[0][0] for a in alone], [a[1][0] for a in alone]) == (whole[0][:12], whole[1][:12])
    backwards = Classifier(path, threads=2).classify(texts[::-1])
    assert (backwards[0][::-1], backwards[1][::-1]) == whole


def test_a_text_too_long_loses_its_end(tmp_path):
    classifier = Classifier(write_encoder(tmp_path / "m.gguf", Type.Q8_0, replace(SMALL, positions=8)))
    assert classifier.classify(["a b c d e f"]) == classifier.classify(["a b c d e f g h i j k"])
    assert classifier.classify(["a b c d e f"]) != classifier.classify(["a b c d e"])


def test_texts_of_any_kind_are_answered(tmp_path):
    """Empty ones, and bytes that are no UTF-8."""
    classifier = Classifier(write_encoder(tmp_path / "m.gguf", Type.Q8_0, SMALL))
    assert classifier.classify([]) == ([], [])
    chosen, probabilities = classifier.classify(
        ["", "\0", " " * 100_000, "\u0301" * 1000, "a" * 1_000_000, "\U0010ffff"]
    )
    assert len(chosen) == 6 and all(0.5 <= p <= 1 for p in probabilities)


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"bert.attention.head_count": 3}, "3 heads do not share a width of 32"),
        ({"bert.attention.head_count": 0}, "head_count cannot be 0"),
        ({"bert.embedding_length": 64}, "token_embd.weight does not fit"),
        ({"bert.embedding_length": None}, "bert.embedding_length is missing"),
        ({"bert.context_length": 9}, "position_embd.weight does not fit"),
        ({"bert.block_count": 2}, "blk.1.attn_q.bias is missing"),
        ({"bert.block_count": 0}, "block_count cannot be 0"),
        ({"bert.feed_forward_length": 64}, "ffn_up.weight does not have 64 rows"),
        ({"bert.pooling_type": 3}, "bert.pooling_type 3"),
        ({"bert.pooling_type": RANK, "lightbulb.normalize": True}, "lightbulb.normalize"),
        ({"bert.attention.causal": True}, "do not see those behind"),
        ({"bert.attention.layer_norm_epsilon": -1.0}, "epsilon cannot be -1"),
        ({"lightbulb.temperature": 0.0}, "temperature cannot be 0"),
        ({"lightbulb.temperature": float("nan")}, "temperature cannot be"),
        ({"lightbulb.answers": ["a", "b", "c"]}, "cls.output.weight does not have 3 rows"),
        ({"lightbulb.answers": None}, "lightbulb.answers is missing"),
        ({"tokenizer.ggml.model": "gpt2"}, "gpt2"),
        ({"tokenizer.ggml.tokens": ["[CLS]", "[SEP]", "[UNK]"]}, "token_type does not fit"),
        ({"tokenizer.ggml.tokens": None}, "tokenizer.ggml.tokens is missing"),
        ({"tokenizer.ggml.cls_token_id": 10_000}, "names no token: 10000"),
        ({"tokenizer.ggml.seperator_token_id": None}, "seperator_token_id is missing"),
        ({"tokenizer.ggml.token_type_count": 3}, "token_types.weight does not fit"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, fields, said):
    path = write_encoder(tmp_path / "m.gguf", Type.Q8_0, SMALL, **fields)
    with pytest.raises(lightbulb_filament.FilamentError, match=said) as raised:
        Classifier(path)
    assert str(path) in str(raised.value)


def test_a_tensor_with_no_place_is_refused(tmp_path):
    path = write_encoder(tmp_path / "m.gguf", Type.Q8_0, SMALL)
    path.write_bytes(path.read_bytes().replace(b"blk.0.attn_q.bias", b"blk.0.attn_x.bias"))
    with pytest.raises(lightbulb_filament.FilamentError, match=r"blk\.0\.attn_q\.bias is missing"):
        Classifier(path)
    more = write_encoder(tmp_path / "more.gguf", Type.Q8_0, replace(SMALL, layers=2), **{"bert.block_count": 1})
    with pytest.raises(lightbulb_filament.FilamentError, match=r"blk\.1\.attn_k\.bias has no place in this model"):
        Classifier(more)


def tried(path) -> str | None:
    """The error of loading and using the file, None if it works."""
    try:
        Classifier(path).classify(["a b c", "xyz"])
    except lightbulb_filament.FilamentError as e:
        return str(e)
    return None


def test_a_file_cut_anywhere_is_refused(tmp_path):
    whole = write_encoder(tmp_path / "m.gguf", Type.Q8_0, SMALL).read_bytes()
    cut = tmp_path / "cut.gguf"
    assert tried(tmp_path / "m.gguf") is None
    for length in range(0, len(whole) - 40, 97):
        cut.write_bytes(whole[:length])
        assert (said := tried(cut)) and str(cut) in said


def test_damage_gives_numbers_or_one_error(tmp_path):
    whole = write_encoder(tmp_path / "m.gguf", Type.Q4_0, SMALL).read_bytes()
    damaged, refused, rng = tmp_path / "damaged.gguf", 0, np.random.default_rng(0)
    for content in damaged_weights(whole, 200):
        damaged.write_bytes(content)
        said = tried(damaged)
        assert said is None or "weights are damaged" in said or str(damaged) in said
    header = whole.rfind(b"cls.output.bias") + 40
    for _ in range(1000):
        content = bytearray(whole)
        for _ in range(rng.choice([1, 1, 2, 8])):
            content[rng.integers(header)] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(256)])
        damaged.write_bytes(content)
        refused += tried(damaged) is not None
    assert refused > 300
