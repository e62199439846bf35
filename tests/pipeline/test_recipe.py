"""Recipes: TOML there and back, and every mistake named before any work is done."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import ROOT

from lightbulb.core.errors import RecipeError
from lightbulb.passes import PASSES, pass_class
from lightbulb.passes.base import Pass
from lightbulb.pipeline.recipe import Recipe, Step, TaskOptions, step
from lightbulb.shrinking import steps as known
from lightbulb.shrinking.candidate import Candidate
from lightbulb.shrinking.cost_model import TaskStats
from lightbulb.shrinking.drafts import make_plan
from lightbulb.shrinking.plan import Shape
from lightbulb.shrinking.times import Times

GOOD = """
model = "smollm2-135m"
task = "home"
[[step]]
label = "formatted"
pass = "format-task"
[[step]]
label = "f16"
pass = "export"
parameters = { quant_type = "f16" }
"""


def full_recipe() -> Recipe:
    times = Times(
        layers=30,
        full_step=1.0,
        frozen_step=0.6,
        frozen_again=0.5,
        frozen_layers=15,
        student_steps=((1, 0.05), (6, 0.2)),
        read_example=0.01,
        answer_folder=0.02,
        answer_file=0.05,
        pass_seconds=2.0,
    )
    shape, work = Shape(30, 3_500_000, 49_152, 576), TaskStats("choose", 9000, 3000, 60_000, 900, 1.0)
    plan = make_plan(times, shape, work, 3600)
    student = Candidate(layers=4, method="distill")
    file = student.in_type("q4_0")
    files = [file, *known.stock_candidates(30)]
    steps = [
        *known.format_steps(),
        *known.teacher_steps(plan),
        *known.training_steps(student, plan),
        *known.file_steps(file, plan, "llamacpp"),
        *known.cost_steps(files, (8, 1.0), "llamacpp"),
        *(known.test_step(c, 1000, "llamacpp") for c in files),
    ]
    reading = TaskOptions(kind="choose", prompt="question")
    return Recipe(model='a "model"', task="path/to/täsk.jsonl", seed=3, reading=reading, step=tuple(steps))


def test_a_whole_recipe_survives_toml(tmp_path):
    recipe = full_recipe()
    recipe.write(tmp_path / "recipe.toml")
    read = Recipe.read(tmp_path / "recipe.toml")
    assert read == recipe
    assert [s.build() for s in read.steps] == [s.build() for s in recipe.steps]
    assert all(isinstance(s.build(), Pass) for s in read.steps)


@given(st.text(min_size=1), st.text(min_size=1), st.integers(0, 2**31), st.text())
def test_any_text_survives_toml(model, task, seed, value):
    recipe = Recipe(
        model=model, task=task, seed=seed, step=(Step(label="a", **{"pass": "format-task"}, parameters={"x": value}),)
    )
    import tomllib

    assert Recipe(**tomllib.loads(recipe.as_toml())) == recipe


def test_step_keeps_only_what_is_not_a_default():
    made = step("e", pass_class("export")(quant_type="q8_0"), "m")
    assert made.parameters == {"quant_type": "q8_0"} and made.build() == pass_class("export")(quant_type="q8_0")


@pytest.mark.parametrize("name", PASSES)
def test_every_pass_goes_by_its_own_name(name):
    assert pass_class(name).name == name


def write(tmp_path, text: str):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model = ", "not TOML"),
        (GOOD.replace('model = "smollm2-135m"', ""), "model: Field required"),
        (GOOD + "surprise = 1\n", "surprise"),
        (GOOD.replace('"f16"\npass', '"formatted"\npass'), "two steps are called"),
        (GOOD.replace('pass = "format-task"', 'pass = "format-task"\nfrom = "nowhere"'), "reads 'nowhere'"),
        (GOOD.replace('"formatted"', '"Not a label"'), "label"),
        ('model = "m"\ntask = "t"\nstep = []\n', "step"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(tmp_path, text, says):
    with pytest.raises(RecipeError, match=says) as e:
        Recipe.read(write(tmp_path, text))
    assert str(tmp_path / "recipe.toml") in e.value.where and e.value.exit_code == 2


def test_no_recipe(tmp_path):
    with pytest.raises(RecipeError, match="cannot read the recipe"):
        Recipe.read(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="not TOML"):
        Recipe.read(tmp_path / "bytes.toml")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (('pass = "export"', 'pass = "explode"'), "no pass 'explode'"),
        (('"f16" }', '"f17" }'), "quant_type: .* 'f17'; use one of f32, f16"),
        (('"f16" }', '"q5_k" }'), "cannot be written as 'q5_k'"),
        (('quant_type = "f16"', 'quantisation = "f16"'), "quant"),
    ],
)
def test_a_step_that_does_not_fit_is_refused(tmp_path, change, says):
    recipe = Recipe.read(write(tmp_path, GOOD.replace(*change)))
    with pytest.raises(RecipeError, match=says):
        for s in recipe.steps:
            s.build()


@pytest.mark.parametrize("file", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda f: f.stem)
def test_the_recipes_beside_the_package_can_be_read(file):
    recipe = Recipe.read(file)
    assert {"verify", "costs"} <= {s.label for s in recipe.steps}
