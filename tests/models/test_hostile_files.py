"""GGUF files of `bitnet` and `lightbulb-recurrent` that are cut short, damaged or hostile: importing one gives a model
or one clear error that names the file. The same in filament: filament/tests/test_mixer_files.py."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from matmulfree_files import tiny_matmulfree
from tiny import tiny_recurrent

from lightbulb.core.errors import LightbulbError
from lightbulb.formats.gguf.header import read_header
from lightbulb.formats.gguf.type_map import TypeMap
from lightbulb.models.gguf import _add, write_gguf
from lightbulb.models.gguf_shape import RECURRENT
from lightbulb.models.importing import import_model, spec_of_source
from lightbulb.models.matmulfree_gguf import BITNET
from lightbulb.models.resolve import check_contents, check_family, resolve

Fields = dict[str, Any]
Tensors = dict[str, tuple[bytes, int, tuple[int, ...]]]  # what the file holds, number of the type, shape
Change = Callable[[Fields, Tensors], Any]
F32, F16, TQ2_0 = 0, 1, 35


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole")
    attends = tiny_matmulfree(folder / "attends", ["full_attention"] * 2, tied=True)
    found = {BITNET: folder / "bitnet.gguf", RECURRENT: folder / "recurrent.gguf"}
    assert write_gguf(attends, found[BITNET], TypeMap.of("tq2_0", "f16"))["architecture"] == BITNET
    write_gguf(tiny_recurrent(folder / "recurs", mixers=("mlgru", "attention")), found[RECURRENT], "q8_0")
    return found


def changed(file: Path, out: Path, change: Change) -> Path:
    """`file` with other keys (without their architecture) and tensors."""
    header, content = read_header(file), file.read_bytes()
    architecture = header.fields.pop("general.architecture")
    fields = {key.removeprefix(f"{architecture}."): value for key, value in header.fields.items()}
    tensors = {t.name: (content[t.start : t.start + t.bytes], t.type, t.shape) for t in header.tensors}
    known = set(fields)
    change(fields, tensors)
    writer = GGUFWriter(out, architecture)
    for key, value in fields.items():
        own = f"{architecture}.{key}" in header.fields or key not in known
        _add(writer, f"{architecture}.{key}" if own else key, value)
    for name, (data, kind, shape) in tensors.items():
        number: Any = kind
        writer.add_tensor(name, np.frombuffer(data, np.int8), raw_shape=shape, raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def tried(file: Path, out: Path) -> str | None:
    """The error of all that reads a file before and while it is imported; None where it is a model."""
    try:
        source = resolve(str(file))
        check_family(source)
        check_contents(source)
        spec_of_source(source)
        import_model(source, out)
    except LightbulbError as e:
        return str(e)
    return None


def field(key: str, value: Any) -> Change:
    return lambda fields, tensors: fields.update({key: value})


def no_field(key: str) -> Change:
    return lambda fields, tensors: fields.pop(key)


def without(name: str) -> Change:
    return lambda fields, tensors: tensors.pop(f"{name}.weight")


def zeros(name: str, kind: int, *shape: int) -> Change:
    size = math.prod(shape) * {F32: 4, F16: 2}[kind] if kind in (F32, F16) else math.prod(shape) // 256 * 66
    return lambda fields, tensors: tensors.update({f"{name}.weight": (bytes(size), kind, shape)})


KEYS: list[tuple[Change, str]] = [
    *[(field("block_count", value), "block_count is ") for value in (0, 1 << 31, 1.5, "two", [1, 2])],
    (field("block_count", 1000), "it has 1000 layers, and holds"),
    *[(field("embedding_length", value), "embedding_length is ") for value in (0, 1.5, "wide", ["wide"])],
    *[(field("context_length", value), "context_length is ") for value in (0, [1, 2])],
    *[(field("rope.freq_base", value), "rope.freq_base is ") for value in (math.inf, math.nan, "low", [1.5], 0)],
    *[
        (field("attention.layer_norm_rms_epsilon", value), "layer_norm_rms_epsilon is ")
        for value in (math.inf, math.nan, "low", [1.5])
    ],
    (field("attention.head_count_kv", 3), "4 heads on 3 of keys"),
    *[(field("attention.key_length", value), "attention.key_length is ") for value in (1.5, "wide", [64], True)],
    (field("rope.dimension_count", 8), "rope.dimension_count is 8 are not read back"),
    (field("attention.value_length", 8), "attention.value_length is 8 are not read back"),
    (no_field("context_length"), "context_length is missing"),
    (no_field("embedding_length"), "embedding_length is missing"),
    (field("embedding_length", 512), "(512"),
    (field("tokenizer.ggml.tokens", "text"), "the tokens are not a list"),
    (field("tokenizer.ggml.eos_token_id", 1 << 30), "no token number"),
    (without("output_norm"), "norm"),
    (without("blk.0.attn_norm"), "norm"),
    (without("blk.1.ffn_down"), "down"),
    (zeros("token_embd", F16, 16, 256), "token_embd.weight is of the shape (16, 256)"),
    (zeros("blk.1.attn_q", F32, 8, 256), "blk.1.attn_q.weight is of the shape (8, 256)"),
    (zeros("blk.0.attn_norm", F32, 1, 8), "blk.0.attn_norm.weight is of the shape (1, 8)"),
    (zeros("blk.7.attn_norm", F32, 64), "blk.7.attn_norm.weight has no place"),
    (zeros("blk.1.odd", F32, 64), "blk.1.odd.weight has no place"),
]
HOSTILE: dict[str, list[tuple[Change, str]]] = {
    BITNET: [
        *KEYS,
        (no_field("attention.head_count"), "attention.head_count is missing"),
        (no_field("vocab_size"), "vocab_size is missing"),
        (
            lambda fields, tensors: fields.update(
                dict.fromkeys(("attention.key_length", "attention.value_length", "rope.dimension_count"), 3)
            ),
            "rows of 12 weights are no whole number of ternary blocks",
        ),
        (field("feed_forward_length", 3), "rows of 3 weights are no whole number of ternary blocks"),
        (without("blk.0.attn_sub_norm"), "norm"),
        (zeros("blk.0.attn_out_norm", F32, 256), "blk.0.attn_out_norm.weight has no place"),
        (zeros("blk.0.ffn_sub_norm", F32, 256), "blk.0.ffn_sub_norm.weight is of the shape (256,)"),
        (zeros("blk.0.attn_k", TQ2_0, 256, 256), "blk.0.attn_k.weight is of the shape (256, 256)"),
    ],
    RECURRENT: [
        *KEYS,
        (field("family", 7), "family is 7"),
        (field("family", "matmulfree"), "family is 'matmulfree'"),
        (no_field("family"), "family is missing"),
        *[
            (field("mixer", value), "a mixer for each of its 2 layers")
            for value in (["mlgru"], ["mlgru", "mamba"], "mlgru", [1, 2], ["mlgru"] * 3)
        ],
        (no_field("mixer"), "a mixer for each of its 2 layers"),
        (field("feed_forward_length", 0), "a layer without a feed-forward"),
        (field("tokenizer.ggml.tokens", ["a", "b"]), "2"),
        (without("blk.0.mix_f"), "f_proj"),
        (zeros("blk.0.mix_lower", F32, 64), "mix_lower.weight"),
        (zeros("blk.0.mix_out", F32, 64, 32), "blk.0.mix_out.weight is of the shape (64, 32)"),
        (zeros("blk.1.mix_f", F32, 64, 64), "blk.1.mix_f.weight has no place"),
    ],
}
CASES = [(name, change, said) for name, cases in HOSTILE.items() for change, said in cases]


@pytest.mark.parametrize(("name", "change", "said"), CASES, ids=[f"{name}: {said}" for name, _, said in CASES])
def test_what_cannot_be_is_one_clear_error(files, tmp_path, name, change, said):
    file = changed(files[name], tmp_path / "m.gguf", change)
    error = tried(file, tmp_path / "out")
    assert error is not None and said in error and str(file) in error
    assert not any(crude in error for crude in ("TypeError", "KeyError", "ValueError", "ValidationError"))


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_whole_is_a_model(files, tmp_path, name):
    assert tried(changed(files[name], tmp_path / "m.gguf", lambda fields, tensors: None), tmp_path / "out") is None


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_cut_anywhere_is_refused(files, tmp_path, name):
    whole, cut = files[name].read_bytes(), tmp_path / "cut.gguf"
    for length in range(0, len(whole) - 32, len(whole) // 40):
        cut.write_bytes(whole[:length])
        assert str(cut) in (tried(cut, tmp_path / "out") or "it was read")


@pytest.mark.parametrize("name", HOSTILE)
def test_damaged_bytes_give_a_model_or_one_error(files, tmp_path, name):
    """Of keys, of the tokenizer's end, of what is said of the tensors, and of all."""
    whole, damaged, rng, refused = files[name].read_bytes(), tmp_path / "damaged.gguf", random.Random(0), 0
    tensors = whole.find(b"token_embd.weight")
    for begin, end in ((0, 700), (tensors - 400, tensors), (tensors, tensors + 1200), (tensors, len(whole))):
        for _ in range(30):
            content = bytearray(whole)
            for _ in range(rng.choice([1, 2, 8])):
                content[rng.randrange(begin, end)] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
            damaged.write_bytes(content)
            error = tried(damaged, tmp_path / "out")
            refused += error is not None
            assert error is None or str(damaged) in error
    assert refused > 40
