"""The runtimes by name: lightbulb's own, and those of plugins. Each is imported when its name is looked up.

A GGUF file of an architecture that only one runtime knows is opened in that one, whichever was asked for.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from lightbulb.core import plugins
from lightbulb.core.errors import UnsupportedModel, UserError
from lightbulb.formats.gguf.header import read_architecture, read_header
from lightbulb.models.kinds.fallback import fallback_of
from lightbulb.runtimes.base import ModelForm, Runtime

if TYPE_CHECKING:
    from lightbulb.models.spec import ModelSpec

BUILT_IN = {
    "llamacpp": "lightbulb.runtimes.llamacpp:LlamaCpp",
    "filament": "lightbulb.runtimes.filament:Filament",
    "classifier": "lightbulb.runtimes.classifier:Classifier",
    "slots": "lightbulb.runtimes.slots:Slots",
    "classifier-cascade": "lightbulb.runtimes.cascade:ClassifierCascade",
    "slots-cascade": "lightbulb.runtimes.cascade:SlotsCascade",
    "torch": "lightbulb.runtimes.torch:Torch",
    "endpoint": "lightbulb.runtimes.endpoint:Endpoint",
}
USUAL: dict[ModelForm, str] = {"gguf": "llamacpp", "folder": "torch", "url": "endpoint"}
CLASSIFIER = "classifier"  # the runtime of files that only choose
SLOTS = "slots"  # of files that fill in answers
ONLY_IN = {  # architecture -> runtime
    **dict.fromkeys(("lightbulb-ngrams", "lightbulb-cascade", "bert"), CLASSIFIER),
    "lightbulb-slots": SLOTS,
    **dict.fromkeys(("matmulfree", "lightbulb-recurrent"), "filament"),
}
NO_LANGUAGE_MODEL = (CLASSIFIER, SLOTS)  # the runtimes of files that are none
CASCADES = {CLASSIFIER: "classifier-cascade", SLOTS: "slots-cascade"}  # of those with a language model beside them
FORMS: dict[ModelForm, str] = {"gguf": "GGUF files", "folder": "model folders", "url": "addresses of endpoints"}


def runtime_names() -> list[str]:
    """Lightbulb's own first, then those of plugins."""
    return [*BUILT_IN, *(name for name in plugins.names(plugins.RUNTIMES) if name not in BUILT_IN)]


def runtime_class(name: str) -> type[Runtime]:
    """The runtime of that name.

    Raises:
        UserError: there is none; lists those known
        PluginError: a plugin that cannot be used
    """
    plugin = plugins.load_class(plugins.RUNTIMES, name, Runtime, BUILT_IN)
    if plugin is not None:
        return plugin
    if name not in BUILT_IN:
        by_file = (*NO_LANGUAGE_MODEL, *CASCADES.values())  # which of these opens it, a file says
        chosen = [known for known in runtime_names() if known not in by_file]
        raise UserError(f"there is no runtime {name!r}", where="`runtime`", hint=f"use one of {', '.join(chosen)}")
    module, cls = BUILT_IN[name].split(":")
    return getattr(importlib.import_module(module), cls)


def title_of(name: str) -> str:
    """How sentences call a runtime; its name where it is known no more (a record of another day)."""
    try:
        return runtime_class(name).title
    except UserError:
        return name


def check_installed(name: str) -> type[Runtime]:
    """The runtime of that name, if it can be used here: known now, rather than after an hour.

    Raises:
        UserError: what it needs is not installed, or there is no such runtime
    """
    runtime = runtime_class(name)
    if not runtime.installed():
        raise UserError(
            f"{runtime.title} is not installed",
            where=f"`runtime={name}`",
            hint=runtime.install + ("" if name in NO_LANGUAGE_MODEL else f", or `runtime={USUAL[runtime.opens]}`"),
        )
    return runtime


def check_opens(name: str, form: ModelForm) -> type[Runtime]:
    """As `check_installed`, of a runtime that opens models of one form.

    Args:
        name: the runtime's
        form: of the model that it would get

    Raises:
        UserError: it does not open that form, or is not installed
    """
    runtime = check_installed(name)
    if runtime.opens != form:
        raise UserError(
            f"{runtime.title} runs {FORMS[runtime.opens]}, and here it would get {FORMS[form]}",
            where=f"`runtime={name}`",
            hint=f"`runtime={USUAL[form]}`",
        )
    return runtime


def check_ships(name: str, kind: str | None = None) -> type[Runtime]:
    """As `check_opens` of GGUF files, of a runtime that can do all that the main job asks of it.

    Args:
        name: the runtime's
        kind: of the tasks

    Raises:
        UserError: it cannot
    """
    runtime = check_opens(name, "gguf")
    runtime.require("sees_tokens", "scores_next", "writes_exactly", *needed_for(kind))
    return runtime


def needed_for(kind: str | None) -> list[str]:
    """Capabilities without which a task of this kind is not answered at its full score."""
    return {"choose": ["closed_set"], "text": ["scores_texts"]}.get(kind or "", [])


def check_supports(name: str, spec: ModelSpec) -> None:
    """Refuses a runtime that does not run models of `spec`.

    Raises:
        UnsupportedModel: it does not
    """
    from lightbulb.models.gguf_shape import architecture_of

    runtime = runtime_class(name)
    if not runtime.supports(spec):
        raise UnsupportedModel(
            f"{runtime.title} does not run models of the architecture {architecture_of(spec)!r}",
            where=f"`runtime={name}`",
            hint="`runtime=llamacpp`",
        )


def is_language_model(path: Path) -> bool:
    """Whether a GGUF file is one, and no model of another kind.

    Raises:
        ModelError: it is damaged
    """
    return ONLY_IN.get(read_architecture(path)) not in NO_LANGUAGE_MODEL


def falls_back(path: Path) -> bool:
    """Whether a file hands what it is not sure of on to a language model beside it.

    Raises:
        ModelError: it is damaged
    """
    return fallback_of(read_header(path).fields, path) is not None


def open_gguf(path: Path, name: str = "llamacpp", *, threads: int = 2, slots: int = 1, context: int = 1024) -> Runtime:
    """Opens a GGUF file in a runtime that takes it.

    Args:
        path: the file
        name: the runtime's
        threads: of the processor
        slots: prompts side by side
        context: tokens of the longest prompt with its answer

    Raises:
        UserError: the runtime does not take GGUF files, or is not installed
        ModelError: the file cannot be opened
    """
    from lightbulb.runtimes.cascade import Cascade

    opener = check_opens(runtime_of(path, name), "gguf")
    if issubclass(opener, Cascade) and name not in CASCADES.values():
        return opener(path, threads=threads, slots=slots, context=context, then=name)
    return opener.open(path, threads=threads, slots=slots, context=context)


def runtime_of(path: Path, name: str = "llamacpp") -> str:
    """The name of the runtime that opens a GGUF file: the one asked for, but for files that only one runs.

    Raises:
        ModelError: the file is damaged
    """
    only = ONLY_IN.get(read_architecture(path))
    return CASCADES[only] if only in CASCADES and falls_back(path) else only or name
