"""Programs of tests/ built by CMake in filament/build, where the next run finds them."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def built(program: str, folder: str, *options: str) -> Path:
    """The program, built with these options of CMake; tests that run side by side wait for each other. Skips where the
    compiler has no library for a sanitizer."""
    build = ROOT / "build" / folder
    build.mkdir(parents=True, exist_ok=True)
    with (build / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _build(build, program, options)


def _build(build: Path, program: str, options: Sequence[str]) -> Path:
    wanted = ["cmake", "-S", ROOT, "-B", build, "-DFILAMENT_CHECK=ON", *options]
    ready = subprocess.run(wanted, capture_output=True, text=True)
    assert ready.returncode == 0, ready.stdout + ready.stderr
    make = ["cmake", "--build", build, "--target", program, "--parallel", str(os.cpu_count())]
    made = subprocess.run(make, capture_output=True, text=True)
    if "cannot find -l" in made.stderr + made.stdout:
        pytest.skip("this compiler comes without the sanitizer's library")
    assert made.returncode == 0, made.stdout[-3000:] + made.stderr[-3000:]
    return build / program


def needs(*programs: str) -> None:
    for program in programs:
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed (Debian: cmake, g++, g++-aarch64-linux-gnu, qemu-user)")
