"""CSV and TSV of spreadsheets, databases and people: read whole, or refused with the line; never a row less unsaid."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import published

from lightbulb.core.errors import TaskError
from lightbulb.tasks.load import load_task
from lightbulb.tasks.readers import read_rows
from lightbulb.tasks.task import Task

SORTS = ("heat", "light", "music")
ROWS = [(f"question number {i}", SORTS[i % 3]) for i in range(60)]


def written(path: Path, text: str, encoding: str = "utf-8") -> str:
    path.write_bytes(text.encode(encoding))
    return str(path)


def plain(rows: list[tuple[str, str]], separator: str = ",", end: str = "\n", header: str = "text,label") -> str:
    return end.join([header.replace(",", separator), *(separator.join(row) for row in rows)]) + end


def size(task: Task) -> int:
    return len(task.train) + len(task.validation) + len(task.test)


def fingerprint(tmp_path: Path) -> str:
    return load_task(written(tmp_path / "plain.csv", plain(ROWS))).fingerprint


HABITS = {
    "sep": "sep=;\r\n" + plain(ROWS, ";", "\r\n"),
    "quoted sep": '"sep=;"\r\n' + plain(ROWS, ";", "\r\n"),
    "bar": plain(ROWS, "|"),
    "tab": plain(ROWS, "\t"),
    "old Mac": plain(ROWS, ",", "\r"),
    "mark": "\ufeff" + plain(ROWS),
    "mark and sep": "\ufeffsep=;\n" + plain(ROWS, ";"),
    "empty columns": plain([(a, b + ",,") for a, b in ROWS], header="text,label,,"),
    "columns of blanks": plain([(a, b + ", ,") for a, b in ROWS], header="text,label, ,"),
    "cells that only rows have": plain([(a, b + ",,,") for a, b in ROWS]),
    "empty column first": plain([("," + a, b) for a, b in ROWS], header=",text,label"),
    "empty rows": plain(ROWS) + ",\n" * 3000 + "\n\n",
    "empty rows before": ",\n\n" + plain(ROWS),
    "header of another case": plain(ROWS, header=" Text , LABEL "),
    "title": "Questions of 2026,\n,\n" + plain(ROWS),
    "titles": "Export,\nof 2026,\n\n,\n" + plain(ROWS),
    "title without separators": "Questions of 2026\n" + plain(ROWS, ";"),
    "joined files": plain(ROWS[:30]) + plain(ROWS[30:]),
    "everything in quotes": plain([(f'"{a}"', f'"{b}"') for a, b in ROWS], header='"text","label"'),
}


@pytest.mark.parametrize("habit", HABITS)
def test_habits_of_spreadsheets(tmp_path, habit):
    assert load_task(written(tmp_path / "t.csv", HABITS[habit])).fingerprint == fingerprint(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_unicode_text_of_a_spreadsheet(tmp_path, encoding):
    mark = "" if encoding == "utf-16" else "\ufeff"
    task = load_task(written(tmp_path / "t.csv", mark + plain(ROWS, "\t", "\r\n"), encoding))
    assert task.fingerprint == fingerprint(tmp_path) and any("UTF-16" in f for f in task.findings)
    (tmp_path / "cut.csv").write_bytes((tmp_path / "t.csv").read_bytes()[:-1])
    with pytest.raises(TaskError, match="not UTF-16") as e:
        load_task(str(tmp_path / "cut.csv"))
    assert str(e.value.where).endswith("cut.csv:61")


def test_another_encoding_is_named_with_its_line(tmp_path):
    with pytest.raises(TaskError, match="not UTF-8: byte 0xe9") as e:
        load_task(written(tmp_path / "t.csv", plain([("café", "heat"), *ROWS]), "windows-1252"))
    assert str(e.value.where).endswith("t.csv:2") and "WINDOWS-1252" in str(e.value.hint)


def test_decimal_commas_stay_text(tmp_path):
    rows = [(f"weight {i},5", f"{i % 3},5") for i in range(60)]
    assert load_task(written(tmp_path / "t.csv", plain(rows, ";"))).answers == ("0,5", "1,5", "2,5")


def test_empty_columns_that_are_filled_somewhere_get_a_name(tmp_path):
    table = read_rows(Path(written(tmp_path / "t.csv", "text,label,\na,b,\nc,d,note\n")))
    assert table.columns == ("text", "label", "column 3") and table.rows[1][1]["column 3"] == "note"
    with pytest.raises(TaskError, match="3 cells where the header names 2"):
        read_rows(Path(written(tmp_path / "t.csv", "text,label\na,b\nc,d,note\n")))


def test_a_header_that_looks_like_a_title_stays_one(tmp_path):
    numbered = "\n".join([",text", *(f"{i},word {i}" for i in range(20))])
    assert read_rows(Path(written(tmp_path / "t.csv", numbered))).columns == ("", "text")
    assert read_rows(Path(written(tmp_path / "t.csv", "utterance\n" + "hello you\n" * 9))).columns == ("utterance",)
    pages = "text\n" + "".join(f"hello {i}\n" for i in range(20))
    assert read_rows(Path(written(tmp_path / "t.csv", pages))).columns == ("text",)


def swallowing(separator: str, label_first: bool) -> list[str]:
    """Row 10 opens a quote, row 30 ends in one."""
    rows = [list(row) for row in ROWS]
    rows[10][0], rows[30][0] = '"' + rows[10][0], rows[30][0] + '"'
    header = ["label", "text"] if label_first else ["text", "label"]
    return [separator.join(header), *(separator.join(reversed(r) if label_first else r) for r in rows)]


@pytest.mark.parametrize("label_first", [True, False])
@pytest.mark.parametrize("separator", [",", ";", "|"])
def test_rows_that_a_quote_swallowed_are_given_back(tmp_path, separator, label_first):
    task = load_task(written(tmp_path / "t.csv", "\n".join(swallowing(separator, label_first)) + "\n"))
    assert size(task) == 60 and task.answers == SORTS
    assert any("t.csv:12 to 32: a double quote" in f and "21 rows" in f for f in task.findings)


@pytest.mark.parametrize("label_first", [True, False])
def test_quotes_are_text_in_tsv(tmp_path, label_first):
    task = load_task(written(tmp_path / "t.tsv", "\n".join(swallowing("\t", label_first)) + "\n"))
    assert size(task) == 60 and any(
        e.prompt == '"question number 10' for e in (*task.train, *task.validation, *task.test)
    )
    assert any("t.tsv:12" in f and "quotes are text" in f for f in task.findings)


def test_lines_of_written_answers_that_look_like_rows_are_named(tmp_path):
    lines = ["prompt,completion", *(f"question {i},answer {i}" for i in range(40))]
    lines[10], lines[20] = 'question 9,"answer 9', 'question 19,answer 19"'
    task = load_task(written(tmp_path / "t.csv", "\n".join(lines) + "\n"), kind="generate")
    assert any("t.csv:11 to 21: one cell in double quotes" in f and "11 of its lines" in f for f in task.findings)


def test_cells_of_several_lines_are_cells(tmp_path):
    rows = [(f'"hello {i},\nfriend, it is ""{i}""\n\nbye"', SORTS[i % 3]) for i in range(60)]
    for suffix, separator in ((".csv", ","), (".csv", ";"), (".tsv", "\t")):
        task = load_task(written(tmp_path / f"t{suffix}", plain(rows, separator)))
        assert size(task) == 60 and all('it is "' in e.prompt and e.prompt.endswith("bye") for e in task.test)
        assert not any("quote" in f for f in task.findings)
    letters = "\n".join(["label,text", *(f'{SORTS[i % 3]},"hello {i}\nfriend, bye"' for i in range(60))])
    task = load_task(written(tmp_path / "letters.csv", letters))
    assert size(task) == 60 and not any("quote" in f for f in task.findings)


def test_quotes_doubled_in_tsv_are_a_writer_s(tmp_path):
    rows = [(f'"say ""{i}"""', SORTS[i % 3]) for i in range(60)]
    assert all(e.prompt.startswith('say "') for e in load_task(written(tmp_path / "t.tsv", plain(rows, "\t"))).train)
    rows = [(f'"Stop {i}!"' if i < 5 else f"go {i}", SORTS[i % 3]) for i in range(60)]
    task = load_task(written(tmp_path / "u.tsv", plain(rows, "\t")))
    assert sum(e.prompt.startswith('"Stop') for e in (*task.train, *task.validation, *task.test)) == 5


def test_quotes_with_a_backslash(tmp_path):
    rows = [(f'"say \\"{i}\\", please"', SORTS[i % 3]) for i in range(60)]
    task = load_task(written(tmp_path / "t.csv", plain(rows)))
    assert size(task) == 60 and all(e.prompt.startswith('say "') for e in task.train)
    assert any("backslash" in f for f in task.findings)


BROKEN = {
    "never closed": (["a,b", '"c,d', *["e,f"] * 20], "not CSV", 3),
    "closed too early": (["a,b", '"c" d,e', *["e,f"] * 20], "not CSV", 3),
    "closed in another row": (["a,b", '"c,d', "e,f", '"g, h",i', *["e,f"] * 20], "not CSV", 3),
    "quotes of another kind": (["a,b", "'c, d',e", *["e,f"] * 20], "3 cells where the header names 2", 3),
    "swallowed into a wide row": (["a,b", '"c,d', 'e",f,g'], "in the row of lines 3 to 4", 3),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_quotes_are_refused_with_their_line(tmp_path, name):
    lines, says, line = BROKEN[name]
    with pytest.raises(TaskError) as e:
        load_task(written(tmp_path / "t.csv", "\n".join(["text,label", *lines]) + "\n"))
    assert says in e.value.what and str(e.value.where).endswith(f"t.csv:{line}") and e.value.hint


def test_a_spreadsheet_s_own_file(tmp_path):
    with pytest.raises(TaskError, match="unknown kind of file") as e:
        load_task(written(tmp_path / "t.xlsx", "PK"))
    assert e.value.hint == "save the sheet as CSV UTF-8"


@pytest.mark.parametrize("name", ["quotes_swallow.tsv", "quotes_swallow.csv", "trailing.csv", "excel_sep.csv"])
def test_reported_files(name):
    task = load_task(str(published(f"cases/{name}")))
    assert size(task) == 90 and task.answers == SORTS
    assert ("quotes" in name) == any(":12" in f and "quote" in f for f in task.findings)


CELL = st.text(st.sampled_from("ab ,;|\t\n\"'=é\\"), min_size=1, max_size=12).filter(str.strip)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(CELL, st.sampled_from(SORTS)), min_size=1, max_size=12),
    st.sampled_from(",;|"),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_a_writer_of_csv_wrote_comes_back(tmp_path_factory, rows, separator, quoting):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as f:
        csv.writer(f, delimiter=separator, quoting=quoting).writerows([("text", "label"), *rows])
    table = read_rows(path)
    assert [(cells["text"], cells["label"]) for _, cells in table.rows] == rows


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(CELL.filter(lambda text: "\t" not in text), st.sampled_from(SORTS)), min_size=1, max_size=12))
def test_what_a_writer_of_tsv_wrote_comes_back(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("tsv") / "t.tsv"
    with path.open("w", newline="", encoding="utf-8") as f:
        csv.writer(f, delimiter="\t").writerows([("text", "label"), *rows])
    assert [(cells["text"], cells["label"]) for _, cells in read_rows(path).rows] == rows
