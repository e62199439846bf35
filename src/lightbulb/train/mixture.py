"""A type for each matrix so that all together keep to a budget and change the answers least.

What a matrix costs in answers was measured with one type (`train.calibration.sensitivities_of`); with another it is
taken to grow like the squared error of its outputs, as it does to second order. Both are of one matrix at a time: sums
over matrices are an estimate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from lightbulb.formats.gguf.quant_types import QUANT_TYPES
from lightbulb.formats.gguf.type_map import TypeMap
from lightbulb.ops.allocation import allocate
from lightbulb.train.calibration import PROBE
from lightbulb.train.quantized import BlockWeight, matrices_of

ROWS = 128  # of a matrix, evenly spread, on which errors of types are compared


def choose_types(
    model: PreTrainedModel,
    sensitivities: Mapping[str, float],
    mean_squares: Mapping[str, torch.Tensor],
    among: Sequence[str],
    bits_per_weight: float,
    default: str,
) -> TypeMap | None:
    """The types of all matrices.

    Args:
        model: a decoder
        sensitivities: nats, by the name of a matrix
        mean_squares: of their inputs, likewise
        among: names of types
        bits_per_weight: the mean that they may take
        default: the type of matrices that were not measured

    Returns:
        None where not even the smallest types fit the budget.
    """
    tensors: dict[str, list[BlockWeight]] = {}
    for matrix in matrices_of(model):
        tensors.setdefault(matrix.tensor, []).append(matrix)  # a file may hold several as one
    names, options = [], []
    for matrices in tensors.values():
        measured = all(m.name in sensitivities for m in matrices)
        fitting = [n for n in among if QUANT_TYPES[n].fits(matrices[0].weight.shape[-1])] if measured else [default]
        losses = [expected_nats(m, sensitivities.get(m.name, 0.0), mean_squares.get(m.name), fitting) for m in matrices]
        weights = sum(m.weights for m in matrices)
        names.append(fitting)
        options.append([(weights * QUANT_TYPES[n].bits_per_weight, sum(loss[n] for loss in losses)) for n in fitting])
    chosen = allocate(options, bits_per_weight * sum(m.weights for ms in tensors.values() for m in ms))
    if chosen is None:
        return None
    return TypeMap(default, {}, {t: fitting[at] for t, fitting, at in zip(tensors, names, chosen, strict=True)})


def expected_nats(
    matrix: BlockWeight, sensitivity: float, mean_squares: torch.Tensor | None, among: Sequence[str]
) -> dict[str, float]:
    """What the answers change by when the matrix alone is rounded, by the name of each type."""
    rows = matrix.weight.detach()[:: max(1, len(matrix.weight) // ROWS)].float().cpu().numpy()
    importance = np.ones(rows.shape[1], np.float32) if mean_squares is None else mean_squares.numpy()
    probe = _error(PROBE, rows, importance, None) if sensitivity else 1.0
    return {name: sensitivity * _error(name, rows, importance, importance) / max(probe, 1e-30) for name in among}


def _error(name: str, rows: np.ndarray, importance: np.ndarray, searched_for: np.ndarray | None) -> float:
    """Squared errors times importance, of all of some rows."""
    known = QUANT_TYPES[name]
    off = known.dequantize(known.quantize(rows, searched_for)) - rows
    return float((importance * off * off).sum(dtype=np.float64))
