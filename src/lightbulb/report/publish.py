"""The last act of a run: what is handed out, its pages, its result."""

from __future__ import annotations

import shutil
from pathlib import Path

from lightbulb.core.files import new_file
from lightbulb.models.kinds.fallback import BESIDE
from lightbulb.report.ollama import describe
from lightbulb.report.pages import write_pages
from lightbulb.runtimes.registry import USUAL, runtime_of
from lightbulb.shrinking.assemble import MODEL, PUBLISHED, Assembled
from lightbulb.shrinking.record import DONE, Result


def publish(folder: Path, assembled: Assembled) -> Result:
    """Copies what is handed out, and what goes beside it, and writes the pages and the result."""
    (folder / "Modelfile").unlink(missing_ok=True)
    if (student := assembled.files.get(MODEL)) is not None:
        in_llama_cpp = runtime_of(student.gguf) == USUAL["gguf"]
        form = describe(folder, student.gguf, assembled.result.kind) if in_llama_cpp else None
        assembled = assembled._replace(result=assembled.result.model_copy(update={"form": form}))
    for name in PUBLISHED:
        if name not in assembled.files:
            (folder / name).unlink(missing_ok=True)
            continue
        _copy(assembled.files[name].gguf, folder / name)
    beside = [f for f in (a.gguf.with_name(BESIDE) for a in assembled.files.values()) if f.exists()]
    for language_model in beside:  # one at most: only one of a run's files hands on
        _copy(language_model, folder / BESIDE)
    if not beside:
        (folder / BESIDE).unlink(missing_ok=True)
    assembled.recipe.write(folder / "recipe.toml")
    write_pages(folder, assembled.result)
    assembled.result.write(folder / DONE)  # last: where it stands, the run is done
    return assembled.result


def _copy(file: Path, to: Path) -> None:
    with new_file(to) as beside:
        shutil.copyfile(file, beside)
