"""A result with realistic figures (invented for the tests, consistent with each other).

`python tests/report/sample.py OUT.html` writes its page, to be looked at; OUT.md writes the card. A second word,
"not-shrunk" or "nothing", writes that outcome.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lightbulb.core.figures import Figure
from lightbulb.shrinking.record import Result

HOSTILE = (
    '</script><script>alert("x")</script> <img src=https://evil.example/a.png onerror=alert(1)> {{ 7*7 }} `rm` | [b](x)'
)
Q4 = "adapted teacher, q4_0, llama.cpp"
JOULES = "watts per thread of this CPU family (2.1 to 8.4 W), times CPU seconds"
CPU = "user + system time of the process, median of 10 windows"


def measured(value: float, spread: float, unit: str, method: str = "", scope: Any = None) -> Figure:
    low, high = (value * (1 - spread), value * (1 + spread)) if spread else (None, None)
    return Figure(value=value, low=low, high=high, unit=unit, method=method, scope=scope)


def joules(cpu_seconds: float) -> Figure:
    return Figure(
        value=4.2 * cpu_seconds,
        low=2.1 * cpu_seconds,
        high=8.4 * cpu_seconds,
        unit="J",
        source="estimated",
        scope="machine",
        method=JOULES,
    )


def scored(
    name: str, score: float, size: int, cpu_seconds: float, speed: float, path: str | None = None
) -> dict[str, Any]:
    error = 1.96 * (score * (1 - score) / 3080) ** 0.5
    accuracy = Figure(value=score, low=score - error, high=score + error, unit="", method="bootstrap over test items")
    return {
        "name": name,
        "runtime": "llamacpp",
        "path": path,
        "score": accuracy,
        "bytes": size,
        "cpu_seconds_per_answer": measured(cpu_seconds, 0.02, "s", CPU, "process"),
        "joules_per_answer": joules(cpu_seconds),
        "tokens_per_second": measured(speed, 0.015, "tokens/s", "prefill"),
        "joules_per_right_answer": joules(cpu_seconds / score),
        "cpu_seconds_per_right_answer": measured(cpu_seconds / score, 0.03, "s", CPU, "process"),
    }


def sample_record() -> dict[str, Any]:
    """As a run would write it, so that a test can change a key before it is read."""
    saved = joules(0.0342).value - joules(0.0031).value  # type: ignore[operator]
    made = joules(5400)
    return {
        "verdict": "kept",
        "task": "banking77",
        "kind": "choose",
        "metric": "accuracy",
        "keep": 0.97,
        "teacher": scored("adapted teacher, f16, llama.cpp", 0.9257, 270_885_888, 0.0510, 480),
        "baselines": [
            scored("adapted teacher, q8_0, llama.cpp", 0.9253, 144_811_072, 0.0383, 640),
            scored(Q4, 0.9218, 91_726_336, 0.0342, 720),
        ],
        "student": scored("student", 0.9140, 13_107_200, 0.0031, 7900, "model.gguf"),
        "base": {
            "name": "SmolLM2-135M-Instruct",
            "repo": "HuggingFaceTB/SmolLM2-135M-Instruct",
            "license": "apache-2.0",
        },
        "retention": Figure(
            value=0.9874, low=0.9789, high=0.9956, unit="", source="derived", method="paired bootstrap over test items"
        ),
        "making": {
            "joules": made,
            "cpu_seconds": measured(5400, 0, "s", "getrusage", "process"),
            "seconds": 2880.0,
            "grams_co2e": made.scaled(436 / 3.6e6, "g CO2e", "location-based, world average grid 2024"),
        },
        "break_even_answers": Figure(
            value=made.value / saved,
            low=made.value / saved * 0.96,  # type: ignore[operator]
            high=made.value / saved * 1.04,
            unit="answers",
            source="estimated",  # type: ignore[operator]
            method="the watts per thread cancel",
        ),
        "ratios": [
            {
                "name": "CPU time per answer, q4_0 / student",
                "quantity": "cpu_seconds_per_answer",
                "against": Q4,
                "value": Figure(
                    value=11.03, low=10.7, high=11.4, unit="", source="derived", method="bootstrap of windows"
                ),
            },
            {
                "name": "energy per answer, q4_0 / student",
                "quantity": "joules_per_answer",
                "against": Q4,
                "value": Figure(
                    value=11.03, low=9.8, high=12.4, unit="", source="estimated", method="the watts per thread cancel"
                ),
            },
        ],
        "recipe": [
            {"pass": "adapt", "parameters": {"epochs": 3, "learning_rate": 0.0001}, "key": "8be21a90c3d5f1aa"},
            {"pass": "trim-vocab", "parameters": {"multiple": 8}, "key": "11c7de0977aa01bc"},
            {"pass": "prune-depth", "parameters": {"layers": 4}, "key": "a90cc3d5f18be21a"},
            {"pass": "distill", "parameters": {"top_k": 32, "warm": True}, "key": "f1aa8be21a90c3d5"},
            {"pass": "quantize", "parameters": {"format": "q4_0"}, "key": "77aa01bc11c7de09"},
            {"pass": "export", "parameters": {}, "key": "01bc11c7de0977aa"},
        ],
        "ledger": [
            ledger_row("adapt", 2100, "3 epochs, 9,003 examples"),
            ledger_row("teacher-logits", 380, "computed once, top 32 kept"),
            ledger_row("candidates", 900, "3 tried"),
            ledger_row("distill", 1900, ""),
            ledger_row("evaluate", 120, ""),
        ],
        "candidates": [
            {
                "name": "4 layers, distilled",
                "layers": 4,
                "score": measured(0.917, 0.012, ""),
                "seconds": 210.0,
                "chosen": True,
                "why": "the smallest whose score holds the floor",
            },
            {
                "name": "4 layers, fine-tuned without a teacher",
                "layers": 4,
                "score": measured(0.889, 0.014, ""),
                "seconds": 160.0,
                "chosen": False,
                "why": "below the floor of 0.898",
            },
            {"name": "2 layers, distilled", "layers": 2, "score": None, "seconds": None, "why": "stopped early"},
        ],
        "verify": {
            "same_answer": measured(0.9990, 0.0008, ""),
            "largest_logit_difference": Figure(value=0.031, unit="nats"),
        },
        "counts": {"both": 2741, "only_teacher": 110, "only_student": 74, "neither": 155},
        "examples": [
            {
                "prompt": "I still have not got my card",
                "reference": "card_arrival",
                "teacher": "card_arrival",
                "student": "card_delivery_estimate",
            },
            {
                "prompt": "Why was I charged a fee for the transfer I made on Monday, and will it be refunded?",
                "reference": "transfer_fee_charged",
                "teacher": "request_refund",
                "student": "transfer_fee_charged",
            },
            {"prompt": HOSTILE, "reference": HOSTILE, "teacher": "<b>bold</b>", "student": "x" * 900},
        ],
        "findings": ["12 duplicates removed from train.", "3 questions of train stood in test: removed from train."],
        "use": [
            'lightbulb ask runs/tickets "I still have not got my card"',
            "llama-completion -m runs/tickets/model.gguf --jinja --single-turn --special --temp 0 -n 1 "
            '-p "I still have not got my card"',
        ],
        "compare_with": Q4,
        "versions": {"lightbulb": "0.1.0", "torch": "2.13.0", "llama.cpp": "b11549"},
        "machine": {"cpu": "AMD EPYC 9R14, 2 threads", "memory": "16 GB"},
        "command": "lightbulb shrink smollm2-135m --task banking77 --keep 0.97 --max-time 1h --out runs/tickets",
    }


def ledger_row(step: str, cpu_seconds: float, note: str) -> dict[str, Any]:
    return {
        "step": step,
        "made_by": step,
        "seconds": cpu_seconds * 0.53,
        "cpu_seconds": measured(cpu_seconds, 0, "s"),
        "joules": joules(cpu_seconds),
        "note": note,
    }


DEAR = (
    "the student costs more than a stock file, the adapted teacher (q4_0, llama.cpp): 50.0 ms [49.5, 50.5] of CPU time "
    "an answer, against 34.2 ms [33.5, 34.9]"
)
BELOW = "the best student scores 0.614 [0.597, 0.631], and 0.8979 or more was needed"
NEVER = Figure(value=None, unit="answers", source="derived", method="no student is handed out")


def not_shrunk_result(**changes: Any) -> Result:
    """A student below the floor: the stock q4_0 file is handed out, the student lies beside it."""
    record = sample_record()
    return sample_result(
        verdict="not-shrunk",
        reason=BELOW,
        reference=record["teacher"]["name"],
        floor=0.8979,
        student={**record["baselines"][1], "kind": "stock", "path": "model.gguf"},
        best_student={
            **scored("student, 4 layers, q4_0", 0.6140, 13_107_200, 0.0031, 7900, "below-floor.gguf"),
            "kind": "decoder",
        },
        compare_with=Q4,
        retention=Figure(value=0.9958, low=0.991, high=1.0, unit="ratio", source="derived"),
        ratios=[],
        break_even_answers=NEVER,
        **changes,
    )


def nothing_does_result() -> Result:
    """No file reaches 0.95."""
    return not_shrunk_result(use=[], keep=None, at_least=0.95).model_copy(
        update={
            "verdict": "not-kept",
            "student": None,
            "floor": 0.95,
            "reason": "the best student scores 0.614 [0.597, 0.631], and 0.95 or more was needed",
            "retention": Figure(value=None, unit="ratio", source="derived", method="nothing is handed out"),
        }
    )


def refused_record() -> dict[str, Any]:
    """What a run wrote of a student that costs more, before stock files were handed out."""
    record = sample_record()
    record["student"] |= {
        "path": "steps/student-gguf-1/model.gguf",
        "cpu_seconds_per_answer": measured(0.05, 0.01, "s", CPU, "process"),
        "joules_per_answer": joules(0.05),
    }
    record["baselines"][1]["path"] = "steps/teacher-q4_0-2/model.gguf"
    use = ['lightbulb ask runs/tickets/steps/teacher-q4_0-2/model.gguf "I still have not got my card"']
    return record | {"refused": DEAR, "ratios": [], "break_even_answers": NEVER, "use": use}


def sample_result(**changes: Any) -> Result:
    return Result.model_validate({**sample_record(), **changes})


if __name__ == "__main__":
    from lightbulb.report.card import render_card
    from lightbulb.report.html import render_html

    out, outcome = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "shrunk"
    made = {"shrunk": sample_result, "not-shrunk": not_shrunk_result, "nothing": nothing_does_result}[outcome]()
    page = render_card(made) if out.suffix == ".md" else render_html(made)
    out.write_text(page, encoding="utf-8")
