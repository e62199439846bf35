"""How a configuration says that its weights are stored: bits a weight, scales included, and which modules are not.

Layouts: transformers' quantization_config classes (transformers/utils/quantization_config.py), compressed-tensors'
and ModelOpt's config groups. What is not known is refused by name, never taken for 16 bits.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightbulb.core.errors import ModelError

HALF = 16.0
_DTYPES = {
    "float64": 64.0, "double": 64.0, "float32": 32.0, "float": 32.0, "float16": HALF, "half": HALF, "bfloat16": HALF,
    "float8_e4m3fn": 8.0, "float8_e5m2": 8.0, "int8": 8.0, "auto": HALF,
}  # fmt: skip
_GROUPED = ("gptq", "awq", "auto-round", "auto_round", "intel/auto-round", "gptqmodel", "autoround", "higgs", "marlin")
# Never quantized, whatever the configuration says: small, or not of the text decoder
HEAD = "lm_head"
KNOWN = (
    "awq, gptq, auto-round, bitsandbytes, fp8, fbgemm_fp8, mxfp4, compressed-tensors, modelopt, hqq, quanto, torchao, "
    "eetq, aqlm, bitnet, higgs"
)


@dataclass(frozen=True)
class Stored:
    """How weights are stored.

    Attributes:
        bits: of each weight of a quantized module, scales included
        rest: of everything else
        skipped: patterns of modules that are not quantized
        experts_only: whether only experts are
        head: whether the head is, too
        kv_bits: of keys and values
        words: how it is said
    """

    bits: float
    rest: float = HALF
    skipped: tuple[str, ...] = ()
    experts_only: bool = False
    head: bool = False
    kv_bits: float = HALF
    words: str = ""
    _seen: dict[str, bool] = field(default_factory=dict, compare=False, repr=False)

    def bits_of(self, module: str) -> float:
        """Of the weights of a module such as "model.layers.3.mlp.down_proj"."""
        return self.rest if self.is_skipped(module) else self.bits

    def is_skipped(self, module: str) -> bool:
        """Whether a module is not quantized."""
        if module == HEAD and not self.head:
            return True
        if self.experts_only and ".experts" not in module:
            return True
        if module not in self._seen:
            self._seen[module] = any(_matches(pattern, module) for pattern in self.skipped)
        return self._seen[module]


def _matches(pattern: str, module: str) -> bool:
    """As the libraries do: a regular expression after "re:", a glob with "*", else a name or the names around it."""
    if pattern.startswith("re:"):
        try:
            return re.match(pattern[3:], module) is not None
        except re.error:
            return False
    if "*" in pattern:
        return fnmatch.fnmatchcase(module, pattern) or fnmatch.fnmatchcase(module, f"{pattern}.*")
    return f".{pattern.strip('.')}." in f".{module}."


def stored(config: Mapping[str, Any], where: str) -> Stored:
    """From a whole config.json.

    Args:
        config: its contents
        where: the file, for errors

    Raises:
        ModelError: something is not known
    """
    outer = _quantization(config)
    inner = config.get("text_config")
    text_config = (inner if isinstance(inner, dict) else {}) | {k: v for k, v in config.items() if v is not None}
    rest = _dtype(text_config, where)
    if outer is None:
        return Stored(rest, rest, head=True, words="")
    if not isinstance(outer, dict):
        raise unknown(f"quantization_config is {outer!r}", where)
    if rest == 8.0:
        rest = HALF
    return _of_method(outer, rest, where)


def _quantization(config: Mapping[str, Any]) -> Any:
    inner = config.get("text_config")
    for part in (config, inner if isinstance(inner, dict) else {}):
        for key in ("quantization_config", "compression_config"):
            if part.get(key):
                return part[key]
    return None


def unknown(what: str, where: str) -> ModelError:
    """The error of what is not known."""
    return ModelError(
        f"how the weights are stored is not known: {what}",
        where=where,
        hint=f"give it yourself, such as `bits=4.25`; known are {KNOWN}",
    )


def _dtype(config: Mapping[str, Any], where: str) -> float:
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16").removeprefix("torch.")
    if dtype not in _DTYPES:
        raise unknown(f"weights of the type {dtype!r}", where)
    return _DTYPES[dtype]


def _of_method(q: Mapping[str, Any], rest: float, where: str) -> Stored:
    method = str(q.get("quant_method") or q.get("quant_library") or _guessed(q)).casefold()
    skipped = tuple(str(m) for key in ("modules_to_not_convert", "llm_int8_skip_modules", "ignore", "ignored_layers",
                                       "exclude_modules") for m in (q.get(key) or ()))  # fmt: skip
    try:
        match method:
            case _ if method in _GROUPED:
                found = _grouped(q, method, where)
            case "bitsandbytes" | "bitsandbytes_4bit" | "bitsandbytes_8bit":
                found = _bitsandbytes(q)
            case "fp8" | "fbgemm_fp8" | "finegrained_fp8":
                found = _fp8(q, method)
            case "mxfp4":
                found = 4 + 8 / 32, "mxfp4, blocks of 32"
            case "compressed-tensors" | "modelopt" | "quark" | "modelopt_fp4":
                found = _compressed(q, method, where)
            case "hqq":
                found = _hqq(q, where)
            case "quanto":
                found = _quanto(q, where)
            case "torchao":
                found = _torchao(q, where)
            case "eetq":
                found = 8.0, "eetq int8"
            case "bitnet":
                found = 2.0, "bitnet, 2 bits"
            case "aqlm":
                group = int(q["in_group_size"]) * int(q.get("out_group_size") or 1)
                found = int(q["num_codebooks"]) * int(q["nbits_per_codebook"]) / group, f"aqlm, groups of {group}"
            case _:
                raise unknown(f"quantization of the method {method!r}", where)
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as e:
        raise unknown(f"{method} without {e}" if isinstance(e, KeyError) else f"{method}: {e}", where) from e
    bits, words = found
    if not 0 < bits <= 64:
        raise unknown(f"{method} with weights of {bits:g} bits", where)
    return Stored(
        bits,
        rest,
        skipped,
        experts_only=method == "mxfp4" and "modules_to_not_convert" not in q,
        head=bool(q.get("lm_head") or q.get("quantize_lm_head") or q.get("include_input_output_embeddings")),
        kv_bits=_kv_bits(q, where),
        words=f"{words}: {bits:.4g} bits a weight, scales included",
    )


def _guessed(q: Mapping[str, Any]) -> str:
    if q.get("load_in_4bit") or q.get("load_in_8bit"):
        return "bitsandbytes"
    return "gptq" if "desc_act" in q and "bits" in q else "of no name"


def _grouped(q: Mapping[str, Any], method: str, where: str) -> tuple[float, str]:
    """A 16-bit scale and a zero of the weights' own width for each group; one group a row where it is -1."""
    if q.get("dynamic") or q.get("extra_config"):
        raise unknown(f"{method} with other bits in some modules", where)
    bits = int(q.get("bits") or q["w_bit"])
    group = int(q.get("group_size") or q.get("q_group_size") or 128)
    if bits < 1:
        raise unknown(f"{method} with weights of {bits} bits", where)
    zero = bits if q.get("zero_point", True) else 0
    scales = (16 + zero) / group if group > 0 else 0.0
    return bits + scales, f"{method}, {bits} bits in {f'groups of {group}' if group > 0 else 'rows'}"


def _bitsandbytes(q: Mapping[str, Any]) -> tuple[float, str]:
    """QLoRA (Dettmers et al. 2023): blocks of 64 with a float32 each, or an 8-bit one and a float32 for 256 of them."""
    if q.get("load_in_4bit") or q.get("_load_in_4bit") or str(q.get("quant_method")).endswith("4bit"):
        double = bool(q.get("bnb_4bit_use_double_quant"))
        scales = 8 / 64 + 32 / (64 * 256) if double else 32 / 64
        return 4 + scales, f"bitsandbytes, 4 bits{', scales quantized too' if double else ''}"
    if q.get("load_in_8bit") or q.get("_load_in_8bit") or str(q.get("quant_method")).endswith("8bit"):
        return 8.0, "bitsandbytes, 8 bits"
    raise ValueError("neither load_in_4bit nor load_in_8bit")


def _fp8(q: Mapping[str, Any], method: str) -> tuple[float, str]:
    block = q.get("weight_block_size")
    scale = 32 / (int(block[0]) * int(block[1])) if block else 0.0
    return 8 + scale, method + (f", blocks of {block[0]} x {block[1]}" if block else "")


def _compressed(q: Mapping[str, Any], method: str, where: str) -> tuple[float, str]:
    sparsity = (q.get("sparsity_config") or {}).get("format") or "dense"
    if sparsity != "dense":
        raise unknown(f"{method} with the sparse format {sparsity!r}", where)
    algorithm = q.get("quant_algo") or (q.get("quantization") or {}).get("quant_algo")
    if algorithm:
        named = {"NVFP4": 4 + 8 / 16, "FP8": 8.0, "W4A16_AWQ": 4 + 16 / 128, "W4A8_AWQ": 4 + 16 / 128, "INT8_SQ": 8.0,
                 "FP8_PER_CHANNEL_PER_TOKEN": 8.0, "MXFP4": 4.25, "MXFP8": 8.25, "NVFP4_AWQ": 4.5}  # fmt: skip
        if str(algorithm).upper() not in named:
            raise unknown(f"{method} with the algorithm {algorithm!r}", where)
        return named[str(algorithm).upper()], f"{method} {algorithm}"
    groups = [group.get("weights") for group in (q.get("config_groups") or {}).values()]
    found = {_of_scheme(weights) for weights in groups if weights}
    if len(found) != 1:
        raise unknown(f"{method} with {len(found)} kinds of weights", where)
    bits, words = found.pop()
    return bits, f"{method}, {words}"


def _of_scheme(weights: Mapping[str, Any]) -> tuple[float, str]:
    bits, kind = int(weights["num_bits"]), str(weights.get("type", "int"))
    strategy, group = weights.get("strategy"), weights.get("group_size")
    scales, words = 0.0, f"{kind} of {bits} bits"
    if group and int(group) > 0 and strategy in (None, "group", "tensor_group"):
        scale = 8 if kind == "float" and bits == 4 else 16  # nvfp4 and mxfp4
        zero = 0 if weights.get("symmetric", True) else bits
        scales, words = (scale + zero) / int(group), f"{words} in groups of {group}"
    elif strategy == "block" and weights.get("block_structure"):
        rows, columns = (int(n) for n in weights["block_structure"])
        scales = 32 / (rows * columns)
    return bits + scales, words


def _hqq(q: Mapping[str, Any], where: str) -> tuple[float, str]:
    params = q.get("quant_config") or q
    if "weight_quant_params" not in params:
        raise unknown("hqq with other bits in each module", where)
    params = params["weight_quant_params"]
    bits, group = int(params["nbits"]), int(params.get("group_size") or 64)
    return bits + 32 / group, f"hqq, {bits} bits in groups of {group}"


def _quanto(q: Mapping[str, Any], where: str) -> tuple[float, str]:
    named = {"int8": 8.0, "float8": 8.0, "int4": 4 + 32 / 128, "int2": 2 + 32 / 128}
    if q["weights"] not in named:
        raise unknown(f"quanto with weights {q['weights']!r}", where)
    return named[q["weights"]], f"quanto {q['weights']}"


def _torchao(q: Mapping[str, Any], where: str) -> tuple[float, str]:
    """By the name of the configuration: "int4_weight_only", Int8DynamicActivationInt4WeightConfig."""
    quant_type, options = q["quant_type"], dict(q.get("quant_type_kwargs") or {})
    if isinstance(quant_type, dict):
        if set(quant_type) != {"default"}:
            raise unknown("torchao with other bits in some modules", where)
        options = dict(quant_type["default"].get("_data") or {})
        quant_type = quant_type["default"]["_type"]
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(quant_type)).casefold()
    match = re.search(r"(int|uint|float)_?(\d)_?weight", name)
    if match is None:
        raise unknown(f"torchao of the type {quant_type!r}", where)
    bits, group = int(match[2]), options.get("group_size")
    group = 128 if group is None and bits < 8 else group
    scales = 32 / int(group) if isinstance(group, int) and group > 0 else 0.0
    return bits + scales, f"torchao {quant_type}"


def _kv_bits(q: Mapping[str, Any], where: str) -> float:
    scheme = q.get("kv_cache_scheme")
    if isinstance(scheme, dict) and scheme.get("num_bits"):
        return float(scheme["num_bits"])
    algorithm = q.get("kv_cache_quant_algo") or (q.get("quantization") or {}).get("kv_cache_quant_algo")
    named = {"FP8": 8.0, "INT8": 8.0, "NVFP4": 4.5}
    if algorithm and str(algorithm).upper() not in named:
        raise unknown(f"keys and values of the kind {algorithm!r}", where)
    return named[str(algorithm).upper()] if algorithm else HALF
