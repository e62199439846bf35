"""The verb predict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tyro import conf

from lightbulb.cli.options import Omittable
from lightbulb.cli.output import show

RuntimeClass = Literal["eager", "vllm", "llama.cpp", "filament"]
Scope = Literal["chip", "board", "machine", "wall"]


@dataclass(frozen=True)
class Running:
    """How it runs.

    Attributes:
        batch: sequences side by side
        context: tokens of each sequence when a token is written (default: 512, or where the answer's tokens put it)
        count: devices that share the weights
        bits: of the stored weights: a number such as 4.85 or a GGUF type such as q4_k_m (default: as the model is)
        runtime: eager (plain torch), vllm (or any batching server), llama.cpp, filament (default: usual on the device)
        scope: what the joules include (default: what the device's power does)
        prompt_share: prompt tokens read for each token written, charged to it (default: 0.4 in a server's batches)
    """

    batch: int = 1
    context: Omittable[int] = None
    count: int = 1
    bits: Omittable[str] = None
    runtime: Omittable[RuntimeClass] = None
    scope: Omittable[Scope] = None
    prompt_share: Omittable[float] = None


@dataclass(frozen=True)
class Answer:
    """What an answer is.

    Attributes:
        prompt_tokens: of a question: with it, what an answer costs
        answer_tokens: written for it
        thinking_tokens: written before the answer, beside those
        result: a run folder: tokens of an answer and the share right from there; what a right answer costs
        retries: how often an answer that is not right is asked for again; with --result
    """

    prompt_tokens: Omittable[float] = None
    answer_tokens: Omittable[float] = None
    thinking_tokens: float = 0.0
    result: Omittable[str] = None
    retries: int = 0


@dataclass(frozen=True)
class BareShape:
    """A shape instead of a model.

    Attributes:
        parameters: number of weights, e.g. 8.03e9; what else is needed is guessed from it
        layers: how many, with width, heads, kv-heads, ffn and vocab
        width: of the hidden states
        heads: of attention
        kv_heads: of keys and values (default: as many as heads)
        ffn: width of the feed-forward part
        vocab: tokens of the vocabulary
    """

    parameters: Omittable[float] = None
    layers: Omittable[int] = None
    width: Omittable[int] = None
    heads: Omittable[int] = None
    kv_heads: Omittable[int] = None
    ffn: Omittable[int] = None
    vocab: Omittable[int] = None


def predict(
    model: conf.Positional[Omittable[str]] = None,
    device: Omittable[str] = None,
    calibrate: Omittable[str] = None,
    out: str = "device.toml",
    devices: bool = False,
    json: bool = False,
    *,
    running: conf.OmitArgPrefixes[Running],
    answer: conf.OmitArgPrefixes[Answer],
    shape: conf.OmitArgPrefixes[BareShape],
) -> None:
    """Joules and seconds a token on a device that you do not have: an estimate, with its interval.

    Args:
        model: a folder, config.json, .gguf file, hub id or short name; left out when the shape is given
        device: a name from the catalogue (--devices), or a .toml file with a device of your own
        calibrate: a .toml file with readings of your own: writes the device that predictions are corrected by
        out: the .toml file that --calibrate writes
        devices: list the catalogue
        json: one JSON object on stdout
        running: how the model runs there
        answer: what a question and its answer take, for the cost of an answer
        shape: what to predict for where there is no model to read
    """
    from lightbulb import api
    from lightbulb.core.progress import waiting
    from lightbulb.predicting.devices import devices as catalogue
    from lightbulb.report import predicted as page

    if devices:
        known = catalogue()
        show(page.catalogue_dict(known), json, lambda console: console.print(page.catalogue(known)))
        return
    if calibrate is not None:
        with waiting("calibrating"):
            _, corrected = api.calibrate_device(device or "", calibrate, out)
        text = page.corrected_text(corrected, out)
        show(page.corrected_dict(corrected, out), json, lambda console: console.print(text))
        return
    with waiting("predicting"):
        prediction = api.predict(model, device or "", **vars(running), **vars(answer), **vars(shape))
    show(page.prediction_dict(prediction), json, lambda console: console.print(page.prediction_text(prediction)))
