"""Published joules a token as rows that a prediction can be compared with.

What a row does not say is set here once: shapes of the models by their published configurations, and how each source
ran them (PUBLISHED). prompt_share is prompt tokens read for each token written, where the source's joules hold both.
Rows of models and sources that are not named here are taken as their numbers and their source's name tell.
"""

from __future__ import annotations

import csv
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from sections import ROOT

sys.path.insert(0, str(ROOT / "src"))

from lightbulb.predicting.calibration import PublishedRow
from lightbulb.predicting.devices import DeviceScope, find_device
from lightbulb.predicting.prediction import default_runtime
from lightbulb.predicting.setting import RuntimeClass, Setting, usual_share
from lightbulb.predicting.shapes import ModelShape, from_parameters, from_sizes


def shape(layers: int, width: int, heads: int, kv_heads: int, ffn: int, vocabulary: int, tied: bool) -> ModelShape:
    return from_sizes(layers, width, heads, kv_heads, ffn, vocabulary, tied=tied)


def gpt_oss() -> ModelShape:
    """gpt-oss-20b: 24 layers, 32 experts of which a token sees 4, every second layer sees 128 tokens. As ggml-org
    stores it, 12.1 GB: experts in mxfp4, the rest in q8_0."""
    experts, attention = 32 * 3 * 2880 * 2880, 2880 * 64 * 64 * 2 + 2880 * 8 * 64 * 2
    return ModelShape(
        layers=24, width=2880, kv_width=512, attention_width=4096, layer_parameters=experts + attention,
        vocabulary=201088, tied=False, bits=4.387, head_bits=8.5, routed_parameters=experts, routed_share=4 / 32,
        routed_bits=4.25, window=128, windowed=0.5, stored="mxfp4",
    )  # fmt: skip


MODELS = {  # config.json of each; "llama-shaped" as in the BitNet b1.58 report (arXiv:2402.17764)
    "Llama-3.1-8B": shape(32, 4096, 32, 8, 14336, 128256, False),
    "Qwen3-14B": shape(40, 5120, 40, 8, 17408, 151936, False),
    "DeepSeek-R1-14B": shape(48, 5120, 40, 8, 13824, 152064, False),
    "Llama-3.1-70B": shape(80, 8192, 64, 8, 28672, 128256, False),
    "LLaMA-7B": shape(32, 4096, 32, 32, 11008, 32000, False),
    "LLaMA-13B": shape(40, 5120, 40, 40, 13824, 32000, False),
    "LLaMA-65B": shape(80, 8192, 64, 64, 22016, 32000, False),
    "700M llama-shaped": shape(24, 1536, 24, 24, 4096, 32000, False),
    "70B llama-shaped": shape(80, 8192, 64, 8, 28672, 32000, False),
    "Llama-3.2-1B": shape(16, 2048, 32, 8, 8192, 128256, True),
    "Llama-3.2-3B": shape(28, 3072, 24, 8, 8192, 128256, True),
    "Qwen2.5-0.5B": shape(24, 896, 14, 2, 4864, 151936, True),
    "TinyLlama-1.1B": shape(22, 2048, 32, 4, 5632, 32000, False),
    "phi-4-14B": shape(40, 5120, 40, 10, 17920, 100352, False),
    "gemma-2-2b": from_sizes(26, 2304, 8, 4, 9216, 256000, head_dim=256, tied=True),
    "Phi-3.5-mini": shape(32, 3072, 32, 32, 8192, 32064, False),
    "SmolLM2-135M": shape(30, 576, 9, 3, 1536, 49152, True),
    "gpt-oss-20b": gpt_oss(),
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
    "ML.ENERGY v2": Published("vllm", 500, 0.4, "chat: prompts of ShareGPT, answers of some 300 tokens"),
    "ML.ENERGY v1": Published("eager", 150, 0.0, "chat: 60 to 80 tokens written, PyTorch 2.0 without graphs"),
    "AI Energy Score": Published("eager", 400, 2.0, "prompts of a few hundred tokens, answers no longer"),
    "Samsi": Published("eager", 512, 0.3, "Alpaca and GSM8K, up to 512 tokens written"),
    "bitnet.cpp": Published("llama.cpp", 128, 0.0, "writing only"),
    "Husom": Published("llama.cpp", 200, 4.0, "five question sets, answers of a few dozen tokens, through Ollama"),
    "Geerling": Published("llama.cpp", 300, 0.0, "a story, through Ollama: writing only"),
    "Smolhub": Published("llama.cpp", 400, 0.0, "prompts of 128 to 2048 tokens, writing only"),
    "here": Published("eager", 300, 0.0, "prompts of 256 tokens, writing apart from reading"),
}
RUNTIMES = {"vllm": "vllm", "eager": "eager", "transformers": "eager", "hf ": "eager"}  # in names of other sources
HARDWARE = {"V100/A100": "v100-sxm2-32gb"}  # 8 cards for 131 GB of weights
LINKS = {"V100/A100": 12.5}  # GB/s: two cards in a machine, machines joined by 100 Gbit/s (arXiv:2108.02037)
SCOPES: dict[str, DeviceScope] = {
    "gpu": "board",
    "chip": "chip",
    "board": "board",
    "machine": "machine",
    "wall": "wall",
}


def read_rows(*tables: Path) -> list[PublishedRow]:
    found = []
    for path in tables:
        text = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        found += [row_of(record, path.stem) for record in csv.DictReader(text)]
    return found


def how(source: str, hardware: str, batch: int) -> Published:
    """How a source ran its models: as PUBLISHED says, else as its name tells, else as is usual on the device."""
    for name, published in PUBLISHED.items():
        if source.startswith(name):
            return published
    told = next((runtime for word, runtime in RUNTIMES.items() if word in source.casefold()), None)
    runtime = cast(RuntimeClass, told) if told else default_runtime(find_device(hardware))
    return Published(runtime, 512, usual_share(runtime, batch), "as is usual")


def row_of(record: dict[str, str], table: str) -> PublishedRow:
    name = re.sub(r" (f16|q8_0|q4_K_M)$", "", record["model"])
    hardware = HARDWARE.get(record["hardware"], record["hardware"])
    batch, devices, bits = int(record["batch"]), int(record["devices"]), float(record["weight_bits"])
    device = find_device(hardware)
    if record["hardware"] in LINKS:
        device = replace(device, link_gbs=LINKS[record["hardware"]])
    published = how(record["source"], hardware, batch)
    model = MODELS.get(name) or from_parameters(1e9 * float(record["parameters_billion"]))
    stored = model if bits == 16 or model.stored else model.at_bits(bits)
    return PublishedRow(
        source=record["source"],
        name=f"{record['model']}, {record['hardware']}, batch {batch}"
        + (f", {devices} devices" if devices > 1 else "")
        + (f", {record['weight_bits']} bits" if bits < 16 else ""),
        shape=stored,
        device=device,
        setting=Setting(batch, published.context, devices, published.runtime, published.prompt_share),
        scope=SCOPES[record["scope"]],
        joules=number(record["joules_per_output_token"]),
        tokens_per_second=number(record["tokens_per_second"]),
        table=table,
    )


def number(cell: str) -> float | None:
    return float(cell) if cell else None
