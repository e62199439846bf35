"""Conversations in the forms that OpenAI, TRL, ShareGPT and spreadsheets give them: turns in, an example out.

What cannot be learned from text alone (calls of tools, images) is no example, and says why.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightbulb.core.errors import TaskError
from lightbulb.tasks.cells import cell, whole_cell
from lightbulb.tasks.task import Example, Message

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "chatbot": "assistant",
    "tool": "tool",
    "function": "tool",
    "function_call": "tool",
    "function_response": "tool",
    "observation": "tool",
    "ipython": "tool",
}
HOLDERS = ("messages", "conversations", "conversation")  # keys of an object around the turns
CALLS = ("tool_calls", "function_call")
HUMAN = re.compile(r"(?:\A|\n\n)(Human|Assistant): ?")
EMPTY = "an empty prompt or completion"
NO_TEXT = "no text"
NO_ANSWER = "no answer at the end"
TOOLS = "calls of tools"
NOT_TEXT = "images or other parts that are not text"
BAD_ANSWER = "an answer that is marked as bad"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that gives no example.

    Attributes:
        place: where it is
        why: in words
        answer: that it had, as far as that is text
    """

    place: str
    why: str
    answer: str = ""


def turns_in(value: Any, certain: bool = False) -> list[Any] | None:
    """The turns that a cell holds, also as JSON, as Python or as "Human: ... Assistant: ...".

    Args:
        value: of the cell
        certain: only where each item is a turn beyond doubt, because the cell may be plain text

    Returns:
        None for other values.
    """
    if isinstance(value, str):
        value = _parsed(value) if not certain or value.lstrip().startswith("[") else None
    if isinstance(value, dict):
        value = next((value[key] for key in HOLDERS if key in value), None)
    if not isinstance(value, list | tuple):
        return None
    if certain and not (value and all(role_of(turn) and _content_of(turn) is not None for turn in value)):
        return None
    return list(value)


def as_example(turns: Sequence[Any], place: str) -> Example | LeftOut:
    """The last answer, and all turns before it.

    Raises:
        TaskError: it is no conversation
    """
    messages, why, calls = list[Message](), "", list[str]()
    for turn in turns:
        role = role_of(turn)
        if role is None:
            raise TaskError(
                "not a conversation: a list of {role, content} with the roles system, user, assistant",
                where=place,
                hint='write [{"role": "user", "content": "..."}, {"role": "assistant", ...}]',
            )
        text, foreign = _text(_content_of(turn), place, whole=role == "assistant")
        called = _called(turn)
        if role == "tool" or called:
            why, calls = TOOLS, calls + called
        elif foreign:
            why = why or NOT_TEXT
        messages.append(Message(role, text))
    last = messages[-1] if messages else Message("user", "")
    answer = last.content if last.role == "assistant" else ""
    if why:
        return LeftOut(place, why, answer.strip() or ", ".join(f"a call of {name}" for name in calls[-1:]))
    asked = [m.content for m in messages[:-1] if m.role == "user"]
    if messages and last.role != "assistant":
        return LeftOut(place, NO_ANSWER)
    if not asked or not asked[-1] or not answer.strip():
        return LeftOut(place, EMPTY, answer.strip())
    before = tuple(Message(m.role, m.content.strip()) for m in messages[:-1])
    return Example(asked[-1], answer, before)


def _parsed(text: str) -> Any:
    """The JSON or the Python literal that a spreadsheet's cell holds; None for other text."""
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            pass
        try:
            return ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None
    if text.lstrip().startswith("Human: "):
        parts = HUMAN.split(text.strip())[1:]
        return [{"role": who.lower(), "content": content} for who, content in zip(parts[::2], parts[1::2], strict=True)]
    return None


def role_of(turn: Any) -> str | None:
    """system, user, assistant or tool; None for what is no turn."""
    if not isinstance(turn, dict):
        return None
    role = turn.get("role") or turn.get("from")
    return ROLES.get(role.strip().casefold()) if isinstance(role, str) else None


def _content_of(turn: dict[str, Any]) -> Any:
    return next((turn[key] for key in ("content", "value", "text", "parts") if turn.get(key) is not None), None)


def _text(content: Any, place: str, whole: bool) -> tuple[str, bool]:
    """Text of one turn, its parts joined by line ends, and whether parts of it are something else. whole: with the
    blanks around it, which may be the indentation of code."""
    read = whole_cell if whole else cell
    if isinstance(content, dict) and isinstance(content.get("text"), str):
        content = [content]
    if not isinstance(content, list | tuple):
        return read(content, place, "content"), False
    parts = [part.get("text") if isinstance(part, dict) else part for part in content]
    words = [read(part, place, "content") for part in parts if isinstance(part, str)]
    return "\n".join(word for word in words if word), len(words) < len(parts)


def _called(turn: dict[str, Any]) -> list[str]:
    """Names of the tools that a turn calls."""
    names = []
    for key in CALLS:
        calls = turn.get(key)
        for call in calls if isinstance(calls, list | tuple) else [calls] if calls else []:
            function = call.get("function", call) if isinstance(call, dict) else call
            names.append(str(function.get("name", "a tool") if isinstance(function, dict) else function)[:60])
    return names
