"""tests/check_classifiers.cpp: bytes that are no UTF-8, the sanitizers, and processors that are not here."""

from __future__ import annotations

import os
import platform
import random
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from check_program import built, needs
from random_classifiers import HOSTILE, NgramModel, random_model, sentence, write_cascade
from test_native_sanitized import LOUD

ARM = "aarch64-linux-gnu-g++"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("cmake") and shutil.which("c++")), reason="needs cmake and a C++ compiler"),
]
FORMS = (
    {"unit": 50.0},
    {"width": 24, "answers": 21, "bias": 100_000, "unit": 2e6},
    {"largest": True, "rows": 1500, "bias": 300, "counts": 256},
    {"chars": (1, 8), "words": (0, 0), "answers": 90},
)


@pytest.fixture(scope="module")
def models() -> list[NgramModel]:
    return [random_model(n, **form) for n, form in enumerate(FORMS)]


@pytest.fixture(scope="module")
def files(models, tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    found = [model.write(folder / f"{n}.gguf") for n, model in enumerate(models)]
    return [*found, write_cascade(folder / "cascade.gguf", [found[0], found[0]], [0.4], models[0].answers)]


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> tuple[Path, list[bytes]]:
    rng = random.Random(0)
    lines = [sentence(rng).encode() for _ in range(30)] + [b"\xe2\x82" + sentence(rng).encode() + b"\xf0\x9f"]
    lines += [*HOSTILE, bytes(rng.randrange(256) for _ in range(2000))]
    lines = [line.replace(b"\n", b" ") for line in lines]
    path = tmp_path_factory.mktemp("texts") / "texts"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path, lines


def run(command: Sequence[str | Path], **more: str) -> list[list[str]]:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=os.environ | LOUD | more)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert "runtime error" not in done.stderr and "WARNING: " not in done.stderr, done.stderr[:4000]
    return [line.split() for line in done.stdout.splitlines()]


def test_bytes_that_are_no_utf8_are_read_as_the_format_says(models, files, texts):
    path, lines = texts
    said = run([built("check_classifiers", "plain"), path, *files])
    for model, (_, *choices) in zip(models, said, strict=False):
        expected = [model.choice(line) for line in lines]
        assert [int(c.split(":")[0]) for c in choices] == [number for number, _ in expected]
        assert [int(c.split(":")[2]) for c in choices] == pytest.approx([1e6 * p for _, p in expected], abs=2)


def test_no_bad_access_and_no_undefined_behaviour(files, texts, tmp_path):
    program, rng = built("check_classifiers", "sanitized", "-DFILAMENT_SANITIZE=ON"), random.Random(0)
    plain = run([built("check_classifiers", "plain"), texts[0], *files])
    for isa in ({}, {"FILAMENT_ISA": "portable"}):
        assert [row[1:] for row in run([program, texts[0], *files], **isa)] == [row[1:] for row in plain]
    damaged = []
    small = random_model(1, rows=20, answers=3, width=5)
    stage = small.write(tmp_path / "small.gguf")
    for whole in (stage, write_cascade(tmp_path / "cascade.gguf", [stage, stage], [0.5], small.answers)):
        content = whole.read_bytes()
        for n in range(400):
            copy = bytearray(content[: rng.randrange(1, len(content)) if n % 4 == 0 else None])
            for _ in range(rng.choice((1, 1, 2, 8))):
                copy[rng.randrange(len(copy))] = rng.choice((0, 1, 127, 128, 255))
            damaged.append(tmp_path / f"{whole.stem}{n}")
            damaged[-1].write_bytes(copy)
    said = run([program, texts[0], *damaged])
    assert len(said) == len(damaged) and sum(row[0] == "error:" for row in said) > 200


def test_no_races(files, texts):
    said = run([built("check_classifiers", "sanitized_threads", "-DFILAMENT_SANITIZE_THREADS=ON"), texts[0], *files])
    assert len(said) == len(files) and not any("differs" in row for row in said)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="compares with x86")
@pytest.mark.parametrize("cpu, kernels", [("Nehalem", "portable"), ("Haswell", "avx2")])
def test_an_older_x86(files, texts, cpu, kernels):
    needs("qemu-x86_64")
    program = built("check_classifiers", "static", "-DCMAKE_EXE_LINKER_FLAGS=-static")
    said = run(["qemu-x86_64", "-cpu", cpu, program, texts[0], *files])
    assert {row[0] for row in said} == {kernels}
    assert [row[1:] for row in said] == [row[1:] for row in run([program, texts[0], *files])]


def test_arm_with_dot_products(files, texts):
    needs(ARM, "qemu-aarch64")
    options = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", f"-DCMAKE_CXX_COMPILER={ARM}"]
    program = built("check_classifiers", "arm", *options, "-DCMAKE_EXE_LINKER_FLAGS=-static")
    emulated = run(["qemu-aarch64", "-cpu", "max", program, texts[0], *files])
    assert {row[0] for row in emulated} == {"neon"}
    here = run([built("check_classifiers", "plain"), texts[0], *files])
    assert [row[1:] for row in emulated] == [row[1:] for row in here]
