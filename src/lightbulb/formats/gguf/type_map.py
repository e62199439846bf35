"""Which quant type each tensor of a model is stored in, by the role that the tensor has."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from lightbulb.formats.gguf.quant_types import QUANT_TYPES, QuantType, writable_types

EMBEDDING, HEAD = "token_embd.weight", "output.weight"
LAYER_ROLES = {
    "attn_q": "attention.q",
    "attn_k": "attention.k",
    "attn_v": "attention.v",
    "attn_qkv": "attention.qkv",
    "attn_output": "attention.output",
    "ffn_gate": "feed_forward.gate",
    "ffn_up": "feed_forward.up",
    "ffn_down": "feed_forward.down",
}
ROLES = ("embedding", "head", "attention", "feed_forward", *LAYER_ROLES.values(), "other")
LAYER_TENSOR = re.compile(r"blk\.\d+\.(?P<part>\w+?)(_exps)?\.weight")


def role_of(tensor: str) -> str:
    """The role of a matrix by its name in a GGUF: "embedding", "head", "attention.q", "feed_forward.down", "other"."""
    if tensor in (EMBEDDING, HEAD):
        return "embedding" if tensor == EMBEDDING else "head"
    match = LAYER_TENSOR.fullmatch(tensor)
    return LAYER_ROLES.get(match["part"], "other") if match else "other"


@dataclass(frozen=True)
class TypeMap:
    """Names of types by role. Vectors (norms, biases) are always f32.

    Attributes:
        default: of all matrices but those in `roles`
        roles: by the name of a role ("attention.v") or of all that begin like it ("attention")
        tensors: by the name of a tensor in a GGUF, before its role

    Raises:
        ValueError: a role or type that is not known
    """

    default: str
    roles: Mapping[str, str] = field(default_factory=dict)
    tensors: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for role in self.roles:
            if role not in ROLES:
                raise ValueError(f"no tensor has the role {role!r}; use one of {', '.join(ROLES)}")
        for name in self.names:
            if name not in QUANT_TYPES:
                raise ValueError(f"there is no quant type {name!r}; use one of {', '.join(QUANT_TYPES)}")

    @staticmethod
    def of(layers: str, ends: str | None = None) -> TypeMap:
        """The usual map.

        Args:
            layers: the type of all matrices in the layers
            ends: the type of the embedding and the head; None: as the layers
        """
        return TypeMap(layers, {"embedding": ends, "head": ends} if ends else {})

    @property
    def names(self) -> tuple[str, ...]:
        """Of all types that it may choose."""
        return (self.default, *self.roles.values(), *self.tensors.values())

    @property
    def file_type(self) -> int:
        """llama.cpp's number for a file mostly of the default."""
        return QUANT_TYPES[self.default].file_type

    def check_writable(self) -> None:
        """Refuses types that can only be read.

        Raises:
            ValueError: for the first of them
        """
        for name in self.names:
            if not QUANT_TYPES[name].writable:
                raise ValueError(f"weights cannot be written as {name}; use one of {', '.join(writable_types())}")

    def type_of(self, role: str) -> QuantType:
        """The type of a matrix with this role, the nearest name in `roles` first."""
        general = role.partition(".")[0]
        return QUANT_TYPES[self.roles.get(role, self.roles.get(general, self.default))]

    def type_for(self, tensor: str, shape: tuple[int, ...]) -> QuantType:
        """The type of a tensor by its GGUF name and shape [rows ..., width]."""
        return QUANT_TYPES["f32"] if len(shape) < 2 else _fitting(self.asked_for(tensor), shape[-1])

    def asked_for(self, tensor: str) -> QuantType:
        """The type of a matrix by its GGUF name, whatever its width."""
        return QUANT_TYPES[self.tensors[tensor]] if tensor in self.tensors else self.type_of(role_of(tensor))

    def fitting(self, role: str, width: int) -> QuantType:
        """As `type_of`, or its fallback where its blocks do not fit the width."""
        return _fitting(self.type_of(role), width)

    def bits_per_weight(self, weights: Mapping[str, float]) -> float:
        """The mean over so many weights of each role."""
        bits = math.fsum(count * self.type_of(role).bits_per_weight for role, count in weights.items())
        return bits / math.fsum(weights.values())


def _fitting(chosen: QuantType, width: int) -> QuantType:
    while not chosen.fits(width):
        chosen = QUANT_TYPES[chosen.fallback]
    return chosen


@dataclass(frozen=True)
class Mixture:
    """What llama.cpp's quantize makes under one name: layers of several kinds.

    Attributes:
        parts: the share of the layers that each map holds for
    """

    parts: tuple[tuple[float, TypeMap], ...]

    def bits_per_weight(self, weights: Mapping[str, float]) -> float:
        """The mean over so many weights of each role."""
        return math.fsum(share * types.bits_per_weight(weights) for share, types in self.parts)


# Weights of each role in Llama 3 8B: 32 layers, width 4096, keys and values 1024 wide, feed-forward 14336
LLAMA_3_8B_LAYERS = {
    "attention.q": 32 * 4096 * 4096.0,
    "attention.k": 32 * 4096 * 1024.0,
    "attention.v": 32 * 4096 * 1024.0,
    "attention.output": 32 * 4096 * 4096.0,
    "feed_forward.gate": 32 * 4096 * 14336.0,
    "feed_forward.up": 32 * 4096 * 14336.0,
    "feed_forward.down": 32 * 4096 * 14336.0,
}
LLAMA_3_8B = LLAMA_3_8B_LAYERS | {"embedding": 128256 * 4096.0, "head": 128256 * 4096.0}


def _mixture(default: str, *parts: tuple[float, Mapping[str, str]]) -> Mixture:
    return Mixture(tuple((share, TypeMap(default, {"head": "q6_k", **roles})) for share, roles in parts))


# llama.cpp, src/llama-quant.cpp, for 32 layers and four or more query heads to a key head
MIXTURES = {
    "q2_k": _mixture("q2_k", (1, {"attention.v": "q4_k", "attention.output": "q3_k", "feed_forward.down": "q3_k"})),
    "q3_k_s": _mixture("q3_k", (1, {})),
    "q3_k_m": _mixture(
        "q3_k",
        (1 / 16, {"attention.v": "q5_k", "attention.output": "q4_k", "feed_forward.down": "q5_k"}),
        (15 / 16, {"attention.v": "q4_k", "attention.output": "q4_k", "feed_forward.down": "q4_k"}),
    ),
    "q3_k_l": _mixture("q3_k", (1, {"attention.v": "q5_k", "attention.output": "q5_k", "feed_forward.down": "q5_k"})),
    "q4_k_s": _mixture("q4_k", (1 / 8, {"attention.v": "q5_k", "feed_forward.down": "q5_k"}), (7 / 8, {})),
    "q4_k_m": _mixture("q4_k", (1 / 2, {"attention.v": "q6_k", "feed_forward.down": "q6_k"}), (1 / 2, {})),
    "q5_k_s": _mixture("q5_k", (1, {})),
    "q5_k_m": _mixture("q5_k", (1 / 2, {"attention.v": "q6_k", "feed_forward.down": "q6_k"}), (1 / 2, {})),
}


def bits_by_name() -> dict[str, float]:
    """Bits per weight of a model's layers, by the name of a type or of a mixture."""
    weights = {known.name: known.bits_per_weight for known in QUANT_TYPES.values() if known.unpack or known.block > 1}
    return weights | {name: mixture.bits_per_weight(LLAMA_3_8B_LAYERS) for name, mixture in MIXTURES.items()}
