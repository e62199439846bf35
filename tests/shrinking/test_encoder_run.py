"""The main job with an encoder as its model, through the command line, on tiny ones."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path

import pytest
import whole_run
from conftest import choose_rows, generate_rows, write_rows
from tiny_encoder import tiny_encoder
from whole_run import record

from lightbulb.cli import main
from lightbulb.pipeline.recipe import Recipe, check_recipe
from lightbulb.shrinking import final_evaluation
from lightbulb.shrinking.kinds import encoder as kind
from lightbulb.train.loop import Schedule

filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
if not hasattr(filament, "Classifier"):
    pytest.skip("this filament runs no classifiers: make filament", allow_module_level=True)

shrink = partial(whole_run.shrink, model="bert")


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Short windows, and trainings for an encoder that has seen nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(final_evaluation, "measuring_windows", lambda *_: (8, 0.02))
        patch.setattr(kind, "WHOLE", Schedule(epochs=6, learning_rate=2e-3))
        patch.setattr(kind, "CUT", Schedule(epochs=4, learning_rate=2e-3))
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a tiny encoder, and tasks."""
    folder = tmp_path_factory.mktemp("encoder-run")
    tiny_encoder(folder / "bert")
    write_rows(folder / "task.jsonl", choose_rows(150))
    write_rows(folder / "writes.jsonl", generate_rows(60))
    return folder


@pytest.fixture(scope="module")
def run(place) -> Path:
    code, folder = shrink(place, "run", "--keep", "0.9")
    assert code == 0
    return folder


def test_the_encoder_is_source_teacher_and_student(run):
    result = record(run)
    assert result["teacher"]["name"] == "adapted teacher, f16, filament" and len(result["baselines"]) == 2
    assert result["teacher"]["kind"] == "stock" and result["teacher"]["score"]["value"] > 0.8
    names = {m["name"] for m in result["students"]}
    assert {"n-grams", "encoder, frozen, q8_0", "encoder, adapted, 1 layer, q8_0", "encoder, frozen, q4_0"} <= names
    tried = {c["name"]: c for c in result["candidates"]}
    assert names | {"adapted teacher, f16"} == set(tried) and all(c["why"] for c in tried.values())
    assert result["base"] is None or result["base"]["name"] == "bert"
    made = {p.name.rsplit("-", 1)[0] for p in (run / "steps").iterdir()}
    assert not made & {"formatted", "trimmed", "logits"} and not any(m.startswith("student") for m in made)
    costs = [m["cpu_seconds_per_answer"]["value"] for m in (*result["students"], result["teacher"])]
    assert min(costs) > 0 and result["student"]["cpu_seconds_per_answer"]["value"] < costs[-1]


def test_what_was_cut_learns_from_the_teacher(run):
    steps = {
        p.name.rsplit("-", 1)[0]: json.loads((p / "lightbulb.json").read_text()) for p in (run / "steps").iterdir()
    }
    cut, teacher = steps["encoder-adapted-1"], steps["teacher"]
    assert (
        cut["facts"]["layers"] == 1
        and teacher["facts"]["layers"] == 2
        and cut["parent"] == steps["encoder-trimmed"]["key"]
    )
    recipe = Recipe.read(run / "recipe.toml")
    assert next(s for s in recipe.steps if s.label == "encoder-adapted-1").inputs == {"teacher": "teacher"}


def test_the_same_command_again_is_done(place, run, capsys):
    before = (run / "model.gguf").stat().st_mtime_ns
    assert shrink(place, "run", "--keep", "0.9")[0] == 0
    assert "is done; nothing to do" in capsys.readouterr().err and (run / "model.gguf").stat().st_mtime_ns == before


def test_its_pages_are_written(run, capsys):
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "adapted teacher, f16" in page and "encoder, adapted, 1 layer" in page


def test_where_n_grams_are_enough_nothing_is_trained_and_its_recipe_makes_the_same_file(place, tmp_path):
    code, folder = shrink(place, "enough", "--at-least", "0.8")
    result = record(folder)
    assert code == 0 and result["student"]["kind"] == "linear" and result["teacher"] is None
    assert main(["run", str(folder / "recipe.toml"), "--out", str(tmp_path / "again"), "--threads", "1"]) == 0
    published = hashlib.sha256((folder / "model.gguf").read_bytes()).hexdigest()
    files = (tmp_path / "again" / "steps").glob("*/model.gguf")
    assert published in [hashlib.sha256(f.read_bytes()).hexdigest() for f in files]


def test_dry_run_tells_all_that_may_be_tried(place, capsys):
    capsys.readouterr()
    code, folder = shrink(place, "dry", "--dry-run", "--json")
    told = json.loads(capsys.readouterr().out)
    assert code == 0 and not folder.exists() and told["depths"] == [1] and told["bytes"]["value"] > 0
    path = place / "dry.toml"
    path.write_text(told["recipe"])
    check_recipe(Recipe.read(path), "encoder")


@pytest.mark.parametrize(
    "task, more, told",
    [
        ("writes.jsonl", ("--kind", "generate"), "bert is an encoder: it chooses one of a closed set of answers"),
        ("task.jsonl", ("--encoder", "ITSELF"), "the model is an encoder itself"),
        ("task.jsonl", ("--kinds", "decoder"), "no decoder is made of an encoder"),
    ],
)
def test_what_is_nothing_for_an_encoder_is_refused_before_any_work(place, capsys, task, more, told):
    for dry in ((), ("--dry-run",)):
        more = [str(place / "bert") if word == "ITSELF" else word for word in more]
        code, folder = shrink(place, "refused", *more, *dry, task=task)
        assert code == 2 and told in capsys.readouterr().err and not folder.exists()
