"""Chat templates: compiled as transformers compiles them, and frozen into a plain one where each program would render
another text.

A template may ask for more than the conversation: the date, tools, whether to think. Programs answer that in their own
ways, so one conversation becomes several texts, and a model that was trained on one of them meets another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

# transformers' own tags around what an assistant says: they mark it for training, and print nothing
GENERATION = re.compile(r"({%-?\s*)((?:end)?generation)(\s*-?%})")
GENERATION_AS = {"generation": "if true", "endgeneration": "endif"}
# what every program gives a template alike: the conversation, the texts of special tokens, ways to refuse
GIVEN = frozenset({"messages", "add_generation_prompt", "raise_exception", "namespace", "range", "dict", "loop"})
SPECIAL = re.compile(r"(bos|eos|unk|pad)_token")
OTHER_SHAPES = (("user",), ("system", "user"), ("user", "assistant", "user"))

Turns = Sequence[Mapping[str, str]]
Render = Callable[[Turns, bool], str]  # (conversation, whether the answer is to follow) -> text


def compiled(template: str, today: datetime | None = None) -> Any:
    """A template as transformers compiles it: in a sandbox, blocks trimmed, with the names they use.

    Args:
        template: Jinja
        today: for a template that asks for the date; None: the clock's

    Raises:
        TemplateError: it is no Jinja (jinja2's; also where the template itself refuses what it renders)
    """
    from jinja2.exceptions import TemplateError

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = _environment()
    environment.filters["tojson"] = lambda x, **more: json.dumps(x, **{"ensure_ascii": False, **more})
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: (today or datetime.now()).strftime(form)
    return environment.from_string(_without_generation(template))


def _environment() -> Any:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])


def _without_generation(template: str) -> str:
    return GENERATION.sub(lambda tag: tag[1] + GENERATION_AS[tag[2]] + tag[3], template)


def is_plain(template: str) -> bool:
    """Whether a template only prints the conversation and the special tokens, which every program does alike: it looks
    up no other name (tools, the date, whether to think) and works nothing out."""
    from jinja2 import meta, nodes
    from jinja2.exceptions import TemplateError

    if GENERATION.search(template):
        return False
    try:
        tree = _environment().parse(template)
    except TemplateError:
        return True  # rendering says what is wrong with it
    names = {n for n in meta.find_undeclared_variables(tree) - GIVEN if not SPECIAL.fullmatch(n)}
    works = (nodes.Macro, nodes.Assign, nodes.AssignBlock, nodes.Call)
    found = [n for n in tree.find_all(works) if not _refuses(n)]
    return not names and not found


def _refuses(node: Any) -> bool:
    return getattr(getattr(node, "node", None), "name", None) == "raise_exception"


@dataclass(frozen=True)
class Marks:
    """What a template puts around the contents of turns.

    Attributes:
        first: role -> text before a turn at the start of the conversation
        before: role -> text before a later turn
        after: role -> text behind a turn
        answer: what goes before the answer
        trimmed: blanks at the ends of contents are taken off
    """

    first: dict[str, str]
    before: dict[str, str]
    after: dict[str, str]
    answer: str
    trimmed: bool = False

    def render(self, turns: Turns, answered: bool = True) -> str:
        """The conversation as text, with what goes before an answer where `answered`."""
        parts = []
        for n, turn in enumerate(turns):
            role, content = turn["role"], turn["content"]
            parts += [
                (self.before if n else self.first)[role],
                content.strip() if self.trimmed else content,
                self.after[role],
            ]
        return "".join(parts) + (self.answer if answered else "")

    def as_jinja(self) -> str:
        """A template that every program renders alike: names of roles, texts, and nothing else."""
        content = "m['content'] | trim" if self.trimmed else "m['content']"
        first, before, after = (_by_role(table) for table in (self.first, self.before, self.after))
        start = first if self.first == self.before else f"{{% if loop.first %}}{first}{{% else %}}{before}{{% endif %}}"
        answer = f"{{% if add_generation_prompt %}}{_printed(self.answer)}{{% endif %}}" if self.answer else ""
        return f"{{% for m in messages %}}{start}{{{{ {content} }}}}{after}{{% endfor %}}{answer}"


def _by_role(table: Mapping[str, str]) -> str:
    if len(set(table.values())) == 1:
        return _printed(next(iter(table.values())))
    parts = [
        f"{{% {'elif' if n else 'if'} m['role'] == {_quoted(role)} %}}{_printed(text)}"
        for n, (role, text) in enumerate(table.items())
    ]
    return "".join(parts) + "{% endif %}"


def _printed(text: str) -> str:
    return f"{{{{ {_quoted(text)} }}}}" if text else ""


def _quoted(text: str) -> str:
    for plain, escaped in (("\\", "\\\\"), ("'", "\\'"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        text = text.replace(plain, escaped)
    return f"'{text}'"


def marks_of(render: Render, conversations: Iterable[Turns]) -> Marks | None:
    """Reads the marks off a template. How other conversations begin and go on is read off, too, where `render` takes
    them.

    Args:
        render: the template: (turns, whether an answer follows) -> text
        conversations: that the marks must render as `render` does

    Returns:
        None where no marks do, as the text hangs on more than roles and their order.
    """
    every = list(conversations)
    shapes = list(dict.fromkeys(tuple(turn["role"] for turn in turns) for turns in every))
    others = [s for s in OTHER_SHAPES if s not in shapes and _pieces(_attempt(render, _words(s), True), len(s))]
    for wanted in (shapes + others, shapes):
        for trimmed in (False, True):
            marks = _fitted(render, wanted, trimmed)
            if marks and all(marks.render(turns) == render(turns, True) for turns in every):
                return marks
    return None


def _words(roles: Sequence[str]) -> list[dict[str, str]]:
    """A conversation in which every turn says a word of its own."""
    return [{"role": role, "content": f"word{n}word"} for n, role in enumerate(roles)]


def _fitted(render: Render, shapes: Sequence[tuple[str, ...]], trimmed: bool) -> Marks | None:
    """Marks read off conversations of these roles; None where one role would need two."""
    after: dict[str, str] = {}
    for roles in shapes:
        for n in range(1, len(roles) + 1):  # what stands behind the last turn belongs to its role
            pieces = _pieces(_attempt(render, _words(roles[:n]), False), n)
            if pieces is not None and after.setdefault(roles[n - 1], pieces[-1]) != pieces[-1]:
                return None
    first: dict[str, str] = {}
    before: dict[str, str] = {}
    answers: set[str] = set()
    for roles in shapes:
        pieces = _pieces(_attempt(render, _words(roles), True), len(roles))
        if pieces is None:
            return None
        ends = [after.get(role, "") for role in roles]
        if not all(piece.startswith(end) for piece, end in zip(pieces[1:], ends, strict=True)):
            return None
        start, *rest = [pieces[0], *(p.removeprefix(e) for p, e in zip(pieces[1:], ends, strict=True))]
        answers.add(rest.pop())
        found = [(first, roles[0], start), *((before, r, text) for r, text in zip(roles[1:], rest, strict=True))]
        if any(table.setdefault(role, text) != text for table, role, text in found):
            return None
    if len(answers) != 1:
        return None
    behind = {role: after.get(role, "") for role in (*first, *before)}
    return Marks({**before, **first}, {**first, **before}, behind, answers.pop(), trimmed)


def _attempt(render: Render, turns: Turns, answered: bool) -> str | None:
    try:
        return render(turns, answered)
    except Exception:  # a template may refuse half a conversation in any way it likes
        return None


def _pieces(text: str | None, turns: int) -> list[str] | None:
    """What stands before, between and behind the words of `turns` turns; None unless each is there once, in order."""
    if text is None or re.findall(r"word(\d+)word", text) != [str(n) for n in range(turns)]:
        return None
    return re.split(r"word\d+word", text)
