"""A damaged tokenizer in a GGUF is one clear error in every runtime, and at import."""

from __future__ import annotations

import math

import numpy as np
import pytest
from gguf import GGUFReader, GGUFValueType, GGUFWriter
from tiny import tiny_model

from lightbulb.api import validate_model
from lightbulb.cli import main
from lightbulb.formats.gguf.tokenizer_check import check_tokenizer_fields
from lightbulb.models.gguf import write_gguf
from lightbulb.models.gguf_info import read_fields

KEY = "tokenizer.ggml."
TEXTS, INTS, FLOATS = GGUFValueType.STRING, GGUFValueType.INT32, GGUFValueType.FLOAT32


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    made = {}
    for family in ("llama", "mistral"):
        made[family] = folder / f"{family}.gguf"
        write_gguf(tiny_model(folder / family, family, layers=1), made[family], "f16")
    return made


def rewritten(source, out, key, value, kind, inner=None):
    """`source` with another value of one key."""
    reader, writer = GGUFReader(source), GGUFWriter(out, "llama")
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name not in ("general.architecture", key):
            array = field.types[0] == GGUFValueType.ARRAY
            writer.add_key_value(field.name, field.contents(), field.types[0], field.types[-1] if array else None)
    if value is not None:
        writer.add_key_value(key, value, kind if inner is None else GGUFValueType.ARRAY, inner)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, np.array(tensor.data), raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


DAMAGE = {
    "merge-absent": ("llama", "merges", lambda v: [*v, "zzq qqz"], TEXTS, "'zzq'"),
    "merge-without-space": ("llama", "merges", lambda v: [*v, "abc"], TEXTS, "two tokens"),
    "merge-half": ("llama", "merges", lambda v: [*v[:3], " a"], TEXTS, "two tokens"),
    "merges-numbers": ("llama", "merges", lambda v: list(range(5)), INTS, "no text"),
    "merges-gone": ("llama", "merges", lambda v: None, TEXTS, "none"),
    "tokens-numbers": ("llama", "tokens", lambda v: list(range(len(v))), INTS, "list of texts"),
    "tokens-twice": ("llama", "tokens", lambda v: [*v[:-1], v[40]], TEXTS, "twice"),
    "types-short": ("llama", "token_type", lambda v: v[:-5], INTS, "entries"),
    "types-wild": ("mistral", "token_type", lambda v: [99] * len(v), INTS, "no type 99"),
    "types-floats": ("llama", "token_type", lambda v: [1.5] * len(v), FLOATS, "no number"),
    "scores-short": ("mistral", "scores", lambda v: v[:-3], FLOATS, "entries"),
    "scores-texts": ("mistral", "scores", lambda v: ["x"] * len(v), TEXTS, "no number"),
    "scores-nan": ("mistral", "scores", lambda v: [math.nan] * len(v), FLOATS, "no number"),
    "scores-gone": ("mistral", "scores", lambda v: None, FLOATS, "no scores"),
    "byte-gone": ("mistral", "tokens", lambda v: ["w" + t if t == "<0x0A>" else t for t in v], TEXTS, "<0x0A>"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_tokenizer_is_one_clear_error_everywhere(files, tmp_path, capfd, name):
    family, key, change, inner, told = DAMAGE[name]
    before = read_fields(files[family])[KEY + key]
    file = rewritten(files[family], tmp_path / "odd.gguf", KEY + key, change(before), None, inner)
    for command in (["ask", str(file), "hello", "--runtime", r] for r in ("filament", "llamacpp")):
        if "filament" in command:
            pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
        assert main(command) == 2
        err = capfd.readouterr().err
        assert err.count("error: ") == 1 and told in err and f"{KEY}{key}" in err and "Traceback" not in err
    with pytest.raises(Exception, match=told):
        validate_model(str(file))


@pytest.mark.parametrize("index, kind", [(999_999, GGUFValueType.UINT32), ("x", TEXTS), (-1, INTS)])
def test_an_end_that_is_no_token(files, tmp_path, capfd, index, kind):
    file = rewritten(files["llama"], tmp_path / "odd.gguf", f"{KEY}eos_token_id", index, kind)
    assert main(["ask", str(file), "hello"]) == 2
    assert "no token number" in capfd.readouterr().err


def test_padding_that_is_no_token_is_nobodys_business(files, tmp_path):
    """llama.cpp takes no notice of it, and neither do answers."""
    file = rewritten(
        files["llama"], tmp_path / "odd.gguf", f"{KEY}padding_token_id", 4_294_967_295, GGUFValueType.UINT32
    )
    check_tokenizer_fields(read_fields(file), file)
    assert validate_model(str(file)).gguf == file


def test_whole_files_pass(files):
    for file in files.values():
        check_tokenizer_fields(read_fields(file), file)
