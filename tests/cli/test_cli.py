"""The command line: light to import, honest exit codes, one JSON object when asked."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import subprocess
import sys
import time
from typing import get_type_hints

import pytest

from lightbulb import api
from lightbulb.cli import VERBS, main
from lightbulb.cli.options import options_of
from lightbulb.core.errors import RunFailure


def python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_import_without_torch_and_quickly():
    heavy = "{'torch', 'transformers', 'datasets', 'gguf', 'xllamacpp', 'plotly', 'pandas', 'sklearn'}"
    code = f"""
import sys, time
begin = time.process_time()
import lightbulb.cli
print(time.process_time() - begin)
heavy = {heavy} & set(sys.modules)
assert not heavy, heavy
"""
    found = [python(code) for _ in range(2)]  # the first may still compile
    assert found[1].returncode == 0, found[1].stderr
    assert float(found[1].stdout) < 0.3


def test_import_of_the_package_is_lazy():
    done = python("import lightbulb, sys; assert 'torch' not in sys.modules; assert callable(lightbulb.shrink)")
    assert done.returncode == 0, done.stderr


def test_public_names_stay_what_they_are_when_everything_is_imported():
    """A submodule of the same name would take a public name's place as soon as it is imported."""
    code = """
import importlib, pkgutil, lightbulb
found = {m.name for m in pkgutil.iter_modules(lightbulb.__path__)}
assert not found & set(lightbulb.__all__), found & set(lightbulb.__all__)
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_help_names_every_verb():
    done = subprocess.run([sys.executable, "-m", "lightbulb", "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in ("doctor", "predict", "shrink", "run", "ask", "report"))


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_is_that_of_the_package(capsys, option):
    import lightbulb

    assert main([option]) == 0
    assert capsys.readouterr() == (f"lightbulb {lightbulb.__version__}\n", "")


def one_error(capsys) -> str:
    out, err = capsys.readouterr()
    assert out == "" and err.count("error: ") == 1 and "Traceback" not in err
    return err


def test_user_errors_exit_2(capsys, tmp_path):
    assert main(["ask", str(tmp_path), "hello"]) == 2
    assert "there is no model here yet" in one_error(capsys)
    assert main(["report", str(tmp_path)]) == 2
    assert "no finished run here" in one_error(capsys)
    assert main(["run", str(tmp_path / "none.toml"), "--out", str(tmp_path / "out")]) == 2
    assert "cannot read the recipe" in one_error(capsys)
    assert list(tmp_path.iterdir()) == []


def test_failures_exit_1(capsys, tmp_path, monkeypatch):
    def fails(folder):
        raise RunFailure("it broke", where="there", hint="do this")

    monkeypatch.setattr(api, "render_report", fails)
    assert main(["report", str(tmp_path)]) == 1
    assert one_error(capsys) == "error: it broke\n  where: there\n  hint:  do this\n"


def test_interrupt_exits_130(capsys, tmp_path, monkeypatch):
    def stops(folder):
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "render_report", stops)
    assert main(["report", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "stopped\n"
    monkeypatch.setattr(api, "load_task", lambda *source, **options: stops(source))
    assert main(["shrink", "smollm2-135m", "--task", "home"]) == 130
    assert "the same command resumes" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_reader_that_has_read_enough_is_no_error(more):
    command = [sys.executable, "-m", "lightbulb", "predict", "--parameters", "1e9", "--device", "h100-80gb", *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 1


def test_json_is_one_object_on_stdout(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(api, "render_report", lambda folder: folder / "report.html")
    assert main(["report", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == {"report": str(tmp_path / "report.html")} and err == "" and out.count("\n") == 1


def refused_by_tyro(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as e:
        main(list(arguments))
    assert e.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    return " ".join(err.replace("\u2502", " ").split())


def test_a_wrong_option_is_named_with_the_right_one(capsys):
    said = refused_by_tyro(capsys, "shrink", "m", "--task", "home", "--tsk", "x")
    assert "Unrecognized options: --tsk" in said and "Perhaps you meant: --task" in said


@pytest.mark.parametrize(
    "arguments, what",
    [
        (["shrink", "m", "--task", "home", "--keep", "97%"], "could not convert string to float: '97%'"),
        (["shrink", "m", "--task", "home", "--kind", "chose"], "Expected one of ('choose', 'generate', 'text')"),
        (["predict", "--layers", "many"], "invalid literal for int() with base 10: 'many'"),
    ],
)
def test_a_value_that_cannot_be_read_is_said_of_its_type_alone(capsys, arguments, what):
    """Not of None, which an option that is left out has."""
    said = refused_by_tyro(capsys, *arguments)
    assert what in said and "None" not in said


@pytest.mark.parametrize(
    "verb, hint", [("shrnk", "did you mean shrink?"), ("help", "`lightbulb --help` says what they do")]
)
def test_a_wrong_verb_is_one_clear_error(capsys, verb, hint):
    assert main([verb, "m", "--task", "home"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"error: there is no verb {verb!r}\n") and hint in err and err.count("\n") == 2


@pytest.mark.parametrize("verb", VERBS)
def test_a_default_is_told_once_where_there_is_one(capsys, monkeypatch, verb):
    monkeypatch.setenv("COLUMNS", "400")  # a line for each option
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert any("(default: " in line for line in lines)
    assert not [line for line in lines if line.count("(default") > 1 or re.search(r"default: (unset|None|''|)\)", line)]


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_in_the_help_and_explained(capsys, verb):
    """Those of groups, too."""
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    page, options = capsys.readouterr().out, options_of(VERBS[verb])
    typed = [f"--{name.replace('_', '-')}" for name, kind in options.items() if not kind.startswith("conf.Positional")]
    assert all(re.search(rf"\s{option}[\s,]", page) for option in typed)
    hints = filter(dataclasses.is_dataclass, get_type_hints(VERBS[verb]).values())
    groups = [
        each for group in hints for each in group.__mro__ if dataclasses.is_dataclass(each)
    ]  # what they extend, too
    explained = "\n".join(inspect.getdoc(thing) for thing in (VERBS[verb], *groups))
    assert all(f"\n    {name}: " in explained for name in options)


def test_dry_run_writes_nothing_and_says_what_it_would_do(capsys, tiny_folder, tmp_path, monkeypatch):
    from conftest import choose_rows, write_rows

    monkeypatch.chdir(tmp_path)
    data = write_rows(tmp_path / "task.jsonl", choose_rows(60))
    begin = time.perf_counter()
    arguments = ["shrink", str(tiny_folder), "--task", str(data), "--max-time", "15m", "--dry-run", "--threads", "1"]
    assert main([*arguments, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["seconds"]["source"] == "estimated" and record["seconds"]["low"] < record["seconds"]["high"] <= 1000
    assert main(arguments) == 0
    assert "[[step]]" in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["task.jsonl"] and time.perf_counter() - begin < 60
