"""Whether the tokenizer in a GGUF holds together: llama.cpp ends the whole process on some that do not, and the
tokenizers library answers others with a traceback."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightbulb.core.errors import ModelError

KEY = "tokenizer.ggml."
TYPES = range(7)  # of gguf.TokenType, and 0 for none
NEEDED = ("bos", "eos")  # special tokens that must exist where they are named; of others llama.cpp takes no notice
KINDS: dict[str, type] = {"model": str, "pre": str, "add_bos_token": bool, "add_eos_token": bool}
BYTES = [f"<0x{b:02X}>" for b in range(256)]
Bad = Callable[[str, str], ModelError]  # (key, what is wrong with it)


def check_tokenizer_fields(fields: Mapping[str, Any], file: Path) -> None:
    """Refuses a tokenizer that would mislead what reads it. A file without a tokenizer, and kinds of tokenizers that
    are not read, pass: that is said elsewhere.

    Args:
        fields: of the header
        file: named in errors

    Raises:
        ModelError: its entries are not of the right kinds, or do not fit each other
    """

    def bad(key: str, what: str) -> ModelError:
        return ModelError(
            f"the tokenizer in {file.name} is damaged: {what}",
            where=f"{file}, {KEY}{key}",
            hint="download or export the file again",
        )

    texts = fields.get(f"{KEY}tokens")
    if texts is None:
        return
    known = _check_tokens(texts, bad)
    _check_kinds(fields, file, bad)
    _check_lists(fields, len(texts), bad)
    for role in NEEDED:
        index = fields.get(f"{KEY}{role}_token_id")
        if index is not None and (
            isinstance(index, bool) or not isinstance(index, int) or index not in range(len(texts))
        ):
            raise bad(f"{role}_token_id", f"there is no token number {_short(index)} among {len(texts):,}")
    words = fields.get(f"{KEY}model")
    if words == "gpt2":
        _check_merges(fields.get(f"{KEY}merges"), known, bad)
    elif words == "llama":
        _check_pieces(fields, known, bad)


def _check_tokens(texts: Any, bad: Bad) -> dict[str, int]:
    """The number of each token."""
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise bad("tokens", "the tokens are not a list of texts")
    known = {t: i for i, t in enumerate(texts)}
    if twice := next((t for i, t in enumerate(texts) if t and known[t] != i), None):
        raise bad("tokens", f"the token {_short(twice)} is there twice")
    return known


def _check_kinds(fields: Mapping[str, Any], file: Path, bad: Bad) -> None:
    """Of single values."""
    for key, kind in KINDS.items():
        if not isinstance(fields.get(KEY + key, kind()), kind):
            raise bad(key, f"{_short(fields[KEY + key])} is no {'text' if kind is str else 'yes or no'}")
    if not isinstance(fields.get("tokenizer.chat_template", ""), str):
        raise ModelError(
            f"the chat template in {file.name} is no text",
            where=f"{file}, tokenizer.chat_template",
            hint="download or export the file again",
        )


def _check_lists(fields: Mapping[str, Any], tokens: int, bad: Bad) -> None:
    """Of what each token has."""
    for key, numbers in (("token_type", int), ("scores", (int, float))):
        values = fields.get(KEY + key)
        if values is None:
            continue
        if not isinstance(values, list) or len(values) != tokens:
            count = len(values) if isinstance(values, list) else 1
            raise bad(key, f"{tokens:,} tokens, and {count:,} entries here")
        if strange := [v for v in values if isinstance(v, bool) or not isinstance(v, numbers) or v != v]:
            raise bad(key, f"{_short(strange[0])} is no number")
        if key == "token_type" and (strange := [v for v in values if v not in TYPES]):
            raise bad(key, f"there is no type {strange[0]} of tokens")


def _check_pieces(fields: Mapping[str, Any], known: Mapping[str, int], bad: Bad) -> None:
    if fields.get(f"{KEY}scores") is None:
        raise bad("scores", "it has no scores, which say what is joined first")
    if missing := [b for b in BYTES if b not in known and chr(int(b[3:5], 16)) not in known]:
        raise bad("tokens", f"there is no token for the byte {missing[0]}")


def _check_merges(merges: Any, known: Mapping[str, int], bad: Bad) -> None:
    if merges is None:
        raise bad("merges", "it has none, which say what is joined")
    if not isinstance(merges, list):
        raise bad("merges", "they are not a list of texts")
    for number, merge in enumerate(merges):
        if not isinstance(merge, str):
            raise bad("merges", f"merge {number} is no text")
        left, space, right = merge.partition(" ")
        if not (left and space and right):
            raise bad("merges", f"merge {number}, {_short(merge)}, does not name two tokens")
        for text in (left, right, left + right):
            if text not in known:
                raise bad("merges", f"merge {number}, {_short(merge)}, names {_short(text)}, which is no token")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
