"""What students cost before they are made: sums from the table of costs, and bytes of their files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

import numpy as np

from lightbulb.core.artifact import Artifact
from lightbulb.core.figures import Figure
from lightbulb.formats.gguf.quant_types import QUANT_TYPES
from lightbulb.models.gguf import weight_bytes, write_file
from lightbulb.models.gguf_shape import architecture_of
from lightbulb.models.resolve import json_object
from lightbulb.models.spec import ModelSpec
from lightbulb.models.spec_config import spec_of_config
from lightbulb.searching.cost_files import Parents, fields_of
from lightbulb.searching.cost_table import CostTable, parts_of
from lightbulb.searching.space import Space
from lightbulb.searching.student import Student, Vocabulary
from lightbulb.tasks.task import Task

Currency = Literal["joules_per_answer", "cpu_seconds_per_answer", "bytes"]
VOCABULARIES: tuple[Vocabulary, ...] = get_args(Vocabulary)


class Specs:
    """What students are, cut from the parent with their vocabulary.

    Args:
        parents: the parent with either vocabulary
        runtime: that files will run in
    """

    def __init__(self, parents: Parents, runtime: str):
        self.parents = parents
        self.by_vocabulary = {v: spec_of_artifact(parents.of(v)) for v in VOCABULARIES}
        self.space = Space.of(self.by_vocabulary["trimmed"], runtime)

    @property
    def parent(self) -> ModelSpec:
        return self.by_vocabulary["trimmed"]

    def of(self, student: Student) -> ModelSpec:
        return student.spec(self.by_vocabulary[student.vocabulary], self.space.multiple)


def spec_of_artifact(model: Artifact) -> ModelSpec:
    return spec_of_config(json_object(model.path / "config.json"))


class Pricing:
    """Costs and sizes of students.

    Args:
        specs: what they are
        table: of costs
        task: for what a file holds beside its weights
    """

    def __init__(self, specs: Specs, table: CostTable, task: Task):
        self.specs, self.table, self.task = specs, table, task
        self.figures = lru_cache(maxsize=None)(self._figures)

    def _figures(self, student: Student) -> Mapping[str, Figure]:
        """Figures by name, as `Measure` calls them."""
        return self.table.predicted(parts_of(self.specs.of(student), student.types))

    @property
    def currency(self) -> Currency:
        """Joules, or where they are not known the CPU's seconds."""
        return "joules_per_answer" if "joules_per_answer" in self.table.misfit else "cpu_seconds_per_answer"

    def point(self, student: Student, currency: Currency) -> float:
        """The cost without its interval, which takes longer to tell."""
        if currency == "bytes":
            return float(self.bytes(student))
        return self.table.point(currency, parts_of(self.specs.of(student), student.types))

    def bytes(self, student: Student) -> int:
        """Of its file; within some bytes, because sizes of layers stand in its header."""
        return weight_bytes(self.specs.of(student), student.types.map) + self._headers[student.vocabulary]

    @cached_property
    def _headers(self) -> dict[Vocabulary, int]:
        """Bytes of a file's keys and tokenizer."""
        found: dict[Vocabulary, int] = {}
        with TemporaryDirectory() as folder:
            for vocabulary, spec in self.specs.by_vocabulary.items():
                fields = fields_of(spec, self.specs.parents.of(vocabulary), self.task)
                place = Path(folder) / "header.gguf"
                norm = ("output_norm.weight", np.ones(1, np.float32), QUANT_TYPES["f32"])
                write_file(place, architecture_of(spec), fields, [norm])
                found[vocabulary] = place.stat().st_size
        return found
