"""Files that fill in answers as source code: C and JavaScript answer any text as the reference does."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import tiny_task
from random_slots import KNOWN, random_file
from samples import ROOT

from lightbulb import api
from lightbulb.cli import main
from lightbulb.core.errors import ModelError, RunFailure
from lightbulb.exporting import sources
from lightbulb.exporting.checking import program_source, texts_file, write
from lightbulb.exporting.js import MODULE, PAGE
from lightbulb.exporting.record import RECORD, Export
from lightbulb.exporting.slots_c import CODE_BYTES, FRAME_BYTES, array_bytes, slots_c_files, table_bytes
from lightbulb.exporting.slots_js import slots_js_files
from lightbulb.models.kinds.fallback import write_with_fallback
from lightbulb.models.kinds.slot_file import write_slots
from lightbulb.tasks.stored import write_task
from lightbulb.train.slots import Learner

sys.path.insert(0, str(ROOT / "benchmarks"))
from boards import CORES, Core

CC = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
NODE = shutil.which("node")
needs_cc = pytest.mark.skipif(CC is None, reason="no C compiler (cc) was found")
needs_node = pytest.mark.skipif(NODE is None, reason="node was not found")
STRICT = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
SAFE = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
FORMS = [{}, {"copied": False}, {"closed": False}]
ODD = [*KNOWN, "\u00a0", "İ", '\x00\x1f\\"\n\t\b\f\r\x7f/', "0 07 7.5 7. .5 1.2.3 12.50", "😀\u2028"]


def texts() -> list[str]:
    rng = random.Random(0)
    mixed = [" ".join(rng.choice(ODD) for _ in range(6)) for _ in range(40)]
    return [*KNOWN, "", " ", "a" * 500, "18:05 " * 40, "\ufffd 7 Anna", *mixed]


TEXTS = texts()


def reference(file, given: list[str] = TEXTS) -> list[str]:
    return [f"{f.margin} {f.text}" for f in file.fill(given)]


def in_c(folder: Path, given: list[bytes], *flags: str) -> list[str]:
    subprocess.run([CC, *STRICT, *flags, "home.c", "answer-texts.c", "-o", "program"], cwd=folder, check=True)
    (folder / "texts.bin").write_bytes(texts_file(given))
    done = subprocess.run([folder / "program"], cwd=folder, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().split("\n")[:-1]


def as_c(file, folder: Path, tokens: int = 256) -> None:
    files = slots_c_files(file, "home", "x */ int evil; /* ü\n", "0" * 64, tokens)
    write(files | program_source("home", fills=True), folder)


@needs_cc
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(3))
def test_c_fills_in_what_the_reference_does(form, seed, tmp_path):
    file = random_file(seed, **form)
    as_c(file, tmp_path)
    assert in_c(tmp_path, [text.encode() for text in TEXTS], "-O2") == reference(file)


@needs_cc
def test_no_byte_beside_the_text_is_read_and_nothing_overflows(tmp_path):
    file = random_file(1)
    as_c(file, tmp_path)
    broken = [text.encode()[:n] for text in TEXTS[-4:] for n in range(len(text.encode()))]
    found = in_c(tmp_path, [text.encode() for text in TEXTS] + broken, *SAFE)
    assert found[: len(TEXTS)] == reference(file)
    assert all(json.loads(line.split(" ", 1)[1]) for line in found[len(TEXTS) :])


@needs_cc
def test_what_has_no_room_is_told(tmp_path):
    file = random_file(1)
    as_c(file, tmp_path, tokens=4)
    (tmp_path / "call.c").write_text(
        '#include <stdio.h>\n#include <string.h>\n#include "home.h"\n'
        'int main(void) { char out[99]; const char *few = "a lamp", *many = "a b c d e"; int64_t margin; size_t n;\n'
        "int whole = home_fill(few, strlen(few), out, sizeof out, &margin);\n"
        'printf("%d %d %d\\n", whole, (int)strlen(out), home_fill(many, strlen(many), out, sizeof out, NULL));\n'
        "for (n = 0; n < (size_t)whole + 2; n++) { out[n] = 7;\n"
        'printf("%d %d\\n", home_fill(few, strlen(few), out, n, NULL), out[n]); } return 0; }\n'
    )
    command = [CC, "-std=c99", "-fsanitize=address,undefined", "home.c", "call.c", "-o", "call"]
    subprocess.run(command, cwd=tmp_path, check=True)
    told = subprocess.run([tmp_path / "call"], capture_output=True, text=True, check=True).stdout.splitlines()
    whole, length, long = map(int, told[0].split())
    assert whole == length == len(file.fill(["a lamp"])[0].text.encode()) and long == -1
    rows = [tuple(map(int, line.split())) for line in told[1:]]
    assert [made for made, _ in rows] == [-2] * (whole + 1) + [whole] and {after for _, after in rows} == {7}


@needs_cc
def test_nothing_is_needed_but_the_compiler(tmp_path):
    """No function of a library, no data that is written, and of numbers only whole ones."""
    as_c(random_file(1), tmp_path)
    flags = ["-O2", "-ffreestanding", "-fno-builtin", "-fno-tree-loop-distribute-patterns", "-c", "home.c"]
    subprocess.run([CC, *STRICT, *flags], cwd=tmp_path, check=True)
    symbols = subprocess.run(["nm", "home.o"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    kinds = dict(re.findall(r"([A-Za-z]) (\S+)$", line)[0][::-1] for line in symbols.splitlines())
    assert {name for name, kind in kinds.items() if kind in "UDdBbC"} <= {"_GLOBAL_OFFSET_TABLE_"}
    source = (tmp_path / "home.c").read_text()
    assert source.isascii() and "*/ int" not in source and not re.search(r"\b(float|double|malloc)\b", source)


@needs_node
@pytest.mark.parametrize("form", FORMS)
def test_javascript_fills_in_what_the_reference_does(form, tmp_path):
    given = [*TEXTS, "\ud800 7 \udfffAnna", "😀 anna 😀"]
    for seed in range(2):
        file = random_file(seed, **form)
        write(slots_js_files(file, 'a "title" & <b>', "0" * 64, None), tmp_path)
        assert (tmp_path / PAGE).read_text().count("</script>") == 1
        (tmp_path / MODULE).rename(tmp_path / "model.mjs")
        script = f'import {{ fill }} from "./model.mjs"; const texts = {json.dumps(given)};'
        (tmp_path / "run.mjs").write_text(f"{script} console.log(JSON.stringify(texts.map(fill)));")
        done = subprocess.run([NODE, "run.mjs"], cwd=tmp_path, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, done.stderr
        found, said = json.loads(done.stdout), file.fill(given)
        assert [f"{f['margin']} {f['answer']}" for f in found] == reference(file, given)
        assert [f["probability"] for f in found] == pytest.approx(file.probabilities(said).tolist())


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of a run that handed out slots."""
    folder, task = tmp_path_factory.mktemp("slots") / "run", tiny_task("generate", 200)
    (stored := folder / "steps" / "task-0123").mkdir(parents=True)
    write_task(task, stored)
    write_slots(Learner(task.train, 2, 100_000, 0).fit(1.0), folder / "model.gguf")
    return folder


@pytest.mark.parametrize("to, needed", [("c", CC), ("js", NODE)])
def test_a_run_becomes_files_that_were_checked_on_its_test_items(to, needed, run, tmp_path, capsys):
    if needed is None:
        pytest.skip("nothing here runs it")
    assert main(["export", str(run), "--to", to, "--out", str(tmp_path / "lamps")]) == 0
    record = Export.model_validate_json((tmp_path / "lamps" / RECORD).read_text())
    assert record.checked.items == len(tiny_task("generate", 200).test) > 20
    assert (record.fields, record.answers, record.ngrams) == (3, None, None) and record.features > 10
    page = capsys.readouterr().out
    assert "fills in 3 fields" in page and ("Nucleo-F446RE" in page) == (to == "c")


@needs_cc
def test_an_export_that_answers_otherwise_is_not_handed_over(run, tmp_path, monkeypatch):
    made = sources.slots_c.slots_c_files

    def damaged(*given):
        return {name: text.replace("0x85EBCA6Bu", "0x85EBCA6Du") for name, text in made(*given).items()}

    monkeypatch.setattr(sources.slots_c, "slots_c_files", damaged)
    with pytest.raises(RunFailure, match=r"the export answers \d+ of \d+ test items otherwise"):
        api.export(run, "c", tmp_path / "lamps")
    assert not list(tmp_path.glob("*lamps*"))


def test_what_hands_on_is_refused(run, tmp_path):
    (tmp_path / "pair").mkdir()
    write_with_fallback(run / "model.gguf", run / "model.gguf", 0.5, tmp_path / "pair" / "model.gguf")
    with pytest.raises(ModelError, match="hands on what it is not sure of is not exported"):
        api.export(tmp_path / "pair" / "model.gguf", "c", tmp_path / "lamps")


@pytest.fixture(params=CORES, ids=lambda core: core.name)
def core(request) -> Core:
    if request.param.missing:
        pytest.skip(f"not found: {request.param.missing}")
    return request.param


def test_on_processors_that_are_not_here(core, tmp_path):
    file = random_file(1)
    as_c(file, tmp_path)
    (tmp_path / "texts.bin").write_bytes(texts_file(text.encode() for text in TEXTS))
    core.compile(tmp_path, "home.c", "answer-texts.c")
    found = "\n".join(core.run(tmp_path)).split("\n")
    assert found == "\n".join(reference(file)).split("\n")


@needs_cc
def test_what_it_takes_is_stated(tmp_path):
    """Counted on this machine, whose code is larger than a microcontroller's, and whose stack is deeper."""
    file = random_file(1)
    as_c(file, tmp_path, tokens=128)
    subprocess.run([CC, "-std=c99", "-Os", "-fstack-usage", "-c", "home.c"], cwd=tmp_path, check=True)
    size = subprocess.run(["size", "home.o"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    text, data, bss = map(int, size.splitlines()[1].split()[:3])
    assert (data, bss) == (0, 0) and CODE_BYTES[0] <= text - table_bytes(file) <= CODE_BYTES[2]
    stack = sum(int(line.split("\t")[1]) for line in (tmp_path / "home.su").read_text().splitlines())
    assert array_bytes(file, 128) <= stack <= array_bytes(file, 128) + FRAME_BYTES[2]
