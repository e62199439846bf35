"""The verb predict."""

from __future__ import annotations

from typing import Literal

from tyro import conf

from lightbulb.cli.output import show

RuntimeClass = Literal["eager", "vllm", "llama.cpp", "filament"]


def predict(
    model: conf.Positional[str] = "",
    device: str = "",
    batch: int = 1,
    context: int = 512,
    count: int = 1,
    bits: str | None = None,
    runtime: RuntimeClass | None = None,
    parameters: float | None = None,
    layers: int | None = None,
    width: int | None = None,
    heads: int | None = None,
    kv_heads: int | None = None,
    ffn: int | None = None,
    vocab: int | None = None,
    devices: bool = False,
    json: bool = False,
) -> None:
    """Joules and seconds a token on a device that you do not have: an estimate, with its interval.

    Args:
        model: a folder, config.json, .gguf file, hub id or short name; left out when the shape is given
        device: a name from the catalogue (--devices), or a .toml file with a device of your own
        batch: sequences side by side
        context: tokens of each sequence when a token is written
        count: devices that share the weights
        bits: of the stored weights: a number such as 4.85 or a GGUF type such as q4_k_m (default: as the model is)
        runtime: eager (plain torch), vllm (or any batching server), llama.cpp, filament (default: usual on the device)
        parameters: bare shape: number of weights, e.g. 8.03e9; what else is needed is guessed from it
        layers: bare shape, with width, heads, kv-heads, ffn and vocab
        width: of the hidden states
        heads: of attention
        kv_heads: of keys and values (default: as many as heads)
        ffn: width of the feed-forward part
        vocab: tokens of the vocabulary
        devices: list the catalogue
        json: one JSON object on stdout
    """
    from lightbulb import api
    from lightbulb.core.progress import waiting
    from lightbulb.predicting.devices import devices as catalogue
    from lightbulb.report import predicted as page

    if devices:
        known = catalogue()
        show(page.catalogue_dict(known), json, lambda console: console.print(page.catalogue(known)))
        return
    with waiting("predicting"):
        prediction = api.predict(
            model or None,
            device,
            batch=batch,
            context=context,
            count=count,
            bits=bits,
            runtime=runtime,
            parameters=parameters,
            layers=layers,
            width=width,
            heads=heads,
            kv_heads=kv_heads,
            ffn=ffn,
            vocab=vocab,
        )
    show(
        page.prediction_dict(prediction),
        json,
        lambda console: console.print(page.prediction_text(prediction), markup=False),
    )
