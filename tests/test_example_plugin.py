"""The example of a plugin: installed without a network, through the published suites, and its runtime in every verb."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import choose_rows, write_rows
from tiny import tiny_model

from lightbulb.cli import main
from lightbulb.core import plugins
from lightbulb.measuring import protocol
from lightbulb.runtimes import runtime_class
from lightbulb.shrinking import final_evaluation, steps, timing
from lightbulb.shrinking.times import Times
from lightbulb.tasks.load import load_task

REPOSITORY = Path(__file__).parents[1]
EXAMPLE = REPOSITORY / "examples" / "plugin"
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


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder for sys.path that holds the distribution."""
    if find_spec("setuptools") is None or find_spec("pip") is None:
        pytest.skip("pip and setuptools, which build the example, are not both here")
    folder = tmp_path_factory.mktemp("example")
    source = shutil.copytree(EXAMPLE, folder / "source")  # setuptools builds beside what it reads
    offline = ["--quiet", "--no-build-isolation", "--no-deps", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *offline, "--target", str(folder / "target"), str(source)]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return folder / "target"


@pytest.fixture
def plugged(installed, monkeypatch):
    monkeypatch.syspath_prepend(str(installed))
    plugins._installed.cache_clear()
    yield
    plugins._installed.cache_clear()
    for name in [name for name in sys.modules if name.startswith("lightbulb_example")]:
        del sys.modules[name]


@pytest.mark.slow
def test_it_passes_the_published_suites(installed, tmp_path):
    path = os.pathsep.join(map(str, (installed, REPOSITORY / "src", REPOSITORY / "tests", REPOSITORY / "tests/energy")))
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-q", str(EXAMPLE / "tests"), f"--basetemp={tmp_path}"]
    ran = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]


def test_every_entry_point_is_found_and_is_small(plugged):
    groups = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]["entry-points"]
    assert set(groups) == set(plugins.GROUPS) - {plugins.FAMILIES}
    for group, entries in groups.items():
        for name in entries:
            assert plugins.load(group, name) is not None
    for file in (EXAMPLE / "src/lightbulb_example").glob("*.py"):
        assert len(file.read_text().splitlines()) < 60, file.name


def lightbulb(capsys, *arguments: object) -> dict:
    """What a command prints as JSON."""
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def count_calls(monkeypatch, of: type, name: str, asked: Counter[str]) -> None:
    method = getattr(of, name)

    def counted(self, *arguments):
        asked[name] += 1
        return method(self, *arguments)

    monkeypatch.setattr(of, name, counted)


@pytest.mark.slow
def test_its_runtime_works_in_every_verb(plugged, tmp_path, capsys, monkeypatch):
    """shrink, ask, measure and run; timed, verified, scored and measured in it. The plan is of a quick machine, so that
    it does not hang on this one."""
    monkeypatch.setattr(protocol, "WINDOW_SECONDS", 0.05)
    monkeypatch.setattr(steps, "TEACHER_RATE", 3e-3)
    monkeypatch.setattr(final_evaluation, "measuring_windows", lambda *_: (8, 0.02))
    monkeypatch.setattr(timing, "time_work", lambda *_, **__: QUICK)
    asked: Counter[str] = Counter()
    for name in ("answer", "score_next", "write_exactly"):
        count_calls(monkeypatch, runtime_class("counting"), name, asked)
    model, out = tiny_model(tmp_path / "model", layers=4), tmp_path / "out"
    data = write_rows(tmp_path / "data.jsonl", choose_rows(300))
    how = ("--task", data, "--threads", 1)
    options = ("--max-time", "15m", "--kinds", "first-layer", "decoder", "--runtime", "counting")
    result = lightbulb(capsys, "shrink", model, *how, "--out", out, "--at-least", 0.01, *options)
    assert {m["runtime"] for m in (result["student"], *result["baselines"])} == {"counting"}
    assert result["baselines"][0]["name"].endswith("the counting runtime")
    assert asked["answer"] > 0 and asked["score_next"] > 0
    first = result["candidates"][0]  # chosen, unless another candidate took less in windows this short
    assert first["name"] == "first-layer, 1 layer, q8_0" and "holds the floor" in first["why"]
    assert sum(c["chosen"] for c in result["candidates"]) == 1 and (out / "model.gguf").exists()
    assert "No language model is needed" not in (out / "README.md").read_text(), "another kind, and a language model"
    task = load_task(str(data), kind="choose")
    assert timing.AnswerTimes(task, 1, 0.01).of_file(out / "model.gguf", 1, "counting") > 0
    answer = lightbulb(capsys, "ask", out, "one two card three", "--runtime", "counting")
    assert answer["text"] in {row["completion"] for row in choose_rows(5)} and answer["prompt_tokens"] > 0
    short = ("--trials", 4, "--context", 24, "--threads", 1)
    measured = lightbulb(capsys, "measure", out / "model.gguf", "--runtime", "counting", *short)
    assert measured["runtime"] == "counting" and measured["seconds_per_answer"]["value"] > 0
    assert asked["write_exactly"] > 0
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f"""
model = "{model}"
task = "{data}"

[[step]]
label = "formatted"
pass = "format-task"

[[step]]
label = "clipped"
pass = "clip-weights"
parameters = {{ deviations = 3.0 }}

[[step]]
label = "file"
pass = "export"
parameters = {{ quant_type = "q8_0" }}

[[step]]
label = "verified"
pass = "verify"
inputs = {{ model = "clipped" }}
parameters = {{ runtime = "counting", prompts = 4 }}

[[step]]
label = "scored"
pass = "evaluate"
from = "file"
parameters = {{ runtime = "counting", limit = 5 }}
"""
    )
    facts = lightbulb(capsys, "run", recipe, "--out", tmp_path / "by-hand", "--threads", 1)
    assert facts["scored"]["items"] == 5 and facts["verified"]["same_tokens"] == 1 and facts["clipped"]["clipped"] > 0


@pytest.mark.parametrize(
    "command, said",
    [
        (("shrink", "MODEL", "--task", "TASK", "--runtime", "torch"), "runs model folders"),
        (("shrink", "MODEL", "--task", "TASK", "--runtime", "nothing"), "there is no runtime 'nothing'"),
        (("measure", "MODEL", "--runtime", "nothing"), "one of llamacpp, filament, torch, endpoint, counting"),
        (("ask", "FILE", "what?", "--runtime", "endpoint"), "runs addresses of endpoints"),
    ],
)
def test_another_runtime_is_refused_before_work_starts(plugged, tiny_folder, tmp_path, capsys, command, said):
    data, file = write_rows(tmp_path / "data.jsonl", choose_rows(60)), tmp_path / "model.gguf"
    file.touch()
    places = {"MODEL": str(tiny_folder), "TASK": str(data), "FILE": str(file)}
    assert main([places.get(word, word) for word in command]) == 2
    assert said in capsys.readouterr().err
