"""What a task's own text tells of a decoder's matrices: how strongly each input channel is driven, and how much the
answers change when one matrix is rounded. One safetensors file holds the former: the mean square of each channel [in],
under the name of the matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from lightbulb.formats.gguf.quant_types import QUANT_TYPES
from lightbulb.models.families import architecture_spec, is_tied, layers_of
from lightbulb.ops.divergence import kl_divergences
from lightbulb.train.data import Batch
from lightbulb.train.forward import device_of, fast_math
from lightbulb.train.quantized import BlockWeight, matrices_of, quantize_dequantize
from lightbulb.train.tracing import Traced, linears_of, logits_from, real_positions, trace, watching

FILE = "calibration.safetensors"
PROBE = "q4_0"  # what a matrix is rounded to when it is asked how much it matters
Advance = Callable[[float, str], None]


def write_mean_squares(mean_squares: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Writes them in float32."""
    save_file({name: mean_squares[name].float().contiguous() for name in sorted(mean_squares)}, folder / FILE)


def read_mean_squares(folder: Path) -> dict[str, torch.Tensor]:
    """What `write_mean_squares` wrote."""
    return load_file(folder / FILE)


def head_name(model: PreTrainedModel) -> str:
    """The name of the matrix that makes logits: the embedding, where they are one."""
    arch = architecture_spec(model.config)
    return f"{arch.embed if is_tied(model) else arch.head}.weight"


@torch.no_grad()
def mean_squares_of(model: PreTrainedModel, batches: Sequence[Batch], advance: Advance) -> dict[str, torch.Tensor]:
    """Of what goes into each input channel of every linear and of the head: float64 [in], by the name of the matrix.

    Args:
        model: a decoder
        batches: text, as the model meets it
        advance: told how many of them are read
    """
    prefix, device = architecture_spec(model.config).layers, device_of(model)
    sums: dict[str, torch.Tensor] = {}
    positions = 0

    def add(name: str, x_ND: torch.Tensor) -> None:
        sums[name] = sums.get(name, 0) + x_ND.double().square().sum(0).cpu()

    for done, batch in enumerate(batches, 1):
        real = real_positions(batch).to(device)
        positions += int(real.sum())
        with ExitStack() as hooks:
            for index, layer in enumerate(layers_of(model)):
                named = {f"{prefix}.{index}.{path}.weight": module for path, module in linears_of(layer).items()}
                hooks.enter_context(watching(named, real, add))
            with fast_math(device):
                h_BTD = model.base_model(input_ids=batch.ids.to(device), use_cache=False).last_hidden_state
        add(head_name(model), h_BTD[real].float())
        advance(done, "")
    return {name: total / positions for name, total in sums.items()}


@torch.no_grad()
def sensitivities_of(model: PreTrainedModel, batches: Sequence[Batch], advance: Advance) -> dict[str, float]:
    """KL divergence (nats, mean over the targets) of the answers from the model's own when one matrix alone is rounded
    to `PROBE`, by the name of the matrix.

    Args:
        model: a decoder
        batches: text with targets
        advance: told how many matrices were asked
    """
    traces = [trace(model, batch, every=True) for batch in batches]
    before = [logits_from(model, 0, traced) for traced in traces]
    matrices = [m for m in matrices_of(model) if QUANT_TYPES[PROBE].fits(m.weight.shape[-1])]
    found: dict[str, float] = {}
    for done, matrix in enumerate(matrices, 1):
        found[matrix.name] = _change(model, matrix, traces, before)
        advance(done, "")
    return found


def _change(
    model: PreTrainedModel, matrix: BlockWeight, traces: Sequence[Traced], before: Sequence[torch.Tensor]
) -> float:
    """Only what stands above the matrix is read again."""
    prefix, own = f"{architecture_spec(model.config).layers}.", matrix.weight.clone()
    inside = matrix.name.startswith(prefix)
    index = int(matrix.name.removeprefix(prefix).partition(".")[0]) if inside else 0
    matrix.weight.copy_(quantize_dequantize(own, PROBE))
    total = torch.zeros((), dtype=torch.float64)
    for traced, logits_PV in zip(traces, before, strict=True):
        rounded = traced if inside else trace(model, traced.batch, every=False)
        total += kl_divergences(logits_PV, logits_from(model, index, rounded)).double().sum().cpu()
    matrix.weight.copy_(own)
    return float(total) / sum(map(len, before))
