"""Kinds of student beside the decoders that are cut from the source itself: each says what to try and how it is made.

Some need nothing of the teacher ("linear": n-grams, "slots": answers filled in); they take seconds and are tried before
it. What a kind makes is a file as any other: scored on validation, held against the floor, measured beside the stock
files, and handed out where it is the cheapest that does what was asked. Others come from plugins, by the entry points
`lightbulb.kinds`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightbulb.core import plugins
from lightbulb.core.errors import PluginError, UserError
from lightbulb.shrinking.candidate import DECODER, Candidate

if TYPE_CHECKING:
    from lightbulb.shrinking.kinds.base import After, Setting, StudentKind

HERE = "lightbulb.shrinking.kinds"
BUILT_IN = {
    "linear": f"{HERE}.linear:Linear",
    "slots": f"{HERE}.slots:SlotFilling",
    "encoder": f"{HERE}.encoder:Encoders",
    "cascade": f"{HERE}.cascade:Cascades",
}  # cheapest first


def kind_names() -> list[str]:
    """Every kind that can be asked for, cheapest first."""
    return [*BUILT_IN, *(n for n in plugins.names(plugins.KINDS) if n not in BUILT_IN), DECODER]


def kind_named(name: str) -> StudentKind:
    """The kind of that name, which is no decoder.

    Raises:
        PluginError: none is installed, or what is there is none
    """
    from lightbulb.shrinking.kinds.base import StudentKind

    found = plugins.load_class(plugins.KINDS, name, StudentKind, (DECODER, *BUILT_IN))
    if found is None and name in BUILT_IN:
        module, cls = BUILT_IN[name].split(":")
        found = getattr(importlib.import_module(module), cls)
    if found is None:
        raise PluginError(
            f"students of the kind {name!r} are not installed here",
            where=f"entry points {plugins.KINDS}",
            hint="install the plugin that this run began with, or choose another `out`",
        )
    return found()  # type: ignore[no-any-return]


def check_kinds(kinds: Sequence[str] | None) -> None:
    """That every kind that is asked for is known here.

    Raises:
        UserError: one is not
    """
    for name in kinds or ():
        if name not in kind_names():
            raise UserError(
                f"there is no kind of student {name!r}", where="`kinds`", hint=f"use {', '.join(kind_names())}"
            )


def candidates_after(step: After, setting: Setting, kinds: Sequence[str] | None) -> tuple[Candidate, ...]:
    """What the kinds that need no more than the artifacts of `step` would try, cheapest first.

    Args:
        kinds: the ones asked for; None: all that are installed
    """
    wanted = [kind_named(name) for name in kind_names() if name != DECODER and (kinds is None or name in kinds)]
    return tuple(c for kind in wanted if kind.after == step for c in kind.candidates(setting))
