"""Small random MatMul-free models for tests: a folder, a GGUF file of it, and what torch computes from it.

    python tests/matmulfree_files.py FOLDER

writes of a recurrent model and of a hybrid: MIXERS.gguf, and MIXERS.npz with `ids` [T] and `logits` [T, V], computed in
float32 from the very weights that are in the file.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from tiny import randomize, write_tokenizer

MIXERS = {
    "mlgru": ["linear_attention"] * 3,
    "hybrid": ["linear_attention", "full_attention", "linear_attention"],
    "attention": ["full_attention"] * 2,
}


def tiny_matmulfree(
    folder: Path, layer_types: list[str], width: int = 256, tied: bool = False, seed: int = 0, context: int = 512
) -> Path:
    """A random model with its tokenizer in `folder`; returns the folder."""
    import torch

    from lightbulb.models.loading import save_model
    from lightbulb.models.matmulfree import MatMulFreeConfig, MatMulFreeForCausalLM

    folder.mkdir(parents=True, exist_ok=True)
    entries = write_tokenizer(folder)
    config = MatMulFreeConfig(
        vocab_size=-(-entries // 8) * 8,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=len(layer_types),
        layer_types=layer_types,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=0,
    )
    model: Any = MatMulFreeForCausalLM(config).eval()
    randomize(model, "matmulfree", seed)
    with torch.no_grad():
        for layer in model.model.layers:
            if layer.mixer is not None:
                layer.mixer.lower.normal_()  # bounds that differ by channel
        for p in (model.model.embed_tokens.weight, model.lm_head.weight):
            p.copy_(p.half().float())  # as a file of f16 holds them
    save_model(model, folder)
    return folder


def logits_of(folder: Path, ids: np.ndarray) -> np.ndarray:
    """Logits [T, V] of token ids [T]."""
    import torch

    from lightbulb.models.loading import load_model

    with torch.no_grad():
        return load_model(folder)(torch.from_numpy(ids)[None]).logits[0].numpy()


def write_reference(out: Path, ends: str = "f16") -> None:
    """Files and logits of each kind in `out`. ends: the type of embedding and head."""
    from lightbulb.formats.gguf.type_map import TypeMap
    from lightbulb.models.gguf import write_gguf

    ids = np.random.default_rng(0).integers(3, 500, 37)
    for name, layer_types in MIXERS.items():
        folder = tiny_matmulfree(out / name, layer_types)
        write_gguf(folder, out / f"{name}.gguf", TypeMap.of("tq2_0", ends))
        np.savez(out / f"{name}.npz", ids=ids, logits=logits_of(folder, ids))


if __name__ == "__main__":
    write_reference(Path(sys.argv[1]))
