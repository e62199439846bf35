"""tests/check_slots.cpp: answers that are filled in, under the sanitizers."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from check_program import built
from random_classifiers import HOSTILE
from random_slots import KNOWN, random_file
from test_native_sanitized import LOUD

from lightbulb.models.kinds.slot_file import write_slots

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("cmake") and shutil.which("c++")), reason="needs cmake and a C++ compiler"),
]
FORMS = [{}, {"copied": False}, {"closed": False}]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    for n, form in enumerate(FORMS):
        write_slots(random_file(n, **form), folder / f"{n}.gguf")
    return [folder / f"{n}.gguf" for n in range(len(FORMS))]


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Path:
    lines = [*(text.encode() for text in KNOWN), *HOSTILE, random.Random(0).randbytes(2000), b"7 " * 400]
    path = tmp_path_factory.mktemp("texts") / "texts"
    path.write_bytes(b"".join(line.replace(b"\n", b" ") + b"\n" for line in lines))
    return path


def run(command: Sequence[str | Path]) -> list[str]:
    done = subprocess.run(command, capture_output=True, env=os.environ | LOUD)
    said = done.stderr.decode(errors="replace")
    assert done.returncode == 0 and "runtime error" not in said and "WARNING: " not in said, said[-4000:]
    return done.stdout.decode(errors="replace").split("\n")[:-1]  # a damaged file may hold texts that are no UTF-8


def test_no_bad_access_and_no_undefined_behaviour(files, texts, tmp_path):
    program, rng = built("check_slots", "sanitized", "-DFILAMENT_SANITIZE=ON"), random.Random(0)
    assert len(run([program, texts, *files])) == len(files) * texts.read_bytes().count(b"\n")
    damaged = []
    for n in range(600):
        copy = bytearray(files[n % len(files)].read_bytes())
        if n % 4 == 0:
            del copy[rng.randrange(1, len(copy)) :]
        for _ in range(rng.choice((1, 1, 2, 8))):
            copy[rng.randrange(len(copy))] = rng.choice((0, 1, 127, 128, 255))
        damaged.append(tmp_path / str(n))
        damaged[-1].write_bytes(copy)
    assert sum(line.startswith("error: ") for line in run([program, texts, *damaged])) > 150


def test_no_races(files, texts):
    said = run([built("check_slots", "sanitized_threads", "-DFILAMENT_SANITIZE_THREADS=ON"), texts, *files])
    assert said and not any(line.startswith("differs") for line in said)
