"""The verb export."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tyro import conf

from lightbulb.cli.output import show


def export(model: conf.Positional[Path], to: Literal["c", "js", "onnx"], out: Path, json: bool = False) -> None:
    """Turn a small model into C for microcontrollers, a page, or an ONNX graph. Checked on the run's test items.

    Args:
        model: a run folder or a .gguf file of n-grams or slot filling (c, js) or of an encoder (onnx)
        to: c (C99: one header, one source file, no libraries), js (a module and a page that needs no network) or onnx
            (a graph that takes token ids, with its tokenizer)
        out: a new folder; its name is that of the files
        json: one JSON object on stdout
    """
    from lightbulb import api
    from lightbulb.core.progress import waiting
    from lightbulb.exporting.text import render_exported

    with waiting("exporting"):
        record = api.export(model, to, out)
    show(record.model_dump(mode="json"), json, lambda console: console.print(render_exported(record, out)))
