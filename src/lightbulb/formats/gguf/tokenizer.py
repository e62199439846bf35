"""The tokenizer inside a GGUF: written from tokenizer.json, and read back into one.

Two kinds: "gpt2" (byte-level BPE with merges) and "llama" (SentencePiece BPE with byte fallback, which has scores
instead of merges: the pair whose union scores highest is joined first).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightbulb.core.errors import ModelError, UnsupportedModel
from lightbulb.formats.gguf.pretokenizers import WHOLE_WORDS_FIRST, pre_tokenizer_json, pre_tokenizer_name
from lightbulb.formats.gguf.tokenizer_check import check_tokenizer_fields

Json = dict[str, Any]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6  # gguf.TokenType
SPACE = "\u2581"  # SentencePiece writes a space as a low line
BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")
UNUSED_TOKEN = re.compile(r"<\|unused_\d+\|>|\[PAD\d+\]")
ROLES = ("bos", "eos", "unk", "pad")
GGUF_ROLE = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}


def tokenizer_fields(folder: Path, rows: int) -> dict[str, Any]:
    """GGUF keys -> values for the tokenizer of a model folder.

    Args:
        folder: of the model
        rows: of its embedding

    Raises:
        ModelError: the tokenizer has more entries than rows
        UnsupportedModel: llama.cpp cannot express it
    """
    path = folder / "tokenizer.json"
    tokenizer = read_tokenizer_json(path)
    texts, types = _texts_and_types(tokenizer, rows, path)
    if is_sentencepiece(tokenizer):
        fields = {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.pre": "default",
            "tokenizer.ggml.tokens": texts,
            "tokenizer.ggml.scores": _scores(tokenizer, texts),
            "tokenizer.ggml.token_type": types,
            "tokenizer.ggml.add_space_prefix": _adds_space(tokenizer),
        }
    else:
        _check_normalizer(tokenizer, path)
        fields = {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": pre_tokenizer_name(tokenizer),
            "tokenizer.ggml.tokens": texts,
            "tokenizer.ggml.token_type": types,
            "tokenizer.ggml.merges": [" ".join(pair) for pair in merges_of(tokenizer)],
        }
    return fields | _special_fields(folder, tokenizer)


def _check_normalizer(tokenizer: Json, path: Path) -> None:
    """llama.cpp changes no text before it cuts it. NFC (Qwen) is let through: `import_model` takes it out, and ordinary
    text is NFC already."""
    kind = (tokenizer.get("normalizer") or {"type": "NFC"})["type"]
    if kind != "NFC":
        raise UnsupportedModel(f"llama.cpp cannot change text as this tokenizer does ({kind})", where=str(path))


def read_tokenizer_json(path: Path) -> Json:
    """tokenizer.json with a BPE model.

    Raises:
        ModelError: it cannot be read
        UnsupportedModel: it is no BPE
    """
    try:
        tokenizer = json.loads(path.read_text(encoding="utf-8"))
        kind = tokenizer["model"]["type"]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise ModelError(
            f"cannot read the tokenizer: {e!r}",
            where=str(path),
            hint="save it with transformers' AutoTokenizer.save_pretrained",
        ) from e
    if kind != "BPE":
        raise UnsupportedModel(
            f"tokenizers of the kind {kind} are not supported",
            where=str(path),
            hint="BPE works: byte-level, or SentencePiece with byte_fallback",
        )
    return tokenizer


def is_sentencepiece(tokenizer: Json) -> bool:
    """Whether it falls back to bytes, as SentencePiece's BPE does (else it is byte-level)."""
    return bool(tokenizer["model"].get("byte_fallback"))


def merges_of(tokenizer: Json) -> list[tuple[str, str]]:
    """Merges in rank order; tokenizer.json writes them as pairs or as "a b"."""
    merges = tokenizer["model"]["merges"]
    pairs = (m.split(" ", 1) if isinstance(m, str) else m for m in merges)
    return [(left, right) for left, right in pairs]


def entries_of(tokenizer: Json) -> dict[int, str]:
    """id -> text over vocabulary and added tokens."""
    entries = {i: text for text, i in tokenizer["model"]["vocab"].items()}
    return entries | {t["id"]: t["content"] for t in tokenizer.get("added_tokens", [])}


def _texts_and_types(tokenizer: Json, rows: int, path: Path) -> tuple[list[str], list[int]]:
    entries = entries_of(tokenizer)
    if max(entries) >= rows:
        raise ModelError(f"the tokenizer has ids up to {max(entries)}, the embedding only {rows} rows", where=str(path))
    added = {t["id"]: t for t in tokenizer.get("added_tokens", [])}
    unknown = tokenizer["model"].get("unk_token")
    texts = [entries.get(i, f"[PAD{i}]") for i in range(rows)]
    types = []
    for i, text in enumerate(texts):
        if is_sentencepiece(tokenizer) and text == unknown:
            types.append(UNKNOWN)
        elif i in added:
            types.append(CONTROL if added[i]["special"] else USER_DEFINED)
        elif i not in entries or UNUSED_TOKEN.fullmatch(text):
            types.append(UNUSED)
        elif is_sentencepiece(tokenizer) and BYTE_TOKEN.fullmatch(text):
            types.append(BYTE)
        else:
            types.append(NORMAL)
    return texts, types


def _scores(tokenizer: Json, texts: Sequence[str]) -> list[float]:
    """Minus the rank of the first merge that makes a token, so llama.cpp joins pairs in the order of the merges."""
    rank: dict[str, int] = {}
    for i, (left, right) in enumerate(merges_of(tokenizer)):
        rank.setdefault(left + right, i)
    return [float(-rank.get(text, 0)) for text in texts]


def _adds_space(tokenizer: Json) -> bool:
    """True when a space is put before the text (Llama 2, Mistral v0.1; not Gemma)."""
    text = json.dumps([tokenizer.get("normalizer"), tokenizer.get("pre_tokenizer")])
    never = '"prepend_scheme": "never"' in text
    never |= '"prepend_scheme"' not in text and '"add_prefix_space": false' in text  # as older files say it
    return '"Prepend"' in text or ('"Metaspace"' in text and not never)


def _special_fields(folder: Path, tokenizer: Json) -> dict[str, Any]:
    config_file = folder / "tokenizer_config.json"
    config = json.loads(config_file.read_text(encoding="utf-8")) if config_file.is_file() else {}
    ids = {text: i for i, text in entries_of(tokenizer).items()}
    fields: dict[str, Any] = {}
    for role in ROLES:
        text = token_text(config.get(f"{role}_token"))
        if text in ids:
            fields[f"tokenizer.ggml.{GGUF_ROLE[role]}_token_id"] = ids[text]
    fields["tokenizer.ggml.add_bos_token"], fields["tokenizer.ggml.add_eos_token"] = added_ends(tokenizer)
    template = chat_template_of(folder)
    if template is not None:
        fields["tokenizer.chat_template"] = template
    return fields


def token_text(token: Any) -> str | None:
    """The text of a special token, which configs write as a string or as {"content": ...}."""
    return token.get("content") if isinstance(token, Mapping) else token


def chat_template_of(folder: Path) -> str | None:
    """The chat template as written in chat_template.jinja or tokenizer_config.json, byte for byte."""
    beside = folder / "chat_template.jinja"
    if beside.is_file():
        return beside.read_bytes().decode("utf-8")
    config_file = folder / "tokenizer_config.json"
    if not config_file.is_file():
        return None
    template = json.loads(config_file.read_text(encoding="utf-8")).get("chat_template")
    if isinstance(template, list):  # several named templates
        template = {t["name"]: t["template"] for t in template}.get("default")
    return template


def added_ends(tokenizer: Json) -> tuple[bool, bool]:
    """(a token is put before every text, one is put after it), by the post-processor."""

    def ends(step: Json | None) -> tuple[bool, bool]:
        if step is None:
            return False, False
        if step["type"] == "Sequence":
            found = [ends(s) for s in step["processors"]]
            return any(f[0] for f in found), any(f[1] for f in found)
        if step["type"] == "TemplateProcessing":
            kinds = ["SpecialToken" in piece for piece in step["single"]]
            return kinds[0], kinds[-1]
        return False, False

    return ends(tokenizer.get("post_processor"))


def tokenizer_from_gguf(fields: Mapping[str, Any], file: Path) -> tuple[Json, Json]:
    """What transformers reads, from GGUF keys -> values. Special tokens become added tokens; the pre-tokenizer comes
    from `tokenizer.ggml.pre`; the chat template is kept as it is.

    Args:
        fields: of the header
        file: named in errors

    Returns:
        (tokenizer.json, tokenizer_config.json).

    Raises:
        UnsupportedModel: a kind of tokenizer other than gpt2 and llama
        ModelError: a damaged one
    """
    check_tokenizer_fields(fields, file)
    texts: list[str] = fields["tokenizer.ggml.tokens"]
    types: list[int] = fields.get("tokenizer.ggml.token_type") or [NORMAL] * len(texts)
    kind = fields.get("tokenizer.ggml.model")
    if kind == "gpt2":
        tokenizer = _byte_level(texts, fields)
    elif kind == "llama":
        tokenizer = _sentencepiece(texts, types, fields)
    else:
        raise UnsupportedModel(
            f"GGUF tokenizers of the kind {kind!r} are not supported",
            where=str(file),
            hint="gpt2 and llama work; or start from the transformers folder of the model",
        )
    tokenizer["added_tokens"] = [
        {
            "id": i,
            "content": text,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind_ != USER_DEFINED,
        }
        for i, (text, kind_) in enumerate(zip(texts, types, strict=True))
        if kind_ in (CONTROL, USER_DEFINED, UNKNOWN)
    ]
    config: Json = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000_000,
    }
    for role in ROLES:
        index = fields.get(f"tokenizer.ggml.{GGUF_ROLE[role]}_token_id")
        if isinstance(index, int) and 0 <= index < len(texts):
            config[f"{role}_token"] = texts[index]
    if fields.get("tokenizer.chat_template"):
        config["chat_template"] = fields["tokenizer.chat_template"]
    _add_ends(tokenizer, config, fields, texts)
    return tokenizer, config


def _byte_level(texts: Sequence[str], fields: Mapping[str, Any]) -> Json:
    pre = fields.get("tokenizer.ggml.pre", "gpt-2")
    merges = [m.split(" ", 1) for m in fields["tokenizer.ggml.merges"]]
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": pre in WHOLE_WORDS_FIRST or pre in ("llama3", "llama-v3"),
        "vocab": {t: i for i, t in enumerate(texts)},
        "merges": merges,
    }
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer_json(pre),
        "post_processor": None,
        "decoder": bytes_,
        "model": model,
    }


def _sentencepiece(texts: Sequence[str], types: Sequence[int], fields: Mapping[str, Any]) -> Json:
    scores = fields["tokenizer.ggml.scores"]
    vocab = {t: i for i, t in enumerate(texts)}
    pieces = {t for t, kind in zip(texts, types, strict=True) if kind == NORMAL}
    merges: list[tuple[float, int, int, list[str]]] = []
    for i, (text, kind) in enumerate(zip(texts, types, strict=True)):
        splits = [(text[:n], text[n:]) for n in range(1, len(text))] if kind == NORMAL else []
        merges += [(-scores[i], vocab[a], vocab[b], [a, b]) for a, b in splits if a in pieces and b in pieces]
    unknown = next((t for t, kind in zip(texts, types, strict=True) if kind == UNKNOWN), None)
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": unknown,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": True,
        "ignore_merges": False,
        "vocab": vocab,
        "merges": [m[3] for m in sorted(merges, key=lambda m: m[:3])],
    }
    prefix = bool(fields.get("tokenizer.ggml.add_space_prefix", True))
    to_line = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    normalizer = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, to_line]}
    decoders: list[Json] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if prefix:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": normalizer if prefix else to_line,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": model,
    }


def _add_ends(tokenizer: Json, config: Json, fields: Mapping[str, Any], texts: Sequence[str]) -> None:
    """A post-processor that puts BOS and EOS where the GGUF asks for them."""
    by_default = fields.get("tokenizer.ggml.model") == "llama" or tokenizer["model"]["ignore_merges"]
    wanted = {
        "bos": bool(fields.get("tokenizer.ggml.add_bos_token", by_default)),
        "eos": bool(fields.get("tokenizer.ggml.add_eos_token", False)),
    }
    ends = {role: config[f"{role}_token"] for role, wish in wanted.items() if wish and f"{role}_token" in config}
    if not ends:
        return

    def around(name: str, kind: int) -> list[Json]:
        body: list[Json] = [{"Sequence": {"id": name, "type_id": kind}}]
        special = {role: {"SpecialToken": {"id": text, "type_id": kind}} for role, text in ends.items()}
        return [*([special["bos"]] if "bos" in special else []), *body, *([special["eos"]] if "eos" in special else [])]

    table = {text: {"id": text, "ids": [texts.index(text)], "tokens": [text]} for text in ends.values()}
    tokenizer["post_processor"] = {
        "type": "TemplateProcessing",
        "single": around("A", 0),
        "pair": around("A", 0) + around("B", 1),
        "special_tokens": table,
    }
