"""The C that is exported: the same numbers as docs/format.md asks for, from any bytes, with nothing but a compiler."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from samples_of_ngrams import BROKEN, HOSTILE, KINDS, answer, probabilities, random_file, scores

from lightbulb.exporting.c import c_files, literal
from lightbulb.exporting.checking import program_source, texts_file, write
from lightbulb.models.kinds.ngrams import NgramFile

CC = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
needs_cc = pytest.mark.skipif(CC is None, reason="no C compiler (cc) was found")
STRICT = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
SAFE = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
ANSWERS = ["card", "Lämpchen", "lost?", 'a "b"\\', "??/"]
TEXTS = [text.encode("utf-8", "surrogatepass") for text in HOSTILE] + BROKEN


@pytest.fixture(params=KINDS)
def model(request) -> NgramFile:
    return random_file(HOSTILE, ANSWERS, **KINDS[request.param])


def exported(model: NgramFile, folder: Path) -> None:
    write(c_files(model, "bank", "a title", "0" * 64) | program_source("bank"), folder)


def answers(folder: Path, texts: list[bytes], *flags: str) -> list[int]:
    subprocess.run([CC, *STRICT, *flags, "bank.c", "answer-texts.c", "-o", "program"], cwd=folder, check=True)
    (folder / "texts.bin").write_bytes(texts_file(texts))
    done = subprocess.run([folder / "program"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [int(line) for line in done.stdout.split()]


@needs_cc
def test_the_answers_are_those_of_the_format(model, tmp_path):
    exported(model, tmp_path)
    found = answers(tmp_path, TEXTS, "-O2")
    assert found == [answer(model, text) for text in TEXTS]
    assert len(set(found)) > 1 or len(model.hashes) == 1
    assert not model.threshold or 2 < found.count(-1) < len(found) - 2


@needs_cc
def test_no_byte_beside_the_text_is_read_and_nothing_overflows(model, tmp_path):
    exported(model, tmp_path)
    beginnings = [text[:n] for text in BROKEN for n in range(len(text))]
    assert answers(tmp_path, TEXTS + beginnings, *SAFE) == [answer(model, text) for text in TEXTS + beginnings]


@needs_cc
@pytest.mark.parametrize("slots", [2, 16, 4096])
def test_what_is_counted_at_a_time_changes_no_answer(slots, tmp_path):
    model = random_file(HOSTILE, ANSWERS, chars=(1, 5), rows=2000, width=7)
    exported(model, tmp_path)
    assert answers(tmp_path, TEXTS, f"-DBANK_SLOTS={slots}") == [answer(model, text) for text in TEXTS]


@needs_cc
def test_scores_and_probabilities(model, tmp_path):
    import ctypes

    exported(model, tmp_path)
    flags = ["-shared", "-fPIC", "-DBANK_PROBABILITY", "bank.c", "-lm", "-o", "bank.so"]
    subprocess.run([CC, *STRICT, *flags], cwd=tmp_path, check=True)
    library = ctypes.CDLL(str(tmp_path / "bank.so"))
    library.bank_scores.restype, library.bank_probability.restype = ctypes.c_uint32, ctypes.c_float
    library.bank_scores.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_int64)]
    library.bank_probability.argtypes = [ctypes.POINTER(ctypes.c_int64), ctypes.c_uint32, ctypes.c_int]
    names = (ctypes.c_char_p * len(ANSWERS)).in_dll(library, "bank_answers")
    assert [name.decode() for name in names] == ANSWERS
    for text in TEXTS:
        found = (ctypes.c_int64 * len(ANSWERS))()
        root = library.bank_scores(text, len(text), found)
        assert (list(found), root) == scores(model, text)
        likely = [library.bank_probability(found, root, number) for number in range(len(ANSWERS))]
        assert np.allclose(likely, probabilities(model, text), atol=1e-5)


@needs_cc
def test_nothing_is_needed_but_the_compiler(tmp_path):
    """No function of a library, no data that is written, and of numbers only whole ones."""
    exported(random_file(HOSTILE, ANSWERS, width=6), tmp_path)
    flags = ["-O2", "-ffreestanding", "-fno-builtin", "-fno-tree-loop-distribute-patterns", "-c", "bank.c"]
    subprocess.run([CC, *STRICT, *flags], cwd=tmp_path, check=True)
    symbols = subprocess.run(["nm", "bank.o"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    kinds = dict(re.findall(r"([A-Za-z]) (\S+)$", line)[0][::-1] for line in symbols.splitlines())
    assert {name for name, kind in kinds.items() if kind in "UDdBbC"} <= {"_GLOBAL_OFFSET_TABLE_", "bank_answers"}
    source = (tmp_path / "bank.c").read_text()
    plain = source.replace(source[source.index("#ifdef BANK_PROBABILITY\nfloat") :], "")
    assert not re.search(r"\b(float|double|malloc|static [^c(]*=)", plain)


@needs_cc
def test_it_can_be_called_from_cpp(tmp_path):
    compiler = shutil.which("c++") or pytest.skip("no C++ compiler (c++) was found")
    exported(random_file(HOSTILE, ANSWERS), tmp_path)
    code = '#include "bank.h"\nint main() { return bank_classify("card", 4) < BANK_ANSWERS ? 0 : 1; }\n'
    (tmp_path / "call.cpp").write_text(code)
    subprocess.run([CC, *STRICT, "-c", "bank.c"], cwd=tmp_path, check=True)
    subprocess.run([compiler, "-Wall", "-Werror", "call.cpp", "bank.o", "-o", "call"], cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "call"]).returncode == 0


def test_literals_are_plain_c():
    assert literal('a"b\\c?é\n') == '"a\\042b\\134c\\077\\303\\251\\012"'


def test_a_title_cannot_leave_its_comment():
    for text in c_files(random_file(HOSTILE, ANSWERS), "bank", "x */ int evil; /* ü\n", "0").values():
        assert "*/ int" not in text and text.isascii()
