"""Files that are cut short, damaged or hostile: one clear error each, never a crash."""

from __future__ import annotations

import pytest
from loading import tried
from random_models import SMALL, Shape, Type, damaged_headers, damaged_weights, write_model


def test_a_file_cut_anywhere_is_refused(tmp_path):
    whole = write_model(tmp_path / "m.gguf", Type.Q8_0, SMALL).read_bytes()
    cut = tmp_path / "cut.gguf"
    assert tried(tmp_path / "m.gguf") is None
    for length in [*range(0, 600, 7), *range(600, len(whole) - 40, 97)]:
        cut.write_bytes(whole[:length])
        assert (said := tried(cut)) and str(cut) in said


def test_damaged_headers_do_no_harm(tmp_path):
    """Bytes of the header turned into others: most are refused, some still make a model."""
    damaged, refused = tmp_path / "damaged.gguf", 0
    for content in damaged_headers(write_model(tmp_path / "m.gguf", Type.Q4_0, SMALL).read_bytes(), 1500):
        damaged.write_bytes(content)
        refused += tried(damaged) is not None
    assert refused > 500


def test_damaged_weights_give_numbers_or_one_error(tmp_path):
    damaged = tmp_path / "damaged.gguf"
    for content in damaged_weights(write_model(tmp_path / "m.gguf", Type.Q4_0, SMALL).read_bytes(), 300):
        damaged.write_bytes(content)
        said = tried(damaged)
        assert said is None or "weights are damaged" in said or str(damaged) in said


@pytest.mark.parametrize(
    "content", [b"", b"GGUF", b"GGUF\x03\x00\x00\x00", b"PK\x03\x04 not a model", b"GGUF\x01" + bytes(60)]
)
def test_what_is_no_gguf_is_refused(tmp_path, content):
    (tmp_path / "x.gguf").write_bytes(content)
    assert str(tmp_path / "x.gguf") in (tried(tmp_path / "x.gguf") or "")


def test_what_is_not_there_is_refused(tmp_path):
    assert "No such file" in (tried(tmp_path / "absent.gguf") or "")
    assert tried(tmp_path)


def test_an_unknown_architecture_lists_those_that_work(tmp_path):
    path = write_model(tmp_path / "m.gguf", Type.F32, Shape("mamba"))
    assert "these can: llama, qwen2, qwen3, deci, openelm, gemma3" in (tried(path) or "")


def test_an_unknown_type_lists_those_that_work(tmp_path):
    path = write_model(tmp_path / "m.gguf", Type.Q8_0, SMALL)
    data = bytearray(path.read_bytes())
    at = data.find(b"blk.0.attn_q.weight") + len(b"blk.0.attn_q.weight") + 4 + 16
    data[at : at + 4] = (10).to_bytes(4, "little")  # Q2_K
    path.write_bytes(data)
    assert "GGML type 10 cannot be read; these can:" in (tried(path) or "")
