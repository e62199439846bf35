"""The form "onnx": an encoder's file as a graph with its tokenizer, answered anew by ONNX Runtime before both are
handed over."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lightbulb.core.errors import MissingExtra, ModelError, RunFailure
from lightbulb.exporting.checking import output_of, write
from lightbulb.exporting.onnx_graph import files_beside, onnx_model
from lightbulb.exporting.record import Checked
from lightbulb.formats.gguf.header import read_architecture
from lightbulb.models.form import turns_of
from lightbulb.models.kinds.base import text_of
from lightbulb.models.kinds.encoder_reading import ARCHITECTURE, read_encoder_file
from lightbulb.runtimes import CLASSIFIER, open_gguf, runtime_class
from lightbulb.tasks import metrics

if TYPE_CHECKING:
    from lightbulb.models.kinds.encoder_reading import EncoderFile
    from lightbulb.tasks.task import Task

LIBRARIES = ("onnx", "onnxruntime")
MOST_DIFFERENT = 0.01  # of the answers: the file is computed with activations of fewer bits
RUN = """
import json
from classify import answers, probabilities
texts = json.load(open("texts.json", encoding="utf-8"))
batches = [probabilities(texts[at : at + 32]) for at in range(0, len(texts), 32)]
print(json.dumps([answers[number] for batch in batches for number in batch.argmax(1)]))
"""


def read_for_onnx(source: Path) -> EncoderFile:
    """The encoder in a file.

    Raises:
        MissingExtra: a library is missing that this form needs
        ModelError: it holds another kind of model, which ONNX Runtime cannot run as it is
    """
    architecture = read_architecture(source)
    if architecture != ARCHITECTURE:
        other = "`to=c` or `to=js`" if architecture == "lightbulb-ngrams" else "run it in lightbulb as it is"
        raise ModelError(
            f"a model of the architecture {architecture!r} is not exported to ONNX: only encoders with a label head "
            "are. n-grams are looked up by hashes and summed in whole numbers, which are no operators there",
            where=str(source),
            hint=f"give the file of an encoder (steps/encoder-*-gguf-*/model.gguf of a run), or {other}",
        )
    if missing := [name for name in LIBRARIES if find_spec(name) is None]:
        raise MissingExtra(
            f"exporting to ONNX needs {' and '.join(missing)}, not installed here",
            where="`to=onnx`",
            hint="pip install 'lightbulb[onnx]'",
        )
    return read_encoder_file(source)


def onnx_files(file: EncoderFile, name: str, sha256: str) -> dict[str, bytes]:
    """The files by their names. sha256: of the file that was read."""
    texts = {path: text.encode() for path, text in files_beside(file, name)}
    return {"model.onnx": onnx_model(file, sha256), **texts}


def check_onnx(files: dict[str, bytes], source: Path, task: Task | None) -> Checked:
    """Scores the exported files on the test items, as their own classify.py uses them, beside the file in filament.

    Args:
        files: of the export, by their names
        source: the file that they were made from
        task: whose test items are answered; None where there is none

    Raises:
        RunFailure: they surely answer more items otherwise than rounding explains, or score worse
    """
    if task is None or not task.test:
        return Checked(items=None, why_not="there are no test items beside the file")
    if not runtime_class(CLASSIFIER).installed():
        return Checked(items=None, why_not="filament, which runs the file, is not built here (make filament)")
    with tempfile.TemporaryDirectory() as folder:
        ours = _answers_of_export(files, Path(folder), task)
    runtime = open_gguf(source, CLASSIFIER)
    try:
        theirs = runtime.answer([runtime.render(turns_of(e)) for e in task.test], task.answers).texts
    finally:
        runtime.close()
    return judged(task, ours, theirs)


def judged(task: Task, ours: Sequence[str], theirs: Sequence[str]) -> Checked:
    """What came of the check. ours, theirs: answers to the test items of the export, and of the file. Raises RunFailure
    as `check_onnx`."""
    references = [e.completion for e in task.test]
    differ = sum(a != b for a, b in zip(ours, theirs, strict=True))
    kept = metrics.retention(task.metric, ours, theirs, references)
    scores = [metrics.score(task.metric, answers, references) for answers in (ours, theirs)]
    too_many = metrics.wilson(differ, len(ours))[0] > MOST_DIFFERENT
    if too_many or (kept.high is not None and kept.high < 1):
        raise RunFailure(
            f"the export answers {differ:,} of {len(ours):,} test items otherwise than the file it was made from, and "
            f"scores {scores[0]} where that scores {scores[1]}",
            hint="this is an error of lightbulb, or of ONNX Runtime: please report it",
        )
    runtime = f"onnxruntime {version('onnxruntime')}"
    return Checked(items=len(ours), runtime=runtime, differ=differ, score=scores[0], source_score=scores[1])


def _answers_of_export(files: dict[str, bytes], folder: Path, task: Task) -> list[str]:
    """By the program that is handed over, in a process of its own."""
    texts = [text_of(e).encode("utf-16", "surrogatepass").decode("utf-16", "replace") for e in task.test]
    write(files, folder)
    write({"run.py": RUN, "texts.json": json.dumps(texts)}, folder)
    return json.loads(output_of([sys.executable, "run.py"], folder))  # type: ignore[no-any-return]
