"""Progress bars with the time left and the joules so far; quiet when nobody looks at a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightbulb.figures import Figure, human

SHOW_AFTER_SECONDS = 2.0


class Bars:
    """Progress on stderr by rich. `joules` tells the joules so far."""

    def __init__(self, joules: Callable[[], Figure]):
        self.joules = joules

    @contextmanager
    def bar(self, label: str, total: float) -> Iterator[Callable[[float, str], None]]:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns: list[Any] = [
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[joules]}"),
            TextColumn("[dim]{task.fields[note]}"),
        ]
        with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4) as progress:
            task = progress.add_task(label, total=total, joules="", note="")
            looked = 0.0

            def advance(done: float, note: str = "") -> None:
                nonlocal looked
                if time.monotonic() - looked > 1:
                    looked = time.monotonic()
                    figure = self.joules()
                    spent = "" if figure.value is None else f"{human(figure.value)} J"
                    tilde = "~" if figure.source == "estimated" else ""
                    progress.update(task, joules=tilde + spent if spent else "")
                progress.update(task, completed=done, note=note)

            yield advance


class Lines:
    """For logs: one line when a piece of work that took more than a moment is done."""

    @contextmanager
    def bar(self, label: str, total: float) -> Iterator[Callable[[float, str], None]]:
        begin, last = time.monotonic(), ""

        def advance(done: float, note: str = "") -> None:
            nonlocal last
            last = note

        yield advance
        seconds = time.monotonic() - begin
        if seconds > SHOW_AFTER_SECONDS:
            print(f"{label}: {seconds:.0f} s {last}".rstrip(), file=sys.stderr, flush=True)
