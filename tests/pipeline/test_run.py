"""A run folder: keys decide, steps are whole or absent, and nothing that was spent is forgotten."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
from conftest import bare_run, tiny_task

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import RunFailure, StorageFull, UserError
from lightbulb.core.files import read_json, write_json
from lightbulb.core.progress import Silent
from lightbulb.energy.meter import Meter
from lightbulb.passes.base import Pass
from lightbulb.pipeline import ledger
from lightbulb.pipeline.ledger import Cost
from lightbulb.pipeline.run import Run


class Note(Pass):
    """Writes what it was given; counts how often it worked."""

    name: ClassVar[str] = "note"
    worked: ClassVar[list[str]] = []
    text: str = "a"

    def apply(self, source, out, context) -> dict[str, Any]:
        self.worked.append(self.text)
        (out / "note.txt").write_text(self.text)
        if self.text == "bad":
            raise RunFailure("as asked")
        if self.text == "full":
            raise OSError(28, "No space left on device", str(out / "note.txt"))
        return {"length": len(self.text)}


@pytest.fixture
def open_run(tmp_path):
    def opened(folder="run", task=None, seed=0, threads=1):
        return Run(
            tmp_path / folder,
            task or tiny_task("choose", 20),
            seed=seed,
            progress=Silent(),
            meter=Meter((), threads=threads),
            threads=threads,
        )

    Note.worked.clear()
    return opened


def source(tmp_path, key="source", **facts) -> Artifact:
    return Artifact(path=tmp_path, kind="model", key=key, made_by="test", facts=facts)


def test_a_finished_step_is_found_not_repeated(open_run, tmp_path):
    with open_run() as run:
        first = run.step("note", Note(), source(tmp_path))
    with open_run() as run:
        again = run.step("note", Note(), source(tmp_path))
        assert run.resumed == 1
        assert run.finished_steps() == [again]
    assert again == first and Note.worked == ["a"]
    assert (again.path / "note.txt").read_text() == "a"
    assert again.parent == "source" and again.facts == {"length": 1}


def test_whatever_decides_the_output_is_in_the_key(open_run, tmp_path):
    base = {"pass_": Note(), "source_key": "s", "inputs": {}}

    def key(run=None, **other) -> str:
        return (run or open_run()).key(**base | other)

    class Newer(Note):
        version: ClassVar[int] = 2

    class Other(Note):
        name: ClassVar[str] = "other"

    extra = source(tmp_path, "extra")
    keys = [
        key(),
        key(pass_=Note(text="b")),
        key(pass_=Newer()),
        key(pass_=Other()),
        key(source_key="t"),
        key(inputs={"logits": extra}),
        key(inputs={"other": extra}),
        key(open_run(seed=1)),
        key(open_run(threads=2)),
        key(open_run(task=tiny_task("choose", 30))),
    ]
    assert len(set(keys)) == len(keys)
    assert key(open_run(folder="elsewhere")) == keys[0]


def test_facts_that_stay_true_are_carried(open_run, tmp_path):
    with open_run() as run:
        made = run.step("note", Note(), source(tmp_path, answer_ids=[7], other=1))
    assert made.facts == {"answer_ids": [7], "length": 1}


@pytest.mark.parametrize(("text", "error"), [("bad", RunFailure), ("full", StorageFull)])
def test_a_step_that_fails_leaves_nothing_half_written(open_run, tmp_path, text, error):
    with open_run() as run, pytest.raises(error):
        run.step("note", Note(text=text), source(tmp_path))
    assert list((tmp_path / "run" / "steps").iterdir()) == []


def test_a_killed_step_is_swept_away_and_made_again(open_run, tmp_path):
    with open_run() as run:
        key = run.key(Note(), "source", {})
        half = tmp_path / "run" / "steps" / f".note-{key[:12]}.tmp"
        half.mkdir()
        (half / "rubbish").write_text("x")
        made = run.step("note", Note(), source(tmp_path))
    assert not half.exists() and not (made.path / "rubbish").exists()


def test_a_kill_after_a_step_leaves_no_checkpoint_for_ever(open_run, tmp_path):
    with open_run() as run:
        key = run.step("note", Note(), source(tmp_path)).key
    scratch = tmp_path / "run" / "scratch"
    for name in (key[:12], "unfinished"):
        (scratch / name).mkdir(parents=True)
        (scratch / name / "checkpoint.safetensors").write_text("x")
    with open_run():
        assert [p.name for p in scratch.iterdir()] == ["unfinished"]


def test_another_recipe_is_refused_in_a_word(open_run):
    with open_run() as run, pytest.raises(UserError) as e:
        run.bind_config({"recipe": {"seed": 0}})
        run.bind_config({"recipe": {"seed": 1}})
    assert "(another recipe)" in e.value.what


def test_another_goal_is_refused_and_the_same_is_welcome(open_run):
    goal = {"model": "m", "keep": 0.9}
    with open_run() as run:
        run.bind_config(goal)
    with open_run() as run:
        run.bind_config(goal)
        with pytest.raises(UserError, match="keep: 0.9 here, 0.8 asked") as e:
            run.bind_config({"model": "m", "keep": 0.8})
    assert e.value.exit_code == 2 and "`out`" in e.value.hint


def test_one_folder_one_run(open_run):
    with open_run():
        with pytest.raises(UserError, match="another lightbulb"), open_run():
            pass
        with open_run(folder="other"):
            pass
    with open_run():
        pass


def test_what_a_killed_attempt_cost_is_counted(open_run, tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "HEARTBEAT_SECONDS", 0.0)
    with open_run() as run:

        def killed(out, scratch, progress):
            with progress.bar("work", 2) as advance:
                time.sleep(0.05)
                advance(1, "")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run.make("slow", "k" * 12, "figures", "test", None, killed)
        account = tmp_path / "run" / "scratch" / ("k" * 12) / "spent.json"
        first = Cost.read(account)
        assert first.seconds >= 0.05 and first.attempts == 1
    with open_run() as run:
        made = run.make("slow", "k" * 12, "figures", "test", None, lambda out, scratch, progress: {})
        cost = run.cost(made)
    assert cost.attempts == 2 and cost.seconds >= first.seconds
    assert cost.joules.value >= first.joules.value and cost.joules.low is not None
    assert not account.exists()


def test_a_real_kill_leaves_its_account_and_no_step(tmp_path):
    """kill -9 in the middle of a step, in a process of its own."""
    code = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
from conftest import tiny_task
from lightbulb.pipeline import ledger
from lightbulb.energy.meter import Meter
from lightbulb.core.progress import Silent
from lightbulb.pipeline.run import Run
ledger.HEARTBEAT_SECONDS = 0.0
def work(out, scratch, progress):
    (out / "half").write_text("x")
    with progress.bar("work", 2) as advance:
        advance(1, "")
    os.kill(os.getpid(), signal.SIGKILL)
with Run(Path({str(tmp_path / "run")!r}), tiny_task("choose", 20), seed=0, progress=Silent(),
         meter=Meter((), threads=1), threads=1) as run:
    run.make("step", "k" * 12, "figures", "test", None, work)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -9
    assert [p.name for p in (tmp_path / "run" / "steps").iterdir() if not p.name.startswith(".")] == []
    assert Cost.read(tmp_path / "run" / "scratch" / ("k" * 12) / "spent.json").attempts == 1
    with bare_run(tmp_path / "run", tiny_task("choose", 20)) as run:  # the lock died with its process
        made = run.make("step", "k" * 12, "figures", "test", None, lambda out, scratch, progress: {"done": 1})
        assert run.cost(made).attempts == 2
    assert sorted(p.name for p in made.path.iterdir()) == ["cost.json", "lightbulb.json"]


def test_spent_counts_every_step_once(open_run, tmp_path):
    with open_run() as run:
        a = run.step("a", Note(text="a"), source(tmp_path))
        run.step("a", Note(text="a"), source(tmp_path))
        b = run.step("b", Note(text="b"), a)
        parts = run.cost(a).seconds + run.cost(b).seconds
        assert parts + run.overhead().seconds - 0.5 < run.spent().seconds <= parts + run.overhead().seconds
        assert run.finished_steps() == [a, b]


def test_what_is_spent_beside_the_steps_is_counted_over_all_attempts(open_run, tmp_path):
    begin = time.perf_counter()
    with open_run() as run:
        time.sleep(0.2)
        a = run.step("a", Note(text="a"), source(tmp_path))
        first = run.overhead()
        assert 0.2 <= first.seconds <= time.perf_counter() - begin - run.cost(a).seconds
    with open_run() as run:
        run.step("a", Note(text="a"), source(tmp_path))
        b = run.step("b", Note(text="b"), a)
        time.sleep(0.1)
        both = run.overhead()
        assert 0.3 <= both.seconds <= time.perf_counter() - begin - run.cost(b).seconds
        assert both.joules.low <= both.joules.value <= both.joules.high and both.joules.source == "estimated"


def test_a_refused_folder_keeps_no_account(open_run, tmp_path):
    with open_run():
        pass
    assert not list(tmp_path.rglob("overhead.json"))


def test_records_are_whole_or_old(tmp_path):
    write_json(tmp_path / "r.json", {"a": 1})
    with pytest.raises(ValueError):
        write_json(tmp_path / "r.json", {"a": float("nan")})
    assert read_json(tmp_path / "r.json") == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]
    (tmp_path / "r.json").write_text("{")
    with pytest.raises(RunFailure, match="cannot read a record"):
        read_json(tmp_path / "r.json")


def test_a_folder_of_other_things_is_left_alone(open_run, tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("README.md", ".notes.tmp"):
        (folder / name).write_text("mine")
    with pytest.raises(UserError, match="README.md"), open_run("project"):
        pass
    assert {p.name for p in folder.iterdir()} == {"README.md", ".notes.tmp"}
    (tmp_path / "empty").mkdir()
    with open_run("empty") as run:
        run.bind_config({"keep": 1})
    (tmp_path / "empty" / "README.md").write_text("its own")
    (tmp_path / "empty" / "steps").rmdir()  # large, and not needed when all is done
    with open_run("empty"):
        pass
