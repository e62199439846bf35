"""The Modelfile reads as the chat template of the file does: Go's template is performed here by hand."""

from __future__ import annotations

import json
import re

import pytest

from lightbulb.models.form import PLAIN_TEMPLATE
from lightbulb.models.templates import compiled
from lightbulb.report.ollama import bare_form, go_template, marks_in, modelfile

S, E = "<|im_start|>", "<|im_end|>"
CHATML = (
    "{% for m in messages %}" + S + "{{ m['role'] }}\n{{ m['content'] }}" + E + "\n{% endfor %}"
    "{% if add_generation_prompt %}" + S + "assistant\n{% endif %}"
)
DEFAULT = S + "system\nBe \"good\" {{ '{{' }}." + E + "\n"
SYSTEM = "{% if messages[0]['role'] != 'system' %}" + DEFAULT + "{% endif %}" + CHATML
TURNS = [
    {"role": "user", "content": "turn on {{ the }} light"},
    {"role": "assistant", "content": "done"},
    {"role": "user", "content": "thanks"},
]


def fields(template: str) -> dict:
    return {
        "tokenizer.chat_template": template,
        "tokenizer.ggml.tokens": ["<s>", E],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
    }


def performed(template: str, turns: list[dict[str, str]]) -> str:
    """What Go's text/template makes of the few actions that a Modelfile uses."""
    pieces = re.split(r"\{\{ (.*?) \}\}(?=[^}]|$)", template)
    items = [("text" if n % 2 == 0 else "action", piece) for n, piece in enumerate(pieces)]
    out: list[str] = []

    def run(at: int, scope: dict, alive: bool) -> int:
        """From item `at` to its end; returns the place of the closing action."""
        while at < len(items):
            kind, piece = items[at]
            if kind == "text":
                out.extend([piece] if alive else [])
            elif piece.startswith("range"):
                for i, m in enumerate(turns):
                    end = run(at + 1, {"i": i, "m": m}, alive)
                at = end
            elif piece.startswith("if"):
                taken, at = False, at
                while True:
                    word = items[at][1]
                    here = not taken and (word == "else" or holds(word, scope))
                    at = run(at + 1, scope, alive and here)
                    taken = taken or here
                    if items[at][1] == "end":
                        break
            elif piece == "end" or piece.startswith("else"):
                return at
            elif piece == "$m.Content":
                out.extend([scope["m"]["content"]] if alive else [])
            else:
                out.extend([json.loads(piece)] if alive else [])
            at += 1
        return at

    def holds(word: str, scope: dict) -> bool:
        name, value = word.rsplit("eq ", 1)[1].split(" ", 1)
        return (scope["i"] if name == "$i" else scope["m"]["role"]) == json.loads(value)

    run(0, {}, True)
    return "".join(out)


@pytest.mark.parametrize("template", [PLAIN_TEMPLATE, CHATML, SYSTEM])
def test_it_reads_as_the_files_own_template(template):
    marks = marks_in(fields(template), "")
    assert marks is not None
    own = compiled(template)
    for turns in (TURNS, TURNS[:1]):
        wanted = own.render(messages=turns, add_generation_prompt=True, bos_token="<s>", eos_token=E)
        assert performed(go_template(marks), turns) == wanted


def test_the_modelfile_of_a_closed_set():
    text = modelfile(marks_in(fields(PLAIN_TEMPLATE), ""), "choose", E)
    assert text.splitlines()[1:] == [
        "FROM ./model.gguf",
        'TEMPLATE """{{ range $i, $m := .Messages }}{{ $m.Content }}<|im_end|>{{ end }}"""',
        "PARAMETER temperature 0",
        "PARAMETER repeat_penalty 1",
        "PARAMETER num_predict 1",
        'PARAMETER stop "<|im_end|>"',
    ]
    assert '"{prompt}<|im_end|>"' in text.splitlines()[0]


def test_a_written_answer_may_be_longer_than_a_token():
    assert "num_predict" not in modelfile(marks_in(fields(CHATML), ""), "generate", E)


def test_a_bos_that_runtimes_add_is_not_written_twice():
    marks = marks_in(fields("{{ bos_token }}" + CHATML), "<s>")
    assert bare_form(marks) == f"{S}user\n{{prompt}}{E}\n{S}assistant\n"


def test_no_modelfile_where_no_plain_template_does():
    shouting = "{% for m in messages %}{{ m['content'] | upper }}{% endfor %}"
    assert marks_in(fields(shouting), "") is None and marks_in({}, "") is None
