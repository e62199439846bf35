"""What every verb needs: one JSON object or a readable page, on whatever stdout can print."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lightbulb.cli.options import options_of
from lightbulb.core.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console


_ASCII = {
    "\N{NO-BREAK SPACE}": " ", "\N{MULTIPLICATION SIGN}": "x", "\N{MIDDLE DOT}": "-", "\N{EN DASH}": "-",
    "\N{EM DASH}": "-", "\N{HORIZONTAL ELLIPSIS}": "...", "\N{RIGHTWARDS ARROW}": "->", "\N{MINUS SIGN}": "-",
    "\N{PLUS-MINUS SIGN}": "+-", "\N{BULLET}": "*", "\N{MICRO SIGN}": "u", "\N{GREEK SMALL LETTER MU}": "u",
}  # fmt: skip


def print_anything() -> None:
    """What stdout and stderr cannot encode is replaced: by its like in ASCII, or by its number as in JSON."""
    codecs.register_error("lightbulb", _replaced)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # None, closed, or somebody else's
            stream.reconfigure(errors="lightbulb")  # type: ignore[union-attr]


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_ASCII.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text), error.end


def check_arguments(arguments: Sequence[str]) -> None:
    """That every argument can be read, or names something that is there: files may be called anything.

    Raises:
        UserError: one has bytes that are no UTF-8
    """
    for before, argument in zip(["", *arguments], arguments, strict=False):
        value = argument.partition("=")[2] if argument.startswith("--") else argument
        if not is_text(argument) and not _exists(value):
            option = argument.partition("=")[0] if argument.startswith("--") else before
            raise UserError(
                f"this is not UTF-8: {shown(value or argument)}",
                where=shown(option) if option.startswith("--") else "the command line",
                hint="type it in a terminal whose encoding is UTF-8, or in a script: export LC_ALL=C.UTF-8",
            )


def with_flags(text: str, verb: Callable[..., Any] | None) -> str:
    """A message of the library as one of the command: parameters of `verb` in backticks become what is typed.

    `max_time=45m` becomes --max-time 45m, `max_time` --max-time, `dry_run=True` --dry-run; a positional `model` becomes
    MODEL. Other words in backticks stay.
    """
    options = {} if verb is None else options_of(verb)

    def as_typed(found: re.Match[str]) -> str:
        name, value = found.groups()
        if name not in options:
            return found[0]
        if options[name].startswith("conf.Positional"):
            return value or name.upper()
        flag = name.replace("_", "-")
        if options[name] == "bool":
            return f"--no-{flag}" if value == "False" else f"--{flag}"
        return f"--{flag}" if value is None else f"--{flag} {value}"

    return re.sub(r"`([a-z][a-z0-9_]*)(?:=([^`\n]*))?`", as_typed, text)


def is_text(word: str) -> bool:
    """Whether it came from valid UTF-8."""
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def shown(word: str) -> str:
    """With what is no text as its bytes, as a shell would want it: caf\\xe9."""
    return "".join(f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c for c in word)


def _exists(value: str) -> bool:
    try:
        return bool(value) and os.path.lexists(value)
    except (OSError, ValueError):
        return False


def show(record: Any, as_json: bool, render: Callable[[Console], Any]) -> None:
    """One JSON object, in UTF-8 or else in ASCII, or what a person reads, on stdout. Brackets and colons of paths and
    texts stay what they are."""
    if as_json:
        encoding = (getattr(sys.stdout, "encoding", None) or "ascii").casefold().replace("-", "")
        print(json.dumps(record, ensure_ascii=encoding != "utf8"))
    else:
        from rich.console import Console

        render(Console(highlight=False, markup=False, emoji=False, soft_wrap=not sys.stdout.isatty()))
