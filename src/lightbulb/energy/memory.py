"""Memory at its peak, by the kernel's own high-water mark."""

from __future__ import annotations

import contextlib
import ctypes
import gc
from pathlib import Path

from lightbulb.core.figures import Figure

PROC = Path("/proc")


def begin_peak(proc: Path = PROC) -> int | None:
    """Resets the kernel's high-water mark of this process (proc(5), clear_refs) and returns the resident bytes now;
    None where that cannot be done."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # freed memory that is kept would hide what the next model takes
    try:
        (proc / "self/clear_refs").write_text("5")
    except OSError:
        return None
    return _status(proc, "VmRSS")


def peak_above(start: int | None, proc: Path = PROC) -> Figure:
    """The most bytes that were resident since `begin_peak`, above what was resident then."""
    peak = _status(proc, "VmHWM")
    if start is None or peak is None:
        return Figure(value=None, unit="B", method="this system does not tell the peak of resident memory")
    how = "VmHWM: most resident memory of this process above what it was before loading; pages of a mapped file count"
    return Figure(value=max(0, peak - start), unit="B", scope="process", method=how)


def _status(proc: Path, field: str) -> int | None:
    try:
        lines = (proc / "self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return None
