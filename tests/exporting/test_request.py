"""`export` from end to end: a run's model becomes files that were checked, or one clear error and nothing."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_task
from gguf import GGUFWriter
from samples_of_ngrams import random_file

from lightbulb import api
from lightbulb.cli import main
from lightbulb.core.errors import ModelError, RunFailure, UserError
from lightbulb.core.figures import Figure
from lightbulb.exporting import checking, request, sources
from lightbulb.exporting.boards import boards
from lightbulb.exporting.record import RECORD, Export
from lightbulb.tasks.stored import write_task

TASK = tiny_task("choose")
NEEDED = {"c": ("cc", "gcc", "clang"), "js": ("node",)}
FILES = {"c": {"my_bank.h", "my_bank.c"}, "js": {"model.js", "index.html"}}


@pytest.fixture
def run(tmp_path) -> Path:
    """The folder of a run that handed out n-grams."""
    (stored := tmp_path / "run" / "steps" / "task-0123").mkdir(parents=True)
    write_task(TASK, stored)
    model = random_file([e.prompt for e in TASK.train], list(TASK.answers), rows=300)
    model.write(tmp_path / "run" / "model.gguf")
    return tmp_path / "run"


def needs(to: str) -> None:
    if not any(map(shutil.which, NEEDED[to])):
        pytest.skip(f"{' or '.join(NEEDED[to])} was not found")


@pytest.mark.parametrize("to", FILES)
def test_a_run_becomes_files_that_were_checked_on_its_test_items(to, run, tmp_path, capsys):
    needs(to)
    out = tmp_path / "out" / "My-bank"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["export", str(run), "--to", to, "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {path.name for path in out.iterdir()} == {*FILES[to], RECORD}
    record = Export.model_validate_json((out / RECORD).read_text(encoding="utf-8"))
    assert told == record.model_dump(mode="json") and record.checked.items == len(TASK.test) > 5
    assert record.name == "my_bank" and (record.answers, record.ngrams, record.width) == (5, 300, 5)
    assert record.source_sha256 == hashlib.sha256((run / "model.gguf").read_bytes()).hexdigest()
    for name, part in record.files.items():
        data = (out / name).read_bytes()
        assert (part.bytes, part.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("to", FILES)
def test_the_same_bytes_each_time_and_a_page_a_person_reads(to, run, tmp_path, capsys):
    outs = [tmp_path / where / "bank" for where in ("a", "b")]
    for out in outs:
        assert main(["export", str(run), "--to", to, "--out", str(out)]) == 0
    first, second = ({path.name: path.read_bytes() for path in out.iterdir()} for out in outs)
    assert first == second
    page = capsys.readouterr().out
    assert "chooses one of 5 answers by 300 n-grams" in page and ("Nucleo-F446RE" in page) == (to == "c")


def test_flash_ram_and_which_boards_have_them(run, tmp_path):
    record = api.export(run, "c", tmp_path / "bank")
    tables = 300 * (4 + 2 + 2 + 5)
    assert tables < record.flash.low < record.flash.high < tables + 6000
    assert 512 * 3 < record.ram.low < record.ram.high < 512 * 3 + 1000
    fits = {board.board: board.fits for board in record.boards}
    assert not fits["ch32v003"] and fits["nucleo-f446re"] and fits["pico"] and len(fits) == len(boards())


def test_a_board_must_have_both():
    board = next(board for board in boards() if board.name == "nucleo-f446re")
    assert (board.flash_bytes, board.ram_bytes) == (512 * 1024, 128 * 1024)

    def needed(value: float) -> Figure:
        return Figure(value=value, low=value, high=value + 10, unit="bytes", source="estimated")

    assert board.fits(needed(512 * 1024 - 10), needed(128 * 1024 - 10))
    assert not board.fits(needed(512 * 1024 - 9), needed(1)) and not board.fits(needed(1), needed(128 * 1024 - 9))
    assert all(board.sources and 0 < board.ram_bytes < board.flash_bytes for board in boards())


def test_a_file_has_no_test_items(run, tmp_path, capsys):
    assert main(["export", str(run / "model.gguf"), "--to", "c", "--out", str(tmp_path / "bank")]) == 0
    assert "not checked on test items: there are no test items beside the file" in capsys.readouterr().out
    assert json.loads((tmp_path / "bank" / RECORD).read_text())["checked"]["items"] is None


@pytest.mark.parametrize("to, missing", [("c", "no C compiler (cc) was found"), ("js", "node was not found")])
def test_what_could_not_be_checked_is_said(to, missing, run, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", os.devnull)
    record = api.export(run, to, tmp_path / "bank")
    assert (record.checked.items, record.checked.why_not) == (None, missing)


@pytest.mark.parametrize("to, prime", [("c", "16777619u"), ("js", "PRIME = 16777619")])
def test_an_export_that_answers_otherwise_is_not_handed_over(to, prime, run, tmp_path, monkeypatch):
    needs(to)
    place, name = {"c": (sources.c, "c_files"), "js": (sources, "js_files")}[to]
    made = getattr(place, name)

    def damaged(*given) -> dict[str, str]:
        files = {name: text.replace(prime, prime.replace("19", "18")) for name, text in made(*given).items()}
        assert files != made(*given)
        return files

    monkeypatch.setattr(place, name, damaged)
    with pytest.raises(RunFailure, match=r"the export answers \d+ of \d+ test items otherwise"):
        api.export(run, to, tmp_path / "bank")
    assert not list(tmp_path.glob("*bank*"))


def test_an_export_that_does_not_compile_is_not_handed_over(run, tmp_path, monkeypatch):
    needs("c")
    monkeypatch.setattr(checking, "FLAGS", ("-std=c99", "-DBANK_SLOTS=3"))
    with pytest.raises(RunFailure, match="could not be checked.*must be a power of two"):
        api.export(run, "c", tmp_path / "bank")
    assert not (tmp_path / "bank").exists()


@pytest.mark.parametrize("architecture", ["llama", "bert", "lightbulb-cascade"])
def test_other_models_are_refused(architecture, tmp_path):
    writer = GGUFWriter(file := tmp_path / "model.gguf", architecture)
    writer.add_tensor("output.weight", np.zeros((2, 2), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError, match=f"'{architecture}' is not exported: only classifiers of n-grams") as error:
        api.export(file, "c", tmp_path / "bank")
    assert error.value.where == str(file) and not (tmp_path / "bank").exists()


def test_wrong_requests(run, tmp_path, capsys):
    (there := tmp_path / "there").mkdir()
    assert main(["export", str(run), "--to", "c", "--out", str(there)]) == 2
    assert "name a new folder with --out" in capsys.readouterr().err and not list(there.iterdir())
    with pytest.raises(UserError, match="nothing is exported to 'onyx'"):
        api.export(run, "onyx", tmp_path / "bank")
    assert main(["export", str(tmp_path / "nowhere"), "--to", "c", "--out", str(tmp_path / "bank")]) == 2
    (run / "model.gguf").write_bytes((run / "model.gguf").read_bytes()[:200])
    assert main(["export", str(run), "--to", "c", "--out", str(tmp_path / "bank")]) == 2
    assert "is not a readable GGUF" in capsys.readouterr().err and not (tmp_path / "bank").exists()


@pytest.mark.parametrize(
    "folder, name",
    [("bank-77", "bank_77"), ("77", "model_77"), ("stdint", "model_stdint"), ("Ämter", "amter"), ("...", "model")],
)
def test_a_name_of_c(folder, name):
    assert request._identifier(folder) == name and re.fullmatch("[a-z][a-z0-9_]*", name)
