"""`predict`: parameters to shapes and devices, and the prediction."""

from __future__ import annotations

from pathlib import Path

from lightbulb.core.errors import UserError
from lightbulb.predicting.devices import Device, find_device, read_device
from lightbulb.predicting.prediction import Prediction, default_runtime, predict_cost
from lightbulb.predicting.shapes import ModelShape, from_model, from_parameters, from_sizes, parse_bits
from lightbulb.predicting.step_cost import RuntimeClass, Setting

SIZES = ("layers", "width", "heads", "ffn", "vocab")


def predict(
    model: str | None = None,
    device: str = "",
    *,
    batch: int = 1,
    context: int = 512,
    count: int = 1,
    bits: str | float | None = None,
    runtime: RuntimeClass | None = None,
    parameters: float | None = None,
    layers: int | None = None,
    width: int | None = None,
    heads: int | None = None,
    kv_heads: int | None = None,
    ffn: int | None = None,
    vocab: int | None = None,
) -> Prediction:
    """Joules and seconds a token of a model on `count` devices of one kind, as figures with 90% intervals.

    Args:
        model: folder, config.json, GGUF, hub id or short name; None where the shape is given
        device: a name of the catalogue, or a .toml file
        batch: sequences side by side
        context: tokens of each sequence when a token is written
        count: devices that share the weights
        bits: of the stored weights: a number or a GGUF type (default: as the model is)
        runtime: default: what is usual on the device
        parameters: bare shape: the number of weights; what else is needed is guessed from it
        layers: bare shape, with width, heads, kv_heads, ffn and vocab
        width: of the hidden states
        heads: of attention
        kv_heads: of keys and values (default: as many as heads)
        ffn: width of the feed-forward part
        vocab: tokens of the vocabulary

    Raises:
        UserError: what is given does not fit together
        ModelError: the model cannot be read
    """
    sizes = {"layers": layers, "width": width, "heads": heads, "kv_heads": kv_heads, "ffn": ffn, "vocab": vocab}
    given = {name: size for name, size in sizes.items() if size is not None}
    shape = _shape(model, parameters, given, bits=bits is None)
    if bits is not None:
        shape = shape.at_bits(parse_bits(str(bits)))
    found = _device(device)
    return predict_cost(shape, found, Setting(batch, context, count, runtime or default_runtime(found)))


def _shape(model: str | None, parameters: float | None, sizes: dict[str, int], *, bits: bool) -> ModelShape:
    """What the one of the three that is given says. bits: those of the stored weights are wanted, too."""
    ways = [
        name for name, given in (("`model`", model), ("`parameters`", parameters), ("`layers` ...", sizes)) if given
    ]
    if len(ways) != 1:
        given = f"both {' and '.join(ways)}" if ways else "no model"
        raise UserError(
            f"{given} given: one way to say what model it is",
            hint="`model` with `device=D`, or `parameters=8.03e9`, or `layers=32` `width=4096` `heads=32` `kv_heads=8` "
            "`ffn=14336` `vocab=128256`",
        )
    if model:
        return from_model(model, bits=bits)
    if parameters:
        return from_parameters(parameters)
    if missing := [f"`{name}`" for name in SIZES if name not in sizes]:
        raise UserError(f"a bare shape needs {', '.join(missing)} too", hint="or `parameters=8.03e9` for a guess")
    return from_sizes(
        sizes["layers"],
        sizes["width"],
        sizes["heads"],
        sizes.get("kv_heads", sizes["heads"]),
        sizes["ffn"],
        sizes["vocab"],
        tied=False,
    )


def _device(text: str) -> Device:
    if not text:
        raise UserError("no device", where="`device`", hint="such as `device=h100-80gb`; `devices` lists them")
    path = Path(text)
    return read_device(path) if path.suffix == ".toml" else find_device(text)
