"""The verb search end to end on tiny models, through the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from conftest import choose_rows, write_rows
from tiny import tiny_model

from lightbulb.cli import main
from lightbulb.core.artifact import Artifact
from lightbulb.searching import choosing, cost_files, job
from lightbulb.searching.record import SearchRecord
from lightbulb.shrinking import steps, timing
from lightbulb.shrinking.times import Times

# Slower than any machine: no training is shortened, so that two runs make the same bytes
SLOW = Times(
    layers=4,
    full_step=0.2,
    frozen_step=0.15,
    frozen_again=0.13,
    frozen_layers=2,
    student_steps=((1, 0.1), (4, 0.2)),
    read_example=0.001,
    answer_folder=0.01,
    answer_file=0.01,
    pass_seconds=0.1,
)
DONE = {"search.json", "search.html", "recipe.toml", "costs.json", "events.jsonl"}


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Short windows, a teacher that learns a tiny task, and a plan that does not hang on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "TEACHER_RATE", 3e-3)
        patch.setattr(timing, "time_work", lambda *_, **__: SLOW)
        patch.setattr(choosing, "MOST_EPOCHS", 1.0)
        patch.setattr(cost_files, "TRIALS", 4)
        patch.setattr(job, "TRIALS", 4)
        patch.setattr(job, "OVERRUN", 1000.0)  # what the clock shortens is another training
        patch.setattr(job, "WINDOWS", (0.02,))
        patch.setattr(job, "windows_within", lambda *_: (8, 0.02))
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a model and a task."""
    folder = tmp_path_factory.mktemp("search")
    tiny_model(folder / "model", layers=4)
    write_rows(folder / "task.jsonl", choose_rows(300))
    return folder


def search(place: Path, name: str, *more: str) -> int:
    where = ["--task", str(place / "task.jsonl"), "--out", str(place / name), "--threads", "1", "--max-time", "60m"]
    asked = [] if any(word.startswith(("--keep", "--max-b")) for word in more) else ["--keep", "0.7"]
    own = {"--candidates": "5", "--costs": str(place / "costs.json")}
    usual = [word for name, value in own.items() if name not in more for word in (name, value)]
    return main(["search", str(place / "model"), *where, *asked, *usual, *more])


@pytest.fixture(scope="module")
def found(place) -> SearchRecord:
    assert search(place, "out") == 0
    return SearchRecord.read(place / "out" / "search.json")


def steps_of(folder: Path) -> dict[str, str]:
    """Keys of all steps but those that are timed, by their labels."""
    made = [Artifact.read(p) for p in (folder / "steps").iterdir()]
    return {a.path.name.rsplit("-", 1)[0]: a.key for a in made if a.kind != "figures" or a.made_by == "evaluate"}


@pytest.mark.slow
def test_a_search_shows_the_front_and_says_why_not(place, found):
    folder = place / "out"
    assert {p.name for p in folder.iterdir()} >= DONE - {"costs.json"} and (place / "costs.json").exists()
    assert not (folder / "model.gguf").exists() and not list(folder.glob("steps/*-test-*"))
    parent, *others = found.points
    assert parent.stage == "parent" and parent.score.value > 0.5
    chosen = found.chosen
    assert chosen is not None and found.reached and chosen.stage == "file" and any(p.front for p in found.points)
    assert chosen.score.value >= found.needed >= 0.7 * parent.score.value - 1e-9
    assert chosen.bytes < parent.bytes and chosen.cost("cpu_seconds_per_answer").source == "measured"
    losers = [p for p in others if not p.chosen]
    assert losers and all(p.why for p in losers)
    trained = [p for p in others if p.stage in ("trained", "file")]
    assert 3 <= len(trained) <= 5 and 1 <= len([p for p in others if p.stage == "file"]) <= 3
    for point in found.points:
        for figure in point.predicted.values():
            assert figure.source == "estimated" and figure.low <= figure.value <= figure.high
    assert {c.name for c in found.checks} <= {"cpu_seconds_per_answer", "seconds_per_answer", "joules_per_answer"}
    assert all(c.off is not None for c in found.checks) and found.checks
    page = (folder / "search.html").read_text(encoding="utf-8")
    assert chosen.name in page and all(p.name in page for p in losers)


@pytest.mark.slow
def test_the_same_command_again_is_done_and_another_goal_is_refused(place, found, capsys):
    def times() -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in (place / "out").rglob("*") if p.name != ".lock"}

    before = times()
    assert search(place, "out", "--json") == 0
    assert json.loads(capsys.readouterr().out) == found.model_dump(mode="json")
    assert times() == before
    assert search(place, "out", "--keep", "0.8") == 2
    assert "this folder holds another run" in capsys.readouterr().err


@pytest.mark.slow
def test_two_workers_find_what_one_finds_and_a_killed_search_resumes(place, found):
    """The second begins with the plan and some steps of the first, as after a kill, and goes on with two workers."""
    folder = place / "workers"
    shutil.copytree(place / "out", folder)
    for name in ("search.json", "search.html", "recipe.toml"):
        (folder / name).unlink()
    for step in folder.glob("steps/s[0-9]*"):
        shutil.rmtree(step)
    assert search(place, "workers", "--workers", "2") == 0
    assert steps_of(folder) == steps_of(place / "out")
    again = SearchRecord.read(folder / "search.json")
    assert [p.score for p in again.points] == [p.score for p in found.points]
    assert not (folder / "workers").exists()


@pytest.mark.slow
def test_the_recipe_makes_the_chosen_student(place, found):
    assert main(["run", str(place / "out" / "recipe.toml"), "--out", str(place / "made"), "--threads", "1"]) == 0
    (file,) = [p for p in place.glob("made/steps/rounded-file-*/model.gguf")]
    assert file.stat().st_size == pytest.approx(found.chosen.bytes, rel=0.01)
    (test,) = place.glob("made/steps/test-*")
    assert Artifact.read(test).facts["score"]["value"] > 0.5


@pytest.mark.slow
def test_a_parent_from_a_recipe_and_a_limit(place, tmp_path, found):
    """Any model can be the parent; with a limit alone the best within it is chosen."""
    recipe = tmp_path / "parent.toml"
    recipe.write_text(
        f'model = "{place / "model"}"\ntask = "{place / "task.jsonl"}"\n'
        '[[step]]\nlabel = "formatted"\npass = "format-task"\n'
        '[[step]]\nlabel = "mine"\npass = "adapt"\n'
        "[step.parameters.schedule]\nepochs = 6\nlearning_rate = 3e-3\nbatch_size = 8\n"
    )
    limit = str(int(0.9 * found.points[0].bytes))
    assert search(place, "parent", "--parent", str(recipe), "--max-bytes", limit, "--candidates", "3") == 0
    record = SearchRecord.read(place / "parent" / "search.json")
    assert record.needed is None and record.chosen.bytes <= int(limit)
    assert all("over the limit" in p.why for p in record.points if p.stage == "not tried" and "full" not in p.name)


def test_what_cannot_be_asked_is_one_error_before_any_work(place, tmp_path, capsys):
    broken = tmp_path / "costs.json"
    broken.write_text("{")
    recipe = tmp_path / "file.toml"
    recipe.write_text('model = "m"\ntask = "t"\n[[step]]\nlabel = "f"\npass = "export"\n')
    for more, said in (
        (["--max-bytes", "many"], "--max-bytes 20MB"),
        (["--costs", str(broken)], "no table of costs"),
        (["--parent", str(recipe)], "the parent is the last step"),
        (["--runtime", "torch"], "--runtime"),
        (["--keep", "97"], "--keep 0.97"),
    ):
        assert search(place, "refused", *more) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("error: ") == 1 and said in err, err
        assert not (place / "refused").exists()


def test_a_recurrent_model_is_refused(tmp_path, capsys):
    pytest.importorskip("lightbulb_filament")
    from matmulfree_files import tiny_matmulfree

    data = write_rows(tmp_path / "task.jsonl", choose_rows(60))
    model = tiny_matmulfree(tmp_path / "model", ["linear_attention", "full_attention"])
    assert main(["search", str(model), "--task", str(data), "--out", str(tmp_path / "out")]) == 2
    assert "layers all have attention" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
