"""stories260K, a real 260,000-parameter story teller (llama2.c's checkpoint), as a transformers folder for tests."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

HERE = Path(__file__).parents[1] / ".." / "shared" / "models" / "stories260K"


def stories260k(folder: Path) -> Path | None:
    """Writes the model into `folder`; None when the checkpoint is not beside this repository."""
    if not (HERE / "stories260K.bin").is_file():
        return None
    import json

    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from lightbulb.formats.gguf.tokenizer import tokenizer_from_gguf
    from lightbulb.models.gguf import separate
    from lightbulb.models.loading import save_model

    raw = (HERE / "stories260K.bin").read_bytes()
    dim, hidden, layers, heads, kv_heads, vocab, length = struct.unpack("<7i", raw[:28])
    numbers, at = np.frombuffer(raw, dtype="<f4", offset=28), 0

    def take(*shape: int) -> np.ndarray:
        nonlocal at
        at += int(np.prod(shape))
        return numbers[at - int(np.prod(shape)) : at].reshape(shape)

    kv = dim // heads * kv_heads
    state = {"model.embed_tokens.weight": take(vocab, dim)}
    order = [
        ("input_layernorm", (dim,)),
        ("self_attn.q_proj", (dim, dim)),
        ("self_attn.k_proj", (kv, dim)),
        ("self_attn.v_proj", (kv, dim)),
        ("self_attn.o_proj", (dim, dim)),
        ("post_attention_layernorm", (dim,)),
        ("mlp.gate_proj", (hidden, dim)),
        ("mlp.down_proj", (dim, hidden)),
        ("mlp.up_proj", (hidden, dim)),
    ]
    for name, shape in order:
        for i, w in enumerate(take(layers, *shape)):
            n = {"self_attn.q_proj": heads, "self_attn.k_proj": kv_heads}.get(name)
            state[f"model.layers.{i}.{name}.weight"] = separate(w, n) if n else w
    state["model.norm.weight"] = take(dim)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab,
            hidden_size=dim,
            intermediate_size=hidden,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            max_position_embeddings=length,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
            tie_word_embeddings=True,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    model.load_state_dict({k: torch.from_numpy(np.array(v)) for k, v in state.items()}, strict=False)
    save_model(model, folder)
    tokenizer, config = tokenizer_from_gguf(_vocabulary(vocab), HERE / "tok512.bin")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def _vocabulary(size: int) -> dict[str, object]:
    """tok512.bin as GGUF keys -> values."""
    raw, at = (HERE / "tok512.bin").read_bytes(), 4
    texts, scores = [], []
    for _ in range(size):
        score, n = struct.unpack_from("<fi", raw, at)
        texts.append(raw[at + 8 : at + 8 + n].decode("utf-8").replace(" ", "\u2581"))
        scores.append(score)
        at += 8 + n
    texts[1], texts[2] = "<s>", "</s>"
    types = [2, 3, 3] + [6] * 256 + [1] * (size - 259)  # unknown, control, bytes, normal
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }
