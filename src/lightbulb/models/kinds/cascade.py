"""Several classifiers in one file: docs/format.md, `lightbulb-cascade`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lightbulb.core.files import new_file
from lightbulb.formats.gguf.header import read_header

ARCHITECTURE, THRESHOLDS_KEY, STAGE = "lightbulb-cascade", "cascade.thresholds", "stage."


def write_cascade(out: Path, stages: Sequence[Path], answers: Sequence[str], thresholds: Sequence[float]) -> None:
    """Writes the file, whole or not at all; the same content gives the same bytes.

    Args:
        out: the file
        stages: GGUF files of classifiers with these answers, cheapest first
        answers: of each of them
        thresholds: of the probability below which a stage hands on, one less than there are stages
    """
    from gguf import GGUFValueType, GGUFWriter

    with new_file(out) as beside:
        writer = GGUFWriter(beside, ARCHITECTURE)
        writer.add_string("lightbulb.kind", "choose")
        writer.add_array("lightbulb.answers", list(answers))
        writer.add_key_value(THRESHOLDS_KEY, list(thresholds), GGUFValueType.ARRAY, GGUFValueType.FLOAT32)
        for number, stage in enumerate(stages):
            writer.add_tensor(f"{STAGE}{number}", np.fromfile(stage, np.int8))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def stages_of(cascade: Path, folder: Path) -> list[Path]:
    """Writes the stages into `folder` as the files that they were, and returns these, in order.

    Raises:
        ModelError: the file is damaged
    """
    files = []
    for tensor in read_header(cascade).tensors:
        files.append(folder / f"{tensor.name}.gguf")
        with cascade.open("rb") as file:
            file.seek(tensor.start)
            files[-1].write_bytes(file.read(tensor.bytes))
    return files
