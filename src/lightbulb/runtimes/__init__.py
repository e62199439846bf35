"""Runtimes: what turns a model file into answers."""

from __future__ import annotations

from lightbulb.core.errors import GoalError
from lightbulb.runtimes.registry import (
    CASCADES,
    CLASSIFIER,
    NO_LANGUAGE_MODEL,
    SLOTS,
    check_installed,
    check_opens,
    check_ships,
    check_supports,
    falls_back,
    is_language_model,
    needed_for,
    open_gguf,
    runtime_class,
    runtime_names,
    runtime_of,
    title_of,
)

__all__ = [
    "CASCADES",
    "CLASSIFIER",
    "NO_LANGUAGE_MODEL",
    "SLOTS",
    "check_installed",
    "check_opens",
    "check_ships",
    "check_supports",
    "check_threads",
    "falls_back",
    "is_language_model",
    "needed_for",
    "open_gguf",
    "runtime_class",
    "runtime_names",
    "runtime_of",
    "title_of",
]


def check_threads(threads: int) -> None:
    """Refuses a number of threads that cannot work.

    Raises:
        GoalError: it is below 1
    """
    if threads < 1:
        raise GoalError(f"{threads} threads cannot work", where="`threads`", hint="`threads=2`")
