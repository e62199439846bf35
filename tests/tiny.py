"""Tiny random models of every family, for tests: `tiny_model(folder, "qwen3")` writes a whole transformers folder."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma3_text")
TEXT = """Turn the kitchen lights off at 7:45, please. What's the weather like tomorrow? I can't find my card!
The heating in the bedroom should be 21.5 degrees; the bathroom is far too cold and it's already late.
Play some quiet music in the living room, then lock the front door and tell me how long the train takes.
def turn_on(room: str, device: str) -> dict: return {"room": room, "device": device, "state": "on"}
My new card has not arrived yet, and I don't know why the payment was declined. They've said we'll see.
Schalte das Licht im Wohnzimmer aus. Où est la gare ? ¿Cuánto cuesta? 1234567890 2026-11-21 naïve café façade."""
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
    "'<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def tiny_model(
    folder: Path,
    family: str = "llama",
    layers: int = 2,
    width: int = 64,
    vocabulary: int = 512,
    seed: int = 0,
    tied: bool | None = None,
    context: int = 512,
) -> Path:
    """A random model with its tokenizer and chat template in `folder`; returns the folder.

    llama: smollm's words, tied. qwen2/qwen3: Qwen's words. mistral, gemma3_text: SentencePiece with byte fallback.
    Weights are large enough for clear next tokens; norms and biases are random too.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from lightbulb.models.loading import save_model

    folder.mkdir(parents=True, exist_ok=True)
    entries = write_tokenizer(folder, family, vocabulary)
    torch.manual_seed(seed)
    more: dict[str, Any] = {}
    if family == "gemma3_text":
        more = {"query_pre_attn_scalar": width // 4, "sliding_window": 16}
    config = AutoConfig.for_model(
        family,
        vocab_size=-(-entries // 8) * 8,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=width // 4,
        max_position_embeddings=context,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=0,
        tie_word_embeddings=tied if tied is not None else family in ("llama", "gemma3_text"),
        **more,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, p in model.named_parameters():
            gain = 0.3 if p.ndim == 1 else 1.5 * p.shape[-1] ** -0.5
            p.copy_(gain * torch.randn_like(p) + (1.0 if "norm" in name and family != "gemma3_text" else 0.0))
    save_model(model, folder)
    return folder


def tiny_varied(folder: Path, family: str = "llama", seed: int = 0, **changes: Any) -> Path:
    """A random model whose layers differ, by default 4 of width 64: in heads, in heads of keys, in feed-forwards;
    where the family's GGUF can say so, the third has no attention. changes: of the spec, `layers` among them."""

    from lightbulb.models.decoder import Decoder, config_for
    from lightbulb.models.loading import json_object, save_model
    from lightbulb.models.spec import LayerSpec, ModelSpec
    from lightbulb.models.spec_config import spec_of_config

    plain = spec_of_config(json_object(tiny_model(folder, family, layers=4, seed=seed) / "config.json"))
    layers = [
        LayerSpec(**plain.layers[0].model_dump() | {"heads": heads, "kv_heads": kv_heads, "feed_forward": inner})
        for heads, kv_heads, inner in ((4, 2, 128), (2, 1, 64), (4, 4, 160), (6, 3, 96))
    ]
    if family in ("llama", "mistral", "qwen2"):
        layers[2] = layers[2].without("mixer")
    model = Decoder(config_for(ModelSpec(**plain.model_dump() | {"layers": layers} | changes))).eval()
    randomize(model, family, seed)
    ids = json_object(folder / "config.json")
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(model.config, name, ids[name])
    save_model(model, folder)
    return folder


def tiny_recurrent(
    folder: Path, family: str = "llama", mixers: tuple[str, ...] = ("mlgru", "attention", "mlgru"), **more: Any
) -> Path:
    """A random model with recurrent mixers of plain weights where they are named. more: as `tiny_model` takes it."""
    import torch

    from lightbulb.models.decoder import Decoder, config_for
    from lightbulb.models.loading import json_object, save_model
    from lightbulb.models.spec import ModelSpec
    from lightbulb.models.spec_config import spec_of_config

    plain = spec_of_config(json_object(tiny_model(folder, family, layers=len(mixers), **more) / "config.json"))
    layers = [x.recurrent() if mixer == "mlgru" else x for mixer, x in zip(mixers, plain.layers, strict=True)]
    model = Decoder(config_for(ModelSpec(**plain.model_dump() | {"layers": layers}))).eval()
    randomize(model, family, more.get("seed", 0))
    with torch.no_grad():
        for layer in model.model.layers:
            if layer.mixer is not None:
                layer.mixer.f_proj.bias.add_(1.0)  # memories of some tokens
    ids = json_object(folder / "config.json")
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(model.config, name, ids[name])
    save_model(model, folder)
    return folder


def randomize(model: Any, family: str, seed: int) -> None:
    """Weights large enough for clear next tokens; norms and biases are random too."""
    import torch

    torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            gain = 0.3 if p.ndim == 1 else 1.5 * p.shape[-1] ** -0.5
            p.copy_(gain * torch.randn_like(p) + (1.0 if "norm" in name and family != "gemma3_text" else 0.0))


def write_tokenizer(folder: Path, family: str = "llama", vocabulary: int = 512) -> int:
    """tokenizer.json and tokenizer_config.json for a family; returns the number of entries."""
    text = _sentencepiece(vocabulary) if family in ("mistral", "gemma3_text") else _byte_level(family, vocabulary)
    tokenizer = json.loads(text)
    if family == "gemma3_text":  # Gemma puts no space before the text
        tokenizer["normalizer"] = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
        tokenizer["decoder"]["decoders"].pop()
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": SPECIAL[0],
        "eos_token": SPECIAL[2],
        "pad_token": SPECIAL[0],
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")
    return len(tokenizer["model"]["vocab"])


@cache
def _byte_level(family: str, vocabulary: int) -> str:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    from lightbulb.formats.gguf.pretokenizers import PRE_TOKENIZERS

    tokenizer = Tokenizer(models.BPE())
    name = "qwen2" if family.startswith("qwen") else family if family in PRE_TOKENIZERS else "smollm"
    shell = json.loads(tokenizer.to_str()) | {"pre_tokenizer": PRE_TOKENIZERS[name]}
    tokenizer = Tokenizer.from_str(json.dumps(shell))
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=1,
        show_progress=False,
        special_tokens=[AddedToken(t, special=True, normalized=False) for t in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(TEXT.splitlines(keepends=True) * 2, trainer)
    return tokenizer.to_str()


@cache
def _sentencepiece(vocabulary: int) -> str:
    from tokenizers import Tokenizer, models, trainers

    from lightbulb.formats.gguf.tokenizer import BYTE, CONTROL, NORMAL, UNKNOWN, tokenizer_from_gguf

    bpe = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=vocabulary - 260, min_frequency=1, show_progress=False)
    words = [w for line in TEXT.splitlines() for w in line.replace(" ", " \u2581").split(" ")]
    bpe.train_from_iterator(words, trainer)
    pieces = [t for t, _ in sorted(bpe.get_vocab().items(), key=lambda item: item[1])]
    texts = [*SPECIAL, "<unk>", *[f"<0x{b:02X}>" for b in range(256)], *pieces]
    fields = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.token_type": [CONTROL] * 3 + [UNKNOWN] + [BYTE] * 256 + [NORMAL] * len(pieces),
        "tokenizer.ggml.scores": [0.0] * 260 + [-float(i) for i in range(len(pieces))],
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.bos_token_id": 0,
    }
    return json.dumps(tokenizer_from_gguf(fields, Path("tiny"))[0])
