"""What `ask` says of a question, and how it shows an answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import tiny_task

from lightbulb.cli import main
from lightbulb.core.artifact import Artifact
from lightbulb.core.progress import Silent
from lightbulb.passes.base import Context
from lightbulb.passes.export import Export
from lightbulb.passes.format_task import FormatTask
from lightbulb.serving.ask import without_blanks


@pytest.fixture(scope="module", params=["choose", "generate"])
def kind_and_file(request, imported, tmp_path_factory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    context = Context(tiny_task(request.param), 0, Silent(), folder)
    (formatted := folder / "formatted").mkdir()
    (exported := folder / "exported").mkdir()
    facts = FormatTask().apply(imported, formatted, context)
    model = Artifact(path=formatted, kind="model", key="f", made_by="format-task", facts=facts)
    Export(quant_type="f16").apply(model, exported, context)
    return request.param, exported / "model.gguf"


@pytest.mark.parametrize("runtime", ["llamacpp", "filament"])
def test_a_question_that_is_too_long(kind_and_file, capsys, runtime):
    """The closed set is answered from what fits, and says what did not; a written answer has no room."""
    kind, file = kind_and_file
    if runtime == "filament":
        pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
    command = ["ask", str(file), "turn on the red lamp", "--json", "--max-tokens", "9", "--runtime", runtime]
    read = []
    for question in (command[2], f" {command[2]}\n"):
        assert main([*command[:2], question, *command[3:]]) == 0
        read.append(json.loads(capsys.readouterr().out))
    assert read[0]["unread_tokens"] == 0 and read[0]["prompt_tokens"] == read[1]["prompt_tokens"]
    command[2] *= 200
    code, (out, err) = main(command), capsys.readouterr()
    if kind == "choose":
        unread = json.loads(out)["unread_tokens"]
        assert code == 0 and unread > 500 and f"first {unread:,} of its tokens were not read" in err
    else:
        assert code == 2 and "no room for an answer of 9 tokens: beside this question of" in err
        assert "a shorter question" in err and out == ""


def test_an_answer_of_several_lines_keeps_its_indentation():
    assert without_blanks("\n    y = 1\n    return y\n ") == "    y = 1\n    return y"
    assert without_blanks(" light\n") == without_blanks("light ") == "light" and without_blanks(" \n ") == ""
