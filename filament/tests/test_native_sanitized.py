"""tests/check.cpp under the sanitizers: good, cut and damaged files, two streams at once. Nothing may be reported."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from random_models import MADE_UP, SMALL, WRITTEN, Shape, Type, damaged_headers, damaged_weights, write_model

ROOT = Path(__file__).parents[1]
LOUD = {"ASAN_OPTIONS": "exitcode=99:allocator_may_return_null=1", "UBSAN_OPTIONS": "halt_on_error=1:exitcode=99"}
LOUD |= {"TSAN_OPTIONS": "exitcode=99"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("cmake") and shutil.which("c++")), reason="needs cmake and a C++ compiler"),
]


def built(option: str) -> Path:
    """check.cpp with a sanitizer; built in filament/build, where the next run finds it."""
    folder = ROOT / "build" / option.lower()
    wanted = ["cmake", "-S", ROOT, "-B", folder, "-DFILAMENT_CHECK=ON", f"-D{option}=ON"]
    ready = subprocess.run(wanted, capture_output=True, text=True)
    assert ready.returncode == 0, ready.stdout + ready.stderr
    build = ["cmake", "--build", folder, "--target", "check", "--parallel", str(os.cpu_count())]
    made = subprocess.run(build, capture_output=True, text=True)
    if "cannot find -l" in made.stderr + made.stdout:
        pytest.skip("this compiler comes without the sanitizer's library")
    assert made.returncode == 0, made.stdout[-3000:] + made.stderr[-3000:]
    return folder / "check"


def run(program: Path, files: list[Path], **more: str) -> str:
    environment = os.environ | LOUD | more
    done = subprocess.run([program, *files], capture_output=True, text=True, errors="replace", env=environment)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert "runtime error" not in done.stderr and "WARNING: " not in done.stderr, done.stderr[:4000]
    return done.stdout


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    shape = Shape(layers=1, heads=(4,), kv_heads=(2,), feed_forward=(256,))
    files = [write_model(folder / f"{t.name}.gguf", t, shape) for t in (*WRITTEN, *MADE_UP)]
    return [*files, write_model(folder / "small.gguf", Type.F16, SMALL)]


def test_no_bad_access_and_no_undefined_behaviour(good, tmp_path):
    program = built("FILAMENT_SANITIZE")
    for isa in (None, "portable"):
        said = run(program, good, **({"FILAMENT_ISA": isa} if isa else {}))
        assert "error" not in said and len(said.splitlines()) == len(good)
    whole = write_model(tmp_path / "m.gguf", Type.Q4_0, SMALL).read_bytes()
    contents = [*damaged_headers(whole, 600), *damaged_weights(whole, 100)]
    contents += [whole[:n] for n in range(0, len(whole), 61)]
    files = []
    for n, content in enumerate(contents):
        files.append(tmp_path / f"{n}.gguf")
        files[-1].write_bytes(content)
    assert run(program, files).count("error: ") > 300


def test_no_races(good):
    assert "error" not in run(built("FILAMENT_SANITIZE_THREADS"), good)
