"""From tokens to answers: thinking is writing, and what a right answer costs."""

from __future__ import annotations

import json
import random

import pytest

from lightbulb.core.errors import UserError
from lightbulb.core.figures import Figure
from lightbulb.predicting.answers import AnswerTokens, answer_cost, tokens_of_run
from lightbulb.predicting.request import predict

RIGHT = Figure(value=0.8, low=0.7, high=0.9, unit="", source="measured")
JOULES = Figure(value=10.0, low=5.0, high=20.0, unit="J/answer", source="estimated")


def told(**options):
    return predict(None, "h100", parameters=8.03e9, context=600, **options)


def test_an_answer_is_its_tokens_and_thinking_is_writing():
    plain = told(prompt_tokens=300, answer_tokens=100)
    sum_of_tokens = 300 * plain.joules_per_prompt_token.value + 100 * plain.joules_per_output_token.value
    assert plain.answer.joules_per_answer.value == pytest.approx(sum_of_tokens)
    thought = told(prompt_tokens=300, answer_tokens=100, thinking_tokens=900).answer
    written = told(prompt_tokens=300, answer_tokens=1000).answer
    assert thought.joules_per_answer.value == pytest.approx(written.joules_per_answer.value)
    assert told().answer is None and plain.answer.joules_per_right_answer is None


def test_longer_answers_stand_later_in_the_text():
    assert predict(None, "h100", parameters=8e9, prompt_tokens=100, answer_tokens=4000).setting.context == 2100
    assert predict(None, "h100", parameters=8e9).setting.context == 512


def test_an_answer_pays_for_its_own_prompt_only():
    """In a server's batch a written token carries others' prompts; an answer carries its own."""
    batch = told(batch=64, prompt_tokens=0, answer_tokens=100)
    alone = told(batch=64, prompt_share=0.0)
    assert batch.setting.prompt_share == 0.4
    assert batch.joules_per_output_token.value > alone.joules_per_output_token.value
    assert batch.answer.joules_per_answer.value == pytest.approx(100 * alone.joules_per_output_token.value)


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_retries_are_what_asking_again_costs(retries):
    """Against ten thousand questions asked until right."""
    found = answer_cost(AnswerTokens(1, 1, right=RIGHT, retries=retries), JOULES)
    draw, tries, right = random.Random(0), 0, 0
    for _ in range(10_000):
        for _ in range(retries + 1):
            tries += 1
            if draw.random() < 0.8:
                right += 1
                break
    assert found.tries_per_question.value == pytest.approx(tries / 10_000, rel=0.02)
    assert found.right_in_the_end.value == pytest.approx(right / 10_000, rel=0.02)
    assert found.joules_per_right_answer.value == pytest.approx(10 * tries / right, rel=0.02)
    assert found.joules_per_question.value == pytest.approx(10 * tries / 10_000, rel=0.02)
    assert (found.joules_per_right_answer.low, found.joules_per_right_answer.high) == (5 / 0.9, 20 / 0.7)
    assert found.tries_per_question.low <= found.tries_per_question.value <= found.tries_per_question.high


def result(**changes) -> dict:
    tokens = {
        f"{side}_tokens_per_answer": {"value": n, "unit": "tokens"} for side, n in (("prompt", 40), ("output", 3))
    }
    student = {"name": "student", "score": RIGHT.model_dump(), **tokens} | changes
    return {"metric": "accuracy", "student": student}


def test_a_run_tells_its_tokens_and_its_share_right(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(result()))
    found = told(result=tmp_path, retries=1)
    assert (found.answer.tokens.prompt, found.answer.tokens.answer) == (40, 3)
    cost = found.answer
    assert cost.joules_per_right_answer.value == pytest.approx(cost.joules_per_answer.value / 0.8)
    assert tokens_of_run(tmp_path / "result.json", thinking=7).written == 10


@pytest.mark.parametrize(
    ("found", "named"),
    [
        (result(score={"value": None, "unit": ""}), "how many answers are right"),
        (result(score={"value": 3.0, "unit": ""}), "how many answers are right"),
        (result(prompt_tokens_per_answer=None), "tokens were counted"),
        ({"student": None}, "tokens were counted"),
        ([], "tokens were counted"),
    ],
)
def test_a_result_that_does_not_say_it(tmp_path, found, named):
    (tmp_path / "result.json").write_text(json.dumps(found))
    with pytest.raises(UserError, match=named):
        tokens_of_run(tmp_path)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"retries": 2}, "`result=FOLDER`"),
        ({"retries": -1, "result": "x"}, "-1 retries"),
        ({"answer_tokens": -1}, "-1 tokens"),
        ({"thinking_tokens": float("nan")}, "nan tokens"),
        ({"result": "no/such/folder"}, "there is no result"),
        ({"result": "x", "prompt_tokens": 3}, "counts the tokens itself"),
        ({"prompt_share": -1}, "prompt_share"),
    ],
)
def test_what_does_not_fit_together(options, named):
    with pytest.raises(UserError, match=named):
        told(**options)
