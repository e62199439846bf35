"""How tokenizers cut text into words before BPE: transformers' JSON on one side, llama.cpp's names on the other.

The regular expressions are those of the published tokenizer.json files; llama.cpp compiles its own equivalents in.
"""

from __future__ import annotations

from typing import Any

from lightbulb.core.errors import UnsupportedModel

Json = dict[str, Any]

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _bytes(use_regex: bool) -> Json:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


def _split(regex: str) -> Json:
    return {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False},
            _bytes(False),
        ],
    }


PRE_TOKENIZERS: dict[str, Json] = {
    "gpt-2": _bytes(True),
    "smollm": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, _bytes(True)]},
    "llama-bpe": _split(_LLAMA3),
    "qwen2": _split(_QWEN2),
    "tekken": _split(_TEKKEN),
}
# llama.cpp looks the whole word up before merging for these names, transformers when `ignore_merges` is set.
WHOLE_WORDS_FIRST = frozenset({"llama-bpe", "tekken"})
# Names in GGUF files that llama.cpp treats exactly like one of the above.
ALIASES = {
    "llama3": "llama-bpe",
    "llama-v3": "llama-bpe",
    "starcoder": "smollm",
    "gpt2": "gpt-2",
    "deepseek-r1-qwen": "qwen2",
}


def pre_tokenizer_json(name: str) -> Json:
    """transformers' description for a GGUF `tokenizer.ggml.pre`.

    Raises:
        UnsupportedModel: an unknown name
    """
    known = ALIASES.get(name, name)
    if known not in PRE_TOKENIZERS:
        raise UnsupportedModel(
            f"this GGUF cuts text into words in a way lightbulb does not know: {name!r}",
            hint=f"known are {', '.join([*PRE_TOKENIZERS, *ALIASES])}; or start from the "
            "transformers folder of the model",
        )
    return PRE_TOKENIZERS[known]


def pre_tokenizer_name(tokenizer: Json) -> str:
    """llama.cpp's name for the pre-tokenizer of a tokenizer.json.

    Raises:
        UnsupportedModel: it has none
    """
    shape = _shape(tokenizer.get("pre_tokenizer"))
    whole = bool(tokenizer["model"].get("ignore_merges"))
    for name, known in PRE_TOKENIZERS.items():
        if _shape(known) == shape and whole == (name in WHOLE_WORDS_FIRST):
            return name
    raise UnsupportedModel(
        "llama.cpp has no name for how this tokenizer cuts text into words",
        where="tokenizer.json, pre_tokenizer",
        hint=f"known are {', '.join(PRE_TOKENIZERS)}",
    )


def _shape(step: Json | None) -> tuple[Any, ...]:
    """What of a pre-tokenizer decides the cut, as a flat comparable tuple."""
    if step is None:
        return ()
    kind = step["type"]
    if kind == "Sequence":
        return sum((_shape(s) for s in step["pretokenizers"]), ())
    if kind == "ByteLevel":
        return (("bytes", bool(step.get("add_prefix_space")), bool(step.get("use_regex", True))),)
    if kind == "Digits":
        return (("digits", bool(step.get("individual_digits"))),)
    if kind == "Split":
        return (("split", step["pattern"].get("Regex"), step["behavior"], bool(step.get("invert"))),)
    return ((kind, str(sorted(step.items()))),)
