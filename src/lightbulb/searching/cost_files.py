"""Files of random weights, in the shapes that tell the parts of a cost apart, and how they are timed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from lightbulb.core.artifact import Artifact
from lightbulb.core.progress import Progress
from lightbulb.energy.meter import Meter
from lightbulb.energy.processor import processor_name
from lightbulb.formats.gguf.quant_types import QuantType
from lightbulb.formats.gguf.tokenizer import tokenizer_fields
from lightbulb.formats.gguf.type_map import TypeMap
from lightbulb.measuring.costs import Costs
from lightbulb.measuring.protocol import Subject, measure_blocks
from lightbulb.models.abstention import TEMPERATURE_KEY
from lightbulb.models.form import turns_of
from lightbulb.models.gguf import entries_of, write_file
from lightbulb.models.gguf_shape import architecture_of, shape_fields
from lightbulb.models.spec import ModelSpec
from lightbulb.passes.export import task_metadata
from lightbulb.passes.measure import FEWEST_PROMPTS, PROMPTS, subject
from lightbulb.runtimes import open_gguf, runtime_class
from lightbulb.runtimes.answering import longest_exchange
from lightbulb.runtimes.base import Runtime
from lightbulb.searching.cost_table import COSTS, CostTable, MeasuredFile, TableKey, parts_of
from lightbulb.searching.space import Space
from lightbulb.searching.student import Student, Types, Vocabulary, even
from lightbulb.tasks.task import Example, Task

TRIALS = 8
THREADS = 1  # of the runtime, as the pass `measure` has it
WEIGHTS_SEED = 0
FEW = 0.25  # of the layers, in the files that tell layers apart


@dataclass(frozen=True)
class Parents:
    """The parent with its two vocabularies.

    Attributes:
        trimmed: the model whose vocabulary is the task's
        full: the model before that
    """

    trimmed: Artifact
    full: Artifact

    def of(self, vocabulary: Vocabulary) -> Artifact:
        return self.trimmed if vocabulary == "trimmed" else self.full


def design(space: Space) -> list[Student]:
    """Students that tell the parts apart. For each type of the layers: the parent at its full depth, a few of its
    layers, and these with less of their feed-forward and fewer heads; further types of the head and the full vocabulary
    on a few layers."""
    few, head = max(1, round(FEW * space.layers)), space.head_types[0]

    def student(count: int, layers: str, head: str, feed_forward: float = 1.0, groups: float = 1.0) -> Student:
        types = Types(attention=layers, feed_forward=layers, embedding=head)
        return Student(layers=even(count, feed_forward, groups), types=types)

    found: list[Student] = []
    for name in space.layer_types:
        found += [student(space.layers, name, head), student(few, name, head)]
        found.append(student(space.layers, name, head, feed_forward=space.feed_forward[-1]))
        found.append(student(few, name, head, groups=space.groups[-1]))
    found += [student(few, space.layer_types[0], name) for name in space.head_types]
    found += [
        student(1, space.layer_types[-1], name).model_copy(update={"vocabulary": v})
        for name in space.head_types
        for v in ("trimmed", "full")
    ]
    return list(dict.fromkeys(found))


def table_key(parent: ModelSpec, task: Task, runtime: str, work: Sequence[int]) -> TableKey:
    """What a table is for. work: tokens of the mean question and answer."""
    cls, layer = runtime_class(runtime), parent.layers[0]
    package = {"lightbulb_filament": "lightbulb-filament"}.get(cls.library, cls.library)
    try:
        known = version(package)
    except (PackageNotFoundError, ValueError):
        known = "unknown"
    return TableKey(
        processor=processor_name() or "unknown",
        threads=THREADS,
        runtime=runtime,
        version=known,
        family=parent.family,
        width=parent.width,
        heads=layer.heads // max(1, layer.kv_heads),
        head_width=layer.head_width,
        work=f"{task.kind}, {work[0]} tokens read and {work[1]} written",
    )


def measure_table(
    key: TableKey,
    students: Sequence[Student],
    spec_of: Callable[[Student], ModelSpec],
    parents: Parents,
    task: Task,
    folder: Path,
    window_seconds: float,
    progress: Progress,
    seed: int = 0,
) -> CostTable:
    """Writes a file of random weights for each student, and measures them side by side.

    Args:
        key: what the table is for
        students: shapes and types
        spec_of: what each is
        parents: whose tokenizers and answers the files have
        task: whose test questions are answered
        folder: for the files
        window_seconds: least seconds of a window
        progress: where it reports
        seed: of orders and pauses
    """
    began = time.monotonic()
    files = write_files(students, spec_of, parents, task, folder, progress)
    examples = examples_of(task, seed)
    asked = partial(asked_files, files, key.runtime, longest_exchange(task, examples), task, examples)
    meter = Meter(gpus=not runtime_class(key.runtime).capabilities.cpu_only)
    try:
        with progress.bar("what each part costs", TRIALS) as advance:
            tables = measure_blocks(
                asked,
                meter,
                trials=TRIALS,
                seed=seed,
                fewest_prompts=FEWEST_PROMPTS,
                window_seconds=window_seconds,
                advance=advance,
            )
    finally:
        meter.close()
    measured, scope = [], None
    for name, student in zip(files, students, strict=True):
        costs = Costs.of_answers([table[name] for table in tables])
        series = {n: costs.series[n].tolist() for n in COSTS if n in costs.series}
        scope = costs.joules.scope
        measured.append(MeasuredFile(parts=parts_of(spec_of(student), student.types), costs=series))
    return CostTable(key=key, files=tuple(measured), scope=scope, seconds=time.monotonic() - began)


def write_files(
    students: Sequence[Student],
    spec_of: Callable[[Student], ModelSpec],
    parents: Parents,
    task: Task,
    folder: Path,
    progress: Progress,
) -> dict[str, Path]:
    """A file of random weights for each student, by its number."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {str(n): folder / f"{n}.gguf" for n in range(len(students))}
    packed: dict[Any, np.ndarray] = {}
    with progress.bar("files of random weights", len(students)) as advance:
        for at, (path, student) in enumerate(zip(files.values(), students, strict=True)):
            write_random(path, spec_of(student), student.types.map, parents.of(student.vocabulary), task, packed)
            advance(at + 1, "")
    return files


@contextmanager
def asked_files(
    files: Mapping[str, Path], runtime: str, context: int, task: Task, examples: Sequence[Example]
) -> Iterator[list[Subject]]:
    """The files, open in a runtime with room for `context` tokens, and what each is asked."""
    with ExitStack() as stack:
        subjects = []
        for name, path in files.items():
            opened = open_gguf(path, runtime, threads=THREADS, context=context)
            stack.callback(opened.close)
            subjects.append(random_subject(name, opened, task, examples))
        yield subjects


def examples_of(task: Task, seed: int) -> list[Example]:
    """The test questions that costs are measured with."""
    return random.Random(seed).sample(task.test, min(PROMPTS, len(task.test)))


def random_subject(name: str, runtime: Runtime, task: Task, examples: Sequence[Example]) -> Subject:
    """As the pass `measure` asks; but weights that are random do not know when an answer is at its end: they write as
    many tokens as the answer that is right."""
    if task.kind != "generate":
        return subject(name, runtime, task, examples, 0)
    prompts = [
        (runtime.tokenize(runtime.render(turns_of(e))), len(runtime.tokenize(e.completion)) + 1) for e in examples
    ]

    def answer(prompt: tuple[list[int], int]) -> tuple[int, int]:
        written = runtime.write_exactly([prompt[0]], prompt[1])
        return written.prompt_tokens, written.output_tokens

    return Subject(name, prompts, answer)


def work_of(parent: Artifact, task: Task, seed: int) -> tuple[int, int]:
    """Tokens of the mean question and the mean answer."""
    from lightbulb.models.form import render
    from lightbulb.models.loading import load_tokenizer

    tokenizer, examples = load_tokenizer(parent.path), examples_of(task, seed)
    read = [e.completion if task.kind == "text" else render(tokenizer, turns_of(e)) for e in examples]
    questions = sum(map(len, tokenizer(read).input_ids)) / len(read)
    if task.kind != "generate":
        return round(questions), int(task.kind == "choose")
    answers = tokenizer([e.completion for e in examples], add_special_tokens=False).input_ids
    return round(questions), round(sum(map(len, answers)) / len(answers)) + 1


def fields_of(spec: ModelSpec, like: Artifact, task: Task) -> dict[str, Any]:
    """Keys of a student's file: its shape, the tokenizer of `like`, and what the task makes of it."""
    return shape_fields(spec) | tokenizer_fields(like.path, spec.vocabulary) | task_metadata(task, like)


def write_random(
    path: Path, spec: ModelSpec, types: TypeMap, like: Artifact, task: Task, packed: dict[Any, np.ndarray]
) -> None:
    """A file of random weights that is asked as any file of the task.

    Args:
        path: of the file
        spec: of the model
        types: of its matrices
        like: an artifact with the same vocabulary
        task: that it is asked
        packed: matrices by shape and type, made once for all files
    """
    rows: Mapping[str, tuple[int, ...]] = spec.tensors

    def tensors() -> Iterator[tuple[str, np.ndarray, QuantType]]:
        for entry in entries_of(spec):
            shape = (sum(rows[name][0] for name in entry.parts), *rows[entry.parts[0]][1:])
            quant_type = types.type_for(entry.name, shape)
            if len(shape) == 1:
                yield entry.name, np.ones(shape, np.float32), quant_type
                continue
            key = (shape, quant_type.name)
            if key not in packed:
                weights = np.random.default_rng(WEIGHTS_SEED).standard_normal(shape, np.float32) / np.sqrt(shape[-1])
                packed[key] = quant_type.quantize(weights)
            nothing = np.broadcast_to(np.float32(0), shape)  # so that nothing is packed, or compared, again
            yield entry.name, nothing, _held(quant_type, packed[key], nothing)

    fields = fields_of(spec, like, task)
    if task.kind == "choose":
        fields[TEMPERATURE_KEY] = 1.0  # files of students that choose are calibrated: their answers are all scored
    write_file(path, architecture_of(spec), fields, tensors())


def _held(quant_type: QuantType, packed: np.ndarray, values: np.ndarray) -> QuantType:
    """The type, which packs anything as `packed` and reads it as `values`."""
    return replace(quant_type, pack=lambda rows: packed, unpack=lambda rows: values)
