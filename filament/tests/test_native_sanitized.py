"""tests/check.cpp and check_kernels.cpp under the sanitizers: good, cut and damaged files, two streams at once. Nothing
may be reported."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from check_program import built
from random_matmulfree import SMALL_MIXED, write_matmulfree
from random_models import MADE_UP, SHAPES, SMALL, WRITTEN, Shape, Type, damaged_headers, damaged_weights, write_model

LOUD = {"ASAN_OPTIONS": "exitcode=99:allocator_may_return_null=1", "UBSAN_OPTIONS": "halt_on_error=1:exitcode=99"}
LOUD |= {"TSAN_OPTIONS": "exitcode=99"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("cmake") and shutil.which("c++")), reason="needs cmake and a C++ compiler"),
]


def run(program: Path, files: Sequence[str | Path], **more: str) -> str:
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
    files += [write_model(folder / f"{s.architecture}.gguf", Type.Q8_0, s) for s in (SHAPES["deci"], SHAPES["gemma3"])]
    files += [write_matmulfree(folder / f"{name}.gguf", shape) for name, shape in SMALL_MIXED.items()]
    return [*files, write_model(folder / "small.gguf", Type.F16, SMALL)]


def test_no_bad_access_and_no_undefined_behaviour(good, tmp_path):
    program = built("check", "sanitized", "-DFILAMENT_SANITIZE=ON")
    for isa in (None, "portable"):
        said = run(program, good, **({"FILAMENT_ISA": isa} if isa else {}))
        assert "error" not in said and len(said.splitlines()) == len(good)
    whole = write_model(tmp_path / "m.gguf", Type.Q4_0, SMALL).read_bytes()
    contents = [*damaged_headers(whole, 600), *damaged_weights(whole, 100)]
    contents += [whole[:n] for n in range(0, len(whole), 61)]
    for name, shape in SMALL_MIXED.items():
        mixed = write_matmulfree(tmp_path / f"{name}.gguf", shape).read_bytes()
        contents += [*damaged_headers(mixed, 200), *damaged_weights(mixed, 50)]
    files = []
    for n, content in enumerate(contents):
        files.append(tmp_path / f"{n}.gguf")
        files[-1].write_bytes(content)
    assert run(program, files).count("error: ") > 300


def test_kernels_read_and_write_nothing_beyond_their_ends():
    program = built("check_kernels", "sanitized", "-DFILAMENT_SANITIZE=ON")
    for isa in subprocess.run([program, "list"], capture_output=True, text=True).stdout.split():
        assert run(program, [isa]).endswith(": 0 faults\n")


def test_no_races(good):
    assert "error" not in run(built("check", "sanitized_threads", "-DFILAMENT_SANITIZE_THREADS=ON"), good)
