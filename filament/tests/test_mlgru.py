"""Models without matrix products on what they remember, and others of their parts: against docs/format.md in numpy, and
against themselves in other ways. Files that are hostile: test_mixer_files.py."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from random_matmulfree import BITNET, RECURRENT, MatmulFreeReference, MixedShape, write_matmulfree
from random_models import Type

lightbulb_filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: `make filament`")
Model = lightbulb_filament.Model
PURE = MixedShape()
HYBRID = MixedShape(mixers=("mlgru", "attention", "mlgru"), heads=4, kv_heads=2)
SHAPES = {
    "pure": PURE,
    "hybrid": HYBRID,
    "attention only": replace(HYBRID, mixers=("attention",), kv_heads=4, head=128),
    "tied": replace(PURE, tied=True, dense=Type.Q8_0),
    "wide": replace(PURE, mixers=("mlgru",), width=768, feed_forward=1024, dense=Type.Q4_0),
    BITNET: MixedShape(BITNET, mixers=("attention",), tied=True),
    RECURRENT: MixedShape(RECURRENT, mixers=("mlgru", "attention", "mlgru")),
    "recurrent, of whole numbers": MixedShape(RECURRENT, dense=Type.Q8_0),
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
