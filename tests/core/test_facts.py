"""Facts: recorded as they were told, read as what they are, and missed with one clear error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import RunFailure
from lightbulb.core.facts import CostFacts, Facts, ModelFacts, ScoreFacts, TrainingFacts
from lightbulb.core.figures import Figure

SCORE = Figure(value=0.5, low=0.4, high=0.6, unit="share")
ANSWERS = {"items": 4, "num_prompts": 3, "prompt_tokens": 30, "output_tokens": 3}


def artifact(**facts) -> Artifact:
    return Artifact(path=Path("run/steps/a-1"), kind="figures", key="k", made_by="test", facts=facts)


def test_a_record_holds_what_was_told_and_reads_as_it(tmp_path):
    facts = ScoreFacts(score=SCORE, **ANSWERS, answer_ids=[7, 9])
    made = artifact(**facts.record()).model_copy(update={"path": tmp_path})
    assert made.facts.keys() == {"score", *ANSWERS, "answer_ids"}
    made.write_record(tmp_path)
    read = Artifact.read(tmp_path)
    assert read == made and read.facts_as(ScoreFacts) == facts and read.answer_ids == [7, 9]


def test_facts_of_another_version_are_carried_along():
    made = artifact(parameters=3, weather="rain", nested={"a": [1]})
    facts = made.facts_as(ModelFacts)
    assert facts.parameters == 3 and facts.bytes is None and facts.findings == ()
    assert json.loads(json.dumps(facts.record())) == made.facts


@pytest.mark.parametrize(
    ("facts", "wanted", "says"),
    [
        ({"parameters": 3}, TrainingFacts, "steps"),
        ({"score": {"unit": "share"}, **ANSWERS}, ScoreFacts, "score.value"),
        ({"student": {"seconds_per_answer": 3}}, CostFacts, "student.seconds_per_answer"),
    ],
)
def test_facts_that_a_record_lacks_are_named_with_its_place(facts, wanted, says):
    with pytest.raises(RunFailure, match=says) as e:
        artifact(**facts).facts_as(wanted)
    assert e.value.where == "run/steps/a-1/lightbulb.json" and "run/steps/a-1" in e.value.hint


def test_costs_are_figures_by_role():
    costs = {"student": {"seconds_per_answer": SCORE.model_dump()}, "teacher-f16": {}}
    made = artifact(answer_ids=[1], **costs)
    assert made.facts_as(CostFacts).roles == {"student": {"seconds_per_answer": SCORE}, "teacher-f16": {}}
    assert made.figures() == {"student.seconds_per_answer": SCORE}


def test_kinds_are_open_and_plain_words():
    given = {"path": Path("a"), "key": "k", "made_by": "test"}
    assert Artifact(kind="generated-examples", **given).kind == "generated-examples"
    with pytest.raises(ValidationError):
        Artifact(kind="Not a kind", **given)


def test_what_only_looks_like_a_figure_is_none():
    assert artifact(price={"value": "dear", "unit": "euro"}).figures() == {}
    assert Facts().record() == {}
