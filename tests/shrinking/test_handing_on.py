"""A cheap file that hands on to a language model, from its steps to what is published, on tiny models."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from conftest import bare_run, tiny_task

from lightbulb.core.facts import CostFacts, ScoreFacts
from lightbulb.core.facts_of_kinds import CascadeFacts, NgramFacts, SlotFacts
from lightbulb.models.kinds.fallback import BESIDE
from lightbulb.passes.adapt import Adapt
from lightbulb.passes.evaluate import predictions_of
from lightbulb.passes.format_task import FormatTask
from lightbulb.pipeline.recipe import START, Execution, Recipe, check_recipe, step
from lightbulb.report.publish import publish
from lightbulb.serving.ask import ask
from lightbulb.shrinking import origins
from lightbulb.shrinking.candidate import Candidate
from lightbulb.shrinking.kinds import kind_named
from lightbulb.shrinking.kinds.base import Setting
from lightbulb.shrinking.steps import COSTS, TEACHER, cost_steps, roles, stock_candidates
from lightbulb.shrinking.steps import test_step as score_step
from lightbulb.tasks.metrics import retention
from lightbulb.train.loop import Schedule

filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
if not hasattr(filament, "SlotFiller"):
    pytest.skip("this filament fills in no answers: make filament", allow_module_level=True)

CHEAP = {"choose": Candidate(kind="linear", method="plain"), "generate": Candidate(kind="slots", method="plain")}
FEW = Schedule(epochs=2, learning_rate=3e-3, batch_size=8)


@pytest.fixture(scope="module", params=CHEAP)
def made(request, imported, tmp_path_factory):
    """All steps of a pair and its two parts, up to costs and test."""
    kind, task = request.param, tiny_task(request.param, 120)
    stock = stock_candidates(4)[0]
    pair = Candidate(kind="cascade", method="plain", stages=(CHEAP[kind], stock), give_up=0.03)
    setting = Setting(task, "llamacpp", plan=SimpleNamespace(validation_limit=12), costs=None)
    with bare_run(tmp_path_factory.mktemp(kind), task) as run:
        execution = Execution(run, imported)
        execution.perform(*kind_named(CHEAP[kind].kind).steps(CHEAP[kind], setting))
        execution.perform(step("formatted", FormatTask(), START), step(TEACHER, Adapt(schedule=FEW), "formatted"))
        execution.perform(*kind_named("cascade").steps(pair, setting))
        files = [pair, CHEAP[kind], stock]
        execution.perform(*cost_steps(files, (8, 0.02), "llamacpp"))
        execution.perform(*(score_step(c, None, "llamacpp") for c in files))
        yield task, pair, execution


def test_the_threshold_is_of_a_file_that_never_saw_validation(made):
    task, pair, execution = made
    first = pair.stages[0]
    held_out, whole = execution.made[pair.held_out_file], execution.made[pair.file_label]
    assert held_out.parent == execution.made[first.held_out_file].key != whole.parent
    assert whole.parent == execution.made[first.file_label].key
    assert held_out.facts_as(CascadeFacts).thresholds == whole.facts_as(CascadeFacts).thresholds
    assert execution.made[f"{pair.file_label}-validation"].parent == held_out.key
    facts = NgramFacts if task.kind == "choose" else SlotFacts
    label = "linear" if task.kind == "choose" else first.file_label
    assert execution.made[label].facts_as(facts).saw_validation
    assert (
        not execution.made[f"{first.label}-held-out{'' if task.kind == 'choose' else '-gguf'}"]
        .facts_as(facts)
        .saw_validation
    )


def test_the_joint_decision_keeps_what_was_asked(made):
    task, pair, execution = made
    facts = execution.made[pair.held_out_file].facts_as(CascadeFacts)
    last = predictions_of(execution.made[f"{pair.stages[1].file_label}-validation"])
    joint = predictions_of(execution.made[f"{pair.file_label}-validation"])
    places = sorted(task.spread("validation")[:12])
    references = [task.validation[i].completion for i in places]
    kept = retention(task.metric, joint, last, references)
    assert facts.kept.low is not None and facts.kept.low >= 0.97 or facts.shares[0] == 0
    assert len(joint) == len(last) == 12 and sum(facts.shares) == pytest.approx(1)
    if kept.value is not None and kept.value < 1:
        assert facts.kept.value <= 1 / kept.value, "the better of the two is what it is held against"


def test_both_files_count_and_costs_are_of_the_whole_test_split(made):
    task, pair, execution = made
    size = {c: execution.made[c.file_label].bytes for c in (pair, *pair.stages)}
    language_model = execution.made[pair.file_label].gguf.with_name(BESIDE)
    assert language_model.read_bytes() == execution.made[pair.stages[1].file_label].gguf.read_bytes()
    assert size[pair] > size[pair.stages[1]] and size[pair] == execution.made[pair.file_label].facts["bytes"]
    costs = execution.made[COSTS].facts_as(CostFacts).roles
    named = roles([pair, pair.stages[0], pair.stages[1]])
    seconds = {c: costs[named[c]]["cpu_seconds_per_answer"].value for c in named}
    assert 0 < seconds[pair.stages[0]] < seconds[pair.stages[1]]
    assert "in a call" in costs[named[pair]]["cpu_seconds_per_answer"].method
    assert execution.made[pair.test_label].facts_as(ScoreFacts).items == len(task.test)


def test_a_recipe_holds_all_of_it(made):
    task, pair, execution = made
    steps = origins.needed(execution.steps, [pair.test_label, pair.file_label])
    recipe = Recipe(model="tiny", task=task.name, step=tuple(steps))
    check_recipe(recipe)
    assert Recipe.model_validate(recipe.model_dump(by_alias=True)) == recipe
    assert {s.pass_ for s in steps} >= {"fall-back", "adapt", "export", "evaluate"}


def test_what_is_published_answers(made, tmp_path):
    task, pair, execution = made
    result = SimpleNamespace(kind=task.kind, write=lambda place: None)
    result.model_copy = lambda update: result
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightbulb.report.publish.write_pages", lambda folder, result: None)
        recipe = SimpleNamespace(write=lambda place: None)
        from lightbulb.shrinking.assemble import Assembled

        publish(tmp_path, Assembled(result, recipe, {"model.gguf": execution.made[pair.file_label]}))
    assert {p.name for p in tmp_path.iterdir()} == {"model.gguf", BESIDE}
    answers = predictions_of(execution.made[pair.test_label])
    asked = [(e, a) for e, a in zip(task.test, answers, strict=True) if task.kind == "choose" or a.startswith("{")]
    for example, answer in asked[:3]:
        assert ask(tmp_path / "model.gguf", example.prompt, threads=1).text == answer
