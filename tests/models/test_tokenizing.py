"""What a GGUF cannot say of a tokenizer is gone after import: both runtimes cut text alike, and the user is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny import tiny_model

from lightbulb.core.errors import UnsupportedModel
from lightbulb.models.gguf import write_gguf
from lightbulb.models.importing import import_model
from lightbulb.models.loading import load_tokenizer
from lightbulb.models.resolve import resolve
from lightbulb.runtimes import open_gguf

TEXTS = [
    "lamp and lam, a lam in the kitchen",
    "the  <item> light <item>  off",
    "turn <|im_start|> it off <|im_end|> now",
    "Straße, naïve café 21.5 degrees",
    "  two blanks\n\nand lines",
]


def flags(**true) -> dict:
    return dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False) | true


def added(content: str, **true):
    def change(t):
        index = max(max(t["model"]["vocab"].values()), *(a["id"] for a in t["added_tokens"])) + 1
        t["added_tokens"].append({"id": index, "content": content, **flags(**true)})

    return change


def around(*pieces: str):
    """A post-processor that puts special tokens around the text (A)."""

    def change(t):
        ids = {a["content"]: a["id"] for a in t["added_tokens"]}
        single = [
            {"Sequence": {"id": "A", "type_id": 0}} if p == "A" else {"SpecialToken": {"id": p, "type_id": 0}}
            for p in pieces
        ]
        special = {p: {"id": p, "ids": [ids[p]], "tokens": [p]} for p in set(pieces) - {"A"}}
        pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}]
        t["post_processor"] = {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": special}

    return change


def roberta(t):
    ids = {a["content"]: a["id"] for a in t["added_tokens"]}
    t["post_processor"] = {
        "type": "RobertaProcessing",
        "sep": ["<|im_end|>", ids["<|im_end|>"]],
        "cls": ["<|endoftext|>", ids["<|endoftext|>"]],
        "trim_offsets": True,
        "add_prefix_space": False,
    }


def normalizer(*kinds: str):
    def change(t):
        before = [t["normalizer"]] if t.get("normalizer") else []
        t["normalizer"] = {"type": "Sequence", "normalizers": [*({"type": k} for k in kinds), *before]}

    return change


def metaspace(scheme: str):
    def change(t):
        t["normalizer"] = None
        t["pre_tokenizer"] = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": False}

    return change


def prefix_space(t):
    for step in t["pre_tokenizer"].get("pretokenizers", [t["pre_tokenizer"]]):
        if step["type"] == "ByteLevel":
            step["add_prefix_space"] = True


def dropout(t):
    t["model"]["dropout"] = 0.5


ODD = {
    "adds-eos": ("llama", around("A", "<|im_end|>"), "behind every text"),
    "adds-both": ("llama", around("<|endoftext|>", "A", "<|im_end|>"), "behind every text"),
    "roberta": ("qwen2", roberta, "behind every text"),
    "two-before": ("llama", around("<|endoftext|>", "<|im_start|>", "A"), "before every text"),
    "another-before": ("llama", around("<|im_start|>", "A"), None),
    "sentencepiece-adds-eos": ("mistral", around("<|endoftext|>", "A", "<|im_end|>"), "behind every text"),
    "single-word": ("llama", added("lam", single_word=True), "'lam'"),
    "single-word-sentencepiece": ("mistral", added("lam", single_word=True), "'lam'"),
    "single-word-special": ("llama", added("<item>", single_word=True, special=True), "'<item>'"),
    "eats-blanks": ("llama", added("<item>", lstrip=True, rstrip=True), "'<item>'"),
    "eats-blanks-special": ("mistral", added("<item>", rstrip=True, special=True), "'<item>'"),
    "normalized": ("mistral", added("<item>", normalized=True), None),
    "nfkc": ("llama", normalizer("NFKC"), "NFKC"),
    "nfkc-sentencepiece": ("mistral", normalizer("NFKC"), "NFKC"),
    "nfc": ("qwen2", normalizer("NFC"), None),
    "first-word": ("mistral", metaspace("first"), "first word"),
    "always": ("mistral", metaspace("always"), None),
    "never": ("mistral", metaspace("never"), None),
    "prefix-space": ("llama", prefix_space, "space before every text"),
    "dropout": ("llama", dropout, "at random"),
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {f: tiny_model(folder / f, f, vocabulary=500, layers=1) for f in ("llama", "mistral", "qwen2")}


def with_tokenizer(base: Path, folder: Path, change) -> Path:
    """The model with a changed tokenizer, and rows enough for it."""
    shutil.copytree(base, folder)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    change(tokenizer)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    return folder


@pytest.mark.parametrize("name", ODD)
def test_both_runtimes_cut_text_alike_after_import(bases, tmp_path, name):
    family, change, told = ODD[name]
    folder = with_tokenizer(bases[family], tmp_path / "odd", change)
    facts = import_model(resolve(str(folder)), tmp_path / "model")
    write_gguf(tmp_path / "model", tmp_path / "model.gguf", "f16")
    tokenizer, shipped = load_tokenizer(tmp_path / "model"), open_gguf(tmp_path / "model.gguf")
    try:
        for text in TEXTS:
            assert tokenizer(text).input_ids == shipped.tokenize(text), text
            assert tokenizer(text).input_ids[-1] != tokenizer.eos_token_id or text.endswith(tokenizer.eos_token)
    finally:
        shipped.close()
    assert bool(facts["findings"]) == (told is not None)
    assert told is None or any(told in finding for finding in facts["findings"])


def test_a_plain_tokenizer_is_left_as_it_is(bases, tmp_path):
    facts = import_model(resolve(str(bases["llama"])), tmp_path / "model")
    assert facts["findings"] == []
    assert (tmp_path / "model" / "tokenizer.json").read_bytes() == (bases["llama"] / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("kind", ["Lowercase", "StripAccents"])
def test_changes_of_text_that_matter_are_refused_and_the_users_file_named(bases, tmp_path, kind):
    folder = with_tokenizer(bases["llama"], tmp_path / "odd", normalizer(kind))
    with pytest.raises(UnsupportedModel, match=kind) as e:
        import_model(resolve(str(folder)), tmp_path / "model")
    assert e.value.where == str(folder / "tokenizer.json") and e.value.hint
