"""MatMul-free models: however a text is read, the same comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matmulfree_files import MIXERS, tiny_matmulfree

from lightbulb.core.errors import ModelError, UnsupportedModel
from lightbulb.formats.gguf.header import read_header
from lightbulb.formats.gguf.type_map import TypeMap
from lightbulb.models.decoder import Decoder
from lightbulb.models.gguf import weights_of, write_gguf
from lightbulb.models.gguf_info import read_gguf
from lightbulb.models.gguf_shape import spec_of_gguf
from lightbulb.models.importing import import_model
from lightbulb.models.loading import load_model, save_model
from lightbulb.models.resolve import resolve
from lightbulb.models.spec import ModelSpec
from lightbulb.models.spec_config import config_of, spec_of_config
from lightbulb.ops.ternary import ternary_levels
from lightbulb.runtimes.decoding import Row, write_rows

NEAR: dict[str, Any] = {"rtol": 0.0, "atol": 2e-5}


@pytest.fixture(scope="module", params=MIXERS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    folder = tmp_path_factory.mktemp("matmulfree") / request.param
    return load_model(tiny_matmulfree(folder, MIXERS[request.param], width=64))  # type: ignore[return-value]


def some_ids(length: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(3, 400, (2, length)))


@torch.no_grad()
@pytest.mark.parametrize("pieces", [[1] * 13, [5, 1, 7], [12, 1]])
def test_pieces_give_what_the_whole_gives(model: Decoder, pieces: list[int]) -> None:
    ids, at, cache, found = some_ids(13), 0, None, []
    for length in pieces:
        out = model(ids[:, at : at + length], past_key_values=cache, use_cache=True)
        found.append(out.logits)
        cache, at = out.past_key_values, at + length
    assert torch.allclose(torch.cat(found, 1), model(ids).logits, **NEAR)


@torch.no_grad()
def test_padding_changes_nothing(model: Decoder) -> None:
    ids = some_ids(11)
    alone = model(ids[:1, :7]).logits
    padded, mask = ids.clone(), torch.ones_like(ids)
    padded[0, 7:], mask[0, 7:] = 0, 0
    right = model(padded, attention_mask=mask, use_cache=True)
    assert torch.allclose(right.logits[:1, :7], alone, **NEAR)
    padded[0, 4:], padded[0, :4] = ids[0, :7], 0
    mask = (torch.arange(11) >= torch.tensor([[4], [0]])).long()
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    left = model(padded, attention_mask=mask, position_ids=positions)
    assert torch.allclose(left.logits[:1, 4:], alone, **NEAR)
    for state, other in zip(states(right.past_key_values), states(cached(model, ids[:1, :7])), strict=True):
        assert torch.allclose(state[:1], other, **NEAR)


def cached(model: Decoder, ids: torch.Tensor) -> Any:
    return model(ids, use_cache=True).past_key_values


def states(cache: Any) -> list[torch.Tensor]:
    return [layer.recurrent_states[0] for layer in cache.layers if hasattr(layer, "recurrent_states")]


def test_packed_documents_see_nothing_of_each_other(model: Decoder) -> None:
    ids = some_ids(12)[:1]
    positions = torch.tensor([[0, 1, 2, 3, 4, 0, 1, 0, 1, 2, 3, 4]])
    texts = [ids[:, :5], ids[:, 5:7], ids[:, 7:]]
    apart = torch.cat([model(text).logits for text in texts], 1)
    packed = model(ids, position_ids=positions).logits
    assert torch.allclose(packed, apart, **NEAR)
    weights = [p for p in model.parameters() if p.requires_grad]
    pull = torch.randn(packed.shape, generator=torch.Generator().manual_seed(1))
    for one, other in zip(
        torch.autograd.grad((packed * pull).sum(), weights),
        torch.autograd.grad((apart * pull).sum(), weights),
        strict=True,
    ):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))
    one = model(ids[:, :6], position_ids=positions[:, :6], use_cache=True)  # a cut that begins with another text
    rest = model(ids[:, 6:], position_ids=positions[:, 6:], past_key_values=one.past_key_values, use_cache=True)
    assert torch.allclose(torch.cat([one.logits, rest.logits], 1), apart, **NEAR)


@torch.no_grad()
def test_generate_writes_what_whole_passes_would(model: Decoder) -> None:
    ids = some_ids(9)
    written = ids
    for _ in range(5):
        written = torch.cat([written, model(written).logits[:, -1:].argmax(-1)], 1)
    kept: dict[str, Any] = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None}
    assert torch.equal(model.generate(ids, **kept), written)
    padded = torch.zeros(2, 12, dtype=torch.long)
    padded[0, 3:], padded[1] = ids[0], some_ids(12, 1)[1]
    mask = (torch.arange(12) >= torch.tensor([[3], [0]])).long()
    assert torch.equal(model.generate(padded, attention_mask=mask, **kept)[0, 3:], written[0])
    assert model.generate(ids, num_beams=2, **kept).shape == written.shape


def test_a_folder_comes_back(model: Decoder, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    ids = some_ids(6)
    model.save_pretrained(tmp_path / "theirs")
    save_model(model, tmp_path / "ours")  # type: ignore[arg-type]
    for folder in ("theirs", "ours"):
        again = AutoModelForCausalLM.from_pretrained(tmp_path / folder)
        assert type(again).__name__ == "MatMulFreeForCausalLM"
        assert torch.equal(again(ids).logits, model(ids).logits)


def test_the_spec_is_the_model(model: Decoder) -> None:
    spec = model.spec
    shapes = {name: tuple(p.shape) for name, p in model.state_dict().items()}
    assert shapes == spec.tensors
    assert spec.parameters() == sum(p.numel() for p in model.parameters())
    assert spec_of_config(config_of(spec)) == spec
    other = ModelSpec(**spec.model_dump() | {"layers": [spec.layers[0], spec.layers[1].without("mixer")]})
    assert config_of(other)["model_type"] == "lightbulb"
    assert Decoder(type_config(other))(some_ids(4)).logits.shape == (2, 4, spec.vocabulary)


def type_config(spec: ModelSpec) -> Any:
    from lightbulb.models.decoder import config_for

    return config_for(spec)


@pytest.mark.parametrize("ends", ["f16", "q8_0"])
@pytest.mark.parametrize("mixers", MIXERS)
def test_a_file_holds_exactly_what_acts(mixers: str, ends: str, tmp_path: Path) -> None:
    folder, file = tiny_matmulfree(tmp_path / "model", MIXERS[mixers], tied=mixers == "hybrid"), tmp_path / "m.gguf"
    facts = write_gguf(folder, file, TypeMap.of("q4_0", ends))
    assert (facts["architecture"], facts["fallbacks"], facts["unchanged"]) == ("matmulfree", [], ends == "f16")
    model: Any = load_model(folder)
    header = read_header(file)
    spec = spec_of_gguf(header)
    assert spec.model_copy(update={"epsilon": 1e-6}) == model.spec and spec.epsilon == pytest.approx(1e-6)
    for name, values in weights_of(header, spec).items():
        if values.ndim > 1 and ".layers." in name:
            levels, scale = ternary_levels(model.get_parameter(name).detach())
            again, scale_again = ternary_levels(torch.from_numpy(values))
            assert torch.equal(levels, again) and scale == scale_again
    assert read_gguf(file).quantization["TQ2_0"] == sum(len(layer.matrices(1)) for layer in spec.layers)
    import_model(resolve(str(file)), tmp_path / "again")
    if ends == "f16":
        ids = some_ids(9)
        with torch.no_grad():
            assert torch.allclose(load_model(tmp_path / "again")(ids).logits, model(ids).logits, **NEAR)


def test_what_no_file_can_hold_is_refused(tmp_path: Path) -> None:
    folder = tiny_matmulfree(tmp_path / "narrow", MIXERS["mlgru"], width=64)
    with pytest.raises(UnsupportedModel, match="no whole number of ternary blocks"):
        write_gguf(folder, tmp_path / "m.gguf", "tq2_0")
    assert not list(tmp_path.glob("*.gguf"))


def test_a_file_with_other_weights_is_refused(tmp_path: Path) -> None:
    folder, file = tiny_matmulfree(tmp_path / "model", MIXERS["mlgru"]), tmp_path / "m.gguf"
    write_gguf(folder, file, "tq2_0")
    header = read_header(file)
    places = {tensor.name: tensor for tensor in header.tensors}
    data = bytearray(file.read_bytes())
    scale = places["blk.1.ffn_up.weight"].start + 64  # of the first block
    data[scale : scale + 2] = np.float16(3.0).tobytes()
    file.write_bytes(data)
    with pytest.raises(ModelError, match="with one s"):
        weights_of(read_header(file), spec_of_gguf(header))
    write_gguf(folder, file, "tq2_0")
    data = bytearray(file.read_bytes())
    start = places["blk.2.mix_lower.weight"].start
    data[start : start + 4] = np.float32(1.5).tobytes()
    file.write_bytes(data)
    with pytest.raises(ModelError, match="must rise"):
        weights_of(read_header(file), spec_of_gguf(header))


def test_answers_side_by_side_are_those_of_each_alone(model: Decoder) -> None:
    ids, lengths = some_ids(9), (9, 4, 6)
    prompts = [ids[n % 2, :length].tolist() for n, length in enumerate(lengths)]
    ends = [alone(model, prompt)[n] for n, prompt in enumerate(prompts)]  # rows end after 1, 2 and 3 tokens
    rows = [Row(end) for end in ends]
    padded = torch.tensor([[0] * (9 - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (9 - len(p)) + [1] * len(p) for p in prompts])
    write_rows(model, padded, mask, rows, 8)  # type: ignore[arg-type]
    for row, prompt in zip(rows, prompts, strict=True):
        assert row.tokens == alone(model, prompt)[: len(row.tokens)] and row.ended


@torch.no_grad()
def alone(model: Decoder, prompt: list[int]) -> list[int]:
    ids = torch.tensor([prompt])
    for _ in range(4):
        ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], 1)
    return ids[0, len(prompt) :].tolist()
