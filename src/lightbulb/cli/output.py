"""What every verb needs: one JSON object or a readable page."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def show(record: Any, as_json: bool, render: Callable[[Console], Any]) -> None:
    """One JSON object, or what a person reads, on stdout."""
    if as_json:
        print(json.dumps(record, ensure_ascii=False))
    else:
        from rich.console import Console

        render(Console(highlight=False, soft_wrap=not sys.stdout.isatty()))
