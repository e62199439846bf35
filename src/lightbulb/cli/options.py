"""What the options of the verbs are, groups of them (dataclasses) included, and how their values are read."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import shlex
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar, Union, get_args, get_type_hints

from tyro import conf, constructors

from lightbulb.core.errors import UserError
from lightbulb.energy.processor import threads_held

VALUES = constructors.ConstructorRegistry()
T = TypeVar("T")

# An option that may be left out: its text says what is done then, and no "(default: None)" follows it.
Omittable = Annotated[T | None, conf.arg(help_behavior_hint="")]


@VALUES.primitive_rule
def _value_or_none(found: constructors.PrimitiveTypeInfo) -> constructors.PrimitiveConstructorSpec[Any] | None:
    """`X | None` is typed as X, and what cannot be read is said of X alone; None is what an option left out has."""
    kinds = [kind for kind in get_args(found.type) if kind is not types.NoneType]
    if found.type_origin not in (types.UnionType, Union) or len(kinds) != 1:
        return None
    plain = VALUES.get_primitive_spec(constructors.PrimitiveTypeInfo.make(kinds[0], found.markers))
    if not isinstance(plain, constructors.PrimitiveConstructorSpec):
        return None
    return dataclasses.replace(
        plain,
        is_instance=lambda value: value is None or plain.is_instance(value),
        str_from_instance=lambda value: [] if value is None else plain.str_from_instance(value),
    )


def options_of(verb: Callable[..., Any]) -> dict[str, str]:
    """Parameter -> its annotation, of all that can be typed after a verb."""
    found: dict[str, str] = {}
    hints = get_type_hints(verb)
    for name, parameter in inspect.signature(verb).parameters.items():
        if dataclasses.is_dataclass(hints[name]):
            found |= {field.name: str(field.type) for field in dataclasses.fields(hints[name])}
        else:
            found[name] = str(parameter.annotation)
    return found


def threads_of(asked: int | None) -> int:
    """All that this process may use, where none are asked for."""
    return threads_held() if asked is None else asked


def typed_command() -> str:
    """What was typed, for the record of a run."""
    return "lightbulb " + shlex.join(sys.argv[1:])


def check_verb(arguments: Sequence[str], verbs: Mapping[str, Callable[..., Any]]) -> None:
    """That the first word is a verb, where it is no option.

    Raises:
        UserError: it is none; names the one that was meant
    """
    if not arguments or arguments[0].startswith("-") or arguments[0] in verbs:
        return
    near = difflib.get_close_matches(arguments[0], verbs, n=1)
    hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(verbs)}; `lightbulb --help` says what they do"
    raise UserError(f"there is no verb {arguments[0]!r}", hint=hint)
