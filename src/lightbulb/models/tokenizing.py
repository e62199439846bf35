"""What a GGUF cannot say of a tokenizer is taken out at import, and said: the model is trained on text as the programs
that run GGUF files cut it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightbulb.core.errors import UnsupportedModel
from lightbulb.core.files import write_json, write_text
from lightbulb.formats.gguf.tokenizer import SPACE, is_sentencepiece, merges_of, read_tokenizer_json, token_text
from lightbulb.models.resolve import json_object

Json = dict[str, Any]
UNICODE_FORMS = ("NFC", "NFD", "NFKC", "NFKD", "Precompiled")
ENDS = ("add_bos_token", "add_eos_token")  # of tokenizer_config.json; tokenizer.json says it, too
SHOWN = 3


def repair_tokenizer(folder: Path) -> list[str]:
    """Rewrites tokenizer.json and tokenizer_config.json in `folder` so that a GGUF holds all that decides how text is
    cut.

    Returns:
        What changed for text that a user may meet, a sentence each.

    Raises:
        UnsupportedModel: changes of text that matter and that no GGUF makes (lower case, for one)
    """
    path = folder / "tokenizer.json"
    tokenizer = read_tokenizer_json(path)
    before = json.dumps(tokenizer)
    config_path = folder / "tokenizer_config.json"
    config = json_object(config_path) if config_path.is_file() else {}
    tokenizer |= {"padding": None, "truncation": None}  # saved where the tokenizer last worked with them
    findings = [
        *_repair_normalizer(tokenizer, path),
        *_repair_spaces(tokenizer),
        *_repair_added_tokens(tokenizer),
        *_repair_ends(tokenizer, config),
    ]
    if tokenizer["model"].get("dropout"):
        tokenizer["model"]["dropout"] = None
        findings.append("the tokenizer cut text at random (dropout): it no longer does")
    if json.dumps(tokenizer) != before:
        write_text(path, json.dumps(tokenizer, ensure_ascii=False))
    if config_path.is_file():
        write_json(config_path, {k: v for k, v in config.items() if k not in ENDS})
    return findings


def _steps(step: Json | None, inner: str) -> list[Json]:
    """The steps of a normalizer, pre-tokenizer or post-processor, sequences within sequences laid flat."""
    if step is None:
        return []
    return [s for each in step[inner] for s in _steps(each, inner)] if step["type"] == "Sequence" else [step]


def _joined(steps: list[Json], inner: str) -> Json | None:
    if len(steps) < 2:
        return steps[0] if steps else None
    return {"type": "Sequence", inner: steps}


def _repair_normalizer(tokenizer: Json, path: Path) -> list[str]:
    """Unicode forms go: text that has the form already, as most has, gives the same tokens."""
    steps = _steps(tokenizer.get("normalizer"), "normalizers")
    gone = [s["type"] for s in steps if s["type"] in UNICODE_FORMS]
    kept = [s for s in steps if s["type"] not in UNICODE_FORMS]
    allowed = ("Prepend", "Replace") if is_sentencepiece(tokenizer) else ()
    if strange := [s["type"] for s in kept if s["type"] not in allowed]:
        raise UnsupportedModel(
            f"llama.cpp cannot change text as this tokenizer does ({strange[0]})",
            where=str(path),
            hint="use a model whose tokenizer leaves text as it is",
        )
    if gone:
        tokenizer["normalizer"] = _joined(kept, "normalizers")
    forms = [kind for kind in gone if kind != "NFC"]
    return [f"the tokenizer changed text before it cut it ({', '.join(forms)}): it no longer does"] if forms else []


def _repair_spaces(tokenizer: Json) -> list[str]:
    """A space before the text is put by llama.cpp before every piece between special tokens, or before none: what a
    normalizer does. Metaspace looks at what is there already, or at the first piece only."""
    findings = []
    steps = _steps(tokenizer.get("pre_tokenizer"), "pretokenizers")
    for step in steps:
        if step["type"] == "ByteLevel" and step.get("add_prefix_space"):
            step["add_prefix_space"] = False
            findings.append("the tokenizer put a space before every text: it no longer does")
        if step["type"] == "Metaspace" and step.get("prepend_scheme") == "first":
            findings.append("the tokenizer put a space before the first word only: now behind special tokens, too")
    spaces = [s for s in steps if s["type"] == "Metaspace"]
    if spaces and is_sentencepiece(tokenizer):
        normalizers = _steps(tokenizer.get("normalizer"), "normalizers")
        if not any(n["type"] == "Replace" for n in normalizers):
            normalizers.append({"type": "Replace", "pattern": {"String": " "}, "content": SPACE})
        if _prepends(spaces[0]) and not any(n["type"] == "Prepend" for n in normalizers):
            normalizers.insert(0, {"type": "Prepend", "prepend": SPACE})
        tokenizer["normalizer"] = _joined(normalizers, "normalizers")
        tokenizer["pre_tokenizer"] = _joined([s for s in steps if s["type"] != "Metaspace"], "pretokenizers")
    return findings


def _prepends(metaspace: Json) -> bool:
    """Older files say it as add_prefix_space."""
    return metaspace.get("prepend_scheme", "always" if metaspace.get("add_prefix_space", True) else "never") != "never"


def _repair_added_tokens(tokenizer: Json) -> list[str]:
    """llama.cpp finds added tokens anywhere, and takes nothing around them. One that stood for a whole word only is
    given up, unless it is special: within words it would break what they are cut into."""
    alone, greedy = [], []
    for token in tokenizer.get("added_tokens", []):
        if token.get("single_word"):
            alone.append(token)
        if token.get("lstrip") or token.get("rstrip"):
            greedy.append(token)
        token |= dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    gone = [t for t in alone if not t["special"]]
    merged = {a + b for a, b in merges_of(tokenizer)}
    for token in gone:
        tokenizer["added_tokens"].remove(token)
        if token["content"] not in merged:
            tokenizer["model"]["vocab"].pop(token["content"], None)
    findings = []
    if gone:
        findings.append(f"added tokens that stood for whole words only are spelled as other words are: {_named(gone)}")
    if kept := [t for t in alone if t["special"]]:
        findings.append(f"special tokens that stood alone only are found within words, too: {_named(kept)}")
    if greedy := [t for t in greedy if t not in gone]:
        findings.append(f"added tokens no longer take the blanks around them: {_named(greedy)}")
    return findings


def _named(tokens: list[Json]) -> str:
    more = f" and {len(tokens) - SHOWN} more" if len(tokens) > SHOWN else ""
    return ", ".join(repr(t["content"]) for t in tokens[:SHOWN]) + more


def _repair_ends(tokenizer: Json, config: Json) -> list[str]:
    """Before a text a GGUF puts one token or none, behind it none here: a prompt is to be written on."""
    from tokenizers import Tokenizer

    library = Tokenizer.from_str(json.dumps(tokenizer))
    bare = library.encode("x", add_special_tokens=False).ids
    ids = library.encode("x").ids
    start = ids.index(bare[0])
    head, tail = ids[:start], ids[start + len(bare) :]
    texts = [str(library.id_to_token(i)) for i in (*head, *tail)]
    findings = []
    if tail:
        findings.append(f"the tokenizer put {texts[-1]} behind every text, prompts too: it no longer does")
    if len(head) > 1:
        findings.append(f"the tokenizer put {' '.join(texts[: len(head)])} before every text: it no longer does")
        head = []
    if head and token_text(config.get("bos_token")) != texts[0]:
        config["bos_token"] = texts[0]  # what a GGUF puts before a text is its BOS
    tokenizer["post_processor"] = _begins_with(texts[0], head[0]) if head else None
    return findings


def _begins_with(text: str, index: int) -> Json:
    special, a, b = (
        {"SpecialToken": {"id": text, "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"Sequence": {"id": "B", "type_id": 0}},
    )
    return {
        "type": "TemplateProcessing",
        "single": [special, a],
        "pair": [special, a, special, b],
        "special_tokens": {text: {"id": text, "ids": [index], "tokens": [text]}},
    }
