"""The analytic model of energy beside published measurements, each source judged by a calibration that has not seen it.

    python benchmarks/predict.py --rows ../shared/reference/energy_reference.csv [--write]

Prints every row with what was predicted without its source, the median absolute error, and how many rows lie within
their 90% interval, for joules and for seconds. --write calibrates on all rows, writes
src/lightbulb/energy/data/prediction.json, and puts the table into docs/benchmarks.md.

What a row does not say is set here once: shapes of the models by their published configurations, and how each source
ran them (PUBLISHED). prompt_share is prompt tokens read for each token written, where the source's joules hold both.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from sections import ROOT, put

sys.path.insert(0, str(ROOT / "src"))

from lightbulb.core.files import write_json
from lightbulb.predicting.calibration import PublishedRow, Residual, calibrate, leave_one_source_out
from lightbulb.predicting.coefficients import PRIORS, as_record
from lightbulb.predicting.devices import find_device
from lightbulb.predicting.shapes import ModelShape, from_sizes
from lightbulb.predicting.step_cost import RuntimeClass, Setting

COEFFICIENTS = ROOT / "src/lightbulb/energy/data/prediction.json"


def shape(layers: int, width: int, heads: int, kv_heads: int, ffn: int, vocabulary: int, tied: bool) -> ModelShape:
    return from_sizes(layers, width, heads, kv_heads, ffn, vocabulary, tied=tied)


MODELS = {  # config.json of each; "llama-shaped" as in the BitNet b1.58 report (arXiv:2402.17764)
    "Llama-3.1-8B": shape(32, 4096, 32, 8, 14336, 128256, False),
    "Qwen3-14B": shape(40, 5120, 40, 8, 17408, 151936, False),
    "Llama-3.1-70B": shape(80, 8192, 64, 8, 28672, 128256, False),
    "LLaMA-7B": shape(32, 4096, 32, 32, 11008, 32000, False),
    "LLaMA-13B": shape(40, 5120, 40, 40, 13824, 32000, False),
    "LLaMA-65B": shape(80, 8192, 64, 64, 22016, 32000, False),
    "700M llama-shaped": shape(24, 1536, 24, 24, 4096, 32000, False),
    "70B llama-shaped": shape(80, 8192, 64, 8, 28672, 32000, False),
    "Llama-3.2-1B": shape(16, 2048, 32, 8, 8192, 128256, True),
    "Qwen2.5-0.5B": shape(24, 896, 14, 2, 4864, 151936, True),
}


@dataclass(frozen=True)
class Published:
    """How a source ran its models."""

    runtime: RuntimeClass
    context: int
    prompt_share: float
    why: str


PUBLISHED = {
    # 717 tokens are written on average; weighted by time, a sequence stands near its prompt plus the mean length
    "ML.ENERGY v3": Published("vllm", 800, 0.4, "chat: 717 tokens written on average, prompts of a few hundred"),
    "ML.ENERGY v1": Published("eager", 150, 0.0, "chat: 60 to 80 tokens written, PyTorch 2.0 without graphs"),
    "Samsi": Published("eager", 512, 0.3, "Alpaca and GSM8K, up to 512 tokens written"),
    "bitnet.cpp": Published("llama.cpp", 128, 0.0, "writing only"),
    "Husom": Published("llama.cpp", 200, 4.0, "five question sets, answers of a few dozen tokens, through Ollama"),
}
HARDWARE = {"V100/A100": "v100-sxm2-32gb"}  # 8 cards for 131 GB of weights


def read_rows(path: Path) -> list[PublishedRow]:
    text = "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    return [row_of(record) for record in csv.DictReader(text.splitlines())]


def row_of(record: dict[str, str]) -> PublishedRow:
    name = re.sub(r" (f16|q8_0|q4_K_M)$", "", record["model"])
    published = next(p for source, p in PUBLISHED.items() if record["source"].startswith(source))
    bits = float(record["weight_bits"])
    model = MODELS[name]
    stored = model if bits == 16 else model.at_bits(bits)
    hardware = record["hardware"]
    return PublishedRow(
        source=record["source"],
        name=f"{record['model']}, {hardware}, batch {record['batch']}"
        + (f", {record['devices']} devices" if record["devices"] != "1" else "")
        + (f", {record['weight_bits']} bits" if bits < 16 else ""),
        shape=stored,
        device=find_device(HARDWARE.get(hardware, hardware)),
        setting=Setting(int(record["batch"]), published.context, int(record["devices"]), published.runtime),
        prompt_share=published.prompt_share,
        wall=record["scope"] == "wall",
        joules=float(record["joules_per_output_token"]),
        tokens_per_second=float(record["tokens_per_second"]) if record["tokens_per_second"] else None,
    )


def line(r: Residual) -> str:
    row = r.row
    joules = f"{row.joules:.3g} | {r.joules:.3g} | {percent(r.joules_error)} | {yes(r.joules_inside)}"
    speed = "| | | "
    if row.tokens_per_second and r.speed_error is not None:
        speed = f"{row.tokens_per_second:.4g} | {r.speed:.4g} | {percent(r.speed_error)} | "
        speed += yes(r.speed_inside)
    return f"| {row.source} | {row.name} | {joules} | {speed} |"


def percent(log_error: float) -> str:
    return f"{100 * math.expm1(log_error):+.0f}%"


def yes(inside: bool | None) -> str:
    return {True: "yes", False: "**no**", None: ""}[inside]


def summary(residuals: list[Residual]) -> list[str]:
    joules, rows = [abs(math.expm1(j.joules_error)) for j in residuals], len(residuals)
    speed = [j for j in residuals if j.speed_error is not None]
    inside = sum(j.joules_inside for j in residuals)
    fast = statistics.median(abs(math.expm1(j.speed_error or 0)) for j in speed)
    return [
        f"* joules: median absolute error {100 * statistics.median(joules):.0f}% (asked: at most 30%), "
        f"{inside} of {rows} rows inside their 90% interval, {100 * inside / rows:.0f}% (asked: 80%)",
        f"* speed: median absolute error {100 * fast:.0f}%, {sum(bool(j.speed_inside) for j in speed)} of {len(speed)} "
        "inside",
        f"* widest 90% interval: x/{math.exp(max(j.joules_width for j in residuals)):.2g}, narrowest "
        f"x/{math.exp(min(j.joules_width for j in residuals)):.2g}",
    ]


def page(residuals: list[Residual], command: str) -> str:
    heading = "| source | row | J/token | predicted | error | inside | tokens/s | predicted | error | inside |"
    rule = "|---|---|--:|--:|--:|---|--:|--:|--:|---|"
    return "\n".join(["```", command, "```", "", heading, rule, *(line(j) for j in residuals), "", *summary(residuals)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, required=True, help="energy_reference.csv")
    parser.add_argument("--write", action="store_true", help="write prediction.json and the table")
    asked = parser.parse_args()
    rows = read_rows(asked.rows)
    residuals = leave_one_source_out(rows)
    text = page(residuals, f"python benchmarks/predict.py --rows {asked.rows} --write")
    print(text)
    found = calibrate(rows)
    print("\n| coefficient | before | calibrated | spread | meaning |\n|---|--:|--:|--:|---|")
    for c, variance in zip(PRIORS, found.covariance.diagonal(), strict=True):
        spread = math.exp(variance**0.5)
        print(f"| {c.name} | {c.value:.3g} | {found.values[c.name]:.3g} | x/{spread:.2f} | {c.meaning} |")
    if asked.write:
        write_json(COEFFICIENTS, dict(as_record(found)))
        put("predict", text, "## Predictions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
