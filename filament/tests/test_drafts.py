"""Several tokens a step: guesses from the text itself, and those that a grammar gives no alternative to. They are the
tokens that one step each would give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from random_matmulfree import MixedShape, write_matmulfree
from random_models import GEMMA, SHAPES, WRITTEN, Shape, Type, write_model

lightbulb_filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: `make filament`")
Model = lightbulb_filament.Model
RANDOM = [int(t) for t in np.random.default_rng(1).integers(0, 304, 70)]
AGAIN = [5, 6, 7, 8, 9, 10, 11] * 5
PROMPTS = [RANDOM, AGAIN, [9], [9, 9], RANDOM[:20] + AGAIN[:20] + RANDOM[:20], RANDOM * 3]
EVERY = set(range(304))


def guesses(model: Model, prompt: Sequence[int], tokens: int, **more: object) -> tuple[list[int], int, int, int]:
    """What is written with guesses, the steps it took, tokens guessed, and of these the right ones."""
    stream = model._stream(prompt, tokens, lookup=True, **more)
    written, steps = [], 0
    while not stream.ended:
        written += lightbulb_filament._native.advance([stream], 1)[0]
        steps += 1
    return written, steps, stream.guessed, stream.right


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", [Shape(), SHAPES["deci"], GEMMA], ids=lambda s: s.architecture)
def test_guesses_change_no_token(tmp_path, shape, threads):
    """Right ones and wrong ones, whatever the window of attention. Only the number of steps becomes less."""
    model = Model(write_model(tmp_path / "m.gguf", Type.Q4_0, shape), threads=threads)
    guessed = right = 0
    for prompt in PROMPTS:
        plain = model.generate(prompt, 90, stop=[])
        written, steps, tried, agreed = guesses(model, prompt, 90, stop=[])
        assert written == plain
        assert steps == 90 - agreed + (len(prompt) - 1) // 64
        guessed, right = guessed + tried, right + agreed
    assert guessed >= right > 0


@pytest.mark.parametrize("type", WRITTEN, ids=lambda t: t.name)
def test_guesses_change_no_token_of_any_type(tmp_path, type):
    model = Model(write_model(tmp_path / "m.gguf", type))
    for prompt in (RANDOM, AGAIN):
        assert model.generate(prompt, 70, stop=[], lookup=True) == model.generate(prompt, 70, stop=[])


def test_guesses_change_no_token_that_is_drawn(tmp_path):
    model = Model(write_model(tmp_path / "m.gguf", Type.Q8_0))
    guessed = right = 0
    for seed in range(6):
        drawing = {"temperature": 0.3, "top_p": 0.9, "seed": seed, "stop": []}
        written, _, tried, agreed = guesses(model, AGAIN, 60, **drawing)
        assert written == model.generate(AGAIN, 60, **drawing)
        guessed, right = guessed + tried, right + agreed
    assert guessed > right > 0


def test_a_text_ends_within_a_guess_as_it_would_without(tmp_path):
    model = Model(write_model(tmp_path / "m.gguf", Type.Q8_0))
    plain = model.generate(AGAIN, 90, stop=[])
    for n in range(0, 90, 7):
        stop = [plain[n]]
        assert model.generate(AGAIN, 90, stop=stop, lookup=True) == model.generate(AGAIN, 90, stop=stop)
        assert model.generate(AGAIN, n, stop=[], lookup=True) == plain[:n]
    known = model.remember(AGAIN[:20])
    assert model.generate(AGAIN, 90, stop=[], lookup=True, prefix=known) == plain


def test_texts_written_side_by_side_guess_nothing(tmp_path):
    model = Model(write_model(tmp_path / "m.gguf", Type.Q8_0))
    alone = [model.generate(prompt, 40, stop=[]) for prompt in PROMPTS]
    for streams in (1, 3):
        assert model.generate_batch(PROMPTS, 40, streams=streams, stop=[], lookup=True) == alone
    both = [model._stream(prompt, 40, stop=[], lookup=True) for prompt in PROMPTS[:2]]
    lightbulb_filament._native.advance(both, 40)
    assert [stream.guessed for stream in both] == [0, 0]


@pytest.mark.parametrize("mixers", [("mlgru", "mlgru"), ("mlgru", "attention")], ids=["pure", "hybrid"])
def test_a_state_that_cannot_be_cut_back_guesses_nothing(tmp_path, mixers):
    model = Model(write_matmulfree(tmp_path / "m.gguf", MixedShape(mixers=mixers)))
    written, steps, guessed, _ = guesses(model, AGAIN, 60, stop=[])
    assert written == model.generate(AGAIN, 60, stop=[]) and (steps, guessed) == (60, 0)


def test_wrong_guesses_are_given_up(tmp_path):
    """Drawn almost evenly, tokens follow no rule that was seen before."""
    model = Model(write_model(tmp_path / "m.gguf", Type.Q8_0, Shape(vocabulary=16)))
    _, steps, guessed, right = guesses(model, [1, 2, 3], 2000, temperature=50.0, seed=1, stop=[])
    assert right < 0.2 * guessed and guessed < 0.15 * steps


class Sets:
    """Lets one token of each set follow, in a circle."""

    def __init__(self, sets: Sequence[set[int]]):
        self.sets, self.written = sets, 0

    def allowed(self) -> bytes:
        now = self.sets[self.written % len(self.sets)]
        return np.packbits([i in now for i in range(304)], bitorder="little").tobytes()

    def accept(self, token: int) -> None:
        assert token in self.sets[self.written % len(self.sets)]
        self.written += 1


CIRCLES = {
    "forced": [{5}, {6}, {7}, EVERY, {300}, EVERY - {5}],
    "few": [{5, 300}, {17, 18, 19}, {303, 0}, {1}],
    "forced at the end": [EVERY, {6}, {9}],
    "forced throughout": [{5}, {303}],
}


@pytest.mark.parametrize("recurrent", [False, True], ids=["attention", "mlgru"])
@pytest.mark.parametrize("circle", CIRCLES)
def test_what_is_allowed_is_chosen_as_from_all_logits(tmp_path, circle, recurrent):
    """Written one by one from logits of the whole text, whose forbidden tokens are left out."""
    path = tmp_path / "m.gguf"
    model = Model(write_matmulfree(path) if recurrent else write_model(path, Type.Q8_0))
    for prompt in (RANDOM, RANDOM * 3, [9]):
        expected: list[int] = []
        while len(expected) < 12:
            now = sorted(CIRCLES[circle][len(expected) % len(CIRCLES[circle])])
            expected.append(now[int(model.logits(prompt + expected)[-1][now].argmax())])
        constraint = Sets(CIRCLES[circle])
        assert model.generate(prompt, 12, stop=[], constraint=constraint) == expected
        assert constraint.written == 12
        known = model.remember(prompt[:7])
        assert model.generate(prompt, 12, stop=[], constraint=Sets(CIRCLES[circle]), prefix=known) == expected
        cut = expected[: expected.index(expected[4]) + 1]
        assert model.generate(prompt, 12, stop=[expected[4]], constraint=Sets(CIRCLES[circle])) == cut


def test_a_token_without_an_alternative_takes_no_step(tmp_path):
    model = Model(write_model(tmp_path / "m.gguf", Type.Q8_0))
    stream = model._stream(RANDOM, 4, stop=[])
    assert [stream.allow(Sets([{n}]).allowed()) for n in (5, 6, 7)] == [5, 6, 7] and not stream.ended
    assert stream.allow(Sets([{8, 9}]).allowed()) is None
    assert lightbulb_filament._native.advance([stream], 2)[0] == [
        8 + int(model.logits([*RANDOM, 5, 6, 7])[-1][8:10].argmax())
    ]
    assert stream.ended


def test_a_seed_draws_the_same_behind_a_token_without_an_alternative(tmp_path):
    """A forced token uses up one draw, as if it had been drawn among all."""
    model = Model(write_model(tmp_path / "m.gguf", Type.Q8_0))
    drawing = {"temperature": 2.0, "stop": []}
    for seed in range(5):
        free = model.generate(RANDOM, 3, seed=seed, **drawing)
        forced = model.generate(RANDOM, 3, seed=seed, constraint=Sets([{free[0]}, {free[1]}, EVERY]), **drawing)
        assert forced == free
