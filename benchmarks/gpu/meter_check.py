"""The meter on an NVIDIA GPU: counter against polled power, and joules a token against what `predict` says.

    python benchmarks/gpu/meter_check.py [--seconds 5]

Takes five to eight minutes and reads the card only: no clock, limit or MIG setting is touched. First the total-energy
counter beside polled power when the card idles, works as hard as it can, and works in short bursts. Then SmolLM2-135M
and a 1B Llama, with random weights because joules do not depend on them, in eager torch: joules and seconds of a prompt
token and of a written token at batches of 1 to 256, each beside the prediction and its 90% interval. Needs torch,
transformers and nvidia-ml-py. Without a GPU (--device cpu) it runs in full and says that nothing was measured.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from lightbulb.core.errors import LightbulbError  # noqa: E402
from lightbulb.core.figures import Figure  # noqa: E402
from lightbulb.energy.meter import Meter, Reading  # noqa: E402
from lightbulb.predicting.devices import find_device  # noqa: E402
from lightbulb.predicting.prediction import predict_cost  # noqa: E402
from lightbulb.predicting.setting import Setting  # noqa: E402
from lightbulb.predicting.shapes import ModelShape, from_sizes  # noqa: E402

CONTEXT = 256  # tokens of every prompt
BATCHES = (1, 4, 16, 64, 256)
SHAPES = {  # layers, width, heads, kv heads, ffn, vocabulary
    "SmolLM2-135M": (30, 576, 9, 3, 1536, 49152),
    "Llama-3.2-1B": (16, 2048, 32, 8, 8192, 128256),
}
LOADS = ("idle", "full load", "bursts")


@dataclass(frozen=True)
class Row:
    """One kind of token of one model at one batch, measured and predicted, an output or a prompt token."""

    model: str
    what: str
    batch: int
    joules: float | None
    joules_predicted: Figure
    tokens_per_second: float
    speed_predicted: Figure


def main() -> int:
    asked = arguments()
    device = torch.device(asked.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "CPU"
    print(f"{name}; torch {torch.__version__}; {date.today()}; windows of {asked.seconds:g} s\n")
    known = find_device(asked.predict_as or name.split(" MIG ")[0])  # before the card is made to work
    meter = Meter()
    print("\n".join(f"* {diagnostic}" for diagnostic in meter.diagnostics))
    gpu = [s.name for s in meter.sensors if s.name.startswith("gpu-")][:1]  # of the first card that CUDA sees
    print("\n| load | counter, W | polled power, W | polled / counter |\n|---|--:|--:|--:|")
    for load in LOADS:
        print(
            agreement(load, under_load(meter, load, device, 4 * asked.seconds), gpu[0] if gpu else "gpu-0"), flush=True
        )
    print(f"\nPredicted as {known.label}, eager torch.\n")
    print("| model | token | batch | J measured | J predicted | ratio | tokens/s measured | predicted | ratio |")
    print("|---|---|--:|--:|---|--:|--:|---|--:|")
    rows = []
    for model in SHAPES:
        for row in token_rows(model, meter, device, known.name, asked.seconds, asked.batches, gpu):
            rows.append(row)
            print(line(row), flush=True)
    meter.close()
    print("\n" + summary(rows))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a window")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--predict-as", help="a device of the catalogue (default: the card's own name)")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    return parser.parse_args()


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def under_load(meter: Meter, load: str, device: torch.device, seconds: float) -> Reading:
    """A window in which the card idles, multiplies matrices, or does so 50 ms of every 250."""
    side = 8192 if device.type == "cuda" else 512
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    b = a @ a  # also the warm-up
    synchronize(device)
    time.sleep(min(2.0, seconds))  # the clocks come down
    with meter.window(load) as window:
        begin = time.perf_counter()
        while (now := time.perf_counter()) - begin < seconds:
            if load == "idle":
                time.sleep(0.05)
                continue
            while time.perf_counter() - now < 0.05:
                b = a @ a
                synchronize(device)
            if load == "bursts":
                time.sleep(0.2)
    del a, b
    return window.reading


def agreement(load: str, reading: Reading, card: str) -> str:
    """Watts of both sensors of a card; "not measured" where there is none."""

    def watts(name: str) -> float | None:
        figure = reading.by_sensor.get(name)
        return None if figure is None or figure.value is None else figure.value / reading.wall_seconds

    counter, polled = watts(card), watts(f"{card}-power")
    ratio = f"{polled / counter:.3f}" if counter and polled else "not measured"
    return f"| {load} | {number(counter)} | {number(polled)} | {ratio} |"


def token_rows(
    model: str, meter: Meter, device: torch.device, known: str, seconds: float, batches: list[int], gpu: list[str]
) -> list[Row]:
    shape, net = make(model, device)
    rows = []
    for batch in batches:
        try:
            rows += [
                measure(kind, model, shape, net, batch, meter, known, seconds, gpu) for kind in ("read", "written")
            ]
        except torch.OutOfMemoryError:
            print(f"| {model} | | {batch} | out of memory | | | | | |")
    return rows


def make(model: str, device: torch.device) -> tuple[ModelShape, torch.nn.Module]:
    from transformers import LlamaConfig, LlamaForCausalLM

    layers, width, heads, kv_heads, ffn, vocabulary = SHAPES[model]
    config = LlamaConfig(
        num_hidden_layers=layers,
        hidden_size=width,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=ffn,
        vocab_size=vocabulary,
        tie_word_embeddings=True,
        max_position_embeddings=4096,
    )
    with torch.device(device):
        net = LlamaForCausalLM(config).to(torch.bfloat16).eval()
    return from_sizes(layers, width, heads, kv_heads, ffn, vocabulary, tied=True), net


@torch.no_grad()
def measure(
    kind: str,
    model: str,
    shape: ModelShape,
    net: torch.nn.Module,
    batch: int,
    meter: Meter,
    known: str,
    seconds: float,
    gpu: list[str],
) -> Row:
    """Steps of one kind for at least `seconds`, after a second of warm-up."""
    device = next(net.parameters()).device
    step, tokens = reading_step(net, batch, device) if kind == "read" else writing_step(net, batch, device)
    repeat(step, device, min(1.0, seconds))
    with meter.window(f"{model} {kind} {batch}") as window:
        steps = repeat(step, device, seconds)
    reading = window.reading
    found = predict_cost(shape, find_device(known), Setting(batch, CONTEXT, 1, "eager"))
    joules = reading.by_sensor[gpu[0]].value if gpu else None
    return Row(
        model=model,
        what=kind,
        batch=batch,
        joules=None if joules is None else joules / (steps * tokens),
        joules_predicted=found.joules_per_prompt_token if kind == "read" else found.joules_per_output_token,
        tokens_per_second=steps * tokens / reading.wall_seconds,
        speed_predicted=found.prompt_tokens_per_second if kind == "read" else found.tokens_per_second,
    )


def repeat(step: Callable[[], None], device: torch.device, seconds: float) -> int:
    steps, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        step()
        synchronize(device)
        steps += 1
    return steps


def reading_step(net: torch.nn.Module, batch: int, device: torch.device) -> tuple[Callable[[], None], int]:
    """(one prefill of the whole batch, its tokens)."""
    ids = torch.randint(0, 1000, (batch, CONTEXT), device=device)
    return (lambda: net(input_ids=ids, use_cache=True, logits_to_keep=1) and None), batch * CONTEXT


def writing_step(net: torch.nn.Module, batch: int, device: torch.device) -> tuple[Callable[[], None], int]:
    """(one decoding step at the full context, its tokens). The cache is cut back, so every step costs the same."""
    ids = torch.randint(0, 1000, (batch, CONTEXT), device=device)
    cache = net(input_ids=ids, use_cache=True, logits_to_keep=1).past_key_values

    def step() -> None:
        net(input_ids=ids[:, :1], past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.crop(-1)

    return step, batch


def line(row: Row) -> str:
    joules = row.joules_predicted
    ratio = f"{row.joules / joules.value:.2f}{mark(row.joules, joules)}" if row.joules and joules.value else ""
    speed = row.speed_predicted
    fast = f"{row.tokens_per_second / (speed.value or 1):.2f}{mark(row.tokens_per_second, speed)}"
    return (
        f"| {row.model} | {row.what} | {row.batch} | {number(row.joules)} | {joules} | {ratio} "
        f"| {number(row.tokens_per_second)} | {speed} | {fast} |"
    )


def inside(value: float, figure: Figure) -> bool:
    return figure.low is not None and figure.high is not None and figure.low <= value <= figure.high


def mark(value: float, figure: Figure) -> str:
    return "" if inside(value, figure) else " (outside)"


def summary(rows: list[Row]) -> str:
    speeds = sum(inside(r.tokens_per_second, r.speed_predicted) for r in rows)
    metered = [r for r in rows if r.joules is not None]
    joules = sum(inside(r.joules or 0.0, r.joules_predicted) for r in metered)
    said = (
        f"joules: {joules} of {len(metered)} inside" if metered else "joules: not measured, no NVIDIA counter answers"
    )
    return f"{said}; speed: {speeds} of {len(rows)} inside their 90% intervals"


def number(x: float | None) -> str:
    return "not measured" if x is None else f"{x:.3g}" if x < 1000 else f"{x:,.0f}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LightbulbError as e:
        print(f"error: {e}", file=sys.stderr)
        sys.exit(e.exit_code)
