"""Models without matrix products on what they remember: against docs/format.md in numpy, against themselves in other
ways, and files that are hostile."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from random_matmulfree import Fields, MatmulFreeReference, MixedShape, Tensors, write_matmulfree
from random_models import Type, damaged_headers, damaged_weights

lightbulb_filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: `make filament`")
Model, FilamentError = lightbulb_filament.Model, lightbulb_filament.FilamentError
PURE = MixedShape()
HYBRID = MixedShape(mixers=("mlgru", "attention", "mlgru"), heads=4, kv_heads=2)
SMALL = MixedShape(mixers=("mlgru", "attention"), feed_forward=256, heads=2, kv_heads=1, head=128, vocabulary=16)
SHAPES = {
    "pure": PURE,
    "hybrid": HYBRID,
    "attention only": replace(HYBRID, mixers=("attention",), kv_heads=4, head=128),
    "tied": replace(PURE, tied=True, dense=Type.Q8_0),
    "wide": replace(PURE, mixers=("mlgru",), width=768, feed_forward=1024, dense=Type.Q4_0),
}
TOKENS = [int(t) for t in np.random.default_rng(1).integers(0, 304, 70)]


def difference(ours: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sqrt(np.mean((ours - truth) ** 2)) / truth.std())


@pytest.mark.parametrize("name", SHAPES)
def test_logits_are_those_of_the_format(tmp_path, name):
    """Where activations are rounded at the same places only a number that lies between two may become the other one;
    attention rounds keys and values, too."""
    shape = SHAPES[name]
    path = write_matmulfree(tmp_path / "m.gguf", shape)
    truth = MatmulFreeReference(path, shape).logits(TOKENS)
    limit = 0.04 if "attention" in shape.mixers else 0.01
    for kernels in lightbulb_filament.available():
        assert difference(Model(path, kernels=kernels).logits(TOKENS), truth) < limit


def test_the_state_is_felt(tmp_path):
    """The same token after two beginnings: what a model without a memory would give, ours does not."""
    model = Model(write_matmulfree(tmp_path / "m.gguf"))
    assert difference(model.logits(TOKENS[:20] + [7])[-1], model.logits(TOKENS[20:40] + [7])[-1]) > 0.1


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", [PURE, HYBRID], ids=["pure", "hybrid"])
def test_threads_and_chunks_change_nothing(tmp_path, shape, threads):
    path = write_matmulfree(tmp_path / "m.gguf", shape)
    model, other = Model(path, threads=2), Model(path, threads=threads)
    tokens = TOKENS * 3  # more than one step reads
    whole = model.logits(tokens)
    assert np.array_equal(other.logits(tokens), whole)
    for n in (1, 2, 63, 64, 65, 129):
        assert np.array_equal(model.logits(tokens[:n])[-1], whole[n - 1])
        every = [[i] for i in range(whole.shape[1])]  # of the last layer, only the last token's output is computed
        assert np.array_equal(model.compare(tokens[:n], every), whole[n - 1])


@pytest.mark.parametrize("shape", [PURE, HYBRID], ids=["pure", "hybrid"])
def test_writing_is_reading_what_was_written(tmp_path, shape):
    model = Model(write_matmulfree(tmp_path / "m.gguf", shape))
    written = model.generate(TOKENS, 20, stop=[])
    assert written == model.logits(TOKENS + written)[len(TOKENS) - 1 : -1].argmax(-1).tolist()


@pytest.mark.parametrize("shape", [PURE, HYBRID], ids=["pure", "hybrid"])
def test_texts_side_by_side_are_those_alone(tmp_path, shape):
    model = Model(write_matmulfree(tmp_path / "m.gguf", shape))
    prompts = [TOKENS[: 1 + 9 * n] * (1 + n // 3) for n in range(7)]
    alone = [model.generate(p, 12, stop=[]) for p in prompts]
    for streams in (1, 3, 100):
        assert model.generate_batch(prompts, 12, streams=streams, stop=[]) == alone


@pytest.mark.parametrize("shape", [PURE, HYBRID], ids=["pure", "hybrid"])
def test_each_choice_begins_where_the_prompt_ends(tmp_path, shape):
    """What one continuation did to the state is undone before the next."""
    model = Model(write_matmulfree(tmp_path / "m.gguf", shape))
    choices = [[5, 9, 11], [6, 7], [6, 8, 9], [300]]
    for choice, score in zip(choices, model.score(TOKENS, choices), strict=True):
        logits = model.logits(TOKENS + choice[:-1])[len(TOKENS) - 1 :].astype(np.float64)
        logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        assert score == pytest.approx(logs[np.arange(len(choice)), choice].sum(), abs=1e-3)


@pytest.mark.parametrize("shape", [PURE, HYBRID], ids=["pure", "hybrid"])
def test_what_is_remembered_changes_nothing(tmp_path, shape):
    """A state is kept after each step of 64 tokens and at the end; what lies between is read again."""
    model, long = Model(write_matmulfree(tmp_path / "m.gguf", shape)), TOKENS * 2
    known = model.remember(long[:130])
    prompts = {  # and the tokens of it that need not be read
        130: [*long[:130], 7],
        128: long[:130],
        64: [*long[:100], 9, 9, 9],
        0: long[:64],
    }
    for reused, prompt in prompts.items():
        assert model._stream(prompt, 1, prefix=known).known == reused
        assert model.generate(prompt, 12, prefix=known) == model.generate(prompt, 12)
        assert model.score(prompt, [[3, 4], [5, 6]], prefix=known) == model.score(prompt, [[3, 4], [5, 6]])
    batch = list(prompts.values())
    assert model.generate_batch(batch, 12, prefix=known) == model.generate_batch(batch, 12)


def test_a_token_costs_the_same_after_any_context(tmp_path):
    pure = Model(write_matmulfree(tmp_path / "m.gguf"))
    hybrid = Model(write_matmulfree(tmp_path / "h.gguf", HYBRID))
    assert pure.cost(0) == pure.cost(100_000)
    assert pure.cost(0)[0] - pure.weight_bytes == 2 * len(PURE.mixers) * PURE.width * 4  # the state, read and written
    assert hybrid.cost(0) < hybrid.cost(100_000)


PEAK = (
    "import lightbulb_filament, sys\n"
    "def peak(): return next(int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('VmHWM'))\n"
    "model = lightbulb_filament.Model(sys.argv[1], threads=1)\n"
    "tokens = [5] * 20000\n"
    "model.generate(tokens[:640], 2, stop=[])\n"
    "before = peak()\n"
    "model.generate(tokens, 2, stop=[])\n"
    "print(peak() - before)"
)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_context(tmp_path):
    """After 20,000 tokens it is as after 640; a single layer of attention needs megabytes more."""
    taken = []
    for shape in (replace(PURE, mixers=("mlgru",)), replace(HYBRID, mixers=("mlgru", "attention"))):
        path = write_matmulfree(tmp_path / "m.gguf", shape)
        done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, timeout=120)
        taken.append(int(done.stdout))
    assert taken[0] < 1024 and taken[1] > 4096  # KiB


def tried(path) -> str | None:
    """The error of loading and using the file, None if it works."""
    try:
        Model(path, threads=1).generate([1, 2, 3], 2)
    except FilamentError as e:
        return str(e)
    return None


def without(name: str) -> Callable[[Fields, Tensors], None]:
    return lambda fields, tensors: void(tensors.pop(name))


def field(name: str, value) -> Callable[[Fields, Tensors], None]:
    return lambda fields, tensors: fields.update({name: value})


def vector(name: str, values) -> Callable[[Fields, Tensors], None]:
    array = np.asarray(values, np.float32)
    return lambda fields, tensors: tensors.update({name: (array, Type.F32, array.shape)})


def ternary(name: str, rows: int, columns: int) -> Callable[[Fields, Tensors], None]:
    data = np.zeros(rows * columns // 256 * 66, np.uint8)
    return lambda fields, tensors: tensors.update({name: (data, Type.TQ2_0, (rows, columns))})


def void(_) -> None:
    """Of what is called for its effect."""


HOSTILE = [
    (field("mixer", ["mlgru", "mamba"]), "mixers of the kind mamba cannot be run; these can: mlgru, attention"),
    (field("mixer", ["mlgru"]), "names 1 layers, not the model's 2"),
    (field("mixer", ["mlgru"] * 3), "names 3 layers, not the model's 2"),
    (field("mixer", "mlgru"), "matmulfree.mixer is no list of texts"),
    (field("mixer", [0, 1]), "matmulfree.mixer is no list of texts"),
    (lambda fields, tensors: void(fields.pop("mixer")), "matmulfree.mixer is missing"),
    (lambda fields, tensors: void(fields.pop("attention.head_count")), "attention.head_count is missing"),
    (field("attention.head_count", [2, 0]), "heads cannot be 0"),
    (field("attention.head_count_kv", 0), "on 0 of keys"),
    (field("attention.head_count", 3), "does not have 384 rows"),
    (field("vocab_size", 17), "does not fit matmulfree.vocab_size"),
    (field("feed_forward_length", 512), "does not have 512 rows"),
    (field("embedding_length", 512), "does not fit matmulfree.embedding_length"),
    (field("block_count", 1), "names 2 layers"),
    *[(without(f"{name}.weight"), f"{name}.weight is missing") for name in (
        "blk.0.attn_norm", "blk.0.mix_f", "blk.0.mix_c", "blk.0.mix_g", "blk.0.mix_lower", "blk.0.mix_out_norm",
        "blk.0.mix_out", "blk.1.attn_q", "blk.1.attn_out_norm", "blk.1.ffn_norm", "blk.1.ffn_down_norm", "output_norm",
        "token_embd",
    )],
    (ternary("blk.0.mix_f.weight", 512, 256), "mix_f.weight does not have 256 rows"),
    (ternary("blk.0.mix_g.weight", 256, 512), "mix_g.weight does not have 256 columns"),
    (ternary("blk.0.mix_c.weight", 256, 250), "rows of 250 weights are not whole blocks of TQ2_0"),
    (vector("blk.0.mix_lower.weight", np.zeros(255)), "mix_lower.weight does not have 256 entries"),
    (vector("blk.0.mix_out_norm.weight", np.ones(16)), "mix_out_norm.weight does not have 256 entries"),
    (vector("blk.1.ffn_down_norm.weight", np.ones(512)), "ffn_down_norm.weight does not have 256 entries"),
    (vector("blk.0.mix_lower.weight", np.full(256, 1.0)), "not from 0 to below 1"),
    (vector("blk.0.mix_lower.weight", np.full(256, -0.1)), "not from 0 to below 1"),
    (vector("blk.0.mix_lower.weight", np.full(256, np.nan)), "not from 0 to below 1"),
    (vector("blk.0.mix_h.weight", np.ones(256)), "the tensor blk.0.mix_h.weight has no place in this model"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), HOSTILE, ids=[said for _, said in HOSTILE])
def test_what_does_not_fit_is_refused(tmp_path, change, said):
    path = write_matmulfree(tmp_path / "m.gguf", SMALL, change=change)
    assert said in (tried(path) or "")


def test_a_file_cut_anywhere_is_refused(tmp_path):
    whole = write_matmulfree(tmp_path / "m.gguf", SMALL).read_bytes()
    cut = tmp_path / "cut.gguf"
    assert tried(tmp_path / "m.gguf") is None
    for length in [*range(0, 2000, 97), *range(2000, len(whole) - 40, len(whole) // 40)]:
        cut.write_bytes(whole[:length])
        assert (said := tried(cut)) and str(cut) in said


def test_damage_gives_numbers_or_one_error(tmp_path):
    whole, damaged, refused = write_matmulfree(tmp_path / "m.gguf", SMALL).read_bytes(), tmp_path / "damaged.gguf", 0
    for content in damaged_headers(whole, 300):
        damaged.write_bytes(content)
        refused += tried(damaged) is not None
    assert refused > 100
    for content in damaged_weights(whole, 100):
        damaged.write_bytes(content)
        said = tried(damaged)
        assert said is None or "weights are damaged" in said or str(damaged) in said
