"""What sources hold: documents in pieces, long cells, splits without answers."""

from __future__ import annotations

import pytest
from conftest import write_rows

from lightbulb.core.errors import TaskError
from lightbulb.tasks.load import load_task


def test_pieces_of_a_document_stay_on_one_side(tmp_path):
    documents = [
        {"text": "\n".join(f"{name} says line {i} of it." for i in range(300))} for name in "abcdefghijklmnopqrst"
    ]
    task = load_task(str(write_rows(tmp_path / "t.jsonl", documents)))
    sides = [{e.completion[0] for e in split} for split in (task.train, task.validation, task.test)]
    assert len(task.train) > 20 and sum(map(len, sides)) == len(set.union(*sides)) == 20


def test_pieces_of_a_file_stay_on_one_side_where_there_are_files_enough(tmp_path):
    for name in "abcdefghijklmnopqrst":
        (tmp_path / f"page-{name}.txt").write_text("\n".join(f"{name} says line {i} of it." for i in range(300)))
    task = load_task(str(tmp_path))
    sides = [{e.completion[0] for e in split} for split in (task.train, task.validation, task.test)]
    assert len(task.train) > 20 and sum(map(len, sides)) == len(set.union(*sides)) == 20
    (tmp_path / "page-t.txt").write_text("\n".join(f"t says line {i} of it." for i in range(3000)))
    assert any("a tenth of all" in f for f in load_task(str(tmp_path)).findings)
    (tmp_path / "page-t.txt").unlink()
    assert any("fewer than 20 files" in f for f in load_task(str(tmp_path)).findings)


def test_what_is_left_out_of_a_folder_of_text_is_told(tmp_path):
    for name in ("Notice to tenants.txt", "source-of-truth.md", "README-de.md", "LICENSE.txt", "empty.txt"):
        (tmp_path / name).write_text("" if name == "empty.txt" else "\n\n".join(f"{name} {i} " * 80 for i in range(9)))
    task = load_task(str(tmp_path))
    found = {e.completion[:6] for e in (*task.train, *task.validation, *task.test)}
    assert found == {"Notice", "source"}
    left = [f for f in task.findings if "left out" in f]
    assert left == ["LICENSE.txt and 1 more left out: about the data", "empty.txt left out: empty"]


def test_a_link_to_nowhere_and_a_stranger_s_home(tmp_path):
    (tmp_path / "page.txt").symlink_to(tmp_path / "gone")
    for source in (str(tmp_path), "~nobody-of-that-name/t.jsonl"):
        with pytest.raises(TaskError):
            load_task(source)


def test_a_long_cell_of_a_csv_is_read(tmp_path):
    rows = "".join(f'"question {i}","{"word " * 40_000}{i}"\n' for i in range(20))  # 200 kB each
    (tmp_path / "t.csv").write_text("prompt,completion\n" + rows)
    assert len(load_task(str(tmp_path / "t.csv"), kind="generate").train) > 10


def test_a_test_split_without_labels_is_left_out(monkeypatch):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    texts = [f"remark {i}" for i in range(60)]
    train = datasets.Dataset.from_dict({"text": texts, "label": [i % 2 for i in range(60)]}, features=features)
    kept_back = datasets.Dataset.from_dict({"text": ["remark"], "label": [-1]}, features=features)
    loaded = datasets.DatasetDict({"train": train, "test": kept_back})
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: loaded)
    task = load_task("hf:owner/contest", prompt="text", completion="label")
    assert len(task.test) > 1 and any("no row has a label" in finding for finding in task.findings)
