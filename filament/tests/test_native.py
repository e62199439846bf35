"""What filament computes: against float64, against itself in other ways, and against llama.cpp on a real model."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from gguf import GGUFReader
from random_models import GEMMA, MADE_UP, SHAPES, WRITTEN, Shape, Type, logits_in_float64, write_model

lightbulb_filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: `make filament`")
Model = lightbulb_filament.Model
TOKENS = [int(t) for t in np.random.default_rng(1).integers(0, 304, 70)]


def difference(ours: np.ndarray, truth: np.ndarray) -> float:
    """Root mean square of the difference of log-probabilities' logits, in units of the logits' own spread."""
    return float(np.sqrt(np.mean((ours - truth) ** 2)) / truth.std())


@pytest.mark.parametrize("type", [*WRITTEN, *MADE_UP], ids=lambda t: t.name)
@pytest.mark.parametrize("kernels", lightbulb_filament.available())
def test_logits_are_those_of_the_weights(tmp_path, type, kernels):
    shape = Shape()
    path = write_model(tmp_path / "m.gguf", type, shape)
    ours = Model(path, kernels=kernels).logits(TOKENS)
    assert ours.dtype == np.float32 and ours.shape == (len(TOKENS), shape.vocabulary)
    # float weights round nothing but keys and values; the others round activations to 8 bits
    limit = 0.03 if type in (Type.F32, Type.F16, Type.BF16) else 0.05
    assert difference(ours, logits_in_float64(path, shape, TOKENS)) < limit


@pytest.mark.parametrize("type", [t for t in (*WRITTEN, *MADE_UP) if t not in (Type.F32, Type.F16, Type.BF16)])
def test_weights_take_no_more_memory_than_in_the_file(tmp_path, type):
    """Rows here are whole tiles; a matrix begins and ends on a cache line."""
    path = write_model(tmp_path / "m.gguf", type)
    matrices = [t for t in GGUFReader(path).tensors if t.tensor_type == type]
    inside = sum(t.n_bytes for t in matrices)
    assert inside <= Model(path).weight_bytes <= inside + 2 * 64 * len(matrices)


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_of_every_family(tmp_path, name):
    path = write_model(tmp_path / "m.gguf", Type.F16, SHAPES[name])
    assert difference(Model(path).logits(TOKENS), logits_in_float64(path, SHAPES[name], TOKENS)) < 0.03


@pytest.mark.parametrize("type", [Type.Q4_0, Type.F16], ids=lambda t: t.name)
def test_widths_that_are_no_whole_tiles(tmp_path, type):
    if type == Type.F16:
        shape = Shape(width=60, heads=(5, 5), kv_heads=(5, 5), head=6, feed_forward=(172, 172), vocabulary=37)
    else:
        shape = Shape(width=96, heads=(4, 4), kv_heads=(1, 1), head=24, feed_forward=(160, 160), vocabulary=37)
    path = write_model(tmp_path / "m.gguf", type, shape)
    tokens = [t % 37 for t in TOKENS]
    assert difference(Model(path).logits(tokens), logits_in_float64(path, shape, tokens)) < 0.03


def test_instruction_sets_agree(tmp_path):
    """Whole numbers are summed without rounding; only the order of floats differs."""
    path = write_model(tmp_path / "m.gguf", Type.Q4_0)
    first, *others = [Model(path, kernels=k).logits(TOKENS) for k in lightbulb_filament.available()]
    for other in others:
        assert difference(other, first) < 5e-3


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", [Shape(), SHAPES["deci"], GEMMA], ids=lambda s: s.architecture)
@pytest.mark.parametrize(
    "type", [Type.Q4_1, Type.Q4_K, Type.Q6_K, Type.TQ2_0, Type.F16, Type.F32], ids=lambda t: t.name
)
def test_threads_and_batches_change_nothing(tmp_path, type, shape, threads):
    if type in (Type.Q4_K, Type.Q6_K, Type.TQ2_0):  # rows of 256
        shape = replace(shape, head=64, feed_forward=tuple(-(-n // 256) * 256 for n in shape.feed_forward))
    path = write_model(tmp_path / "m.gguf", type, shape)
    model, other = Model(path, threads=2), Model(path, threads=threads)
    tokens = TOKENS * 3  # more than one step reads
    whole = model.logits(tokens)
    assert np.array_equal(other.logits(tokens), whole)
    for n in (1, 2, 64, 129):
        assert np.array_equal(model.logits(tokens[:n])[-1], whole[n - 1])
        every = [[i] for i in range(whole.shape[1])]  # of the last layer, only the last token's output is computed
        assert np.array_equal(model.compare(tokens[:n], every), whole[n - 1])
    for n in (1, 5):  # a step of one token on every thread
        known = other.remember(tokens[:n])
        assert np.array_equal(other.compare(tokens[: n + 1], every, prefix=known), whole[n])


def test_greedy_is_the_likeliest_each_time(tmp_path):
    model = Model(write_model(tmp_path / "m.gguf", Type.Q8_0))
    written = model.generate(TOKENS, 20)
    assert len(written) == 20 and written == list(model.stream(TOKENS, 20))
    after = model.logits(TOKENS + written)[len(TOKENS) - 1 : -1]
    assert written == after.argmax(-1).tolist()
    assert model.generate(TOKENS, 20, stop=[written[3]]) == written[: written.index(written[3]) + 1]
    assert model.generate(TOKENS, 0) == []


def test_room_for_tokens_that_never_come_takes_no_memory(tmp_path):
    model = Model(write_model(tmp_path / "m.gguf", Type.Q8_0))
    first = model.generate(TOKENS, 1, stop=[])
    assert model.generate(TOKENS, 50_000_000, stop=first) == first  # 27 GB, if it were taken
    with pytest.raises(lightbulb_filament.FilamentError, match="no room for a text"):
        model.generate(TOKENS, 1 << 40)
    with pytest.raises(lightbulb_filament.FilamentError, match="no room for a text"):  # a sum that would wrap
        model.generate(TOKENS, 2**64 - len(TOKENS) + 1, prefix=model.remember(TOKENS))


def test_sampling(tmp_path):
    model = Model(write_model(tmp_path / "m.gguf", Type.Q8_0))
    greedy = model.generate(TOKENS, 12)
    assert model.generate(TOKENS, 12, temperature=1.0, top_p=1e-9) == greedy
    assert model.generate(TOKENS, 12, temperature=1.0, min_p=1.0) == greedy
    draws = {seed: model.generate(TOKENS, 12, temperature=2.0, seed=seed) for seed in range(3)}
    assert all(model.generate(TOKENS, 12, temperature=2.0, seed=seed) == drawn for seed, drawn in draws.items())
    assert len({tuple(drawn) for drawn in draws.values()}) == 3
    logits = model.logits(TOKENS)[-1].astype(np.float64)
    chances = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    first = np.bincount([model.generate(TOKENS, 1, temperature=1.0, seed=s)[0] for s in range(600)], minlength=304)
    assert abs(first[chances.argmax()] / 600 - chances.max()) < 4 * np.sqrt(chances.max() / 600)


def test_choices_are_scored_by_their_probabilities(tmp_path):
    model = Model(write_model(tmp_path / "m.gguf", Type.Q8_0))
    choices = [[5], [6, 7], [6, 8, 9], [300]]
    scores = model.score(TOKENS, choices)
    for choice, score in zip(choices, scores, strict=True):
        logits = model.logits(TOKENS + choice[:-1])[len(TOKENS) - 1 :].astype(np.float64)
        logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        assert score == pytest.approx(logs[np.arange(len(choice)), choice].sum(), abs=1e-3)
    assert model.choose(TOKENS, choices) == int(np.argmax(scores))
    assert model.compare(TOKENS, choices) == scores


@pytest.mark.parametrize("threads", [1, 3])
def test_choices_of_one_token_are_compared_by_their_logits(tmp_path, threads):
    model = Model(write_model(tmp_path / "m.gguf", Type.Q8_0), threads=threads)
    logits = model.logits(TOKENS)[-1]
    for choices in ([300], [5, 303, 5, 0, 17, 16], list(range(40, 90))):
        found = model.compare(TOKENS, [[i] for i in choices])
        assert np.array_equal(found, logits[choices])
        assert model.choose(TOKENS, [[i] for i in choices]) == int(np.argmax(logits[choices]))
    assert model.compare(TOKENS, []) == []
    assert np.array_equal(model.logits(TOKENS)[-1], logits)  # and all of them are there again
    with pytest.raises(lightbulb_filament.FilamentError, match="no token 304"):
        model.compare(TOKENS, [[5], [304]])


def test_texts_written_side_by_side_are_those_written_alone(tmp_path):
    model = Model(write_model(tmp_path / "m.gguf", Type.Q4_1))
    prompts = [TOKENS[: 1 + 9 * n] * (1 + n // 3) for n in range(7)]  # the longest takes two steps
    alone = [model.generate(p, 20, stop=[]) for p in prompts]
    for streams in (1, 3, 100):
        assert model.generate_batch(prompts, 20, streams=streams, stop=[]) == alone
    stop = [alone[2][4]]
    assert model.generate_batch(prompts, 20, streams=3, stop=stop) == [
        model.generate(p, 20, stop=stop) for p in prompts
    ]
    drawn = [model.generate(p, 9, temperature=1.5, seed=3) for p in prompts]
    assert model.generate_batch(prompts, 9, temperature=1.5, seed=3) == drawn
    assert model.generate_batch([], 9) == [] and model.generate_batch(prompts[:2], 0) == [[], []]


def test_many_threads_may_ask_at_once(tmp_path):
    model = Model(write_model(tmp_path / "m.gguf", Type.Q8_0))
    prompts = [TOKENS[n : n + 5] for n in range(12)]
    alone = [model.generate(p, 30) for p in prompts]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda p: model.generate(p, 30), prompts)) == alone


@pytest.mark.parametrize("type", [Type.Q4_0, Type.F16], ids=lambda t: t.name)
def test_what_is_remembered_changes_nothing(tmp_path, type):
    model = Model(write_model(tmp_path / "m.gguf", type))
    known = model.remember(TOKENS[:37])
    for prompt in (TOKENS, TOKENS[:37], TOKENS[:38], TOKENS[:5], TOKENS[:20] + [7, 7, 7], [9]):
        assert model.generate(prompt, 12, prefix=known) == model.generate(prompt, 12)
        assert model.score(prompt, [[3, 4], [5]], prefix=known) == model.score(prompt, [[3, 4], [5]])
    assert model.generate_batch([TOKENS, TOKENS[:40]], 12, prefix=known) == model.generate_batch(
        [TOKENS, TOKENS[:40]], 12
    )
    assert [model._stream(p, 1, prefix=known).known for p in (TOKENS, TOKENS[:37], TOKENS[:5])] == [37, 36, 4]
    with pytest.raises(lightbulb_filament.FilamentError, match="another model"):
        Model(tmp_path / "m.gguf").generate(TOKENS, 1, prefix=known)


class Ascending:
    """Lets each token be followed by greater ones only."""

    def __init__(self):
        self.last = -1

    def allowed(self) -> bytes:
        return np.packbits(np.arange(304) > self.last, bitorder="little").tobytes()

    def accept(self, token: int) -> None:
        self.last = token


def test_a_constraint_is_kept(tmp_path):
    model = Model(write_model(tmp_path / "m.gguf", Type.Q8_0))
    free = model.generate(TOKENS, 20, stop=[])
    for written in (
        model.generate(TOKENS, 4, stop=[], constraint=Ascending()),
        model.generate(TOKENS * 3, 4, stop=[], constraint=Ascending()),
        model.generate(TOKENS, 4, stop=[], constraint=Ascending(), temperature=3.0),
    ):
        assert len(written) == 4 and written == sorted(set(written))
    assert model.generate(TOKENS, 1, stop=[], constraint=Ascending()) == free[:1]
    for nothing in (bytes(38), b""):
        with pytest.raises(lightbulb_filament.FilamentError, match="no token is allowed"):
            model.generate(TOKENS, 20, stop=[303], constraint=Only(nothing))


class Only(Ascending):
    def __init__(self, tokens: bytes):
        self.tokens = tokens

    def allowed(self) -> bytes:
        return self.tokens


def test_a_child_of_a_fork_works_alone(tmp_path):
    """It has none of the threads; servers that fork after loading would wait for them for ever."""
    path = write_model(
        tmp_path / "m.gguf", Type.F32, Shape(layers=4, heads=(4,) * 4, kv_heads=(2,) * 4, feed_forward=(512,) * 4)
    )
    program = (
        "import lightbulb_filament, os, sys\n"
        f"model = lightbulb_filament.Model({str(path)!r}, threads=2)\n"
        "print(model.generate([1, 2, 3], 4), flush=True)\n"
        "if child := os.fork():\n    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
        "print(model.generate([1, 2, 3], 4), flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    first, second = done.stdout.splitlines()
    assert first == second and done.returncode == 0, done.stderr


def test_ctrl_c_is_heard_while_it_writes(tmp_path):
    path = write_model(tmp_path / "m.gguf", Type.Q8_0)
    program = (
        "import lightbulb_filament, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background does not have\n"
        f"model = lightbulb_filament.Model({str(path)!r})\n"
        "print('writing', flush=True)\n"
        "try:\n    model.generate([1, 2, 3], 1_000_000, stop=[])\n"
        "except KeyboardInterrupt:\n    print('heard', model.generate([1, 2, 3], 2, stop=[]))"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "writing\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        try:
            assert process.communicate(timeout=60)[0].startswith("heard [")
        finally:
            process.kill()


@pytest.mark.parametrize("threads", [1, 2])
def test_what_the_processor_can_do_is_tried(threads):
    for size in (1, 1 << 20):
        read, worked = lightbulb_filament.probe(size, threads)
        assert 1e7 < read < 1e14 and 1e7 < worked < 1e15  # any computer, however busy


def test_what_cannot_be_asked(tmp_path):
    model = Model(write_model(tmp_path / "m.gguf", Type.Q8_0))
    for wrong in (lambda: model.generate([304], 1), lambda: model.generate([-1], 1), lambda: model.generate([], 1)):
        with pytest.raises(lightbulb_filament.FilamentError):
            wrong()
    with pytest.raises(lightbulb_filament.FilamentError, match="there is no token 304 in a vocabulary of 304"):
        model.logits([304])
    with pytest.raises(lightbulb_filament.FilamentError):
        model.score(TOKENS, [[]])
    with pytest.raises(lightbulb_filament.FilamentError, match="streams"):
        model.generate_batch([[1]], 1, streams=0)
    with pytest.raises(lightbulb_filament.FilamentError, match="threads"):
        Model(tmp_path / "m.gguf", threads=0)
    for sampling in ({"min_p": 1.5}, {"temperature": float("nan")}, {"temperature": 1.0, "top_p": float("nan")}):
        with pytest.raises(lightbulb_filament.FilamentError, match="cannot sample"):
            model.generate(TOKENS, 1, **sampling)
    with pytest.raises(MemoryError):
        lightbulb_filament.probe(2**64 - 1, 1)
    with pytest.raises(lightbulb_filament.FilamentError, match="no kernels for mmx"):
        Model(tmp_path / "m.gguf", kernels="mmx")
