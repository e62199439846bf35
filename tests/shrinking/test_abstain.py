"""Abstaining from end to end: a label for what no answer fits, a threshold, the same answers in every runtime."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import choose_rows, write_rows
from tiny import tiny_model
from tiny_encoder import tiny_encoder
from whole_run import record, shrink

from lightbulb import api
from lightbulb.cli import main
from lightbulb.core.errors import GoalError
from lightbulb.formats.gguf.header import read_header
from lightbulb.models.kinds.ngrams import NgramFile
from lightbulb.runtimes import open_gguf
from lightbulb.serving.service import Question, Service
from lightbulb.shrinking import final_evaluation
from lightbulb.shrinking.abstain import Abstain, check_abstaining
from lightbulb.tasks.stored import read_task
from lightbulb.tasks.task import Example, Outside, Task

filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
NONE_LABEL = ("--none-label", "oos")
WEATHER = ["rain", "snow", "wind", "sun", "cloud", "storm", "fog", "hail", "frost", "thunder", "drizzle", "breeze"]


@pytest.fixture(scope="module", autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(final_evaluation, "measuring_windows", lambda *_: (8, 0.02))
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A tiny model, and a task in which one question of four is about the weather."""
    folder, rng = tmp_path_factory.mktemp("abstain"), random.Random(0)
    tiny_model(folder / "model", layers=1)
    tiny_encoder(folder / "encoder")
    none = [{"prompt": " ".join(rng.choices(WEATHER, k=6)) + f" {n}", "completion": "oos"} for n in range(200)]
    rows = choose_rows(600)
    for row, other in zip(rows[7::16], rows[9::16], strict=False):  # labels that are wrong: nobody is sure of all
        row["completion"] = other["completion"]
    write_rows(folder / "task.jsonl", rows + none)
    return folder


@pytest.fixture(scope="module")
def run(place) -> Path:
    code, folder = shrink(place, "run", *NONE_LABEL, "--at-least", "0.7", "--abstain", "0.8", "--kinds", "linear")
    assert code == 0
    return folder


def test_the_result_says_what_leaving_out_answers_does(run):
    result = record(run)
    student, found = result["student"], result["student"]["abstention"]
    assert result["abstain"] == {"precision": 0.8} and result["none_label"] == "oos"
    assert result["verdict"] in ("kept", "within-noise") and student["kind"] == "linear"
    task, file = task_of(run), NgramFile.read(run / "model.gguf")
    right, given, of_none, weight = tally(file, task)
    assert found["coverage"]["value"] == pytest.approx(given / len(task.test))
    assert found["recall"]["value"] == pytest.approx(1 - of_none / len(task.outside.test))
    assert found["precision"]["value"] == pytest.approx(right / (given + weight * of_none))
    assert found["precision"]["high"] >= 0.8, "else it would have fallen short"
    assert found["share"] == pytest.approx(task.outside.test_share)
    right, given, of_none, weight = tally(replace(file, threshold=None), task)
    assert (given, of_none) == (len(task.test), len(task.outside.test)), "without a threshold all are answered"
    assert right / (given + weight * of_none) < min(0.8, found["precision"]["value"]), "which is not good enough"
    fields = read_header(run / "model.gguf").fields
    assert fields["lightbulb.threshold"] == found["threshold"] > 0 and fields["lightbulb.none"] == "oos"
    assert "oos" not in fields["lightbulb.answers"]
    for page in ("report.html", "README.md"):
        text = (run / page).read_text()
        assert "it answers" in text and "never says that none fits" not in text


def test_a_recipe_makes_the_same_file(run, tmp_path):
    assert main(["run", str(run / "recipe.toml"), "--out", str(tmp_path / "again"), "--threads", "1"]) == 0
    wanted = (run / "model.gguf").read_bytes()
    assert wanted in [file.read_bytes() for file in (tmp_path / "again" / "steps").glob("*/model.gguf")]


def task_of(run: Path) -> Task:
    return read_task(next((run / "steps").glob("task-*")))


def tally(file: NgramFile, task: Task) -> tuple[int, int, int, float]:
    """Of the test items: right answers, answers, answers to what none fits, and what one of the latter counts."""
    chosen = file.choices([e.prompt for e in task.test])
    right = sum(file.labels[n] == e.completion for n, e in zip(chosen, task.test, strict=True) if n >= 0)
    of_none = [n for n in file.choices([e.prompt for e in task.outside.test]) if n >= 0]
    share = task.outside.test_share
    weight = share / (1 - share) * len(task.test) / len(task.outside.test)
    return right, sum(n >= 0 for n in chosen), len(of_none), weight


def left_out(run: Path) -> str:
    """A question that no answer fits, and that gets none."""
    file = NgramFile.read(run / "model.gguf")
    texts = [e.prompt for e in task_of(run).outside.test]
    return texts[file.choices(texts).index(-1)]


def test_ask_says_that_none_fits_and_how_sure_it_was(run, capsys):
    capsys.readouterr()
    assert main(["ask", str(run), left_out(run), "--json"]) == 0
    asked = json.loads(capsys.readouterr().out)
    fields = read_header(run / "model.gguf").fields
    assert asked["text"] == "oos" and asked["likeliest"] in fields["lightbulb.answers"]
    assert 0 < asked["probability"] < fields["lightbulb.threshold"]
    assert main(["ask", str(run), left_out(run)]) == 0
    told = capsys.readouterr()
    assert told.out == "oos\n" and f"of {asked['likeliest']!r}, the likeliest: too low to be given" in told.err
    row = choose_rows(3)[2]
    assert main(["ask", str(run), row["prompt"], "--json"]) == 0
    asked = json.loads(capsys.readouterr().out)
    assert asked["text"] == row["completion"] and asked["likeliest"] is None


@pytest.mark.parametrize("to", ["c", "js"])
def test_exports_leave_out_the_same(run, tmp_path, to):
    """Every test item, those that no answer fits among them, is answered as filament does."""
    task = task_of(run)
    exported = api.export(run, to, tmp_path / "bank")
    if exported.checked.items is None:
        pytest.skip(exported.checked.why_not)
    assert exported.checked.items == len(task.test) + len(task.outside.test) and exported.threshold
    texts = [e.prompt for e in (*task.test, *task.outside.test)]
    file, runtime = NgramFile.read(run / "model.gguf"), open_gguf(run / "model.gguf", threads=1)
    made = runtime.answer(texts, task.answers)
    given = [
        task.answers.index(text) if p >= runtime.info.abstention.threshold else -1
        for text, p in zip(made.texts, made.probabilities, strict=True)
    ]
    runtime.close()
    assert given == file.choices(texts) and 5 < given.count(-1) < len(given) - 5


@pytest.mark.slow
def test_encoders_and_cascades_abstain_too(place):
    kinds = ("--kinds", "linear", "encoder", "cascade", "--encoder", str(place / "encoder"))
    code, folder = shrink(place, "kinds", *NONE_LABEL, "--keep", "0.9", "--abstain", "coverage=0.6", *kinds)
    result = record(folder)
    assert code == 0 and len(result["students"]) >= 2
    for student in result["students"]:
        found = student["abstention"]
        assert read_header(folder / student["path"]).fields["lightbulb.threshold"] == found["threshold"] > 0
        assert found["coverage"]["high"] >= 0.6 and found["recall"]["value"] > 0, student
    handed = result["student"]["abstention"]
    assert handed["coverage"]["value"] + handed["recall"]["value"] > 1.3, "by chance it would be 1"


def test_a_service_leaves_out_what_it_is_not_sure_of(run):
    service = Service(run / "model.gguf", threads=1)
    texts = (left_out(run), choose_rows(3)[2]["prompt"])
    questions = [Question(({"role": "user", "content": text},)) for text in texts]
    without, given = service.answer([service.prepare(question) for question in questions])
    service.close()
    assert without.text == "oos" and without.likeliest in service.answers
    assert without.probability < service.abstention.threshold <= given.probability
    assert given.text == choose_rows(3)[2]["completion"] and given.likeliest is None


@pytest.mark.parametrize("text", ["0", "1", "1.5", "95", "-0.1", "recall=0.9", "", "coverage="])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(GoalError) as refused:
        Abstain.parse(text)
    assert refused.value.where == "`abstain`" and "abstain=0.95" in refused.value.hint


def test_what_is_asked_is_read():
    assert Abstain.parse("0.95") == Abstain(of="precision", least=0.95) == Abstain.parse("precision=.95")
    assert Abstain.parse("coverage = 0.8") == Abstain(of="coverage", least=0.8)


def test_what_does_not_fit_together_is_refused_before_any_work(place, capsys):
    code, folder = shrink(place, "refused", *NONE_LABEL)
    assert code == 2 and "nothing says when to abstain" in capsys.readouterr().err and not folder.exists()
    asked, example = Abstain.parse("0.9"), (Example("a", "b"),)
    written = Task("t", "generate", "exact-match", example, example, example)
    with pytest.raises(GoalError, match="of the kind generate"):
        check_abstaining(asked, written)
    named = Task("t", "choose", "accuracy", example, example, example, ("b", "none of these"))
    with pytest.raises(GoalError, match="is one of the answers"):
        check_abstaining(asked, named)
    check_abstaining(asked, Task("t", "choose", "accuracy", example, example, example, ("b",), outside=Outside("oos")))
