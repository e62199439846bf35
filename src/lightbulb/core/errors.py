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
    """Base of all errors raised on purpose. `where` names the file or parameter, `hint` says what to give.

    Parameters stand in backticks, `max_time` or `max_time=45m`: the command line turns them into its flags.
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
    pass


class StorageFull(RunFailure):
    pass


class UserError(LightbulbError):
    exit_code = 2


class GoalError(UserError):
    pass


class TaskError(UserError):
    pass


class ModelError(UserError):
    pass


class UnsupportedModel(ModelError):
    pass


class RecipeError(UserError):
    pass


class MissingExtra(UserError):
    pass


class PluginError(UserError):
    pass
