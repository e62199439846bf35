"""BERT's WordPiece tokenizer: what of tokenizer.json is taken, and how a GGUF says it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightbulb.core.errors import ModelError, UnsupportedModel

Json = dict[str, Any]
PIECE, UNKNOWN, SPECIAL = 1, 2, 3  # gguf.TokenType
WORD_BEGINS, GOES_ON = "\u2581", "##"
ROLES = {"unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]"}
OTHER_ROLES = {"pad": "[PAD]", "mask": "[MASK]"}
GGUF_ROLES = {
    "cls": ("bos", "cls"),
    "sep": ("seperator",),  # as llama.cpp spells it
    "unk": ("unknown",),
    "pad": ("padding",),
    "mask": ("mask",),
}
NORMALIZER = {
    "type": "BertNormalizer",
    "clean_text": True,
    "handle_chinese_chars": True,
    "strip_accents": None,
    "lowercase": True,
}
LONGEST_WORD = 100  # characters; a longer one is unknown


def read_wordpiece(path: Path) -> Json:
    """tokenizer.json of an uncased BERT, as it is used: nothing cut, nothing padded, special tokens by BERT's names.

    Raises:
        ModelError: it cannot be read, has no token for a role, or numbers its tokens with gaps
        UnsupportedModel: it is no WordPiece, or changes text in another way than BERT's uncased one (and llama.cpp) do
    """
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        model, vocab = read["model"], read["model"]["vocab"]
        _check_kind(read, model, path)
        added = {t["content"]: t["id"] for t in read.get("added_tokens", [])}
        numbered = sorted([*vocab.items(), *(new for new in added.items() if new[0] not in vocab)], key=lambda t: t[1])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise ModelError(
            f"cannot read the tokenizer: {e!r}",
            where=str(path),
            hint="save it with transformers' AutoTokenizer.save_pretrained",
        ) from e
    texts = [text for text, _ in numbered]
    if [i for _, i in numbered] != list(range(len(texts))) or not all(isinstance(t, str) and t for t in texts):
        raise _unusable("its tokens are not numbered from 0 without gaps", path)
    if missing := [name for name in ROLES.values() if name not in texts]:
        raise _unusable(f"it has no token {missing[0]}", path)
    return tokenizer_of(texts)


def _check_kind(read: Json, model: Json, path: Path) -> None:
    normalizer = read.get("normalizer") or {}
    strips = normalizer.get("strip_accents") in (None, True)
    same = all(normalizer.get(k) == v for k, v in NORMALIZER.items() if k != "strip_accents")
    cuts = (read.get("pre_tokenizer") or {}).get("type") == "BertPreTokenizer"
    pieces = model["type"] == "WordPiece" and model.get("continuing_subword_prefix", GOES_ON) == GOES_ON
    if not pieces or not cuts or not same or not strips:
        kind = model["type"] if not pieces else "WordPiece of another text (cased, or with accents)"
        raise UnsupportedModel(
            f"tokenizers of this kind are not supported for encoders: {kind}",
            where=str(path),
            hint="give an uncased BERT: a WordPiece tokenizer with BertNormalizer (lowercase) and BertPreTokenizer",
        )


def _unusable(what: str, path: Path) -> ModelError:
    return ModelError(
        f"this tokenizer cannot be used: {what}",
        where=str(path),
        hint="save it with transformers' AutoTokenizer.save_pretrained",
    )


def tokenizer_of(texts: list[str]) -> Json:
    """tokenizer.json of an uncased WordPiece with these tokens, whose numbers are their places."""
    ids = {text: i for i, text in enumerate(texts)}
    special = [t for t in (*ROLES.values(), *OTHER_ROLES.values()) if t in ids]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    ends = [{"SpecialToken": {"id": t, "type_id": 0}} for t in (ROLES["cls"], ROLES["sep"])]
    body = {"Sequence": {"id": "A", "type_id": 0}}
    table = {t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in (ROLES["cls"], ROLES["sep"])}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": ids[t], "content": t, **flags} for t in sorted(special, key=ids.__getitem__)],
        "normalizer": dict(NORMALIZER),
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [ends[0], body, ends[1]],
            "pair": [ends[0], body, ends[1], {"Sequence": {"id": "B", "type_id": 1}}, ends[1]],
            "special_tokens": table,
        },
        "decoder": {"type": "WordPiece", "prefix": GOES_ON, "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": ROLES["unk"],
            "continuing_subword_prefix": GOES_ON,
            "max_input_chars_per_word": LONGEST_WORD,
            "vocab": ids,
        },
    }


def tokens_of(tokenizer: Mapping[str, Any]) -> list[str]:
    """The tokens in the order of their numbers, of what `read_wordpiece` gave."""
    return list(tokenizer["model"]["vocab"])


def special_ids(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    """The numbers of special tokens by role: cls, sep, unk, and pad and mask where there are such."""
    vocab = tokenizer["model"]["vocab"]
    return {role: vocab[name] for role, name in (ROLES | OTHER_ROLES).items() if name in vocab}


def wordpiece_fields(tokenizer: Mapping[str, Any], token_types: int) -> dict[str, Any]:
    """GGUF keys -> values of a tokenizer.

    Args:
        tokenizer: tokenizer.json
        token_types: rows of the table of types
    """
    roles = special_ids(tokenizer)
    special = {i: UNKNOWN if role == "unk" else SPECIAL for role, i in roles.items()}
    texts = tokens_of(tokenizer)
    fields = {
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.token_type_count": token_types,
        "tokenizer.ggml.tokens": [t if i in special else _as_llama_cpp(t) for i, t in enumerate(texts)],
        "tokenizer.ggml.token_type": [special.get(i, PIECE) for i in range(len(texts))],
    }
    return fields | {f"tokenizer.ggml.{key}_token_id": i for role, i in roles.items() for key in GGUF_ROLES[role]}


def tokenizer_of_fields(fields: Mapping[str, Any]) -> Json:
    """tokenizer.json of the GGUF keys that `wordpiece_fields` gives.

    Raises:
        KeyError: a key is missing
        ValueError: the tokens are not those of an uncased WordPiece
    """
    texts, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    if fields["tokenizer.ggml.model"] != "bert" or len(texts) != len(types):
        raise ValueError("its tokenizer is no WordPiece")
    found = [_as_bert(text) if kind == PIECE else text for text, kind in zip(texts, types, strict=True)]
    if len(set(found)) < len(found) or not set(ROLES.values()) <= set(found):
        raise ValueError("its tokens come twice, or lack [CLS], [SEP] or [UNK]")
    return tokenizer_of(found)


def _as_bert(text: str) -> str:
    return text.removeprefix(WORD_BEGINS) if text.startswith(WORD_BEGINS) else GOES_ON + text


def _as_llama_cpp(text: str) -> str:
    return text.removeprefix(GOES_ON) if text.startswith(GOES_ON) and text != GOES_ON else WORD_BEGINS + text
