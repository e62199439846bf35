"""tests/check.cpp on processors that are not here: ARM with NEON's dot product, and x86 without AVX or without AVX-512,
each under qemu. All must write the tokens that this processor's portable kernels write."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import pytest
from check_program import built, needs
from random_models import MADE_UP, WRITTEN, Shape, write_model

ARM = "aarch64-linux-gnu-g++"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    shape = Shape(layers=1, heads=(4,), kv_heads=(2,), feed_forward=(256,))
    return [write_model(folder / f"{t.name}.gguf", t, shape) for t in (*WRITTEN, *MADE_UP)]


def written(command: list[str | Path], files: list[Path], **more: str) -> tuple[set[str], list[list[str]]]:
    """Names of the kernels and the tokens of each file."""
    done = subprocess.run([*command, *files], capture_output=True, text=True, env=os.environ | more)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == len(files) and all(len(line) == 17 for line in lines), done.stdout
    return {line[0] for line in lines}, [line[1:] for line in lines]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="compares with x86")
@pytest.mark.parametrize("cpu, kernels", [("Nehalem", "portable"), ("Haswell", "avx2")])
def test_an_older_x86(files, cpu, kernels):
    """One program for all x86-64: what this processor has is found when it starts."""
    needs("cmake", "c++", "qemu-x86_64")
    program = built("check", "static", "-DCMAKE_EXE_LINKER_FLAGS=-static")
    used, tokens = written(["qemu-x86_64", "-cpu", cpu, program], files)
    assert used == {kernels}
    assert tokens == written([program], files)[1]


def test_arm_with_dot_products(files):
    needs("cmake", "c++", ARM, "qemu-aarch64")
    options = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", f"-DCMAKE_CXX_COMPILER={ARM}"]
    static = "-DCMAKE_EXE_LINKER_FLAGS=-static"
    program, kernels = (built(name, "arm", *options, static) for name in ("check", "check_kernels"))
    assert subprocess.run(["qemu-aarch64", "-cpu", "max", kernels, "neon"]).returncode == 0
    used, tokens = written(["qemu-aarch64", "-cpu", "max", program], files)
    assert used == {"neon"}
    assert tokens == written(["qemu-aarch64", "-cpu", "max", program], files, FILAMENT_ISA="portable")[1]
    older, same = written(
        ["qemu-aarch64", "-cpu", "cortex-a72", program], files
    )  # of a Raspberry Pi 4: no dot products
    assert older == {"portable"} and same == tokens
