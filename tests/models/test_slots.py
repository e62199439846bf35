"""Files of slots: their answers are those of docs/format.md, they come back as they were, bad ones are refused."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import plain_slots
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from random_slots import BAD, KNOWN, bad, random_file

from lightbulb.core.errors import ModelError
from lightbulb.models.kinds.slot_file import read_slots, tensors_of, write_slots
from lightbulb.models.kinds.slots import Table

SCALARS = st.characters(exclude_categories=["Cs"])
FORMS = [{}, {"copied": False}, {"closed": False}]
WORDS = (
    'wake me ME at 7 30 18:05! Anna no wait, Lamp \u00a0 Straße ÜBER ΣΊ 東京 ½ _a \U0001f600 "q\\ 12345678901234567890'
)
MOST = 6  # tokens: all paths of tags are tried


def random_text(seed: int) -> str:
    rng = random.Random(seed)
    text = rng.choice(["", " ", "\t"]).join(rng.choice(WORDS.split(" ")) + rng.choice(["", " "]) for _ in range(5))
    tokens = plain_slots.tokens_of(text)
    return text[: tokens[MOST]["begin"]] if len(tokens) > MOST else text


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.sampled_from(FORMS), st.one_of(st.sampled_from(KNOWN), st.text(SCALARS, max_size=5)))
@example(0, {}, "")
@example(1, {"closed": False}, "7 30 Anna")
@example(2, {"closed": False}, 'A\x00\x1f\x7f"\\\u2028')
def test_answers_are_those_of_the_page(seed, form, text):
    file = random_file(seed, **form)
    for asked in (text, random_text(seed)):
        (said,) = file.fill([asked])
        expected, probability = plain_slots.filled(file, asked)
        assert said.text == expected
        assert file.probabilities([said])[0] == pytest.approx(probability, rel=1e-5)


def test_neighbours_change_nothing():
    file, texts = random_file(3), [*KNOWN, "", *(random_text(n) for n in range(20))]
    whole = file.fill(texts)
    assert [file.fill([text])[0] for text in texts] == whole and len({f.text for f in whole}) > 3


def test_of_equal_scores_the_first_wins():
    file = random_file(4)
    flat = replace(file, choices=_without_weights(file.choices), tags=_without_weights(file.tags))
    flat = replace(flat, transitions=np.zeros_like(flat.transitions))
    assert flat.fill(["wake me"])[0].text == '{"n": 1, "at": "ax"}' and flat.fill(["wake me"])[0].margin == 0


def _without_weights(table: Table) -> Table:
    return replace(table, weights=np.zeros_like(table.weights), bias=np.zeros_like(table.bias))


@pytest.mark.parametrize("form", FORMS)
def test_a_file_comes_back_as_it_was(tmp_path, form):
    file, path = random_file(5, **form), tmp_path / "model.gguf"
    write_slots(file, path)
    read = read_slots(path)
    before, after = tensors_of(file), tensors_of(read)
    assert before.keys() == after.keys() and all((before[n][1] == after[n][1]).all() for n in before)
    assert read.fill(KNOWN) == file.fill(KNOWN) and (read.slope, read.offset) == (file.slope, file.offset)
    assert vars(read.form) | {"sets": None} == vars(file.form) | {"sets": None}
    write_slots(read, tmp_path / "again.gguf")
    assert (tmp_path / "again.gguf").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused(tmp_path, name):
    path = tmp_path / "model.gguf"
    write_slots(bad(name), path)
    with pytest.raises(ModelError, match=r"model\.gguf cannot be used") as e:
        read_slots(path)
    assert e.value.where == str(path) and e.value.hint


def test_damaged_bytes_do_no_harm(tmp_path):
    """Most are refused, some still give answers."""
    path, rng, refused = tmp_path / "model.gguf", random.Random(0), 0
    write_slots(random_file(7), path)
    whole = path.read_bytes()
    for _ in range(300):
        copy = bytearray(whole)
        for _ in range(rng.choice((1, 2, 8))):
            copy[rng.randrange(1500)] = rng.choice((0, 1, 127, 128, 255))
        path.write_bytes(copy)
        try:
            read_slots(path).fill(["wake me at 7"])
        except ModelError:
            refused += 1
    assert refused > 50
