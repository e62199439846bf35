"""BERT files in tests/check_classifiers.cpp: the sanitizers, and processors that are not here."""

from __future__ import annotations

import platform
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from check_program import built, needs
from random_encoders import RANK, SMALL, EncoderShape, text_of, texts_of_length, write_encoder
from random_models import Type, damaged_headers, damaged_weights
from test_classifier_programs import ARM, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which("cmake") and shutil.which("c++")), reason="needs cmake and a C++ compiler"),
]
SHAPE = EncoderShape(layers=1, width=64, heads=4, hidden=96)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    odd = replace(SHAPE, width=60, heads=5, pooling=RANK)
    good = [write_encoder(folder / f"{t.name}.gguf", t, SHAPE) for t in (Type.Q8_0, Type.Q4_0, Type.Q4_1, Type.F16)]
    wide = write_encoder(folder / "wide.gguf", Type.Q6_K, replace(SHAPE, width=256, hidden=256))
    return [*good, wide, write_encoder(folder / "odd.gguf", Type.F32, odd)]


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> Path:
    lines = [text_of(t[1:-1]).encode() for n in (2, 3, 15, 17, 33, 70) for t in texts_of_length(n, 1)]
    lines += [b"\xff\xc3", b"a" * 5000, "\u00c5\u0301 \uac01 \u4e2d\U0001d15e\u2f800".encode()]
    path = tmp_path_factory.mktemp("texts") / "texts"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def alike(some: list[list[str]], others: list[list[str]]) -> None:
    """The same answers with nearly the same probabilities, in millionths."""
    for row, other in zip(some, others, strict=True):
        for choice, same in zip(row[1:], other[1:], strict=True):
            (answer, stage, millionths), wanted = choice.split(":"), same.split(":")
            assert [answer, stage] == wanted[:2] and abs(int(millionths) - int(wanted[2])) < 2000


def test_no_bad_access_and_no_undefined_behaviour(files, texts, tmp_path):
    program = built("check_classifiers", "sanitized", "-DFILAMENT_SANITIZE=ON")
    plain = run([built("check_classifiers", "plain"), texts, *files])
    for isa in ({}, {"FILAMENT_ISA": "portable"}):
        alike(run([program, texts, *files], **isa), plain)
    whole = write_encoder(tmp_path / "m.gguf", Type.Q4_0, SMALL).read_bytes()
    contents = [
        *damaged_headers(whole, 300),
        *damaged_weights(whole, 100),
        *(whole[:n] for n in range(0, len(whole), 97)),
    ]
    damaged = []
    for n, content in enumerate(contents):
        damaged.append(tmp_path / f"{n}.gguf")
        damaged[-1].write_bytes(content)
    said = run([program, texts, *damaged])
    assert len(said) == len(damaged) and sum(row[0] == "error:" for row in said) > 200


def test_no_races(files, texts):
    said = run([built("check_classifiers", "sanitized_threads", "-DFILAMENT_SANITIZE_THREADS=ON"), texts, *files])
    assert len(said) == len(files) and not any("differs" in row for row in said)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="compares with x86")
def test_an_x86_without_avx(files, texts):
    needs("qemu-x86_64")
    program = built("check_classifiers", "static", "-DCMAKE_EXE_LINKER_FLAGS=-static")
    said = run(["qemu-x86_64", "-cpu", "Nehalem", program, texts, *files])
    assert {row[0] for row in said} == {"portable"}
    alike(said, run([program, texts, *files]))


def test_arm_with_dot_products(files, texts):
    needs(ARM, "qemu-aarch64")
    options = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", f"-DCMAKE_CXX_COMPILER={ARM}"]
    program = built("check_classifiers", "arm", *options, "-DCMAKE_EXE_LINKER_FLAGS=-static")
    said = run(["qemu-aarch64", "-cpu", "max", program, texts, *files])
    assert {row[0] for row in said} == {"neon"}
    alike(said, run([built("check_classifiers", "plain"), texts, *files]))
