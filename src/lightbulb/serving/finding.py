"""The file that a run hands out, and what its measurements say of others."""

from __future__ import annotations

from pathlib import Path

from lightbulb.core.errors import ModelError
from lightbulb.core.files import read_json
from lightbulb.report import words
from lightbulb.shrinking.record import DONE, Reference, Result


def model_file(model: Path) -> Path:
    """The GGUF of a run folder, or `model` itself.

    Raises:
        ModelError: there is none
    """
    file = handed_out(model) if model.is_dir() else model
    if not file.exists():
        raise absent(model, file)
    return file


def handed_out(folder: Path) -> Path:
    """The file that a run hands out: model.gguf, or what its result names (a run of before stock files were copied)."""
    file, done = folder / "model.gguf", folder / DONE
    if not file.exists() and done.exists() and (student := Result.read(done).student) and student.path:
        return folder / student.path
    return file


def absent(folder: Path, file: Path) -> ModelError:
    """Why a run folder has no model to ask."""
    done = folder / DONE
    result = Result.read(done) if done.exists() else None
    if result and result.student is None:
        best = (
            f"its student all the same: lightbulb ask {folder / result.best_student.path}"
            if (result.best_student and result.best_student.path)
            else f"`at_least` or `keep` lower, or a longer `max_time`, with another `out` than {folder}"
        )
        return ModelError(f"this run has no model: {nothing_does(result)}", where=str(folder), hint=best)
    goal, made = folder / "goal.json", sorted(folder.glob("steps/*/model.gguf"))
    if made and goal.exists() and "recipe" in read_json(goal):
        return ModelError("a recipe publishes no model", where=str(folder), hint=f"ask one of its files: {made[-1]}")
    return ModelError(
        "there is no model here yet",
        where=str(file),
        hint="give a finished run folder or a .gguf file; an unfinished run resumes with the same command",
    )


def nothing_does(result: Result) -> str:
    """Why a run hands out nothing, in one line."""
    why = f"{words.verdict_text(result)} {words.reason(result)}"
    return why.replace("\N{NO-BREAK SPACE}", " ").strip()


def references_of(folder: Path) -> list[Reference]:
    """What else would have answered, by the measurements of the run in `folder`; none where none is finished there."""
    done = folder / DONE
    return words.references(Result.read(done)) if folder.is_dir() and done.exists() else []
