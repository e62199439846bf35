"""Plugins: what other installed distributions offer by entry points, looked up by name when it is asked for.

    [project.entry-points."lightbulb.passes"]     # in the pyproject.toml of the distribution
    my-pass = "my_package.passes:MyPass"

Nothing is imported before its name is looked up, and nothing that the user has not installed. Specification:
https://packaging.python.org/en/latest/specifications/entry-points/.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any

from lightbulb.core.errors import PluginError

PASSES = "lightbulb.passes"  # subclasses of passes.base.Pass
RUNTIMES = "lightbulb.runtimes"  # subclasses of runtimes.base.Runtime
SENSORS = "lightbulb.sensors"  # functions without parameters that return an energy.sensors.Discovery
METRICS = "lightbulb.metrics"  # functions (prediction, reference) -> 0..1
FAMILIES = "lightbulb.families"  # families of models
KINDS = "lightbulb.kinds"  # kinds of students
QUANT_TYPES = "lightbulb.quant_types"  # types of blocks of weights
GROUPS = (PASSES, RUNTIMES, SENSORS, METRICS, FAMILIES, KINDS, QUANT_TYPES)


def names(group: str) -> list[str]:
    """The names that installed distributions give in `group`, sorted; nothing is imported."""
    return sorted({entry.name for entry in _entries(group)})


def load(group: str, name: str, built_in: Collection[str] = ()) -> Any:
    """What a plugin offers.

    Args:
        group: of entry points
        name: of the plugin
        built_in: names that lightbulb has itself

    Returns:
        None where none has that name.

    Raises:
        PluginError: two distributions give this name, one gives a name that is `built_in`, or it cannot be imported
    """
    found = [entry for entry in entries(group) if entry.name == name]
    if found and (name in built_in or len(found) > 1):
        owners = ["lightbulb"] * (name in built_in) + [distribution(entry) for entry in found]
        raise PluginError(
            f"{' and '.join(owners)} each have something called {name!r}",
            where=f"entry points {group}",
            hint=f"pip uninstall {_bare(found[-1])}",
        )
    return load_entry(found[0]) if found else None


def load_class(group: str, name: str, base: type, built_in: Collection[str] = ()) -> Any:
    """As `load`, of a subclass of `base`, whose own `name` is `name`.

    Raises:
        PluginError: as `load`, or it is no such class
    """
    found = load(group, name, built_in)
    if found is None:
        return None
    entry = next(entry for entry in _entries(group) if entry.name == name)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise _wrong(entry, f"{entry.value} is no subclass of {base.__module__}.{base.__name__}")
    if (called := getattr(found, "name", None)) != name:
        raise _wrong(entry, f"it is registered as {name!r} and calls itself {called!r}")
    return found


def entries(group: str) -> list[EntryPoint]:
    """The entry points of `group`, by name and distribution."""
    return sorted(_entries(group), key=lambda entry: (entry.name, distribution(entry)))


def load_entry(entry: EntryPoint) -> Any:
    """What an entry point names.

    Raises:
        PluginError: it cannot be imported; names the distribution
    """
    try:
        return entry.load()
    except (Exception, SystemExit) as e:  # other people's code may fail in any way while it is imported
        raise _wrong(entry, f"{type(e).__name__}: {e}") from e


def distribution(entry: EntryPoint) -> str:
    """Name and version of the distribution that an entry point comes from."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown distribution"


def _wrong(entry: EntryPoint, why: str) -> PluginError:
    name = _bare(entry)
    return PluginError(
        f"the plugin {entry.name!r} of {distribution(entry)} cannot be used: {why}",
        where=f'entry point {entry.group}: {entry.name} = "{entry.value}"',
        hint=f"pip install --upgrade {name}, or pip uninstall {name}",
    )


def _bare(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "it"


def _entries(group: str) -> EntryPoints:
    return _installed(group, tuple(sys.path))


@cache
def _installed(group: str, path: tuple[str, ...]) -> EntryPoints:
    """Of what is installed on `path`, which is sys.path: to read them all takes tens of milliseconds."""
    return entry_points(group=group)
