"""A transformer made ternary: it is the dense model until its linears get a share, and one file runs everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llama_server import llama_server
from matmulfree_files import MIXERS, logits_of, tiny_matmulfree
from tiny import tiny_model, tiny_varied

from lightbulb.core.errors import UnsupportedModel
from lightbulb.formats.gguf.header import read_header
from lightbulb.formats.gguf.type_map import TypeMap
from lightbulb.models.gguf import write_gguf
from lightbulb.models.gguf_shape import spec_of_gguf
from lightbulb.models.importing import import_model
from lightbulb.models.loading import load_model
from lightbulb.models.resolve import resolve
from lightbulb.models.ternarizing import NormSizes, ternarized
from lightbulb.models.ternary import TernaryLinear, set_share

IDS = np.random.default_rng(0).integers(3, 500, 21)


@torch.no_grad()
def test_without_a_share_it_is_the_dense_model(tmp_path: Path) -> None:
    dense: Any = load_model(tiny_model(tmp_path / "dense", width=256))
    made, ids = ternarized(dense), torch.from_numpy(IDS)[None]
    assert torch.allclose(made(ids).logits, dense(ids).logits, atol=1e-4)
    with NormSizes(made):
        made(ids)
    assert torch.allclose(made(ids).logits, dense(ids).logits, atol=1e-4)
    for linear in made.modules():
        if isinstance(linear, TernaryLinear) and linear.norm is not None:
            sizes, inputs = linear.norm.weight.unique(), []
            hook = linear.register_forward_pre_hook(lambda _, x, seen=inputs: seen.append(x[0]))
            made(ids)
            hook.remove()
            assert len(sizes) == 1 and sizes[0].item() == pytest.approx(inputs[0].square().mean().sqrt().item())


def test_a_linear_goes_from_dense_to_ternary() -> None:
    torch.manual_seed(0)
    linear, x = TernaryLinear(32, 16, 1e-6), torch.randn(5, 32)
    ternary = linear(x)
    set_share(linear, 1 - 1e-9)
    assert torch.allclose(linear(x), ternary, atol=1e-5)
    set_share(linear, 0.5)
    linear(x).sum().backward()
    assert linear.weight.grad is not None and linear.weight.grad.abs().min() > 0
    set_share(linear, 0.0)
    assert torch.allclose(linear(x), x @ linear.weight.T)


@pytest.mark.parametrize("folder", ["qwen3", "qwen2", "varied", "narrow", "ternary"])
def test_what_cannot_be_ternary_is_refused(folder: str, tmp_path: Path) -> None:
    path = {
        "varied": lambda: tiny_varied(tmp_path / "m"),
        "narrow": lambda: tiny_model(tmp_path / "m"),
        "ternary": lambda: tiny_matmulfree(tmp_path / "m", MIXERS["attention"]),
    }.get(folder, lambda: tiny_model(tmp_path / "m", folder, width=256))()
    with pytest.raises(UnsupportedModel):
        ternarized(load_model(path))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a ternary transformer; the model's folder is beside it."""
    folder = tmp_path_factory.mktemp("ternary")
    tiny_matmulfree(folder / "model", MIXERS["attention"], tied=True)
    assert write_gguf(folder / "model", folder / "m.gguf", TypeMap.of("tq2_0", "f16"))["architecture"] == "bitnet"
    return folder / "m.gguf"


# Both round activations by 256 columns, torch by whole vectors; filament rounds keys and values, too.
NEAR = 0.05  # of the spread of the logits


def test_filament_says_what_torch_says(file: Path) -> None:
    filament = pytest.importorskip("lightbulb_filament", reason="filament is not built: make filament")
    expected = logits_of(file.parent / "model", IDS)
    found = np.asarray(filament.Model(str(file), threads=1).logits(IDS.tolist()))
    assert (found - expected).std() < NEAR * expected.std()


def test_llama_cpp_says_what_torch_says(file: Path) -> None:
    logits = logits_of(file.parent / "model", IDS)[-1]
    expected = logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
    with llama_server(file) as server:
        found = server.logprobs(IDS.tolist(), 20)
    assert max(abs(expected[i] - said) for i, said in found.items()) < NEAR * logits.std()


def test_a_file_comes_back(file: Path, tmp_path: Path) -> None:
    folder = file.parent / "model"
    spec, model = spec_of_gguf(read_header(file)), load_model(folder)
    assert spec.model_copy(update={"epsilon": 1e-6}) == model.spec  # type: ignore[operator]
    import_model(resolve(str(file)), tmp_path / "again")
    assert np.allclose(logits_of(tmp_path / "again", IDS), logits_of(folder, IDS), atol=2e-5)
