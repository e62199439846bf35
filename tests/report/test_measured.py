"""How a measurement reads."""

from __future__ import annotations

import sys

from rich.console import Console

from lightbulb.core.figures import Figure
from lightbulb.measuring.record import Idle, MachineState, Measured
from lightbulb.report.measured import render_measured

SECONDS = Figure(value=0.00312, low=0.00305, high=0.0032, unit="s")
JOULES = Figure(value=0.02, low=0.01, high=0.05, unit="J", source="estimated", method="share of a server")
UNKNOWN = Figure(value=None, unit="J", method="not here")
WATTS = Figure(value=3.0, low=1.0, high=6.0, unit="W", source="estimated")


def measured(**changes: object) -> Measured:
    costs = {
        f"{cost}_per_{of}": value
        for of in ("prompt_token", "output_token", "answer")
        for cost, value in (("joules", JOULES), ("net_joules", JOULES), ("cpu_seconds", SECONDS), ("seconds", SECONDS))
    }
    fields = costs | {
        "model": "a [bold]model[/bold].gguf",
        "runtime": "llamacpp",
        "task": None,
        "batch": 1,
        "context": 128,
        "output_tokens": 64,
        "trials": 10,
        "window_seconds": 5.0,
        "model_bytes": 144_000_000,
        "tokens_per_second_prefill": Figure(value=321.0, low=310.0, high=330.0, unit="tokens/s"),
        "tokens_per_second_decode": Figure(value=None, unit="tokens/s"),
        "seconds_to_first_token": SECONDS,
        "peak_bytes": Figure(value=2e8, unit="B"),
        "idle": Idle(before=WATTS, after=WATTS),
        "machine": MachineState(
            family=None,
            threads=1,
            others_threads=Figure(value=0.0, unit="threads"),
            stolen_share=Figure(value=0.012, unit="fraction"),
        ),
        "date": "2026-11-21",
        "lightbulb": "0.1.0",
        "notes": ["mind [red]this[/red]"],
    }
    return Measured(**(fields | changes))  # type: ignore[arg-type]


def text(record: Measured) -> str:
    console = Console(width=200, force_terminal=False, highlight=False)
    with console.capture() as capture:
        console.print(render_measured(record))
    return capture.get().replace("\N{NO-BREAK SPACE}", " ")


def test_every_figure_has_its_interval_and_what_was_not_measured_says_so():
    page = text(measured())
    assert "CPU time per output token" in page and "3.12 ms [3.05, 3.20]" in page
    assert "20.0 mJ [10.0, 50.0] estimated" in page and "321 [310, 330]" in page and "200 MB" in page
    row = next(line for line in page.splitlines() if line.startswith("decode"))
    assert "not measured" in row and " 0" not in row
    assert "1.20%" in page and "idle: 3.00 W" in page and "this / other" not in page
    assert "[bold]model[/bold]" in page and "mind [red]this[/red]" in page  # text from outside is no markup


def test_ratios_stand_beside_their_rows_and_noise_is_called_noise():
    name = "cpu_seconds_per_answer"
    ratios = {
        name: Figure(value=1.01, low=0.98, high=1.04, unit="ratio", source="derived"),
        "seconds_per_answer": Figure(value=1.61, low=1.58, high=1.64, unit="ratio", source="derived"),
    }
    page = text(measured(against=measured(joules_per_answer=UNKNOWN), ratios=ratios, within_noise=[name]))
    rows = {line.split("  ")[0]: line for line in page.splitlines()}
    assert rows["CPU time per answer"].rstrip().endswith("1.01 [0.980, 1.04] within noise")
    assert rows["wall time per answer"].rstrip().endswith("1.61 [1.58, 1.64]")
    assert "not measured" in rows["joules per answer"]


def test_it_needs_no_torch():
    assert "lightbulb.report.measured" in sys.modules
    import subprocess

    code = "import sys, lightbulb.report.measured; assert not {'torch', 'scipy', 'pandas'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
