"""The last act of a run: what is handed out, its pages, its result."""

from __future__ import annotations

import shutil
from pathlib import Path

from lightbulb.core.files import new_file
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
        with new_file(folder / name) as beside:
            shutil.copyfile(assembled.files[name].gguf, beside)
    assembled.recipe.write(folder / "recipe.toml")
    write_pages(folder, assembled.result)
    assembled.result.write(folder / DONE)  # last: where it stands, the run is done
    return assembled.result
