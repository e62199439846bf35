"""What comes of loading a file that may be damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

lightbulb_filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: `make filament`")


def tried(path: Path) -> str | None:
    """The error of loading and using the file, None if it works."""
    try:
        lightbulb_filament.Model(path, threads=1).generate([1, 2, 3], 2)
    except lightbulb_filament.FilamentError as e:
        return str(e)
    return None
