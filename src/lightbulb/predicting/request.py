"""`predict`: parameters to shapes and devices, and the prediction."""

from __future__ import annotations

from pathlib import Path

from lightbulb.core.errors import UserError
from lightbulb.predicting.answers import AnswerTokens, tokens_of_run
from lightbulb.predicting.devices import Device, DeviceScope, find_device, read_device
from lightbulb.predicting.prediction import Prediction, default_runtime, predict_cost
from lightbulb.predicting.readings import Corrected, read_readings, with_readings, write_device
from lightbulb.predicting.setting import RuntimeClass, Setting, usual_share
from lightbulb.predicting.shapes import ModelShape, from_model, from_parameters, from_sizes, parse_bits

SIZES = ("layers", "width", "heads", "ffn", "vocab")
CONTEXT = 512


def predict(
    model: str | None = None,
    device: str = "",
    *,
    batch: int = 1,
    context: int | None = None,
    count: int = 1,
    bits: str | float | None = None,
    runtime: RuntimeClass | None = None,
    scope: DeviceScope | None = None,
    prompt_share: float | None = None,
    prompt_tokens: float | None = None,
    answer_tokens: float | None = None,
    thinking_tokens: float = 0.0,
    result: str | Path | None = None,
    retries: int = 0,
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
        context: tokens of each sequence when a token is written (default: 512, or where the answer's tokens put it)
        count: devices that share the weights
        bits: of the stored weights: a number or a GGUF type (default: as the model is)
        runtime: default: what is usual on the device
        scope: what the joules include (default: what the device's power does)
        prompt_share: prompt tokens read for each token written, charged to it (default: 0.4 in servers' batches, or 0)
        prompt_tokens: of a question, for the joules of an answer
        answer_tokens: written for it
        thinking_tokens: written before the answer, beside those
        result: a run folder or its result.json: tokens of an answer and the share right as measured there
        retries: how often an answer that is not right is asked for again; needs `result`
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
    answer = _answer(prompt_tokens, answer_tokens, thinking_tokens, result, retries)
    shape = _shape(model, parameters, given, bits=bits is None)
    if bits is not None:
        shape = shape.at_bits(parse_bits(str(bits)))
    found = _device(device)
    runtime = runtime or default_runtime(found)
    if prompt_share is not None and not 0 <= prompt_share <= 1000:
        raise UserError(f"{prompt_share:g} prompt tokens a token", where="`prompt_share`", hint="from 0 to 1000")
    share = usual_share(runtime, batch) if prompt_share is None else prompt_share
    if context is None:
        context = CONTEXT if answer is None else answer.context
    return predict_cost(shape, found, Setting(batch, context, count, runtime, share), scope=scope, answer=answer)


def calibrate_device(device: str, readings: str | Path, out: str | Path) -> tuple[Device, list[Corrected]]:
    """A device corrected by readings of the user's own, written as a TOML file that `predict` takes for its device.

    Args:
        device: a name of the catalogue, or a .toml file; readings that it knows already stay
        readings: a TOML file with a [[reading]] for each: model or parameters, scope, watts or joules_per_token,
            tokens_per_second, and how it ran
        out: the file that is written

    Returns:
        The device, and each reading beside what is predicted of it before and after.

    Raises:
        UserError: a file that cannot be read, a reading that says too little, or a place that cannot be written
        ModelError: a model that cannot be read
    """
    path = Path(out)
    if path.suffix != ".toml":
        raise UserError(f"{path.name} is no name of a device's file", where="`out`", hint="`out=my-device.toml`")
    found = _device(device)
    after, corrected = with_readings(found, read_readings(Path(readings), found))
    write_device(after, path)
    return after, corrected


def _answer(
    prompt: float | None, answer: float | None, thinking: float, result: str | Path | None, retries: int
) -> AnswerTokens | None:
    for name, value in (("prompt_tokens", prompt), ("answer_tokens", answer), ("thinking_tokens", thinking)):
        if value is not None and not 0 <= value <= 1e9:
            raise UserError(f"{value:g} tokens", where=f"`{name}`", hint="from 0 to 1e9")
    if not 0 <= retries <= 1000:
        raise UserError(f"{retries} retries", where="`retries`", hint="from 0 to 1000")
    if result is not None:
        if prompt is not None or answer is not None:
            raise UserError("the result counts the tokens itself", where="`result`", hint="leave out the tokens")
        return tokens_of_run(Path(result), retries=retries, thinking=thinking)
    if retries:
        raise UserError("retries of what is not right need a share that is", where="`retries`", hint="`result=FOLDER`")
    if prompt is None and answer is None and not thinking:
        return None
    return AnswerTokens(prompt or 0.0, answer or 0.0, thinking)


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
