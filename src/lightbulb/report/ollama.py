"""How a file is used where its chat template is not: an Ollama Modelfile, and the bare text that a prompt becomes.

Ollama's templates are Go's (https://pkg.go.dev/text/template) over .Messages with .Role and .Content; the file's keys:
https://github.com/ollama/ollama/blob/main/docs/modelfile.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightbulb.models.templates import Marks, compiled, marks_of
from lightbulb.tasks.task import TaskKind

QUESTION = "{prompt}"
USER = [{"role": "user", "content": QUESTION}]


def marks_in(fields: Mapping[str, Any], added_bos: str) -> Marks | None:
    """What the chat template of a GGUF puts around a question, without the BOS that runtimes add; None where it has no
    template, or one that hangs on more.

    Args:
        fields: keys -> values of the file
    """
    template, tokens = fields.get("tokenizer.chat_template"), fields.get("tokenizer.ggml.tokens", [])
    if not template:
        return None
    ids = {role: fields.get(f"tokenizer.ggml.{role}_token_id") for role in ("bos", "eos")}
    given = {f"{r}_token": tokens[i] if isinstance(i, int) and 0 <= i < len(tokens) else "" for r, i in ids.items()}
    own = compiled(template)

    def text(turns: Any, answered: bool) -> str:
        rendered = own.render(messages=turns, add_generation_prompt=answered, tools=None, documents=None, **given)
        return str(rendered).removeprefix(added_bos)

    return marks_of(text, [USER])


def bare_form(marks: Marks) -> str:
    """The whole text that the model reads for a question, with {prompt} in its place."""
    return marks.render(USER)


def modelfile(marks: Marks, kind: TaskKind, end: str, file: str = "model.gguf") -> str:
    """The text of a Modelfile that makes Ollama read and stop as the model was trained to.

    Args:
        end: the text of its EOS
    """
    lines = [
        f"# ollama create NAME -f Modelfile; a program without chat templates sends: {json.dumps(bare_form(marks))}",
        f"FROM ./{file}",
        f'TEMPLATE """{go_template(marks)}"""',
        "PARAMETER temperature 0",
        "PARAMETER repeat_penalty 1",
    ]
    if kind == "choose":
        lines.append("PARAMETER num_predict 1")
    if end:
        lines.append(f"PARAMETER stop {json.dumps(end, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def go_template(marks: Marks) -> str:
    """The template in Go's language. Content is not trimmed there: Go's templates have no such function."""
    first, before, after = (_by_role(table) for table in (marks.first, marks.before, marks.after))
    start = first if marks.first == marks.before else f"{{{{ if eq $i 0 }}}}{first}{{{{ else }}}}{before}{{{{ end }}}}"
    turn = f"{start}{{{{ $m.Content }}}}{after}"
    return f"{{{{ range $i, $m := .Messages }}}}{turn}{{{{ end }}}}{_text(marks.answer)}"


def _by_role(table: Mapping[str, str]) -> str:
    if len(set(table.values())) == 1:
        return _text(next(iter(table.values())))
    parts = [
        f"{{{{ {'else if' if n else 'if'} eq $m.Role {json.dumps(role)} }}}}{_text(text)}"
        for n, (role, text) in enumerate(table.items())
    ]
    return "".join(parts) + "{{ end }}"


def _text(text: str) -> str:
    """As it is where it can be; quoted as Go quotes (as JSON does) where braces, quotes or ends of lines are in it."""
    plain = not any(c in text for c in '{}"\\\n\r\t') and text == text.strip()
    return text if plain else f"{{{{ {json.dumps(text, ensure_ascii=False)} }}}}"


def describe(folder: Path, gguf: Path, kind: TaskKind) -> str | None:
    """Writes `Modelfile` for a file that is handed out as model.gguf in `folder`; returns its bare form. Nothing, and
    None, where no plain template reads as the file's own."""
    from lightbulb.core.files import write_text
    from lightbulb.models.gguf_info import read_fields, read_gguf

    fields = read_fields(gguf)
    marks = marks_in(fields, read_gguf(gguf).added_bos)
    if marks is None:
        return None
    tokens, end = fields["tokenizer.ggml.tokens"], fields.get("tokenizer.ggml.eos_token_id")
    write_text(folder / "Modelfile", modelfile(marks, kind, tokens[end] if end is not None else ""))
    return bare_form(marks)
