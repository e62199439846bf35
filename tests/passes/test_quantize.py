"""What quantize rounds to is what export writes, whatever was searched for; what calibrate says is so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import tiny_task
from tiny import tiny_model, tiny_varied

from lightbulb.core.artifact import Artifact
from lightbulb.core.errors import RecipeError
from lightbulb.core.progress import Silent
from lightbulb.formats.gguf.header import read_header
from lightbulb.formats.gguf.quant_types import quant_type_of
from lightbulb.models.gguf import read_weights
from lightbulb.models.gguf_info import read_gguf
from lightbulb.models.importing import import_model
from lightbulb.models.loading import load_model, load_tokenizer
from lightbulb.models.resolve import resolve
from lightbulb.models.spec_config import spec_of_config
from lightbulb.passes.base import Context, Pass
from lightbulb.passes.export import Export
from lightbulb.passes.importance_matrix import ImportanceMatrix
from lightbulb.passes.quantize import Quantize
from lightbulb.train.calibration import PROBE, read_mean_squares
from lightbulb.train.quantized import matrices_of, quantize_dequantize
from lightbulb.train.tracing import calibration_text

TASK = tiny_task("text")
SMALL = ImportanceMatrix(tokens=600, probe_tokens=60)


def done(tmp_path, label: str, pass_: Pass, source: Artifact, **inputs: Artifact) -> Artifact:
    out = tmp_path / label
    out.mkdir()
    facts = pass_.apply(source, out, Context(TASK, 0, Silent(), tmp_path / f"{label}-scratch", inputs, threads=1))
    facts = pass_.facts_type.model_validate(facts).record()
    return Artifact(path=out, kind=pass_.makes, key=label, made_by=pass_.name, facts=facts)


def imported(tmp_path, folder) -> Artifact:
    out = tmp_path / "imported"
    return Artifact(path=out, kind="model", key="m", made_by="import", facts=import_model(resolve(str(folder)), out))


def held(gguf, model: Artifact) -> dict[str, np.ndarray]:
    return read_weights(gguf, spec_of_config(load_model(model.path).config.to_dict()))


@pytest.mark.parametrize("method", ["rtn", "imatrix", "gptq"])
@pytest.mark.parametrize("quant_type", ["q3_k", "iq4_nl"])
def test_the_file_holds_what_was_rounded(tmp_path, method, quant_type):
    source = imported(tmp_path, tiny_model(tmp_path / "m", width=256))
    calibration = done(tmp_path, "calibration", ImportanceMatrix(tokens=600, probe_tokens=0), source)
    rounded = done(
        tmp_path, "rounded", Quantize(quant_type=quant_type, method=method, tokens=600), source, calibration=calibration
    )
    file = done(tmp_path, "file", Export(), rounded)
    assert file.facts["unchanged"] and set(file.facts["quantization"]) == {"F32", "Q8_0", quant_type.upper()}
    named = done(tmp_path, "named", Export(quant_type=quant_type, embedding="q8_0"), rounded)
    assert named.gguf.read_bytes() == file.gguf.read_bytes()
    weights = held(file.gguf, rounded)
    for name, parameter in load_model(rounded.path).named_parameters():
        assert np.array_equal(weights[name], parameter.detach().numpy()), name


def test_types_within_a_budget_where_layers_differ(tmp_path):
    """A family whose file holds queries, keys and values as one tensor."""
    source = imported(tmp_path, tiny_varied(tmp_path / "m", "qwen3", tied=True))
    calibration = done(tmp_path, "calibration", SMALL, source)
    rounded = done(
        tmp_path, "rounded", Quantize(bits_per_weight=6.0, method="gptq", tokens=600), source, calibration=calibration
    )
    file = done(tmp_path, "file", Export(), rounded)
    types = {t.name: quant_type_of(t.type).name for t in read_header(file.gguf).tensors if len(t.shape) > 1}
    assert types == rounded.facts["types"] and len(set(types.values())) > 1
    assert read_gguf(file.gguf).architecture == "openelm" and "blk.0.attn_qkv.weight" in types
    assert 5.5 < rounded.facts["bits_per_weight"] <= 6.0 and file.facts["unchanged"]
    weights = held(file.gguf, rounded)
    for name, parameter in load_model(rounded.path).named_parameters():
        assert np.array_equal(weights[name], parameter.detach().numpy()), name


def test_what_matters_more_gets_more_bits(tmp_path):
    source = imported(tmp_path, tiny_model(tmp_path / "m"))
    calibration = done(tmp_path, "calibration", SMALL, source)
    lowered = {
        name: nats * (1e3 if "v_proj" in name else 1e-3) for name, nats in calibration.facts["sensitivities"].items()
    }
    calibration = calibration.model_copy(update={"facts": calibration.facts | {"sensitivities": lowered}})
    rounded = done(tmp_path, "rounded", Quantize(bits_per_weight=5.0), source, calibration=calibration)
    assert {t for name, t in rounded.facts["types"].items() if "attn_v" in name} == {"q8_0"}


def test_mean_squares_and_changes_are_those_of_plain_reading(tmp_path):
    source = imported(tmp_path, tiny_model(tmp_path / "m"))
    calibration = done(tmp_path, "calibration", SMALL, source)
    model, tokenizer = load_model(source.path), load_tokenizer(source.path)
    texts = calibration_text(TASK, tokenizer, None, 512, SMALL.tokens)
    assert sum(len(t.ids) - 1 for t in texts) == calibration.facts["tokens"] >= SMALL.tokens
    name, seen = "model.layers.1.mlp.down_proj.weight", []
    model.get_submodule(name.removesuffix(".weight")).register_forward_pre_hook(lambda m, args: seen.append(args[0][0]))
    with torch.no_grad():
        for text in texts:  # one by one: no padding
            model(torch.tensor([text.ids[:-1]]))
    plain = torch.cat(seen).square().mean(0)
    torch.testing.assert_close(read_mean_squares(calibration.path)[name], plain, rtol=0.02, atol=1e-4)  # bfloat16

    def log_probs():
        probes = calibration_text(TASK, tokenizer, None, 512, SMALL.probe_tokens)
        return torch.cat([model(torch.tensor([t.ids[:-1]])).logits[0].log_softmax(-1) for t in probes])

    with torch.no_grad():
        before = log_probs()
        for matrix in matrices_of(model):
            own = matrix.weight.clone()
            matrix.weight.copy_(quantize_dequantize(own, PROBE))
            change = (before.exp() * (before - log_probs())).sum(-1).mean().item()
            matrix.weight.copy_(own)
            assert calibration.facts["sensitivities"][matrix.name] == pytest.approx(change, rel=1e-3, abs=1e-6)


def test_what_is_missing_is_said(tmp_path):
    source = imported(tmp_path, tiny_model(tmp_path / "m"))
    bare = done(tmp_path, "bare", ImportanceMatrix(tokens=60, probe_tokens=0), source)
    for label, pass_, inputs, message in (
        ("a", Quantize(method="imatrix"), {}, "needs to know what matters"),
        ("b", Quantize(bits_per_weight=5), {}, "needs to know what matters"),
        ("c", Quantize(bits_per_weight=5), {"calibration": bare}, "needs measured sensitivities"),
        ("d", Export(), {}, "nothing before it has rounded"),
    ):
        with pytest.raises(RecipeError, match=message):
            done(tmp_path, label, pass_, source, **inputs)
    probed = done(tmp_path, "probed", SMALL, source)
    with pytest.raises(RecipeError, match="come down to 3 bits"):
        done(tmp_path, "e", Quantize(bits_per_weight=3), source, calibration=probed)
    with pytest.raises(ValueError, match="leave out `method`"):
        Quantize(method="gptq", recover={"epochs": 1, "learning_rate": 1e-3, "batch_size": 8})
