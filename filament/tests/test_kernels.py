"""tests/check_kernels.cpp: every kernel beside plain C++, for each instruction set that this processor has."""

from __future__ import annotations

import subprocess

import pytest
from check_program import built, needs

lightbulb_filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: `make filament`")

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kernels", lightbulb_filament.available())
def test_kernels_compute_what_plain_code_computes(kernels):
    needs("cmake", "c++")
    done = subprocess.run([built("check_kernels", "plain"), kernels], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == f"{kernels}: 0 faults\n", done.stdout + done.stderr
