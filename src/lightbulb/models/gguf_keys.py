"""Keys of a GGUF that say what its model is, each checked as it is read: the file may be damaged or hostile."""

from __future__ import annotations

import math
import reprlib
from typing import Any

from lightbulb.core.errors import ModelError, UnsupportedModel
from lightbulb.formats.gguf.header import GgufHeader

MOST = 1 << 31  # below: what llama.cpp and filament take, too


class Keys:
    """The keys of a file's architecture, named without it.

    Args:
        header: of the file
    """

    def __init__(self, header: GgufHeader):
        self.fields, self.file = header.fields, str(header.files[0])
        self.architecture = header.fields["general.architecture"]

    def value(self, key: str, default: Any = None) -> Any:
        """Whatever it is."""
        return self.fields.get(f"{self.architecture}.{key}", default)

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number above 0. Raises ModelError where it is none, or is missing without a default."""
        value = self.value(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < MOST:
            raise self.wrong(key)
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number above 0. Raises ModelError as `integer` does."""
        value = self.value(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise self.wrong(key)
        return float(value)

    def wrong(self, key: str) -> ModelError:
        """Says what the key is, and that it cannot be."""
        found = f"is {reprlib.repr(self.value(key))}" if self.value(key) is not None else "is missing"
        return ModelError(
            f"the key {self.architecture}.{key} {found}", where=self.file, hint="download or export the file again"
        )


def blocks_of(keys: Keys, header: GgufHeader) -> int:
    """How many layers there are: not more than tensors, so that nothing large is made of a damaged number."""
    blocks = keys.integer("block_count")
    if blocks > len(header.tensors):
        raise ModelError(
            f"this GGUF says that it has {blocks} layers, and holds {len(header.tensors)} tensors",
            where=keys.file,
            hint="download or export the file again",
        )
    return blocks


def mixers_of(keys: Keys, blocks: int) -> list[str]:
    """The mixer of each layer, of architectures that name them."""
    found = keys.value("mixer")
    if not isinstance(found, list) or len(found) != blocks or not all(m in ("mlgru", "attention") for m in found):
        raise ModelError(
            f"this file does not name a mixer for each of its {blocks} layers",
            where=keys.file,
            hint="export the file again",
        )
    return found


def check_head_width(keys: Keys, width: int) -> None:
    """Refuses heads of which a part is turned, and values of another width than keys: no spec says so."""
    for key in ("rope.dimension_count", "attention.value_length"):
        if keys.integer(key, width) != width:
            raise UnsupportedModel(
                f"heads of {width} whose {keys.architecture}.{key} is {keys.value(key)} are not read back",
                where=keys.file,
                hint="start from the transformers folder of the model",
            )


def check_groups(heads: int, kv_heads: int) -> None:
    """Refuses heads that do not share those of keys evenly."""
    if kv_heads and heads % kv_heads:
        raise ModelError(f"this GGUF has {heads} heads on {kv_heads} of keys", hint="download or export the file again")
