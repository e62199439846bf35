"""Tiny random BERT encoders, for tests: `tiny_encoder(folder)` writes a folder as others do, `tiny_classifier(path)`
the GGUF of one with a random head. As a program: `python tests/tiny_encoder.py OUT.gguf [pooling] [quant type]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tiny import TEXT

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MARKS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


def pieces(text: str = TEXT) -> list[str]:
    """A vocabulary: all characters as words and as endings, the words of `text`, their beginnings and endings."""
    plain = "abcdefghijklmnopqrstuvwxyz0123456789éü东京"
    words = sorted({w.strip(MARKS) for w in text.lower().split()} - {""})
    words = [w for w in words if w.isascii() and w.isalnum()]
    starts = sorted({w[:3] for w in words if len(w) > 4} | set(words))
    ends = sorted({w[3:] for w in words if len(w) > 4})
    found = [*SPECIAL, *MARKS, *plain, *(f"##{c}" for c in plain), *starts, *(f"##{e}" for e in ends)]
    return list(dict.fromkeys(found))


def tiny_encoder(folder: Path, layers: int = 2, width: int = 64, seed: int = 0, pooling: str = "mean") -> Path:
    """A random BertModel with its tokenizer, as sentence-transformers writes it; returns the folder."""
    import torch
    from safetensors.torch import save_file

    from lightbulb.formats.gguf.wordpiece import tokenizer_of
    from lightbulb.models.kinds.encoder_spec import EncoderSpec

    folder.mkdir(parents=True, exist_ok=True)
    texts = pieces()
    spec = EncoderSpec(layers, width, 4, 2 * width, len(texts), 64, 2, 1e-12)
    generator = torch.Generator().manual_seed(seed)
    weights = {name: _random(name, shape, generator) for name, shape in spec.tensors.items()}
    save_file(weights, folder / "model.safetensors")
    tokenizer = tokenizer_of(texts) | {"truncation": {"max_length": 16, "strategy": "LongestFirst", "stride": 0}}
    tokenizer["truncation"]["direction"] = "Right"
    _write(folder / "tokenizer.json", tokenizer)
    _write(folder / "config.json", spec.config())
    (folder / "1_Pooling").mkdir(exist_ok=True)
    modes = {f"pooling_mode_{m}": m == f"{pooling}_tokens" or m == f"{pooling}_token" for m in MODES}
    _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, **modes})
    return folder


MODES = ("cls_token", "mean_tokens", "max_tokens")


def _random(name: str, shape: tuple[int, ...], generator: Any) -> Any:
    import torch

    gain = 0.3 if len(shape) == 1 else 1.5 * shape[-1] ** -0.5
    values = gain * torch.randn(shape, generator=generator)
    return values + 1 if "LayerNorm.weight" in name else values


def with_head(folder: Path, answers: tuple[str, ...], seed: int = 0, **form: Any) -> Any:
    """The encoder of `folder` with a random head."""
    import torch

    from lightbulb.models.kinds.encoder import Encoder

    bare = Encoder.from_checkpoint(folder)
    chosen = bare.form.model_copy(update={"answers": answers, "temperature": 1.5, **form})
    encoder = Encoder(bare.spec, chosen, bare.words.tokenizer)
    encoder.bert.load_state_dict(bare.bert.state_dict())
    torch.manual_seed(seed)
    for parameter in encoder.head.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return encoder.eval()


def tiny_classifier(out: Path, quant_type: str = "q8_0", answers: tuple[str, ...] = (), **form: Any) -> Any:
    """Writes `out`, a GGUF of a random encoder with a random head; returns the encoder, whose `log_probs(texts)` are
    what a runtime must give (of weights that the type rounds, nearly)."""
    import tempfile

    from lightbulb.formats.gguf.type_map import TypeMap
    from lightbulb.models.kinds.encoder_file import write_encoder

    with tempfile.TemporaryDirectory() as folder:
        encoder = with_head(tiny_encoder(Path(folder)), answers or ("colour", "bank card", "lost?"), **form)
    write_encoder(encoder, out, TypeMap(quant_type))
    return encoder


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    file, pooling, chosen_type = (*sys.argv[1:], *("mean", "f32")[len(sys.argv) - 2 :])
    made = tiny_classifier(Path(file), chosen_type, pooling=pooling)
    for text in ("Turn the kitchen lights off at 7:45, please.", "", "Où est la gare ?"):
        row = {"ids": made.words.encode([text])[0], "log_probs": made.log_probs([text])[0].tolist()}
        print(json.dumps({"text": text} | row))
