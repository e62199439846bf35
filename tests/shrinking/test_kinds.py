"""The main job over kinds that need no language model, through the command line, on tiny models."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import choose_rows, write_rows
from test_shrink import QUICK
from tiny import tiny_model
from tiny_encoder import tiny_encoder
from whole_run import record, shrink

from lightbulb.cli import main
from lightbulb.shrinking import final_evaluation, steps, timing

filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
if not hasattr(filament, "Classifier"):
    pytest.skip("this filament runs no classifiers: make filament", allow_module_level=True)


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Short windows, and a plan that does not hang on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "TEACHER_RATE", 3e-3)
        patch.setattr(final_evaluation, "measuring_windows", lambda *_: (8, 0.02))
        patch.setattr(timing, "time_work", lambda *_, **__: QUICK)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a tiny model, a tiny encoder and a task that n-grams learn whole."""
    folder = tmp_path_factory.mktemp("kinds")
    tiny_model(folder / "model", layers=4)
    tiny_encoder(folder / "encoder")
    write_rows(folder / "task.jsonl", choose_rows(300))
    return folder


@pytest.fixture(scope="module")
def enough(place) -> Path:
    """A run that n-grams end."""
    code, folder = shrink(place, "enough", "--at-least", "0.8")
    assert code == 0
    return folder


def test_where_n_grams_are_enough_no_language_model_is_made(enough):
    result = record(enough)
    student = result["student"]
    assert result["verdict"] == "kept" and student["kind"] == "linear" and student["runtime"] == "classifier"
    assert student["score"]["value"] >= 0.8 and student["bytes"] == (enough / "model.gguf").stat().st_size
    assert result["teacher"] is None and result["baselines"] == [] and result["ratios"] == []
    assert result["break_even_answers"]["value"] is None and result["compare_with"] is None
    assert result["base"] is None, "made from the examples alone"
    assert student["cpu_seconds_per_answer"]["value"] > 0 and student["making"]["value"] > 0
    assert [c["kind"] for c in result["candidates"]] == ["linear"] and result["candidates"][0]["chosen"]
    assert result["verify"]["same_answer"]["value"] == 1
    assert not any(p.name.startswith(("teacher", "formatted")) for p in (enough / "steps").iterdir())
    assert not (enough / "Modelfile").exists()


def test_its_score_on_validation_is_of_weights_that_never_saw_it(enough):
    steps = {
        p.name.rsplit("-", 1)[0]: json.loads((p / "lightbulb.json").read_text()) for p in (enough / "steps").iterdir()
    }
    assert steps["linear"]["facts"]["saw_validation"] and "saw_validation" not in steps["linear-held-out"]["facts"]
    assert steps["linear-gguf-validation"]["parent"] == steps["linear-held-out-gguf"]["key"]
    assert steps["linear-gguf-test"]["parent"] == steps["linear-gguf"]["key"]


def test_its_pages_say_so(enough, capsys):
    assert main(["report", str(enough)]) == 0
    for page in ((enough / "report.html").read_text(), (enough / "README.md").read_text()):
        assert "No language model is needed" in page and "times less" not in page and "llama-completion" not in page


def test_it_answers_with_its_probability(enough, capsys):
    capsys.readouterr()
    row = choose_rows(3)[2]
    assert main(["ask", str(enough), row["prompt"], "--json"]) == 0
    asked = json.loads(capsys.readouterr().out)
    assert asked["text"] == row["completion"] and 0.2 < asked["probability"] <= 1 and asked["references"] == []
    assert asked["joules"]["value"] > 0
    assert main(["ask", str(enough), row["prompt"]]) == 0
    assert "probability" in capsys.readouterr().err


def test_the_same_command_again_is_done(place, enough, capsys):
    before = (enough / "model.gguf").stat().st_mtime_ns
    assert shrink(place, "enough", "--at-least", "0.8")[0] == 0
    assert "is done; nothing to do" in capsys.readouterr().err
    assert (enough / "model.gguf").stat().st_mtime_ns == before


def test_its_recipe_makes_the_same_file(enough, tmp_path):
    assert main(["run", str(enough / "recipe.toml"), "--out", str(tmp_path / "again"), "--threads", "1"]) == 0
    digest = hashlib.sha256((enough / "model.gguf").read_bytes()).hexdigest()
    files = (tmp_path / "again" / "steps").glob("*/model.gguf")
    assert digest in [hashlib.sha256(f.read_bytes()).hexdigest() for f in files]


@pytest.mark.slow
def test_with_a_share_to_keep_the_language_model_is_what_they_are_held_against(place):
    """All is tried; the cheapest that keeps it is handed out, and what it saves is told against a stock file."""
    code, folder = shrink(place, "keep", "--keep", "0.9", "--encoder", str(place / "encoder"))
    result = record(folder)
    assert code == 0 and result["verdict"] in ("kept", "within-noise") and result["student"]["kind"] == "linear"
    assert result["teacher"]["kind"] == "stock" and len(result["baselines"]) == 2
    times = {r["quantity"]: r["value"]["value"] for r in result["ratios"] if r["against"] == result["compare_with"]}
    assert times["cpu_seconds_per_answer"] > 10
    assert not any(p.name.startswith(("probe", "student")) for p in (folder / "steps").iterdir())
    page = (folder / "report.html").read_text()
    assert "No language model is needed" in page and "times less" in page


def test_kinds_that_are_asked_for_are_compared_with_each_other(place):
    kinds = ("--kinds", "linear", "encoder", "cascade", "--encoder", str(place / "encoder"))
    code, folder = shrink(place, "kinds", "--keep", "0.9", *kinds)
    result = record(folder)
    assert code == 0 and result["teacher"] is None and result["reference"] in {m["name"] for m in result["students"]}
    assert {"linear", "encoder"} <= {m["kind"] for m in result["students"]}
    costs = np.array([m["cpu_seconds_per_answer"]["value"] for m in result["students"]])
    assert (costs > 0).all() and sum(m["why"] == "" for m in result["students"]) == 1
    assert result["student"]["name"] == next(m["name"] for m in result["students"] if not m["why"])


@pytest.mark.parametrize(
    "more, told",
    [
        (("--kinds", "linaer"), "there is no kind of student 'linaer'"),
        (("--encoder", "nowhere"), "no encoder called 'nowhere'"),
    ],
)
def test_what_is_not_there_is_refused_before_any_work(place, capsys, more, told):
    code, folder = shrink(place, "refused", *more)
    assert code == 2 and told in capsys.readouterr().err and not folder.exists()


def test_an_encoder_is_named_where_it_was_made_from_one(place):
    code, folder = shrink(
        place, "encoder-run", "--keep", "0.9", "--kinds", "encoder", "--encoder", str(place / "encoder")
    )
    assert code == 0 and record(folder)["base"]["name"] == "encoder"


def spoken_rows(n: int) -> list[dict[str, str]]:
    """Answers whose values stand in the text, or are one of a few."""
    rows = []
    for i in range(n):
        on, lamp = ("on", "off")[i % 2], f"{i % 7}{i}"
        text = f"{'switch' if i % 3 else 'please turn'} {on} the {'heater' if i % 5 else 'fan'} number {lamp}"
        rows.append({"prompt": text, "completion": json.dumps({"do": on, "fan": i % 5 == 0, "number": lamp})})
    return rows


def test_where_answers_can_be_filled_in_no_language_model_is_made(place, capsys):
    if not hasattr(filament, "SlotFiller"):
        pytest.skip("this filament fills in no answers: make filament")
    write_rows(place / "spoken.jsonl", spoken_rows(300))
    code, folder = shrink(place, "spoken", "--at-least", "0.8", task="spoken.jsonl")
    assert code == 0
    result = record(folder)
    student = result["student"]
    assert result["verdict"] == "kept" and (student["kind"], student["runtime"]) == ("slots", "slots")
    assert student["score"]["value"] > 0.9 and student["cpu_seconds_per_answer"]["value"] > 0
    assert result["teacher"] is None and result["base"] is None and result["verify"]["same_answer"]["value"] == 1
    assert not (folder / "Modelfile").exists()
    card = (folder / "README.md").read_text()
    assert "No language model is needed" in card and "text-generation" in card and "llama-completion" not in card
    capsys.readouterr()
    assert main(["ask", str(folder), "turn off the heater number 4711", "--json"]) == 0
    asked = json.loads(capsys.readouterr().out)
    assert json.loads(asked["text"]) == {"do": "off", "fan": False, "number": "4711"}
    assert 0.5 < asked["probability"] <= 1


def test_kinds_that_cannot_do_the_task_are_refused(place, capsys):
    write_rows(place / "text.jsonl", [{"prompt": f"say {n}", "completion": f"this is number {n}"} for n in range(60)])
    assert shrink(place, "text", "--kind", "generate", "--kinds", "linear", task="text.jsonl")[0] == 2
    assert "none of the kinds asked for" in capsys.readouterr().err


def test_without_filament_it_is_told_that_they_were_not_tried(monkeypatch):
    from lightbulb.runtimes.classifier import Classifier
    from lightbulb.runtimes.slots import Slots
    from lightbulb.shrinking.job import without_filament
    from lightbulb.tasks.task import Task

    task = Task("t", "choose", "accuracy", (), (), (), ("a", "b"))
    assert without_filament(task) == []
    for runtime in (Classifier, Slots):
        monkeypatch.setattr(runtime, "installed", classmethod(lambda cls: False))
    assert "make filament" in without_filament(task)[0]
    assert "slot filling" in without_filament(replace(task, kind="generate"))[0]
    assert without_filament(replace(task, kind="text")) == []


def test_what_cannot_be_filled_in_is_told_with_the_reason():
    from lightbulb.shrinking.goal import Goal
    from lightbulb.shrinking.job import not_suited
    from lightbulb.shrinking.kinds.base import Setting
    from lightbulb.tasks.task import Example, Task

    shell = tuple(Example(f"list files of {n}", f"ls -u {n}") for n in range(9))
    task = Task("t", "generate", "exact-match", shell, (), ())
    setting = Setting(task, "llamacpp")
    (told,) = not_suited(Goal(keep=0.9, max_seconds=60.0), setting)
    assert told == "not tried: slot filling, because 9 of 9 answers in train are no JSON objects"
    assert not_suited(Goal(keep=0.9, max_seconds=60.0, kinds=("decoder",)), setting) == []
