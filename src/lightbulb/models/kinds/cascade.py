"""Several classifiers in one file: docs/format.md, `lightbulb-cascade`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lightbulb.core.files import new_file

ARCHITECTURE = "lightbulb-cascade"


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
        writer.add_key_value("cascade.thresholds", list(thresholds), GGUFValueType.ARRAY, GGUFValueType.FLOAT32)
        for number, stage in enumerate(stages):
            writer.add_tensor(f"stage.{number}", np.fromfile(stage, np.int8))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
