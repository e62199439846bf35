"""Every error a user can meet.

LightbulbError            exit code 1: something failed
├── RunFailure            the work itself failed (a full disk, a model that diverged)
│   └── StorageFull       no space left while writing
└── UserError             exit code 2: what was asked for cannot be done as asked
    ├── GoalError         a goal or option out of range
    ├── TaskError         the task's data cannot be used
    ├── ModelError        the model cannot be read
    │   └── UnsupportedModel  readable, but of a family lightbulb does not know
    ├── RecipeError       a recipe that does not parse or does not fit together
    ├── MissingExtra      an optional library is not installed
    └── PluginError       something that another distribution adds cannot be used

A message says what is wrong, where, and what to type.
"""

from __future__ import annotations


class LightbulbError(Exception):
    """Base of all errors raised on purpose.

    Parameters stand in backticks, `max_time` or `max_time=45m`: the command line turns them into its flags.

    Attributes:
        what: is wrong
        where: the file or parameter
        hint: what to give
        exit_code: of the command line
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None):
        super().__init__(what)
        self.what, self.where, self.hint = what, where, hint

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.hint:
            lines.append(f"  hint:  {self.hint}")
        return "\n".join(lines)


class RunFailure(LightbulbError):
    """The work itself failed."""


class StorageFull(RunFailure):
    """No space was left while writing."""


class UserError(LightbulbError):
    """What was asked for cannot be done as asked."""

    exit_code = 2


class GoalError(UserError):
    """A goal or option is out of range."""


class TaskError(UserError):
    """The task's data cannot be used."""


class ModelError(UserError):
    """The model cannot be read."""


class UnsupportedModel(ModelError):
    """The model can be read, but lightbulb does not know its family."""


class RecipeError(UserError):
    """A recipe does not parse or does not fit together."""


class MissingExtra(UserError):
    """An optional library is not installed."""


class PluginError(UserError):
    """Something that another distribution adds cannot be used."""
