"""The main job end to end on tiny models, through the command line."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import METRICS, ROWS, write_rows
from tiny import tiny_model

from lightbulb.cli import main
from lightbulb.passes.measure import costs_of as real_costs_of
from lightbulb.pipeline.recipe import Recipe
from lightbulb.shrinking import final_evaluation, measured_files, steps, timing
from lightbulb.shrinking.times import Times

KEYS = {
    "verdict",
    "task",
    "kind",
    "metric",
    "teacher",
    "baselines",
    "student",
    "retention",
    "making",
    "break_even_answers",
}
KEEP = {"choose": "0.9", "generate": "0.5", "text": "0.9"}
EXAMPLES = {"choose": 300, "generate": 200, "text": 40}
FILES = {"model.gguf", "result.json", "report.html", "README.md", "recipe.toml", "goal.json", "plan.json"}


QUICK = Times(
    layers=4,
    full_step=0.02,
    frozen_step=0.015,
    frozen_again=0.013,
    frozen_layers=2,
    student_steps=((1, 0.01), (4, 0.02)),
    read_example=0.001,
    answer_folder=0.01,
    answer_file=0.01,
    pass_seconds=0.1,
)


def generate_rows(n: int) -> list[dict[str, str]]:
    """Answers that a tiny model learns to write."""
    devices = ("light", "heating", "door")
    return [
        {
            "prompt": f"turn on the {devices[i % 3]} number {i}",
            "completion": json.dumps({"device": devices[i % 3], "state": "on"}),
        }
        for i in range(n)
    ]


def rows_of(kind: str) -> list[dict[str, str]]:
    return generate_rows(EXAMPLES[kind]) if kind == "generate" else ROWS[kind](EXAMPLES[kind])


def costs_with(student: float, stock: float):
    """Stands in for what was measured of these tiny files: costs of the student and of each stock file, with a few
    percent of spread, that do not hang on this machine."""

    def costs_of(measured):
        found = real_costs_of(measured)
        spread = np.tile([1.0, 1.02, 0.99, 1.01], 2)
        return {
            role: replace(costs, series={name: np.outer(spread * each(role), [1, 0.5, 2]) for name in costs.series})
            for role, costs in found.items()
        }

    def each(role: str) -> float:
        return student if role == "student" else stock

    return costs_of


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Short windows, teachers that learn a tiny task, and a plan and savings that do not hang on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "TEACHER_RATE", 3e-3)
        patch.setattr(steps, "ELASTIC_RATE", 3e-3)
        patch.setattr(final_evaluation, "measuring_windows", lambda *_: (8, 0.02))
        patch.setattr(measured_files, "costs_of", costs_with(student=1.0, stock=3.0))
        patch.setattr(timing, "time_work", lambda *_, **__: QUICK)
        yield


def shrink(folder, model, data, *more: str) -> int:
    """Decoders only: other kinds learn these tasks in a second."""
    place = ["--task", str(data), "--out", str(folder)]
    return main(["shrink", str(model), *place, "--max-time", "15m", "--threads", "1", "--kinds", "decoder", *more])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One finished run of each kind, made when it is first asked for."""
    folder, made = tmp_path_factory.mktemp("runs"), {}

    def run(kind: str):
        if kind not in made:
            model = tiny_model(folder / "model", layers=4) if not (folder / "model").exists() else folder / "model"
            data = write_rows(folder / f"{kind}.jsonl", rows_of(kind))
            assert shrink(folder / kind, model, data, "--kind", kind, "--keep", KEEP[kind]) == 0
            made[kind] = folder / kind
        return made[kind]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["choose", "generate", "text"])
def test_a_whole_run(runs, kind):
    folder = runs(kind)
    assert {p.name for p in folder.iterdir()} >= FILES
    result = json.loads((folder / "result.json").read_text())
    assert result.keys() >= KEYS
    assert result["kind"] == kind and result["metric"] == METRICS[kind]
    assert result["verdict"] in ("kept", "within-noise") and result["reason"] == "" and result["best_student"] is None
    assert result["base"]["name"] == "model"
    student, teacher = result["student"], result["teacher"]
    assert student["path"] == "model.gguf" and student["runtime"] == "llamacpp" and student["kind"] == "decoder"
    assert result["reference"] in (teacher["name"], student["name"]) and result["keep"] == float(KEEP[kind])
    sign = -1 if kind == "text" else 1
    assert sign * student["score"]["value"] >= sign * result["floor"]
    assert student["bytes"] == (folder / "model.gguf").stat().st_size < teacher["bytes"]
    assert [b["name"] for b in result["baselines"]] == [
        "adapted teacher, q8_0, llama.cpp",
        "adapted teacher, q4_0, llama.cpp",
    ]
    for model in (teacher, student, *result["baselines"]):
        for name in ("score", "joules_per_answer", "cpu_seconds_per_answer", "tokens_per_second"):
            figure = model[name]
            assert figure["value"] is not None and figure["low"] <= figure["value"] <= figure["high"], name
        assert model["joules_per_answer"]["source"] in ("estimated", "measured")
        right = model["joules_per_right_answer"]
        if kind == "text":
            assert right["value"] is None and "does not say which answers are right" in right["method"]
        else:
            share = model["score"]["value"]
            assert right["value"] == pytest.approx(model["joules_per_answer"]["value"] / share)
    assert result["making"]["seconds"] > 0 and result["making"]["joules"]["value"] > 0
    assert result["making"]["seconds"] == pytest.approx(sum(row["seconds"] for row in result["ledger"]))
    assert result["verify"]["same_tokens"]["value"] == 1
    assert not any((folder / "scratch").glob("*"))


@pytest.mark.slow
def test_with_an_elastic_teacher(runs, tmp_path):
    """Its recipe trains the teacher with the students inside it, and cuts the student as it was trained to be cut."""
    made = runs("generate")
    data, keep = made.parent / "generate.jsonl", KEEP["generate"]
    given = ["--kind", "generate", "--keep", keep, "--elastic"]
    assert shrink(tmp_path / "run", made.parent / "model", data, *given) == 0
    steps = Recipe.read(tmp_path / "run" / "recipe.toml").steps
    by_pass = {step.pass_: step.parameters for step in steps}
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    assert by_pass["adapt-elastic"]["layers"] == plan["elastic"] == plan["space"]["depths"][0]
    assert by_pass["prune-depth"]["by"] == "order"
    assert json.loads((tmp_path / "run" / "result.json").read_text())["verdict"] in ("kept", "within-noise")


@pytest.mark.slow
def test_the_tiny_choose_task_is_learnt(runs):
    """By the student, which trains longest; three epochs do little for a teacher that began as noise."""
    result = json.loads((runs("choose") / "result.json").read_text())
    assert result["student"]["score"]["value"] >= 0.6  # chance is 0.2
    assert sum(c["chosen"] for c in result["candidates"]) == 1
    assert any("plain" in c["name"] for c in result["candidates"])


def again(runs, kind: str, tmp_path, *more: str) -> tuple[Path, int]:
    """The steps of a finished run in a folder of another goal, with no student but the boldest, and the exit code of
    the command with that."""
    done = runs(kind)
    folder = shutil.copytree(done, tmp_path / "run")
    plan = json.loads((folder / "plan.json").read_text())
    bold = {name: plan["space"][name][:1] for name in ("depths", "quant_types")}
    (folder / "plan.json").write_text(json.dumps(plan | {"space": plan["space"] | bold}))
    for name in (*FILES - {"plan.json"}, "clock.json"):
        (folder / name).unlink()
    return folder, shrink(folder, done.parent / "model", done.parent / f"{kind}.jsonl", "--kind", kind, *more)


def test_the_same_command_again_is_done(runs, capsys, tmp_path):
    folder = runs("choose")
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}
    command = (folder, folder.parent / "model", folder.parent / "choose.jsonl", "--kind", "choose", "--keep", "0.9")
    capsys.readouterr()
    assert shrink(*command) == 0
    assert "is done; nothing to do" in capsys.readouterr().err
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert shrink(*command, "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out).keys() >= KEYS and "is done; nothing to do" in err


@pytest.mark.parametrize("more", [("--seed", "5", "--keep", "0.9"), ("--keep", "0.9", "--at-least", "0.9"), ()])
def test_another_goal_in_the_same_folder_is_refused(runs, capsys, more):
    folder = runs("choose")
    assert shrink(folder, folder.parent / "model", folder.parent / "choose.jsonl", *more) == 2
    assert "this folder holds another run" in capsys.readouterr().err


def test_a_student_that_costs_more_is_not_handed_out(runs, capsys, tmp_path, monkeypatch):
    """The same steps with another outcome of the measuring: the cheapest stock file that does is the model."""
    monkeypatch.setattr(measured_files, "costs_of", costs_with(student=3.0, stock=1.0))
    runs("choose"), capsys.readouterr()
    folder, code = again(runs, "choose", tmp_path, "--at-least", "0.7")
    out = capsys.readouterr().out
    assert code == 0 and out.startswith("Not shrunk: the student costs more than a stock file")
    assert "times less" not in out and "pay-back" not in out
    result = json.loads((folder / "result.json").read_text())
    assert result["verdict"] == "not-shrunk" and result["reason"].startswith("the student costs more")
    assert result["break_even_answers"]["value"] is None and result["ratios"] == []
    student, best = result["student"], result["best_student"]
    assert (student["kind"], student["path"]) == ("stock", "model.gguf")
    assert (best["kind"], best["path"]) == ("decoder", "not-cheaper.gguf")
    assert not (folder / "below-floor.gguf").exists()
    stock = {m["name"]: folder / m["path"] for m in (result["teacher"], *result["baselines"])}
    assert (folder / "model.gguf").read_bytes() == stock[student["name"]].read_bytes()
    assert main(["ask", str(folder), "one two card three", "--json"]) == 0
    asked = json.loads(capsys.readouterr().out)
    assert asked["text"] in {row["completion"] for row in ROWS["choose"](10)}
    assert asked["file"] == str(folder / "model.gguf") and asked["references"][0]["times"] is None
    model, data = runs("choose").parent / "model", runs("choose").parent / "choose.jsonl"
    assert shrink(folder, model, data, "--kind", "choose", "--at-least", "0.7") == 0
    out, err = capsys.readouterr()
    assert "is done; nothing to do" in err and "Not shrunk" in out


def test_a_student_below_the_floor_lies_beside_the_stock_file_that_does(runs, capsys, tmp_path):
    runs("generate"), capsys.readouterr()
    folder, code = again(runs, "generate", tmp_path, "--at-least", "0.999")
    out = capsys.readouterr().out
    result = json.loads((folder / "result.json").read_text())
    assert code == 0 and result["verdict"] == "not-shrunk", result["reason"]
    assert (result["keep"], result["at_least"], result["floor"]) == (None, 0.999, 0.999)
    assert "0.999 or more was needed" in result["reason"] and out.startswith("Not shrunk: the best student scores")
    assert result["best_student"]["path"] == "below-floor.gguf" and result["best_student"]["score"]["value"] < 0.999
    for page in (out, (folder / "README.md").read_text(), (folder / "report.html").read_text()):
        assert "below the floor" in page and "times less" not in page
    assert main(["ask", str(folder / "below-floor.gguf"), "turn on the light number 3", "--max-tokens", "9"]) == 0
    assert main(["ask", str(folder), "turn on the light number 3", "--max-tokens", "30"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == '{"device": "light", "state": "on"}'
    recipe = (folder / "recipe.toml").read_text()
    assert "teacher-q4_0" in recipe


def test_where_nothing_does_what_was_asked_there_is_no_model(runs, capsys, tmp_path):
    """Fewer bits per byte than anything has here."""
    folder, code = again(runs, "text", tmp_path, "--at-least", "0.2")
    err = capsys.readouterr().err
    assert code == 1 and "Nothing that was made does what was asked (at most 0.2 bits per byte)" in err
    assert str(folder / "report.html") in err and "--at-least" in err and "Traceback" not in err
    assert not (folder / "model.gguf").exists() and (folder / "below-floor.gguf").exists()
    result = json.loads((folder / "result.json").read_text())
    assert result["verdict"] == "not-kept" and result["student"] is None and result["retention"]["value"] is None
    assert main(["ask", str(folder), "what"]) == 2
    err = capsys.readouterr().err
    assert "this run has no model" in err and f"lightbulb ask {folder / 'below-floor.gguf'}" in err
    assert main(["report", str(folder)]) == 0


def test_no_verdict_where_nothing_was_right(capsys, tmp_path, monkeypatch):
    """Teacher and student write nothing that is right: that is no quality within noise."""
    monkeypatch.setattr(steps, "TEACHER_RATE", 1e-5)
    monkeypatch.setattr(steps, "STUDENT_RATE", 1e-5)
    model, data = tiny_model(tmp_path / "model"), write_rows(tmp_path / "t.jsonl", ROWS["generate"](40))
    assert shrink(tmp_path / "run", model, data) == 1
    err = capsys.readouterr().err
    assert "nothing that was made has learned the task" in err and "nothing was right" in err and "hint" in err
    assert not {"model.gguf", "result.json", "report.html"} & {p.name for p in (tmp_path / "run").iterdir()}


def test_ask(runs, capsys):
    folder = runs("choose")
    answers = {row["completion"] for row in ROWS["choose"](10)}
    capsys.readouterr()
    assert main(["ask", str(folder), "one two card three", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["text"] in answers and record["output_tokens"] == 1 and record["prompt_tokens"] > 1
    assert record["joules"]["value"] is not None
    result = json.loads((folder / "result.json").read_text())
    names = [other["name"] for other in record["references"]]
    assert names[0] == "the adapted teacher (f16, llama.cpp)" and len(names) == len(set(names)) <= 2
    teacher = record["references"][0]
    assert teacher["cpu_seconds_per_answer"] == result["teacher"]["cpu_seconds_per_answer"]
    assert teacher["times"]["value"] == pytest.approx(3.0)  # as this test says of the measuring
    assert main(["ask", str(folder), "one two card three"]) == 0
    assert "the adapted teacher (f16, llama.cpp), as the run measured it: " in capsys.readouterr().err
    assert main(["ask", str(folder / "model.gguf"), "one two card three"]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == record["text"] and "1 written" in err and "teacher" not in err
    assert main(["ask", str(folder), "  "]) == 2


def test_ask_of_a_generate_run(runs, capsys):
    folder = runs("generate")
    capsys.readouterr()
    assert main(["ask", str(folder), "turn on the light number 3", "--max-tokens", "9", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert 1 <= record["output_tokens"] <= 9
    assert main(["ask", str(folder), "turn on", "--max-tokens", "100000"]) == 2
    assert "--max-tokens 256" in capsys.readouterr().err


@pytest.mark.parametrize("runtime", ["llamacpp", "filament"])
def test_a_long_question_is_read_whole(runs, capsys, runtime):
    """As far as the model knows positions: 512 here, byte by byte where the vocabulary was trimmed."""
    if runtime == "filament":
        pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
    read = []
    for system in ([], ["--system", "turn on the light"]):
        capsys.readouterr()
        question = ["ask", str(runs("generate")), "turn on the light number 3 " * 12, "--max-tokens", "9", "--json"]
        assert main([*question, "--runtime", runtime, *system]) == 0
        read.append(json.loads(capsys.readouterr().out)["prompt_tokens"])
    assert 12 * 6 <= read[0] < read[1] <= 512
    question[2] *= 10
    assert main([*question, "--runtime", runtime]) == 2 and "a shorter question" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["choose", "generate"])
def test_filament_gives_the_same_answer(runs, capsys, kind):
    """Asked what a tiny model, hardly taught, answers without a near tie: the two round differently."""
    pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
    folder, said = runs(kind), []
    for runtime in ("llamacpp", "filament"):
        capsys.readouterr()
        question = ["ask", str(folder), "turn on the light number 42", "--max-tokens", "9", "--json"]
        assert main([*question, "--runtime", runtime]) == 0
        said.append(json.loads(capsys.readouterr().out))
    assert [said[0][k] for k in ("text", "output_tokens", "prompt_tokens")] == [
        said[1][k] for k in ("text", "output_tokens", "prompt_tokens")
    ]


def test_a_whole_run_in_filament(runs, capsys, tmp_path):
    """Every file is scored, verified and measured in the runtime that was asked for, and the result names it."""
    pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
    model, data = runs("generate").parent / "model", runs("generate").parent / "generate.jsonl"
    assert shrink(tmp_path / "out", model, data, "--kind", "generate", "--keep", "0.5", "--runtime", "filament") == 0
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert {m["runtime"] for m in (record["teacher"], record["student"], *record["baselines"])} == {"filament"}
    assert record["teacher"]["name"] == "adapted teacher, f16, filament"
    assert record["verify"]["same_tokens"]["value"] == 1 and "lightbulb-filament" in record["versions"]
    assert "--runtime filament" in record["use"][0]
    parameters = {row["label"]: row["parameters"] for row in record["recipe"]}
    assert parameters["costs"]["runtime"] == parameters["verify"]["runtime"] == "filament"


def test_a_schema_shapes_an_answer(runs, capsys, tmp_path):
    schema = tmp_path / "schema.json"
    schema.write_text('{"enum": [true]}')
    question = ["ask", str(runs("generate")), "turn on the light number 3", "--schema", str(schema), "--json"]
    capsys.readouterr()
    assert main(question) == 0
    assert json.loads(capsys.readouterr().out)["text"] == "true"
    schema.write_text('{"type": "string", "minLength": 500}')
    assert main([*question, "--max-tokens", "5"]) == 1 and "does not follow the schema" in capsys.readouterr().err
    assert main(["ask", str(runs("choose")), "one two", "--schema", str(schema)]) == 2
    assert "chooses one of its answers" in capsys.readouterr().err
    schema.write_text("{")
    assert main(question) == 2 and "this is no JSON" in capsys.readouterr().err
    assert main([*question[:4], str(tmp_path / "none.json")]) == 2


def test_the_report_again_is_the_same_report(runs, capsys):
    folder = runs("choose")
    before = (folder / "README.md").read_bytes()
    assert main(["report", str(folder)]) == 0
    assert (folder / "README.md").read_bytes() == before


def test_the_recipe_that_was_chosen_makes_the_same_file(runs, capsys, tmp_path):
    """recipe.toml by `lightbulb run`, in another folder: the same bytes."""
    folder = runs("choose")
    assert main(["run", str(folder / "recipe.toml"), "--out", str(tmp_path / "again"), "--threads", "1"]) == 0
    digest = hashlib.sha256((folder / "model.gguf").read_bytes()).hexdigest()
    files = [hashlib.sha256(f.read_bytes()).hexdigest() for f in (tmp_path / "again" / "steps").glob("*/model.gguf")]
    assert digest in files
