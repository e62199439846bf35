"""The exported C on processors that are not here: the same answers, and no more flash and stack than was stated."""

from __future__ import annotations

import json
import sys

import pytest
from samples import ROOT, SAMPLES, SHARED
from samples_of_ngrams import BROKEN, HOSTILE, random_file, text_of

from lightbulb.exporting.c import CODE_BYTES, FRAME_BYTES, array_bytes, c_files, table_bytes
from lightbulb.exporting.checking import program_source, texts_file, write

sys.path.insert(0, str(ROOT / "benchmarks"))
from boards import CORES, Core, taken


@pytest.fixture(params=CORES, ids=lambda core: core.name)
def core(request) -> Core:
    if request.param.missing:
        pytest.skip(f"not found: {request.param.missing}")
    return request.param


def test_every_test_item_is_answered_as_by_the_file(core, tmp_path):
    """Of banking77: the whole test split where it is beside the checkout."""
    whole = SHARED / "data" / "banking77" / "test.jsonl"
    source = whole if whole.exists() else SAMPLES / "banking77" / "test.jsonl"
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    answers = sorted({row["completion"] for row in rows})
    texts = [row["prompt"].encode() for row in rows] + [t.encode("utf-8", "surrogatepass") for t in HOSTILE] + BROKEN
    file = random_file([row["prompt"] for row in rows], answers, rows=3000)
    write(c_files(file, "bank", "a title", "0" * 64) | program_source("bank"), tmp_path)
    (tmp_path / "texts.bin").write_bytes(texts_file(texts))
    core.compile(tmp_path, "bank.c", "answer-texts.c")
    scores, _ = file.scores([text_of(text) for text in texts])
    assert [int(line) for line in core.run(tmp_path)] == scores.argmax(axis=1).tolist()


@pytest.mark.parametrize(
    "kind",
    [{}, {"width": 20}, {"chars": (0, 0), "words": (1, 8)}, {"words": (0, 0), "chars": (1, 8), "counts": 256}],
    ids=["sums", "head", "words", "characters"],
)
def test_flash_and_stack_are_as_stated(core, kind, tmp_path):
    file = random_file(HOSTILE, ["card", "Lämpchen", "lost?"], **kind)
    write(c_files(file, "bank", "a title", "0" * 64), tmp_path)
    found = taken(core, tmp_path, "bank", [text.encode("utf-8", "surrogatepass") for text in HOSTILE])
    assert found.constants <= table_bytes(file) + 64  # alignment
    assert CODE_BYTES[0] <= found.code + found.constants - table_bytes(file) <= CODE_BYTES[2]
    assert FRAME_BYTES[0] <= found.stack - array_bytes(file) <= FRAME_BYTES[2]
    assert min(found.instructions) > 1000
