"""The API behind `lightbulb predict`: words to shapes and devices, and the prediction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lightbulb.core.errors import UserError
from lightbulb.predicting.devices import Device, find_device, read_device
from lightbulb.predicting.predict import Prediction, default_runtime, predict_cost
from lightbulb.predicting.shapes import ModelShape, from_model, from_parameters, from_sizes, parse_bits
from lightbulb.predicting.step_cost import RuntimeClass, Setting

SIZES = ("layers", "width", "heads", "ffn", "vocab")


def predict(
    model: str | None,
    device: str,
    *,
    batch: int = 1,
    context: int = 512,
    count: int = 1,
    bits: str | float | None = None,
    runtime: RuntimeClass | None = None,
    parameters: float | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Prediction:
    """Joules and seconds a token of a model on `count` devices of one kind, as figures with 90% intervals.

    model: folder, config.json, GGUF, hub id or short name; None with `parameters` or `sizes` (layers, width, heads,
    kv_heads, ffn, vocab). device: a name of the catalogue, or a .toml file. bits: a number or a GGUF type.
    Raises UserError for what cannot be as asked, ModelError for a model that cannot be read.
    """
    shape = shape_of(model, parameters, dict(sizes or {}), bits=bits is None)
    if bits is not None:
        shape = shape.at_bits(parse_bits(str(bits)))
    found = device_of(device)
    return predict_cost(shape, found, Setting(batch, context, count, runtime or default_runtime(found)))


def shape_of(model: str | None, parameters: float | None, sizes: dict[str, int], *, bits: bool = True) -> ModelShape:
    ways = [name for name, given in (("MODEL", model), ("--parameters", parameters), ("--layers ...", sizes)) if given]
    if len(ways) != 1:
        said = f"both {' and '.join(ways)}" if ways else "no model"
        raise UserError(
            f"{said} given: one way to say what model it is",
            hint="lightbulb predict MODEL --device D, or --parameters 8.03e9, or --layers 32 --width 4096 --heads 32 "
            "--kv-heads 8 --ffn 14336 --vocab 128256",
        )
    if model:
        return from_model(model, bits=bits)
    if parameters:
        return from_parameters(parameters)
    if missing := [name for name in SIZES if name not in sizes]:
        raise UserError(f"a bare shape needs --{', --'.join(missing)} too", hint="or --parameters 8.03e9 for a guess")
    return from_sizes(
        sizes["layers"],
        sizes["width"],
        sizes["heads"],
        sizes.get("kv_heads", sizes["heads"]),
        sizes["ffn"],
        sizes["vocab"],
        tied=False,
    )


def device_of(text: str) -> Device:
    if not text:
        raise UserError("no device", where="--device", hint="such as --device h100-80gb; --devices lists them")
    path = Path(text)
    return read_device(path) if path.suffix == ".toml" else find_device(text)
