"""llama.cpp's own quantizers: the functions that xllamacpp's extension module carries."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from lightbulb.formats.gguf.quant_types import QuantType


@cache
def _quantize_chunk():
    import xllamacpp

    library = next(Path(xllamacpp.__path__[0]).glob("*.so"), None)
    function = getattr(ctypes.CDLL(str(library)), "ggml_quantize_chunk", None) if library else None
    if function is None:
        pytest.skip("this build of xllamacpp does not show llama.cpp's quantizers")
    integer, pointer = ctypes.c_int64, ctypes.c_void_p
    function.argtypes = [ctypes.c_int, pointer, pointer, integer, integer, integer, pointer]
    function.restype = ctypes.c_size_t
    return function


def llama_quantize(quant_type: QuantType, rows: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
    """What llama.cpp writes for rows [R, n], with an importance matrix of one row [n] or without one."""
    rows = np.ascontiguousarray(rows, np.float32)
    weighted = None if importance is None else np.ascontiguousarray(importance, np.float32).ctypes.data
    out = np.zeros((len(rows), rows.shape[1] // quant_type.block * quant_type.block_bytes), np.uint8)
    written = _quantize_chunk()(quant_type.id, rows.ctypes.data, out.ctypes.data, 0, *rows.shape, weighted)
    assert written == out.nbytes
    return out
