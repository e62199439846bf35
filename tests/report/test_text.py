from __future__ import annotations

import io
import subprocess
import sys

from rich.console import Console
from sample import not_shrunk_result, nothing_does_result, sample_record, sample_result

from lightbulb.report.text import print_summary
from lightbulb.shrinking.record import Result


def printed(result: Result, width: int = 120) -> str:
    out = io.StringIO()
    print_summary(result, Console(file=out, width=width), report="runs/tickets/report.html")
    return out.getvalue().replace("\N{NO-BREAK SPACE}", " ")


def test_the_summary_says_all_that_was_promised() -> None:
    text = printed(sample_result())
    for fact in (
        "Kept",
        "98.7% [97.9, 99.6]",
        "91.7 MB -> 13.1 MB",
        "34.2 ms [33.5, 34.9] -> 3.10 ms [3.04, 3.16]",
        "11.0 [10.7, 11.4] times less",
        "144 mJ",
        "estimated",
        "22.7 kJ",
        "174,000 answers",
        "energy per right answer  156 mJ [77.9, 312] -> 14.2 mJ [7.12, 28.5]",
        "runs/tickets/report.html",
        'lightbulb ask runs/tickets "I still have not got my card"',
    ):
        assert fact in text, fact
    assert 9 <= len(text.strip().splitlines()) <= 16


def test_not_shrunk_is_the_first_line() -> None:
    text = printed(not_shrunk_result())
    assert text.startswith("Not shrunk: the best student scores 0.614 [0.597, 0.631], and 0.8979 or more was needed")
    for fact in (
        "model.gguf",
        "the adapted teacher (q4_0, llama.cpp)",
        "below-floor.gguf",
        "below the floor",
        "22.7 kJ",
    ):
        assert fact in text, fact
    assert text.strip().splitlines()[-1].startswith("lightbulb ask runs/tickets")


def test_nothing_to_use_where_nothing_does() -> None:
    text = printed(nothing_does_result())
    assert text.startswith("Not kept: the best student scores 0.614") and "at least 0.95 accuracy" in text
    assert "lightbulb ask" not in text and "model.gguf" not in text


def test_the_command_can_be_copied_from_a_narrow_terminal() -> None:
    assert 'lightbulb ask runs/tickets "I still have not got my card"' in printed(sample_result(), width=40)


def test_markup_in_names_is_text() -> None:
    record = sample_record()
    name = record["baselines"][1]["name"] = "[bold]q4[/bold] [/nothing]"
    more = {"baselines": record["baselines"], "compare_with": name, "ratios": [], "use": ["echo [red]x[/red]"]}
    text = printed(sample_result(**more))
    assert name in text and "[red]x[/red]" in text


def test_nulls_are_not_measured() -> None:
    record = sample_record()
    record["student"]["joules_per_answer"] = None
    text = printed(sample_result(student=record["student"], ratios=[], making={}))
    assert "287] -> not measured" in text and "making" in text and "None" not in text


def test_the_terminal_needs_neither_torch_nor_plotly() -> None:
    code = "import sys, lightbulb.report.text; sys.exit(bool({'torch', 'plotly', 'jinja2'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
