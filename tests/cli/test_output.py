"""Any bytes on the command line, any name of a file, any terminal: what was meant, or one clear error."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from lightbulb import api
from lightbulb.cli import main
from lightbulb.core.files import read_json, write_json

NAMES = ["x [v1]", "x[/v1]", "x [bold red]", ":smile: 100%", "a b'c\"d", "line\nbreak", "$(x) `y`", "caf\xe9 \u65e5"]


def lightbulb(*words: str | bytes, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "lightbulb", *words],
        capture_output=True,
        timeout=120,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_any_path_prints_as_it_is(capsys, monkeypatch, tmp_path, name, more):
    monkeypatch.setattr(api, "render_report", lambda folder: folder / "report.html")
    assert main(["report", str(tmp_path / name), *more]) == 0
    printed = capsys.readouterr().out
    page = str(tmp_path / name / "report.html")
    assert json.loads(printed) == {"report": page} if more else printed == page + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_any_path_is_named_in_an_error_and_in_the_steps_of_a_run(capsys, monkeypatch, tmp_path, name):
    (tmp_path / name).mkdir(parents=True)
    assert main(["report", str(tmp_path / name)]) == 2
    assert str(tmp_path / name) in capsys.readouterr().err
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('model = "m"\ntask = "home"\n\n[[step]]\npass = "adapt"\nlabel = "teacher"\n')
    monkeypatch.setattr(api, "load_task", lambda *_, **__: None)
    monkeypatch.setattr("lightbulb.pipeline.recipe.Recipe.read", lambda _: _Recipe())
    monkeypatch.setattr(api, "run_recipe", lambda *_, **__: {"teacher": {"path": str(tmp_path / name)}})
    assert main(["run", str(recipe), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == f"teacher: {tmp_path / name}\n"


class _Recipe:
    task, seed = "home", 0

    class reading:
        model_dump = staticmethod(lambda **_: {})


BAD = "caf\udce9"


@pytest.mark.parametrize(
    "arguments",
    [
        ["ask", "m.gguf", BAD],
        ["ask", BAD, "hello"],
        ["ask", "m.gguf", "hello", "--system", BAD],
        ["ask", "m.gguf", "hello", "--stop", BAD],
        ["ask", "m.gguf", "hello", f"--schema={BAD}"],
        ["predict", BAD, "--device", "h200"],
        ["predict", "--parameters", "1e9", "--device", BAD],
        ["measure", BAD],
        ["shrink", "m", "--task", BAD],
        ["shrink", "m", "--task", "home", "--out", BAD],
        ["run", BAD, "--out", "x"],
        ["report", BAD],
        ["forecast", "--zone", BAD],
        ["doctor", BAD],
        [BAD],
    ],
)
def test_bytes_that_are_no_text_are_one_clear_error(capsys, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: this is not UTF-8: caf\\xe9\n") and err.count("error:") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_real_command_line_of_any_bytes():
    for word in (b"caf\xe9", b"\xff\xfe", b"\x80", b"--\xe9=1", b"\xed\xa0\x80"):
        done = lightbulb("predict", word, "--device", "h200")
        assert done.returncode == 2 and done.stdout == b"", word
        assert done.stderr.startswith(b"error: this is not UTF-8") and b"Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_file_may_be_called_anything(tmp_path, capsys, monkeypatch):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    os.mkdir(folder)
    assert main(["report", folder]) == 2
    assert "no finished run here" in capsys.readouterr().err
    monkeypatch.setattr(api, "render_report", lambda folder: folder / "report.html")
    capsys.readouterr()
    done = lightbulb("report", os.fsencode(folder))
    assert done.returncode == 2 and b"caf\\xdce9" in done.stderr.replace(b"\\u", b"\\x")


def test_records_keep_such_names(tmp_path):
    write_json(tmp_path / "a.json", {"path": BAD, "\u65e5": "\xe9"})
    assert read_json(tmp_path / "a.json") == {"path": BAD, "\u65e5": "\xe9"}
    (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["a" * 300, "a" * 5000, "a/" * 3000])
@pytest.mark.parametrize("verb", [["report"], ["predict", "--device", "h200"], ["ask", "hello"]])
def test_names_that_no_system_has_are_one_clear_error(capsys, name, verb):
    assert main([verb[0], name, *verb[1:]]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and "Traceback" not in err


ASCII = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "LANG": "C"}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["shrink", "--help"], ["predict", "--devices"], ["forecast", "--answers-per-day", "1e6",
    "--joules-per-answer", "0.4"], ["predict", "--parameters", "1e9", "--device", "h200"]],
)  # fmt: skip
def test_an_ascii_terminal_gets_ascii(arguments):
    done = lightbulb(*arguments, **ASCII)
    assert done.returncode == 0 and done.stdout.isascii() and b"Traceback" not in done.stderr
    assert b"\\xa0" not in done.stdout and b"\\xd7" not in done.stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "utf-16", "cp1252"])
def test_json_is_valid_in_any_encoding(encoding):
    code = "import sys; from lightbulb.cli.output import print_anything, show; print_anything(); "
    code += "show({'a': '\\xe9\\u65e5\\udce9', 'b': None}, True, None)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=60, env=os.environ | {"PYTHONIOENCODING": encoding}
    )
    text = done.stdout.decode("utf-16" if encoding == "utf-16" else "utf-8")
    assert json.loads(text) == {"a": "\xe9\u65e5\udce9", "b": None} and done.returncode == 0


def test_an_error_that_ascii_cannot_say_is_said():
    done = lightbulb("predict", "--parameters", "1e9", "--device", "caf\xe9".encode(), **ASCII)
    assert done.returncode == 2 and b"caf\\xe9" in done.stderr and b"Traceback" not in done.stderr
