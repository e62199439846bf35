"""The table of costs: files of random weights that runtimes open, measured, and what their sums say of another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import tiny_task
from tiny import write_tokenizer

from lightbulb.core.artifact import Artifact
from lightbulb.core.progress import Silent
from lightbulb.formats.gguf.header import read_header
from lightbulb.runtimes import runtime_class
from lightbulb.searching import cost_files
from lightbulb.searching.cost_files import Parents, design, measure_table, table_key, work_of, write_random
from lightbulb.searching.cost_table import parts_of
from lightbulb.searching.pricing import Pricing, Specs
from lightbulb.searching.student import Cut, Student

RUNTIMES = [name for name in ("llamacpp", "filament") if runtime_class(name).installed()]


def folder_of(place: Path) -> Artifact:
    """A parent without weights: its sizes, its tokenizer, its answers."""
    place.mkdir()
    rows = -(-write_tokenizer(place) // 8) * 8
    config = {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": rows,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "tie_word_embeddings": True, "bos_token_id": 0,
        "eos_token_id": 2, "hidden_act": "silu", "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    }  # fmt: skip
    (place / "config.json").write_text(json.dumps(config))
    facts = {"answer_ids": [10, 11, 12, 13, 14]}
    return Artifact(path=place, kind="model", key="parent", made_by="import", facts=facts)


@pytest.fixture
def parent(tmp_path) -> Artifact:
    return folder_of(tmp_path / "parent")


@pytest.mark.parametrize("kind", ["choose", "generate"])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_any_student_has_a_price(parent, tmp_path, monkeypatch, runtime, kind):
    monkeypatch.setattr(cost_files, "TRIALS", 4)
    specs, task = Specs(Parents(parent, parent), runtime), tiny_task(kind)
    key = table_key(specs.parent, task, runtime, work_of(parent, task, 0))
    assert key.runtime == runtime and key.version != "unknown" and key.work.startswith(kind)
    students = design(specs.space)
    table = measure_table(key, students, specs.of, specs.parents, task, tmp_path / "files", 0.01, Silent())
    known = {part for file in table.files for part in file.parts}
    pricing = Pricing(specs, table, task)
    for types in specs.space.types:
        student = Student(layers=(Cut(layer=0, feed_forward=0.5), Cut(layer=3, groups=0.34)), types=types)
        assert set(parts_of(specs.of(student), types)) <= known
        figures = pricing.figures(student)
        assert figures["cpu_seconds_per_answer"].value > 0 and figures["seconds_per_answer"].value > 0
        assert pricing.point(student, "cpu_seconds_per_answer") == pytest.approx(
            figures["cpu_seconds_per_answer"].value
        )
    large, small = Student(layers=(Cut(layer=0), Cut(layer=1), Cut(layer=2))), Student(layers=(Cut(layer=1),))
    assert pricing.point(small, pricing.currency) <= pricing.point(large, pricing.currency)


def test_bytes_are_those_of_the_file(parent, tmp_path):
    """But for what the header says of sizes by layer."""
    specs, task = Specs(Parents(parent, parent), "llamacpp"), tiny_task("choose")
    pricing = Pricing(specs, None, task)
    for student in (Student(layers=(Cut(layer=0), Cut(layer=1, feed_forward=0.5))), Student(layers=(Cut(layer=2),))):
        file = tmp_path / f"{len(student.layers)}.gguf"
        write_random(file, specs.of(student), student.types.map, parent, task, {})
        assert pricing.bytes(student) == pytest.approx(file.stat().st_size, abs=2000)
        names = {t.name for t in read_header(file).tensors}
        assert f"blk.{len(student.layers) - 1}.ffn_down.weight" in names


def test_the_design_tells_all_parts_apart(parent):
    """As many files as parts would do; the rank says that no part hides behind another, but for layers that always
    have all heads."""
    import numpy as np

    specs = Specs(Parents(parent, parent), "llamacpp")
    rows = [parts_of(specs.of(s), s.types) for s in design(specs.space)]
    names = sorted({name for row in rows for name in row})
    matrix = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    assert len(rows) >= len(names) - 1 and np.linalg.matrix_rank(matrix / matrix.max(0)) >= len(names) - 1
