"""The whole examination, of this machine and of one that tells nothing."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from machines import server

import lightbulb.doctor
from lightbulb.cli.examining import doctor
from lightbulb.doctor import Examination, examine, streaming
from lightbulb.doctor.advice import advise

PROBE_SECONDS = 0.01


@pytest.fixture(scope="module")
def here() -> Examination:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "LEAST_REPEATS", 1)
        patch.setattr(streaming, "READ_BYTES", 4 << 20)
        return examine(probe_seconds=PROBE_SECONDS)


def test_this_machine_for_real(here):
    memory = [s for s in here.speed.streamed if s.place == "memory"]
    assert [s.threads for s in memory] == sorted({1, here.machine.threads_held})
    for speed in [s.speed for s in memory] + [p.speed for p in here.speed.products if p.number == "float32"]:
        assert speed.value is None or 0 < speed.low <= speed.value == speed.high
    assert here.energy.busy.value > here.energy.idle.value > 0
    assert 3 <= len(here.verdict) <= 4


def test_json_is_the_record_and_reads_back(here, capsys, monkeypatch):
    monkeypatch.setattr(lightbulb.doctor, "examine", lambda: here)
    doctor(json=True)
    out, err = capsys.readouterr()
    assert err == "" and out.count("\n") == 1
    assert Examination.model_validate_json(out) == here
    assert list(json.loads(out)) == ["machine", "energy", "grid", "software", "speed", "verdict"]


def test_a_person_reads_lines_that_are_not_wrapped(here, capsys, monkeypatch):
    monkeypatch.setattr(lightbulb.doctor, "examine", lambda: here)
    doctor()
    out = capsys.readouterr().out
    assert all(f"  {sentence}\n" in out for sentence in here.verdict)
    assert all(f"cannot read   {diagnostic}\n" in out for diagnostic in here.energy.diagnostics)


def test_neither_torch_nor_a_runtime_is_imported():
    code = """
import sys
from pathlib import Path
from lightbulb.cli.examining import doctor
assert "numpy" not in sys.modules
import lightbulb.doctor, lightbulb.report.doctor
lightbulb.doctor.software.look(Path("/absent"))
heavy = {"torch", "transformers", "xllamacpp", "gguf", "plotly", "pandas", "sklearn"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_machine_without_sys_and_proc(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "UNKNOWN_CACHE_BYTES", 1 << 20)
    found = examine(tmp_path, {"CUDA_VISIBLE_DEVICES": ""}, probe_seconds=0.0)
    assert found.machine.processor is None and found.machine.steal.value is None
    assert found.software.instruction_sets is None and found.speed.caches == ()
    assert found.verdict and Examination.model_validate_json(found.model_dump_json()) == found


def test_the_limit_of_a_cgroup_bounds_the_array(tmp_path, monkeypatch):
    asked = []
    measure = streaming.measure_speed

    def noted(root, threads, available, seconds):
        asked.append(available)
        return measure(root, 1, 1e6, 0.0)

    monkeypatch.setattr(streaming, "measure_speed", noted)
    examine(server(tmp_path), {}, probe_seconds=0.0)
    assert asked == [2e9]


def test_the_verdict_follows_the_findings(here):
    quiet = here.machine.model_copy(update={"load": 0.0, "steal": here.machine.steal.model_copy(update={"value": 0.0})})
    busy = quiet.model_copy(update={"load": 50.0})
    estimated = here.energy.model_copy(update={"sensors": ()})
    sensor = lightbulb.doctor.record.FoundSensor(name="package-0", scope="chip", limitations=(), in_sum=True)
    metered = here.energy.model_copy(update={"sensors": (sensor,)})
    lines = advise(quiet, estimated, here.software, here.speed)
    assert len(lines) == 3 and "estimates" in lines[0] and "times lower" in lines[0]
    assert "measured by package-0 (scope chip)" in advise(quiet, metered, here.software, here.speed)[0]
    assert "load 50" in advise(busy, estimated, here.software, here.speed)[2]
    model = here.software.models[0].model_copy(update={"path": None, "hint": "pip install it"})
    lacking = here.software.model_copy(update={"models": (model,)})
    assert "pip install it" in advise(quiet, estimated, lacking, here.speed)[-1]
