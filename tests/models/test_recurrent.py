"""Decoders with recurrent layers of plain weights: torch, their files, and filament say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import tiny_model, tiny_recurrent

from lightbulb.core.errors import ModelError, UnsupportedModel
from lightbulb.formats.gguf.header import read_header
from lightbulb.formats.gguf.type_map import TypeMap
from lightbulb.models.decoder import Decoder
from lightbulb.models.gguf import weights_of, write_gguf
from lightbulb.models.gguf_shape import RECURRENT, spec_of_gguf
from lightbulb.models.importing import import_model
from lightbulb.models.loading import json_object, load_model
from lightbulb.models.resolve import resolve
from lightbulb.models.spec_config import spec_of_config
from lightbulb.runtimes.decoding import Row, write_rows
from lightbulb.runtimes.filament import Filament
from lightbulb.runtimes.llamacpp import LlamaCpp
from lightbulb.runtimes.registry import runtime_of

MIXERS = {"pure": ("mlgru", "mlgru"), "hybrid": ("mlgru", "attention", "mlgru")}
NEAR: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(params=MIXERS)
def folder(request: Any, tmp_path: Path) -> Path:
    torch.set_num_threads(1)
    return tiny_recurrent(tmp_path / request.param, mixers=MIXERS[request.param])


@pytest.fixture
def model(folder: Path) -> Decoder:
    return load_model(folder)  # type: ignore[return-value]


def some_ids(length: int, rows: int = 2) -> torch.Tensor:
    return torch.randint(3, 300, (rows, length), generator=torch.Generator().manual_seed(length))


@torch.no_grad()
def test_a_layer_computes_what_its_formula_says(tmp_path: Path) -> None:
    model: Any = load_model(tiny_recurrent(tmp_path, mixers=("mlgru",)))
    mixer = model.model.layers[0].mixer
    x_BTD = torch.randn(2, 11, 64, generator=torch.Generator().manual_seed(0))
    h_BD, out = torch.zeros(2, 64), []
    for x_BD in x_BTD.unbind(1):
        f, g = torch.sigmoid(mixer.f_proj(x_BD)), torch.sigmoid(mixer.g_proj(x_BD))
        h_BD = f * h_BD + (1 - f) * torch.nn.functional.silu(mixer.c_proj(x_BD))
        out.append(mixer.out_proj(g * h_BD))
    found, state = mixer(x_BTD, None, None, None, None)
    assert torch.allclose(found, torch.stack(out, 1), **NEAR) and torch.allclose(state, h_BD, **NEAR)


@torch.no_grad()
def test_pieces_padding_and_packing_change_nothing(model: Decoder) -> None:
    ids = some_ids(13)
    whole = model(ids).logits
    cache, found = None, []
    for piece in ids.split((5, 1, 7), 1):
        out = model(piece, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        found.append(out.logits)
    assert torch.allclose(torch.cat(found, 1), whole, **NEAR)
    padded, mask = torch.cat([torch.zeros(2, 4, dtype=torch.long), ids], 1), torch.ones(2, 17, dtype=torch.long)
    mask[:, :4] = 0
    assert torch.allclose(model(padded, attention_mask=mask).logits[:, 4:], whole, **NEAR)
    texts = [ids[:, :6], ids[:, 6:]]
    apart = torch.cat([model(text).logits for text in texts], 1)
    starts = torch.cat([torch.arange(text.shape[1]) for text in texts])[None]
    packed = model(ids, position_ids=starts).logits
    assert torch.allclose(packed, apart, **NEAR)
    assert not torch.allclose(packed, whole, **NEAR)


def test_answers_side_by_side_are_those_of_each_alone(model: Decoder) -> None:
    ids, lengths = some_ids(9), (9, 4, 6)
    prompts = [ids[n % 2, :length].tolist() for n, length in enumerate(lengths)]
    rows = [Row(-1) for _ in prompts]
    padded = torch.tensor([[0] * (9 - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (9 - len(p)) + [1] * len(p) for p in prompts])
    write_rows(model, padded, mask, rows, 4)  # type: ignore[arg-type]
    for row, prompt in zip(rows, prompts, strict=True):
        text = torch.tensor([prompt])
        with torch.no_grad():
            for _ in range(4):
                text = torch.cat([text, model(text).logits[:, -1:].argmax(-1)], 1)
        assert row.tokens == text[0, len(prompt) :].tolist()


def test_the_spec_is_the_model(folder: Path, model: Decoder) -> None:
    spec = spec_of_config(json_object(folder / "config.json"))
    shapes = {name: tuple(p.shape) for name, p in model.state_dict().items() if name != "lm_head.weight"}
    assert shapes == spec.tensors and spec == model.spec
    assert spec.parameters() == sum(p.numel() for p in model.parameters())
    assert not LlamaCpp.supports(spec) and Filament.supports(spec)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("mixers", MIXERS)
def test_a_file_comes_back_as_the_same_model(family: str, mixers: str, tmp_path: Path) -> None:
    folder, file = tiny_recurrent(tmp_path / "model", family, MIXERS[mixers]), tmp_path / "m.gguf"
    facts = write_gguf(folder, file, "f32")
    assert (facts["architecture"], facts["fallbacks"], facts["unchanged"]) == (RECURRENT, [], True)
    header, model = read_header(file), load_model(folder)
    spec = spec_of_gguf(header)
    assert spec.layers == model.spec.layers and spec.family == family  # type: ignore[attr-defined]
    assert {n: w.shape for n, w in weights_of(header, spec).items()} == spec.tensors
    import_model(resolve(str(file)), tmp_path / "again")
    ids = some_ids(9)
    with torch.no_grad():
        assert torch.allclose(load_model(tmp_path / "again")(ids).logits, model(ids).logits, **NEAR)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("mixers", MIXERS)
@pytest.mark.parametrize("types", ["f32", "q8_0", "q4_0"])
def test_filament_gives_the_logits_of_torch(family: str, mixers: str, types: str, tmp_path: Path) -> None:
    filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
    file = tmp_path / "m.gguf"
    write_gguf(tiny_recurrent(tmp_path / "model", family, MIXERS[mixers]), file, TypeMap.of(types, types))
    assert runtime_of(file) == "filament"
    import_model(resolve(str(file)), tmp_path / "rounded")  # the weights as the file holds them
    ids = some_ids(40, 1)
    with torch.no_grad():
        wanted = load_model(tmp_path / "rounded")(ids).logits[0].numpy()
    found = np.array(filament.Model(file, threads=1).logits(ids[0].tolist()))
    # activations have 8 bits where weights are whole numbers, keys and values of attention always
    most = 0.06 if types != "f32" else 0.02 if mixers == "hybrid" else 1e-4
    assert found.shape == wanted.shape and np.std(found - wanted) / np.std(wanted) < most


def test_what_no_file_can_hold_is_refused(tmp_path: Path) -> None:
    folder = tiny_recurrent(tmp_path / "model", "gemma3_text")
    with pytest.raises(UnsupportedModel, match="norms behind the parts of a layer"):
        write_gguf(folder, tmp_path / "m.gguf", "f16")
    assert not list(tmp_path.glob("*.gguf"))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("family", "matmulfree", "family is 'matmulfree'"),
        ("family", 7, "family is 7"),
        ("mixer", ["mlgru"], "a mixer for each of its 3 layers"),
        ("mixer", ["mlgru", "mamba", "mlgru"], "a mixer for each of its 3 layers"),
    ],
)
def test_a_hostile_file_is_one_clear_error(key: str, value: Any, says: str, tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    write_gguf(tiny_recurrent(tmp_path / "model"), file, "f16")
    header = read_header(file)
    header.fields[f"{RECURRENT}.{key}"] = value
    with pytest.raises(ModelError, match=says):
        spec_of_gguf(header)


def test_a_plain_model_stays_one(tmp_path: Path) -> None:
    assert write_gguf(tiny_model(tmp_path / "model"), tmp_path / "m.gguf", "f16")["architecture"] == "llama"
