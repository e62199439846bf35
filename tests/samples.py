"""Published data that tests read: whole in ../shared where that folder lies beside the checkout, and samples of it in
tests/data, which are in any clone (their sources and licences: tests/data/README.md)."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
SAMPLES = ROOT / "tests" / "data"


def beside(name: str) -> Path:
    """A file or folder of ../shared. Skips the test where it is not there."""
    if not (SHARED / name).exists():
        pytest.skip(f"../shared/{name} is not beside this checkout")
    return SHARED / name


def published(name: str) -> Path:
    """A file or folder of ../shared, or its like in tests/data where that is not there."""
    return SHARED / name if (SHARED / name).exists() else SAMPLES / name
