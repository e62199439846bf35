"""How the answers of a task are put together, as it is found in its examples."""

from __future__ import annotations

import json

import numpy as np
import pytest

from lightbulb.tasks.demo import home_task
from lightbulb.tasks.task import Example
from lightbulb.train.slots import Learner, Lesson, calibrated, form_of, pieces_of, tags_of, why_not

TABLES = [
    ("a table for 4 at 18:30", {"kind": "book", "people": "4", "time": "18:30"}),
    ("move it to 7 pm, Anna", {"kind": "move", "time": "7 pm", "name": "Anna"}),
    ('for 2 under "Bo"', {"kind": "book", "people": "2", "name": "Bo"}),
    ("cancel it", {"kind": "cancel"}),
]


def examples(pairs, **style) -> list[Example]:
    return [Example(text, json.dumps(answer, **style)) for text, answer in pairs]


def test_fields_are_copied_where_their_values_stand_in_the_texts():
    form = form_of(Lesson.of(examples(TABLES)), examples(TABLES))
    assert form.fields == ('"kind": ', '"people": ', '"time": ', '"name": ')
    assert (form.opening, form.between, form.closing) == ("{", ", ", "}")
    assert form.copied == (1, 2, 3) and form.pieces == (0,) and form.options == (('"book"', '"cancel"', '"move"'),)
    assert form.sets.tolist() == [[True, False, False, False]]
    assert form.written({3: '"Bo"', 0: '"book"'}) == '{"kind": "book", "name": "Bo"}'


def test_answers_are_written_as_most_are():
    tight = examples(TABLES, separators=(",", ":"))
    assert form_of(Lesson.of(tight), tight).fields[0] == '"kind":'


def test_tags_mark_the_tokens_of_what_is_copied():
    lesson = Lesson.of(examples(TABLES))
    form = form_of(lesson, examples(TABLES))
    tags = tags_of(lesson, form, ["kind", "people", "time", "name"])
    own = [lesson.texts[n][a:b] for n, a, b in zip(*_places(lesson), strict=True)]
    tagged = [(text, int(tag)) for text, tag in zip(own, tags, strict=True) if tag]
    assert tagged == [("4", 1), ("18", 3), (":", 4), ("30", 4), ("7", 3), ("pm", 4), ("Anna", 5), ("2", 1), ("Bo", 5)]


def _places(lesson):
    return lesson.tokens.text_of, lesson.tokens.begins, lesson.tokens.ends


def test_numbers_that_are_copied_stand_without_quotes():
    rows = examples(
        [(f"lamp number {n}, {n % 3}.5 percent", {"lamp": n, "by": n % 3 + 0.5, "ok": True}) for n in range(9)]
    )
    form = form_of(Lesson.of(rows), rows)
    assert form.copied == form.bare == (0, 1) and form.pieces == (2,)


def test_times_are_chosen_piece_by_piece():
    times = [f"{hour:02d}:{minute:02d}" for hour in range(6, 12) for minute in (0, 15, 30)]
    rows = examples([(f"spoken {n}", {"at": at}) for n, at in enumerate(times)])
    form = form_of(Lesson.of(rows), rows)
    assert form.pieces == (0, 0) and form.options[1] == (':00"', ':15"', ':30"') and form.options[0][0] == '"06'
    few = rows[:2] + examples([("later", {"at": "noon"})])
    assert form_of(Lesson.of(few), few).pieces == (0,), "not all have the same signs"


@pytest.mark.parametrize("value", ["18:30", "a-b c", "", "-", 'say "x"', 7, None, [1, "a"], True])
def test_pieces_of_a_value_are_its_json(value):
    assert "".join(pieces_of(value)) == json.dumps(value)


def test_what_cannot_be_filled_in_says_why():
    assert why_not(examples(TABLES)) is None
    assert "3 of 4 answers in train are no JSON objects" in why_not([Example("a", "1")] * 3 + examples(TABLES[:1]))
    many = examples([(f"number {n}", {"is": f"x{n * n}y"}) for n in range(600)])
    assert '"is"' in why_not(many) and "600 values" in why_not(many)
    assert "0 different fields" in why_not(examples([("a", {})]))


def test_the_built_in_task_is_learnt():
    task = home_task(train=1000)
    assert why_not(task.train) is None
    file = Learner(task.train, 2, 100_000, 0).fit(1.0)
    said = file.fill([e.prompt for e in task.test])
    right = [json.loads(f.text) == json.loads(e.completion) for f, e in zip(said, task.test, strict=True)]
    assert np.mean(right) > 0.6
    margins = np.array([f.margin for f in said])
    sure = np.argsort(-margins)[:100]
    assert np.mean(np.array(right)[sure]) > np.mean(right) + 0.1, "what it is sure of is oftener right"


def test_the_probability_rises_with_the_margin():
    margins = np.arange(-50.0, 150.0)
    right = margins + 60 * np.sin(margins) > 20
    slope, offset = calibrated(margins, right)
    given = 1 / (1 + np.exp(-(slope * margins + offset)))
    assert slope > 0 and given.mean() == pytest.approx(right.mean(), abs=0.02)
    assert calibrated(margins, ~right)[0] == 0, "a margin that misleads is not listened to"
    slope, offset = calibrated(margins, np.ones(200, bool))
    assert slope == 0 and 1 / (1 + np.exp(-offset)) == pytest.approx(201 / 202)
