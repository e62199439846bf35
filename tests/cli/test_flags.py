"""Errors of the library speak of parameters; the command turns them into what is typed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import lightbulb
from lightbulb import api
from lightbulb.cli import VERBS, main
from lightbulb.cli.output import with_flags
from lightbulb.core.errors import GoalError, LightbulbError, UserError
from lightbulb.shrinking.goal import Goal

LIBRARY = Path(lightbulb.__file__).parent
FLAG = re.compile(r"(?<![\w-])--[a-z{]")
COMMAND = re.compile(r"\b(lightbulb [a-z]+|pip install|python benchmarks/\w+\.py) ")


def messages(tree: ast.AST) -> Iterator[str]:
    """The texts of every error that is raised, and of every `where` and `hint`, whatever gives them."""
    errors = {"RunFailure", "StorageFull", "UnsupportedModel", "MissingExtra"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            texts = [k.value for k in node.keywords if k.arg in ("where", "hint")]
            yield from map(ast.unparse, texts + (node.args if name in errors or name.endswith("Error") else []))
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in ("where", "hint"):
            yield ast.unparse(node.value)


def library() -> list[Path]:
    """All but the command itself, its pages, and the doctor, who says what to type in a shell."""
    return [f for f in LIBRARY.rglob("*.py") if f.relative_to(LIBRARY).parts[0] not in ("cli", "report", "doctor")]


@pytest.mark.parametrize("file", library(), ids=lambda f: str(f.relative_to(LIBRARY)))
def test_errors_of_the_library_name_no_flags(file):
    for text in messages(ast.parse(file.read_text(encoding="utf-8"))):
        assert COMMAND.search(text) or not FLAG.search(text), text


def test_the_check_sees_flags():
    code = 'raise GoalError("no", where="--keep", hint=f"--{x}")\nhint = "--out" if x else "--kind text"'
    assert sum(bool(FLAG.search(text)) for text in messages(ast.parse(code))) == 3


@pytest.mark.parametrize(
    "verb, message, words",
    [
        ("shrink", "`max_time`", "--max-time"),
        ("shrink", "`max_time=45m` (or 90s)", "--max-time 45m (or 90s)"),
        ("shrink", "`prompt=COLUMN` `completion=COLUMN`", "--prompt COLUMN --completion COLUMN"),
        ("shrink", "`dry_run=True`, `dry_run=False` or `dry_run`", "--dry-run, --no-dry-run or --dry-run"),
        ("shrink", "lower `layers`", "lower `layers`"),
        ("predict", "both `model` and `layers` ...", "both MODEL and --layers ..."),
        ("predict", "`lightbulb predict --devices` lists all", "`lightbulb predict --devices` lists all"),
        ("doctor", "another `out`", "another `out`"),
        (None, "`out`", "`out`"),
    ],
)
def test_parameters_become_what_is_typed(verb, message, words):
    assert with_flags(message, VERBS.get(verb)) == words


def test_an_error_in_python_and_on_the_command_line(capsys, monkeypatch):
    with pytest.raises(GoalError) as e:
        Goal.parse(97, "1h", 0, 1, None)
    assert (e.value.where, e.value.hint) == ("`keep`", "`keep=0.97`")
    assert main(["shrink", "smollm2-135m", "--task", "home", "--keep", "97"]) == 2
    assert "  where: --keep\n  hint:  --keep 0.97\n" in capsys.readouterr().err


def test_any_error_of_any_verb_is_translated(capsys, monkeypatch):
    def refuse(folder: Path) -> Path:
        raise UserError("no", where="`folder`", hint="`json`")

    monkeypatch.setattr(api, "render_report", refuse)
    assert main(["report", "somewhere"]) == 2
    assert capsys.readouterr().err == "error: no\n  where: FOLDER\n  hint:  --json\n"


def test_forecast_takes_numbers_and_texts():
    given = lightbulb.forecast(answers_per_day=2e6, joules_per_answer=0.4, price_per_kwh=0.25)
    typed = api.forecast(answers_per_day="2e6", joules_per_answer="0.4", price_per_kwh="0.25")
    assert given == typed and given.model.kwh.value == pytest.approx(730e6 * 0.4 / 3.6e6)
    with pytest.raises(LightbulbError) as e:
        api.forecast(answers_per_day=float("nan"), joules_per_answer=1)
    assert (e.value.what, e.value.where) == ("'nan' is not a number", "`answers_per_day`")
