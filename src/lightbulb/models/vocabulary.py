"""Surgery on vocabularies: one token for every answer, and no rows for tokens that the work never uses.

Both work on tokenizer.json as JSON and on the rows of embedding and head in memory; the caller saves the model.
The number of rows stays a multiple of 8, which llama.cpp's fast Q4_0 kernels want.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from lightbulb.core.errors import ModelError
from lightbulb.core.files import write_json, write_text
from lightbulb.formats.gguf.tokenizer import (
    BYTE_TOKEN,
    SPACE,
    UNUSED_TOKEN,
    entries_of,
    is_sentencepiece,
    merges_of,
    read_tokenizer_json,
)
from lightbulb.models.families import architecture_spec, embedding_of, is_tied, part
from lightbulb.models.loading import copy_tokenizer, load_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel

ROW_MULTIPLE = 8
ID_FIELDS = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "suppress_tokens",
    "begin_suppress_tokens",
    "forced_bos_token_id",
    "forced_eos_token_id",
)
Json = dict[str, Any]


def byte_alphabet() -> list[str]:
    """The printable character that stands for each byte in byte-level BPE (Radford et al. 2019, GPT-2)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in set(printable)]
    table = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(rest)}
    return [table[b] for b in range(256)]


def add_answers(folder_in: Path, folder_out: Path, model: PreTrainedModel, answers: Sequence[str]) -> list[int]:
    """Gives every answer a token of its own; writes the tokenizer into `folder_out` and grows `model` in place.

    An answer that is one entry of the vocabulary already keeps it. Else it gets a new entry whose text is the answer,
    so decoding prints it verbatim. In byte-level BPE the entry has no merges, so text is never tokenized into it
    (except whole words in tokenizers that look words up first, `ignore_merges`). SentencePiece has no merges to leave
    out: in llama.cpp any two neighbours that spell an entry join, so there the entry gets these merges, as the last
    ones: text that ends up as the two halves becomes the answer's token, in both runtimes alike.

    New rows of embedding and head are the mean over the pieces of " " + the answer, with _ and - as spaces.

    Args:
        folder_in: of the model, with its tokenizer
        folder_out: for the new one
        model: grown in place
        answers: the closed set

    Returns:
        One token id for each answer.

    Raises:
        ModelError: an answer is empty or the text of a special token, or two answers are the same
    """
    tokenizer = read_tokenizer_json(folder_in / "tokenizer.json")
    vocab, special = tokenizer["model"]["vocab"], {t["content"]: t for t in tokenizer.get("added_tokens", [])}
    fast = load_tokenizer(folder_in)
    next_id = max(entries_of(tokenizer)) + 1
    ids: list[int] = []
    sources: dict[int, list[int]] = {}
    for answer in answers:
        if not answer or (answer in special and special[answer]["special"]):
            raise ModelError(f"the answer {answer!r} cannot be a token", hint="rename this answer in the task's data")
        text = entry_text(answer, tokenizer)
        known = special[answer]["id"] if answer in special else vocab.get(text)
        if known is None:
            known = vocab[text] = next_id
            next_id += 1
            spoken = " " + answer.replace("_", " ").replace("-", " ").strip()
            sources[known] = fast.encode(spoken, add_special_tokens=False)
        ids.append(known)
    if len(set(ids)) != len(ids):
        raise ModelError("two answers of the task are the same token", hint="give every answer its own text")
    if is_sentencepiece(tokenizer):
        _add_sentencepiece_merges(
            tokenizer, [entry_text(a, tokenizer) for a, i in zip(answers, ids, strict=True) if i in sources]
        )
    _grow(tokenizer, folder_in, folder_out, model, next_id, sources)
    return ids


def grow_vocabulary(
    tokenizer: Json, folder_in: Path, folder_out: Path, model: PreTrainedModel, entries: Mapping[str, Sequence[int]]
) -> list[int]:
    """Adds entries that no merge leads to; writes the tokenizer into `folder_out` and grows `model` in place.

    Args:
        tokenizer: tokenizer.json, changed
        folder_in: of the model
        folder_out: for the new tokenizer
        model: grown in place
        entries: as the vocabulary writes them, with the tokens whose mean is their row of embedding and head

    Returns:
        The id of each.
    """
    first = max(entries_of(tokenizer)) + 1
    ids = list(range(first, first + len(entries)))
    tokenizer["model"]["vocab"] |= dict(zip(entries, ids, strict=True))
    _grow(tokenizer, folder_in, folder_out, model, first + len(ids), dict(zip(ids, entries.values(), strict=True)))
    return ids


def _grow(
    tokenizer: Json,
    folder_in: Path,
    folder_out: Path,
    model: PreTrainedModel,
    next_id: int,
    sources: Mapping[int, Sequence[int]],
) -> None:
    rows = _padded(max(next_id, embedding_of(model).num_embeddings))
    _fill(tokenizer, next_id, rows)
    _resize(model, rows, sources)
    _write_tokenizer(tokenizer, folder_in, folder_out)


def entry_text(text: str, tokenizer: Json) -> str:
    """How the vocabulary writes `text`."""
    if is_sentencepiece(tokenizer):
        return text.replace(" ", SPACE)
    alphabet = byte_alphabet()
    return "".join(alphabet[b] for b in text.encode("utf-8"))


def _add_sentencepiece_merges(tokenizer: Json, texts: Sequence[str]) -> None:
    vocab = tokenizer["model"]["vocab"]
    pairs = [(t[:n], t[n:]) for t in texts for n in range(1, len(t)) if t[:n] in vocab and t[n:] in vocab]
    as_text = all(isinstance(m, str) for m in tokenizer["model"]["merges"])
    tokenizer["model"]["merges"] += [" ".join(p) if as_text else list(p) for p in pairs]


def trim(
    folder_in: Path,
    folder_out: Path,
    model: PreTrainedModel,
    keep_texts: Iterable[str],
    always_keep_ids: Sequence[int],
    size: int | None,
) -> list[int]:
    """Drops the vocabulary that a task never uses; writes the tokenizer, shrinks `model` in place.

    Kept: added tokens, single bytes (or characters that carry them), every token of the texts, `always_keep_ids`, and
    all that these are merged from; then the lowest-rank merges, the most general ones, up to `size` and to a multiple
    of 8. The merges that made a kept text all stay and keep their order, so its tokens stay the same: this is checked
    on every text.

    Args:
        folder_in: of the model, with its tokenizer
        folder_out: for the new one
        model: shrunk in place
        keep_texts: whose tokens stay the same
        always_keep_ids: other tokens to keep
        size: tokens to top up to; None: only what must stay

    Returns:
        The old ids in their new order (new ids keep the old order); rows beyond that are unused.

    Raises:
        ModelError: a text's tokens would change
    """
    texts = list(dict.fromkeys(keep_texts))
    tokenizer = read_tokenizer_json(folder_in / "tokenizer.json")
    before = load_tokenizer(folder_in).backend_tokenizer
    used = {i for ids in _encoded(before, texts) for i in ids}
    kept = _closure(tokenizer, before, used | set(always_keep_ids), size)
    new_id = {old: new for new, old in enumerate(kept)}
    rows = _padded(len(kept))
    cut = _cut(tokenizer, new_id, rows)
    _write_tokenizer(cut, folder_in, folder_out)
    after = load_tokenizer(folder_out).backend_tokenizer
    for text, old, new in zip(texts, _encoded(before, texts), _encoded(after, texts), strict=True):
        if [new_id.get(i) for i in old] != new:
            raise ModelError(
                f"trimming would change how this text is cut into tokens: {text[:60]!r}",
                where=str(folder_in / "tokenizer.json"),
                hint="leave the pass trim-vocab out",
            )
    _select_rows(model, kept, rows)
    _remap_ids(model, new_id)
    return kept


def _encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterable[list[int]]:
    for start in range(0, len(texts), 1000):
        for encoding in tokenizer.encode_batch(texts[start : start + 1000], add_special_tokens=True):
            yield encoding.ids


def _closure(tokenizer: Json, fast: Tokenizer, wanted: set[int], size: int | None) -> list[int]:
    """Rising old ids of what has to stay, topped up."""
    vocab: dict[str, int] = tokenizer["model"]["vocab"]
    text_of = {i: t for t, i in vocab.items()}
    merges = merges_of(tokenizer)
    parts = _derivations(merges, is_sentencepiece(tokenizer))
    kept = {t["id"] for t in tokenizer.get("added_tokens", [])}
    kept |= {i for t, i in vocab.items() if len(t) == 1 and not is_sentencepiece(tokenizer) or BYTE_TOKEN.fullmatch(t)}
    unknown = tokenizer["model"].get("unk_token")
    if unknown in vocab:
        kept.add(vocab[unknown])
    stack = list(wanted)
    while stack:
        index = stack.pop()
        if index in kept and index not in text_of:
            continue
        kept.add(index)
        for piece in parts(text_of[index]) if index in text_of else ():
            if vocab[piece] not in kept:
                stack.append(vocab[piece])
    floor = max(size or 0, len(kept))
    goal = _padded(floor)
    for left, right in merges:  # rank order: the most general first
        if len(kept) >= goal:
            break
        if vocab[left] in kept and vocab[right] in kept:
            kept.add(vocab[left + right])
    return sorted(kept)


def _derivations(merges: Sequence[tuple[str, str]], sentencepiece: bool) -> Callable[[str], list[str]]:
    """A function from a token's text to all pieces that BPE passes through on the way to it.

    Inside a longer word the same merges happen in the same order: they are chosen by rank, and none crosses the
    token's edges (or the token would not have come out).
    """
    rank = {pair: i for i, pair in enumerate(merges)}

    def pieces(text: str) -> list[str]:
        parts, seen = list(text), list(text)
        while len(parts) > 1:
            best = min(range(len(parts) - 1), key=lambda i: rank.get((parts[i], parts[i + 1]), len(rank)))
            if (parts[best], parts[best + 1]) not in rank:
                return []  # no merges lead here: an answer or an unused entry
            parts[best : best + 2] = [parts[best] + parts[best + 1]]
            seen.append(parts[best])
        return seen[:-1] if len(text) > 1 else []

    return pieces


def _cut(tokenizer: Json, new_id: dict[int, int], rows: int) -> Json:
    """tokenizer.json with the kept entries under their new ids."""
    cut = json.loads(json.dumps(tokenizer))
    vocab = {t: new_id[i] for t, i in tokenizer["model"]["vocab"].items() if i in new_id}
    cut["model"]["vocab"] = dict(sorted(vocab.items(), key=lambda item: item[1]))
    cut["model"]["merges"] = [
        m
        for m, (a, b) in zip(tokenizer["model"]["merges"], merges_of(tokenizer), strict=True)
        if a in vocab and b in vocab and a + b in vocab
    ]
    for token in cut.get("added_tokens", []):
        token["id"] = new_id[token["id"]]
    _fill(cut, len(new_id), rows)
    _remap_post_processor(cut.get("post_processor"), new_id)
    return cut


def _fill(tokenizer: Json, first: int, rows: int) -> None:
    """Unused entries for the ids from `first` up to `rows`."""
    taken = {t for t in entries_of(tokenizer).values() if UNUSED_TOKEN.fullmatch(t)}
    free = (name for n in itertools.count() if (name := f"<|unused_{n}|>") not in taken)
    for i in range(first, rows):
        tokenizer["model"]["vocab"][next(free)] = i


def _remap_post_processor(step: Json | None, new_id: dict[int, int]) -> None:
    if step is None:
        return
    for inner in step.get("processors", []):
        _remap_post_processor(inner, new_id)
    for token in step.get("special_tokens", {}).values() if isinstance(step.get("special_tokens"), dict) else ():
        token["ids"] = [new_id[i] for i in token["ids"]]
    for edge in ("sep", "cls"):  # Roberta and Bert write (text, id)
        if edge in step:
            step[edge] = [step[edge][0], new_id[step[edge][1]]]


def _write_tokenizer(tokenizer: Json, folder_in: Path, folder_out: Path) -> None:
    folder_out.mkdir(parents=True, exist_ok=True)
    copy_tokenizer(folder_in, folder_out)
    write_text(folder_out / "tokenizer.json", json.dumps(tokenizer, ensure_ascii=False))
    file = folder_out / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    if config.pop("added_tokens_decoder", None) is not None:  # holds old ids; tokenizer.json says it all
        write_json(file, config)


def _padded(rows: int) -> int:
    return -(-rows // ROW_MULTIPLE) * ROW_MULTIPLE


def _matrices(model: PreTrainedModel) -> list[Any]:
    """The modules with one row a token: embedding, and head when it is its own matrix."""
    embedding = embedding_of(model)
    return [embedding] if is_tied(model) else [embedding, part(model, architecture_spec(model.config).head)]


@torch.no_grad()
def _resize(model: PreTrainedModel, rows: int, sources: Mapping[int, Sequence[int]]) -> None:
    """Grows to `rows`. Rows in `sources` become the mean of the rows named there, other new rows the mean of all:
    an average row never has the highest logit."""
    for module in _matrices(model):
        old = module.weight.detach()
        grown = old.mean(0, keepdim=True).repeat(rows, 1)
        grown[: len(old)] = old
        for index, pieces in sources.items():
            grown[index] = (old[list(pieces)] if pieces else old).mean(0)
        _set_rows(module, grown)
    _finish(model, rows)


@torch.no_grad()
def _select_rows(model: PreTrainedModel, kept: Sequence[int], rows: int) -> None:
    for module in _matrices(model):
        old = module.weight.detach()
        cut = old.mean(0, keepdim=True).repeat(rows, 1)
        cut[: len(kept)] = old[torch.tensor(kept)]
        _set_rows(module, cut)
    _finish(model, rows)


def _set_rows(module: Any, rows: torch.Tensor) -> None:
    module.weight = nn.Parameter(rows, requires_grad=module.weight.requires_grad)
    bias = getattr(module, "bias", None)
    if bias is not None:
        raise ModelError("a head with a bias is not supported")
    for count in ("num_embeddings", "out_features"):
        if hasattr(module, count):
            setattr(module, count, rows.shape[0])


def _finish(model: PreTrainedModel, rows: int) -> None:
    if model.config.tie_word_embeddings:
        head: Any = part(model, architecture_spec(model.config).head)
        head.weight, head.out_features = embedding_of(model).weight, rows
    model.config.vocab_size = rows
    if hasattr(model, "vocab_size"):
        model.vocab_size = rows
    inner = embedding_of(model)
    if inner.padding_idx is not None and inner.padding_idx >= rows:
        inner.padding_idx = None


def _remap_ids(model: PreTrainedModel, new_id: dict[int, int]) -> None:
    """Special ids in config and generation config; an id that is gone becomes None."""
    for config in (model.config, model.generation_config):
        for name in ID_FIELDS:
            old = getattr(config, name, None)
            if isinstance(old, int):
                setattr(config, name, new_id.get(old))
            elif old is not None:
                setattr(config, name, [new_id[i] for i in old if i in new_id] or None)
    embedding = embedding_of(model)
    if embedding.padding_idx is not None:
        embedding.padding_idx = model.config.pad_token_id
