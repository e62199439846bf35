"""Questions become answers, and each answer's costs are its part of what the meter read."""

from __future__ import annotations

from dataclasses import replace

import pytest
from serving_toy import ANSWERS, CAN

from lightbulb.core.errors import UserError
from lightbulb.core.figures import Figure
from lightbulb.energy.meter import Reading
from lightbulb.models.abstention import Abstention
from lightbulb.runtimes.exchange import Options, Sampling, Tokens
from lightbulb.serving.service import Question, Service, shared_out

pytest_plugins = ["serving_fixtures"]

READING = Reading(
    "answer",
    2.0,
    Figure(value=1.5, unit="s", scope="process", method="getrusage"),
    Figure(value=30.0, low=20.0, high=90.0, unit="J", source="estimated", scope="wall", method="no counter"),
    {},
)


def user(text: str, **more) -> Question:
    return Question(({"role": "user", "content": text},), **more)


def test_a_window_is_shared_out_by_tokens_and_adds_up_again():
    each = [Tokens(10, 1), Tokens(3, 30), Tokens(0, 56)]
    costs = shared_out(READING, each)
    for cpu, joules in costs:
        assert joules.source == "estimated" and cpu.source == "derived" and cpu.scope == "process"
        assert "of a window, its share of the tokens of 3 answers side by side; no counter" in joules.method
    assert [cpu.value for cpu, _ in costs] == pytest.approx([0.165, 0.495, 0.84])
    for side in ("value", "low", "high"):
        assert sum(getattr(joules, side) for _, joules in costs) == pytest.approx(getattr(READING.joules, side))


def test_one_answer_has_its_window_to_itself():
    assert shared_out(READING, [Tokens(3, 4)]) == [(READING.cpu_seconds, READING.joules)]


def test_what_was_not_measured_is_not_told_as_nothing():
    unknown = replace(READING, joules=Figure(value=None, unit="J", method="it did not answer"))
    assert [joules.value for _, joules in shared_out(unknown, [Tokens(1, 1), Tokens(1, 1)])] == [None, None]


@pytest.mark.parametrize("counts_each", [True, False])
def test_tokens_of_each_answer_are_its_own(toy, toy_file, monkeypatch, counts_each):
    """A runtime that tells only those of all is asked one by one."""
    monkeypatch.setattr(toy, "capabilities", replace(CAN, counts_each=counts_each))
    service = Service(toy_file, runtime="toy", slots=3)
    prompts = [service.prepare(user(text, max_tokens=4)) for text in ("a", "a b c", "a b")]
    made = service.answer(prompts)
    assert [a.prompt_tokens for a in made] == [2, 4, 3] and [a.output_tokens for a in made] == [4, 4, 4]
    assert [len(call) for call in toy.calls] == ([3] if counts_each else [1, 1, 1])
    assert [a.text for a in made] == ["user: a user: a ", "user: a b c ", "user: a b user: "]
    assert service.spent.windows == 1 and service.spent.tokens == Tokens(9, 12)
    assert sum(a.joules.value for a in made) == pytest.approx(service.spent.joules.value, rel=1e-9)
    assert sum(a.cpu_seconds.value for a in made) == pytest.approx(service.spent.cpu_seconds.value, rel=1e-9)
    service.close()


def test_a_probability_is_told_where_the_runtime_does(toy, toy_file, monkeypatch):
    monkeypatch.setattr(toy, "answers", ANSWERS)
    for told in (False, True):
        monkeypatch.setattr(toy, "probabilities", told)
        service = Service(toy_file, runtime="toy")
        made = service.answer([service.prepare(user(text)) for text in ("a loan?", "what?")])
        assert [(a.text, a.probability) for a in made] == [
            ("loan", 0.75 if told else None),
            ("card", 0.25 if told else None),
        ]
        service.close()


def test_what_is_not_probable_enough_is_not_given(toy, toy_file, monkeypatch):
    monkeypatch.setattr(toy, "answers", ANSWERS)
    monkeypatch.setattr(toy, "abstention", Abstention(0.5, "oos"))
    service = Service(toy_file, runtime="toy")
    prompts = [service.prepare(user(text)) for text in ("a loan?", "what?")]
    with pytest.raises(UserError, match="does not tell how sure it is"):
        service.answer(prompts)
    monkeypatch.setattr(toy, "probabilities", True)
    made = service.answer(prompts)
    assert [(a.text, a.probability, a.likeliest) for a in made] == [("loan", 0.75, None), ("oos", 0.25, "card")]
    service.close()


def test_an_answer_has_the_room_that_is_left(toy, toy_file):
    service = Service(toy_file, runtime="toy", context=300, most_tokens=200)
    assert service.context == 300
    words = "w " * 149  # and its role
    assert service.prepare(user(words)).max_tokens == 150
    assert service.prepare(user("short")).max_tokens == 200
    with pytest.raises(
        UserError, match="no room for an answer of 151 tokens: beside this question of 150 the model has 150"
    ):
        service.prepare(user(words, max_tokens=151))
    with pytest.raises(UserError, match="no room") as error:
        service.prepare(user("w " * 299))
    assert error.value.hint == "a shorter question"
    (made,) = service.answer([service.prepare(user("a", max_tokens=3))])
    assert not made.whole, "so many tokens as were allowed: it may have been cut"
    service.close()


def test_what_chooses_takes_no_options_and_what_cannot_says_so(toy, toy_file, monkeypatch):
    monkeypatch.setattr(toy, "capabilities", replace(CAN, sampling=False))
    service = Service(toy_file, runtime="toy")
    with pytest.raises(UserError, match="cannot draw tokens at random"):
        service.prepare(user("a", options=Options(sampling=Sampling(1.0))))
    service.close()
    monkeypatch.setattr(toy, "answers", ANSWERS)
    service = Service(toy_file, runtime="toy")
    with pytest.raises(UserError, match="this model chooses one of its answers"):
        service.prepare(user("a", options=Options(stop=("x",))))
    service.close()
