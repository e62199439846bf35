"""Models that filament is measured with: llamas of random weights, and SmolLM2-135M in GGUF types."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType
from gguf.quants import quantize

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))


@dataclass(frozen=True)
class Shape:
    """A llama of random weights. `type`: of the layers' matrices; the embedding, also the head, is q8_0."""

    layers: int
    width: int
    feed_forward: int
    vocabulary: int
    type: str
    head: int = 64


SHAPES: dict[str, Shape | str] = {
    "6 layers, d 512, q4_0": Shape(6, 512, 1536, 8192, "Q4_0"),
    "6 layers, d 512, ternary": Shape(6, 512, 1536, 8192, "TQ2_0"),
    "10 layers, d 512, q4_0": Shape(10, 512, 1536, 8192, "Q4_0"),
    "10 layers, d 512, ternary": Shape(10, 512, 1536, 8192, "TQ2_0"),
    "SmolLM2-135M q4_0": "Q4_0",
    "SmolLM2-135M q8_0": "Q8_0",
    "24 layers, d 2048, ternary (1.2B)": Shape(24, 2048, 5632, 32768, "TQ2_0"),
}


def make(name: str, folder: Path) -> Path:
    path, shape = folder / f"{len(list(folder.iterdir()))}.gguf", SHAPES[name]
    if isinstance(shape, Shape):
        write_shape(path, shape)
        return path
    from lightbulb.formats.gguf.type_map import TypeMap
    from lightbulb.models.gguf import write_gguf
    from lightbulb.models.importing import import_model
    from lightbulb.models.resolve import resolve

    model = folder / "smollm2"
    if not model.exists():
        model.mkdir()
        import_model(resolve("smollm2-135m"), model)
    write_gguf(model, path, TypeMap.of(shape.lower(), "q8_0"))
    return path


def write_tokenizer(writer: GGUFWriter, vocabulary: int) -> None:
    """Bytes, and made-up words up to `vocabulary` entries."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    words += [f"\u2581w{i}" for i in range(vocabulary - len(words))]
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL] + [TokenType.BYTE] * 256
    writer.add_tokenizer_model("llama")
    writer.add_token_list(words)
    writer.add_token_scores([0.0] * len(words))
    writer.add_token_types(kinds + [TokenType.NORMAL] * (len(words) - len(kinds)))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def write_shape(path: Path, shape: Shape) -> None:
    rng = np.random.default_rng(0)
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(shape.layers)
    writer.add_embedding_length(shape.width)
    writer.add_context_length(4096)
    writer.add_head_count(shape.width // shape.head)
    writer.add_head_count_kv(shape.width // shape.head)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.head)
    write_tokenizer(writer, shape.vocabulary)
    drawn: dict[tuple[int, int, str], np.ndarray] = {}  # layers of one shape share their numbers: half a minute less

    def matrix(name: str, rows: int, columns: int, type: str) -> None:
        kind = GGMLQuantizationType[type]
        if (rows, columns, type) not in drawn:
            weights = rng.standard_normal((rows, columns), dtype=np.float32) / np.sqrt(columns)
            drawn[rows, columns, type] = quantize(weights, kind)
        writer.add_tensor(f"{name}.weight", drawn[rows, columns, type], raw_dtype=kind)

    def ones(name: str) -> None:
        writer.add_tensor(f"{name}.weight", np.ones(shape.width, np.float32))

    matrix("token_embd", shape.vocabulary, shape.width, "Q8_0")
    for i in range(shape.layers):
        ones(f"blk.{i}.attn_norm")
        ones(f"blk.{i}.ffn_norm")
        for part in ("q", "k", "v", "output"):
            matrix(f"blk.{i}.attn_{part}", shape.width, shape.width, shape.type)
        matrix(f"blk.{i}.ffn_gate", shape.feed_forward, shape.width, shape.type)
        matrix(f"blk.{i}.ffn_up", shape.feed_forward, shape.width, shape.type)
        matrix(f"blk.{i}.ffn_down", shape.width, shape.feed_forward, shape.type)
    ones("output_norm")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
