"""GPTQ on GGUF blocks: layer by layer, with what the layers below, already rounded, make of the task's own text.

Scales of a block are fitted when its first column is reached, to the weights as they then are, errors weighted by what
they cost after compensation. Frantar et al. 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from transformers import PreTrainedModel

from lightbulb.core.progress import Progress
from lightbulb.formats.gguf.grids import Grid
from lightbulb.formats.gguf.quant_types import QUANT_TYPES
from lightbulb.formats.gguf.type_map import TypeMap
from lightbulb.models.families import architecture_spec, final_norm_of, layers_of
from lightbulb.ops.gptq import compensate_, inverse_factor
from lightbulb.train.calibration import head_name
from lightbulb.train.data import Batch
from lightbulb.train.forward import device_of, fast_math
from lightbulb.train.quantized import BlockWeight, Packed, matrices_of, round_
from lightbulb.train.tracing import Traced, linears_of, through, trace, watching

DAMPING = 0.01


class Columns:
    """Rounds the columns of a block one after the other, and packs them.

    Args:
        grid: of the type
        weight_RB: the block as its first column is reached
        costs_B: of squared errors, by column
    """

    def __init__(self, grid: Grid, weight_RB: torch.Tensor, costs_B: torch.Tensor):
        blocks_RB = np.ascontiguousarray(weight_RB.numpy())
        costs_RB = np.broadcast_to(costs_B.numpy(), blocks_RB.shape)
        self.grid, self.scales = grid, grid.fit(blocks_RB, costs_RB)
        self.index_RB = np.empty(blocks_RB.shape, np.uint8)

    def __call__(self, column: int, values_R: torch.Tensor) -> torch.Tensor:
        step_R = self.scales.step_NB[:, column]
        below_R = None if self.scales.below_NB is None else self.scales.below_NB[:, column]
        self.index_RB[:, column] = index_R = self.grid.nearest(values_R.numpy(), step_R, below_R)
        return torch.from_numpy(self.grid.values(index_R, step_R, below_R))

    def packed(self) -> np.ndarray:
        """[R, bytes of a block]."""
        return self.grid.lay(self.index_RB, self.scales.parts)


def gptq(weight_RN: torch.Tensor, factor_NN: torch.Tensor, quant_type: str) -> np.ndarray:
    """A matrix packed in a type that has a grid.

    Args:
        weight_RN: float32
        factor_NN: of its inputs, by `inverse_factor`
        quant_type: the name of the type

    Returns:
        Bytes [R, ...].
    """
    known, blocks = QUANT_TYPES[quant_type], list[Columns]()
    assert known.grid is not None
    grid = known.grid

    def begin(start: int, weight_RB: torch.Tensor, costs_B: torch.Tensor) -> Columns:
        blocks.append(Columns(grid, weight_RB, costs_B))
        return blocks[-1]

    with np.errstate(all="ignore"):
        compensate_(weight_RN.clone(), factor_NN, grid.block, begin)
    return np.concatenate([block.packed() for block in blocks], axis=1)


def hessians_of(model: PreTrainedModel, index: int, traces: Sequence[Traced]) -> dict[str, torch.Tensor]:
    """Second moments [in, in] of what goes into each linear of a layer, by its path. Linears that read the same tensor
    share one."""
    found: dict[str, torch.Tensor] = {}
    leaders: dict[str, str] = {}

    def add(path: str, x_ND: torch.Tensor) -> None:
        if path not in leaders:
            leaders[path] = next((p for p, seen in inputs.items() if torch.equal(seen, x_ND)), path)
        if leaders[path] == path:
            inputs[path] = x_ND
            found[path] = found.get(path, 0) + x_ND.T @ x_ND

    for traced in traces:
        inputs: dict[str, torch.Tensor] = {}
        with watching(linears_of(layers_of(model)[index]), traced.real, add), fast_math(traced.real.device):
            through(model, index, traced.inputs[0], traced)
    return {path: found[leader].cpu() for path, leader in leaders.items()}


@torch.no_grad()
def gptq_(
    model: PreTrainedModel, types: TypeMap, batches: Sequence[Batch], scratch: Path, progress: Progress
) -> Packed:
    """Rounds all matrices of a model in place. Matrices of types without a grid, and the embedding where it is no head,
    are rounded to nearest.

    Args:
        model: a decoder
        types: of its matrices
        batches: text, as the model meets it
        scratch: where finished layers are kept until all are
        progress: where it reports

    Returns:
        What they are packed as.
    """
    with fast_math(device_of(model)):
        traces = [trace(model, batch, every=False) for batch in batches]
    prefix = architecture_spec(model.config).layers
    matrices, packed = {m.name: m for m in matrices_of(model)}, Packed()
    with progress.bar("gptq", len(layers_of(model)) + 1) as advance:
        for index in range(len(layers_of(model))):
            inside = [m for m in matrices.values() if m.name.startswith(f"{prefix}.{index}.")]
            packed |= _layer(model, index, inside, types, traces, scratch / f"layer-{index}.safetensors")
            with fast_math(device_of(model)):
                for traced in traces:
                    traced.inputs[0] = through(model, index, traced.inputs[0], traced)
            advance(index + 1, "")
        mean_squares = _after_the_last_norm(model, traces)
        for name in (m for m in matrices if m not in packed):
            importance = mean_squares if name == head_name(model) else None
            packed[name] = round_(matrices[name], types.asked_for(matrices[name].tensor).name, importance)
        advance(len(layers_of(model)) + 1, "")
    return packed


def _layer(
    model: PreTrainedModel,
    index: int,
    matrices: Sequence[BlockWeight],
    types: TypeMap,
    traces: Sequence[Traced],
    kept: Path,
) -> Packed:
    """What the matrices of a layer are packed as, which they then hold; found again where it was kept."""
    prefix = f"{architecture_spec(model.config).layers}.{index}."
    names = {m.name: types.asked_for(m.tensor) for m in matrices}
    found = load_file(kept) if kept.is_file() else {}
    hessians = {} if found else hessians_of(model, index, traces)
    factors = dict[int, torch.Tensor]()
    for m in matrices:
        if m.name in found:
            continue
        if names[m.name].grid is None:
            found[m.name] = names[m.name].quantize(m.weight.float().cpu().numpy())
            continue
        hessian = hessians[m.name.removeprefix(prefix).removesuffix(".weight")]
        if id(hessian) not in factors:
            factors[id(hessian)] = inverse_factor(hessian, DAMPING)
        found[m.name] = gptq(m.weight.detach().float().cpu(), factors[id(hessian)], names[m.name].name)
    for m in matrices:
        m.weight.copy_(torch.from_numpy(names[m.name].dequantize(found[m.name])))
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        beside = kept.with_suffix(".tmp")
        save_file(found, beside)
        beside.replace(kept)
    return {m.name: (names[m.name].name, found[m.name]) for m in matrices}


def _after_the_last_norm(model: PreTrainedModel, traces: Sequence[Traced]) -> torch.Tensor:
    """Mean squares [width] of what the head reads."""
    sums = [final_norm_of(model)(t.inputs[0])[t.real].double().square().sum(0) for t in traces]
    return (torch.stack(sums).sum(0) / sum(int(t.real.sum()) for t in traces)).cpu()
